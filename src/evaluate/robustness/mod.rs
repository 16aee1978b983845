//! How much worse a model is on disturbed pictures.

mod perturbation;

use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde::Serialize;

use self::perturbation::{PERTURBATIONS, STRENGTHS};
use super::scoring::Scored;
use super::stopped_error;
use super::test_set::TestSet;
use crate::data::random::{Purpose, RngKey, generator};
use crate::error::{ErrorContext, Result};
use crate::imaging::{Region, resize_mask};
use crate::inference::{Segment, SegmentOptions};
use crate::metrics::ConfusionMatrix;
use crate::model::size::shrink_image;
use crate::progress::Progress;
use crate::sagemaker::StopSignal;

/// Largest number of disturbed pictures that are computed together.
const MAX_BATCH_IMAGES: usize = 8;

/// Largest number of pixels that are computed together, unless one picture has more.
const MAX_BATCH_PIXELS: u64 = 1 << 22;

/// Settings of a measurement of robustness.
pub(super) struct RobustnessOptions<'a> {
    /// Largest number of images.
    pub(super) images: usize,
    /// Another seed chooses other images, and other noise.
    pub(super) seed: u64,
    pub(super) num_classes: usize,
    pub(super) stop: &'a StopSignal,
}

/// mIoU on disturbed pictures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Robustness {
    /// Number of images that were disturbed.
    pub images: usize,
    /// mIoU on these images as they are.
    pub miou: Option<f64>,
    pub perturbations: Vec<PerturbationScores>,
}

/// mIoU under one kind of disturbance.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PerturbationScores {
    pub name: &'static str,
    /// Amounts of the strengths 1 to 5.
    pub amounts: [f64; STRENGTHS],
    /// mIoU at each strength.
    pub miou: [Option<f64>; STRENGTHS],
    /// Mean over the strengths of the part of the mIoU that is lost, at most 1.
    pub relative_drop: Option<f64>,
}

/// A disturbed picture: which of the matrices counts its pixels, and the picture with its truth.
type Disturbed = (usize, image::RgbImage, image::GrayImage);

/// Scores the model on disturbed pictures of some of the images that were scored.
pub(super) fn measure_robustness(
    engine: &mut dyn Segment,
    test_set: &TestSet,
    scored: &Scored,
    options: &RobustnessOptions<'_>,
) -> Result<Robustness> {
    let mut chosen: Vec<usize> = scored.images.iter().map(|image| image.sample).collect();
    chosen.shuffle(&mut generator(options.seed, Purpose::RobustnessImages, 0, 0));
    chosen.truncate(options.images);
    chosen.sort_unstable();
    // The first matrix is that of the images as they are.
    let cases = PERTURBATIONS.len() * STRENGTHS;
    let mut matrices = vec![ConfusionMatrix::new(options.num_classes); 1 + cases];
    let mut progress = Progress::new("robustness", chosen.len());
    for &position in &chosen {
        let sample = &test_set.samples[position];
        let (image, mask) = sample.read()?;
        // The engine would shrink a disturbed picture, and with it the disturbance.
        let image = shrink_image(&image, engine.info().max_side).into_owned();
        let whole = Region::whole(mask.width(), mask.height());
        let mask = resize_mask(&mask, whole, image.width(), image.height());
        let disturb = |case: usize| -> Disturbed {
            let Some(index) = case.checked_sub(1) else {
                return (case, image.clone(), mask.clone());
            };
            let (kind, strength) = (PERTURBATIONS[index / STRENGTHS], index % STRENGTHS);
            // Strengths have noise of their own.
            let rng_key = RngKey {
                seed: options.seed,
                epoch: strength as u64,
                sample_index: position as u64,
            };
            let (image, mask) = kind.apply(&image, &mask, kind.amounts()[strength], rng_key);
            (case, image, mask)
        };
        // Cases of a kind follow each other, and most have the size of the image: so batches are
        // made of neighbors, and not all cases are in memory at once.
        let pixels = u64::from(image.width()) * u64::from(image.height());
        let fitting = (MAX_BATCH_PIXELS / pixels.max(1)) as usize;
        let batch_size = fitting.clamp(1, MAX_BATCH_IMAGES);
        let all: Vec<usize> = (0..=cases).collect();
        for batch in all.chunks(batch_size) {
            if options.stop.is_requested() {
                return Err(stopped_error());
            }
            let disturbed: Vec<Disturbed> = batch.par_iter().map(|&case| disturb(case)).collect();
            score_disturbed(engine, &disturbed, &mut matrices)
                .error_context(sample.image.display())?;
        }
        progress.advance(1, || None);
    }
    Ok(summarize(&matrices, chosen.len()))
}

/// Computes pictures, those of one size together, and counts their pixels.
fn score_disturbed(
    engine: &mut dyn Segment,
    disturbed: &[Disturbed],
    matrices: &mut [ConfusionMatrix],
) -> Result<()> {
    for group in disturbed.chunk_by(|one, other| one.1.dimensions() == other.1.dimensions()) {
        let images: Vec<&image::RgbImage> = group.iter().map(|(_, image, _)| image).collect();
        let segmentations = engine.segment(&images, &SegmentOptions::default())?;
        for ((case, _, mask), segmentation) in group.iter().zip(segmentations) {
            matrices[*case].update(mask.as_raw(), segmentation.ids.as_raw());
        }
    }
    Ok(())
}

fn summarize(matrices: &[ConfusionMatrix], images: usize) -> Robustness {
    let undisturbed = matrices[0].mean_iou();
    let mut perturbations = Vec::with_capacity(PERTURBATIONS.len());
    for (kind, matrices) in PERTURBATIONS.into_iter().zip(matrices[1..].chunks(STRENGTHS)) {
        let mut miou = [None; STRENGTHS];
        let (mut drop, mut strengths) = (0.0, 0);
        for (score, matrix) in miou.iter_mut().zip(matrices) {
            *score = matrix.mean_iou();
            if let (Some(undisturbed), Some(disturbed)) = (undisturbed, *score)
                && undisturbed > 0.0
            {
                drop += (undisturbed - disturbed) / undisturbed;
                strengths += 1;
            }
        }
        perturbations.push(PerturbationScores {
            name: kind.name(),
            amounts: kind.amounts(),
            miou,
            relative_drop: (strengths > 0).then(|| drop / f64::from(strengths)),
        });
    }
    Robustness { images, miou: undisturbed, perturbations }
}
