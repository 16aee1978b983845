//! The contact sheet: ten masks over their images, so that a person sees whether the labels are right.

use std::collections::BTreeSet;

use image::{GrayImage, RgbImage};
use rayon::prelude::*;

use super::classes::Classes;
use super::output::OutputFolder;
use super::report::{MaskEntry, Report};
use crate::error::{Error, Result};
use crate::files;
use crate::imaging::{DecodeLimits, LazyImage, Region, decode_mask, resize_mask};
use crate::render::{SheetRow, draw_classes, draw_contact_sheet};

/// How many images are shown.
const MAX_IMAGES: usize = 10;

/// Pixels of a picture's longer side.
const CELL_PX: u32 = 320;

/// Two images with their classes in each row; none if nothing was written.
pub(super) fn draw_annotation_sheet(
    report: &Report,
    classes: &Classes,
    output: &OutputFolder,
) -> Result<Option<RgbImage>> {
    let chosen = choose_masks(report.masks());
    if chosen.is_empty() {
        return Ok(None);
    }
    let drawn: Result<Vec<_>> = chosen
        .par_iter()
        .map(|mask| {
            let (image, class_ids) = read_sample(mask, output)?;
            let painted_image = draw_classes(&image, &class_ids);
            Ok(([image, painted_image], class_ids.into_raw()))
        })
        .collect();
    let (pictures, shown_ids): (Vec<_>, Vec<_>) = drawn?.into_iter().unzip();
    let (mut pictures, shown_ids) = (pictures.into_iter(), shown_ids.concat());
    let mut rows = Vec::new();
    for pair in chosen.chunks(2) {
        let pictures = pictures.by_ref().take(pair.len()).flatten().collect();
        let names = pair.iter().map(|mask| format!("{} ({})", mask.name, mask.split));
        rows.push(SheetRow { name: names.collect::<Vec<_>>().join("  |  "), pictures });
    }
    let title = [format!("{} of {} masks", chosen.len(), report.image_count())];
    let columns = ["image", "classes", "image", "classes"].map(str::to_owned);
    let all_ids = GrayImage::from_raw(shown_ids.len() as u32, 1, shown_ids).unwrap_or_default();
    Ok(Some(draw_contact_sheet(&title, &columns, (&rows, CELL_PX), (&all_ids, classes.names()))))
}

/// Images that together show as many classes as they can, spread over the whole set.
fn choose_masks(masks: &[MaskEntry]) -> Vec<&MaskEntry> {
    let count = masks.len();
    // Numbers are taken in an order that is spread over the set from the start.
    let stride =
        (1..count).rev().find(|&step| gcd(step, count) == 1 && step * 5 <= count * 2).unwrap_or(1);
    let order: Vec<&MaskEntry> = (0..count).map(|n| &masks[n * stride % count]).collect();
    let mut covered: BTreeSet<u8> = BTreeSet::from([0]);
    let mut chosen: Vec<&MaskEntry> = Vec::new();
    for mask in &order {
        if chosen.len() < MAX_IMAGES && mask.classes.iter().any(|id| !covered.contains(id)) {
            covered.extend(&mask.classes);
            chosen.push(mask);
        }
    }
    for mask in order {
        if chosen.len() < MAX_IMAGES && !chosen.iter().any(|other| std::ptr::eq(*other, mask)) {
            chosen.push(mask);
        }
    }
    chosen
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// An image and its mask as they were written, small enough for the sheet.
fn read_sample(mask: &MaskEntry, output: &OutputFolder) -> Result<(RgbImage, GrayImage)> {
    let [image_path, mask_path] = mask.files.each_ref().map(|file| output.root().join(file));
    let limits = DecodeLimits { max_pixels: u64::MAX };
    let damaged = |error| Error::input(format!("{}: {error}", image_path.display()));
    let picture = LazyImage::open(files::read_file(&image_path)?, limits).map_err(damaged)?;
    let class_ids = decode_mask(&files::read_file(&mask_path)?, limits)
        .map_err(|error| Error::internal(format!("{}: {error}", mask_path.display())))?;
    let (width, height) = picture.dimensions();
    let scale = f64::from(CELL_PX) / f64::from(width.max(height));
    let scaled_px = |side_px: u32| ((f64::from(side_px) * scale).round() as u32).clamp(1, CELL_PX);
    let full_region = Region::whole(width, height);
    let thumbnail = picture
        .crop_and_resize(full_region, scaled_px(width), scaled_px(height))
        .map_err(damaged)?;
    let thumbnail_ids = resize_mask(&class_ids, full_region, thumbnail.width(), thumbnail.height());
    Ok((thumbnail, thumbnail_ids))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(name: usize, classes: &[u8]) -> MaskEntry {
        MaskEntry {
            name: name.to_string(),
            split: "train",
            image: format!("{name}.jpg"),
            files: [format!("train/{name}.jpg"), format!("train_annotation/{name}.png")],
            annotations: Vec::new(),
            classes: classes.to_vec(),
            left_out: Vec::new(),
        }
    }

    #[test]
    fn rare_classes_are_shown_and_no_image_twice() {
        for count in [1, 2, 9, 10, 11, 250] {
            let masks: Vec<MaskEntry> =
                (0..count).map(|n| mask(n, if n == 3 { &[0, 1, 9] } else { &[0, 1] })).collect();
            let names: BTreeSet<&str> =
                choose_masks(&masks).iter().map(|mask| mask.name.as_str()).collect();
            assert_eq!(names.len(), count.min(MAX_IMAGES));
            assert!(count < 4 || names.contains("3"), "{count}: {names:?}");
        }
        assert!(choose_masks(&[]).is_empty());
    }
}
