//! The masks of each image, as the models compute them, compared with the truth.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::mpsc::sync_channel;

use image::{GrayImage, RgbImage};
use rayon::prelude::*;

use super::stopped_error;
use super::test_set::TestSet;
use crate::data::Sample;
use crate::data::audit::AuditFindings;
use crate::data::sample::{ReadSample, SampleError};
use crate::error::{ErrorContext, Problems, Result, join_examples, pluralize};
use crate::files::{create_folder, write_without_sync};
use crate::imaging::encode_mask_with_colors;
use crate::inference::{ModelInfo, OutputDetail, Segment, SegmentOptions, Segmentation};
use crate::metrics::{
    Calibration, ConfusionMatrix, IGNORE_INDEX, ImageScores, count_objects, score_boundaries,
};
use crate::progress::Progress;

/// Largest number of images that are computed together.
const MAX_BATCH_IMAGES: usize = 8;

/// Largest number of pixels of images that are computed together, unless one has more. It bounds the
/// memory of activations.
const MAX_BATCH_PIXELS: u64 = 1 << 22;

/// Largest number of images that are decoded before they are computed, per thread.
const WINDOW_IMAGES_PER_THREAD: usize = 4;

/// Number of pixels of decoded images after which no further ones are decoded before these are
/// computed. An image takes 4 bytes per pixel with its mask, and two windows are in memory.
const WINDOW_PIXELS: u64 = 1 << 26;

/// Settings of scoring.
pub(super) struct ScoringOptions<'a> {
    pub(super) num_classes: usize,
    /// Tolerance of borders, relative to the image's diagonal.
    pub(super) boundary_tolerance: f64,
    /// Fails if a sample cannot be read, instead of leaving it out.
    pub(super) strict: bool,
    /// Folder for the first model's masks, if they are wanted.
    pub(super) masks: Option<&'a Path>,
    pub(super) stop: &'a crate::sagemaker::StopSignal,
}

/// Scores of all models on all images that could be read.
#[derive(Debug)]
pub(super) struct Scored {
    pub(super) images: Vec<ScoredImage>,
    /// Scores of each model.
    pub(super) models: Vec<ModelScores>,
    /// Samples that were left out, each with its reason.
    pub(super) skipped: Vec<SkippedSample>,
    /// Warnings about masks that may be meant otherwise.
    pub(super) warnings: Vec<String>,
}

/// An image of the test set.
#[derive(Debug)]
pub(super) struct ScoredImage {
    /// Position of the sample in the test set.
    pub(super) sample: usize,
    /// Path or S3 URI.
    pub(super) file: String,
    pub(super) width: u32,
    pub(super) height: u32,
    /// Hash of the image's bytes.
    pub(super) hash: u64,
    /// The two classes that the first model confuses in most pixels.
    pub(super) worst_confusion: Option<Confusion>,
}

/// Pixels of a class that are predicted as another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Confusion {
    pub(super) truth: usize,
    pub(super) predicted: usize,
    pub(super) pixels: u64,
}

/// Scores of a model.
#[derive(Debug)]
pub(super) struct ModelScores {
    /// Scores of each image, in the order of the images.
    pub(super) images: Vec<ImageScores>,
    /// Pixels of all images.
    pub(super) matrix: ConfusionMatrix,
}

/// A sample that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SkippedSample {
    pub(super) key: String,
    pub(super) reason: String,
}

/// Samples that were read, each with its position in the test set.
type Window = Vec<(usize, Result<ReadSample, SampleError>)>;

/// Scores the models on the test set. Images are decoded while the models compute; those of one size
/// are computed together.
///
/// # Errors
///
/// A mask has values or colors without a class, no sample can be read, or `strict` is set and one
/// cannot. All such samples are told at once.
pub(super) fn score_samples(
    engines: &mut [&mut dyn Segment],
    test_set: &TestSet,
    options: &ScoringOptions<'_>,
) -> Result<Scored> {
    let samples = &test_set.samples[..];
    // A window is decoded while the one before is computed, and no more.
    let (sender, receiver) = sync_channel::<Window>(0);
    let mut scoring = Scoring::new(engines.len(), test_set, options);
    let result: Result<()> = std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut start = 0;
            while start < samples.len() {
                let window = read_window(samples, start);
                start += window.len();
                // Nobody receives after an error.
                if sender.send(window).is_err() {
                    return;
                }
            }
        });
        let mut progress = Progress::new("evaluate", samples.len());
        for window in receiver {
            let count = window.len();
            scoring.add_window(engines, window)?;
            progress.advance(count, || None);
        }
        Ok(())
    });
    result?;
    scoring.finish()
}

