//! A range of numbers, and the scale on which it is searched.

use crate::error::{Problems, Result};
use crate::named_enum::named_enum;

named_enum! {
    /// Scale of a range as its author names it (`ScalingType` of the service).
    ScalingType {
        /// The program chooses, see [`NumberRange::new`].
        Auto = "Auto",
        /// Equal steps are equally likely.
        Linear = "Linear",
        /// Equal ratios are equally likely.
        Logarithmic = "Logarithmic",
        /// Equal ratios of the distance from 1 are equally likely.
        ReverseLogarithmic = "ReverseLogarithmic",
    }
}

/// Kind of the numbers of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberKind {
    /// Whole numbers.
    Integer,
    /// Numbers with a fraction.
    Continuous,
}

/// Scale on which a range is searched; `Auto` has been decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Positions are the values `x` themselves.
    Linear,
    /// Positions are `ln x`.
    Logarithmic,
    /// Positions are `-ln(1 - x)`.
    ReverseLogarithmic,
}

/// Ratio of the bounds from which `Auto` is logarithmic: two powers of ten.
const AUTO_LOGARITHMIC_RATIO: f64 = 100.0;

/// Largest size of a whole number, 2^53 - 1: up to it, 64-bit floats hold every whole number.
const MAX_INTEGER: f64 = 9_007_199_254_740_991.0;

/// Numbers between two bounds, which both belong to it, on a scale.
///
/// Samplers work on *positions*, the values on the scale. A whole number is a cell of positions that
/// reaches half a step to either side, so that the first and the last are as likely as the others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NumberRange {
    kind: NumberKind,
    min: f64,
    max: f64,
    scale: Scale,
}

impl NumberRange {
    /// Creates a range after checking its bounds. `Auto` becomes logarithmic if `min` is above 0 and
    /// `max` is 100 times `min` or more, else linear. The problems name `MinValue`, `MaxValue` and
    /// `ScalingType`; the caller puts the range's name before them.
    pub fn new(kind: NumberKind, min: f64, max: f64, scaling: ScalingType) -> Result<Self> {
        let mut problems = Problems::new();
        for (key, value) in [("MinValue", min), ("MaxValue", max)] {
            if !value.is_finite() {
                problems.push(format!("{key} is {value}; allowed: a finite number"));
            } else if kind == NumberKind::Integer && !is_whole(value) {
                problems.push(format!(
                    "{key} is {value}; allowed: a whole number from -{MAX_INTEGER} to {MAX_INTEGER}"
                ));
            }
        }
        if min > max {
            problems.push(format!(
                "MinValue {min} is above MaxValue {max}; exchange them, or correct one"
            ));
        } else if (max - min).is_infinite() && min.is_finite() && max.is_finite() {
            problems.push(format!(
                "MaxValue {max} less MinValue {min} is more than a number can hold; narrow the range"
            ));
        }
        let scale = choose_scale(kind, min, max, scaling, &mut problems);
        problems.into_result()?;
        // No negative zero: it would be written as "-0.0".
        Ok(Self { kind, min: min + 0.0, max: max + 0.0, scale })
    }

    /// Returns the kind of the numbers.
    pub fn kind(&self) -> NumberKind {
        self.kind
    }

    /// Returns the lower bound, which belongs to the range.
    pub fn min(&self) -> f64 {
        self.min
    }

    /// Returns the upper bound, which belongs to the range.
    pub fn max(&self) -> f64 {
        self.max
    }

    /// Returns the scale.
    pub fn scale(&self) -> Scale {
        self.scale
    }

    /// Returns true if the range has one value, or its bounds have one position by rounding.
    pub fn is_single(&self) -> bool {
        let (low, high) = self.positions();
        self.min >= self.max || low >= high
    }

    /// Returns the lowest and the highest position.
    pub fn positions(&self) -> (f64, f64) {
        match self.kind {
            NumberKind::Integer => (self.cell(self.min).0, self.cell(self.max).1),
            NumberKind::Continuous => (self.position(self.min), self.position(self.max)),
        }
    }

    /// Returns the position of a value.
    pub fn position(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => value,
            Scale::Logarithmic => value.ln(),
            Scale::ReverseLogarithmic => -(-value).ln_1p(),
        }
    }

    /// Returns the positions between which a whole number lies, half a step to either side.
    pub fn cell(&self, value: f64) -> (f64, f64) {
        (self.position(value - 0.5), self.position(value + 0.5))
    }

    /// Returns the value of the range that is nearest to a position.
    pub fn value_at(&self, position: f64) -> f64 {
        let value = match self.scale {
            Scale::Linear => position,
            Scale::Logarithmic => position.exp(),
            Scale::ReverseLogarithmic => -(-position).exp_m1(),
        };
        let value = match self.kind {
            NumberKind::Integer => value.round(),
            NumberKind::Continuous => value,
        };
        // The sum turns -0.0 into 0.0.
        value.clamp(self.min, self.max) + 0.0
    }

    /// Returns the text of a value: whole numbers without a point, others as the shortest text that
    /// reads back as the same number.
    pub fn format_value(&self, value: f64) -> String {
        match self.kind {
            NumberKind::Integer => format!("{value:.0}"),
            NumberKind::Continuous => format!("{value:?}"),
        }
    }

    /// Reads a value, or returns `None` if the text is no number of this range.
    pub fn parse_value(&self, text: &str) -> Option<f64> {
        let value: f64 = text.trim().parse().ok()?;
        let has_kind = self.kind == NumberKind::Continuous || is_whole(value);
        (has_kind && self.min <= value && value <= self.max).then_some(value)
    }
}

