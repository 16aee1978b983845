//! A tensor's elements out of its storage, whatever its offset and strides.

use std::borrow::Cow;

use safetensors::Dtype;

use super::value::StridedTensor;
use crate::error::{Error, Result};

/// Dimensions of a tensor; weights have up to 4.
pub(super) const MAX_DIMENSIONS: usize = 8;

/// Checks that every element lies within `data`, and that there are not more of them than
/// `most`: strides of 0 could stand for any number.
pub(super) fn check_bounds(
    tensor: &StridedTensor<'_>,
    data: &[u8],
    max_elements: usize,
) -> Result<()> {
    let StridedTensor { shape, strides, offset, storage } = tensor;
    let count = shape.iter().try_fold(1_usize, |count, &side| count.checked_mul(side));
    let Some(count) = count.filter(|&count| count <= max_elements) else {
        return Err(Error::input(format!(
            "shape {shape:?} has more elements than the file has bytes: it repeats them; save a \
             copy of it (tensor.clone())"
        )));
    };
    if count == 0 {
        return Ok(());
    }
    let mut steps = shape.iter().zip(strides);
    let end = steps.try_fold(*offset, |end, (&side, &stride)| {
        (side - 1).checked_mul(stride)?.checked_add(end)
    });
    let storage_elements = data.len() / element_bytes(storage.dtype);
    if end.is_none_or(|end| end >= storage_elements) {
        return Err(Error::input(format!(
            "shape {shape:?} with strides {strides:?} from element {offset} reaches past its \
             storage of {storage_elements} elements; is the file whole?"
        )));
    }
    Ok(())
}

/// The elements in row-major order. The tensor was [checked](check).
pub(super) fn contiguous_bytes<'a>(
    tensor: &StridedTensor<'_>,
    data: &'a [u8],
) -> Result<Cow<'a, [u8]>> {
    let size = element_bytes(tensor.storage.dtype);
    let StridedTensor { shape, strides, offset, .. } = tensor;
    let count: usize = shape.iter().product();
    let out_of_bounds_error =
        || Error::internal("a tensor that was checked reaches past its storage");
    if count == 0 {
        return Ok(Cow::Borrowed(&[]));
    }
    if is_contiguous(shape, strides) {
        let range = offset * size..(offset + count) * size;
        return data.get(range).map(Cow::Borrowed).ok_or_else(out_of_bounds_error);
    }
    let mut bytes = Vec::with_capacity(count * size);
    let mut position = vec![0; shape.len()];
    let mut element = *offset;
    for _ in 0..count {
        let range = element * size..(element + 1) * size;
        bytes.extend_from_slice(data.get(range).ok_or_else(out_of_bounds_error)?);
        // The next position, the last dimension fastest.
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

/// Whether the elements lie one after the other; the stride of a dimension of one element is never
/// used, and PyTorch writes any.
fn is_contiguous(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1;
    shape.iter().zip(strides).rev().all(|(&side, &stride)| {
        let fits = side == 1 || stride == expected;
        expected *= side;
        fits
    })
}

/// Bytes of an element.
pub(super) fn element_bytes(dtype: Dtype) -> usize {
    (dtype.bitsize() / 8).max(1)
}
