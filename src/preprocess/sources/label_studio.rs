//! Reader of Label Studio's files, which hold tasks, annotations or rows.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::{AnnotationSources, FoundAnnotation, ImageName, SearchOptions, SkippedEntry};
use crate::annotations::json_objects::JsonObjects;
use crate::annotations::label_config::ImageTag;
use crate::annotations::label_studio::{
    AnnotationSummary, ElementType, TaskSummary, read_task_summary,
};
use crate::error::{Error, Problems};
use crate::preprocess::rasterize::{ByteSpan, MaskSource};
use crate::preprocess::select::Annotation;

/// Largest size of one task with all of its annotations, in bytes. Brush regions of a large picture
/// have some megabytes.
const MAX_TASK_BYTES: usize = 1 << 30;

/// File extensions of images. It includes formats that cannot be decoded, because a later message
/// about the image says more.
const IMAGE_EXTENSIONS: [&str; 9] =
    [".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".jfif"];

/// Element of a file with its position.
struct FileElement {
    span: ByteSpan,
    /// Error of an element that cannot be used.
    summary: Result<TaskSummary, String>,
}

/// Elements of one file.
struct FileContent {
    elements: Vec<FileElement>,
    /// Fault of the file because of which its rest cannot be read.
    read_error: Option<SkippedEntry>,
}

/// Element with everything that messages and masks need.
struct TaskElement<'a> {
    file: &'a Arc<Path>,
    span: ByteSpan,
    /// Location of the element in messages.
    location: &'a str,
    task: &'a TaskSummary,
}

pub(super) fn read_label_studio(
    paths: &[PathBuf],
    search: &SearchOptions<'_>,
    sources: &mut AnnotationSources,
    problems: &mut Problems,
) {
    // Storages hold thousands of small objects, exports thousands of tasks: both are read by all
    // cores.
    let contents: Vec<_> = paths.par_iter().map(|path| read_content(path)).collect();
    for (path, content) in paths.iter().zip(contents) {
        let Some(content) = problems.record_err(content) else { continue };
        let is_single = content.elements.len() <= 1;
        if let Some(error) = content.read_error {
            // A file with one object is one annotation of many, so it is skipped. A list that
            // breaks off may lack any number of annotations.
            if is_single && !is_json_array_file(path) {
                sources.skipped.push(error);
            } else {
                problems.push(format!("{error}; export it again"));
            }
            continue;
        }
        let file: Arc<Path> = Arc::from(path.as_path());
        for (index, FileElement { span, summary }) in content.elements.into_iter().enumerate() {
            let location = if is_single {
                path.display().to_string()
            } else {
                format!("{}, element {}", path.display(), index + 1)
            };
            match summary {
                Ok(task) => {
                    let element =
                        TaskElement { file: &file, span, location: &location, task: &task };
                    add_annotations(&element, search.image_tags, sources);
                }
                Err(message) => sources.skipped.push(SkippedEntry::fault(location, message)),
            }
        }
    }
}

fn is_json_array_file(path: &Path) -> bool {
    super::read_head(path).is_ok_and(|head| super::format::is_json_array(&head))
}

fn read_content(path: &Path) -> Result<FileContent, Error> {
    let file = File::open(path).map_err(|cause| Error::io("read", path, &cause))?;
    // The objects are read in their order and parsed by all cores. An error ends the reading.
    let read_error = Mutex::new(None);
    let objects = JsonObjects::new(file, MAX_TASK_BYTES).map_while(|object| match object {
        Ok(object) => Some(object),
        Err(message) => {
            let error = SkippedEntry::fault(path.display().to_string(), message);
            *read_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            None
        }
    });
    let mut elements: Vec<FileElement> = objects
        .par_bridge()
        .map(|object| FileElement {
            span: ByteSpan { offset: object.offset, length: object.bytes.len() },
            summary: read_task(&object.bytes),
        })
        .collect();
    elements.sort_by_key(|element| element.span.offset);
    let read_error = read_error.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(FileContent { elements, read_error })
}

fn read_task(element: &[u8]) -> Result<TaskSummary, String> {
    Ok(read_task_summary(element)?)
}

