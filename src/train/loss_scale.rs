//! Loss scaling: half precision has no numbers below 6e-8, where most gradients lie. The loss is
//! multiplied by a factor that lifts them, and the gradients are divided by it again in 32 bits. The
//! factor is searched as PyTorch's `GradScaler` does, with its numbers.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::gradients;
use crate::error::Result;

/// The factor at first.
const FIRST: f64 = 65536.0;
/// Steps in a row without overflow after which it is doubled.
const INTERVAL: u32 = 2000;
/// Where it stops: twice that would not be a number in half precision's place, 32 bits, for long.
const LARGEST: f64 = (1u64 << 40) as f64;

/// The factor, and how long it has done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LossScale {
    scale: f64,
    good: u32,
}

impl Default for LossScale {
    fn default() -> Self {
        Self { scale: FIRST, good: 0 }
    }
}

impl LossScale {
    /// What the loss is multiplied by.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Divides gradients by the factor and says whether they can be used. When they overflowed they
    /// cannot, and the factor is halved.
    pub fn unscale(&mut self, gradients: &mut [Tensor]) -> Result<bool> {
        let finite = gradients::are_finite(gradients)?;
        if finite {
            let factor = Tensor::from((1.0 / self.scale) as f32);
            let device = gradients.iter().find(|gradient| gradient.defined()).map(Tensor::device);
            let factor = device.map_or(Ok(factor.shallow_clone()), |d| factor.f_to_device(d))?;
            gradients::multiply(gradients, &factor)?;
            self.good += 1;
            if self.good == INTERVAL {
                *self = Self { scale: (self.scale * 2.0).min(LARGEST), good: 0 };
            }
        } else {
            *self = Self { scale: (self.scale / 2.0).max(f64::MIN_POSITIVE), good: 0 };
        }
        Ok(finite)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_come_back_and_the_factor_grows_after_a_long_time_without_overflow() {
        let mut scale = LossScale::default();
        for step in 0..INTERVAL {
            assert_eq!(scale, LossScale { scale: FIRST, good: step });
            let mut gradients = vec![Tensor::from_slice(&[(0.25 * FIRST) as f32])];
            assert!(scale.unscale(&mut gradients).unwrap());
            assert!((gradients[0].double_value(&[0]) - 0.25).abs() < 1e-9);
        }
        assert_eq!(scale, LossScale { scale: 2.0 * FIRST, good: 0 });
    }

    #[test]
    fn overflow_halves_the_factor_and_the_gradients_are_not_to_be_used() {
        let mut scale = LossScale { scale: 8.0, good: 7 };
        let mut gradients = vec![Tensor::from_slice(&[f32::INFINITY])];
        assert!(!scale.unscale(&mut gradients).unwrap());
        assert_eq!(scale, LossScale { scale: 4.0, good: 0 });
    }
}
