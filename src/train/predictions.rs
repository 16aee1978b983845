//! A picture of the network's predictions on some validation images.

use image::{GrayImage, RgbImage};

use crate::console::print_stderr;
use crate::data::Sample;
use crate::error::{ErrorContext, Result};
use crate::model::Network;
use crate::model::size::{DEFAULT_MAX_SIDE_PX, restore_mask_size, shrink_image};
use crate::render::{
    ContactSheet, SheetRow, cell_side_px, draw_classes, draw_contact_sheet, rasterize,
};

/// Largest number of images in the picture. They are the same after every epoch.
const MAX_IMAGES: usize = 4;

/// Draws a sheet with a row per image: the image, its annotation, and the network's prediction
/// after `epoch`, counted from 1. If an image cannot be read any more, prints a warning and returns
/// `None`, because this must not end a training.
pub(super) fn draw_predictions(
    network: &Network,
    validation: &[Sample],
    class_names: &[String],
    epoch: usize,
) -> Result<Option<RgbImage>> {
    let (mut rows, mut truth_ids, mut longest_side) = (Vec::new(), Vec::new(), 1);
    for sample in validation.iter().step_by(validation.len().div_ceil(MAX_IMAGES).max(1)) {
        let (image, truth) = match sample.read() {
            Ok(pair) => pair,
            Err(error) => {
                print_stderr(format_args!("warning: no picture of predictions: {error}"));
                return Ok(None);
            }
        };
        let advice = ": lower validation_mini_batch_size, or take a larger instance";
        let predicted = network.predict_classes(&[&shrink_image(&image, DEFAULT_MAX_SIDE_PX)]);
        let predicted = predicted.memory_advice(advice)?;
        let predicted =
            predicted.into_iter().next().map(|ids| restore_mask_size(ids, image.dimensions()));
        let predicted = predicted.unwrap_or_default();
        longest_side = longest_side.max(image.width().max(image.height()));
        truth_ids.extend_from_slice(truth.as_raw());
        // Scaled down before the next image is read: an image may have 64 megapixels.
        let pictures = [draw_classes(&image, &truth), draw_classes(&image, &predicted)];
        let pictures = std::iter::once(&image).chain(&pictures);
        let cell_side = cell_side_px(longest_side);
        let mut row = SheetRow { name: sample.key.clone(), pictures: Vec::new() };
        for picture in pictures {
            row.pictures.push(shrink_image(picture, cell_side).into_owned());
        }
        rows.push(row);
    }
    let present_ids = GrayImage::from_raw(truth_ids.len() as u32, 1, truth_ids).unwrap_or_default();
    let title = [format!("validation images after epoch {epoch}")];
    let columns = ["image", "annotation", "prediction"].map(str::to_owned);
    let sheet = draw_contact_sheet(&ContactSheet {
        title: &title,
        columns: &columns,
        rows: &rows,
        cell_px: cell_side_px(longest_side),
        ids: &present_ids,
        class_names,
    });
    Ok(Some(rasterize(&sheet)))
}
