//! The audit reads every image and mask once before the first step, and reports everything that is
//! wrong with them at once (`docs/architecture.md#audit-before-the-first-step`).

pub mod mask_values;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use self::mask_values::{
    StretchedIds, describe_ignored_masks, describe_snapped, holds_only_ignored, suspect_values_hint,
};
use super::color_map::MAX_COLOR_DISTANCE;
use super::digest::SampleDigest;
use super::label_map::LabelMap;
use super::sample::{ReadSample, Sample, SampleError};
use crate::error::{Problems, join_examples, pluralize};
use crate::metrics::IGNORE_INDEX;

/// Pixels per mask value, 0 to 255.
pub type Histogram = [u64; 256];

/// Findings of the audit in one split.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Audit {
    /// Digests of the samples, in their order, if every sample could be read.
    pub digests: Vec<SampleDigest>,
    /// Pixels per mask value over the whole split.
    #[serde(with = "histogram_values")]
    pub histogram: Box<Histogram>,
    /// Keys of samples whose masks have colors that are only near those of their classes, each with
    /// the number of such pixels.
    pub snapped: Vec<(String, u64)>,
    /// Keys of samples in whose masks 255 is the only value beside 0.
    pub only_ignored: Vec<String>,
    /// Smallest and largest sides of the images, in pixels; none if the split has no images.
    pub size_range: Option<SizeRange>,
}

impl Audit {
    /// Adds what was found in the samples of another host.
    pub fn add_host(&mut self, histogram: &[u64], size_range: Option<SizeRange>) {
        for (sum, count) in self.histogram.iter_mut().zip(histogram) {
            *sum += count;
        }
        self.size_range = match (self.size_range, size_range) {
            (Some(own), Some(other)) => Some(own.merge(other)),
            (own, other) => own.or(other),
        };
    }
}

/// Writes a histogram as a list.
mod histogram_values {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Histogram;

    pub(super) fn serialize<S: Serializer>(
        histogram: &Histogram,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        histogram.as_slice().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Box<Histogram>, D::Error> {
        let values = Vec::<u64>::deserialize(deserializer)?;
        let length = values.len();
        values
            .try_into()
            .map_err(|_| D::Error::custom(format!("a histogram has 256 values, not {length}")))
    }
}

/// Names of a split and of its two halves, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitDescription {
    /// Name of the split: `train`, `validation` or `test`.
    pub split: &'static str,
    /// Images and annotations, such as `channels train and train_annotation`.
    pub channels: String,
    /// Annotations, such as `channel train_annotation`.
    pub annotations: String,
}

impl SplitDescription {
    /// Describes a split of two channels that are folders.
    pub fn for_folders(split: &'static str) -> Self {
        let annotations = format!("channel {split}_annotation");
        Self { split, channels: format!("channels {split} and {split}_annotation"), annotations }
    }

    /// Describes a split that is a stream, such as `channel train, annotations in train_0`.
    pub fn for_stream(split: &'static str, fifo: &Path) -> Self {
        let fifo = file_name(fifo);
        let annotations = format!("channel {split}, annotations in {fifo}");
        Self { split, channels: format!("channel {split}, {fifo}"), annotations }
    }

    /// Describes a split that is a manifest, such as `channel train, labels-ref in train.manifest`.
    pub fn for_manifest(split: &'static str, file: &Path, attribute: Option<&str>) -> Self {
        let (file, attribute) = (file_name(file), attribute.unwrap_or("annotations"));
        let annotations = format!("channel {split}, {attribute} in {file}");
        Self { split, channels: format!("channel {split}, {file}"), annotations }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).display().to_string()
}

/// Smallest and largest sides of some images, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SizeRange {
    /// Least and most columns, in pixels.
    pub width: (u32, u32),
    /// Least and most rows, in pixels.
    pub height: (u32, u32),
}

impl SizeRange {
    fn from_size((width, height): (u32, u32)) -> Self {
        Self { width: (width, width), height: (height, height) }
    }

    fn merge(self, other: Self) -> Self {
        Self {
            width: merge_ranges(self.width, other.width),
            height: merge_ranges(self.height, other.height),
        }
    }
}

