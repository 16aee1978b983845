//! `evaluation.json` (`docs/evaluate.md`, `docs/evaluation.schema.json`). A score that is not defined
//! is null.

use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};

use super::comparison::Comparison;
use super::estimates::{ClassEstimates, ScoreEstimates};
use super::gate::Gate;
use super::groups::Groups;
use super::leaks::Leaks;
use super::reliability::{doubt_class, doubt_set};
use super::robustness::Robustness;
use super::scoring::Scored;
use super::{Candidate, EvaluateSettings};
use crate::data::image_hashes::SeenImages;
use crate::error::pluralize;
use crate::metrics::{Estimate, OBJECT_SIZES, ObjectCounts};

/// Version of the layout.
pub(super) const FORMAT_VERSION: u32 = 1;

/// Largest number of samples that are listed as left out.
const MAX_LISTED: usize = 100;

/// The content of `evaluation.json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    pub(super) format_version: u32,
    pub(super) maskmaker_version: &'static str,
    pub(super) multiclass_classification_metrics: Map<String, Value>,
    pub segmentation_metrics: SegmentationMetrics,
    /// Null without `--robustness`.
    pub robustness: Option<Robustness>,
    /// Null without `--group`.
    pub groups: Option<Groups>,
    /// Null where there is no other model.
    pub comparison: Option<Comparison>,
    pub gate: Gate,
    pub(super) model: ModelSection,
    pub data: DataSection,
    pub(super) settings: SettingsSection,
}

/// A score with its uncertainty by the bootstrap.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Score {
    pub value: Option<f64>,
    pub standard_deviation: Option<f64>,
    /// Ends of the 95 % interval.
    pub interval: Option<(f64, f64)>,
}

impl From<Estimate> for Score {
    fn from(estimate: Estimate) -> Self {
        let Estimate { value, standard_deviation, interval } = estimate;
        Self { value, standard_deviation, interval }
    }
}

/// Scores of the masks, each 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SegmentationMetrics {
    pub miou: Score,
    pub frequency_weighted_iou: Score,
    pub pixel_accuracy: Score,
    pub boundary_f1: Score,
    pub expected_calibration_error: Score,
    /// Number of images that were scored.
    pub images: usize,
    /// Number of pixels that the masks do not ignore.
    pub pixels: u64,
    /// False if there are too few images to rely on the scores.
    pub reliable: bool,
    /// Why the scores are not to be relied on.
    pub reliable_reason: Option<String>,
    /// Scores of objects by their size, the smallest first.
    pub object_sizes: Vec<ObjectSizeMetrics>,
    /// Scores of the classes, class 0 first.
    pub classes: Vec<ClassMetrics>,
}

/// Scores of the objects of one size.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ObjectSizeMetrics {
    /// `small`, `medium` or `large`.
    pub size: &'static str,
    /// Number of objects in the masks.
    pub objects: u64,
    /// Number of their pixels.
    pub pixels: u64,
    /// Share of these pixels that are predicted as their class.
    pub recall: Score,
}

/// Scores of one class, each 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassMetrics {
    pub id: usize,
    pub name: String,
    /// Number of images whose mask has the class.
    pub images: u64,
    /// Number of pixels of the class in the masks.
    pub pixels: u64,
    pub iou: Score,
    pub precision: Score,
    pub recall: Score,
    pub f1: Score,
    pub boundary_f1: Score,
    pub reliable: bool,
    pub reliable_reason: Option<String>,
}

