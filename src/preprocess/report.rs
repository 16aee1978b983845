//! `report.json`: the written samples, the skipped entries with their reasons, and the size of each
//! class.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;

use super::PreprocessSettings;
use super::annotated_image::{AnnotatedImage, ImageOutcome, WrittenSample};
use super::class_counts::{ClassCounts, ClassStats};
use super::classes::Classes;
use super::mask_warnings::MaskFileSummary;
use super::plan::Plan;
use super::region_warnings::warn_of_regions;
use super::select::{Selection, UnusedReason};
use super::sources::{AnnotationSources, SkippedEntry};
use super::superseded::SupersededEntry;
use super::totals::Totals;
use crate::error::{
    Error, MAX_EXAMPLE_CHARS, MAX_PROBLEM_CHARS, Result, join_examples, pluralize, shorten_text,
};
use crate::metrics::IGNORE_INDEX;

/// Version of the report's format. It increases when a key changes its meaning.
const REPORT_VERSION: u32 = 1;

/// Largest number of classes of which a summary lists also those that no image has.
const MAX_SUMMARY_CLASSES: usize = 20;
/// Longest name of a class in a line of the log, in characters.
const MAX_CLASS_NAME_CHARS: usize = 100;

/// Value of the key `program`, by which a report is recognized.
const PROGRAM: &str = "maskmaker preprocess";

/// Counts of annotations and images before rasterization, by what became of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct AnnotationCounts {
    /// Annotations that make masks.
    pub used: usize,
    /// Annotations for which another one of the same image was chosen.
    pub superseded: usize,
    /// Annotations that their annotators skipped.
    pub cancelled: usize,
    /// Annotations that were deleted but are still in Label Studio's storage.
    pub stale: usize,
    /// Tasks without an annotation. The field's name is a key of `report.json`, which scripts read,
    /// so its spelling stays.
    pub not_labelled: usize,
    /// Images that are on another instance of the job.
    pub elsewhere: usize,
}

impl AnnotationCounts {
    /// Counts the annotations of one image.
    pub(super) fn add(&mut self, selection: &Selection) {
        self.used += selection.used.len();
        for unused in &selection.unused {
            match unused.reason {
                UnusedReason::Cancelled => self.cancelled += 1,
                UnusedReason::Deleted => self.stale += 1,
                _ => self.superseded += 1,
            }
        }
    }
}

/// One written image with its mask.
#[derive(Debug, Clone, Default, Serialize)]
pub struct MaskEntry {
    /// Path of image and mask below their channels, without extension.
    pub name: String,
    /// Channel of the image: `train`, `validation` or `test`.
    pub split: &'static str,
    /// Path of the source image below the folder of images.
    pub image: String,
    /// Paths of the written image and mask below the output folder.
    pub files: [String; 2],
    /// Locations of the annotations in their files.
    pub annotations: Vec<String>,
    /// Class ids that occur in the mask.
    pub classes: Vec<u8>,
    /// Number of regions that were drawn.
    pub regions: usize,
    /// Regions that are not in the mask, with the reasons.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// Drawn regions that later ones cover, so that no pixel of their class is left.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hidden: Vec<String>,
    /// Pairs of overlapping regions whose order the file does not hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unordered: Vec<String>,
    /// True if nothing says whether the annotation was drawn on the upright picture.
    #[serde(skip)]
    pub(super) is_orientation_guessed: bool,
}

/// Image, annotation or file that was not used.
#[derive(Debug, Clone, Serialize)]
struct ReportedSkip {
    what: String,
    reason: String,
    /// True if a user should repair it.
    fault: bool,
}

/// Report of a run, which becomes `report.json`.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    program: &'static str,
    version: u32,
    release: &'static str,
    settings: BTreeMap<&'static str, Value>,
    /// Number of images by split.
    images: BTreeMap<&'static str, usize>,
    annotations: AnnotationCounts,
    totals: Totals,
    classes: Vec<ClassStats>,
    /// Number of ignored pixels (255) by split.
    ignored_pixels: BTreeMap<&'static str, u64>,
    warnings: Vec<String>,
    skipped: Vec<ReportedSkip>,
    /// Annotations that make no mask because of others of the same images, or because they were
    /// deleted or skipped.
    superseded: Vec<SupersededEntry>,
    masks: Vec<MaskEntry>,
    /// Reason why the masks are probably not meant as they were read. It is among the warnings too.
    #[serde(skip)]
    unusable: Option<String>,
}

/// Returns true if `bytes` are a report of this program.
pub(super) fn is_report(bytes: &[u8]) -> bool {
    let value: Option<Value> = serde_json::from_slice(bytes).ok();
    value.is_some_and(|value| value["program"] == PROGRAM)
}

