//! Loss scaling. Half precision has no positive numbers below 6e-8, and many gradients are smaller.
//! The loss is multiplied by a factor that brings gradients into range, and the gradients are
//! divided by this factor again in 32 bits. The factor is found as by PyTorch's `GradScaler`, with
//! its constants.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::gradients;
use crate::error::{Error, Result};

/// Factor before the first step.
const INIT_SCALE: f64 = 65536.0;
/// Number of steps in a row without overflow after which the factor is doubled.
const GROWTH_INTERVAL: u32 = 2000;
/// Limits of the factor, so that the factor and its inverse are normal 32-bit numbers.
const MAX_SCALE: f64 = (1u64 << 40) as f64;
const MIN_SCALE: f64 = 1.0 / MAX_SCALE;
/// Number of overflows in a row after which training fails.
const MAX_CONSECUTIVE_OVERFLOWS: u32 = 50;

/// The factor and the recent overflows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LossScale {
    scale: f64,
    /// Steps in a row that did not overflow.
    good: u32,
    /// Steps in a row that overflowed.
    bad: u32,
}

impl Default for LossScale {
    fn default() -> Self {
        Self { scale: INIT_SCALE, good: 0, bad: 0 }
    }
}

impl LossScale {
    /// Returns the factor that the loss is multiplied by.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Returns the factor and the counts of recent steps, for other ranks.
    pub(super) fn to_numbers(&self) -> Vec<f64> {
        vec![self.scale, self.good.into(), self.bad.into()]
    }

    /// Reads the numbers of [`to_numbers`](Self::to_numbers).
    pub(super) fn from_numbers(numbers: &[f64]) -> Self {
        match numbers {
            &[scale, good, bad] => Self { scale, good: good as u32, bad: bad as u32 },
            _ => Self::default(),
        }
    }

    /// Divides gradients by the factor and returns true. If the gradients are not finite, halves
    /// the factor and returns false: they overflowed and must not be used. Many overflows in a row
    /// are an error.
    pub fn unscale(&mut self, gradients: &mut [Tensor], is_finite: bool) -> Result<bool> {
        if is_finite {
            gradients::scale_gradients(gradients, 1.0 / self.scale)?;
            (self.good, self.bad) = (self.good + 1, 0);
            if self.good == GROWTH_INTERVAL {
                *self = Self { scale: (self.scale * 2.0).min(MAX_SCALE), ..Self::default() };
            }
        } else {
            let scale = (self.scale / 2.0).max(MIN_SCALE);
            *self = Self { scale, good: 0, bad: self.bad + 1 };
            if self.bad == MAX_CONSECUTIVE_OVERFLOWS {
                return Err(Error::input(format!(
                    "with precision fp16 the gradients overflowed in {MAX_CONSECUTIVE_OVERFLOWS} steps in a row; set \
                     precision to bf16 or fp32"
                )));
            }
        }
        Ok(is_finite)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_come_back_and_the_factor_grows_after_a_long_time_without_overflow() {
        let mut scale = LossScale::default();
        for step in 0..GROWTH_INTERVAL {
            assert_eq!(scale, LossScale { scale: INIT_SCALE, good: step, bad: 0 });
            let mut gradients = vec![Tensor::from_slice(&[(0.25 * INIT_SCALE) as f32])];
            assert!(scale.unscale(&mut gradients, true).unwrap());
            assert!((gradients[0].double_value(&[0]) - 0.25).abs() < 1e-9);
        }
        assert_eq!(scale, LossScale { scale: 2.0 * INIT_SCALE, good: 0, bad: 0 });
    }

    #[test]
    fn overflow_halves_the_factor_and_the_gradients_are_not_to_be_used() {
        let mut scale = LossScale { scale: 8.0, good: 7, bad: 0 };
        let mut gradients = vec![Tensor::from_slice(&[f32::INFINITY])];
        assert!(!scale.unscale(&mut gradients, false).unwrap());
        assert_eq!(scale, LossScale { scale: 4.0, good: 0, bad: 1 });
        let mut good = vec![Tensor::from_slice(&[1.0f32])];
        assert!(scale.unscale(&mut good, true).unwrap());
        assert_eq!(scale, LossScale { scale: 4.0, good: 1, bad: 0 });
    }

    #[test]
    fn overflow_that_no_factor_helps_is_an_error_that_names_the_fix() {
        let mut scale = LossScale::default();
        let said = (0..=MAX_CONSECUTIVE_OVERFLOWS).find_map(|_| {
            let mut gradients = vec![Tensor::from_slice(&[f32::NAN])];
            scale.unscale(&mut gradients, false).err()
        });
        assert!(said.unwrap().to_string().contains("set precision to bf16 or fp32"));
    }
}