impl SegmentationMetrics {
    /// Returns the scores of the whole set by their names in files.
    fn named_scores(&self) -> [(&'static str, Score); 5] {
        [
            ("miou", self.miou),
            ("frequency_weighted_iou", self.frequency_weighted_iou),
            ("pixel_accuracy", self.pixel_accuracy),
            ("boundary_f1", self.boundary_f1),
            ("expected_calibration_error", self.expected_calibration_error),
        ]
    }

    pub(super) fn new(scored: &Scored, estimates: &ScoreEstimates, class_names: &[String]) -> Self {
        let images = scored.images.len();
        let totals = &estimates.totals;
        let mut classes = Vec::with_capacity(class_names.len());
        let mut pixels = 0;
        for (id, (name, scores)) in class_names.iter().zip(&estimates.classes).enumerate() {
            let ClassEstimates { iou, precision, recall, f1, boundary_f1 } = *scores;
            let (class_images, class_pixels) =
                (totals.images_with_class(id), totals.class_scores(id).pixels);
            pixels += class_pixels;
            let reliable_reason = doubt_class(class_images, images);
            classes.push(ClassMetrics {
                id,
                name: name.clone(),
                images: class_images,
                pixels: class_pixels,
                iou: iou.into(),
                precision: precision.into(),
                recall: recall.into(),
                f1: f1.into(),
                boundary_f1: boundary_f1.into(),
                reliable: reliable_reason.is_none(),
                reliable_reason,
            });
        }
        let mut object_sizes = Vec::with_capacity(OBJECT_SIZES.len());
        for (size, recall) in OBJECT_SIZES.into_iter().zip(estimates.object_recalls) {
            let ObjectCounts { objects, pixels, .. } = totals.objects(size);
            let (size, recall) = (size.name(), recall.into());
            object_sizes.push(ObjectSizeMetrics { size, objects, pixels, recall });
        }
        let reliable_reason = doubt_set(images);
        Self {
            miou: estimates.miou.into(),
            frequency_weighted_iou: estimates.frequency_weighted_iou.into(),
            pixel_accuracy: estimates.pixel_accuracy.into(),
            boundary_f1: estimates.boundary_f1.into(),
            expected_calibration_error: estimates.expected_calibration_error.into(),
            images,
            pixels,
            reliable: reliable_reason.is_none(),
            reliable_reason,
            object_sizes,
            classes,
        }
    }
}

/// The model that was evaluated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ModelSection {
    pub(super) path: String,
    pub(super) class_names: Vec<String>,
    /// Number format in which it was computed.
    pub(super) precision: &'static str,
    pub(super) device: String,
    /// Largest side that was computed whole, in pixels; images with a longer one were scaled down.
    pub(super) max_side: u32,
}

impl ModelSection {
    pub(super) fn new(model: &Candidate<'_>) -> Self {
        let info = model.engine.info();
        Self {
            path: model.path.display().to_string(),
            class_names: info.class_names.clone(),
            precision: info.precision,
            device: info.device.clone(),
            max_side: info.max_side,
        }
    }
}

/// The test set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DataSection {
    pub(super) path: String,
    /// Number of images that were scored.
    pub(super) images: usize,
    /// Number of samples that could not be read and were left out.
    pub skipped: usize,
    /// The first 100 of them.
    skipped_samples: Vec<SkippedSection>,
    /// Warnings about masks that may be meant otherwise than they were read.
    warnings: Vec<String>,
    /// Numbers of different images on which the model was trained and validated; none if the model
    /// does not tell them.
    pub train_images: Option<usize>,
    pub validation_images: Option<usize>,
    pub leaks: Leaks,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct SkippedSection {
    sample: String,
    reason: String,
}

impl DataSection {
    pub(super) fn new(
        path: &Path,
        scored: &Scored,
        seen_images: Option<&SeenImages>,
        leaks: Leaks,
    ) -> Self {
        let mut skipped_samples = Vec::new();
        for skipped in scored.skipped.iter().take(MAX_LISTED) {
            let (sample, reason) = (skipped.key.clone(), skipped.reason.clone());
            skipped_samples.push(SkippedSection { sample, reason });
        }
        Self {
            path: path.display().to_string(),
            images: scored.images.len(),
            skipped: scored.skipped.len(),
            skipped_samples,
            warnings: scored.warnings.clone(),
            train_images: seen_images.map(|images| images.train.len()),
            validation_images: seen_images.map(|images| images.validation.len()),
            leaks,
        }
    }
}

