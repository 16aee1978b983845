//! Contact sheet: up to ten masks over their images, by which a person can judge the labels.

use std::collections::BTreeSet;

use image::{GrayImage, RgbImage};
use rayon::prelude::*;

use super::classes::Classes;
use super::output::OutputFolder;
use super::report::{MaskEntry, Report};
use crate::error::{Error, Result};
use crate::files;
use crate::imaging::{DecodeError, DecodeLimits, LazyImage, Region, decode_mask, resize_mask};
use crate::render::{ContactSheet, SheetRow, draw_classes, draw_contact_sheet, rasterize};

/// Largest number of images on the sheet.
const MAX_IMAGES: usize = 10;

/// Longer side of a picture on the sheet, in pixels.
const CELL_PX: u32 = 320;

/// Limits for samples of this run, which has checked their sizes before.
const NO_LIMITS: DecodeLimits = DecodeLimits { max_pixels: u64::MAX };

/// Sample as it is drawn on the sheet.
struct SheetSample {
    image: RgbImage,
    /// Class id of each pixel of `image`.
    class_ids: GrayImage,
}

/// Draws two images with their classes in each row. Returns `None` if no mask was written.
pub(super) fn draw_annotation_sheet(
    report: &Report,
    classes: &Classes,
    output: &OutputFolder,
) -> Result<Option<RgbImage>> {
    let chosen = choose_masks(report.masks());
    if chosen.is_empty() {
        return Ok(None);
    }
    let samples: Result<Vec<SheetSample>> =
        chosen.par_iter().map(|mask| read_sample(mask, output)).collect();
    let samples = samples?;
    let mut rows = Vec::new();
    let mut shown_ids = Vec::new();
    for (mask_pair, sample_pair) in chosen.chunks(2).zip(samples.chunks(2)) {
        let mut names = Vec::new();
        for mask in mask_pair {
            names.push(format!("{} ({})", mask.name, mask.split));
        }
        let mut pictures = Vec::new();
        for SheetSample { image, class_ids } in sample_pair {
            let painted_image = draw_classes(image, class_ids);
            pictures.extend([image.clone(), painted_image]);
            shown_ids.extend_from_slice(class_ids.as_raw());
        }
        rows.push(SheetRow { name: names.join("  |  "), pictures });
    }
    let title = [format!("{} of {} masks", chosen.len(), report.image_count())];
    let columns = ["image", "classes", "image", "classes"].map(str::to_owned);
    let all_ids = GrayImage::from_raw(shown_ids.len() as u32, 1, shown_ids).unwrap_or_default();
    let sheet = draw_contact_sheet(&ContactSheet {
        title: &title,
        columns: &columns,
        rows: &rows,
        cell_px: CELL_PX,
        ids: &all_ids,
        class_names: classes.names(),
    });
    Ok(Some(rasterize(&sheet)))
}

/// Chooses images that together show as many classes as possible, spread over the whole set.
fn choose_masks(masks: &[MaskEntry]) -> Vec<&MaskEntry> {
    let count = masks.len();
    let stride = spreading_stride(count);
    let order: Vec<usize> = (0..count).map(|n| n * stride % count).collect();
    let mut covered_classes: BTreeSet<u8> = BTreeSet::from([0]);
    let mut chosen: Vec<usize> = Vec::new();
    for &index in &order {
        let classes = &masks[index].classes;
        if chosen.len() < MAX_IMAGES && classes.iter().any(|id| !covered_classes.contains(id)) {
            covered_classes.extend(classes);
            chosen.push(index);
        }
    }
    for index in order {
        if chosen.len() < MAX_IMAGES && !chosen.contains(&index) {
            chosen.push(index);
        }
    }
    chosen.into_iter().map(|index| &masks[index]).collect()
}

/// Returns a step that visits every index below `count` once, since both are coprime, and spreads
/// the first few: the largest such step of at most two fifths of `count`, or 1.
fn spreading_stride(count: usize) -> usize {
    for step in (1..count).rev() {
        if step * 5 <= count * 2 && gcd(step, count) == 1 {
            return step;
        }
    }
    1
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Reads a written image and its mask, both scaled to fit into a cell of the sheet.
fn read_sample(mask: &MaskEntry, output: &OutputFolder) -> Result<SheetSample> {
    let [image_file, mask_file] = &mask.files;
    let (image_path, mask_path) = (output.root().join(image_file), output.root().join(mask_file));
    let bytes = files::read_file(&image_path)?;
    let (image, full_size) = match read_thumbnail(&bytes) {
        Ok(thumbnail) => thumbnail,
        Err(error) => return Err(Error::input(format!("{}: {error}", image_path.display()))),
    };
    let class_ids = match decode_mask(&files::read_file(&mask_path)?, NO_LIMITS) {
        Ok(class_ids) => class_ids,
        Err(error) => return Err(Error::internal(format!("{}: {error}", mask_path.display()))),
    };
    let class_ids = resize_mask(&class_ids, full_size, image.width(), image.height());
    Ok(SheetSample { image, class_ids })
}

/// Returns the image scaled to fit into a cell, and the region of the whole image.
fn read_thumbnail(bytes: &[u8]) -> Result<(RgbImage, Region), DecodeError> {
    let picture = LazyImage::open(bytes, NO_LIMITS)?;
    let (width, height) = picture.dimensions();
    let scale = f64::from(CELL_PX) / f64::from(width.max(height));
    let region = Region::whole(width, height);
    let thumbnail =
        picture.crop_and_resize(region, scale_side(width, scale), scale_side(height, scale))?;
    Ok((thumbnail, region))
}

fn scale_side(side_px: u32, scale: f64) -> u32 {
    ((f64::from(side_px) * scale).round() as u32).clamp(1, CELL_PX)
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
            ..MaskEntry::default()
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
