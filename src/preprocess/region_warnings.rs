//! Warnings about regions that are not, or may not be, in the masks as they were drawn: left out,
//! painted in an unknown order, or turned.

use super::report::MaskEntry;
use super::superseded::count_images_with;
use crate::error::{join_examples, pluralize};

/// Returns the warnings about all written masks, each with examples. Regions that later ones cover
/// are no reason to warn, because the annotator saw them so; `report.json` lists them.
pub(super) fn warn_of_regions(masks: &[MaskEntry]) -> Vec<String> {
    let mut warnings = Vec::new();
    warnings.extend(warn_of_left_out(masks));
    warnings.extend(warn_of_lost_order(masks));
    warnings.extend(warn_of_orientation(masks));
    warnings
}

fn warn_of_left_out(masks: &[MaskEntry]) -> Option<String> {
    let mut examples = Vec::new();
    for mask in masks {
        examples.extend(describe_regions(&mask.image, &mask.left_out));
    }
    if examples.is_empty() {
        return None;
    }
    Some(format!(
        "regions were left out in {}: {}",
        pluralize(examples.len(), "image"),
        join_examples(examples)
    ))
}

fn warn_of_lost_order(masks: &[MaskEntry]) -> Option<String> {
    let mut examples = Vec::new();
    for mask in masks {
        examples.extend(describe_regions(&mask.image, &mask.unordered));
    }
    if examples.is_empty() {
        return None;
    }
    Some(format!(
        "JSON_MIN does not hold the order of regions of different tags, and such regions overlap \
         in {}, where they were painted in the order of the file: {}; export as JSON, or say with \
         --priority which labels are on top",
        pluralize(examples.len(), "image"),
        join_examples(examples)
    ))
}

fn warn_of_orientation(masks: &[MaskEntry]) -> Option<String> {
    let mut images = Vec::new();
    for mask in masks {
        if mask.is_orientation_guessed {
            images.push(mask.image.clone());
        }
    }
    if images.is_empty() {
        return None;
    }
    Some(format!(
        "{} an EXIF orientation, and neither the size nor the format of the annotations says whether \
         the annotators saw it applied; the masks are taken for those of the upright image: {}; \
         --annotated-as stored or upright says which",
        count_images_with(images.len()),
        join_examples(images)
    ))
}

/// Returns a text of an image and its regions, unless there are none.
fn describe_regions(image: &str, regions: &[String]) -> Option<String> {
    (!regions.is_empty()).then(|| format!("{image}: {}", join_examples(regions.to_vec())))
}
