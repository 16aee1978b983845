//! Operations on lists of tensors, PyTorch's `torch._foreach_*`. A GPU computes a whole list by few
//! kernels if its tensors have the same shape and strides as those at the same place in the other
//! lists; a processor computes one tensor after the other.

// Calls foreach.cpp; each block says why it is sound.
#![allow(unsafe_code)]

use std::ffi::c_char;

use tch::Tensor;
use torch_sys::C_tensor;

use super::ffi::{check_call, tensor_from_raw, tensor_pointers};
use crate::error::{Error, Result};

type RawTensors = *const *const C_tensor;
type ErrorMessage = *mut *mut c_char;

unsafe extern "C" {
    fn maskmaker_foreach_scale(
        tensors: RawTensors,
        count: usize,
        factor: f64,
        error_message: ErrorMessage,
    ) -> bool;
    fn maskmaker_foreach_scale_by_tensor(
        tensors: RawTensors,
        count: usize,
        factor: *const C_tensor,
        error_message: ErrorMessage,
    ) -> bool;
    fn maskmaker_foreach_divide(
        tensors: RawTensors,
        count: usize,
        divisor: f64,
        error_message: ErrorMessage,
    ) -> bool;
    fn maskmaker_foreach_add_scalar(
        tensors: RawTensors,
        count: usize,
        addend: f64,
        error_message: ErrorMessage,
    ) -> bool;
    fn maskmaker_foreach_add(
        tensors: RawTensors,
        addends: RawTensors,
        count: usize,
        factor: f64,
        error_message: ErrorMessage,
    ) -> bool;
    fn maskmaker_foreach_lerp(
        tensors: RawTensors,
        ends: RawTensors,
        count: usize,
        weight: f64,
        error_message: ErrorMessage,
    ) -> bool;
    fn maskmaker_foreach_add_product(
        tensors: RawTensors,
        a: RawTensors,
        b: RawTensors,
        count: usize,
        factor: f64,
        error_message: ErrorMessage,
    ) -> bool;
    fn maskmaker_foreach_add_quotient(
        tensors: RawTensors,
        dividends: RawTensors,
        divisors: RawTensors,
        count: usize,
        factor: f64,
        error_message: ErrorMessage,
    ) -> bool;
    fn maskmaker_foreach_zero(
        tensors: RawTensors,
        count: usize,
        error_message: ErrorMessage,
    ) -> bool;
    fn maskmaker_foreach_sqrt(
        tensors: RawTensors,
        count: usize,
        results: *mut *mut C_tensor,
        error_message: ErrorMessage,
    ) -> bool;
    fn maskmaker_foreach_norm(
        tensors: RawTensors,
        count: usize,
        results: *mut *mut C_tensor,
        error_message: ErrorMessage,
    ) -> bool;
}

/// Multiplies each tensor by `factor`.
pub fn scale(tensors: &mut [Tensor], factor: f64) -> Result<()> {
    run(tensors, [], |tensors, [], count, message| {
        // SAFETY: `run` gives lists of `count` tensors that live until the call is over.
        unsafe { maskmaker_foreach_scale(tensors, count, factor, message) }
    })
}

/// Multiplies each tensor by `factor`, a scalar on their device.
pub fn scale_by_tensor(tensors: &mut [Tensor], factor: &Tensor) -> Result<()> {
    run(tensors, [], |tensors, [], count, message| {
        // SAFETY: as in `scale`; `factor` lives until the call is over, too.
        unsafe { maskmaker_foreach_scale_by_tensor(tensors, count, factor.as_ptr(), message) }
    })
}

/// Divides each tensor by `divisor`.
pub fn divide(tensors: &mut [Tensor], divisor: f64) -> Result<()> {
    run(tensors, [], |tensors, [], count, message| {
        // SAFETY: as in `scale`.
        unsafe { maskmaker_foreach_divide(tensors, count, divisor, message) }
    })
}

