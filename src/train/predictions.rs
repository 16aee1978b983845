//! A picture of what the network makes of some validation images.

use image::GrayImage;

use super::tensorboard::Board;
use crate::data::Sample;
use crate::error::Result;
use crate::model::Network;
use crate::model::size::{MAX_SIDE, restore, shrink};
use crate::render::{Row, cell, contact_sheet, painted};

/// Images that are shown; the same ones after every epoch.
const SHOWN: usize = 4;

/// Gives the board a sheet with a row per image: the image, its annotation, the network's answer.
pub(super) fn show(
    board: &mut Board,
    (steps, epoch): (usize, usize),
    network: &Network,
    validation: &[Sample],
    class_names: &[String],
) -> Result<()> {
    if !board.is_open() {
        return Ok(());
    }
    let (mut rows, mut all, mut longest) = (Vec::new(), Vec::new(), 1);
    for sample in validation.iter().step_by(validation.len().div_ceil(SHOWN).max(1)) {
        let (image, truth) = sample.read()?;
        let found = network.classes(&[&shrink(&image, MAX_SIDE)])?;
        let found = found.into_iter().next().map(|ids| restore(ids, image.dimensions()));
        let found = found.unwrap_or_default();
        let (truth_painted, found_painted) = (painted(&image, &truth), painted(&image, &found));
        longest = longest.max(image.width().max(image.height()));
        all.extend_from_slice(truth.as_raw());
        rows.push(Row {
            name: sample.key.clone(),
            pictures: vec![image, truth_painted, found_painted],
        });
    }
    let ids = GrayImage::from_raw(all.len() as u32, 1, all).unwrap_or_default();
    let title = [format!("validation images after epoch {epoch}")];
    let columns = ["image", "annotation", "prediction"].map(str::to_owned);
    let sheet = contact_sheet(&title, &columns, (&rows, cell(longest)), (&ids, class_names));
    board.picture(steps, "predictions", &sheet);
    Ok(())
}
