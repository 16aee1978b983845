//! Values of masks that are probably no class ids: 255 as the foreground, ids that were stretched
//! over the grays to be seen, and smoothed edges. Training and `preprocess` tell them alike.

use std::fmt;

use super::Histogram;
use crate::error::{join_examples, pluralize};
use crate::metrics::IGNORE_INDEX;

/// Smallest distance of values that are taken for stretched ids.
const MIN_STRETCHED_STEP: u8 = 4;

/// Smallest largest value of stretched ids at a distance that does not divide 255 into equal parts.
const MIN_STRETCHED_VALUE: u8 = 20;

/// Largest number of values that a message lists.
const MAX_LISTED_VALUES: usize = 12;

/// Class ids that a program stretched over the grays, so that people can see them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StretchedIds {
    /// Values that occur, and 0, in ascending order.
    pub values: Vec<u8>,
    /// Ids that are meant, in the order of the values.
    pub ids: Vec<u8>,
}

impl StretchedIds {
    /// Recognizes stretched ids: values at equal distances, such as 0, 127 and 254, most of whose
    /// places are taken. Two values are enough if the other one is about 127 or 254.
    pub fn find(histogram: &Histogram) -> Option<Self> {
        let mut values = list_values(histogram);
        if values.first() != Some(&0) {
            values.insert(0, 0);
        }
        if let Some(ids) = unstretch(&values) {
            return Some(Self { values, ids });
        }
        // 255 may be the ignored value beside stretched ids.
        values.pop_if(|largest| *largest == IGNORE_INDEX)?;
        let ids = unstretch(&values)?;
        Some(Self { values, ids })
    }

    /// Returns the number that gives the id of each value by a division that is rounded down.
    pub fn scale(&self) -> Option<u8> {
        let mut scale = u8::MAX;
        for (value, id) in self.values.iter().zip(&self.ids) {
            scale = scale.min(value.checked_div(*id).unwrap_or(u8::MAX));
        }
        for (value, id) in self.values.iter().zip(&self.ids) {
            if value.checked_div(scale) != Some(*id) {
                return None;
            }
        }
        Some(scale)
    }
}

/// Completes a sentence about masks, such as "the values 0, 127, 254 look like ...".
impl fmt::Display for StretchedIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (values, ids) = (format_values(&self.values), format_values(&self.ids));
        write!(
            f,
            "the values {values} look like the class ids {ids}, stretched over the grays to be seen"
        )?;
        if self.values.contains(&IGNORE_INDEX) {
            write!(f, " (255 counts as ignored)")?;
        }
        match self.scale() {
            Some(scale) => write!(f, ": divide them by {scale}, rounded down"),
            None => write!(f, ": write the ids in their place"),
        }
    }
}

/// Returns the ids of ascending values that are stretched, the first of which is 0.
fn unstretch(values: &[u8]) -> Option<Vec<u8>> {
    let largest = *values.last()?;
    // Masks of 0 and 255 are binary ones.
    if values.len() < 2 || values == [0, IGNORE_INDEX] {
        return None;
    }
    for largest_id in 1..=u8::MAX / MIN_STRETCHED_STEP {
        let place_count = usize::from(largest_id) + 1;
        let is_mostly_taken = 3 * values.len() >= 2 * place_count;
        if is_mostly_taken && let Some(ids) = ids_of_fractions(values, largest_id) {
            return Some(ids);
        }
    }
    let step = values[1];
    let is_equally_spaced = values.iter().enumerate().all(|(id, value)| {
        // There are at most 256 values, whose products are below 65,536.
        id * usize::from(step) == usize::from(*value)
    });
    if values.len() < 3 || step < MIN_STRETCHED_STEP || largest < MIN_STRETCHED_VALUE {
        return None;
    }
    is_equally_spaced.then(|| (0..=u8::MAX).take(values.len()).collect())
}

