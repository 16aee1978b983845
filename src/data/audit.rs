//! The audit: every image and mask is read once before the first step, and everything that is
//! wrong with them is one report (`docs/architecture.md#audit-before-the-first-step`).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use super::color_map::NEAR;
use super::label_map::LabelMap;
use super::sample::{Sample, Unusable};
use super::source::{count, examples};
use crate::error::Problems;
use crate::metrics::IGNORE;

/// Pixels per mask value, 0 to 255.
pub type Histogram = [u64; 256];

/// What the audit learned of one split.
#[derive(Debug, Clone)]
pub struct Audit {
    /// Pixels per mask value over the whole split.
    pub pixels: Box<Histogram>,
    /// Samples whose masks have colours that are only near those of their classes, and in how many pixels.
    pub snapped: Vec<(String, u64)>,
    /// The sides of its images; none without images.
    pub sides: Option<Sides>,
}

/// What messages call the two halves of a split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// `train`
    pub split: &'static str,
    /// Images and annotations: `channels train and train_annotation`.
    pub both: String,
    /// The annotations: `channel train_annotation`.
    pub masks: String,
}

impl Subject {
    /// A split of two channels that are folders.
    pub fn folders(split: &'static str) -> Self {
        let masks = format!("channel {split}_annotation");
        Self { split, both: format!("channels {split} and {split}_annotation"), masks }
    }

    /// A stream: `channel train, annotations in train_0`.
    pub fn stream(split: &'static str, fifo: &Path) -> Self {
        let fifo = name(fifo);
        let masks = format!("channel {split}, annotations in {fifo}");
        Self { split, both: format!("channel {split}, {fifo}"), masks }
    }

    /// A manifest: `channel train, labels-ref in train.manifest`.
    pub fn manifest(split: &'static str, file: &Path, attribute: Option<&str>) -> Self {
        let (file, attribute) = (name(file), attribute.unwrap_or("annotations"));
        let masks = format!("channel {split}, {attribute} in {file}");
        Self { split, both: format!("channel {split}, {file}"), masks }
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).display().to_string()
}

/// The smallest and the largest sides of some images, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sides {
    /// Least and most columns.
    pub width: (u32, u32),
    /// Least and most rows.
    pub height: (u32, u32),
}

impl Sides {
    fn of((width, height): (u32, u32)) -> Self {
        Self { width: (width, width), height: (height, height) }
    }

    fn join(self, other: Self) -> Self {
        let join = |one: (u32, u32), other: (u32, u32)| (one.0.min(other.0), one.1.max(other.1));
        Self { width: join(self.width, other.width), height: join(self.height, other.height) }
    }
}

/// What was found in some samples, in their order.
struct Tally {
    pixels: Box<Histogram>,
    sides: Option<Sides>,
    /// Keys of masks with ids outside the classes.
    beyond: Vec<String>,
    unreadable: Vec<String>,
    pictures: Vec<String>,
    sizes: Vec<String>,
    unmapped: Vec<String>,
    snapped: Vec<(String, u64)>,
}

impl Default for Tally {
    fn default() -> Self {
        let pixels = Box::new([0; 256]);
        let [beyond, unreadable, pictures, sizes, unmapped] = Default::default();
        let snapped = Vec::new();
        Self { pixels, sides: None, beyond, unreadable, pictures, sizes, unmapped, snapped }
    }
}

impl Tally {
    fn look(&mut self, sample: &Sample, num_classes: usize) {
        match sample.read_counting() {
            Ok((_, mask, snapped)) => {
                if snapped > 0 {
                    self.snapped.push((sample.key.clone(), snapped));
                }
                let mut pixels: Histogram = [0; 256];
                for &id in mask.as_raw() {
                    pixels[usize::from(id)] += 1;
                }
                if pixels[num_classes..usize::from(IGNORE)].iter().any(|&n| n > 0) {
                    self.beyond.push(sample.key.clone());
                }
                self.count(&pixels);
                self.measure(Some(Sides::of(mask.dimensions())));
            }
            Err(Unusable::Unreadable(text)) => self.unreadable.push(text),
            Err(Unusable::NotAMask(text)) => self.pictures.push(text),
            Err(Unusable::Sizes(text)) => self.sizes.push(text),
            Err(Unusable::NotMapped(text)) => self.unmapped.push(text),
        }
    }

    fn count(&mut self, pixels: &Histogram) {
        for (sum, n) in self.pixels.iter_mut().zip(pixels) {
            *sum += n;
        }
    }

    fn measure(&mut self, sides: Option<Sides>) {
        let joined = self.sides.zip(sides).map(|(one, other)| one.join(other));
        self.sides = joined.or(self.sides).or(sides);
    }

    fn join(mut self, other: Self) -> Self {
        self.count(&other.pixels);
        self.measure(other.sides);
        self.beyond.extend(other.beyond);
        self.unreadable.extend(other.unreadable);
        self.pictures.extend(other.pictures);
        self.sizes.extend(other.sizes);
        self.unmapped.extend(other.unmapped);
        self.snapped.extend(other.snapped);
        self
    }
}

