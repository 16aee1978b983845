//! Reader of COCO files.

use std::collections::HashMap;
use std::io::{self, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::stoppable::StoppableFile;
use super::{AnnotationSources, FoundAnnotation, ImageName, SearchOptions, SkippedEntry};
use crate::annotations::{Error as UnusableFile, coco};
use crate::error::Problems;
use crate::files::PathContext;
use crate::preprocess::rasterize::{ByteSpan, MaskSource};
use crate::preprocess::select::Annotation;

pub(super) fn read_coco(
    paths: &[PathBuf],
    search: &SearchOptions<'_>,
    sources: &mut AnnotationSources,
    problems: &mut Problems,
) {
    for path in paths {
        let file = StoppableFile::open(path, search.stop);
        let Some(mut file) = problems.record_err(file) else { continue };
        // Mere names in an export of Label Studio may be those of uploads.
        let is_export = is_label_studio_export(&mut file).with_path("read", path);
        let Some(is_export) = problems.record_err(is_export) else { continue };
        match coco::read_coco_index(file) {
            Ok(index) => add_annotations(path, index, is_export, sources),
            // Downloads of COCO hold captions and key points beside the instances.
            Err(UnusableFile::Unsupported(message)) => {
                sources.skipped.push(SkippedEntry::fault(path.display().to_string(), message));
            }
            Err(message) => problems.push(format!("{}: {message}", path.display())),
        }
    }
}

/// Returns true if Label Studio wrote a file, which is at its start again afterwards.
fn is_label_studio_export(file: &mut StoppableFile<'_>) -> io::Result<bool> {
    let is_export = coco::is_label_studio_export(file)?;
    file.rewind()?;
    Ok(is_export)
}

/// Adds the annotations of a file. `is_export` is true if Label Studio wrote it.
fn add_annotations(
    path: &Path,
    index: coco::CocoIndex,
    is_export: bool,
    sources: &mut AnnotationSources,
) {
    let file: Arc<Path> = Arc::from(path);
    let mut categories: HashMap<coco::CocoId, String> = HashMap::new();
    for (id, name) in index.categories {
        categories.insert(id, name.clone());
        sources.labels.insert(name);
    }
    let categories = Arc::new(categories);
    let mut spans_by_image = index.annotation_spans;
    for image in index.images {
        if index.undrawn_images.contains(&image.id) {
            let spans = spans_by_image.remove(&image.id).unwrap_or_default();
            sources.skipped.push(skip_undrawn_image(path, image).with_losses(1, spans.len()));
            continue;
        }
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
        let name = image_name(image);
        let image_name =
            if is_export { ImageName::ExportedName(name) } else { ImageName::Reference(name) };
        sources.annotations.push(FoundAnnotation {
            image_name,
            annotation: Annotation::without_metadata(file.clone(), location, mask_source),
        });
    }
    if index.orphan_annotations > 0 {
        let location = format!("{} annotations in {}", index.orphan_annotations, path.display());
        let reason = "their images are not among the file's images";
        let count = usize::try_from(index.orphan_annotations).unwrap_or(usize::MAX);
        sources.skipped.push(SkippedEntry::fault(location, reason).with_losses(0, count));
    }
}

/// Returns the name of the image's file, or its path if the file gives only that.
fn image_name(image: coco::CocoImage) -> String {
    if image.file_name.is_empty() { image.path.unwrap_or_default() } else { image.file_name }
}

/// Returns the entry of an image on which something was marked, but no area. Its mask would say
/// that it is all background.
fn skip_undrawn_image(path: &Path, image: coco::CocoImage) -> SkippedEntry {
    let reason = format!(
        "image {} in {} has annotations, none of them with a segmentation (boxes or key points \
         alone), and nothing tells which pixels are meant; draw them as polygons or masks, or \
         remove the image from the file",
        image.id,
        path.display()
    );
    SkippedEntry::fault(image_name(image), reason)
}