/// Returns the ids k of values that are k / `largest_id` of 255, give or take 1 for rounding.
fn ids_of_fractions(values: &[u8], largest_id: u8) -> Option<Vec<u8>> {
    let (largest, full) = (u32::from(largest_id), u32::from(u8::MAX));
    let mut ids: Vec<u8> = Vec::with_capacity(values.len());
    for value in values {
        let scaled = u32::from(*value) * largest;
        let id = (scaled + full / 2) / full;
        let is_near = scaled.abs_diff(id * full) <= largest;
        let id = u8::try_from(id).ok()?;
        if !is_near || ids.last().is_some_and(|last| *last >= id) {
            return None;
        }
        ids.push(id);
    }
    Some(ids)
}

/// Returns the values that occur, in ascending order.
pub fn list_values(histogram: &Histogram) -> Vec<u8> {
    let mut values = Vec::new();
    for (value, pixels) in (0..=u8::MAX).zip(histogram) {
        if *pixels > 0 {
            values.push(value);
        }
    }
    values
}

/// Formats values as `0, 127, 254`; it only counts those after the twelfth.
pub fn format_values(values: &[u8]) -> String {
    let shown: Vec<String> =
        values.iter().take(MAX_LISTED_VALUES).map(ToString::to_string).collect();
    match values.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Returns a hint if the values look like something else than class ids.
pub fn suspect_values_hint(histogram: &Histogram) -> Option<String> {
    if is_smoothed_binary(histogram) {
        return Some(
            "nearly all pixels are 0 or 255: if these are binary masks with smoothed edges, write \
             the foreground as 1 and no values between"
                .to_owned(),
        );
    }
    Some(StretchedIds::find(histogram)?.to_string())
}

/// Returns true if nearly all pixels are 0 or 255, more than 2 % are 255, and some lie between as
/// smoothed edges do.
fn is_smoothed_binary(histogram: &Histogram) -> bool {
    let total_pixels: u64 = histogram.iter().sum();
    let ignored = usize::from(IGNORE_INDEX);
    // Ids of small objects are small numbers, and smoothed edges have large ones too.
    let has_bright_edges = histogram[128..ignored].iter().any(|&pixels| pixels > 0);
    has_bright_edges
        && 20 * (histogram[0] + histogram[ignored]) >= 19 * total_pixels
        && 50 * histogram[ignored] > total_pixels
}

/// Returns true if 255 occurs, and no value but 0 beside it.
pub fn holds_only_ignored(histogram: &Histogram) -> bool {
    let ignored = usize::from(IGNORE_INDEX);
    histogram[ignored] > 0 && histogram[1..ignored].iter().all(|&pixels| pixels == 0)
}

/// Describes masks in which 255 is the only value beside 0, though others hold classes. `masks` are
/// their names among `total` masks of `subject`.
pub fn describe_ignored_masks(subject: &str, masks: &[String], total: usize) -> String {
    format!(
        "{subject}: in {} of {} 255 is the only value beside 0, and 255 means \"ignored\", so \
         nothing is learned from what it marks; if it is the foreground, write it as the id of \
         its class: {}",
        masks.len(),
        pluralize(total, "mask"),
        join_examples(masks.iter().cloned())
    )
}

/// Describes pixels whose color is only near that of their class. `masks` are names with such
/// pixels, and `colors` names the origin of the colors.
pub fn describe_snapped(subject: &str, masks: &[(String, u64)], colors: &str) -> Option<String> {
    let mut shown = Vec::new();
    let mut total_pixels = 0;
    for (name, pixels) in masks {
        shown.push(format!("{name} ({pixels})"));
        total_pixels += pixels;
    }
    if total_pixels == 0 {
        return None;
    }
    Some(format!(
        "{subject}: {total_pixels} pixels in {} have a color that is near one of {colors} and not \
         the same; they count as that class: {}",
        pluralize(shown.len(), "mask"),
        join_examples(shown.iter().cloned())
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: &[u8]) -> Box<Histogram> {
        let mut histogram = Box::new([0; 256]);
        for value in values {
            histogram[usize::from(*value)] += 100;
        }
        histogram
    }

    #[test]
    fn stretched_ids_are_recognized_with_their_scale() {
        for (values, ids, scale) in [
            (&[0, 127, 254][..], &[0, 1, 2][..], Some(127)),
            (&[0, 128, 255], &[0, 1, 2], Some(127)),
            (&[0, 127], &[0, 1], Some(127)),
            (&[0, 254], &[0, 1], Some(254)),
            (&[85, 170, 255], &[0, 1, 2, 3], Some(85)),
            (&[0, 85, 255], &[0, 1, 3], Some(85)),
            (&[0, 127, 254, 255], &[0, 1, 2], Some(127)),
            (&[0, 63, 127, 191, 255], &[0, 1, 2, 3, 4], Some(63)),
            (&[0, 10, 20, 30], &[0, 1, 2, 3], Some(10)),
        ] {
            let found = StretchedIds::find(&histogram(values)).unwrap();
            assert_eq!((&found.ids[..], found.scale()), (ids, scale), "{values:?}");
        }
        let text = StretchedIds::find(&histogram(&[0, 128, 255])).unwrap().to_string();
        assert_eq!(
            text,
            "the values 0, 128, 255 look like the class ids 0, 1, 2, stretched over the grays to \
             be seen (255 counts as ignored): divide them by 127, rounded down"
        );
    }

    #[test]
    fn ids_are_not_taken_for_stretched_ones() {
        let ade20k: Vec<u8> = (0..=150).collect();
        let road_scenes: Vec<u8> = (0..19).chain([255]).collect();
        for values in [
            &[0][..],
            &[],
            &[255],
            &[0, 255],
            &[0, 1],
            &[0, 1, 255],
            &[0, 2, 4],
            &[0, 5],
            &[0, 100],
            &[0, 7, 11, 21],
            &[0, 7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33],
            &ade20k,
            &road_scenes,
        ] {
            assert_eq!(StretchedIds::find(&histogram(values)), None, "{values:?}");
        }
    }

    #[test]
    fn binary_masks_are_told_from_masks_with_classes() {
        assert!(holds_only_ignored(&histogram(&[0, 255])));
        assert!(holds_only_ignored(&histogram(&[255])));
        assert!(!holds_only_ignored(&histogram(&[0])));
        assert!(!holds_only_ignored(&histogram(&[0, 1, 255])));
        let mut smoothed = histogram(&[0, 255]);
        smoothed[200] = 1;
        assert!(suspect_values_hint(&smoothed).unwrap().contains("smoothed edges"));
        // A small object beside a border that is ignored.
        let mut object = histogram(&[0, 255]);
        object[15] = 1;
        assert_eq!(suspect_values_hint(&object), None);
    }

    proptest::proptest! {
        #[test]
        fn any_values_are_described_and_ids_ascend(counts in proptest::collection::vec(0..3_u64, 256)) {
            let mut histogram: Box<Histogram> = Box::new([0; 256]);
            histogram.copy_from_slice(&counts);
            let _ = suspect_values_hint(&histogram);
            if let Some(found) = StretchedIds::find(&histogram) {
                proptest::prop_assert!(found.ids.is_sorted() && found.ids.len() == found.values.len());
            }
        }

        #[test]
        fn ids_that_were_stretched_are_recognized(classes in 3..40_u32, rounds: bool) {
            let spread = |id: u32| if rounds { (id * 255 + (classes - 1) / 2) / (classes - 1) } else { id * 255 / (classes - 1) };
            let values: Vec<u8> = (0..classes).map(|id| spread(id) as u8).collect();
            let ids: Vec<u8> = (0..classes).map(|id| id as u8).collect();
            proptest::prop_assert_eq!(StretchedIds::find(&histogram(&values)).unwrap().ids, ids);
        }
    }
}
