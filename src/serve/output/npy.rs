//! `NumPy` arrays: class ids as `uint8` `(H, W)`, probabilities as little-endian `float32` `(classes, H, W)`.
//!
//! The format of version 1.0 (NEP 1): `\x93NUMPY`, the version, the length of the header in 16 bits, a dictionary as
//! Python writes it, padded with spaces so that the samples begin at a multiple of 64, and the samples.

use image::GrayImage;

use crate::inference::Segmentation;

/// Where samples begin: three axes of ten digits each leave room in the second block of 64.
const DATA_OFFSET: usize = 128;
/// Bytes before the dictionary.
const PREFIX_BYTES: usize = 10;

/// The bytes of [`ids`].
pub(in super::super) fn npy_ids_bytes((width, height): (u32, u32)) -> u64 {
    DATA_OFFSET as u64 + u64::from(width) * u64::from(height)
}

/// The bytes of [`probabilities`].
pub(in super::super) fn npy_probabilities_bytes(
    (width, height): (u32, u32),
    classes: usize,
) -> u64 {
    DATA_OFFSET as u64 + 4 * u64::from(width) * u64::from(height) * classes as u64
}

/// Class ids.
pub(in super::super) fn encode_npy_ids(ids: &GrayImage) -> Vec<u8> {
    let (width, height) = ids.dimensions();
    let mut bytes = start_npy("|u1", &format!("({height}, {width})"), ids.as_raw().len());
    bytes.extend_from_slice(ids.as_raw());
    bytes
}

/// Every class's probability in every pixel.
pub(in super::super) fn encode_npy_probabilities(segmentation: &Segmentation) -> Vec<u8> {
    let (width, height) = segmentation.ids.dimensions();
    let values = &segmentation.probabilities;
    let classes = values.len() / segmentation.ids.as_raw().len().max(1);
    let mut bytes = start_npy("<f4", &format!("({classes}, {height}, {width})"), 4 * values.len());
    super::append_f32_le(&mut bytes, values);
    bytes
}

/// The header of an array, with room for so many bytes of samples.
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
