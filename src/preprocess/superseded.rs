//! Record of the choices among several annotations of one image: what was left out, and for which
//! other annotation.

use serde::Serialize;

use super::report::AnnotationCounts;
use super::select::Selection;
use super::totals::Totals;
use crate::error::join_examples;

/// Annotation that makes no mask because of another one, or because it does not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct SupersededEntry {
    /// Location of the annotation.
    pub what: String,
    /// Path of the image below the folder of images.
    pub image: String,
    /// Location of the annotation that is used instead, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    pub reason: &'static str,
}

/// Record of the choices of a run.
#[derive(Debug, Default)]
pub(super) struct SelectionLog {
    pub counts: AnnotationCounts,
    pub totals: Totals,
    pub superseded: Vec<SupersededEntry>,
    /// Images with annotations of several tasks or files of which one was chosen, with the
    /// locations of two.
    divided_images: Vec<String>,
    /// Images that a COCO file lists several times, with the locations.
    repeated_images: Vec<String>,
}

impl SelectionLog {
    /// Records the choice among the annotations of the image `key`.
    pub(super) fn add_selection(&mut self, key: &str, selection: &Selection) {
        self.counts.add(selection);
        self.totals.add_unused(selection);
        let mut example = None;
        for unused in &selection.unused {
            if unused.is_other_work
                && example.is_none()
                && let Some(used) = &unused.by
            {
                example =
                    Some(format!("{key} has {used} (used) and {} (left out)", unused.location));
            }
            self.superseded.push(SupersededEntry {
                what: unused.location.clone(),
                image: key.to_owned(),
                by: unused.by.clone(),
                reason: unused.reason.text(),
            });
        }
        self.divided_images.extend(example);
    }

    /// Records that the image `key` is listed several times in one file.
    pub(super) fn add_repeated_image(&mut self, key: &str, locations: &str) {
        self.repeated_images.push(format!("{key} ({locations})"));
    }

    /// Returns the warnings about choices that may not be what the user wants.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if !self.divided_images.is_empty() {
            warnings.push(format!(
                "{} annotations in several tasks or files, of which one is used; the others are \
                 listed in report.json under superseded; if they belong together, as those of a \
                 project for each class do, --several union paints all of them: {}",
                count_images_with(self.divided_images.len()),
                join_examples(self.divided_images.iter().cloned())
            ));
        }
        if !self.repeated_images.is_empty() {
            warnings.push(format!(
                "{} several entries in one COCO file, whose annotations are painted together: {}",
                count_images_with(self.repeated_images.len()),
                join_examples(self.repeated_images.iter().cloned())
            ));
        }
        warnings
    }
}

/// Returns `1 image has`, `2 images have` and so on.
pub(super) fn count_images_with(count: usize) -> String {
    if count == 1 { "1 image has".to_owned() } else { format!("{count} images have") }
}
