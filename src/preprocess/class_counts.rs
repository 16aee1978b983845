//! Counts of pixels and images per class and split, and warnings about classes that a split lacks.

use std::collections::BTreeMap;

use serde::Serialize;

use super::annotated_image::AnnotatedImage;
use super::classes::Classes;
use crate::annotations::split::{DatasetSplit, SplitConfig};
use crate::error::{MAX_EXAMPLE_CHARS, join_examples, shorten_text};
use crate::metrics::IGNORE_INDEX;

/// Largest number of unused classes that have a warning each.
const MAX_SINGLE_WARNINGS: usize = 4;

/// Size of one class in the masks.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ClassStats {
    /// Value in the masks.
    pub id: u8,
    pub name: String,
    /// Red, green and blue, 0 to 255.
    pub color: [u8; 3],
    /// Pixels of the class by split.
    pub pixels: BTreeMap<&'static str, u64>,
    /// Images in which the class occurs, by split.
    pub images: BTreeMap<&'static str, usize>,
    /// Share of all pixels that are not ignored, 0 to 1.
    pub share: f64,
}

/// Counts over all written samples.
#[derive(Default)]
pub(super) struct ClassCounts {
    images: BTreeMap<DatasetSplit, usize>,
    pixels_by_class: BTreeMap<(DatasetSplit, u8), u64>,
    images_by_class: BTreeMap<(DatasetSplit, u8), usize>,
    /// By class id the training image that would move to validation at the lowest validation
    /// percentage.
    nearest_to_validation: BTreeMap<u8, ValidationCandidate>,
}

/// Training image that a larger share of validation images would move to validation.
struct ValidationCandidate {
    /// Lowest whole percentage of validation images at which the image moves.
    percent: u32,
    key: String,
}

impl ClassCounts {
    /// Adds one sample, of which `pixels` are the counts by class id.
    pub(super) fn add(&mut self, item: &AnnotatedImage, pixels: &[(u8, u64)], split: &SplitConfig) {
        *self.images.entry(item.split).or_default() += 1;
        let percent = split.min_validation_percent(&item.key);
        for &(id, count) in pixels {
            *self.pixels_by_class.entry((item.split, id)).or_default() += count;
            *self.images_by_class.entry((item.split, id)).or_default() += 1;
            if item.split == DatasetSplit::Train
                && self.nearest_to_validation.get(&id).is_none_or(|best| percent < best.percent)
            {
                let candidate = ValidationCandidate { percent, key: item.key.clone() };
                self.nearest_to_validation.insert(id, candidate);
            }
        }
    }

    /// Returns the number of images by channel name; splits without images are absent.
    pub(super) fn images_by_split(&self) -> BTreeMap<&'static str, usize> {
        self.images.iter().map(|(split, count)| (split.channel(), *count)).collect()
    }

    /// Returns the pixels of one class by channel name; splits without the class are absent.
    pub(super) fn pixels_by_split(&self, id: u8) -> BTreeMap<&'static str, u64> {
        select_class(&self.pixels_by_class, id)
    }

    /// Returns the size of each class.
    pub(super) fn class_stats(&self, classes: &Classes) -> Vec<ClassStats> {
        let mut counted_pixels = 0;
        for ((_, id), count) in &self.pixels_by_class {
            if *id != IGNORE_INDEX {
                counted_pixels += count;
            }
        }
        let mut stats = Vec::new();
        for (id, name) in (0..=u8::MAX).zip(classes.names()) {
            let pixels = self.pixels_by_split(id);
            let share = pixels.values().sum::<u64>() as f64 / counted_pixels.max(1) as f64;
            let images = select_class(&self.images_by_class, id);
            let name = shorten_text(name, MAX_EXAMPLE_CHARS).into_owned();
            let color = classes.color(id);
            stats.push(ClassStats { id, name, color, pixels, images, share });
        }
        stats
    }

    /// Returns warnings about classes that one split has and another lacks, with advice on how to
    /// get them there.
    pub(super) fn missing_class_warnings(
        &self,
        classes: &Classes,
        split: &SplitConfig,
    ) -> Vec<String> {
        let mut warnings = Vec::new();
        for (id, name) in (0..=u8::MAX).zip(classes.names()).skip(1) {
            let is_in_training = self.images_by_class.contains_key(&(DatasetSplit::Train, id));
            let is_in_validation =
                self.images_by_class.contains_key(&(DatasetSplit::Validation, id));
            match (is_in_training, is_in_validation) {
                (true, false) if split.validation_percent > 0.0 => {
                    let advice = self.validation_advice(id, split);
                    warnings
                        .push(format!("class {id} ({name}) is in no validation image: {advice}"));
                }
                (false, true) => warnings.push(format!(
                    "class {id} ({name}) is in no training image, so it cannot be learned: label \
                     more images of it, or lower --train-test-split-ratio"
                )),
                (false, false) if self.images_by_class.contains_key(&(DatasetSplit::Test, id)) => {
                    warnings.push(format!(
                        "class {id} ({name}) is in test images only, so it cannot be learned: \
                         label more images of it, or lower --test-ratio"
                    ));
                }
                (false, false) | (true, _) => {}
            }
        }
        warnings
    }

    /// Returns warnings about classes that no image has: one for each, or one for all if they are
    /// many.
    pub(super) fn unused_class_warnings(&self, classes: &Classes, advice: &str) -> Vec<String> {
        let mut unused = Vec::new();
        for (id, name) in (0..=u8::MAX).zip(classes.names()).skip(1) {
            if select_class(&self.images_by_class, id).is_empty() {
                unused.push(format!("{id} ({name})"));
            }
        }
        if unused.len() > MAX_SINGLE_WARNINGS {
            let count = unused.len();
            return vec![format!(
                "{count} classes are in no image: {}: {advice}",
                join_examples(unused)
            )];
        }
        unused.iter().map(|class| format!("class {class} is in no image: {advice}")).collect()
    }

    /// Returns advice for a class that training images have and validation images lack.
    fn validation_advice(&self, id: u8, split: &SplitConfig) -> String {
        match self.nearest_to_validation.get(&id) {
            Some(ValidationCandidate { percent, key })
                if f64::from(*percent) < 100.0 - split.test_percent =>
            {
                format!(
                    "with --train-test-split-ratio {percent} {key} would be there; or label more \
                     images of it, or try another --seed"
                )
            }
            _ => "label more images of it".to_owned(),
        }
    }

    /// Returns a warning for each split that training needs and that has no image, unless there are
    /// no images at all.
    pub(super) fn empty_split_warnings(&self, split: &SplitConfig) -> Vec<String> {
        let mut needed = vec![DatasetSplit::Train];
        if split.validation_percent > 0.0 {
            needed.push(DatasetSplit::Validation);
        }
        let mut warnings = Vec::new();
        for needed_split in needed {
            if !self.images.is_empty() && !self.images.contains_key(&needed_split) {
                warnings.push(format!(
                    "no image is in {needed_split}, and training needs some: label more images, or \
                     change --train-test-split-ratio or --seed"
                ));
            }
        }
        warnings
    }
}

/// Returns the counts of one class by channel name; splits without the class are absent.
fn select_class<T: Copy>(
    counts: &BTreeMap<(DatasetSplit, u8), T>,
    id: u8,
) -> BTreeMap<&'static str, T> {
    let mut by_split = BTreeMap::new();
    for split in DatasetSplit::ALL {
        if let Some(count) = counts.get(&(split, id)) {
            by_split.insert(split.channel(), *count);
        }
    }
    by_split
}