fn merge_ranges(one: (u32, u32), other: (u32, u32)) -> (u32, u32) {
    (one.0.min(other.0), one.1.max(other.1))
}

/// Findings in some samples, in their order.
#[derive(Debug)]
pub struct AuditFindings {
    digests: Vec<SampleDigest>,
    histogram: Box<Histogram>,
    size_range: Option<SizeRange>,
    /// Keys of masks with ids outside the classes.
    out_of_range: Vec<String>,
    unreadable: Vec<String>,
    not_masks: Vec<String>,
    size_mismatches: Vec<String>,
    unmapped: Vec<String>,
    snapped: Vec<(String, u64)>,
    only_ignored: Vec<String>,
}

impl Default for AuditFindings {
    fn default() -> Self {
        let histogram = Box::new([0; 256]);
        let [out_of_range, unreadable, not_masks, size_mismatches, unmapped] = Default::default();
        let (snapped, only_ignored) = Default::default();
        Self {
            digests: Vec::new(),
            histogram,
            size_range: None,
            out_of_range,
            unreadable,
            not_masks,
            size_mismatches,
            unmapped,
            snapped,
            only_ignored,
        }
    }
}

impl AuditFindings {
    /// Adds what reading a sample of a network with `num_classes` classes gave.
    pub fn add(
        &mut self,
        sample: &Sample,
        read: Result<&ReadSample, SampleError>,
        num_classes: usize,
    ) {
        match read {
            Ok(ReadSample { mask, snapped_pixels, digest, .. }) => {
                self.digests.push(*digest);
                if *snapped_pixels > 0 {
                    self.snapped.push((sample.key.clone(), *snapped_pixels));
                }
                let mut histogram: Histogram = [0; 256];
                for &id in mask.as_raw() {
                    histogram[usize::from(id)] += 1;
                }
                if histogram[num_classes..usize::from(IGNORE_INDEX)].iter().any(|&n| n > 0) {
                    self.out_of_range.push(sample.key.clone());
                }
                // A label map says what 255 is.
                if sample.label_map.is_none() && holds_only_ignored(&histogram) {
                    self.only_ignored.push(sample.key.clone());
                }
                self.add_histogram(&histogram);
                self.add_size_range(Some(SizeRange::from_size(mask.dimensions())));
            }
            Err(SampleError::Unreadable(text)) => self.unreadable.push(text),
            Err(SampleError::NotAMask(text)) => self.not_masks.push(text),
            Err(SampleError::SizeMismatch(text)) => self.size_mismatches.push(text),
            Err(SampleError::Unmapped(text)) => self.unmapped.push(text),
        }
    }

    fn add_histogram(&mut self, histogram: &Histogram) {
        for (sum, n) in self.histogram.iter_mut().zip(histogram) {
            *sum += n;
        }
    }

    fn add_size_range(&mut self, size_range: Option<SizeRange>) {
        self.size_range = match (self.size_range, size_range) {
            (Some(one), Some(other)) => Some(one.merge(other)),
            (one, other) => one.or(other),
        };
    }

    fn merge(mut self, other: Self) -> Self {
        self.digests.extend(other.digests);
        self.add_histogram(&other.histogram);
        self.add_size_range(other.size_range);
        self.out_of_range.extend(other.out_of_range);
        self.unreadable.extend(other.unreadable);
        self.not_masks.extend(other.not_masks);
        self.size_mismatches.extend(other.size_mismatches);
        self.unmapped.extend(other.unmapped);
        self.snapped.extend(other.snapped);
        self.only_ignored.extend(other.only_ignored);
        self
    }
}

