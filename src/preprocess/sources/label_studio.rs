//! Label Studio: tasks, annotations and rows, whatever the file that holds them.

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

/// Bytes that one task may have, all of its annotations together. Brush regions of a large picture have some
/// megabytes.
const MAX_TASK_BYTES: usize = 1 << 30;

/// Endings of names that are images, also those that cannot be decoded: a message about them helps more.
const IMAGE_EXTENSIONS: [&str; 9] =
    [".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".jfif"];

/// What one file holds.
struct FileContent {
    entries: Vec<(ByteSpan, Result<TaskSummary, String>)>,
    /// Why nothing follows.
    read_error: Option<String>,
}

pub(super) fn read_label_studio(
    paths: &[PathBuf],
    search: &SearchOptions<'_>,
    sources: &mut AnnotationSources,
    problems: &mut Problems,
) {
    // Storages hold thousands of small objects, exports thousands of tasks: both are read by all cores.
    let contents: Vec<_> = paths.par_iter().map(|path| read_content(path)).collect();
    for (path, content) in paths.iter().zip(contents) {
        let Some(content) = problems.record_err(content) else { continue };
        let file: Arc<Path> = Arc::from(path.as_path());
        let is_single = content.entries.len() <= 1;
        if let Some(message) = content.read_error {
            // A single object is one annotation of many; of a list that breaks off nobody knows what follows.
            if is_single && !is_json_array_file(path) {
                sources.skipped.push(SkippedEntry::fault(path.display().to_string(), message));
            } else {
                problems.push(format!("{}: {message}; export it again", path.display()));
            }
            continue;
        }
        for (number, (span, entry)) in content.entries.into_iter().enumerate() {
            let location = if is_single {
                path.display().to_string()
            } else {
                format!("{}, element {}", path.display(), number + 1)
            };
            match entry {
                Ok(entry) => {
                    add_annotations(&file, span, &entry, (search.image_tags, &location), sources);
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
    let read_error = Mutex::new(None);
    let elements = JsonObjects::new(file, MAX_TASK_BYTES).map_while(|element| {
        element
            .map_err(|message| {
                *read_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(message);
            })
            .ok()
    });
    let mut entries: Vec<_> = elements
        .par_bridge()
        .map(|element| {
            let span = ByteSpan { offset: element.offset, length: element.bytes.len() };
            (span, read_task_summary(&element.bytes))
        })
        .collect();
    entries.sort_by_key(|(span, _)| span.offset);
    let read_error = read_error.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(FileContent { entries, read_error })
}

/// Adds the annotations of an element, each to the images that it is of.
fn add_annotations(
    file: &Arc<Path>,
    span: ByteSpan,
    entry: &TaskSummary,
    (image_tags, location): (&[ImageTag], &str),
    sources: &mut AnnotationSources,
) {
    if entry.annotations.is_empty() {
        sources.unlabeled_tasks += 1;
        return;
    }
    for (annotation_index, summary) in entry.annotations.iter().enumerate() {
        let location = match summary.id {
            Some(id) => format!("annotation {id} in {location}"),
            None => location.to_owned(),
        };
        let images = match task_images(&entry.data, summary, image_tags) {
            Ok(images) => images,
            Err(message) => {
                sources.skipped.push(SkippedEntry::fault(location, message));
                continue;
            }
        };
        if !summary.was_cancelled {
            sources.labels.extend(summary.labels.iter().cloned());
        }
        for (to_name, image) in images {
            let mask_source =
                MaskSource::Regions { file: file.clone(), span, annotation_index, to_name };
            let annotation = Annotation {
                id: summary.id,
                task_id: entry.task_id,
                created_at: summary.created_at.clone(),
                updated_at: summary.updated_at.clone(),
                was_cancelled: summary.was_cancelled,
                ground_truth: summary.ground_truth,
                region_count: summary.region_count,
                task_annotation_count: entry.annotation_count,
                is_in_task_list: entry.element_type == ElementType::Task,
                file: file.clone(),
                location: location.clone(),
                mask_source,
            };
            sources
                .annotations
                .push(FoundAnnotation { image_name: ImageName::Reference(image), annotation });
        }
    }
}

/// The images of a task, with the name of the `<Image>` where there are several.
fn task_images(
    data: &BTreeMap<String, String>,
    summary: &AnnotationSummary,
    image_tags: &[ImageTag],
) -> Result<Vec<(Option<String>, String)>, String> {
    let join_keys = || data.keys().cloned().collect::<Vec<_>>().join(", ");
    if !image_tags.is_empty() {
        let present: Vec<_> =
            image_tags.iter().filter_map(|tag| Some((tag, data.get(&tag.data_key)?))).collect();
        return match present[..] {
            [] => Err(format!(
                "the task's data have no {}, which the labeling configuration shows as image; they have {}",
                image_tags.iter().map(|tag| tag.data_key.as_str()).collect::<Vec<_>>().join(" or "),
                join_keys()
            )),
            [(_, image)] if image_tags.len() == 1 => Ok(vec![(None, image.clone())]),
            _ => Ok(present
                .iter()
                .map(|(tag, image)| (Some(tag.name.clone()), (*image).clone()))
                .collect()),
        };
    }
    let candidates: Vec<_> = data.iter().filter(|(_, value)| is_image_reference(value)).collect();
    let referenced: Vec<_> =
        candidates.iter().filter(|(key, _)| summary.image_names.contains(*key)).collect();
    match (&candidates[..], &referenced[..]) {
        ([(_, image)], _) | (_, [(_, image)]) => Ok(vec![(None, (*image).clone())]),
        ([], _) => Err(format!("the task's data name no image; they have {}", join_keys())),
        _ => Err(format!(
            "the task's data name several images ({}); which is meant says the labeling configuration: give it \
             with --label-config",
            candidates.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>().join(", ")
        )),
    }
}

/// Whether a value of a task is the name of an image.
fn is_image_reference(value: &str) -> bool {
    let path = value.split(['?', '#']).next().unwrap_or(value).to_ascii_lowercase();
    let has_extension =
        |text: &str| IMAGE_EXTENSIONS.iter().any(|extension| text.ends_with(extension));
    has_extension(&path)
        || has_extension(&value.to_ascii_lowercase())
        || ["s3://", "/data/upload/", "/data/local-files/"]
            .iter()
            .any(|start| value.starts_with(start))
        || value.contains("/resolve/?fileuri=")
        || value.contains("/presign/?fileuri=")
}