/// Adds `addend` to each element.
pub fn add_scalar(tensors: &mut [Tensor], addend: f64) -> Result<()> {
    run(tensors, [], |tensors, [], count, message| {
        // SAFETY: as in `scale`.
        unsafe { maskmaker_foreach_add_scalar(tensors, count, addend, message) }
    })
}

/// Adds `factor * addend` to each tensor.
pub fn add(tensors: &mut [Tensor], addends: &[Tensor], factor: f64) -> Result<()> {
    run(tensors, [addends], |tensors, [addends], count, message| {
        // SAFETY: as in `scale`.
        unsafe { maskmaker_foreach_add(tensors, addends, count, factor, message) }
    })
}

/// Moves each tensor towards its `end` by the share `weight`, 0 to 1, of the difference.
pub fn lerp(tensors: &mut [Tensor], ends: &[Tensor], weight: f64) -> Result<()> {
    run(tensors, [ends], |tensors, [ends], count, message| {
        // SAFETY: as in `scale`.
        unsafe { maskmaker_foreach_lerp(tensors, ends, count, weight, message) }
    })
}

/// Adds `factor * a * b` to each tensor, as `torch.addcmul`.
pub fn add_product(tensors: &mut [Tensor], a: &[Tensor], b: &[Tensor], factor: f64) -> Result<()> {
    run(tensors, [a, b], |tensors, [a, b], count, message| {
        // SAFETY: as in `scale`.
        unsafe { maskmaker_foreach_add_product(tensors, a, b, count, factor, message) }
    })
}

/// Adds `factor * dividend / divisor` to each tensor, as `torch.addcdiv`.
pub fn add_quotient(
    tensors: &mut [Tensor],
    dividends: &[Tensor],
    divisors: &[Tensor],
    factor: f64,
) -> Result<()> {
    run(tensors, [dividends, divisors], |tensors, [dividends, divisors], count, message| {
        // SAFETY: as in `scale`.
        unsafe {
            maskmaker_foreach_add_quotient(tensors, dividends, divisors, count, factor, message)
        }
    })
}

/// Makes each element 0.
pub fn zero(tensors: &mut [Tensor]) -> Result<()> {
    run(tensors, [], |tensors, [], count, message| {
        // SAFETY: as in `scale`.
        unsafe { maskmaker_foreach_zero(tensors, count, message) }
    })
}

/// Returns the square roots of the tensors' elements.
pub fn sqrt(tensors: &[Tensor]) -> Result<Vec<Tensor>> {
    run_into(tensors, |tensors, count, results, message| {
        // SAFETY: `run_into` gives a list of `count` tensors that live until the call is over, and
        // memory for as many results.
        unsafe { maskmaker_foreach_sqrt(tensors, count, results, message) }
    })
}

/// Returns the Euclidean norm of each tensor, a scalar on its device.
pub fn norm(tensors: &[Tensor]) -> Result<Vec<Tensor>> {
    run_into(tensors, |tensors, count, results, message| {
        // SAFETY: as in `sqrt`.
        unsafe { maskmaker_foreach_norm(tensors, count, results, message) }
    })
}

/// Calls `operation` with the pointers of lists of the same length. libtorch refuses empty lists, of
/// which nothing is to be computed.
fn run<const N: usize>(
    tensors: &mut [Tensor],
    others: [&[Tensor]; N],
    operation: impl FnOnce(RawTensors, [RawTensors; N], usize, ErrorMessage) -> bool,
) -> Result<()> {
    if others.iter().any(|other| other.len() != tensors.len()) {
        return Err(Error::internal("lists of tensors have different lengths"));
    }
    if tensors.is_empty() {
        return Ok(());
    }
    let pointers = tensor_pointers(tensors);
    let other_pointers = others.map(tensor_pointers);
    let mut error_message = std::ptr::null_mut();
    let is_done = operation(
        pointers.as_ptr(),
        other_pointers.each_ref().map(Vec::as_ptr),
        pointers.len(),
        &raw mut error_message,
    );
    check_call(is_done, error_message)
}

