//! Choice among several annotations of one image.
//!
//! | step | file |
//! |---|---|
//! | keep the newest copy of each annotation, and leave out deleted ones | `label_studio_copies.rs` |
//! | leave out skipped ones, and choose by the policy | this file |
//! | compare ages | `age.rs`, `timestamp.rs` |
//! | find out if annotations that nothing else tells apart are equal | `equal_drawings.rs` |

mod age;
mod equal_drawings;
mod label_studio_copies;
#[cfg(test)]
mod tests;
mod timestamp;

use std::cmp::Ordering;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use clap::ValueEnum;

use self::age::AgeMeasure;
use self::equal_drawings::{MaskFile, have_equal_drawings, mask_file};
use self::label_studio_copies::{keep_latest_copies, remove_deleted};
use self::timestamp::Timestamp;
use super::rasterize::MaskSource;
use crate::error::join_examples;

/// Choice among several annotations of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum AnnotationPolicy {
    /// The newest that is marked as ground truth; without one the newest
    #[default]
    GroundTruth,
    /// The one that was changed last
    Newest,
    /// The one that was made first
    First,
    /// Each pixel is what most of them say; where two are equal it is ignored (255)
    Majority,
    /// The one that was read last: files are read by their names, and their lines in order
    Last,
    /// All are painted one after another, the newest on top, or the one that was read last where
    /// dates and numbers do not tell
    Union,
}

/// Annotation of one image.
#[derive(Debug)]
pub struct Annotation {
    /// Number of the annotation in Label Studio.
    pub id: Option<i64>,
    /// Number of the task in Label Studio.
    pub task_id: Option<i64>,
    /// Time of creation in ISO 8601, as written; empty if unknown.
    pub created_at: String,
    /// Time of the last change in ISO 8601; empty if unknown.
    pub updated_at: String,
    /// True if the annotator skipped the task.
    pub was_cancelled: bool,
    /// True if the annotation is marked as ground truth in Label Studio.
    pub ground_truth: bool,
    /// Number of annotations that the task had when this one was written.
    pub task_annotation_count: Option<u64>,
    /// True if the annotation comes from a list of all annotations of its task.
    pub is_in_task_list: bool,
    pub file: Arc<Path>,
    /// Location for messages, such as `annotation 7 in tasks.json`.
    pub location: String,
    pub mask_source: MaskSource,
}

impl Annotation {
    /// Makes an annotation that is not Label Studio's: without numbers, dates and marks.
    pub(super) fn without_metadata(
        file: Arc<Path>,
        location: String,
        mask_source: MaskSource,
    ) -> Self {
        Self {
            id: None,
            task_id: None,
            created_at: String::new(),
            updated_at: String::new(),
            was_cancelled: false,
            ground_truth: false,
            task_annotation_count: None,
            is_in_task_list: false,
            file,
            location,
            mask_source,
        }
    }
}

/// Reason why an annotation makes no mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UnusedReason {
    /// A newer annotation was chosen.
    Older,
    /// The annotation that was made first was chosen.
    NotFirst,
    /// The annotation that was read last was chosen.
    NotLast,
    /// Another annotation is marked as ground truth.
    NotGroundTruth,
    /// The same annotation was read in a newer version.
    OlderCopy,
    /// Another annotation makes the same mask.
    Equal,
    /// It was deleted but is still in Label Studio's storage.
    Deleted,
    /// Its annotator skipped the task.
    Cancelled,
}

impl UnusedReason {
    /// Returns the reason for the report.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Older => "another annotation is newer",
            Self::NotFirst => "another annotation is older (--several first)",
            Self::NotLast => "another annotation was read later (--several last)",
            Self::NotGroundTruth => "another annotation is marked as ground truth",
            Self::OlderCopy => "another copy of the annotation is newer or as new",
            Self::Equal => "another annotation is equal",
            Self::Deleted => "seems to be deleted: its task counts or lists fewer annotations",
            Self::Cancelled => "was skipped by its annotator",
        }
    }
}

/// Annotation that makes no mask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnusedAnnotation {
    pub location: String,
    /// Number of its regions.
    pub region_count: usize,
    pub reason: UnusedReason,
    /// Location of the annotation that is used instead, if there is one.
    pub by: Option<String>,
    /// True if age or the mark of ground truth chose between annotations of different tasks or
    /// files, which may belong together. The user who asks for the last one has chosen.
    pub is_other_work: bool,
}

