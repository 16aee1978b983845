//! Operations on gradients between the backward pass and the update. Parameters without a gradient
//! have an undefined tensor, which is left out.

use tch::Tensor;

use crate::error::{Error, Result};
use crate::torch::foreach;

/// Addend to the norm, so that a norm of 0 is not divided by (as in PyTorch's `clip_grad_norm_`).
const EPSILON: f64 = 1e-6;

/// Lists the gradients that are there.
fn defined_gradients(gradients: &[Tensor]) -> Vec<Tensor> {
    let mut defined = Vec::with_capacity(gradients.len());
    for gradient in gradients {
        if gradient.defined() {
            defined.push(gradient.shallow_clone());
        }
    }
    defined
}

/// Adds `addends` to `totals`, gradient by gradient. All parts of a batch have gradients of the same
/// parameters.
pub(super) fn accumulate_gradients(totals: &mut [Tensor], addends: &[Tensor]) -> Result<()> {
    let (mut totals_there, mut addends_there) = (Vec::new(), Vec::new());
    for (total, addend) in totals.iter().zip(addends) {
        match (total.defined(), addend.defined()) {
            (true, true) => {
                totals_there.push(total.shallow_clone());
                addends_there.push(addend.shallow_clone());
            }
            (false, false) => {}
            _ => {
                return Err(Error::internal("a parameter has a gradient in some parts of a batch"));
            }
        }
    }
    foreach::add(&mut totals_there, &addends_there, 1.0)
}

/// Computes the Euclidean norm of all gradients together, a scalar on their device.
pub(super) fn gradient_norm(gradients: &[Tensor]) -> Result<Tensor> {
    let norms = foreach::norm(&defined_gradients(gradients))?;
    if norms.is_empty() {
        return Ok(Tensor::from(0.0f32));
    }
    Ok(Tensor::f_stack(&norms, 0)?.f_norm()?)
}

/// Scales all gradients, whose norm together is `norm`, so that it is at most `max_norm`, as
/// `torch.nn.utils.clip_grad_norm_`. All is computed on the device, without waiting for it.
pub(super) fn clip_gradients(gradients: &mut [Tensor], norm: &Tensor, max_norm: f64) -> Result<()> {
    let factor = norm.f_add_scalar(EPSILON)?.f_reciprocal()?.f_mul_scalar(max_norm)?;
    foreach::scale_by_tensor(&mut defined_gradients(gradients), &factor.f_clamp_max(1.0)?)
}

/// Multiplies all gradients by a number.
pub(super) fn scale_gradients(gradients: &mut [Tensor], factor: f64) -> Result<()> {
    foreach::scale(&mut defined_gradients(gradients), factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> Vec<Tensor> {
        vec![Tensor::from_slice(&[3.0f32, 0.0]), Tensor::from_slice(&[0.0f32, -4.0])]
    }

    fn clip(gradients: &mut [Tensor], max_norm: f64) {
        let norm = gradient_norm(gradients).unwrap();
        clip_gradients(gradients, &norm, max_norm).unwrap();
    }

    fn values(gradients: &[Tensor]) -> Vec<f32> {
        gradients.iter().flat_map(|gradient| Vec::<f32>::try_from(gradient).unwrap()).collect()
    }

    #[test]
    fn a_norm_above_the_limit_is_brought_down_to_it_and_one_below_stays() {
        let mut gradients = pair();
        assert!((gradient_norm(&gradients).unwrap().double_value(&[]) - 5.0).abs() < 1e-6);
        clip(&mut gradients, 10.0);
        assert_eq!(values(&gradients), values(&pair()));
        clip(&mut gradients, 1.0);
        for (got, expected) in values(&gradients).into_iter().zip([0.6f32, 0.0, 0.0, -0.8]) {
            assert!((got - expected).abs() < 1e-6, "{got} {expected}");
        }
        let mut zeros = vec![Tensor::from_slice(&[0.0f32])];
        clip(&mut zeros, 1.0);
        assert_eq!(values(&zeros), [0.0]);
    }

    #[test]
    fn gradients_are_added_parameter_by_parameter_or_not_at_all() {
        let mut totals = pair();
        totals.insert(1, Tensor::new());
        let mut addends = pair();
        addends.insert(1, Tensor::new());
        accumulate_gradients(&mut totals, &addends).unwrap();
        assert_eq!(values(&[totals.remove(0), totals.remove(1)]), [6.0, 0.0, 0.0, -8.0]);
        // As many are there, and of other parameters.
        let mut others = vec![Tensor::new()];
        others.extend(pair());
        assert!(accumulate_gradients(&mut others, &addends).is_err());
    }

    #[test]
    fn one_bad_number_is_in_the_norm() {
        let mut gradients = pair();
        assert!(gradient_norm(&gradients).unwrap().double_value(&[]).is_finite());
        gradients.push(Tensor::from_slice(&[1.0f32, f32::NAN]));
        assert!(!gradient_norm(&gradients).unwrap().double_value(&[]).is_finite());
    }
}
