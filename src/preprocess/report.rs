//! `report.json`: what was written, what was not and why, and how much of each class there is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::Serialize;

use super::Settings;
use super::classes::{Classes, IGNORED};
use super::item::{Item, Outcome};
use super::select::{Selection, Several};
use super::sources::{Skipped, Sources, examples};
use crate::annotations::split::Side;
use crate::error::{Error, Result};

/// The version of the report's form; it grows when a key changes its meaning.
const VERSION: u32 = 1;

/// What tells a report of ours from other files of that name.
const PROGRAM: &str = "maskmaker preprocess";

/// What became of annotations before any was drawn.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Tally {
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

impl Tally {
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
pub(super) struct Class {
    /// The value in the masks.
    pub id: u8,
    /// The label.
    pub name: String,
    /// Red, green and blue, 0 to 255.
    pub colour: [u8; 3],
    /// Pixels, by side.
    pub pixels: BTreeMap<&'static str, u64>,
    /// Images in which it occurs, by side.
    pub images: BTreeMap<&'static str, usize>,
    /// Its share of all pixels that are not ignored, 0 to 1.
    pub share: f64,
}

/// One image that was written.
#[derive(Debug, Clone, Serialize)]
pub struct Mask {
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
struct Left {
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
    annotations: Tally,
    classes: Vec<Class>,
    /// Ignored pixels (255) by side.
    ignored_pixels: BTreeMap<&'static str, u64>,
    warnings: Vec<String>,
    skipped: Vec<Left>,
    masks: Vec<Mask>,
}

/// Whether some bytes are a report of this program.
pub(super) fn is_report(bytes: &[u8]) -> bool {
    let value: Option<serde_json::Value> = serde_json::from_slice(bytes).ok();
    value.is_some_and(|value| value["program"] == PROGRAM)
}

/// The images and masks that a report says were written, below the output.
pub(super) fn files_of(bytes: &[u8]) -> Vec<PathBuf> {
    let value: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    let masks = value["masks"].as_array().into_iter().flatten();
    let files = masks.flat_map(|mask| mask["files"].as_array().into_iter().flatten());
    files.filter_map(|file| file.as_str().map(PathBuf::from)).collect()
}

impl Report {
    pub(super) fn new(
        settings: &Settings,
        (classes, sources, mut tally): (&Classes, Sources, Tally),
        items: &[Item],
        outcomes: Vec<Outcome>,
    ) -> Self {
        tally.not_labelled = sources.unlabelled;
        let mut skipped = sources.skipped;
        let mut warnings = sources.warnings;
        let mut counts = Counts::default();
        let mut masks = Vec::new();
        for (item, outcome) in items.iter().zip(outcomes) {
            match outcome {
                Outcome::Skipped(reason) => skipped.push(reason),
                Outcome::Written(written) => {
                    counts.add(item, &written.pixels, settings);
                    masks.push(Mask {
                        name: item.name.clone(),
                        split: item.side.channel(),
                        image: item.key.clone(),
                        files: [written.image, written.mask],
                        annotations: item.annotations.iter().map(|a| a.place.clone()).collect(),
                        classes: written.pixels.iter().map(|(id, _)| *id).collect(),
                        left_out: written.left_out,
                    });
                }
            }
        }
        warnings.extend(counts.missing(classes, settings));
        let left_out = masks.iter().filter(|mask| !mask.left_out.is_empty());
        let left_out: Vec<String> =
            left_out.map(|mask| format!("{}: {}", mask.image, mask.left_out.join(", "))).collect();
        if !left_out.is_empty() {
            warnings.push(format!(
                "regions that are no areas with a label were left out in {}: {}",
                images(left_out.len()),
                examples(left_out)
            ));
        }
        let all: u64 =
            counts.pixels.iter().filter(|((_, id), _)| *id != IGNORED).map(|(_, n)| n).sum();
        let class = |(id, name): (u8, &String)| {
            let pixels = Counts::of(&counts.pixels, id);
            let share = pixels.values().sum::<u64>() as f64 / all.max(1) as f64;
            let images = Counts::of(&counts.images, id);
            Class { id, name: name.clone(), colour: classes.colour(id), pixels, images, share }
        };
        Self {
            program: PROGRAM,
            version: VERSION,
            release: env!("CARGO_PKG_VERSION"),
            settings: describe(settings),
            images: counts.sides.clone(),
            annotations: tally,
            classes: (0..=u8::MAX).zip(classes.names()).map(class).collect(),
            ignored_pixels: Counts::of(&counts.pixels, IGNORED),
            warnings,
            skipped: skipped
                .into_iter()
                .map(|Skipped { what, reason, is_fault }| Left { what, reason, fault: is_fault })
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
    pub fn images(&self) -> usize {
        self.masks.len()
    }

    /// What was written.
    pub fn masks(&self) -> &[Mask] {
        &self.masks
    }

    /// What somebody should know.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether there is nothing here because other instances have it.
    pub fn is_all_elsewhere(&self) -> bool {
        self.annotations.elsewhere > 0 && !self.has_faults()
    }

    /// Whether something was skipped that somebody should mend.
    pub fn has_faults(&self) -> bool {
        self.skipped.iter().any(|left| left.fault)
    }

    /// What was skipped that somebody should mend.
    pub(super) fn faults(&self, path: &Path) -> String {
        let faults: Vec<String> = self
            .skipped
            .iter()
            .filter(|left| left.fault)
            .map(|left| format!("{}: {}", left.what, left.reason))
            .collect();
        format!("{} skipped: {} (all in {})", faults.len(), examples(faults), path.display())
    }

    /// What was done, in lines.
    pub fn summary(&self) -> Vec<String> {
        let sides: Vec<String> =
            self.images.iter().map(|(side, count)| format!("{count} {side}")).collect();
        let Tally { superseded, cancelled, stale, not_labelled, elsewhere, .. } = self.annotations;
        let faults = self.skipped.iter().filter(|left| left.fault).count();
        let mut left: Vec<String> = [
            (faults, "skipped with a fault"),
            (cancelled, "skipped by annotators"),
            (not_labelled, "not labelled yet"),
            (superseded, "older or other annotations of the same images"),
            (stale, "deleted annotations"),
            (elsewhere, "on other instances"),
        ]
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
        let empty = self.skipped.iter().filter(|left| left.reason.contains("--skip-empty")).count();
        if empty > 0 {
            left.push(format!("{empty} without a region"));
        }
        let colon = if sides.is_empty() { "" } else { ": " };
        let mut lines = vec![format!("{}{colon}{}", images(self.images()), sides.join(", "))];
        if !left.is_empty() {
            lines.push(format!("left out: {}", left.join(", ")));
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
fn images(count: usize) -> String {
    format!("{count} image{}", if count == 1 { "" } else { "s" })
}

/// What decided the result, so that a report can be understood alone.
fn describe(settings: &Settings) -> BTreeMap<&'static str, serde_json::Value> {
    let path = |path: &Path| serde_json::Value::from(path.display().to_string());
    let config = settings.label_config.as_deref().map_or(serde_json::Value::Null, path);
    BTreeMap::from([
        ("annotations", path(&settings.annotations)),
        ("images", path(&settings.images)),
        ("label_config", config),
        ("train_test_split_ratio", settings.split.validation.into()),
        ("test_ratio", settings.split.test.into()),
        ("seed", settings.split.seed.into()),
        ("several", several(settings.several).into()),
        ("skip_empty", settings.skip_empty.into()),
        ("ignore", settings.ignore.clone().into()),
        ("priority", settings.priority.clone().into()),
        ("host", settings.host.clone().into()),
    ])
}

/// The rule as it is written on the command line.
fn several(rule: Several) -> String {
    rule.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned())
}

/// Sums over what was written.
#[derive(Default)]
struct Counts {
    sides: BTreeMap<&'static str, usize>,
    pixels: BTreeMap<(Side, u8), u64>,
    images: BTreeMap<(Side, u8), usize>,
    /// By class the training image that needs the least to be in validation: percent, and its key.
    nearest: BTreeMap<u8, (u32, String)>,
}

impl Counts {
    fn add(&mut self, item: &Item, pixels: &[(u8, u64)], settings: &Settings) {
        *self.sides.entry(item.side.channel()).or_default() += 1;
        for &(id, count) in pixels {
            *self.pixels.entry((item.side, id)).or_default() += count;
            *self.images.entry((item.side, id)).or_default() += 1;
            if item.side == Side::Train {
                let percent = settings.split.validation_with(&item.key);
                let nearest = self.nearest.entry(id).or_insert_with(|| (percent, item.key.clone()));
                if percent < nearest.0 {
                    *nearest = (percent, item.key.clone());
                }
            }
        }
    }

    /// By side, of one class.
    fn of<T: Copy>(counts: &BTreeMap<(Side, u8), T>, id: u8) -> BTreeMap<&'static str, T> {
        let sides = Side::ALL.into_iter();
        sides.filter_map(|side| Some((side.channel(), *counts.get(&(side, id))?))).collect()
    }

    /// Classes that a side lacks, and how to get them there.
    fn missing(&self, classes: &Classes, settings: &Settings) -> Vec<String> {
        if settings.host.is_some() {
            // Another instance may have them.
            return Vec::new();
        }
        let has = |side, id| self.images.contains_key(&(side, id));
        let mut texts = Vec::new();
        let most = 100.0 - settings.split.test;
        for (id, name) in (0..=u8::MAX).zip(classes.names()).skip(1) {
            let advice = match self.nearest.get(&id) {
                Some((percent, key)) if f64::from(*percent) < most => format!(
                    "with --train-test-split-ratio {percent} {key} would be there; or label more images of it, or \
                     try another --seed"
                ),
                _ => "label more images of it".to_owned(),
            };
            match (has(Side::Train, id), has(Side::Validation, id)) {
                (true, false) if settings.split.validation > 0.0 => {
                    texts.push(format!("class {id} ({name}) is in no validation image: {advice}"));
                }
                (false, true) => texts.push(format!(
                    "class {id} ({name}) is in no training image, so it cannot be learned: label more images of it, \
                     or lower --train-test-split-ratio"
                )),
                (false, false) => {
                    texts.push(format!("class {id} ({name}) is in no image: label some, or take it out"));
                }
                _ => {}
            }
        }
        for side in [Side::Train, Side::Validation] {
            let wanted = side == Side::Train || settings.split.validation > 0.0;
            if wanted && !self.sides.contains_key(side.channel()) && !self.sides.is_empty() {
                texts.push(format!(
                    "no image is in {side}, and training needs some: label more images, or change \
                     --train-test-split-ratio or --seed"
                ));
            }
        }
        texts
    }
}
