//! Reader of mask files without a document: a mask belongs to the image of the same path.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{AnnotationSources, FoundAnnotation, ImageName, SkippedEntry};
use crate::preprocess::rasterize::MaskSource;
use crate::preprocess::select::Annotation;

pub(super) fn read_masks(paths: &[PathBuf], folder: &Path, sources: &mut AnnotationSources) {
    for path in paths {
        let location = path.display().to_string();
        let relative = path.strip_prefix(folder).unwrap_or(path).with_extension("");
        let Some(name) = relative.to_str() else {
            let reason = "the name is not UTF-8; rename it";
            sources.skipped.push(SkippedEntry::fault(location, reason).with_losses(1, 1));
            continue;
        };
        if is_single_region_file(name) {
            let reason = "is of Label Studio's export BRUSH_TO_PNG, which has a file for each \
                          region and not their order; export JSON instead";
            // Nothing tells how many images have such files.
            sources.skipped.push(SkippedEntry::fault(location, reason).with_losses(0, 1));
            continue;
        }
        sources.annotations.push(FoundAnnotation {
            image_name: ImageName::SamePath(name.to_owned()),
            annotation: Annotation::without_metadata(
                Arc::from(path.as_path()),
                location,
                MaskSource::Mask(path.clone()),
            ),
        });
    }
}

/// Returns true for names such as `task-1-annotation-1-by-1-brush-car-0`.
fn is_single_region_file(name: &str) -> bool {
    let name = name.rsplit('/').next().unwrap_or(name);
    name.starts_with("task-") && name.contains("-annotation-") && name.contains("-by-")
}
