//! Comparison of annotations that nothing else tells apart: equal ones are no contradiction.

use std::fs;
use std::path::Path;

use crate::annotations::coco;
use crate::annotations::label_studio::{self, AnnotationRegions};
use crate::data::color_map::ColorMap;
use crate::files;
use crate::preprocess::rasterize::{MaskSource, read_span};

/// File of a mask with the names of its colors, if a document gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct MaskFile<'a> {
    pub path: &'a Path,
    pub color_map: Option<&'a ColorMap>,
}

/// Returns the file of a mask, or `None` for regions.
pub(super) fn mask_file(source: &MaskSource) -> Option<MaskFile<'_>> {
    match source {
        MaskSource::ColorMask { mask, color_map, .. } => {
            Some(MaskFile { path: mask, color_map: Some(color_map) })
        }
        MaskSource::Mask(path) => Some(MaskFile { path, color_map: None }),
        _ => None,
    }
}

/// Returns true if two annotations surely make the same mask: equal regions in the same order, or
/// equal bytes of a mask. What cannot be read is equal to nothing.
pub(super) fn have_equal_drawings(first: &MaskSource, second: &MaskSource) -> bool {
    if let (Some(first_mask), Some(second_mask)) = (mask_file(first), mask_file(second)) {
        return first_mask.color_map == second_mask.color_map
            && have_equal_bytes(first_mask.path, second_mask.path);
    }
    match (first, second) {
        (MaskSource::Regions { .. }, MaskSource::Regions { .. }) => {
            match (read_drawn_regions(first), read_drawn_regions(second)) {
                (Some(first_drawn), Some(second_drawn)) => {
                    first_drawn.regions == second_drawn.regions
                        && first_drawn.skipped_reasons.len() == second_drawn.skipped_reasons.len()
                }
                _ => false,
            }
        }
        _ => have_equal_segmentations(first, second),
    }
}

fn have_equal_bytes(first: &Path, second: &Path) -> bool {
    if first == second {
        return true;
    }
    let lengths = (fs::metadata(first), fs::metadata(second));
    let (Ok(first_metadata), Ok(second_metadata)) = lengths else { return false };
    if first_metadata.len() != second_metadata.len() {
        return false;
    }
    match (files::read_file(first), files::read_file(second)) {
        (Ok(first_bytes), Ok(second_bytes)) => first_bytes == second_bytes,
        _ => false,
    }
}

/// Reads the regions of a Label Studio annotation, without their ids, which say nothing about the
/// drawing.
fn read_drawn_regions(source: &MaskSource) -> Option<AnnotationRegions> {
    let MaskSource::Regions { file, span, annotation_index, target, .. } = source else {
        return None;
    };
    let element = read_span(file, *span).ok()?;
    let mut drawn = label_studio::read_target_regions(&element, *annotation_index, target).ok()?;
    for region in &mut drawn.regions {
        region.id.clear();
    }
    Some(drawn)
}

