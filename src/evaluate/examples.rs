//! The worst, typical and best images, with their truth, the prediction and the error drawn.

use image::{GrayImage, RgbImage};

use super::scoring::{Confusion, Scored, ScoredImage};
use super::test_set::TestSet;
use crate::error::{Error, ErrorContext, Result};
use crate::imaging::{Region, resize_mask};
use crate::inference::{Segment, SegmentOptions};
use crate::metrics::{IGNORE_INDEX, Totals};
use crate::model::size::shrink_image;
use crate::render::draw_classes_with_colors;

/// Number of images of each kind.
const WORST: usize = 8;
const TYPICAL: usize = 4;
const BEST: usize = 4;

/// Names of the kinds, and the largest number of images of each.
pub(super) const GROUPS: [(&str, usize); 3] =
    [("worst", WORST), ("typical", TYPICAL), ("best", BEST)];

/// Longest side of a picture, in pixels.
pub(super) const MAX_SIDE_PX: u32 = 512;

/// Color of wrong pixels.
const WRONG: [u8; 3] = [213, 94, 0];

/// Images of one kind.
#[derive(Debug)]
pub(super) struct ExampleGroup {
    /// Name in files: `worst`, `typical` or `best`.
    pub(super) name: &'static str,
    pub(super) examples: Vec<Example>,
}

/// An image with what a person wants to see of it.
#[derive(Debug)]
pub(super) struct Example {
    pub(super) file: String,
    /// Mean of the IoU of the classes in this image, 0 to 1.
    pub(super) miou: f64,
    /// The two classes that are confused in most pixels.
    pub(super) confusion: Option<Confusion>,
    /// Image, truth, prediction and error, with sides of at most 512 pixels.
    pub(super) panels: [RgbImage; 4],
}

/// Names of the panels.
pub(super) const PANEL_NAMES: [&str; 4] = ["image", "truth", "prediction", "error"];

/// Chooses the images by their mIoU, and computes and draws them anew.
pub(super) fn draw_examples(
    engine: &mut dyn Segment,
    test_set: &TestSet,
    scored: &Scored,
) -> Result<Vec<ExampleGroup>> {
    let classes = engine.info().class_names.len();
    let mut groups = Vec::new();
    for (name, chosen) in choose_images(scored, classes, GROUPS.map(|(_, count)| count)) {
        let mut examples = Vec::new();
        for (position, miou) in chosen {
            let image = &scored.images[position];
            let panels = draw_panels(engine, test_set, image).error_context(&image.file)?;
            let (file, confusion) = (image.file.clone(), image.worst_confusion);
            examples.push(Example { file, miou, confusion, panels });
        }
        if !examples.is_empty() {
            groups.push(ExampleGroup { name, examples });
        }
    }
    Ok(groups)
}

/// Returns positions of images and their mIoU by kind, in the order of [`GROUPS`], with at most so
/// many of each. No image is of two kinds.
pub(super) fn choose_images(
    scored: &Scored,
    classes: usize,
    [worst, typical, best]: [usize; 3],
) -> [(&'static str, Vec<(usize, f64)>); 3] {
    let mut ranked = Vec::new();
    for (position, scores) in scored.models[0].images.iter().enumerate() {
        let mut totals = Totals::new(classes);
        totals.add(scores, 1);
        if let Some(miou) = totals.mean_iou() {
            ranked.push((position, miou));
        }
    }
    ranked.sort_by(|one, other| one.1.total_cmp(&other.1).then(one.0.cmp(&other.0)));
    let mut others = ranked.split_off(worst.min(ranked.len()));
    let mut best_images = others.split_off(others.len().saturating_sub(best));
    best_images.reverse();
    let first = others.len().saturating_sub(typical) / 2;
    let typical_images = others.into_iter().skip(first).take(typical).collect();
    let [worst, typical, best] = GROUPS.map(|(name, _)| name);
    [(worst, ranked), (typical, typical_images), (best, best_images)]
}

fn draw_panels(
    engine: &mut dyn Segment,
    test_set: &TestSet,
    scored: &ScoredImage,
) -> Result<[RgbImage; 4]> {
    let (image, truth) = test_set.samples[scored.sample].read()?;
    let mut segmentations = engine.segment(&[&image], &SegmentOptions::default())?;
    let Some(segmentation) = segmentations.pop() else {
        return Err(Error::internal("the engine answered nothing"));
    };
    let small = shrink_image(&image, MAX_SIDE_PX).into_owned();
    let (width, height) = small.dimensions();
    let shrink = |ids: &GrayImage| {
        let whole = Region::whole(ids.width(), ids.height());
        resize_mask(ids, whole, width, height)
    };
    let (truth, predicted) = (shrink(&truth), shrink(&segmentation.ids));
    let error = draw_error(&small, &truth, &predicted);
    let info = engine.info();
    let draw = |ids: &GrayImage| draw_classes_with_colors(&small, ids, |id| info.color(id));
    let (truth, predicted) = (draw(&truth), draw(&predicted));
    Ok([small, truth, predicted, error])
}

/// Draws the image in light gray, and the pixels whose class is wrong over it. Ignored pixels are
/// white.
fn draw_error(image: &RgbImage, truth: &GrayImage, predicted: &GrayImage) -> RgbImage {
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let [red, green, blue] = image.get_pixel(x, y).0.map(u32::from);
        let gray = ((red + 2 * green + blue) / 4) as u8;
        let (truth, predicted) = (truth.get_pixel(x, y).0[0], predicted.get_pixel(x, y).0[0]);
        let color = if truth == IGNORE_INDEX {
            [255; 3]
        } else if truth == predicted {
            [128 + gray / 2; 3]
        } else {
            WRONG.map(|channel| ((3 * u32::from(channel) + u32::from(gray)) / 4) as u8)
        };
        image::Rgb(color)
    })
}