/// Returns the paths of images and masks that a report lists, below the output folder.
pub(super) fn list_report_files(bytes: &[u8]) -> Vec<PathBuf> {
    let report: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let mut paths = Vec::new();
    for mask in report["masks"].as_array().into_iter().flatten() {
        for file in mask["files"].as_array().into_iter().flatten() {
            paths.extend(file.as_str().map(PathBuf::from));
        }
    }
    paths
}

impl Report {
    pub(super) fn new(
        settings: &PreprocessSettings,
        plan: Plan,
        classes: &Classes,
        outcomes: Vec<ImageOutcome>,
    ) -> Self {
        let AnnotationSources { mut skipped, mut warnings, unlabeled_tasks, .. } = plan.sources;
        let mut totals = plan.totals;
        let mut class_counts = ClassCounts::default();
        let mut mask_files = MaskFileSummary::default();
        let mut masks = Vec::new();
        for (item, outcome) in plan.items.iter().zip(outcomes) {
            match outcome {
                ImageOutcome::Skipped(entry) => skipped.push(entry),
                ImageOutcome::Written(written) => {
                    totals.add_written(&written);
                    class_counts.add(item, &written.pixel_counts, &settings.split);
                    mask_files.add(&item.key, &written.findings, &written.pixel_counts);
                    masks.push(MaskEntry::new(item, written));
                }
            }
        }
        for entry in &skipped {
            totals.add_skipped(entry);
        }
        warnings.extend(mask_files.warnings(classes));
        // Other instances may have the classes that this one lacks.
        let mut unusable = None;
        if settings.host.is_none() {
            let has_faults = skipped.iter().any(|entry| entry.is_fault);
            unusable = mask_files.unusable_problem(classes);
            warnings.extend(class_counts.missing_class_warnings(classes, &settings.split));
            warnings.extend(unused_class_warnings(&class_counts, &mask_files, classes, has_faults));
            warnings.extend(class_counts.empty_split_warnings(&settings.split));
        }
        warnings.extend(warn_of_regions(&masks));
        for warning in &mut warnings {
            *warning = shorten_text(warning, MAX_PROBLEM_CHARS).into_owned();
        }
        Self {
            program: PROGRAM,
            version: REPORT_VERSION,
            release: env!("CARGO_PKG_VERSION"),
            settings: describe_settings(settings, classes),
            images: class_counts.images_by_split(),
            totals,
            annotations: AnnotationCounts { not_labelled: unlabeled_tasks, ..plan.counts },
            classes: class_counts.class_stats(classes),
            ignored_pixels: class_counts.pixels_by_split(IGNORE_INDEX),
            warnings,
            skipped: skipped.into_iter().map(ReportedSkip::from).collect(),
            superseded: plan.superseded,
            masks,
            unusable,
        }
    }

    pub(super) fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self)
            .map_err(|cause| Error::internal(format!("the report: {cause}")))
    }

    /// Returns the number of images that were written.
    pub fn image_count(&self) -> usize {
        self.masks.len()
    }

    /// Returns the written images with their masks.
    pub fn masks(&self) -> &[MaskEntry] {
        &self.masks
    }

    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Returns the reason why the masks are probably not meant as they were read, if there is one.
    pub(super) fn unusable_problem(&self) -> Option<&str> {
        self.unusable.as_deref()
    }

    /// Returns true if images are missing only because other instances have them.
    pub fn is_on_other_instances(&self) -> bool {
        self.annotations.elsewhere > 0 && !self.has_faults()
    }

    /// Returns true if an entry was skipped that a user should repair.
    pub fn has_faults(&self) -> bool {
        self.skipped.iter().any(|entry| entry.fault)
    }

    /// Returns one line about the skipped entries that a user should repair. `path` is the
    /// report's.
    pub(super) fn fault_summary(&self, path: &Path) -> String {
        let mut faults = Vec::new();
        for entry in &self.skipped {
            if entry.fault {
                faults.push(format!("{}: {}", entry.what, entry.reason));
            }
        }
        format!("{} skipped: {} (all in {})", faults.len(), join_examples(faults), path.display())
    }

    /// Returns lines for the console: images by split, entries left out, shares of classes.
    pub fn summary(&self) -> Vec<String> {
        let mut split_counts = Vec::new();
        for (split, count) in &self.images {
            split_counts.push(format!("{count} {split}"));
        }
        let colon = if split_counts.is_empty() { "" } else { ": " };
        let image_count = pluralize(self.image_count(), "image");
        let mut lines = vec![format!("{image_count}{colon}{}", split_counts.join(", "))];
        let left_out = self.left_out_counts();
        if !left_out.is_empty() {
            lines.push(format!("left out: {}", left_out.join(", ")));
        }
        let mut shares = Vec::new();
        let mut unused_count = 0;
        for class in &self.classes {
            // Unnamed classes may be hundreds, of which no image has most.
            if class.images.is_empty() && self.classes.len() > MAX_SUMMARY_CLASSES {
                unused_count += 1;
                continue;
            }
            let name = shorten_text(&class.name, MAX_CLASS_NAME_CHARS);
            shares.push(format!("{} {name} {:.1} %", class.id, 100.0 * class.share));
        }
        if unused_count > 0 {
            shares.push(format!("{unused_count} more in no image"));
        }
        lines.push(format!("classes: {}", shares.join(", ")));
        lines
    }

    /// Returns the number of entries left out for each reason that occurs, with the reason.
    fn left_out_counts(&self) -> Vec<String> {
        let fault_count = self.skipped.iter().filter(|entry| entry.fault).count();
        let empty_count =
            self.skipped.iter().filter(|entry| entry.reason.contains("--skip-empty")).count();
        let annotations = &self.annotations;
        let mut texts = Vec::new();
        for (count, reason) in [
            (fault_count, "skipped with a fault"),
            (annotations.cancelled, "skipped by annotators"),
            (annotations.not_labelled, "not labeled yet"),
            (annotations.superseded, "older or other annotations of the same images"),
            (annotations.stale, "deleted annotations"),
            (annotations.elsewhere, "on other instances"),
            (empty_count, "without a region"),
        ] {
            if count > 0 {
                texts.push(format!("{count} {reason}"));
            }
        }
        texts
    }
}

