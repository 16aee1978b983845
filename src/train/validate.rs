//! Scoring of a network on whole images (`docs/architecture.md#whole-images-in-validation`).

use std::collections::HashMap;

use image::{GrayImage, RgbImage};
use rayon::prelude::*;

use crate::data::Sample;
use crate::error::{ErrorContext, Result};
use crate::metrics::ConfusionMatrix;
use crate::model::Network;
use crate::model::size::{DEFAULT_MAX_SIDE_PX, restore_mask_size, shrink_image};

/// Number of images that are decoded at a time, which bounds the memory.
const DECODE_WINDOW: usize = 32;

/// Scores `network` on every sample at the image's own size (up to [`DEFAULT_MAX_SIDE_PX`]). Images
/// of one size are computed together, at most `batch_size` of them. `on_batch` is called with the
/// number of images of each batch; if it returns false, the result is `None`.
pub(super) fn validate_network(
    network: &Network,
    samples: &[Sample],
    num_classes: usize,
    batch_size: usize,
    mut on_batch: impl FnMut(usize) -> bool,
) -> Result<Option<ConfusionMatrix>> {
    let frozen = network.frozen_copy(network.precision)?;
    let mut matrix = ConfusionMatrix::new(num_classes);
    for window in samples.chunks(DECODE_WINDOW.max(batch_size)) {
        let loaded: Result<Vec<_>> = window.par_iter().map(read_shrunk_sample).collect();
        let mut by_size: HashMap<(u32, u32), Vec<_>> = HashMap::new();
        for (image, mask) in loaded? {
            by_size.entry(image.dimensions()).or_default().push((image, mask));
        }
        for batch in by_size.values().flat_map(|group| group.chunks(batch_size)) {
            let images: Vec<&RgbImage> = batch.iter().map(|(image, _)| image).collect();
            let advice = ": lower validation_mini_batch_size, or take a larger instance";
            let predictions = frozen.predict_classes(&images).memory_advice(advice)?;
            for ((_, truth), prediction) in batch.iter().zip(predictions) {
                matrix.update(
                    truth.as_raw(),
                    restore_mask_size(prediction, truth.dimensions()).as_raw(),
                );
            }
            if !on_batch(batch.len()) {
                return Ok(None);
            }
        }
    }
    Ok(Some(matrix))
}

/// Reads a sample, and shrinks its image to the longest side that is computed.
fn read_shrunk_sample(sample: &Sample) -> Result<(RgbImage, GrayImage)> {
    let (image, mask) = sample.read()?;
    Ok((shrink_image(&image, DEFAULT_MAX_SIDE_PX).into_owned(), mask))
}