/// Reads every sample of a split and checks that both files can be decoded, that the mask has the
/// size of the upright image, and that its ids (after its label map) are below `num_classes` or
/// 255. `progress` is called once per sample, from any thread, and returns false to end the audit
/// early; the findings are then those of some samples only.
pub fn audit_samples(
    split_description: &SplitDescription,
    samples: &[Sample],
    num_classes: usize,
    problems: &mut Problems,
    progress: impl Fn() -> bool + Sync,
) -> Audit {
    let keep_going = AtomicBool::new(true);
    let findings = samples
        .par_iter()
        .fold(AuditFindings::default, |mut findings, sample| {
            if keep_going.load(Ordering::Relaxed) {
                let read = sample.read_for_audit();
                findings.add(sample, read.as_ref().map_err(Clone::clone), num_classes);
                keep_going.fetch_and(progress(), Ordering::Relaxed);
            }
            findings
        })
        .reduce(AuditFindings::default, AuditFindings::merge);
    findings.into_audit(split_description, samples, num_classes, problems)
}

impl AuditFindings {
    /// Describes what is wrong with the samples of a split, and returns the rest.
    pub fn into_audit(
        self,
        split_description: &SplitDescription,
        samples: &[Sample],
        num_classes: usize,
        problems: &mut Problems,
    ) -> Audit {
        let Self {
            digests,
            histogram,
            size_range,
            out_of_range,
            unreadable,
            not_masks,
            size_mismatches,
            unmapped,
            snapped,
            only_ignored,
        } = self;
        let SplitDescription { split, channels, annotations } = split_description;
        // All samples of a split have the same label map.
        let label_map = samples.first().and_then(|sample| sample.label_map.as_deref());
        if !unreadable.is_empty() {
            let files = pluralize(unreadable.len(), "file");
            problems.push(format!(
                "{channels}: {files} cannot be read: {}",
                join_examples(unreadable.iter().cloned())
            ));
        }
        if !not_masks.is_empty() {
            let masks = pluralize_is(not_masks.len(), "mask");
            let advice = if not_masks.len() == samples.len() {
                format!("; does its S3 URI point at the images of {split}?")
            } else {
                String::new()
            };
            problems.push(format!(
                "{annotations}: {masks} not of class ids{advice}: {}",
                join_examples(not_masks.iter().cloned())
            ));
        }
        if !size_mismatches.is_empty() {
            problems.push(format!(
                "{annotations}: {} not as large as the image: {}",
                pluralize_is(size_mismatches.len(), "mask"),
                join_examples(size_mismatches.iter().cloned())
            ));
        }
        if !unmapped.is_empty() {
            problems.push(describe_unmapped(annotations, &unmapped, label_map));
        }
        if !out_of_range.is_empty() {
            let mut message =
                describe_out_of_range(annotations, num_classes, &out_of_range, &histogram);
            match label_map {
                Some(map) => {
                    message =
                        format!("{message}; the values are those after the label map ({map})");
                }
                None => message.push_str(&scale_advice(split, &histogram)),
            }
            problems.push(message);
        }
        Audit { digests, histogram, snapped, only_ignored, size_range }
    }
}

impl Audit {
    /// Returns warnings about masks that can be used, but may be meant otherwise. `total` is the
    /// number of masks.
    pub fn warnings(&self, split_description: &SplitDescription, total: usize) -> Vec<String> {
        let annotations = &split_description.annotations;
        let mut warnings = Vec::new();
        warnings.extend(describe_snapped(annotations, &self.snapped, "their internal-color-map"));
        // Masks without any class are a problem in the training split.
        let has_foreground = self.has_foreground();
        if !self.only_ignored.is_empty() && (has_foreground || split_description.split != "train") {
            warnings.push(describe_ignored_masks(annotations, &self.only_ignored, total));
        }
        warnings
    }

    fn has_foreground(&self) -> bool {
        self.histogram[1..usize::from(IGNORE_INDEX)].iter().any(|&pixels| pixels > 0)
    }

    /// Checks that the masks of the validation split hold anything to score. Where those of
    /// `training` use 255 for ignored pixels, a few validation images may hold only background.
    pub fn check_scorable(
        &self,
        split_description: &SplitDescription,
        training: &Self,
        problems: &mut Problems,
    ) {
        let training_ignores = training.histogram[usize::from(IGNORE_INDEX)] > 0;
        if self.histogram[0] == 0 || !training_ignores {
            self.check_learnable(split_description, problems);
        }
    }