/// Returns true if two images of COCO files have the same size and annotations.
fn have_equal_segmentations(first: &MaskSource, second: &MaskSource) -> bool {
    let (
        MaskSource::Coco {
            file: first_file,
            spans: first_spans,
            categories: first_categories,
            image_size: first_size,
            ..
        },
        MaskSource::Coco {
            file: second_file,
            spans: second_spans,
            categories: second_categories,
            image_size: second_size,
            ..
        },
    ) = (first, second)
    else {
        return false;
    };
    if first_size != second_size || first_spans.len() != second_spans.len() {
        return false;
    }
    for (first_span, second_span) in first_spans.iter().zip(second_spans) {
        let elements = (read_span(first_file, *first_span), read_span(second_file, *second_span));
        let (Ok(first_element), Ok(second_element)) = elements else { return false };
        let parsed =
            (coco::parse_annotation(&first_element), coco::parse_annotation(&second_element));
        let (Ok(first_annotation), Ok(second_annotation)) = parsed else { return false };
        let first_category = first_categories.get(&first_annotation.category_id);
        if first_category.is_none()
            || first_category != second_categories.get(&second_annotation.category_id)
            || first_annotation.segmentation != second_annotation.segmentation
            || first_annotation.image_size != second_annotation.image_size
        {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;
    use crate::annotations::coco::CocoId;
    use crate::annotations::label_studio::RegionTarget;
    use crate::preprocess::rasterize::ByteSpan;

    /// Writes one element to a file of its own.
    fn write_element(folder: &Path, name: &str, text: &str) -> (Arc<Path>, ByteSpan) {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        (Arc::from(path), ByteSpan { offset: 0, length: text.len() })
    }

    #[test]
    fn masks_are_equal_by_their_bytes_and_by_the_names_of_their_colors() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            fs::write(folder.path().join(name), text).unwrap();
            folder.path().join(name)
        };
        let [one, copy, other] =
            [write("one", "1234"), write("copy", "1234"), write("other", "1235")];
        let mask = |path: &PathBuf| MaskSource::Mask(path.clone());
        assert!(have_equal_drawings(&mask(&one), &mask(&copy)));
        assert!(!have_equal_drawings(&mask(&one), &mask(&other)));
        let gone = mask(&folder.path().join("gone"));
        assert!(!have_equal_drawings(&mask(&one), &gone));
        let colored = |name: &str| MaskSource::ColorMask {
            mask: one.clone(),
            color_map: Arc::new(ColorMap::from_classes([(name.to_owned(), [1, 2, 3], 1)])),
        };
        assert!(have_equal_drawings(&colored("road"), &colored("road")));
        assert!(!have_equal_drawings(&colored("road"), &colored("car")));
        assert!(!have_equal_drawings(&colored("road"), &mask(&one)));
    }

    #[test]
    fn regions_are_equal_whatever_their_ids_and_the_rest_of_the_task() {
        let folder = tempfile::tempdir().unwrap();
        let source = |name: &str, id: &str, label: &str| {
            let text = format!(
                r#"{{"data": {{"image": "{name}"}}, "annotations": [{{"result": [
                  {{"id": "{id}", "type": "rectanglelabels", "original_width": 4,
                   "original_height": 4, "value": {{"x": 0, "y": 0, "width": 50, "height": 50,
                   "rotation": 0, "rectanglelabels": ["{label}"]}}}}]}}]}}"#
            );
            let (file, span) = write_element(folder.path(), name, &text);
            MaskSource::Regions {
                file,
                span,
                annotation_index: 0,
                region_count: 1,
                target: RegionTarget::default(),
            }
        };
        let car = source("one.json", "r1", "car");
        assert!(have_equal_drawings(&car, &source("two.json", "r2", "car")));
        assert!(!have_equal_drawings(&car, &source("three.json", "r1", "road")));
        assert!(!have_equal_drawings(&car, &MaskSource::placeholder()));
    }

    #[test]
    fn segmentations_are_equal_by_the_names_of_their_categories() {
        let folder = tempfile::tempdir().unwrap();
        let source = |name: &str, category: i64, label: &str, x: u32| {
            let text = format!(
                r#"{{"id": {category}, "image_id": 1, "category_id": {category},
                    "segmentation": [[0, 0, {x}, 0, {x}, 5]]}}"#
            );
            let (file, span) = write_element(folder.path(), name, &text);
            MaskSource::Coco {
                file,
                spans: vec![span],
                categories: Arc::new(HashMap::from([(CocoId::from(category), label.to_owned())])),
                image_size: Some((9, 9)),
            }
        };
        let car = source("one.json", 1, "car", 5);
        assert!(have_equal_drawings(&car, &source("two.json", 7, "car", 5)));
        assert!(!have_equal_drawings(&car, &source("three.json", 1, "road", 5)));
        assert!(!have_equal_drawings(&car, &source("four.json", 1, "car", 6)));
    }
}
