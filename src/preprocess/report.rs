//! `report.json`: what was written, what was not and why, and how much of each class there is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::Serialize;

use super::PreprocessSettings;
use super::annotated_image::{AnnotatedImage, ImageOutcome};
use super::classes::{Classes, IGNORE_INDEX};
use super::select::{AnnotationPolicy, Selection};
use super::sources::{AnnotationSources, SkippedEntry, join_examples};
use crate::annotations::split::DatasetSplit;
use crate::error::{Error, Result};

/// The version of the report's form; it grows when a key changes its meaning.
const REPORT_VERSION: u32 = 1;

/// What tells a report of ours from other files of that name.
const PROGRAM: &str = "maskmaker preprocess";

/// What became of annotations before any was drawn.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct AnnotationCounts {
    /// Drawn.
    pub used: usize,
    /// Others of the same image were taken.
    pub superseded: usize,
    /// Skipped by their annotators.
    pub cancelled: usize,
    /// Left in the storage after they were deleted.
    pub stale: usize,
    /// Tasks without an annotation.
    pub not_labelled: usize,
    /// Images that another instance of the job has.
    pub elsewhere: usize,
}

impl AnnotationCounts {
    /// Counts the annotations of one image.
    pub(super) fn add(&mut self, selection: &Selection) {
        self.used += selection.used.len();
        self.superseded += selection.superseded;
        self.cancelled += selection.cancelled;
        self.stale += selection.stale.len();
    }
}

/// One class.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ClassStats {
    /// The value in the masks.
    pub id: u8,
    /// The label.
    pub name: String,
    /// Red, green and blue, 0 to 255.
    pub color: [u8; 3],
    /// Pixels, by side.
    pub pixels: BTreeMap<&'static str, u64>,
    /// Images in which it occurs, by side.
    pub images: BTreeMap<&'static str, usize>,
    /// Its share of all pixels that are not ignored, 0 to 1.
    pub share: f64,
}

/// One image that was written.
#[derive(Debug, Clone, Serialize)]
pub struct MaskEntry {
    /// The name of image and mask, without extension.
    pub name: String,
    /// Its folder: `train`, `validation` or `test`.
    pub split: &'static str,
    /// The image below the folder of images.
    pub image: String,
    /// Image and mask as they were written, below the output.
    pub files: [String; 2],
    /// Where its annotations stand.
    pub annotations: Vec<String>,
    /// Ids of the classes in it.
    pub classes: Vec<u8>,
    /// Regions that are not in it, with the reasons.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// What was not written.
#[derive(Debug, Clone, Serialize)]
struct ReportedSkip {
    what: String,
    reason: String,
    /// Whether somebody should mend it.
    fault: bool,
}

/// All of it.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    program: &'static str,
    version: u32,
    release: &'static str,
    settings: BTreeMap<&'static str, serde_json::Value>,
    /// Images by side.
    images: BTreeMap<&'static str, usize>,
    annotations: AnnotationCounts,
    classes: Vec<ClassStats>,
    /// Ignored pixels (255) by side.
    ignored_pixels: BTreeMap<&'static str, u64>,
    warnings: Vec<String>,
    skipped: Vec<ReportedSkip>,
    masks: Vec<MaskEntry>,
}

/// Whether some bytes are a report of this program.
pub(super) fn is_report(bytes: &[u8]) -> bool {
    let value: Option<serde_json::Value> = serde_json::from_slice(bytes).ok();
    value.is_some_and(|value| value["program"] == PROGRAM)
}

/// The images and masks that a report says were written, below the output.
pub(super) fn list_report_files(bytes: &[u8]) -> Vec<PathBuf> {
    let value: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    let masks = value["masks"].as_array().into_iter().flatten();
    let files = masks.flat_map(|mask| mask["files"].as_array().into_iter().flatten());
    files.filter_map(|file| file.as_str().map(PathBuf::from)).collect()
}

