//! What goes out: the engine's answer as bytes of every form.

pub(super) mod json;
pub(super) mod mask;
pub(super) mod npy;
pub(super) mod overlay;
pub(super) mod protobuf;
pub(super) mod records;

use crate::colours::class_colour;
use crate::inference::About;

/// The colour of a class: the model's own, or that of the PASCAL VOC colour map for ids that it has none for.
fn colour(about: &About, id: u8) -> [u8; 3] {
    about.colours.get(usize::from(id)).copied().unwrap_or_else(|| class_colour(id))
}

/// Appends numbers as little-endian `float32`, through a small buffer: a push of four bytes each is many times slower.
fn extend_floats(bytes: &mut Vec<u8>, values: &[f32]) {
    const BLOCK: usize = 1024;
    let mut block = [0; 4 * BLOCK];
    for values in values.chunks(BLOCK) {
        for (bytes, value) in block.chunks_exact_mut(4).zip(values) {
            bytes.copy_from_slice(&value.to_le_bytes());
        }
        bytes.extend_from_slice(&block[..4 * values.len()]);
    }
}

#[cfg(test)]
mod tests;
