//! Parzen estimators: a probability density made of one kernel per observation, and one for the
//! prior belief, which covers the whole space.
//!
//! The words are those of Watanabe, "Tree-Structured Parzen Estimator: Understanding Its Algorithm
//! Components and Their Roles for Better Empirical Performance", arXiv 2304.11127, 2023, section 3.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::normal::{draw_truncated_normal, log_normal_density, normal_mass};
use super::number_range::{NumberKind, NumberRange};
use super::space::Domain;

/// Number of newest observations that have full weight; older ones have less.
const FULL_WEIGHT_COUNT: usize = 25;

/// Weight of the prior's kernel; that of a new observation is 1.
const PRIOR_WEIGHT: f64 = 1.0;

/// Largest divisor of a range that gives the least bandwidth (magic clipping).
const MAX_BANDWIDTH_DIVISOR: f64 = 100.0;

/// Density over one hyperparameter, or several that are drawn together. A point of it has one
/// position per hyperparameter (`Domain::position_of`).
#[derive(Debug)]
pub(super) struct ParzenEstimator<'a> {
    /// Weights of the kernels, which sum to 1; the prior's is the last.
    weights: Vec<f64>,
    /// One factor of each kernel per hyperparameter.
    axes: Vec<Axis<'a>>,
}

/// Factors of all kernels for one hyperparameter.
#[derive(Debug)]
enum Axis<'a> {
    Number { range: &'a NumberRange, kernels: Vec<NumberKernel> },
    Categorical { kernels: Vec<Vec<f64>> },
}

/// Normal distribution that is cut at the bounds of its range.
#[derive(Debug)]
struct NumberKernel {
    center: f64,
    bandwidth: f64,
    /// Logarithm of the normal distribution's mass within the bounds.
    log_mass: f64,
}

impl<'a> ParzenEstimator<'a> {
    /// Builds the density of observations, the oldest first.
    pub(super) fn build(domains: &[&'a Domain], observations: &[Vec<f64>]) -> Self {
        let mut weights = observation_weights(observations.len());
        weights.push(PRIOR_WEIGHT);
        let total: f64 = weights.iter().sum();
        for weight in &mut weights {
            *weight /= total;
        }
        let mut axes = Vec::new();
        for (index, domain) in domains.iter().enumerate() {
            let mut positions = Vec::new();
            for point in observations {
                positions.push(point[index]);
            }
            axes.push(match domain {
                Domain::Number(range) => {
                    Axis::Number { range, kernels: build_number_kernels(range, &positions) }
                }
                Domain::Categorical(words) => Axis::Categorical {
                    kernels: build_categorical_kernels(words.len(), &positions),
                },
            });
        }
        Self { weights, axes }
    }

    /// Draws a point: a kernel by the weights, then a position on each axis.
    pub(super) fn draw_point(&self, rng: &mut ChaCha8Rng) -> Vec<f64> {
        let kernel = draw_index(&self.weights, rng);
        let mut point = Vec::new();
        for axis in &self.axes {
            point.push(match axis {
                Axis::Number { range, kernels } => {
                    let NumberKernel { center, bandwidth, .. } = kernels[kernel];
                    let drawn = draw_truncated_normal(center, bandwidth, range.positions(), rng);
                    // The nearest value of the range, since that is what would be tried.
                    range.position(range.value_at(drawn))
                }
                Axis::Categorical { kernels } => draw_index(&kernels[kernel], rng) as f64,
            });
        }
        point
    }

    /// Returns the logarithm of the density at a point; for whole numbers and words it is that of the
    /// probability.
    pub(super) fn log_density(&self, point: &[f64]) -> f64 {
        let mut terms = Vec::new();
        for (kernel, weight) in self.weights.iter().enumerate() {
            let mut log_density = weight.ln();
            for (axis, &position) in self.axes.iter().zip(point) {
                log_density += axis.log_density(kernel, position);
            }
            terms.push(log_density);
        }
        // The largest term is taken out, so that exponentials do not vanish.
        let largest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if largest == f64::NEG_INFINITY {
            return largest;
        }
        let mut sum = 0.0;
        for term in terms {
            sum += (term - largest).exp();
        }
        largest + sum.ln()
    }
}

impl Axis<'_> {
    /// Returns the logarithm of one kernel's density at a position.
    fn log_density(&self, kernel: usize, position: f64) -> f64 {
        match self {
            Self::Categorical { kernels } => kernels[kernel][position as usize].ln(),
            Self::Number { range, kernels } => {
                let NumberKernel { center, bandwidth, log_mass } = kernels[kernel];
                let log_density = match range.kind() {
                    NumberKind::Continuous => {
                        log_normal_density((position - center) / bandwidth) - bandwidth.ln()
                    }
                    NumberKind::Integer => {
                        let (low, high) = range.cell(range.value_at(position));
                        normal_mass((low - center) / bandwidth, (high - center) / bandwidth).ln()
                    }
                };
                log_density - log_mass
            }
        }
    }
}