/// Adds the annotations of an element, each once for every image that it belongs to.
fn add_annotations(
    element: &TaskElement<'_>,
    image_tags: &[ImageTag],
    sources: &mut AnnotationSources,
) {
    let TaskElement { file, span, location, task } = *element;
    if task.annotations.is_empty() {
        sources.unlabeled_tasks += 1;
        return;
    }
    for (annotation_index, summary) in task.annotations.iter().enumerate() {
        let location = match summary.id {
            Some(id) => format!("annotation {id} in {location}"),
            None => location.to_owned(),
        };
        let images = match task_images(&task.data, summary, image_tags) {
            Ok(images) => images,
            Err(message) => {
                sources.skipped.push(SkippedEntry::fault(location, message));
                continue;
            }
        };
        if !summary.was_cancelled {
            sources.labels.extend(summary.labels.iter().cloned());
        }
        for TaskImage { to_name, reference } in images {
            let annotation = Annotation {
                id: summary.id,
                task_id: task.task_id,
                created_at: summary.created_at.clone(),
                updated_at: summary.updated_at.clone(),
                was_cancelled: summary.was_cancelled,
                ground_truth: summary.ground_truth,
                task_annotation_count: task.annotation_count,
                is_in_task_list: task.element_type == ElementType::Task,
                file: file.clone(),
                location: location.clone(),
                mask_source: MaskSource::Regions {
                    file: file.clone(),
                    span,
                    annotation_index,
                    to_name,
                },
            };
            let image_name = ImageName::Reference(reference);
            sources.annotations.push(FoundAnnotation { image_name, annotation });
        }
    }
}

/// Image that a task refers to.
struct TaskImage {
    /// Name of the image's `<Image>` tag if the labeling configuration has several.
    to_name: Option<String>,
    reference: String,
}

/// Returns the images of a task: those of the labeling configuration's tags, or without tags the
/// only image in the task's data.
fn task_images(
    data: &BTreeMap<String, String>,
    summary: &AnnotationSummary,
    image_tags: &[ImageTag],
) -> Result<Vec<TaskImage>, String> {
    if image_tags.is_empty() {
        let reference = only_image(data, summary)?.to_owned();
        return Ok(vec![TaskImage { to_name: None, reference }]);
    }
    let mut images = Vec::new();
    for tag in image_tags {
        if let Some(reference) = data.get(&tag.data_key) {
            let to_name = (image_tags.len() > 1).then(|| tag.name.clone());
            images.push(TaskImage { to_name, reference: reference.clone() });
        }
    }
    if images.is_empty() {
        let tag_keys: Vec<&str> = image_tags.iter().map(|tag| tag.data_key.as_str()).collect();
        return Err(format!(
            "the task's data have no {}, which the labeling configuration shows as image; they \
             have {}",
            tag_keys.join(" or "),
            join_keys(data)
        ));
    }
    Ok(images)
}

/// Returns the only image in a task's data, or the only one that the annotation refers to.
fn only_image<'a>(
    data: &'a BTreeMap<String, String>,
    summary: &AnnotationSummary,
) -> Result<&'a str, String> {
    let mut candidate_keys = Vec::new();
    let mut candidates = Vec::new();
    let mut referenced = Vec::new();
    for (key, value) in data {
        if is_image_reference(value) {
            candidate_keys.push(key.as_str());
            candidates.push(value.as_str());
            if summary.image_names.contains(key) {
                referenced.push(value.as_str());
            }
        }
    }
    match (&candidates[..], &referenced[..]) {
        ([image], _) | (_, [image]) => Ok(image),
        ([], _) => Err(format!("the task's data name no image; they have {}", join_keys(data))),
        _ => Err(format!(
            "the task's data name several images ({}); which is meant says the labeling \
             configuration: give it with --label-config",
            candidate_keys.join(", ")
        )),
    }
}

fn join_keys(data: &BTreeMap<String, String>) -> String {
    data.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// Returns true if a value of a task's data looks like a reference to an image.
fn is_image_reference(value: &str) -> bool {
    let path = value.split(['?', '#']).next().unwrap_or(value);
    let starts = ["s3://", "/data/upload/", "/data/local-files/"];
    has_image_extension(path)
        || has_image_extension(value)
        || starts.iter().any(|start| value.starts_with(start))
        || value.contains("/resolve/?fileuri=")
        || value.contains("/presign/?fileuri=")
}

fn has_image_extension(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    IMAGE_EXTENSIONS.iter().any(|extension| text.ends_with(extension))
}
