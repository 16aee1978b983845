//! The audit: every image and mask is read once before the first step, and everything that is
//! wrong with them is one report (`docs/architecture.md#audit-before-the-first-step`).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use super::color_map::MAX_COLOR_DISTANCE;
use super::label_map::LabelMap;
use super::pairing::{list_examples, pluralize};
use super::sample::{Sample, SampleError};
use crate::error::Problems;
use crate::metrics::IGNORE_INDEX;

/// Pixels per mask value, 0 to 255.
pub type Histogram = [u64; 256];

/// What the audit learned of one split.
#[derive(Debug, Clone)]
pub struct Audit {
    /// Pixels per mask value over the whole split.
    pub histogram: Box<Histogram>,
    /// Samples whose masks have colors that are only near those of their classes, and in how many pixels.
    pub snapped: Vec<(String, u64)>,
    /// The sides of its images; none without images.
    pub size_range: Option<SizeRange>,
}

/// What messages call the two halves of a split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitDescription {
    /// `train`
    pub split: &'static str,
    /// Images and annotations: `channels train and train_annotation`.
    pub channels: String,
    /// The annotations: `channel train_annotation`.
    pub annotations: String,
}

impl SplitDescription {
    /// A split of two channels that are folders.
    pub fn for_folders(split: &'static str) -> Self {
        let annotations = format!("channel {split}_annotation");
        Self { split, channels: format!("channels {split} and {split}_annotation"), annotations }
    }

    /// A stream: `channel train, annotations in train_0`.
    pub fn for_stream(split: &'static str, fifo: &Path) -> Self {
        let fifo = file_name(fifo);
        let annotations = format!("channel {split}, annotations in {fifo}");
        Self { split, channels: format!("channel {split}, {fifo}"), annotations }
    }

    /// A manifest: `channel train, labels-ref in train.manifest`.
    pub fn for_manifest(split: &'static str, file: &Path, attribute: Option<&str>) -> Self {
        let (file, attribute) = (file_name(file), attribute.unwrap_or("annotations"));
        let annotations = format!("channel {split}, {attribute} in {file}");
        Self { split, channels: format!("channel {split}, {file}"), annotations }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).display().to_string()
}

/// The smallest and the largest sides of some images, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeRange {
    /// Least and most columns.
    pub width: (u32, u32),
    /// Least and most rows.
    pub height: (u32, u32),
}

impl SizeRange {
    fn from_size((width, height): (u32, u32)) -> Self {
        Self { width: (width, width), height: (height, height) }
    }

    fn merge(self, other: Self) -> Self {
        let merge_ranges =
            |one: (u32, u32), other: (u32, u32)| (one.0.min(other.0), one.1.max(other.1));
        Self {
            width: merge_ranges(self.width, other.width),
            height: merge_ranges(self.height, other.height),
        }
    }
}

/// What was found in some samples, in their order.
struct AuditFindings {
    histogram: Box<Histogram>,
    size_range: Option<SizeRange>,
    /// Keys of masks with ids outside the classes.
    out_of_range: Vec<String>,
    unreadable: Vec<String>,
    not_masks: Vec<String>,
    size_mismatches: Vec<String>,
    unmapped: Vec<String>,
    snapped: Vec<(String, u64)>,
}

impl Default for AuditFindings {
    fn default() -> Self {
        let histogram = Box::new([0; 256]);
        let [out_of_range, unreadable, not_masks, size_mismatches, unmapped] = Default::default();
        let snapped = Vec::new();
        Self {
            histogram,
            size_range: None,
            out_of_range,
            unreadable,
            not_masks,
            size_mismatches,
            unmapped,
            snapped,
        }
    }
}

