//! Where the model looks: for some images, how much each place matters for each class that the model
//! sees there. `occlusion.rs` covers patches of the image; Seg-Grad-CAM
//! ([`Network::grad_cam`]) needs the layers, which a TorchScript file does not tell. `deletion.rs`
//! checks that the places that are said to matter do.

mod deletion;
mod occlusion;

use image::{GrayImage, Rgb, RgbImage};
use serde::Serialize;

pub(super) use self::deletion::DeletionCheck;
use self::deletion::check_deletion;
use self::occlusion::{Patches, cover_patches};
use super::examples::{GROUPS, MAX_SIDE_PX, choose_images};
use super::scoring::Scored;
use super::stopped_error;
use super::test_set::TestSet;
use crate::error::{Error, ErrorContext, Result};
use crate::inference::{OutputDetail, Segment, SegmentOptions, Segmentation};
use crate::model::Network;
use crate::model::size::shrink_image;
use crate::progress::Progress;
use crate::sagemaker::StopSignal;

/// Largest number of classes that are explained in an image.
const MAX_CLASSES: usize = 3;

/// Longest side of an image as it is explained, in pixels.
const MAX_EXPLAINED_SIDE_PX: u32 = 1024;

/// Smallest share of the pixels of a class that is explained.
const MIN_SHARE: f64 = 0.01;

/// Color of what matters.
const HOT: [f32; 3] = [213.0, 94.0, 0.0];

/// Settings of explanations.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExplainOptions {
    /// Number of images of each kind: worst, typical and best.
    pub(super) images: usize,
    /// Number of patches along each side.
    pub(super) grid: u32,
    /// Another seed checks other images, in another random order.
    pub(super) seed: u64,
}

/// The content of `explainability.json`, and the pictures of the report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Explainability {
    format_version: u32,
    /// False for a TorchScript file, whose layers are not known; occlusion is there alone then.
    pub(super) has_grad_cam: bool,
    /// Number of patches along each side.
    grid: u32,
    pub(super) images: Vec<ExplainedImage>,
    /// Null where fewer than 20 images show a class.
    pub(super) deletion_check: Option<DeletionCheck>,
}

/// Explanations of an image.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct ExplainedImage {
    pub(super) file: String,
    /// `worst`, `typical` or `best`.
    pub(super) kind: &'static str,
    pub(super) miou: f64,
    pub(super) classes: Vec<ExplainedClass>,
}

/// How much each patch matters for a class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct ExplainedClass {
    pub(super) id: usize,
    pub(super) name: String,
    /// Number of pixels that are predicted as the class.
    pub(super) pixels: u64,
    /// Mean probability of the class over these pixels.
    pub(super) probability: f64,
    /// By how much that falls if a patch is covered; rows of patches from the top.
    pub(super) occlusion: Vec<Vec<f64>>,
    /// Mean importance of each patch by Seg-Grad-CAM, 0 to 1; null without layers.
    pub(super) grad_cam: Option<Vec<Vec<f64>>>,
    /// The image with what matters by occlusion and by Seg-Grad-CAM.
    #[serde(skip)]
    pub(super) pictures: Vec<(&'static str, RgbImage)>,
}

/// A model that is explained.
pub(super) struct Explained<'a> {
    pub(super) stop: &'a StopSignal,
    pub(super) engine: &'a mut dyn Segment,
    /// The same model with its layers, in 32 bits and without gradients of its weights.
    pub(super) network: Option<&'a Network>,
}

impl Explained<'_> {
    /// Reads an image as it is explained: its longer side has at most 1024 pixels, so that the
    /// probabilities of all classes fit into memory, and at most as many as the engine computes.
    fn read_image(&self, test_set: &TestSet, sample: usize) -> Result<RgbImage> {
        let (image, _) = test_set.samples[sample].read()?;
        let max_side = self.engine.info().max_side.min(MAX_EXPLAINED_SIDE_PX);
        Ok(shrink_image(&image, max_side).into_owned())
    }

    /// Computes an answer about each image, with the probabilities of every class.
    fn segment(&mut self, images: &[&RgbImage]) -> Result<Vec<Segmentation>> {
        if self.stop.is_requested() {
            return Err(stopped_error());
        }
        let options =
            SegmentOptions { detail: OutputDetail::Probabilities, ..SegmentOptions::default() };
        let segmentations = self.engine.segment(images, &options)?;
        if segmentations.len() == images.len() && !segmentations.is_empty() {
            Ok(segmentations)
        } else {
            Err(Error::internal("the engine answered another number of images"))
        }
    }
}