/// Annotations of one image, sorted by what became of them.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// One annotation, or all that are combined.
    pub used: Vec<Annotation>,
    /// Annotations of which one should be used, but nothing says which. Then none is used.
    pub contradicting: Vec<Annotation>,
    pub unused: Vec<UnusedAnnotation>,
}

impl Selection {
    pub(super) fn leave_out(&mut self, annotation: &Annotation, reason: UnusedReason) {
        self.unused.push(UnusedAnnotation {
            location: annotation.location.clone(),
            region_count: annotation.mask_source.region_count(),
            reason,
            by: None,
            is_other_work: false,
        });
    }

    /// Leaves out an annotation because another one is used.
    fn supersede(&mut self, annotation: &Annotation, used: &Annotation, reason: UnusedReason) {
        self.leave_out(annotation, reason);
        let is_choice = matches!(
            reason,
            UnusedReason::Older | UnusedReason::NotFirst | UnusedReason::NotGroundTruth
        );
        if let Some(unused) = self.unused.last_mut() {
            unused.by = Some(used.location.clone());
            unused.is_other_work = is_choice && !is_same_work(annotation, used);
        }
    }

    /// Returns the locations of annotations that were left out for a reason.
    pub(super) fn locations_left_out(&self, reason: UnusedReason) -> Vec<String> {
        let mut locations = Vec::new();
        for unused in &self.unused {
            if unused.reason == reason {
                locations.push(unused.location.clone());
            }
        }
        locations
    }
}

/// Returns the number of regions of annotations.
pub(super) fn count_regions(annotations: &[Annotation]) -> usize {
    annotations.iter().map(|annotation| annotation.mask_source.region_count()).sum()
}

/// Chooses among the annotations of one image, which are in the order in which they were read.
pub(super) fn select_annotations(
    annotations: Vec<Annotation>,
    policy: AnnotationPolicy,
) -> Selection {
    let mut selection = Selection::default();
    let latest = keep_latest_copies(annotations, &mut selection);
    let remaining = remove_deleted(latest, &mut selection);
    let mut remaining = remove_cancelled(remaining, &mut selection);
    match policy {
        AnnotationPolicy::Majority => {
            selection.used = remove_repeated_masks(remaining, &mut selection);
        }
        AnnotationPolicy::Union => {
            AgeMeasure::Change.sort(&mut remaining);
            selection.used = remove_repeated_masks(remaining, &mut selection);
        }
        AnnotationPolicy::Last => {
            if let Some(last) = remaining.pop() {
                for annotation in &remaining {
                    selection.supersede(annotation, &last, UnusedReason::NotLast);
                }
                selection.used.push(last);
            }
        }
        AnnotationPolicy::First => {
            choose_by_age(remaining, UnusedReason::NotFirst, &mut selection);
        }
        AnnotationPolicy::Newest => choose_by_age(remaining, UnusedReason::Older, &mut selection),
        AnnotationPolicy::GroundTruth => {
            let (truths, others): (Vec<_>, Vec<_>) =
                remaining.into_iter().partition(|annotation| annotation.ground_truth);
            if truths.is_empty() {
                choose_by_age(others, UnusedReason::Older, &mut selection);
            } else {
                choose_by_age(truths, UnusedReason::Older, &mut selection);
                leave_for_truth(&others, &mut selection);
            }
        }
    }
    selection
}

