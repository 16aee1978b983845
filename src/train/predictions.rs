//! A picture of what the network makes of some validation images.

use image::GrayImage;

use super::tensorboard::Board;
use crate::console::note;
use crate::data::Sample;
use crate::error::Result;
use crate::model::Network;
use crate::model::size::{MAX_SIDE, restore, shrink};
use crate::render::{Row, cell, contact_sheet, painted};

/// Images that are shown; the same ones after every epoch.
const SHOWN: usize = 4;

/// Gives the board a sheet with a row per image: the image, its annotation, the network's answer. An image
/// that cannot be read any more is no reason to end a training.
pub(super) fn show(
    board: &mut Board,
    (steps, epoch): (usize, usize),
    network: &Network,
    validation: &[Sample],
    class_names: &[String],
) -> Result<()> {
    let (mut rows, mut all, mut longest) = (Vec::new(), Vec::new(), 1);
    for sample in validation.iter().step_by(validation.len().div_ceil(SHOWN).max(1)) {
        let (image, truth) = match sample.read() {
            Ok(pair) => pair,
            Err(error) => {
                note(format_args!("warning: no picture of predictions: {error}"));
                return Ok(());
            }
        };
        let advice = ": lower validation_mini_batch_size, or take a larger instance";
        let found = network.classes(&[&shrink(&image, MAX_SIDE)]);
        let found = found.map_err(|error| error.when_out_of_memory(advice))?;
        let found = found.into_iter().next().map(|ids| restore(ids, image.dimensions()));
        let found = found.unwrap_or_default();
        longest = longest.max(image.width().max(image.height()));
        all.extend_from_slice(truth.as_raw());
        // As small as they will be shown at once: images have up to 64 megapixels.
        let pictures = [painted(&image, &truth), painted(&image, &found)];
        let pictures = std::iter::once(&image).chain(&pictures);
        let side = cell(longest);
        let pictures = pictures.map(|picture| shrink(picture, side).into_owned()).collect();
        rows.push(Row { name: sample.key.clone(), pictures });
    }
    let ids = GrayImage::from_raw(all.len() as u32, 1, all).unwrap_or_default();
    let title = [format!("validation images after epoch {epoch}")];
    let columns = ["image", "annotation", "prediction"].map(str::to_owned);
    let sheet = contact_sheet(&title, &columns, (&rows, cell(longest)), (&ids, class_names));
    board.picture(steps, "predictions", &sheet);
    Ok(())
}