impl AuditFindings {
    fn add_sample(&mut self, sample: &Sample, num_classes: usize) {
        match sample.read_with_snapped_count() {
            Ok((_, mask, snapped)) => {
                if snapped > 0 {
                    self.snapped.push((sample.key.clone(), snapped));
                }
                let mut histogram: Histogram = [0; 256];
                for &id in mask.as_raw() {
                    histogram[usize::from(id)] += 1;
                }
                if histogram[num_classes..usize::from(IGNORE_INDEX)].iter().any(|&n| n > 0) {
                    self.out_of_range.push(sample.key.clone());
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
        let joined = self.size_range.zip(size_range).map(|(one, other)| one.merge(other));
        self.size_range = joined.or(self.size_range).or(size_range);
    }

    fn merge(mut self, other: Self) -> Self {
        self.add_histogram(&other.histogram);
        self.add_size_range(other.size_range);
        self.out_of_range.extend(other.out_of_range);
        self.unreadable.extend(other.unreadable);
        self.not_masks.extend(other.not_masks);
        self.size_mismatches.extend(other.size_mismatches);
        self.unmapped.extend(other.unmapped);
        self.snapped.extend(other.snapped);
        self
    }
}

/// Reads every sample of a split and checks it: decodable, mask of the image's (upright) size, ids,
/// after its label map, below `num_classes` or 255. `progress` is called once per sample, from any
/// thread, and says whether to go on; when it did not, what is found is of some samples only.
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
                findings.add_sample(sample, num_classes);
                keep_going.fetch_and(progress(), Ordering::Relaxed);
            }
            findings
        })
        .reduce(AuditFindings::default, AuditFindings::merge);
    let AuditFindings {
        histogram,
        size_range,
        out_of_range,
        unreadable,
        not_masks,
        size_mismatches,
        unmapped,
        snapped,
    } = findings;
    let SplitDescription { split, channels, annotations } = split_description;
    // One map for all of a split.
    let label_map = samples.first().and_then(|sample| sample.label_map.as_deref());
    push_list(problems, &unreadable, |n| {
        format!("{channels}: {} cannot be read", pluralize(n, "file"))
    });
    let all_not_masks = not_masks.len() == samples.len();
    push_list(problems, &not_masks, |n| {
        let advice = if all_not_masks {
            format!("; does its S3 URI point at the images of {split}?")
        } else {
            String::new()
        };
        format!("{annotations}: {} not of class ids{advice}", pluralize_is(n, "mask"))
    });
    push_list(problems, &size_mismatches, |n| {
        format!("{annotations}: {} not as large as the image", pluralize_is(n, "mask"))
    });
    push_list(problems, &unmapped, |n| {
        let (has, mask_count) = (if n == 1 { "has" } else { "have" }, pluralize(n, "mask"));
        match label_map.map(LabelMap::missing_value_advice) {
            Some(advice) => {
                format!("{annotations}: {mask_count} {has} values without a class; {advice}; found")
            }
            None => format!(
                "{annotations}: {mask_count} {has} colors without a class: a color counts as the nearest of the \
                 line's internal-color-map if it is within {MAX_COLOR_DISTANCE} of it, and half as far as from any \
                 other; write masks in exactly those colors, and resize them without smoothing (nearest \
                 neighbor); found"
            ),
        }
    });
    if !out_of_range.is_empty() {
        let mut message =
            describe_out_of_range(annotations, num_classes, &out_of_range, &histogram);
        if let Some(map) = label_map {
            message = format!("{message}; the values are those after the label map ({map})");
        }
        problems.push(message);
    }
    Audit { histogram, snapped, size_range }
}

impl Audit {
    /// What to say about colors that are only near those of their classes, if there are any.
    pub fn snapped_warning(&self, split_description: &SplitDescription) -> Option<String> {
        let masks_with_pixels: Vec<String> =
            self.snapped.iter().map(|(key, pixels)| format!("{key} ({pixels})")).collect();
        let pixels: u64 = self.snapped.iter().map(|(_, pixels)| pixels).sum();
        (pixels > 0).then(|| {
            format!(
                "{}: {pixels} pixels in {} have a color that is near one of their internal-color-map \
                 and not the same; they count as that class: {}",
                split_description.annotations,
                pluralize(masks_with_pixels.len(), "mask"),
                list_examples(&masks_with_pixels)
            )
        })
    }

    /// Whether the masks of the training split hold anything to learn.
    pub fn check_learnable(&self, split_description: &SplitDescription, problems: &mut Problems) {
        let SplitDescription { split, annotations, .. } = split_description;
        let has_any =
            |values: std::ops::Range<usize>| self.histogram[values].iter().any(|&n| n > 0);
        let ignored = usize::from(IGNORE_INDEX);
        if has_any(0..1) && has_any(ignored..256) && !has_any(1..ignored) {
            problems.push(format!(
                "{annotations}: the masks hold only the values 0 and 255 ({}). These \
                 look like binary masks, but 255 means \"ignored\", so there is no foreground to \
                 learn; write the foreground as 1, or say so in channel label_map with \
                 {split}_label_map.json: {{\"map\": {{\"0\": 0, \"1\": 255}}}}",
                describe_histogram(&self.histogram)
            ));
        } else if has_any(ignored..256) && !has_any(0..ignored) {
            problems.push(format!(
                "{annotations}: every pixel is {IGNORE_INDEX} (ignored); there is nothing \
                 to learn"
            ));
        }
    }
}

/// One problem with a heading and the first few texts.
fn push_list(problems: &mut Problems, texts: &[String], heading: impl Fn(usize) -> String) {
    if !texts.is_empty() {
        problems.push(format!("{}: {}", heading(texts.len()), list_examples(texts)));
    }
}

/// `1 mask is`, `2 masks are`.
fn pluralize_is(count: usize, noun: &str) -> String {
    format!("{} {}", pluralize(count, noun), if count == 1 { "is" } else { "are" })
}

fn describe_out_of_range(
    annotations: &str,
    num_classes: usize,
    keys: &[String],
    histogram: &Histogram,
) -> String {
    let total_pixels: u64 = histogram.iter().sum();
    let hint = if histogram[0] + histogram[255] >= total_pixels / 20 * 19
        && histogram[255] > total_pixels / 50
    {
        "; nearly all pixels are 0 or 255: if these are binary masks with smoothed edges, write \
         the foreground as 1 and no values between"
    } else {
        ""
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
        list_examples(keys)
    )
}

/// `0: 1200, 1: 300, 255: 12`, at most twelve values, the most frequent ones.
pub fn describe_histogram(histogram: &Histogram) -> String {
    let mut frequencies: Vec<(usize, u64)> =
        histogram.iter().copied().enumerate().filter(|&(_, n)| n > 0).collect();
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