/// Returns the weights of observations, the oldest first: the newest 25 have 1, older ones fall
/// linearly with age to one part in their number (the weighting "old decay").
fn observation_weights(count: usize) -> Vec<f64> {
    let mut weights = vec![1.0; count];
    let ramp_count = count.saturating_sub(FULL_WEIGHT_COUNT);
    let lowest = 1.0 / count as f64;
    for (index, weight) in weights.iter_mut().take(ramp_count).enumerate() {
        let progress = if ramp_count > 1 { index as f64 / (ramp_count - 1) as f64 } else { 0.0 };
        *weight = lowest + (1.0 - lowest) * progress;
    }
    weights
}

/// Builds one kernel per observation and that of the prior, which is centered and as wide as the
/// range. A bandwidth is the larger of the distances to the neighbors on both sides, where the ends
/// of the range stand in for neighbors only if there is one observation (the bandwidth selection of
/// Bergstra et al. 2011, section 4.2). It is at least the range divided by the number of kernels
/// plus one, or by 100 ("magic clipping").
fn build_number_kernels(range: &NumberRange, positions: &[f64]) -> Vec<NumberKernel> {
    let (low, high) = range.positions();
    let width = high - low;
    let kernel_count = positions.len() + 1;
    let narrowest = width / MAX_BANDWIDTH_DIVISOR.min(1.0 + kernel_count as f64);

    let mut order: Vec<usize> = (0..positions.len()).collect();
    order.sort_by(|&a, &b| positions[a].total_cmp(&positions[b]));
    let mut bandwidths = vec![width; positions.len()];
    for (rank, &index) in order.iter().enumerate() {
        let position = positions[index];
        let is_alone = order.len() == 1;
        let below = match rank.checked_sub(1) {
            Some(neighbor) => position - positions[order[neighbor]],
            None if is_alone => position - low,
            None => 0.0,
        };
        let above = match order.get(rank + 1) {
            Some(&neighbor) => positions[neighbor] - position,
            None if is_alone => high - position,
            None => 0.0,
        };
        bandwidths[index] = below.max(above).clamp(narrowest, width);
    }

    let mut kernels = Vec::new();
    for (&center, bandwidth) in positions.iter().zip(bandwidths) {
        kernels.push(NumberKernel::new(center, bandwidth, (low, high)));
    }
    kernels.push(NumberKernel::new(f64::midpoint(low, high), width, (low, high)));
    kernels
}

impl NumberKernel {
    fn new(center: f64, bandwidth: f64, (low, high): (f64, f64)) -> Self {
        let mass = normal_mass((low - center) / bandwidth, (high - center) / bandwidth);
        Self { center, bandwidth, log_mass: mass.ln() }
    }
}

/// Builds one kernel per observation and that of the prior, which knows no word from the others. An
/// observation's kernel has its own word and a share of the prior's weight on every word, which
/// shrinks with the number of kernels.
fn build_categorical_kernels(word_count: usize, positions: &[f64]) -> Vec<Vec<f64>> {
    let kernel_count = positions.len() + 1;
    let share = PRIOR_WEIGHT / kernel_count as f64;
    let total = 1.0 + share * word_count as f64;
    let mut kernels = Vec::new();
    for &position in positions {
        let mut kernel = vec![share / total; word_count];
        kernel[position as usize] = (1.0 + share) / total;
        kernels.push(kernel);
    }
    kernels.push(vec![1.0 / word_count as f64; word_count]);
    kernels
}

/// Draws an index with the probabilities of the weights, which sum to 1.
fn draw_index(weights: &[f64], rng: &mut ChaCha8Rng) -> usize {
    let mut left: f64 = rng.random();
    for (index, weight) in weights.iter().enumerate() {
        if left < *weight {
            return index;
        }
        left -= weight;
    }
    weights.len() - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_joint_density_keeps_words_together_that_were_seen_together() {
        let words = Domain::Categorical(vec!["a".to_owned(), "b".to_owned()]);
        let observations = [0.0, 1.0, 0.0, 1.0].map(|word| vec![word, word]);
        let joint = ParzenEstimator::build(&[&words, &words], &observations);
        let together = joint.log_density(&[0.0, 0.0]);
        assert!((together - joint.log_density(&[1.0, 1.0])).abs() < 1e-12);
        // By hand: 0.8 * ((6/7)^2 + (1/7)^2) / 2 + 0.2 / 4, and 0.8 * 6/49 + 0.2 / 4.
        assert!((together.exp() - 0.352_04).abs() < 1e-5, "{}", together.exp());
        let crossed = joint.log_density(&[0.0, 1.0]);
        assert!((crossed.exp() - 0.147_96).abs() < 1e-5, "{}", crossed.exp());
    }

    #[test]
    fn old_observations_weigh_less() {
        assert_eq!(observation_weights(25), [1.0; 25]);
        let weights = observation_weights(28);
        assert_eq!(weights[..2], [1.0 / 28.0, 0.5 + 0.5 / 28.0]);
        assert_eq!(weights[2..], [1.0; 26]);
        assert_eq!(observation_weights(26)[..1], [1.0 / 26.0]);
        assert!(observation_weights(0).is_empty());
    }
}
