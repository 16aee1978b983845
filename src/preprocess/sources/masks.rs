//! Masks without a document: each belongs to the image of the same path.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Found, ImageName, Skipped, Sources};
use crate::preprocess::drawing::Drawing;
use crate::preprocess::select::Annotation;

pub(super) fn read(paths: &[PathBuf], folder: &Path, sources: &mut Sources) {
    for path in paths {
        let place = path.display().to_string();
        let below = path.strip_prefix(folder).unwrap_or(path).with_extension("");
        let Some(name) = below.to_str().map(str::to_owned) else {
            sources.skipped.push(Skipped::fault(place, "the name is not UTF-8; rename it"));
            continue;
        };
        if is_of_one_region(&name) {
            let reason = "is of Label Studio's export BRUSH_TO_PNG, which has a file for each region and not their \
                          order; export JSON instead";
            sources.skipped.push(Skipped::fault(place, reason));
            continue;
        }
        sources.found.push(Found {
            image: ImageName::SamePath(name),
            annotation: Annotation {
                id: None,
                task: None,
                created_at: String::new(),
                updated_at: String::new(),
                was_cancelled: false,
                ground_truth: false,
                regions: 1,
                counted: None,
                is_listed: false,
                file: Arc::from(path.as_path()),
                place,
                drawing: Drawing::Mask(path.clone()),
            },
        });
    }
}

/// `task-1-annotation-1-by-1-brush-car-0`.
fn is_of_one_region(name: &str) -> bool {
    let name = name.rsplit('/').next().unwrap_or(name);
    name.starts_with("task-") && name.contains("-annotation-") && name.contains("-by-")
}