/// Settings that the scores depend on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct SettingsSection {
    pub(super) boundary_tolerance: f64,
    pub(super) bootstrap_draws: usize,
    pub(super) seed: u64,
    strict: bool,
}

impl SettingsSection {
    pub(super) fn new(settings: &EvaluateSettings) -> Self {
        Self {
            boundary_tolerance: settings.boundary_tolerance,
            bootstrap_draws: settings.bootstrap.draws,
            seed: settings.bootstrap.seed,
            strict: settings.strict,
        }
    }
}

impl Evaluation {
    /// Returns the most important scores as lines of `name=value` (`docs/evaluate.md#log`), and the
    /// decision.
    pub fn summary(&self) -> Vec<String> {
        let metrics = &self.segmentation_metrics;
        let mut lines = Vec::new();
        for (name, score) in metrics.named_scores() {
            lines.push(describe_score(&format!("test_{name}"), score));
        }
        for class in &metrics.classes {
            lines.push(describe_score(
                &format!("test_iou_{} ({})", class.id, class.name),
                class.iou,
            ));
        }
        lines.push(format!("test_images={} skipped={}", metrics.images, self.data.skipped));
        if let Some(comparison) = &self.comparison {
            let line = describe_score("test_miou_difference", comparison.miou.difference);
            lines.push(match comparison.miou.probability_better {
                Some(probability) => format!("{line} probability_better={probability:.4}"),
                None => line,
            });
        }
        if let Some(robustness) = &self.robustness {
            for of_kind in &robustness.perturbations {
                let drop = match of_kind.relative_drop {
                    Some(drop) => format!("{drop:.6}"),
                    None => "nan".to_owned(),
                };
                lines.push(format!("test_drop_{}={drop}", of_kind.name));
            }
        }
        lines.push(self.gate.summary());
        lines
    }

    /// Returns the scores that are defined, by the names of `TensorBoard`'s tags.
    pub fn scalars(&self) -> Vec<(String, f64)> {
        let metrics = &self.segmentation_metrics;
        let mut named = Vec::new();
        for (name, score) in metrics.named_scores() {
            named.push((format!("test/{name}"), score.value));
        }
        for class in &metrics.classes {
            named.push((format!("test_iou/{}", class.name), class.iou.value));
        }
        let mut scalars = Vec::new();
        for (name, value) in named {
            if let Some(value) = value {
                scalars.push((name, value));
            }
        }
        scalars
    }

    /// Returns the decision, the mIoU and the warnings: the message of a job, which is cut at its end.
    pub fn short_summary(&self) -> String {
        let miou = describe_score("test_miou", self.segmentation_metrics.miou);
        let mut lines = vec![self.gate.summary(), miou];
        for warning in self.warnings() {
            lines.push(format!("warning: {warning}"));
        }
        lines.join("\n")
    }

    /// Returns what is to be said about the scores before they are believed.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.data.leaks.describe_seen(&self.model.path);
        if let Some(comparison) = &self.comparison {
            warnings.extend(comparison.other_leaks.describe_seen(&comparison.other_model));
        }
        warnings.extend(self.data.leaks.describe_repeated());
        warnings.extend(self.data.warnings.iter().cloned());
        if self.data.skipped > 0 {
            let first = &self.data.skipped_samples[0];
            warnings.push(format!(
                "{} could not be used and are left out, such as {}: {} (--strict makes this an error)",
                pluralize(self.data.skipped, "sample"),
                first.sample,
                first.reason
            ));
        }
        if let Some(reason) = &self.segmentation_metrics.reliable_reason {
            warnings.push(format!("the scores are not reliable: {reason}"));
        }
        warnings
    }
}

fn describe_score(name: &str, score: Score) -> String {
    match (score.value, score.interval) {
        (Some(value), Some((low, high))) => {
            format!("{name}={value:.6} low={low:.6} high={high:.6}")
        }
        (Some(value), None) => format!("{name}={value:.6}"),
        (None, _) => format!("{name}=nan"),
    }
}
