//! Scores on whole images (`docs/architecture.md#whole-images-in-validation`).

use std::collections::HashMap;

use image::{GrayImage, RgbImage};
use rayon::prelude::*;

use crate::data::Sample;
use crate::error::Result;
use crate::metrics::ConfusionMatrix;
use crate::model::Network;
use crate::model::size::{MAX_SIDE, restore, shrink};

/// Images decoded at a time, so that memory is bounded whatever the size of the set.
const WINDOW: usize = 32;

/// Scores `network` on every sample at the image's own size (see [`MAX_SIDE`]); images of one size
/// are computed together, at most `batch_size` of them. `progress` is called with the number of
/// images done, and says whether to go on; without a result it did not.
pub(super) fn validate(
    network: &Network,
    samples: &[Sample],
    (classes, batch_size): (usize, usize),
    mut progress: impl FnMut(usize) -> bool,
) -> Result<Option<ConfusionMatrix>> {
    let frozen = network.frozen(network.compute)?;
    let mut matrix = ConfusionMatrix::new(classes);
    for window in samples.chunks(WINDOW.max(batch_size)) {
        let read = |sample: &Sample| -> Result<(RgbImage, GrayImage)> {
            let (image, mask) = sample.read()?;
            Ok((shrink(&image, MAX_SIDE).into_owned(), mask))
        };
        let loaded: Result<Vec<_>> = window.par_iter().map(read).collect();
        let mut by_size: HashMap<(u32, u32), Vec<_>> = HashMap::new();
        for (image, mask) in loaded? {
            by_size.entry(image.dimensions()).or_default().push((image, mask));
        }
        for batch in by_size.values().flat_map(|group| group.chunks(batch_size)) {
            let images: Vec<&RgbImage> = batch.iter().map(|(image, _)| image).collect();
            let advice = ": lower validation_mini_batch_size, or take a larger instance";
            let masks =
                frozen.classes(&images).map_err(|error| error.when_out_of_memory(advice))?;
            for ((_, mask), ids) in batch.iter().zip(masks) {
                matrix.add(mask.as_raw(), restore(ids, mask.dimensions()).as_raw());
            }
            if !progress(batch.len()) {
                return Ok(None);
            }
        }
    }
    Ok(Some(matrix))
}
