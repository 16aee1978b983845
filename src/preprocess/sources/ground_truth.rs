//! Output manifests of Ground Truth: one JSON object per line, which names an image and a mask.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::{AnnotationSources, FoundAnnotation, ImageName, SkippedEntry};
use crate::data::color_map::ColorMaps;
use crate::error::{Error, Problems};
use crate::preprocess::classes::is_background;
use crate::preprocess::file_index::{FileIndex, NotFound};
use crate::preprocess::rasterize::MaskSource;
use crate::preprocess::reference::FileReference;
use crate::preprocess::select::Annotation;

/// The attribute of the image.
const IMAGE_KEY: &str = "source-ref";

/// Bytes that a line may have: Ground Truth's metadata are a few thousand.
const MAX_LINE_BYTES: u64 = 1 << 20;

pub(super) fn read_ground_truth(
    paths: &[PathBuf],
    masks: &FileIndex,
    attribute: Option<&str>,
    sources: &mut AnnotationSources,
    problems: &mut Problems,
) {
    let mut color_maps = ColorMaps::default();
    for path in paths {
        let visited = visit_lines(path, |number, line| {
            let location = format!("line {number} of {}", path.display());
            match parse_manifest_line(line, (masks, attribute), &mut color_maps, sources) {
                Ok(Some((image, mask_source))) => sources.annotations.push(FoundAnnotation {
                    image_name: ImageName::Reference(image),
                    annotation: Annotation {
                        id: None,
                        task_id: None,
                        created_at: String::new(),
                        updated_at: String::new(),
                        was_cancelled: false,
                        ground_truth: false,
                        region_count: 1,
                        task_annotation_count: None,
                        is_in_task_list: false,
                        file: Arc::from(path.as_path()),
                        location,
                        mask_source,
                    },
                }),
                Ok(None) => sources.unlabeled_tasks += 1,
                Err(message) => sources.skipped.push(SkippedEntry::fault(location, message)),
            }
        });
        problems.record_err(visited);
    }
}

fn visit_lines(path: &Path, mut visit: impl FnMut(usize, &[u8])) -> Result<(), Error> {
    let read_error = |cause: std::io::Error| Error::io("read", path, &cause);
    let mut input = BufReader::new(File::open(path).map_err(read_error)?);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if input.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line).map_err(read_error)?
            == 0
        {
            break;
        }
        if line.len() as u64 == MAX_LINE_BYTES {
            // What follows is the middle of a line.
            return Err(Error::input(format!(
                "{}: line {number} has {MAX_LINE_BYTES} bytes or more",
                path.display()
            )));
        }
        let trimmed = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&line).trim_ascii();
        if !trimmed.is_empty() {
            visit(number, trimmed);
        }
    }
    Ok(())
}

/// The image of a line and its mask; none if nobody labeled it yet.
fn parse_manifest_line(
    line: &[u8],
    (masks, requested): (&FileIndex, Option<&str>),
    color_maps: &mut ColorMaps,
    sources: &mut AnnotationSources,
) -> Result<Option<(String, MaskSource)>, String> {
    let object: Map<String, Value> =
        serde_json::from_slice(line).map_err(|cause| format!("is no JSON object: {cause}"))?;
    let string_value = |key: &str| match object.get(key) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
        Some(other) => Err(format!("has {key} {other}; expected is a path or an S3 URI")),
        None => Err(format!("has no {key}")),
    };
    let image = string_value(IMAGE_KEY)?;
    let mask_keys: Vec<&String> =
        object.keys().filter(|key| key.ends_with("-ref") && *key != IMAGE_KEY).collect();
    let attribute = match (requested, &mask_keys[..]) {
        (Some(name), _) if object.contains_key(name) => name,
        (Some(_), _) | (None, []) => return Ok(None),
        (None, [only_key]) => only_key.as_str(),
        (None, keys) => {
            return Err(format!(
                "has several annotations, {}; say which is meant with --attribute",
                keys.iter().map(|key| key.as_str()).collect::<Vec<_>>().join(" and ")
            ));
        }
    };
    let reference = string_value(attribute)?;
    let mask_match = FileReference::parse(&reference)
        .ok_or(NotFound::Missing)
        .and_then(|parsed| masks.find(&parsed, false));
    let mask = match mask_match {
        Ok(file_match) => masks.path(file_match.file_index),
        Err(NotFound::Missing | NotFound::OtherFolder(_)) => {
            return Err(format!(
                "has the mask {reference}, which is not in the folder of annotations"
            ));
        }
        Err(NotFound::Ambiguous(paths)) => {
            return Err(format!("has the mask {reference}, which may be {}", paths.join(" or ")));
        }
    };
    let mask_source = match color_maps.parse_line(&object, attribute)? {
        Some(color_map) => {
            let names = color_map.names().filter(|name| !is_background(name)).map(str::to_owned);
            sources.labels.extend(names);
            MaskSource::ColorMask { mask, color_map }
        }
        None => MaskSource::Mask(mask),
    };
    Ok(Some((image, mask_source)))
}
