//! Label Studio: tasks, annotations and rows, whatever the file that holds them.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::{Found, ImageName, Search, Skipped, Sources};
use crate::annotations::elements::Elements;
use crate::annotations::label_config::ImageTag;
use crate::annotations::label_studio::{Entry, Form, Summary, index};
use crate::error::{Error, Problems};
use crate::preprocess::drawing::{Drawing, Span};
use crate::preprocess::select::Annotation;

/// Bytes that one task may have, all of its annotations together. Brush regions of a large picture have some
/// megabytes.
const MOST_BYTES: usize = 1 << 30;

/// Endings of names that are images, also those that cannot be decoded: a message about them helps more.
const EXTENSIONS: [&str; 9] =
    [".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".jfif"];

/// What one file holds.
struct Content {
    entries: Vec<(Span, Result<Entry, String>)>,
    /// Why nothing follows.
    broken: Option<String>,
}

pub(super) fn read(
    paths: &[PathBuf],
    search: &Search<'_>,
    sources: &mut Sources,
    problems: &mut Problems,
) {
    // Storages hold thousands of small objects, exports thousands of tasks: both are read by all cores.
    let contents: Vec<_> = paths.par_iter().map(|path| content(path)).collect();
    for (path, content) in paths.iter().zip(contents) {
        let Some(content) = problems.check(content) else { continue };
        let file: Arc<Path> = Arc::from(path.as_path());
        let is_single = content.entries.len() <= 1;
        if let Some(what) = content.broken {
            // A single object is one annotation of many; of a list that breaks off nobody knows what follows.
            if is_single && !is_list(path) {
                sources.skipped.push(Skipped::fault(path.display().to_string(), what));
            } else {
                problems.push(format!("{}: {what}; export it again", path.display()));
            }
            continue;
        }
        for (number, (span, entry)) in content.entries.into_iter().enumerate() {
            let place = if is_single {
                path.display().to_string()
            } else {
                format!("{}, element {}", path.display(), number + 1)
            };
            match entry {
                Ok(entry) => add(&file, span, &entry, (search.images, &place), sources),
                Err(what) => sources.skipped.push(Skipped::fault(place, what)),
            }
        }
    }
}

fn is_list(path: &Path) -> bool {
    super::head(path).is_ok_and(|head| super::kind::is_list(&head))
}

fn content(path: &Path) -> Result<Content, Error> {
    let file = File::open(path).map_err(|cause| Error::io("read", path, &cause))?;
    let broken = Mutex::new(None);
    let elements = Elements::new(file, MOST_BYTES).map_while(|element| {
        element
            .map_err(|what| *broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(what))
            .ok()
    });
    let mut entries: Vec<_> = elements
        .par_bridge()
        .map(|element| {
            let span = Span { offset: element.offset, length: element.bytes.len() };
            (span, index(&element.bytes))
        })
        .collect();
    entries.sort_by_key(|(span, _)| span.offset);
    let broken = broken.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Content { entries, broken })
}

/// Adds the annotations of an element, each to the images that it is of.
fn add(
    file: &Arc<Path>,
    span: Span,
    entry: &Entry,
    (tags, place): (&[ImageTag], &str),
    sources: &mut Sources,
) {
    if entry.annotations.is_empty() {
        sources.unlabelled += 1;
        return;
    }
    for (number, summary) in entry.annotations.iter().enumerate() {
        let place = match summary.id {
            Some(id) => format!("annotation {id} in {place}"),
            None => place.to_owned(),
        };
        let images = match images_of(&entry.data, summary, tags) {
            Ok(images) => images,
            Err(what) => {
                sources.skipped.push(Skipped::fault(place, what));
                continue;
            }
        };
        if !summary.was_cancelled {
            sources.labels.extend(summary.labels.iter().cloned());
        }
        for (to_name, image) in images {
            let drawing =
                Drawing::Regions { file: file.clone(), span, annotation: number, to_name };
            let annotation = Annotation {
                id: summary.id,
                task: entry.task,
                created_at: summary.created_at.clone(),
                updated_at: summary.updated_at.clone(),
                was_cancelled: summary.was_cancelled,
                ground_truth: summary.ground_truth,
                regions: summary.regions,
                counted: entry.counted,
                is_listed: entry.form == Form::Task,
                file: file.clone(),
                place: place.clone(),
                drawing,
            };
            sources.found.push(Found { image: ImageName::Reference(image), annotation });
        }
    }
}

/// The images of a task, with the name of the `<Image>` where there are several.
fn images_of(
    data: &BTreeMap<String, String>,
    summary: &Summary,
    tags: &[ImageTag],
) -> Result<Vec<(Option<String>, String)>, String> {
    let keys = || data.keys().cloned().collect::<Vec<_>>().join(", ");
    if !tags.is_empty() {
        let there: Vec<_> =
            tags.iter().filter_map(|tag| Some((tag, data.get(&tag.key)?))).collect();
        return match there[..] {
            [] => Err(format!(
                "the task's data have no {}, which the labelling configuration shows as image; they have {}",
                tags.iter().map(|tag| tag.key.as_str()).collect::<Vec<_>>().join(" or "),
                keys()
            )),
            [(_, image)] if tags.len() == 1 => Ok(vec![(None, image.clone())]),
            _ => Ok(there
                .iter()
                .map(|(tag, image)| (Some(tag.name.clone()), (*image).clone()))
                .collect()),
        };
    }
    let likely: Vec<_> = data.iter().filter(|(_, value)| is_image(value)).collect();
    let named: Vec<_> = likely.iter().filter(|(key, _)| summary.images.contains(*key)).collect();
    match (&likely[..], &named[..]) {
        ([(_, image)], _) | (_, [(_, image)]) => Ok(vec![(None, (*image).clone())]),
        ([], _) => Err(format!("the task's data name no image; they have {}", keys())),
        _ => Err(format!(
            "the task's data name several images ({}); which is meant says the labelling configuration: give it \
             with --label-config",
            likely.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>().join(", ")
        )),
    }
}

/// Whether a value of a task is the name of an image.
fn is_image(value: &str) -> bool {
    let path = value.split(['?', '#']).next().unwrap_or(value).to_ascii_lowercase();
    let ends = |text: &str| EXTENSIONS.iter().any(|extension| text.ends_with(extension));
    ends(&path)
        || ends(&value.to_ascii_lowercase())
        || ["s3://", "/data/upload/", "/data/local-files/"]
            .iter()
            .any(|start| value.starts_with(start))
        || value.contains("/resolve/?fileuri=")
        || value.contains("/presign/?fileuri=")
}
