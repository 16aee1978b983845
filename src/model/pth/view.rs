//! Copies of a tensor's elements from its storage, for any offset and strides.

use std::borrow::Cow;

use safetensors::Dtype;

use super::value::StridedTensor;
use crate::error::{Error, Result};

/// Largest number of dimensions of a tensor; weights have up to 4.
pub(super) const MAX_DIMENSIONS: usize = 8;

/// Checks that every element lies within `data`, and that there are not more than `max_elements` of
/// them: a stride of 0 could repeat an element any number of times.
pub(super) fn check_bounds(
    tensor: &StridedTensor<'_>,
    data: &[u8],
    max_elements: usize,
) -> Result<()> {
    let StridedTensor { shape, strides, offset, storage } = tensor;
    // A product that overflows is too large as well.
    let count = element_count(shape).unwrap_or(usize::MAX);
    if count > max_elements {
        return Err(Error::input(format!(
            "shape {shape:?} has more elements than the file has bytes: it repeats them; save a \
             copy of it (tensor.clone())"
        )));
    }
    if count == 0 {
        return Ok(());
    }
    let storage_elements = data.len() / element_bytes(storage.dtype);
    let last = last_element(*offset, shape, strides).unwrap_or(usize::MAX);
    if last >= storage_elements {
        return Err(Error::input(format!(
            "shape {shape:?} with strides {strides:?} from element {offset} reaches past its \
             storage of {storage_elements} elements; is the file whole?"
        )));
    }
    Ok(())
}

/// Returns the number of elements of a shape, if it is no overflow.
fn element_count(shape: &[usize]) -> Option<usize> {
    let mut count = 1_usize;
    for &side in shape {
        count = count.checked_mul(side)?;
    }
    Some(count)
}

/// Returns the largest index of an element in the storage, if it is no overflow. No side is 0.
fn last_element(offset: usize, shape: &[usize], strides: &[usize]) -> Option<usize> {
    let mut last = offset;
    for (&side, &stride) in shape.iter().zip(strides) {
        last = (side - 1).checked_mul(stride)?.checked_add(last)?;
    }
    Some(last)
}

/// Returns the elements in row-major order, for a tensor that [`check_bounds`] accepted.
pub(super) fn contiguous_bytes<'a>(
    tensor: &StridedTensor<'_>,
    data: &'a [u8],
) -> Result<Cow<'a, [u8]>> {
    let size = element_bytes(tensor.storage.dtype);
    let StridedTensor { shape, strides, offset, .. } = tensor;
    let count: usize = shape.iter().product();
    if count == 0 {
        return Ok(Cow::Borrowed(&[]));
    }
    if is_contiguous(shape, strides) {
        let range = offset * size..(offset + count) * size;
        return Ok(Cow::Borrowed(data.get(range).ok_or_else(out_of_bounds_error)?));
    }
    let mut bytes = Vec::with_capacity(count * size);
    let mut position = vec![0; shape.len()];
    let mut element = *offset;
    for _ in 0..count {
        let range = element * size..(element + 1) * size;
        bytes.extend_from_slice(data.get(range).ok_or_else(out_of_bounds_error)?);
        // This moves to the next position, the last dimension fastest.
        for dimension in (0..shape.len()).rev() {
            position[dimension] += 1;
            element += strides[dimension];
            if position[dimension] < shape[dimension] {
                break;
            }
            element -= strides[dimension] * shape[dimension];
            position[dimension] = 0;
        }
    }
    Ok(Cow::Owned(bytes))
}

/// Returns true if the elements lie one after the other in row-major order. The stride of a
/// dimension of one element is never used, and PyTorch writes any value there.
fn is_contiguous(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1;
    for (&side, &stride) in shape.iter().zip(strides).rev() {
        if side != 1 && stride != expected {
            return false;
        }
        expected *= side;
    }
    true
}

fn out_of_bounds_error() -> Error {
    Error::internal("a tensor that was checked reaches past its storage")
}

/// Returns the size of an element in bytes.
pub(super) fn element_bytes(dtype: Dtype) -> usize {
    (dtype.bitsize() / 8).max(1)
}
