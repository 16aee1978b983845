//! `NumPy` arrays: class ids as `uint8` `(H, W)`, probabilities as little-endian `float32`
//! `(classes, H, W)`.
//!
//! The format is version 1.0 (NEP 1): `\x93NUMPY`, the version, the length of the header in 16
//! bits, a dictionary in Python's notation, padded with spaces so that the samples begin at a
//! multiple of 64 bytes, and the samples.

use image::GrayImage;

use crate::inference::Segmentation;

/// Offset of the first sample, in bytes: three axes of ten digits each fit before the second
/// multiple of 64.
const DATA_OFFSET: usize = 128;
/// Length of the part before the dictionary, in bytes.
const PREFIX_BYTES: usize = 10;

/// Returns the length of [`encode_npy_ids`]'s answer, in bytes.
pub(super) fn npy_ids_bytes((width, height): (u32, u32)) -> u64 {
    DATA_OFFSET as u64 + u64::from(width) * u64::from(height)
}

/// Returns the length of [`encode_npy_probabilities`]'s answer, in bytes.
pub(super) fn npy_probabilities_bytes((width, height): (u32, u32), classes: usize) -> u64 {
    DATA_OFFSET as u64 + 4 * u64::from(width) * u64::from(height) * classes as u64
}

/// Encodes the class ids.
pub(super) fn encode_npy_ids(ids: &GrayImage) -> Vec<u8> {
    let (width, height) = ids.dimensions();
    let mut bytes = start_npy("|u1", &format!("({height}, {width})"), ids.as_raw().len());
    bytes.extend_from_slice(ids.as_raw());
    bytes
}

/// Encodes the probability of each class in each pixel.
pub(super) fn encode_npy_probabilities(segmentation: &Segmentation) -> Vec<u8> {
    let (width, height) = segmentation.ids.dimensions();
    let values = &segmentation.probabilities;
    let classes = values.len() / segmentation.ids.as_raw().len().max(1);
    let mut bytes = start_npy("<f4", &format!("({classes}, {height}, {width})"), 4 * values.len());
    super::append_f32_le(&mut bytes, values);
    bytes
}

/// Returns the header of an array, with capacity for `sample_bytes` bytes of samples.
fn start_npy(descr: &str, shape: &str, sample_bytes: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(DATA_OFFSET + sample_bytes);
    let length = (DATA_OFFSET - PREFIX_BYTES) as u16;
    bytes.extend_from_slice(b"\x93NUMPY\x01\x00");
    bytes.extend_from_slice(&length.to_le_bytes());
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(DATA_OFFSET - 1, b' ');
    bytes.push(b'\n');
    bytes
}