impl Report {
    pub(super) fn new(
        settings: &PreprocessSettings,
        (classes, sources, mut annotation_counts): (&Classes, AnnotationSources, AnnotationCounts),
        items: &[AnnotatedImage],
        outcomes: Vec<ImageOutcome>,
    ) -> Self {
        annotation_counts.not_labelled = sources.unlabeled_tasks;
        let mut skipped = sources.skipped;
        let mut warnings = sources.warnings;
        let mut class_counts = ClassCounts::default();
        let mut masks = Vec::new();
        for (item, outcome) in items.iter().zip(outcomes) {
            match outcome {
                ImageOutcome::Skipped(entry) => skipped.push(entry),
                ImageOutcome::Written(written) => {
                    class_counts.add(item, &written.pixel_counts, settings);
                    masks.push(MaskEntry {
                        name: item.name.clone(),
                        split: item.split.channel(),
                        image: item.key.clone(),
                        files: [written.image_path, written.mask_path],
                        annotations: item
                            .annotations
                            .iter()
                            .map(|annotation| annotation.location.clone())
                            .collect(),
                        classes: written.pixel_counts.iter().map(|(id, _)| *id).collect(),
                        left_out: written.left_out,
                    });
                }
            }
        }
        warnings.extend(class_counts.missing_class_warnings(classes, settings));
        let left_out = masks.iter().filter(|mask| !mask.left_out.is_empty());
        let left_out: Vec<String> =
            left_out.map(|mask| format!("{}: {}", mask.image, mask.left_out.join(", "))).collect();
        if !left_out.is_empty() {
            warnings.push(format!(
                "regions that are no areas with a label were left out in {}: {}",
                format_image_count(left_out.len()),
                join_examples(left_out)
            ));
        }
        let counted_pixels: u64 = class_counts
            .pixels_by_class
            .iter()
            .filter(|((_, id), _)| *id != IGNORE_INDEX)
            .map(|(_, count)| count)
            .sum();
        let class_stats = |(id, name): (u8, &String)| {
            let pixels = ClassCounts::by_split(&class_counts.pixels_by_class, id);
            let share = pixels.values().sum::<u64>() as f64 / counted_pixels.max(1) as f64;
            let images = ClassCounts::by_split(&class_counts.images_by_class, id);
            ClassStats { id, name: name.clone(), color: classes.color(id), pixels, images, share }
        };
        Self {
            program: PROGRAM,
            version: REPORT_VERSION,
            release: env!("CARGO_PKG_VERSION"),
            settings: describe_settings(settings),
            images: class_counts.images_by_split.clone(),
            annotations: annotation_counts,
            classes: (0..=u8::MAX).zip(classes.names()).map(class_stats).collect(),
            ignored_pixels: ClassCounts::by_split(&class_counts.pixels_by_class, IGNORE_INDEX),
            warnings,
            skipped: skipped
                .into_iter()
                .map(|SkippedEntry { subject: what, reason, is_fault }| ReportedSkip {
                    what,
                    reason,
                    fault: is_fault,
                })
                .collect(),
            masks,
        }
    }

    /// As JSON, for people and programs.
    pub(super) fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self)
            .map_err(|cause| Error::internal(format!("the report: {cause}")))
    }

    /// Images that were written.
    pub fn image_count(&self) -> usize {
        self.masks.len()
    }

    /// What was written.
    pub fn masks(&self) -> &[MaskEntry] {
        &self.masks
    }

    /// What somebody should know.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether there is nothing here because other instances have it.
    pub fn is_on_other_instances(&self) -> bool {
        self.annotations.elsewhere > 0 && !self.has_faults()
    }

    /// Whether something was skipped that somebody should mend.
    pub fn has_faults(&self) -> bool {
        self.skipped.iter().any(|entry| entry.fault)
    }

    /// What was skipped that somebody should mend.
    pub(super) fn fault_summary(&self, path: &Path) -> String {
        let faults: Vec<String> = self
            .skipped
            .iter()
            .filter(|entry| entry.fault)
            .map(|entry| format!("{}: {}", entry.what, entry.reason))
            .collect();
        format!("{} skipped: {} (all in {})", faults.len(), join_examples(faults), path.display())
    }

    /// What was done, in lines.
    pub fn summary(&self) -> Vec<String> {
        let split_counts: Vec<String> =
            self.images.iter().map(|(split, count)| format!("{count} {split}")).collect();
        let AnnotationCounts { superseded, cancelled, stale, not_labelled, elsewhere, .. } =
            self.annotations;
        let fault_count = self.skipped.iter().filter(|entry| entry.fault).count();
        let mut left_out: Vec<String> = [
            (fault_count, "skipped with a fault"),
            (cancelled, "skipped by annotators"),
            (not_labelled, "not labeled yet"),
            (superseded, "older or other annotations of the same images"),
            (stale, "deleted annotations"),
            (elsewhere, "on other instances"),
        ]
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, reason)| format!("{count} {reason}"))
        .collect();
        let empty_count =
            self.skipped.iter().filter(|entry| entry.reason.contains("--skip-empty")).count();
        if empty_count > 0 {
            left_out.push(format!("{empty_count} without a region"));
        }
        let colon = if split_counts.is_empty() { "" } else { ": " };
        let mut lines = vec![format!(
            "{}{colon}{}",
            format_image_count(self.image_count()),
            split_counts.join(", ")
        )];
        if !left_out.is_empty() {
            lines.push(format!("left out: {}", left_out.join(", ")));
        }
        let shares: Vec<String> = self
            .classes
            .iter()
            .map(|class| format!("{} {} {:.1} %", class.id, class.name, 100.0 * class.share))
            .collect();
        lines.push(format!("classes: {}", shares.join(", ")));
        lines
    }
}

