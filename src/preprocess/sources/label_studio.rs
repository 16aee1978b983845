//! Reader of Label Studio's files, which hold tasks, annotations or rows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::stoppable::StoppableFile;
use super::{AnnotationSources, FoundAnnotation, ImageName, SearchOptions, SkippedEntry};
use crate::annotations::json_objects::JsonObjects;
use crate::annotations::label_config::{ImageTag, LabelConfig, ShownImage, TaskObjects};
use crate::annotations::label_studio::{
    AnnotationSummary, ElementType, ListItem, RegionTarget, TaskSummary, read_task_summary,
};
use crate::error::{Error, Problems, join_examples};
use crate::preprocess::file_index::has_image_extension;
use crate::preprocess::rasterize::{ByteSpan, MaskSource};
use crate::preprocess::reference::is_data_url;
use crate::preprocess::select::Annotation;
use crate::sagemaker::StopSignal;

/// Largest size of one task with all of its annotations, in bytes. Brush regions of a large picture
/// have some megabytes.
const MAX_TASK_BYTES: usize = 1 << 30;

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
    let image_tags = ConfiguredImages::new(search.label_config);
    // Storages hold thousands of small objects, exports thousands of tasks: both are read by all
    // cores.
    let contents: Vec<_> = paths.par_iter().map(|path| read_content(path, search.stop)).collect();
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
                    add_annotations(&element, &image_tags, sources);
                }
                // The element may be no task, so neither an image nor regions are counted as lost.
                Err(message) => sources.skipped.push(SkippedEntry::fault(location, message)),
            }
        }
    }
}

fn is_json_array_file(path: &Path) -> bool {
    super::read_head(path).is_ok_and(|head| super::format::is_json_array(&head))
}

fn read_content(path: &Path, stop: &StopSignal) -> Result<FileContent, Error> {
    let file = StoppableFile::open(path, stop)?;
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
    image_tags: &ConfiguredImages<'_>,
    sources: &mut AnnotationSources,
) {
    let TaskElement { file, span, location, task } = *element;
    if task.annotations.is_empty() {
        sources.unlabeled_tasks += 1;
        return;
    }
    let found_count = sources.annotations.len();
    let mut failed = Vec::new();
    for (annotation_index, summary) in task.annotations.iter().enumerate() {
        let location = match summary.id {
            Some(id) => format!("annotation {id} in {location}"),
            None if task.annotations.len() > 1 => {
                format!(
                    "annotation {} of {} (no id) in {location}",
                    annotation_index + 1,
                    task.annotations.len()
                )
            }
            None => location.to_owned(),
        };
        let images = match task_images(task, summary, image_tags) {
            Ok(images) => images,
            Err(message) => {
                let entry = SkippedEntry::fault(location, message);
                sources.skipped.push(entry.with_losses(0, summary.drawn_count()));
                failed.push(sources.skipped.len() - 1);
                continue;
            }
        };
        if !summary.was_cancelled {
            sources.labels.extend(summary.labels.iter().cloned());
        }
        for TaskImage { target, reference } in images {
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
                    region_count: target.count_results(summary),
                    target,
                },
            };
            let image_name = ImageName::Reference(reference);
            sources.annotations.push(FoundAnnotation { image_name, annotation });
        }
    }
    // The annotations of a task are of one image, which is lost once, and only with all of them.
    if sources.annotations.len() == found_count
        && let Some(&first) = failed.first()
    {
        sources.skipped[first].lost_images = 1;
    }
}

/// Images that the labeling configuration shows.
struct ConfiguredImages<'a> {
    /// `<Image>` tags on which areas are drawn; empty without a labeling configuration.
    tags: &'a [ImageTag],
    objects: Arc<TaskObjects>,
}

impl<'a> ConfiguredImages<'a> {
    fn new(config: Option<&'a LabelConfig>) -> Self {
        match config {
            Some(config) => {
                Self { tags: &config.image_tags, objects: Arc::new(config.objects.clone()) }
            }
            None => Self { tags: &[], objects: Arc::default() },
        }
    }
}

/// Image that a task refers to.
struct TaskImage {
    /// Regions of the image.
    target: RegionTarget,
    reference: String,
}

