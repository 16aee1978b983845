//! Masks without a document: each belongs to the image of the same path.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{AnnotationSources, FoundAnnotation, ImageName, SkippedEntry};
use crate::preprocess::rasterize::MaskSource;
use crate::preprocess::select::Annotation;

pub(super) fn read_masks(paths: &[PathBuf], folder: &Path, sources: &mut AnnotationSources) {
    for path in paths {
        let location = path.display().to_string();
        let relative = path.strip_prefix(folder).unwrap_or(path).with_extension("");
        let Some(name) = relative.to_str().map(str::to_owned) else {
            sources.skipped.push(SkippedEntry::fault(location, "the name is not UTF-8; rename it"));
            continue;
        };
        if is_single_region_file(&name) {
            let reason = "is of Label Studio's export BRUSH_TO_PNG, which has a file for each region and not their \
                          order; export JSON instead";
            sources.skipped.push(SkippedEntry::fault(location, reason));
            continue;
        }
        sources.annotations.push(FoundAnnotation {
            image_name: ImageName::SamePath(name),
            annotation: Annotation {
                id: None,
                task_id: None,
                created_at: String::new(),
                updated_at: String::new(),
                was_cancelled: false,
                ground_truth: false,
                region_count: 1,
                task_annotation_count: None,
                is_in_task_list: false,
                file: Arc::from(path.as_path()),
                location,
                mask_source: MaskSource::Mask(path.clone()),
            },
        });
    }
}

/// `task-1-annotation-1-by-1-brush-car-0`.
fn is_single_region_file(name: &str) -> bool {
    let name = name.rsplit('/').next().unwrap_or(name);
    name.starts_with("task-") && name.contains("-annotation-") && name.contains("-by-")
}
