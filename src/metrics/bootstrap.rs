//! Intervals of scores by the bootstrap: how much would a score differ on other images of the same
//! kind? Images are drawn with replacement, as many as there are, and the score is computed of each
//! draw; the middle 95 % of the draws' scores are the interval (Efron and Tibshirani, "An
//! Introduction to the Bootstrap", 1993, chapter 13).

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;

use super::image_scores::{ImageScores, Totals};

/// Ends of the interval among the sorted scores of the draws, 0 to 1.
const INTERVAL_ENDS: (f64, f64) = (0.025, 0.975);

/// Random draws of images. The same seed gives the same draws on every machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bootstrap {
    /// Number of draws.
    pub draws: usize,
    pub seed: u64,
}

/// A score with its uncertainty.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Estimate {
    /// The score of the images as they are; none where it is not defined.
    pub value: Option<f64>,
    /// Standard deviation of the draws' scores.
    pub standard_deviation: Option<f64>,
    /// The middle 95 % of the draws' scores.
    pub interval: Option<(f64, f64)>,
}

/// How much a second model differs from a first one on the same images.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PairedDifference {
    /// Score of the second model less that of the first.
    pub difference: Estimate,
    /// Share of the draws in which the second model is better, those with equal scores by half.
    pub probability_better: Option<f64>,
}

impl Bootstrap {
    /// Estimates scores of images of a network with `classes` classes. `list_scores` returns as many
    /// scores, in the same order, each time.
    pub fn estimate(
        &self,
        images: &[ImageScores],
        classes: usize,
        list_scores: impl Fn(&Totals) -> Vec<Option<f64>> + Sync,
    ) -> Vec<Estimate> {
        let values = list_scores(&total(images, classes, |_| 1));
        let draws = self.map_draws(images.len(), |times| {
            list_scores(&total(images, classes, |index| times[index]))
        });
        let mut estimates = Vec::with_capacity(values.len());
        for (position, value) in values.into_iter().enumerate() {
            let drawn = draws.iter().filter_map(|scores| scores[position]).collect();
            estimates.push(summarize(value, drawn));
        }
        estimates
    }

    /// Compares two models on the same images: `first` and `second` have an entry for each image, in
    /// the same order. Each draw takes the same images of both, so that what is hard for both does not
    /// hide their difference.
    pub fn compare(
        &self,
        [first, second]: [&[ImageScores]; 2],
        classes: usize,
        list_scores: impl Fn(&Totals) -> Vec<Option<f64>> + Sync,
    ) -> Vec<PairedDifference> {
        let subtract = |scores: [Vec<Option<f64>>; 2]| {
            let [first, second] = scores;
            let mut differences = Vec::with_capacity(first.len());
            for (first, second) in first.into_iter().zip(second) {
                differences.push(first.zip(second).map(|(first, second)| second - first));
            }
            differences
        };
        let values =
            subtract([first, second].map(|images| list_scores(&total(images, classes, |_| 1))));
        let draws = self.map_draws(first.len().min(second.len()), |times| {
            subtract(
                [first, second]
                    .map(|images| list_scores(&total(images, classes, |index| times[index]))),
            )
        });
        let mut comparisons = Vec::with_capacity(values.len());
        for (position, value) in values.into_iter().enumerate() {
            let drawn: Vec<f64> =
                draws.iter().filter_map(|differences| differences[position]).collect();
            let mut better = 0.0;
            for &difference in &drawn {
                better += if difference > 0.0 {
                    1.0
                } else if difference == 0.0 {
                    0.5
                } else {
                    0.0
                };
            }
            let probability_better = (!drawn.is_empty()).then(|| better / drawn.len() as f64);
            let difference = summarize(value, drawn);
            comparisons.push(PairedDifference { difference, probability_better });
        }
        comparisons
    }

    /// Calls a function with how many times each of `count` images is drawn, for each draw.
    fn map_draws<T: Send>(&self, count: usize, use_draw: impl Fn(&[u64]) -> T + Sync) -> Vec<T> {
        if count == 0 {
            return Vec::new();
        }
        (0..self.draws as u64)
            .into_par_iter()
            .map(|draw| {
                let mut random = ChaCha8Rng::seed_from_u64(self.seed);
                random.set_stream(draw);
                let mut times = vec![0; count];
                for _ in 0..count {
                    // The upper half of the product of two 64-bit numbers is below the second.
                    let product = u128::from(random.next_u64()) * count as u128;
                    times[(product >> 64) as usize] += 1;
                }
                use_draw(&times)
            })
            .collect()
    }
}

/// Adds up images, each as often as `times` says.
fn total(images: &[ImageScores], classes: usize, times: impl Fn(usize) -> u64) -> Totals {
    let mut totals = Totals::new(classes);
    for (index, image) in images.iter().enumerate() {
        let times = times(index);
        if times > 0 {
            totals.add(image, times);
        }
    }
    totals
}