/// `1 image`, `2 images`.
fn format_image_count(count: usize) -> String {
    format!("{count} image{}", if count == 1 { "" } else { "s" })
}

/// What decided the result, so that a report can be understood alone.
fn describe_settings(settings: &PreprocessSettings) -> BTreeMap<&'static str, serde_json::Value> {
    let path_value = |path: &Path| serde_json::Value::from(path.display().to_string());
    let config = settings.label_config.as_deref().map_or(serde_json::Value::Null, path_value);
    BTreeMap::from([
        ("annotations", path_value(&settings.annotations)),
        ("images", path_value(&settings.images)),
        ("label_config", config),
        ("train_test_split_ratio", settings.split.validation_percent.into()),
        ("test_ratio", settings.split.test_percent.into()),
        ("seed", settings.split.seed.into()),
        ("several", policy_name(settings.annotation_policy).into()),
        ("skip_empty", settings.skip_empty.into()),
        ("ignore", settings.ignore.clone().into()),
        ("priority", settings.priority.clone().into()),
        ("host", settings.host.clone().into()),
    ])
}

/// The rule as it is written on the command line.
fn policy_name(policy: AnnotationPolicy) -> String {
    policy.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned())
}

/// Sums over what was written.
#[derive(Default)]
struct ClassCounts {
    images_by_split: BTreeMap<&'static str, usize>,
    pixels_by_class: BTreeMap<(DatasetSplit, u8), u64>,
    images_by_class: BTreeMap<(DatasetSplit, u8), usize>,
    /// By class the training image that needs the least to be in validation: percent, and its key.
    nearest_to_validation: BTreeMap<u8, (u32, String)>,
}

impl ClassCounts {
    fn add(&mut self, item: &AnnotatedImage, pixels: &[(u8, u64)], settings: &PreprocessSettings) {
        *self.images_by_split.entry(item.split.channel()).or_default() += 1;
        for &(id, count) in pixels {
            *self.pixels_by_class.entry((item.split, id)).or_default() += count;
            *self.images_by_class.entry((item.split, id)).or_default() += 1;
            if item.split == DatasetSplit::Train {
                let percent = settings.split.min_validation_percent(&item.key);
                let best = self
                    .nearest_to_validation
                    .entry(id)
                    .or_insert_with(|| (percent, item.key.clone()));
                if percent < best.0 {
                    *best = (percent, item.key.clone());
                }
            }
        }
    }

    /// By side, of one class.
    fn by_split<T: Copy>(
        counts: &BTreeMap<(DatasetSplit, u8), T>,
        id: u8,
    ) -> BTreeMap<&'static str, T> {
        let splits = DatasetSplit::ALL.into_iter();
        splits.filter_map(|split| Some((split.channel(), *counts.get(&(split, id))?))).collect()
    }

    /// Classes that a side lacks, and how to get them there.
    fn missing_class_warnings(
        &self,
        classes: &Classes,
        settings: &PreprocessSettings,
    ) -> Vec<String> {
        if settings.host.is_some() {
            // Another instance may have them.
            return Vec::new();
        }
        let has_class = |split, id| self.images_by_class.contains_key(&(split, id));
        let mut warnings = Vec::new();
        let max_percent = 100.0 - settings.split.test_percent;
        for (id, name) in (0..=u8::MAX).zip(classes.names()).skip(1) {
            let advice = match self.nearest_to_validation.get(&id) {
                Some((percent, key)) if f64::from(*percent) < max_percent => format!(
                    "with --train-test-split-ratio {percent} {key} would be there; or label more images of it, or \
                     try another --seed"
                ),
                _ => "label more images of it".to_owned(),
            };
            match (has_class(DatasetSplit::Train, id), has_class(DatasetSplit::Validation, id)) {
                (true, false) if settings.split.validation_percent > 0.0 => {
                    warnings.push(format!("class {id} ({name}) is in no validation image: {advice}"));
                }
                (false, true) => warnings.push(format!(
                    "class {id} ({name}) is in no training image, so it cannot be learned: label more images of it, \
                     or lower --train-test-split-ratio"
                )),
                (false, false) => {
                    warnings.push(format!("class {id} ({name}) is in no image: label some, or take it out"));
                }
                _ => {}
            }
        }
        for split in [DatasetSplit::Train, DatasetSplit::Validation] {
            let is_needed = split == DatasetSplit::Train || settings.split.validation_percent > 0.0;
            if is_needed
                && !self.images_by_split.contains_key(split.channel())
                && !self.images_by_split.is_empty()
            {
                warnings.push(format!(
                    "no image is in {split}, and training needs some: label more images, or change \
                     --train-test-split-ratio or --seed"
                ));
            }
        }
        warnings
    }
}
