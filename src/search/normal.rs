//! The normal distribution: masses of intervals, densities, and draws within bounds.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Size of an argument from which [`erfc`] is computed by its continued fraction: there it takes
/// fewer terms than the series and keeps all digits of a small result.
const FRACTION_FROM: f64 = 2.5;

/// Number of terms of the continued fraction. At 2.5 half of them give 15 digits, beyond it fewer.
const FRACTION_TERMS: u32 = 80;

/// Returns the complementary error function, 2 / sqrt(pi) times the integral of exp(-t^2) from `x`
/// to infinity.
fn erfc(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    if x < FRACTION_FROM { 1.0 - erf_series(x) } else { erfc_fraction(x) }
}

/// Returns the error function of a number from 0 to about 3, by the series of positive terms of
/// Abramowitz and Stegun, "Handbook of Mathematical Functions", 7.1.6.
fn erf_series(x: f64) -> f64 {
    let mut term = x;
    let mut sum = x;
    let mut odd = 1.0;
    while term > sum * 1e-17 {
        odd += 2.0;
        term *= 2.0 * x * x / odd;
        sum += term;
    }
    2.0 / PI.sqrt() * (-x * x).exp() * sum
}

/// Returns the complementary error function of a number that is not small, by the continued fraction
/// of Abramowitz and Stegun, 7.1.14, from its last term to its first.
fn erfc_fraction(x: f64) -> f64 {
    let mut denominator = x;
    for term in (1..=FRACTION_TERMS).rev() {
        denominator = x + f64::from(term) / 2.0 / denominator;
    }
    (-x * x).exp() / (PI.sqrt() * denominator)
}

/// Returns the mass of the standard normal distribution between two numbers, the lower one first. It
/// is computed in the tail that holds the interval, where no digits cancel out.
pub(super) fn normal_mass(low: f64, high: f64) -> f64 {
    if high < 0.0 {
        return normal_mass(-high, -low);
    }
    let above_high = 0.5 * erfc(high * FRAC_1_SQRT_2);
    if low > 0.0 {
        return 0.5 * erfc(low * FRAC_1_SQRT_2) - above_high;
    }
    1.0 - above_high - 0.5 * erfc(-low * FRAC_1_SQRT_2)
}

/// Returns the logarithm of the standard normal density.
pub(super) fn log_normal_density(x: f64) -> f64 {
    -0.5 * (x * x + (2.0 * PI).ln())
}

/// Draws from a normal distribution within bounds. The center lies within them, and the deviation is
/// at most their distance, so that at least a third of the tries succeed.
pub(super) fn draw_truncated_normal(
    center: f64,
    deviation: f64,
    (low, high): (f64, f64),
    rng: &mut ChaCha8Rng,
) -> f64 {
    loop {
        let value = center + deviation * draw_standard_normal(rng);
        if low <= value && value <= high {
            return value;
        }
    }
}

/// Draws from the standard normal distribution by the method of Box and Muller.
fn draw_standard_normal(rng: &mut ChaCha8Rng) -> f64 {
    // From 1 down to above 0, so that the logarithm is finite.
    let radius_share = 1.0 - rng.random::<f64>();
    let angle_share: f64 = rng.random();
    (-2.0 * radius_share.ln()).sqrt() * (2.0 * PI * angle_share).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::random::{Purpose, generator};

    #[test]
    fn masses_have_all_digits_in_the_middle_and_in_the_tails() {
        // scipy.stats.norm: cdf(b) - cdf(a), and by symmetry in the upper tail.
        let cases = [
            (-1.0, 1.0, 0.682_689_492_137_085_9),
            (0.0, 0.1, 0.039_827_837_277_028_99),
            (3.0, 4.0, 0.001_318_226_789_796_973_5),
            (-4.0, -3.0, 0.001_318_226_789_796_973_5),
            (10.0, 11.0, 7.619_661_958_203_02e-24),
            (-0.5, 30.0, 0.691_462_461_274_013_1),
        ];
        for (low, high, expected) in cases {
            let mass = normal_mass(low, high);
            assert!((mass / expected - 1.0).abs() < 1e-12, "{low} to {high}: {mass:e}");
        }
        assert!((erfc(FRACTION_FROM) / (1.0 - erf_series(FRACTION_FROM)) - 1.0).abs() < 1e-11);
    }

    #[test]
    fn draws_have_the_mean_and_deviation_of_the_normal_distribution() {
        let mut rng = generator(1, Purpose::SearchTpe, 0, 0);
        let draws: Vec<f64> =
            (0..20_000).map(|_| draw_truncated_normal(2.0, 0.5, (-1.0, 5.0), &mut rng)).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance =
            draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        // Three standard errors.
        assert!((mean - 2.0).abs() < 0.011, "{mean}");
        assert!((variance.sqrt() - 0.5).abs() < 0.008, "{variance}");
    }
}
