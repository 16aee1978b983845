//! Reader of COCO files.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{AnnotationSources, FoundAnnotation, ImageName, SkippedEntry};
use crate::annotations::coco;
use crate::error::{Error, Problems};
use crate::preprocess::rasterize::{ByteSpan, MaskSource};
use crate::preprocess::select::Annotation;

pub(super) fn read_coco(
    paths: &[PathBuf],
    sources: &mut AnnotationSources,
    problems: &mut Problems,
) {
    for path in paths {
        let file = File::open(path).map_err(|cause| Error::io("read", path, &cause));
        let Some(file) = problems.record_err(file) else { continue };
        match coco::read_coco_index(file) {
            Ok(index) => add_annotations(path, index, sources),
            Err(message) => problems.push(format!("{}: {message}", path.display())),
        }
    }
}

fn add_annotations(path: &Path, index: coco::CocoIndex, sources: &mut AnnotationSources) {
    let file: Arc<Path> = Arc::from(path);
    let mut categories: HashMap<i64, String> = HashMap::new();
    for (id, name) in index.categories {
        categories.insert(id, name.clone());
        sources.labels.insert(name);
    }
    let categories = Arc::new(categories);
    let mut spans_by_image = index.annotation_spans;
    for image in index.images {
        let mut spans = Vec::new();
        for (offset, length) in spans_by_image.remove(&image.id).unwrap_or_default() {
            spans.push(ByteSpan { offset, length });
        }
        let mask_source = MaskSource::Coco {
            file: file.clone(),
            spans,
            categories: categories.clone(),
            image_size: image.width.zip(image.height),
        };
        let location = format!("image {} in {}", image.id, path.display());
        let name = if image.file_name.is_empty() {
            image.path.unwrap_or_default()
        } else {
            image.file_name
        };
        sources.annotations.push(FoundAnnotation {
            image_name: ImageName::Reference(name),
            annotation: Annotation::without_metadata(file.clone(), location, mask_source),
        });
    }
    if index.orphan_annotations > 0 {
        let location = format!("{} annotations in {}", index.orphan_annotations, path.display());
        sources
            .skipped
            .push(SkippedEntry::fault(location, "their images are not among the file's images"));
    }
}
