//! Reader of Ground Truth's output manifests: one JSON object per line names an image and a mask.

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

/// Attribute of the image.
const IMAGE_KEY: &str = "source-ref";

/// Longest line, in bytes. Ground Truth's metadata have a few thousand.
const MAX_LINE_BYTES: u64 = 1 << 20;

pub(super) fn read_ground_truth(
    paths: &[PathBuf],
    masks: &FileIndex,
    attribute: Option<&str>,
    sources: &mut AnnotationSources,
    problems: &mut Problems,
) {
    let mut reader = ManifestReader { masks, attribute, color_maps: ColorMaps::default(), sources };
    for path in paths {
        problems.record_err(reader.read_manifest(path));
    }
}

/// Reader of manifests, which may share color maps.
struct ManifestReader<'a> {
    /// Files below the folder of annotations.
    masks: &'a FileIndex,
    /// Attribute to read, needed if a line has several.
    attribute: Option<&'a str>,
    color_maps: ColorMaps,
    sources: &'a mut AnnotationSources,
}

impl ManifestReader<'_> {
    fn read_manifest(&mut self, path: &Path) -> Result<(), Error> {
        let file: Arc<Path> = Arc::from(path);
        let mut input = match File::open(path) {
            Ok(opened) => BufReader::new(opened),
            Err(cause) => return Err(Error::io("read", path, &cause)),
        };
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            match input.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line) {
                Ok(0) => break,
                Ok(_) => {}
                Err(cause) => return Err(Error::io("read", path, &cause)),
            }
            if line.len() as u64 == MAX_LINE_BYTES {
                // The next read would start in the middle of a line.
                return Err(Error::input(format!(
                    "{}: line {number} has {MAX_LINE_BYTES} bytes or more",
                    path.display()
                )));
            }
            let trimmed = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&line).trim_ascii();
            if !trimmed.is_empty() {
                let location = format!("line {number} of {}", path.display());
                self.add_line(trimmed, &file, location);
            }
        }
        Ok(())
    }

    fn add_line(&mut self, line: &[u8], file: &Arc<Path>, location: String) {
        match self.parse_line(line) {
            Ok(Some((image, mask_source))) => self.sources.annotations.push(FoundAnnotation {
                image_name: ImageName::Reference(image),
                annotation: Annotation::without_metadata(file.clone(), location, mask_source),
            }),
            Ok(None) => self.sources.unlabeled_tasks += 1,
            Err(message) => self.sources.skipped.push(SkippedEntry::fault(location, message)),
        }
    }

    /// Returns the image of a line and its mask, or `None` if the line is not labeled yet.
    fn parse_line(&mut self, line: &[u8]) -> Result<Option<(String, MaskSource)>, String> {
        let object: Map<String, Value> = match serde_json::from_slice(line) {
            Ok(object) => object,
            Err(cause) => return Err(format!("is no JSON object: {cause}")),
        };
        let image = string_value(&object, IMAGE_KEY)?;
        let Some(attribute) = choose_attribute(&object, self.attribute)? else { return Ok(None) };
        let mask = self.find_mask(string_value(&object, attribute)?)?;
        let mask_source = match self.color_maps.parse_line(&object, attribute)? {
            Some(color_map) => {
                for name in color_map.names() {
                    if !is_background(name) {
                        self.sources.labels.insert(name.to_owned());
                    }
                }
                MaskSource::ColorMask { mask, color_map }
            }
            None => MaskSource::Mask(mask),
        };
        Ok(Some((image.to_owned(), mask_source)))
    }

    /// Returns the path of the mask that a line refers to.
    fn find_mask(&self, reference: &str) -> Result<PathBuf, String> {
        let found = match FileReference::parse(reference) {
            Some(parsed) => self.masks.find(&parsed, false),
            None => Err(NotFound::Missing),
        };
        match found {
            Ok(file_match) => Ok(self.masks.path(file_match.file_index)),
            Err(NotFound::Missing | NotFound::OtherFolder(_)) => {
                Err(format!("has the mask {reference}, which is not in the folder of annotations"))
            }
            Err(NotFound::Ambiguous(paths)) => {
                Err(format!("has the mask {reference}, which may be {}", paths.join(" or ")))
            }
        }
    }
}

/// Returns the text of an attribute, which must not be empty.
fn string_value<'a>(object: &'a Map<String, Value>, key: &str) -> Result<&'a str, String> {
    match object.get(key) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        Some(other) => Err(format!("has {key} {other}; expected is a path or an S3 URI")),
        None => Err(format!("has no {key}")),
    }
}

/// Returns the attribute of a line's mask: the requested one, or the only one. `None` if the line
/// is not labeled yet.
fn choose_attribute<'a>(
    object: &'a Map<String, Value>,
    requested: Option<&'a str>,
) -> Result<Option<&'a str>, String> {
    if let Some(name) = requested {
        return Ok(object.contains_key(name).then_some(name));
    }
    let mut mask_keys = Vec::new();
    for key in object.keys() {
        if key.ends_with("-ref") && key != IMAGE_KEY {
            mask_keys.push(key.as_str());
        }
    }
    match mask_keys[..] {
        [] => Ok(None),
        [only_key] => Ok(Some(only_key)),
        _ => Err(format!(
            "has several annotations, {}; say which is meant with --attribute",
            mask_keys.join(" and ")
        )),
    }
}
