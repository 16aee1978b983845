//! COCO: one file, or several.

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
    let categories: Arc<HashMap<i64, String>> =
        Arc::new(index.categories.iter().cloned().collect());
    sources.labels.extend(index.categories.into_iter().map(|(_, name)| name));
    let mut annotations = index.annotation_spans;
    for image in index.images {
        let spans: Vec<ByteSpan> = annotations
            .remove(&image.id)
            .unwrap_or_default()
            .into_iter()
            .map(|(offset, length)| ByteSpan { offset, length })
            .collect();
        let location = format!("image {} in {}", image.id, path.display());
        let name = if image.file_name.is_empty() {
            image.path.unwrap_or_default()
        } else {
            image.file_name
        };
        let annotation = Annotation {
            id: None,
            task_id: None,
            created_at: String::new(),
            updated_at: String::new(),
            was_cancelled: false,
            ground_truth: false,
            region_count: spans.len(),
            task_annotation_count: None,
            is_in_task_list: false,
            file: file.clone(),
            location,
            mask_source: MaskSource::Coco {
                file: file.clone(),
                spans,
                categories: categories.clone(),
                image_size: image.width.zip(image.height),
            },
        };
        sources
            .annotations
            .push(FoundAnnotation { image_name: ImageName::Reference(name), annotation });
    }
    if index.orphan_annotations > 0 {
        let location = format!("{} annotations in {}", index.orphan_annotations, path.display());
        sources
            .skipped
            .push(SkippedEntry::fault(location, "their images are not among the file's images"));
    }
}