/// Returns true for a whole number that 64-bit floats hold together with its neighbors.
fn is_whole(value: f64) -> bool {
    value.fract() == 0.0 && value.abs() <= MAX_INTEGER
}

/// Returns the scale that a `ScalingType` means for these bounds, and tells problems with it.
fn choose_scale(
    kind: NumberKind,
    min: f64,
    max: f64,
    scaling: ScalingType,
    problems: &mut Problems,
) -> Scale {
    match scaling {
        ScalingType::Auto => {
            let is_wide = min > 0.0 && max / min >= AUTO_LOGARITHMIC_RATIO;
            if is_wide { Scale::Logarithmic } else { Scale::Linear }
        }
        ScalingType::Linear => Scale::Linear,
        ScalingType::Logarithmic => {
            if min <= 0.0 {
                problems.push(format!(
                    "MinValue is {min} and ScalingType is Logarithmic, which needs numbers above 0; \
                     raise MinValue, or choose Linear"
                ));
            }
            Scale::Logarithmic
        }
        ScalingType::ReverseLogarithmic => {
            if kind == NumberKind::Integer {
                problems.push(
                    "ScalingType is ReverseLogarithmic, which is for continuous ranges; allowed: \
                     Auto, Linear, Logarithmic",
                );
            } else if min < 0.0 || max >= 1.0 {
                problems.push(format!(
                    "the range is {min} to {max} and ScalingType is ReverseLogarithmic, which needs \
                     0 <= MinValue and MaxValue < 1; narrow the range, or choose Linear"
                ));
            }
            Scale::ReverseLogarithmic
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(kind: NumberKind, min: f64, max: f64, scaling: ScalingType) -> NumberRange {
        NumberRange::new(kind, min, max, scaling).unwrap()
    }

    #[test]
    fn auto_is_logarithmic_from_two_powers_of_ten_on() {
        let scale = |min, max| range(NumberKind::Continuous, min, max, ScalingType::Auto).scale();
        assert_eq!(scale(0.001, 0.1), Scale::Logarithmic);
        assert_eq!(scale(0.001, 0.0999), Scale::Linear);
        assert_eq!(scale(0.0, 1000.0), Scale::Linear);
        assert_eq!(scale(-1.0, 1000.0), Scale::Linear);
    }

    #[test]
    fn a_reversed_logarithm_spreads_values_near_one() {
        let range = range(NumberKind::Continuous, 0.9, 0.999, ScalingType::ReverseLogarithmic);
        let (low, high) = range.positions();
        assert!((range.value_at(f64::midpoint(low, high)) - 0.99).abs() < 1e-12);
        assert!(range.value_at(low) >= 0.9 && range.value_at(high) <= 0.999);
    }

    #[test]
    fn whole_numbers_have_cells_of_one_step() {
        let range = range(NumberKind::Integer, 1.0, 3.0, ScalingType::Linear);
        assert_eq!(range.positions(), (0.5, 3.5));
        let values: Vec<f64> = [0.5, 1.49, 1.51, 3.5].map(|at| range.value_at(at)).to_vec();
        assert_eq!(values, [1.0, 1.0, 2.0, 3.0]);
        assert_eq!(range.format_value(2.0), "2");
        assert_eq!(range.parse_value("2.0"), Some(2.0));
        assert_eq!(range.parse_value("2.5"), None);
        assert_eq!(range.parse_value("4"), None);
    }

    #[test]
    fn bounds_are_checked_together() {
        let error =
            NumberRange::new(NumberKind::Integer, 5.5, 0.0, ScalingType::Logarithmic).unwrap_err();
        let problems = error.problems().join("\n");
        assert!(problems.contains("MinValue is 5.5"), "{problems}");
        assert!(problems.contains("above MaxValue"), "{problems}");

        let is_refused = |min, max, scaling| {
            NumberRange::new(NumberKind::Continuous, min, max, scaling).is_err()
        };
        assert!(is_refused(f64::NAN, 1.0, ScalingType::Auto));
        assert!(is_refused(0.0, f64::INFINITY, ScalingType::Auto));
        assert!(is_refused(-f64::MAX, f64::MAX, ScalingType::Auto));
        assert!(is_refused(0.0, 1.0, ScalingType::Logarithmic));
        assert!(is_refused(0.5, 1.0, ScalingType::ReverseLogarithmic));
        assert!(is_refused(-0.1, 0.5, ScalingType::ReverseLogarithmic));
    }
}
