//! Warnings about the mask files of a run, taken together: values and colors that may mean
//! something else than they were read as.

use super::classes::Classes;
use super::mask_file::MaskFindings;
use crate::data::audit::Histogram;
use crate::data::audit::mask_values::{
    StretchedIds, describe_ignored_masks, describe_snapped, format_values, list_values,
    suspect_values_hint,
};
use crate::error::join_examples;
use crate::metrics::IGNORE_INDEX;

/// Findings about the mask files of all written images.
#[derive(Debug, Default)]
pub(super) struct MaskFileSummary {
    /// Number of images that were written.
    total: usize,
    /// Pixels per class id over all images.
    pixels: Option<Box<Histogram>>,
    /// Images with snapped colors, each with the number of such pixels.
    snapped: Vec<(String, u64)>,
    /// Images in whose masks 255 is the only value beside 0.
    only_ignored: Vec<String>,
    /// Images whose masks were read by color although their values say other classes.
    by_color: Vec<String>,
    /// Images with other remarks on their masks.
    remarks: Vec<String>,
}

impl MaskFileSummary {
    /// Adds the findings about the mask of `image`, whose pixels by class id are `pixel_counts`.
    pub(super) fn add(&mut self, image: &str, findings: &MaskFindings, pixel_counts: &[(u8, u64)]) {
        self.total += 1;
        let pixels = self.pixels.get_or_insert_with(|| Box::new([0; 256]));
        for (id, count) in pixel_counts {
            pixels[usize::from(*id)] += count;
        }
        if findings.snapped_pixels > 0 {
            self.snapped.push((image.to_owned(), findings.snapped_pixels));
        }
        if findings.holds_only_ignored {
            self.only_ignored.push(image.to_owned());
        }
        if findings.is_read_by_color {
            self.by_color.push(image.to_owned());
        }
        if let Some(remark) = &findings.remark {
            self.remarks.push(format!("{image}: {remark}"));
        }
    }

    /// Returns true if the masks may hold a class as 255.
    pub(super) fn may_hold_classes_as_ignored(&self) -> bool {
        !self.only_ignored.is_empty()
    }

    /// Returns the problem of masks that are probably not meant as they were read: they hold only 0
    /// and 255, so that there is nothing to learn, or ids without names that were stretched.
    pub(super) fn unusable_problem(&self, classes: &Classes) -> Option<String> {
        if !classes.have_names()
            && let Some(stretched) = StretchedIds::find(self.pixels.as_ref()?)
        {
            return Some(format!(
                "the masks have no class names, and {stretched}; if they are ids, name every class \
                 with --label-config"
            ));
        }
        self.only_ignored_problem(classes)
    }

    /// Returns the problem of masks that hold only 0 and 255, if they do.
    fn only_ignored_problem(&self, classes: &Classes) -> Option<String> {
        let pixels = self.pixels.as_ref()?;
        let ignored = usize::from(IGNORE_INDEX);
        let has_class = pixels[1..ignored].iter().any(|count| *count > 0);
        if self.only_ignored.is_empty() || has_class {
            return None;
        }
        let advice = match classes.names() {
            [_, only_class] => format!("write it as 1 ({only_class})"),
            [_, _, ..] => {
                format!("write the ids of the classes, 1 to {}", classes.names().len() - 1)
            }
            _ => "write it as 1".to_owned(),
        };
        let name = classes.names().get(1).map_or("object", String::as_str);
        Some(format!(
            "the masks hold only the values 0 and 255 (pixels: 0: {}, 255: {}). 255 means \
             \"ignored\", so no pixel of a class is left to learn. If 255 is the foreground of \
             binary masks, {advice}, or say with --label-config that white is the color of its \
             class: {{\"1\": {{\"name\": {name:?}, \"color\": [255, 255, 255]}}}}; masks: {}",
            pixels[0],
            pixels[ignored],
            join_examples(self.only_ignored.clone())
        ))
    }

    /// Returns warnings about masks that were used.
    pub(super) fn warnings(&self, classes: &Classes) -> Vec<String> {
        let mut warnings = Vec::new();
        match self.unusable_problem(classes) {
            Some(problem) => warnings.push(problem),
            None if !self.only_ignored.is_empty() => {
                warnings.push(describe_ignored_masks("masks", &self.only_ignored, self.total));
            }
            None => {}
        }
        warnings.extend(describe_snapped("masks", &self.snapped, "their classes"));
        if !self.by_color.is_empty() {
            warnings.push(format!(
                "masks in which every value shows the color of a label or of the background are \
                 read by these colors; the values themselves say other classes: {}",
                join_examples(self.by_color.clone())
            ));
        }
        if !self.remarks.is_empty() {
            warnings.push(format!(
                "masks can be read in two ways: {}",
                join_examples(self.remarks.clone())
            ));
        }
        warnings
    }

    /// Returns the warning about values of masks without class names that leave gaps, or that look
    /// like something else than ids. Stretched ids are a problem already.
    pub(super) fn unnamed_values_warning(&self) -> Option<String> {
        let pixels = self.pixels.as_ref()?;
        if StretchedIds::find(pixels).is_some() {
            return None;
        }
        let mut values = list_values(pixels);
        values.retain(|value| *value != 0 && *value != IGNORE_INDEX);
        let largest = usize::from(*values.last()?);
        let gap_count = largest - values.len();
        let hint = suspect_values_hint(pixels);
        if gap_count == 0 && hint.is_none() {
            return None;
        }
        let hint = match hint {
            Some(hint) => format!(": {hint}"),
            None => ": if ids were meant to follow without gaps, number them anew".to_owned(),
        };
        Some(format!(
            "the masks hold the values {}, so there are {} classes, and {gap_count} of them are in \
             no image{hint}",
            format_values(&values),
            largest + 1
        ))
    }
}