fn summarize(value: Option<f64>, mut drawn: Vec<f64>) -> Estimate {
    if drawn.is_empty() {
        return Estimate { value, ..Estimate::default() };
    }
    drawn.sort_by(f64::total_cmp);
    let count = drawn.len() as f64;
    let mean = drawn.iter().sum::<f64>() / count;
    let squares: f64 = drawn.iter().map(|score| (score - mean) * (score - mean)).sum();
    let interval = (quantile(&drawn, INTERVAL_ENDS.0), quantile(&drawn, INTERVAL_ENDS.1));
    Estimate {
        value,
        standard_deviation: Some((squares / (count - 1.0).max(1.0)).sqrt()),
        interval: Some(interval),
    }
}

/// Returns the value below which a share of sorted values lies, between two of them by linear
/// interpolation, as numpy's `quantile`.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let position = share * (sorted.len() - 1) as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * (position - below as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::ConfusionMatrix;

    const BOOTSTRAP: Bootstrap = Bootstrap { draws: 400, seed: 7 };

    /// Makes images of ten pixels of one class, of which `wrong` are predicted as the other.
    fn images(wrong: &[usize]) -> Vec<ImageScores> {
        let mut images = Vec::new();
        for (index, &wrong) in wrong.iter().enumerate() {
            let class = (index % 2) as u8;
            let truth = [class; 10];
            let mut predicted = truth;
            predicted[..wrong].fill(1 - class);
            let mut matrix = ConfusionMatrix::new(2);
            matrix.update(&truth, &predicted);
            images.push(ImageScores::new(&matrix, &[], None));
        }
        images
    }

    fn list_scores(totals: &Totals) -> Vec<Option<f64>> {
        vec![totals.pixel_accuracy(), totals.mean_iou(), totals.boundary_f1(0)]
    }

    /// Makes a number from 0 to 6 for each image, in no order.
    fn mixed(count: usize, factor: usize) -> Vec<usize> {
        (0..count).map(|index| (index * factor + index * index * 3) % 7).collect()
    }

    #[test]
    fn the_deviation_is_that_of_a_mean() {
        let wrong = mixed(60, 5);
        let estimate = BOOTSTRAP.estimate(&images(&wrong), 2, list_scores)[0];
        let shares: Vec<f64> = wrong.iter().map(|&wrong| 1.0 - wrong as f64 / 10.0).collect();
        let mean = shares.iter().sum::<f64>() / 60.0;
        let variance = shares.iter().map(|share| (share - mean).powi(2)).sum::<f64>() / 60.0;
        let expected = (variance / 60.0).sqrt();
        assert!((estimate.value.unwrap() - mean).abs() < 1e-12);
        let deviation = estimate.standard_deviation.unwrap();
        assert!((deviation / expected - 1.0).abs() < 0.15, "{deviation} {expected}");
        let (low, high) = estimate.interval.unwrap();
        assert!((mean - low) / expected > 1.6 && (high - mean) / expected > 1.6);
        assert!((mean - low) / expected < 2.3 && (high - mean) / expected < 2.3);
    }

    #[test]
    fn draws_are_the_same_each_time_and_others_with_another_seed() {
        let images = images(&mixed(20, 3));
        let estimates = BOOTSTRAP.estimate(&images, 2, list_scores);
        assert_eq!(estimates, BOOTSTRAP.estimate(&images, 2, list_scores));
        let other = Bootstrap { seed: 8, ..BOOTSTRAP }.estimate(&images, 2, list_scores);
        assert_ne!(estimates, other);
        assert_eq!(estimates[2], Estimate::default(), "no border was scored");
        assert_eq!(BOOTSTRAP.estimate(&[], 2, list_scores), [Estimate::default(); 3]);
    }

    #[test]
    fn pairs_tell_a_small_difference_from_what_is_hard_for_both() {
        let first = mixed(50, 5);
        // One pixel in every third image is better, and the images differ by up to six.
        let second: Vec<usize> = first
            .iter()
            .enumerate()
            .map(|(index, &wrong)| wrong.saturating_sub(usize::from(index % 3 == 0)))
            .collect();
        let (first, second) = (images(&first), images(&second));
        let paired = BOOTSTRAP.compare([&first, &second], 2, list_scores)[0];
        let deviation = paired.difference.standard_deviation.unwrap();
        assert!(paired.difference.value.unwrap() > 0.02);
        assert!(paired.difference.interval.unwrap().0 > 0.0, "{paired:?}");
        assert_eq!(paired.probability_better, Some(1.0));
        let alone =
            |images| BOOTSTRAP.estimate(images, 2, list_scores)[0].standard_deviation.unwrap();
        let unpaired = alone(&first).hypot(alone(&second));
        assert!(deviation < unpaired / 3.0, "{deviation} {unpaired}");
        let same = BOOTSTRAP.compare([&first, &first], 2, list_scores)[0];
        assert_eq!((same.difference.value, same.probability_better), (Some(0.0), Some(0.5)));
    }

    #[test]
    fn quantiles_are_numpys() {
        // numpy.quantile([1, 2, 4, 8], [0, 0.025, 0.5, 0.975, 1])
        let sorted = [1.0, 2.0, 4.0, 8.0];
        let expected = [1.0, 1.075, 3.0, 7.7, 8.0];
        for (share, expected) in [0.0, 0.025, 0.5, 0.975, 1.0].into_iter().zip(expected) {
            assert!((quantile(&sorted, share) - expected).abs() < 1e-12, "{share}");
        }
        assert!((quantile(&[5.0], 0.3) - 5.0).abs() < 1e-12);
    }
}