/// Reads samples from `start` on, at least one, as many at a time as there are threads.
fn read_window(samples: &[Sample], start: usize) -> Window {
    let threads = rayon::current_num_threads();
    let (mut window, mut pixels) = (Window::new(), 0);
    while window.len() < WINDOW_IMAGES_PER_THREAD * threads && pixels < WINDOW_PIXELS {
        let next = start + window.len();
        let range = next..samples.len().min(next + threads);
        if range.is_empty() {
            break;
        }
        let read: Window =
            range.into_par_iter().map(|index| (index, samples[index].read_for_audit())).collect();
        for (_, sample) in &read {
            if let Ok(sample) = sample {
                pixels += u64::from(sample.image.width()) * u64::from(sample.image.height());
            }
        }
        window.extend(read);
    }
    window
}

/// Scores that are not complete yet.
struct Scoring<'a> {
    samples: &'a [Sample],
    test_set: &'a TestSet,
    options: &'a ScoringOptions<'a>,
    findings: AuditFindings,
    /// True once a sample was read for which the evaluation ends with an error: nothing more is
    /// computed then, and all others are read, so that all such samples are told.
    has_failed: bool,
    /// Results by position in the test set.
    images: BTreeMap<usize, (ScoredImage, Vec<ImageScores>)>,
    matrices: Vec<ConfusionMatrix>,
    skipped: Vec<SkippedSample>,
}

impl<'a> Scoring<'a> {
    fn new(models: usize, test_set: &'a TestSet, options: &'a ScoringOptions<'a>) -> Self {
        Self {
            samples: &test_set.samples,
            test_set,
            options,
            findings: AuditFindings::default(),
            has_failed: false,
            images: BTreeMap::new(),
            matrices: vec![ConfusionMatrix::new(options.num_classes); models],
            skipped: Vec::new(),
        }
    }

    fn add_window(&mut self, engines: &mut [&mut dyn Segment], window: Window) -> Result<()> {
        let mut by_size: HashMap<(u32, u32), Vec<(usize, ReadSample)>> = HashMap::new();
        for (index, read) in window {
            if let Some(sample) = self.check_sample(index, read) {
                by_size.entry(sample.image.dimensions()).or_default().push((index, sample));
            }
        }
        if self.has_failed {
            return Ok(());
        }
        for ((width, height), group) in by_size {
            let pixels = u64::from(width) * u64::from(height);
            let fitting = (MAX_BATCH_PIXELS / pixels.max(1)) as usize;
            for batch in group.chunks(fitting.clamp(1, MAX_BATCH_IMAGES)) {
                self.score_batch(engines, batch)?;
            }
        }
        Ok(())
    }

    /// Notes what is wrong with a sample, and returns it if it can be scored.
    fn check_sample(
        &mut self,
        index: usize,
        read: Result<ReadSample, SampleError>,
    ) -> Option<ReadSample> {
        let (sample, classes) = (&self.samples[index], self.options.num_classes);
        match read {
            Ok(read) => {
                self.findings.add(sample, Ok(&read), classes);
                let is_class = |&id: &u8| usize::from(id) < classes || id == IGNORE_INDEX;
                self.has_failed |= !read.mask.as_raw().iter().all(is_class);
                Some(read)
            }
            Err(error @ SampleError::Unmapped(_)) => {
                self.findings.add(sample, Err(error), classes);
                self.has_failed = true;
                None
            }
            Err(error) => {
                let reason = error.to_string();
                if self.options.strict {
                    self.findings.add(sample, Err(error), classes);
                    self.has_failed = true;
                } else {
                    self.skipped.push(SkippedSample { key: sample.key.clone(), reason });
                }
                None
            }
        }
    }

