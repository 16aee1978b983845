//! The axes of charts: their ranges of values, ticks and labels.

/// Approximate largest number of ticks on a vertical axis.
const MAX_TICKS: f64 = 5.0;
/// Approximate largest number of ticks on an axis of counts, which is longer and has short labels.
const MAX_COUNT_TICKS: f64 = 12.0;

/// A linear axis.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    /// Value at the start.
    pub(super) low: f64,
    /// Value at the end, above `low`.
    pub(super) high: f64,
    step: f64,
}

impl Axis {
    /// Makes an axis between two values.
    pub(super) fn from_range(low: f64, high: f64) -> Self {
        Self::new(low, high, MAX_TICKS)
    }

    /// Makes an axis of counts, whose ticks are whole numbers.
    pub(super) fn from_counts(low: f64, high: f64) -> Self {
        let axis = Self::new(low, high, MAX_COUNT_TICKS);
        Self { step: axis.step.max(1.0), ..axis }
    }

    /// Makes an axis with about `ticks` ticks at most, at multiples of 1, 2 or 5 times a power of
    /// ten.
    fn new(low: f64, high: f64, ticks: f64) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        let min_step = (high - low) / ticks;
        let power = 10f64.powi(min_step.log10().floor() as i32);
        for factor in [1.0, 2.0, 5.0, 10.0] {
            let step = factor * power;
            if step >= min_step {
                return Self { low, high, step };
            }
        }
        Self { low, high, step: min_step }
    }

    /// Makes an axis that holds all finite values, begins at 0 if none is negative, and ends at a
    /// tick.
    pub(super) fn from_values(values: impl Iterator<Item = f64>) -> Self {
        let (mut low, mut high) = (0.0_f64, f64::MIN_POSITIVE);
        for value in values {
            if value.is_finite() {
                (low, high) = (low.min(value), high.max(value));
            }
        }
        let high = if high > f64::MIN_POSITIVE || low < 0.0 { high } else { 1.0 };
        let step = Self::from_range(low, high).step;
        let (low, high) = ((low / step).floor() * step, (high / step).ceil() * step);
        Self { low, high, step }
    }

    /// Returns the position of a value: 0 at the start, 1 at the end.
    pub(super) fn fraction(&self, value: f64) -> f64 {
        // Halves, because the difference of large numbers may have no number.
        (value / 2.0 - self.low / 2.0) / (self.high / 2.0 - self.low / 2.0)
    }

    /// Lists the values with a tick, and their labels.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let (first, last) = (self.low / self.step, self.high / self.step);
        // A tolerance makes up for rounding: 0.3 / 0.1 is not quite 3.
        let (first, last) = ((first - 1e-9).ceil() as i64, (last + 1e-9).floor() as i64);
        let mut ticks = Vec::new();
        for index in first..=last {
            let value = index as f64 * self.step;
            ticks.push((value, self.format_label(value)));
        }
        ticks
    }

    fn format_label(&self, value: f64) -> String {
        let largest = self.low.abs().max(self.high.abs());
        if value.abs() < self.step / 2.0 {
            "0".to_owned()
        } else if self.step < 1e-4 || largest >= 1e6 {
            format!("{value:.1e}").replace(".0e", "e")
        } else {
            let decimals = (-(self.step * 1.000_001).log10().floor()).max(0.0) as usize;
            format!("{value:.decimals$}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<String> {
        axis.ticks().into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round_numbers_that_cover_the_values() {
        let axis = Axis::from_values([0.31, 1.27, f64::NAN].into_iter());
        assert_eq!(labels(&axis), ["0", "0.5", "1.0", "1.5"]);
        assert!((axis.fraction(1.5) - 1.0).abs() < 1e-12 && axis.fraction(0.0).abs() < 1e-12);
        let axis = Axis::from_values([0.0001].into_iter());
        assert_eq!(labels(&axis), ["0", "2e-5", "4e-5", "6e-5", "8e-5", "1e-4"]);
        assert_eq!(labels(&Axis::from_range(0.0, 1.0)), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(
            labels(&Axis::from_values([-2.0, 3.0].into_iter())),
            ["-2", "-1", "0", "1", "2", "3"]
        );
    }

    #[test]
    fn counted_things_have_whole_ticks() {
        assert_eq!(labels(&Axis::from_counts(1.0, 3.0)), ["1", "2", "3"]);
        assert_eq!(
            labels(&Axis::from_counts(1.0, 16.0)),
            ["2", "4", "6", "8", "10", "12", "14", "16"]
        );
        assert_eq!(labels(&Axis::from_counts(1.0, 50.0)).len(), 10);
    }

    #[test]
    fn any_values_give_a_few_ticks() {
        for values in [[0.0, 0.0], [1e-300, 0.0], [1e300, -1e300], [5.0, 5.0], [f64::NAN, 0.0]] {
            let axis = Axis::from_values(values.into_iter());
            assert!((2..=12).contains(&axis.ticks().len()), "{values:?} {axis:?}");
            assert!(axis.high > axis.low);
        }
    }
}
