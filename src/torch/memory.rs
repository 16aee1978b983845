//! Views of a tensor's memory, and tensors whose memory Rust code fills.

// Makes slices from tensors' data pointers; each block says why it is sound.
#![allow(unsafe_code)]

use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};

/// Returns the elements of a dense 32-bit float tensor on the processor, in the order of its
/// indices, without a copy.
pub fn float_slice(tensor: &Tensor) -> Result<&[f32]> {
    let (first, count) = dense_float_data(tensor)?;
    if count == 0 {
        return Ok(&[]);
    }
    // SAFETY: a contiguous tensor has `numel` elements side by side from its data pointer on, they
    // live as long as the borrowed tensor, and code of this crate writes to no tensor while a slice
    // of its memory lives.
    Ok(unsafe { std::slice::from_raw_parts(first.cast_const(), count) })
}

/// Returns the same elements for writing. The caller must see to it that no other handle of the
/// same memory (`shallow_clone`, views) is read or written while the slice lives: the borrow
/// checker sees this handle alone.
pub(crate) fn float_slice_mut(tensor: &mut Tensor) -> Result<&mut [f32]> {
    let (first, count) = dense_float_data(tensor)?;
    if count == 0 {
        return Ok(&mut []);
    }
    // SAFETY: as in `float_slice`. Other handles of the same memory may exist, and the callers,
    // which are in this crate, do not use them meanwhile.
    Ok(unsafe { std::slice::from_raw_parts_mut(first, count) })
}

/// Returns the address of a dense float tensor's first element, and the number of its elements.
fn dense_float_data(tensor: &Tensor) -> Result<(*mut f32, usize)> {
    let fits = tensor.device() == Device::Cpu
        && tensor.kind() == Kind::Float
        && tensor.is_contiguous()
        && !tensor.is_sparse();
    if !fits {
        return Err(Error::internal("only dense 32-bit floats on the CPU can be looked into"));
    }
    Ok((tensor.data_ptr().cast::<f32>(), tensor.numel()))
}

/// Makes a tensor of 32-bit floats on the processor. `fill` gets its elements, which are zeros, in
/// the order of its indices.
pub fn build_float_tensor(size: &[i64], fill: impl FnOnce(&mut [f32])) -> Result<Tensor> {
    let tensor = Tensor::f_zeros(size, (Kind::Float, Device::Cpu))?;
    let count = tensor.numel();
    if count > 0 {
        // SAFETY: a new contiguous tensor has `numel` elements side by side from its data pointer
        // on, and this function holds its only handle.
        fill(unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast::<f32>(), count) });
    }
    Ok(tensor)
}

/// Returns a tensor `[batch, channels, height, width]` of the same elements in channels-last
/// memory: all channels of a pixel, or of a tap of a kernel, lie side by side.
pub fn to_channels_last(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])?)
}

/// Gives a tensor in channels-last memory the strides that libtorch gives to such tensors. Those of
/// a kernel of 1x1, which lies the same way in both layouts, may be others; the elements stay where
/// they are.
pub fn set_channels_last_strides(tensor: &mut Tensor) -> Result<()> {
    let size = tensor.size();
    let &[_, channels, height, width] = &size[..] else { return Ok(()) };
    let strides = [height * width * channels, 1, width * channels, channels];
    if tensor.stride() != strides && height * width == 1 {
        let restrided = tensor.f_detach()?.f_as_strided(&size, strides, None)?;
        tensor.f_set_data(&restrided)?;
    }
    Ok(())
}

/// Makes a tensor on the processor. `write` gets its bytes, which are zeros, in the order of its
/// indices. `kind` must be a number and not a boolean, of which not every byte is a valid value.
pub fn build_tensor(
    size: &[i64],
    kind: Kind,
    write: impl FnOnce(&mut [u8]) -> Result<()>,
) -> Result<Tensor> {
    let tensor = Tensor::f_zeros(size, (kind, Device::Cpu))?;
    let bytes = tensor.numel() * kind.elt_size_in_bytes();
    if bytes > 0 {
        // SAFETY: a new contiguous tensor has so many bytes side by side from its data pointer on,
        // and this function holds its only handle. Any bytes are valid numbers.
        write(unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast::<u8>(), bytes) })?;
    }
    Ok(tensor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_seen_in_the_order_of_their_indices() {
        let tensor = Tensor::arange(6, (Kind::Float, Device::Cpu)).reshape([2, 3]);
        assert_eq!(float_slice(&tensor).unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert!(float_slice(&tensor.transpose(0, 1)).is_err(), "not contiguous");
        assert!(float_slice(&tensor.to_kind(Kind::Double)).is_err());
        assert!(float_slice(&Tensor::zeros([0], (Kind::Float, Device::Cpu))).unwrap().is_empty());
    }

    #[test]
    fn a_tensor_is_filled_in_the_order_of_its_indices() {
        let count = |elements: &mut [f32]| {
            elements.iter_mut().enumerate().for_each(|(at, element)| *element += at as f32);
        };
        let tensor = build_float_tensor(&[2, 3], count).unwrap();
        assert_eq!(tensor, Tensor::arange(6, (Kind::Float, Device::Cpu)).reshape([2, 3]));
        assert_eq!(build_float_tensor(&[2, 0], |_| unreachable!()).unwrap().size(), [2, 0]);
        assert!(build_float_tensor(&[-1], count).is_err());
    }

    #[test]
    fn a_tensor_is_written_byte_by_byte_or_not_at_all() {
        let numbers = |bytes: &mut [u8]| {
            assert_eq!(bytes, [0; 16]);
            bytes[8] = 7;
            Ok(())
        };
        let tensor = build_tensor(&[1, 2], Kind::Int64, numbers).unwrap();
        assert_eq!(tensor, Tensor::from_slice(&[0i64, 7]).reshape([1, 2]));
        assert_eq!(build_tensor(&[0, 3], Kind::Float, |_| unreachable!()).unwrap().size(), [0, 3]);
        assert!(build_tensor(&[2], Kind::Float, |_| Err(Error::internal("not there"))).is_err());
    }

    #[test]
    fn channels_last_is_another_order_of_the_same_elements() {
        let tensor = Tensor::arange(24, (Kind::Float, Device::Cpu)).reshape([1, 2, 3, 4]);
        let other = to_channels_last(&tensor).unwrap();
        assert_eq!((&other, other.stride()), (&tensor, vec![24, 1, 8, 2]));
        let kernel = Tensor::arange(6, (Kind::Float, Device::Cpu)).reshape([2, 3, 1, 1]);
        let mut other = to_channels_last(&kernel).unwrap();
        set_channels_last_strides(&mut other).unwrap();
        assert_eq!((&other, other.stride()), (&kernel, vec![3, 1, 3, 3]));
    }
}
