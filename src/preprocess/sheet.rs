//! The contact sheet: ten masks over their images, so that a person sees whether the labels are right.

use std::collections::BTreeSet;

use image::{GrayImage, RgbImage};
use rayon::prelude::*;

use super::classes::Classes;
use super::output::Output;
use super::report::{Mask, Report};
use crate::error::{Error, Result};
use crate::files;
use crate::imaging::{Limits, Picture, Region, decode_mask, resize_mask};
use crate::render::{Row, contact_sheet, painted};

/// How many images are shown.
const SHOWN: usize = 10;

/// Pixels of a picture's longer side.
const CELL: u32 = 320;

/// Two images with their classes in each row; none if nothing was written.
pub(super) fn draw(
    report: &Report,
    classes: &Classes,
    output: &Output,
) -> Result<Option<RgbImage>> {
    let chosen = choose(report.masks());
    if chosen.is_empty() {
        return Ok(None);
    }
    let drawn: Result<Vec<_>> = chosen
        .par_iter()
        .map(|mask| {
            let (image, ids) = read(mask, output)?;
            let painted = painted(&image, &ids);
            Ok(([image, painted], ids.into_raw()))
        })
        .collect();
    let (pictures, seen): (Vec<_>, Vec<_>) = drawn?.into_iter().unzip();
    let (mut pictures, seen) = (pictures.into_iter(), seen.concat());
    let mut rows = Vec::new();
    for pair in chosen.chunks(2) {
        let pictures = pictures.by_ref().take(pair.len()).flatten().collect();
        let names = pair.iter().map(|mask| format!("{} ({})", mask.name, mask.split));
        rows.push(Row { name: names.collect::<Vec<_>>().join("  |  "), pictures });
    }
    let title = [format!("{} of {} masks", chosen.len(), report.images())];
    let columns = ["image", "classes", "image", "classes"].map(str::to_owned);
    let ids = GrayImage::from_raw(seen.len() as u32, 1, seen).unwrap_or_default();
    Ok(Some(contact_sheet(&title, &columns, (&rows, CELL), (&ids, classes.names()))))
}

/// Images that together show as many classes as they can, spread over the whole set.
fn choose(masks: &[Mask]) -> Vec<&Mask> {
    let count = masks.len();
    // Numbers are taken in an order that is spread over the set from the start.
    let step =
        (1..count).rev().find(|&step| gcd(step, count) == 1 && step * 5 <= count * 2).unwrap_or(1);
    let order: Vec<&Mask> = (0..count).map(|n| &masks[n * step % count]).collect();
    let mut covered: BTreeSet<u8> = BTreeSet::from([0]);
    let mut chosen: Vec<&Mask> = Vec::new();
    for mask in &order {
        if chosen.len() < SHOWN && mask.classes.iter().any(|id| !covered.contains(id)) {
            covered.extend(&mask.classes);
            chosen.push(mask);
        }
    }
    for mask in order {
        if chosen.len() < SHOWN && !chosen.iter().any(|other| std::ptr::eq(*other, mask)) {
            chosen.push(mask);
        }
    }
    chosen
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// An image and its mask as they were written, small enough for the sheet.
fn read(mask: &Mask, output: &Output) -> Result<(RgbImage, GrayImage)> {
    let [image, ids] = mask.files.each_ref().map(|file| output.root().join(file));
    let limits = Limits { max_pixels: u64::MAX };
    let damaged = |error| Error::input(format!("{}: {error}", image.display()));
    let picture = Picture::open(files::read(&image)?, limits).map_err(damaged)?;
    let ids = decode_mask(&files::read(&ids)?, limits)
        .map_err(|error| Error::internal(format!("{}: {error}", ids.display())))?;
    let (width, height) = picture.dimensions();
    let scale = f64::from(CELL) / f64::from(width.max(height));
    let side = |side: u32| ((f64::from(side) * scale).round() as u32).clamp(1, CELL);
    let whole = Region::whole(width, height);
    let small = picture.cut(whole, side(width), side(height)).map_err(damaged)?;
    let ids = resize_mask(&ids, whole, small.width(), small.height());
    Ok((small, ids))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(name: usize, classes: &[u8]) -> Mask {
        Mask {
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
            let masks: Vec<Mask> =
                (0..count).map(|n| mask(n, if n == 3 { &[0, 1, 9] } else { &[0, 1] })).collect();
            let names: BTreeSet<&str> =
                choose(&masks).iter().map(|mask| mask.name.as_str()).collect();
            assert_eq!(names.len(), count.min(SHOWN));
            assert!(count < 4 || names.contains("3"), "{count}: {names:?}");
        }
        assert!(choose(&[]).is_empty());
    }
}