/// Reads every sample of a split and checks it: decodable, mask of the image's (upright) size, ids,
/// after its label map, below `num_classes` or 255. `progress` is called once per sample, from any
/// thread, and says whether to go on; when it did not, what is found is of some samples only.
pub fn audit(
    subject: &Subject,
    samples: &[Sample],
    num_classes: usize,
    problems: &mut Problems,
    progress: impl Fn() -> bool + Sync,
) -> Audit {
    let go_on = AtomicBool::new(true);
    let tally = samples
        .par_iter()
        .fold(Tally::default, |mut tally, sample| {
            if go_on.load(Ordering::Relaxed) {
                tally.look(sample, num_classes);
                go_on.fetch_and(progress(), Ordering::Relaxed);
            }
            tally
        })
        .reduce(Tally::default, Tally::join);
    let Tally { pixels: total, sides, beyond, unreadable, pictures, sizes, unmapped, snapped } =
        tally;
    let Subject { split, both, masks } = subject;
    // One map for all of a split.
    let label_map = samples.first().and_then(|sample| sample.label_map.as_deref());
    list(problems, &unreadable, |n| format!("{both}: {} cannot be read", count(n, "file")));
    let all = pictures.len() == samples.len();
    list(problems, &pictures, |n| {
        let advice = if all {
            format!("; does its S3 URI point at the images of {split}?")
        } else {
            String::new()
        };
        format!("{masks}: {} not of class ids{advice}", are(n, "mask"))
    });
    list(problems, &sizes, |n| format!("{masks}: {} not as large as the image", are(n, "mask")));
    list(problems, &unmapped, |n| {
        let (has, it) = (if n == 1 { "has" } else { "have" }, count(n, "mask"));
        match label_map.map(LabelMap::advice) {
            Some(advice) => format!("{masks}: {it} {has} values without a class; {advice}; found"),
            None => format!(
                "{masks}: {it} {has} colours without a class: a colour counts as the nearest of the \
                 line's internal-color-map if it is within {NEAR} of it, and half as far as from any \
                 other; write masks in exactly those colours, and resize them without smoothing (nearest \
                 neighbour); found"
            ),
        }
    });
    if !beyond.is_empty() {
        let mut problem = beyond_classes(masks, num_classes, &beyond, &total);
        if let Some(map) = label_map {
            problem = format!("{problem}; the values are those after the label map ({map})");
        }
        problems.push(problem);
    }
    Audit { pixels: total, snapped, sides }
}

impl Audit {
    /// What to say about colours that are only near those of their classes, if there are any.
    pub fn snapped(&self, subject: &Subject) -> Option<String> {
        let shown: Vec<String> =
            self.snapped.iter().map(|(key, pixels)| format!("{key} ({pixels})")).collect();
        let pixels: u64 = self.snapped.iter().map(|(_, pixels)| pixels).sum();
        (pixels > 0).then(|| {
            format!(
                "{}: {pixels} pixels in {} have a colour that is near one of their internal-color-map \
                 and not the same; they count as that class: {}",
                subject.masks,
                count(shown.len(), "mask"),
                examples(&shown)
            )
        })
    }

    /// Whether the masks of the training split hold anything to learn.
    pub fn check_learnable(&self, subject: &Subject, problems: &mut Problems) {
        let Subject { split, masks, .. } = subject;
        let found = |values: std::ops::Range<usize>| self.pixels[values].iter().any(|&n| n > 0);
        let ignored = usize::from(IGNORE);
        if found(0..1) && found(ignored..256) && !found(1..ignored) {
            problems.push(format!(
                "{masks}: the masks hold only the values 0 and 255 ({}). These \
                 look like binary masks, but 255 means \"ignored\", so there is no foreground to \
                 learn; write the foreground as 1, or say so in channel label_map with \
                 {split}_label_map.json: {{\"map\": {{\"0\": 0, \"1\": 255}}}}",
                describe(&self.pixels)
            ));
        } else if found(ignored..256) && !found(0..ignored) {
            problems.push(format!(
                "{masks}: every pixel is {IGNORE} (ignored); there is nothing \
                 to learn"
            ));
        }
    }
}

/// One problem with a heading and the first few texts.
fn list(problems: &mut Problems, texts: &[String], heading: impl Fn(usize) -> String) {
    if !texts.is_empty() {
        problems.push(format!("{}: {}", heading(texts.len()), examples(texts)));
    }
}

/// `1 mask is`, `2 masks are`.
fn are(number: usize, noun: &str) -> String {
    format!("{} {}", count(number, noun), if number == 1 { "is" } else { "are" })
}

fn beyond_classes(masks: &str, classes: usize, keys: &[String], total: &Histogram) -> String {
    let all: u64 = total.iter().sum();
    let hint = if total[0] + total[255] >= all / 20 * 19 && total[255] > all / 50 {
        "; nearly all pixels are 0 or 255: if these are binary masks with smoothed edges, write \
         the foreground as 1 and no values between"
    } else {
        ""
    };
    format!(
        "{masks}: {} class ids outside num_classes {classes}: allowed are 0 to \
         {} and {IGNORE} (ignored); pixels found per value: {}; in {}{hint}",
        match keys.len() {
            1 => "1 mask has".to_owned(),
            n => format!("{n} masks have"),
        },
        classes - 1,
        describe(total),
        examples(keys)
    )
}

/// `0: 1200, 1: 300, 255: 12`, at most twelve values, the most frequent ones.
pub fn describe(total: &Histogram) -> String {
    let mut found: Vec<(usize, u64)> =
        total.iter().copied().enumerate().filter(|&(_, n)| n > 0).collect();
    found.sort_by_key(|&(value, n)| (std::cmp::Reverse(n), value));
    let left_out = found.len().saturating_sub(12);
    let shown: BTreeMap<usize, u64> = found.into_iter().take(12).collect();
    let shown: Vec<String> = shown.iter().map(|(value, n)| format!("{value}: {n}")).collect();
    match left_out {
        0 => shown.join(", "),
        n => format!("{} and {n} further values", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests;