/// Explains the worst, typical and best images, and checks the explanations.
pub(super) fn explain_model(
    mut model: Explained<'_>,
    test_set: &TestSet,
    scored: &Scored,
    options: ExplainOptions,
) -> Result<Explainability> {
    let classes = model.engine.info().class_names.len();
    let chosen = choose_images(scored, classes, GROUPS.map(|_| options.images));
    let total = chosen.iter().map(|(_, images)| images.len()).sum();
    let mut progress = Progress::new("explain", total);
    let mut images = Vec::with_capacity(total);
    for (kind, positions) in chosen {
        for (position, miou) in positions {
            let scored_image = &scored.images[position];
            let image = model.read_image(test_set, scored_image.sample)?;
            let classes = explain_image(&mut model, &image, options.grid)
                .error_context(&scored_image.file)?;
            images.push(ExplainedImage { file: scored_image.file.clone(), kind, miou, classes });
            progress.advance(1, || None);
        }
    }
    drop(progress);
    let deletion_check = check_deletion(&mut model, test_set, scored, options)?;
    let has_grad_cam = model.network.is_some();
    Ok(Explainability {
        format_version: 1,
        has_grad_cam,
        grid: options.grid,
        images,
        deletion_check,
    })
}

/// Explains the classes with most pixels in an image.
fn explain_image(
    model: &mut Explained<'_>,
    image: &RgbImage,
    grid: u32,
) -> Result<Vec<ExplainedClass>> {
    let whole = model.segment(&[image])?.swap_remove(0);
    let patches = Patches::new(image, grid);
    let chosen = choose_classes(&whole.ids);
    let mut probabilities = Vec::new();
    for &(class, _) in &chosen {
        probabilities.push(mean_probability(&whole, &whole.ids, class));
    }
    let mut drops = vec![Vec::with_capacity(patches.count()); chosen.len()];
    cover_patches(model, image, &patches, |covered| {
        for ((&(class, _), probability), drops) in chosen.iter().zip(&probabilities).zip(&mut drops)
        {
            drops.push(probability - mean_probability(covered, &whole.ids, class));
        }
    })?;
    let mut explained = Vec::with_capacity(chosen.len());
    for (((class, pixels), probability), drops) in chosen.into_iter().zip(probabilities).zip(drops)
    {
        let id = usize::from(class);
        let mut pictures = vec![("occlusion", draw_importance(image, &patches.spread(&drops)))];
        let mut grad_cam = None;
        if let Some(network) = model.network
            && let Some(found) = network.grad_cam(image, id)?
        {
            grad_cam = Some(patches.rows(&patches.mean(&found.importance)));
            pictures.push(("Seg-Grad-CAM", draw_importance(image, &found.importance)));
        }
        explained.push(ExplainedClass {
            id,
            name: model.engine.info().class_names[id].clone(),
            pixels,
            probability,
            occlusion: patches.rows(&drops),
            grad_cam,
            pictures,
        });
    }
    Ok(explained)
}

/// Returns the classes with the most pixels and their number of pixels. Class 0, the background, is
/// one of them where there is no other.
fn choose_classes(ids: &GrayImage) -> Vec<(u8, u64)> {
    let mut counts = [0_u64; 256];
    for &id in ids.as_raw() {
        counts[usize::from(id)] += 1;
    }
    let least = (MIN_SHARE * ids.as_raw().len() as f64).ceil() as u64;
    let mut classes: Vec<(u8, u64)> = (1..=u8::MAX).zip(counts[1..].iter().copied()).collect();
    classes.retain(|&(_, pixels)| pixels >= least.max(1));
    classes.sort_by_key(|&(class, pixels)| (std::cmp::Reverse(pixels), class));
    classes.truncate(MAX_CLASSES);
    if classes.is_empty() && counts[0] > 0 {
        classes.push((0, counts[0]));
    }
    classes
}

/// Returns the mean probability of a class over the pixels that `ids` says are of it.
fn mean_probability(segmentation: &Segmentation, ids: &GrayImage, class: u8) -> f64 {
    let pixels = ids.as_raw().len();
    let of_class = &segmentation.probabilities[usize::from(class) * pixels..][..pixels];
    let (mut sum, mut count) = (0.0, 0_u64);
    for (&id, &probability) in ids.as_raw().iter().zip(of_class) {
        if id == class {
            sum += f64::from(probability);
            count += 1;
        }
    }
    if count > 0 { sum / count as f64 } else { 0.0 }
}

/// Draws the image in gray, the more orange the more a pixel matters. The largest importance has the
/// full color.
fn draw_importance(image: &RgbImage, importance: &[f32]) -> RgbImage {
    let largest = importance.iter().copied().fold(0.0, f32::max);
    let mut drawn = image.clone();
    for (pixel, &importance) in drawn.pixels_mut().zip(importance) {
        let share = if largest > 0.0 { (importance / largest).clamp(0.0, 1.0) } else { 0.0 };
        let [red, green, blue] = pixel.0.map(f32::from);
        let gray = 0.25 * red + 0.5 * green + 0.25 * blue;
        *pixel = Rgb(HOT.map(|hot| (gray + 0.8 * share * (hot - gray)) as u8));
    }
    shrink_image(&drawn, MAX_SIDE_PX).into_owned()
}