    /// Checks that the masks of a split hold anything to learn or to score.
    pub fn check_learnable(&self, split_description: &SplitDescription, problems: &mut Problems) {
        let SplitDescription { split, annotations, .. } = split_description;
        let purpose = if *split == "train" { "learn" } else { "score" };
        let ignored = usize::from(IGNORE_INDEX);
        let (has_background, has_ignored) = (self.histogram[0] > 0, self.histogram[ignored] > 0);
        let has_foreground = self.has_foreground();
        if has_background && has_ignored && !has_foreground {
            problems.push(format!(
                "{annotations}: the masks hold only the values 0 and 255 ({}). These \
                 look like binary masks, but 255 means \"ignored\", so there is no foreground to \
                 {purpose}; write the foreground as 1, or say so in channel label_map with \
                 {split}_label_map.json: {{\"map\": {{\"0\": 0, \"1\": 255}}}}",
                describe_histogram(&self.histogram)
            ));
        } else if has_ignored && !has_background && !has_foreground {
            problems.push(format!(
                "{annotations}: every pixel is {IGNORE_INDEX} (ignored); there is nothing \
                 to {purpose}"
            ));
        }
    }
}

fn describe_unmapped(
    annotations: &str,
    unmapped: &[String],
    label_map: Option<&LabelMap>,
) -> String {
    let masks = pluralize(unmapped.len(), "mask");
    let has = if unmapped.len() == 1 { "has" } else { "have" };
    let examples = join_examples(unmapped.iter().cloned());
    match label_map {
        Some(map) => format!(
            "{annotations}: {masks} {has} values without a class; {}; found: {examples}",
            map.missing_value_advice()
        ),
        None => format!(
            "{annotations}: {masks} {has} colors without a class: a color counts as the nearest of \
             the line's internal-color-map if it is within {MAX_COLOR_DISTANCE} of it, and half as \
             far as from any other; write masks in exactly those colors, and resize them without \
             smoothing (nearest neighbor); found: {examples}"
        ),
    }
}

/// Returns a count with its noun and verb, such as `1 mask is` or `2 masks are`.
fn pluralize_is(count: usize, noun: &str) -> String {
    format!("{} {}", pluralize(count, noun), if count == 1 { "is" } else { "are" })
}

fn describe_out_of_range(
    annotations: &str,
    num_classes: usize,
    keys: &[String],
    histogram: &Histogram,
) -> String {
    let hint = match suspect_values_hint(histogram) {
        Some(hint) => format!("; {hint}"),
        None => String::new(),
    };
    format!(
        "{annotations}: {} class ids outside num_classes {num_classes}: allowed are 0 to \
         {} and {IGNORE_INDEX} (ignored); pixels found per value: {}; in {}{hint}",
        match keys.len() {
            1 => "1 mask has".to_owned(),
            n => format!("{n} masks have"),
        },
        num_classes - 1,
        describe_histogram(histogram),
        join_examples(keys.iter().cloned())
    )
}

/// Returns advice on a label map for masks whose ids are stretched, after the message about them.
fn scale_advice(split: &str, histogram: &Histogram) -> String {
    let Some(stretched) = StretchedIds::find(histogram) else { return String::new() };
    match stretched.scale() {
        Some(scale) if histogram[usize::from(IGNORE_INDEX)] == 0 => format!(
            ", or say so in channel label_map with {split}_label_map.json: {{\"scale\": {scale}}}"
        ),
        _ => String::new(),
    }
}

/// Returns the pixels per value, such as `0: 1200, 1: 300, 255: 12`; of more than twelve values the
/// most frequent ones.
pub fn describe_histogram(histogram: &Histogram) -> String {
    let mut frequencies: Vec<(usize, u64)> = histogram.iter().copied().enumerate().collect();
    frequencies.retain(|&(_, n)| n > 0);
    frequencies.sort_by_key(|&(value, n)| (std::cmp::Reverse(n), value));
    let hidden_count = frequencies.len().saturating_sub(12);
    let shown: BTreeMap<usize, u64> = frequencies.into_iter().take(12).collect();
    let shown: Vec<String> = shown.iter().map(|(value, n)| format!("{value}: {n}")).collect();
    match hidden_count {
        0 => shown.join(", "),
        n => format!("{} and {n} further values", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests;