/// Uses the youngest of the annotations, or the oldest where the others are left out for
/// [`UnusedReason::NotFirst`]. Those of which nothing says that they are older, or younger,
/// contradict it if they do not make the same mask; then none is used.
fn choose_by_age(
    mut annotations: Vec<Annotation>,
    reason: UnusedReason,
    selection: &mut Selection,
) {
    let (measure, wanted) = if reason == UnusedReason::NotFirst {
        (AgeMeasure::Creation, Ordering::Less)
    } else {
        (AgeMeasure::Change, Ordering::Greater)
    };
    measure.sort(&mut annotations);
    if wanted == Ordering::Less {
        annotations.reverse();
    }
    let Some(chosen) = annotations.pop() else { return };
    let mut left_out = Vec::new();
    let mut contradicting = Vec::new();
    for annotation in annotations {
        if measure.compare(&chosen, &annotation) == Some(wanted) {
            left_out.push((annotation, reason));
        } else if have_equal_drawings(&chosen.mask_source, &annotation.mask_source) {
            left_out.push((annotation, UnusedReason::Equal));
        } else {
            contradicting.push(annotation);
        }
    }
    if contradicting.is_empty() {
        for (annotation, reason) in &left_out {
            selection.supersede(annotation, &chosen, *reason);
        }
        selection.used.push(chosen);
    } else {
        for (annotation, reason) in &left_out {
            selection.leave_out(annotation, *reason);
        }
        contradicting.push(chosen);
        selection.contradicting = contradicting;
    }
}

/// Leaves out the annotations that are not marked as ground truth, although others are.
fn leave_for_truth(others: &[Annotation], selection: &mut Selection) {
    match selection.used.pop() {
        Some(truth) => {
            for annotation in others {
                selection.supersede(annotation, &truth, UnusedReason::NotGroundTruth);
            }
            selection.used.push(truth);
        }
        None => {
            for annotation in others {
                selection.leave_out(annotation, UnusedReason::NotGroundTruth);
            }
        }
    }
}

/// Returns the reason why an image with contradicting annotations is skipped, with the way out.
pub(super) fn describe_contradiction(annotations: &[Annotation]) -> String {
    let mut places = Vec::new();
    for annotation in annotations {
        let date = [&annotation.updated_at, &annotation.created_at]
            .into_iter()
            .find(|date| Timestamp::parse(date).is_some());
        places.push(match date {
            Some(date) => format!("{} ({})", annotation.location, date.trim()),
            None => format!("{} (no date)", annotation.location),
        });
    }
    format!(
        "has several annotations, and nothing says which are newer: {}; keep one of them, or take \
         the one that was read last with --several last, or all of them with --several union",
        join_examples(places)
    )
}

/// Returns true if two annotations are work on the same task.
fn is_same_work(first: &Annotation, second: &Annotation) -> bool {
    match (first.task_id, second.task_id) {
        // Two annotations of one number were made in two installations of Label Studio.
        (Some(first_task), Some(second_task)) => {
            first_task == second_task && (first.id.is_none() || first.id != second.id)
        }
        _ => match (&first.mask_source, &second.mask_source) {
            (
                MaskSource::Regions { file: first_file, span: first_span, .. },
                MaskSource::Regions { file: second_file, span: second_span, .. },
            ) => first_file == second_file && first_span == second_span,
            _ => false,
        },
    }
}

/// Removes the annotations whose annotators skipped the task.
fn remove_cancelled(annotations: Vec<Annotation>, selection: &mut Selection) -> Vec<Annotation> {
    let mut remaining = Vec::new();
    for annotation in annotations {
        if annotation.was_cancelled {
            selection.leave_out(&annotation, UnusedReason::Cancelled);
        } else {
            remaining.push(annotation);
        }
    }
    remaining
}

/// Keeps the last of the annotations that name the same mask file: documents of one job repeat
/// their lines, and a repeated line has no second vote.
fn remove_repeated_masks(
    annotations: Vec<Annotation>,
    selection: &mut Selection,
) -> Vec<Annotation> {
    let mut last_indexes: HashMap<MaskFile<'_>, usize> = HashMap::new();
    for (index, annotation) in annotations.iter().enumerate() {
        if let Some(file) = mask_file(&annotation.mask_source) {
            last_indexes.insert(file, index);
        }
    }
    let mut is_repeated = Vec::new();
    for (index, annotation) in annotations.iter().enumerate() {
        let file = mask_file(&annotation.mask_source);
        let last_index = file.and_then(|file| last_indexes.get(&file).copied()).unwrap_or(index);
        if last_index != index {
            selection.supersede(annotation, &annotations[last_index], UnusedReason::Equal);
        }
        is_repeated.push(last_index != index);
    }
    let mut remaining = Vec::new();
    for (annotation, is_repeated) in annotations.into_iter().zip(is_repeated) {
        if !is_repeated {
            remaining.push(annotation);
        }
    }
    remaining
}
