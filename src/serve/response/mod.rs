//! Response bodies: from the engine's answer to bytes of each format.

pub(in crate::serve) mod format;
mod json;
mod mask;
mod npy;
mod overlay;
mod protobuf;
pub(in crate::serve) mod records;

use crate::colors::class_color;
use crate::inference::ModelInfo;

/// Returns the color of a class: the model's own, or that of the PASCAL VOC color map for ids
/// without one.
fn model_class_color(info: &ModelInfo, id: u8) -> [u8; 3] {
    info.colors.get(usize::from(id)).copied().unwrap_or_else(|| class_color(id))
}

/// Appends numbers as little-endian `float32`, through a small buffer: pushing four bytes at a time
/// is many times slower.
fn append_f32_le(bytes: &mut Vec<u8>, values: &[f32]) {
    const BLOCK_VALUES: usize = 1024;
    let mut block = [0; 4 * BLOCK_VALUES];
    for values in values.chunks(BLOCK_VALUES) {
        for (value_bytes, value) in block.chunks_exact_mut(4).zip(values) {
            value_bytes.copy_from_slice(&value.to_le_bytes());
        }
        bytes.extend_from_slice(&block[..4 * values.len()]);
    }
}

#[cfg(test)]
mod tests;
