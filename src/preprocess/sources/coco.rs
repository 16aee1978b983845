//! COCO: one file, or several.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Found, ImageName, Skipped, Sources};
use crate::annotations::coco;
use crate::error::{Error, Problems};
use crate::preprocess::drawing::{Drawing, Span};
use crate::preprocess::select::Annotation;

pub(super) fn read(paths: &[PathBuf], sources: &mut Sources, problems: &mut Problems) {
    for path in paths {
        let file = File::open(path).map_err(|cause| Error::io("read", path, &cause));
        let Some(file) = problems.check(file) else { continue };
        match coco::index(file) {
            Ok(index) => add(path, index, sources),
            Err(what) => problems.push(format!("{}: {what}", path.display())),
        }
    }
}

fn add(path: &Path, index: coco::Index, sources: &mut Sources) {
    let file: Arc<Path> = Arc::from(path);
    let categories: Arc<HashMap<i64, String>> =
        Arc::new(index.categories.iter().cloned().collect());
    sources.labels.extend(index.categories.into_iter().map(|(_, name)| name));
    let mut annotations = index.annotations;
    for image in index.images {
        let spans: Vec<Span> = annotations
            .remove(&image.id)
            .unwrap_or_default()
            .into_iter()
            .map(|(offset, length)| Span { offset, length })
            .collect();
        let place = format!("image {} in {}", image.id, path.display());
        let name = if image.file_name.is_empty() {
            image.path.unwrap_or_default()
        } else {
            image.file_name
        };
        let annotation = Annotation {
            id: None,
            task: None,
            created_at: String::new(),
            updated_at: String::new(),
            was_cancelled: false,
            ground_truth: false,
            regions: spans.len(),
            counted: None,
            is_listed: false,
            file: file.clone(),
            place,
            drawing: Drawing::Coco {
                file: file.clone(),
                spans,
                categories: categories.clone(),
                size: image.width.zip(image.height),
            },
        };
        sources.found.push(Found { image: ImageName::Reference(name), annotation });
    }
    if index.orphans > 0 {
        let place = format!("{} annotations in {}", index.orphans, path.display());
        sources.skipped.push(Skipped::fault(place, "their images are not among the file's images"));
    }
}