/// Calls `operation` with the pointers of a list, and memory for a result of each tensor.
fn run_into(
    tensors: &[Tensor],
    operation: impl FnOnce(RawTensors, usize, *mut *mut C_tensor, ErrorMessage) -> bool,
) -> Result<Vec<Tensor>> {
    if tensors.is_empty() {
        return Ok(Vec::new());
    }
    let pointers = tensor_pointers(tensors);
    let mut raw_results = vec![std::ptr::null_mut(); tensors.len()];
    let mut error_message = std::ptr::null_mut();
    let is_done = operation(
        pointers.as_ptr(),
        pointers.len(),
        raw_results.as_mut_ptr(),
        &raw mut error_message,
    );
    check_call(is_done, error_message)?;
    let mut results = Vec::with_capacity(raw_results.len());
    for raw in raw_results {
        results.push(tensor_from_raw(raw, std::ptr::null_mut())?);
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(values: [f32; 2]) -> Vec<Tensor> {
        values.map(|value| Tensor::from_slice(&[value])).into()
    }

    fn values(tensors: &[Tensor]) -> Vec<f32> {
        tensors.iter().map(|tensor| tensor.double_value(&[0]) as f32).collect()
    }

    #[test]
    fn each_operation_computes_each_tensor_of_a_list() {
        let mut tensors = pair([2.0, 3.0]);
        scale(&mut tensors, 4.0).unwrap();
        assert_eq!(values(&tensors), [8.0, 12.0]);
        scale_by_tensor(&mut tensors, &Tensor::from(0.5f32)).unwrap();
        assert_eq!(values(&tensors), [4.0, 6.0]);
        divide(&mut tensors, 2.0).unwrap();
        assert_eq!(values(&tensors), [2.0, 3.0]);
        add_scalar(&mut tensors, 1.0).unwrap();
        assert_eq!(values(&tensors), [3.0, 4.0]);
        add(&mut tensors, &pair([1.0, 2.0]), -1.0).unwrap();
        assert_eq!(values(&tensors), [2.0, 2.0]);
        lerp(&mut tensors, &pair([4.0, 6.0]), 0.25).unwrap();
        assert_eq!(values(&tensors), [2.5, 3.0]);
        add_product(&mut tensors, &pair([1.0, 2.0]), &pair([3.0, 4.0]), 0.5).unwrap();
        assert_eq!(values(&tensors), [4.0, 7.0]);
        add_quotient(&mut tensors, &pair([8.0, 6.0]), &pair([2.0, 3.0]), 2.0).unwrap();
        assert_eq!(values(&tensors), [12.0, 11.0]);
        zero(&mut tensors).unwrap();
        assert_eq!(values(&tensors), [0.0, 0.0]);
        assert_eq!(values(&sqrt(&pair([4.0, 9.0])).unwrap()), [2.0, 3.0]);
        let norms = norm(&[Tensor::from_slice(&[3.0f32, 4.0]), Tensor::from(2.0f32)]).unwrap();
        assert_eq!(norms.iter().map(|norm| norm.double_value(&[])).collect::<Vec<_>>(), [5.0, 2.0]);
    }

    #[test]
    fn lists_that_do_not_fit_are_an_error_and_empty_ones_none() {
        let error = add(&mut pair([1.0, 2.0]), &pair([1.0, 2.0])[..1], 1.0).unwrap_err();
        assert!(error.to_string().contains("different lengths"), "{error}");
        let other_shape = [Tensor::from_slice(&[1.0f32, 2.0, 3.0])];
        assert!(add(&mut [Tensor::from_slice(&[1.0f32, 2.0])], &other_shape, 1.0).is_err());
        add(&mut [], &[], 1.0).unwrap();
        assert!(sqrt(&[]).unwrap().is_empty());
    }
}