/// Returns the images of a task: those of the labeling configuration's tags, or without tags the
/// only image in the task's data.
fn task_images(
    task: &TaskSummary,
    summary: &AnnotationSummary,
    configured: &ConfiguredImages<'_>,
) -> Result<Vec<TaskImage>, String> {
    if configured.tags.is_empty() {
        return Ok(vec![only_image(task, summary)?]);
    }
    let mut shown_images = Vec::new();
    for tag in configured.tags {
        if !tag.find_images(&task.data, &task.nested_data).is_empty() {
            shown_images.push(tag.name.clone());
        }
    }
    let shown_images: Arc<[String]> = Arc::from(shown_images);
    let mut images = Vec::new();
    for tag in configured.tags {
        let shown = tag.find_images(&task.data, &task.nested_data);
        if tag.is_list && !shown.is_empty() && task.element_type == ElementType::JsonMinRow {
            return Err(format!(
                "the <Image> {} shows a list of images (valueList), and JSON_MIN does not say on \
                 which of them a region lies; export as JSON",
                tag.name
            ));
        }
        let count = shown.last().map_or(0, |image| image.index.saturating_add(1));
        let list_indices: Arc<BTreeSet<usize>> =
            Arc::new(shown.iter().map(|image| image.index).collect());
        for ShownImage { index, reference } in shown {
            let target = RegionTarget {
                image_name: Some(Arc::from(tag.name.as_str())),
                objects: configured.objects.clone(),
                shown_images: shown_images.clone(),
                list_item: tag.is_list.then_some(ListItem { index, count }),
                list_indices: list_indices.clone(),
                tells_strays: images.is_empty(),
            };
            images.push(TaskImage { target, reference });
        }
    }
    if images.is_empty() {
        let mut tag_keys = Vec::new();
        for tag in configured.tags {
            tag_keys.extend(tag.data_keys());
        }
        return Err(format!(
            "the task's data have no {}, which the labeling configuration shows as image; they \
             have {}",
            tag_keys.join(" or "),
            join_keys(&task.data, &task.nested_data)
        ));
    }
    Ok(images)
}

/// Returns the only image in a task's data, or the only one that the annotation refers to.
fn only_image(task: &TaskSummary, summary: &AnnotationSummary) -> Result<TaskImage, String> {
    let mut candidates = list_images(&task.data);
    if candidates.is_empty() {
        candidates = list_images(&task.nested_data);
    }
    let mut referenced = Vec::new();
    for &(key, reference) in &candidates {
        if summary.image_names.contains(key) {
            referenced.push((key, reference));
        }
    }
    let (key, reference) = match (&candidates[..], &referenced[..]) {
        ([image], _) | (_, [image]) => *image,
        ([], _) => {
            return Err(format!(
                "the task's data name no image; they have {}",
                join_keys(&task.data, &task.nested_data)
            ));
        }
        _ => {
            let keys: Vec<&str> = candidates.iter().map(|(key, _)| *key).collect();
            return Err(format!(
                "the task's data name several images ({}); which is meant says the labeling \
                 configuration: give it with --label-config",
                keys.join(", ")
            ));
        }
    };
    let mut target = RegionTarget { tells_strays: true, ..RegionTarget::default() };
    if summary.image_names.len() > 1 {
        if !summary.image_names.contains(key) {
            let names: Vec<&str> = summary.image_names.iter().map(String::as_str).collect();
            return Err(format!(
                "regions lie on several objects ({}); which of them is the image says the labeling \
                 configuration: give it with --label-config",
                names.join(", ")
            ));
        }
        target.image_name = Some(Arc::from(key));
    }
    Ok(TaskImage { target, reference: reference.to_owned() })
}

/// Returns the keys and values that look like references to images.
fn list_images(data: &BTreeMap<String, String>) -> Vec<(&str, &str)> {
    let mut images = Vec::new();
    for (key, value) in data {
        if is_image_reference(value) {
            images.push((key.as_str(), value.as_str()));
        }
    }
    images
}

fn join_keys(data: &BTreeMap<String, String>, nested_data: &BTreeMap<String, String>) -> String {
    let keys: Vec<String> = data.keys().chain(nested_data.keys()).cloned().collect();
    if keys.is_empty() { "nothing".to_owned() } else { join_examples(keys) }
}

/// Returns true if a value of a task's data looks like a reference to an image.
fn is_image_reference(value: &str) -> bool {
    let path = value.split(['?', '#']).next().unwrap_or(value);
    let starts = ["s3://", "/data/upload/", "/data/local-files/"];
    has_image_extension(path)
        || has_image_extension(value)
        || is_data_url(value)
        || starts.iter().any(|start| value.starts_with(start))
        || value.contains("/resolve/?fileuri=")
        || value.contains("/presign/?fileuri=")
}