    fn score_batch(
        &mut self,
        engines: &mut [&mut dyn Segment],
        batch: &[(usize, ReadSample)],
    ) -> Result<()> {
        if self.options.stop.is_requested() {
            return Err(stopped_error());
        }
        let images: Vec<&RgbImage> = batch.iter().map(|(_, sample)| &sample.image).collect();
        let segment_options =
            SegmentOptions { detail: OutputDetail::PixelConfidence, ..SegmentOptions::default() };
        let files = batch.iter().map(|(index, _)| self.samples[*index].image.display().to_string());
        let context = join_examples(files);
        let mut scores_by_image = vec![Vec::new(); batch.len()];
        let mut confusions = Vec::new();
        for (model, engine) in engines.iter_mut().enumerate() {
            let segmentations =
                engine.segment(&images, &segment_options).error_context(&context)?;
            if let (0, Some(folder)) = (model, self.options.masks) {
                for ((index, _), segmentation) in batch.iter().zip(&segmentations) {
                    let path = folder.join(self.test_set.mask_name(*index));
                    write_mask(&path, &segmentation.ids, engine.info())?;
                }
            }
            let compared: Vec<(ConfusionMatrix, ImageScores)> = batch
                .par_iter()
                .zip(segmentations)
                .map(|((_, sample), segmentation)| self.compare(sample, &segmentation))
                .collect();
            for (position, (matrix, scores)) in compared.into_iter().enumerate() {
                self.matrices[model].add(&matrix);
                if model == 0 {
                    confusions.push(find_worst_confusion(&matrix));
                }
                scores_by_image[position].push(scores);
            }
        }
        for (((index, sample), scores), worst_confusion) in
            batch.iter().zip(scores_by_image).zip(confusions)
        {
            let (width, height) = sample.image.dimensions();
            let image = ScoredImage {
                sample: *index,
                file: self.samples[*index].image.display().to_string(),
                width,
                height,
                hash: sample.digest.image_hash,
                worst_confusion,
            };
            self.images.insert(*index, (image, scores));
        }
        Ok(())
    }

    /// Compares an answer with the truth.
    fn compare(
        &self,
        sample: &ReadSample,
        segmentation: &Segmentation,
    ) -> (ConfusionMatrix, ImageScores) {
        let (truth, predicted) = (sample.mask.as_raw(), segmentation.ids.as_raw());
        let mut matrix = ConfusionMatrix::new(self.options.num_classes);
        matrix.update(truth, predicted);
        let tolerance = self.options.boundary_tolerance;
        let boundaries = score_boundaries(truth, predicted, sample.mask.width(), tolerance);
        let mut calibration = Box::<Calibration>::default();
        calibration.update(truth, predicted, &segmentation.pixel_confidence);
        let mut scores = ImageScores::new(&matrix, &boundaries, Some(calibration));
        scores.objects = count_objects(truth, predicted, sample.mask.width());
        (matrix, scores)
    }

    fn finish(self) -> Result<Scored> {
        let Self { samples, test_set, options, findings, images, matrices, skipped, .. } = self;
        let mut problems = Problems::new();
        let audit =
            findings.into_audit(&test_set.description, samples, options.num_classes, &mut problems);
        if images.is_empty() && problems.is_empty() {
            let reasons = join_examples(skipped.iter().map(|sample| sample.reason.clone()));
            problems.push(format!(
                "none of the {} of the test set can be used: {reasons}",
                pluralize(samples.len(), "sample")
            ));
        }
        if problems.is_empty() {
            audit.check_learnable(&test_set.description, &mut problems);
        }
        problems.into_result()?;
        let warnings = audit.warnings(&test_set.description, samples.len());
        let mut scored = Scored { images: Vec::new(), models: Vec::new(), skipped, warnings };
        for matrix in matrices {
            scored.models.push(ModelScores { images: Vec::new(), matrix });
        }
        for (image, scores) in images.into_values() {
            scored.images.push(image);
            for (model, scores) in scored.models.iter_mut().zip(scores) {
                model.images.push(scores);
            }
        }
        Ok(scored)
    }
}

/// Writes a predicted mask with the colors of the classes.
fn write_mask(path: &Path, ids: &GrayImage, info: &ModelInfo) -> Result<()> {
    if let Some(folder) = path.parent() {
        create_folder(folder)?;
    }
    write_without_sync(path, &encode_mask_with_colors(ids, |id| info.color(id)))
}

/// Finds the two classes that are confused in most pixels; of several the first.
fn find_worst_confusion(matrix: &ConfusionMatrix) -> Option<Confusion> {
    let mut worst: Option<Confusion> = None;
    for (truth, row) in matrix.rows().enumerate() {
        for (predicted, &pixels) in row.iter().enumerate() {
            if truth != predicted && pixels > worst.map_or(0, |worst| worst.pixels) {
                worst = Some(Confusion { truth, predicted, pixels });
            }
        }
    }
    worst
}