impl MaskEntry {
    fn new(item: &AnnotatedImage, written: WrittenSample) -> Self {
        let mut annotations = Vec::new();
        for annotation in &item.annotations {
            annotations.push(annotation.location.clone());
        }
        Self {
            name: item.name.clone(),
            split: item.split.channel(),
            image: item.key.clone(),
            files: [written.image_path, written.mask_path],
            annotations,
            classes: written.pixel_counts.iter().map(|(id, _)| *id).collect(),
            regions: written.regions.drawn,
            left_out: shorten_all(written.regions.left_out),
            hidden: shorten_all(written.regions.hidden),
            unordered: shorten_all(written.regions.unordered),
            is_orientation_guessed: written.is_orientation_guessed,
        }
    }
}

impl From<SkippedEntry> for ReportedSkip {
    fn from(entry: SkippedEntry) -> Self {
        Self { what: entry.subject, reason: entry.reason, fault: entry.is_fault }
    }
}

/// Returns warnings about classes that no image has, with advice. `has_faults` is true if images
/// were skipped that may have them.
fn unused_class_warnings(
    class_counts: &ClassCounts,
    mask_files: &MaskFileSummary,
    classes: &Classes,
    has_faults: bool,
) -> Vec<String> {
    if !classes.have_names() {
        return mask_files.unnamed_values_warning().into_iter().collect();
    }
    if mask_files.unusable_problem(classes).is_some() {
        return Vec::new();
    }
    let advice = if mask_files.may_hold_classes_as_ignored() {
        "it may be what masks hold as 255, which is ignored"
    } else if has_faults {
        "it may be in those that were skipped, which the report lists"
    } else {
        "label some, or take it out"
    };
    class_counts.unused_class_warnings(classes, advice)
}

/// Cuts texts that hold what a user wrote.
fn shorten_all(texts: Vec<String>) -> Vec<String> {
    let mut shortened = Vec::with_capacity(texts.len());
    for text in texts {
        shortened.push(shorten_text(&text, MAX_EXAMPLE_CHARS).into_owned());
    }
    shortened
}

/// Returns the settings that determine the result, so that a report can be understood alone.
fn describe_settings(
    settings: &PreprocessSettings,
    classes: &Classes,
) -> BTreeMap<&'static str, Value> {
    BTreeMap::from([
        ("annotations", path_value(&settings.annotations)),
        ("images", path_value(&settings.images)),
        ("label_config", settings.label_config.as_deref().map_or(Value::Null, path_value)),
        ("train_test_split_ratio", settings.split.validation_percent.into()),
        ("test_ratio", settings.split.test_percent.into()),
        ("seed", settings.split.seed.into()),
        ("several", value_name(&settings.annotation_policy).into()),
        ("annotated_as", settings.annotated_as.as_ref().map(value_name).into()),
        ("polygon_rule", value_name(&settings.polygon_rule).into()),
        ("skip_empty", settings.skip_empty.into()),
        ("ignore", classes.ignored_labels().into()),
        ("priority", classes.priority_labels().into()),
        ("host", settings.host.clone().into()),
    ])
}

fn path_value(path: &Path) -> Value {
    Value::from(path.display().to_string())
}

/// Returns the name that a value has on the command line.
fn value_name(value: &impl ValueEnum) -> String {
    match value.to_possible_value() {
        Some(possible) => possible.get_name().to_owned(),
        None => String::new(),
    }
}
