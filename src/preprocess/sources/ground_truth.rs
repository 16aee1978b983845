//! Reader of Ground Truth's output manifests: one JSON object per line names an image and a mask.

use std::collections::HashSet;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::side_files::manifest_job_folder;
use super::stoppable::StoppableFile;
use super::{AnnotationSources, FoundAnnotation, ImageName, SearchOptions, SkippedEntry};
use crate::data::color_map::{ColorMap, ColorMaps};
use crate::data::manifest_lines::{
    IMAGE_KEY, MAX_LINE_BYTES, ManifestLine, ManifestLineError, ManifestLines,
};
use crate::error::{Error, MAX_EXAMPLE_CHARS, Problems, shorten_text};
use crate::preprocess::classes::is_background;
use crate::preprocess::file_index::{FileIndex, NotFound};
use crate::preprocess::rasterize::MaskSource;
use crate::preprocess::reference::FileReference;
use crate::preprocess::select::Annotation;

/// Type of a labeling job whose annotations are masks.
const MASK_TYPE: &str = "groundtruth/semantic-segmentation";

/// Largest number of characters of a job's type in a message.
const MAX_TYPE_CHARS: usize = 80;

pub(super) fn read_ground_truth(
    paths: &[PathBuf],
    masks: &FileIndex,
    search: &SearchOptions<'_>,
    sources: &mut AnnotationSources,
    problems: &mut Problems,
) {
    let mut reader = ManifestReader {
        masks,
        search: *search,
        color_maps: ColorMaps::default(),
        seen_labels: HashSet::new(),
        known_images: HashSet::new(),
        failed_lines: Vec::new(),
        sources,
    };
    for path in paths {
        problems.record_err(reader.read_manifest(path));
    }
    reader.count_lost_images();
}

/// Reader of manifests, which may share color maps.
struct ManifestReader<'a> {
    /// Files below the folder of annotations.
    masks: &'a FileIndex,
    search: SearchOptions<'a>,
    color_maps: ColorMaps,
    /// Labels of the lines that were read.
    seen_labels: HashSet<LineLabel>,
    /// References of the images of lines that can be used.
    known_images: HashSet<String>,
    failed_lines: Vec<FailedLine>,
    sources: &'a mut AnnotationSources,
}

/// Line that cannot be used. Its image is lost only if no other line about it can be.
#[derive(Debug)]
struct FailedLine {
    /// Index of its entry among the skipped ones.
    entry_index: usize,
    /// Reference of the image as written.
    image: String,
}

/// Label of a line. Manifests of one job repeat lines of each other; lines of equal labels say the
/// same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct LineLabel {
    /// Reference of the image as written.
    image: String,
    /// Path of the mask.
    mask: PathBuf,
    color_map: Option<Arc<ColorMap>>,
    /// Time at which the label was made. A mask may count again after another was made.
    created_at: String,
}

/// Lines of one manifest that give no annotation of their own.
#[derive(Debug, Default)]
struct UnusedLines {
    /// Number of lines that repeat earlier ones.
    repeated: usize,
    /// Number of lines without a mask.
    unlabeled: usize,
    /// Type of another labeling job than a semantic segmentation, on a line without a mask.
    other_type: Option<String>,
}

impl ManifestReader<'_> {
    fn read_manifest(&mut self, path: &Path) -> Result<(), Error> {
        let file: Arc<Path> = Arc::from(path);
        let input = BufReader::new(StoppableFile::open(path, self.search.stop)?);
        let mut unused = UnusedLines::default();
        let mut used_count = 0;
        for line in ManifestLines::new(input) {
            let ManifestLine { number, object } = match line {
                Ok(line) => line,
                Err(ManifestLineError::Read(cause)) => {
                    return Err(Error::io("read", path, &cause));
                }
                Err(ManifestLineError::TooLong { number }) => {
                    return Err(Error::input(format!(
                        "{}: line {number} has {MAX_LINE_BYTES} bytes or more",
                        path.display()
                    )));
                }
            };
            let location = format!("line {number} of {}", path.display());
            let object = match object {
                Ok(object) => object,
                Err(message) => {
                    self.skip_line(location, message, None);
                    continue;
                }
            };
            match self.add_line(&object, &file, &location, &mut unused) {
                Ok(()) => used_count += 1,
                Err(message) => {
                    self.skip_line(location, message, string_value(&object, IMAGE_KEY).ok());
                }
            }
        }
        let is_unlabeled = used_count == unused.unlabeled;
        self.report_unused_lines(path, unused, is_unlabeled);
        Ok(())
    }

    /// Skips a line that cannot be used. One without the name of its image counts as an image.
    fn skip_line(&mut self, location: String, message: String, image: Option<&str>) {
        let mut lost_images = 1;
        if let Some(image) = image {
            // These images are counted when all lines are known.
            lost_images = 0;
            let entry_index = self.sources.skipped.len();
            self.failed_lines.push(FailedLine { entry_index, image: image.to_owned() });
        }
        let entry = SkippedEntry::fault(location, message).with_losses(lost_images, 1);
        self.sources.skipped.push(entry);
    }

    /// Counts each image of which no line can be used as lost, with the first of its lines.
    fn count_lost_images(self) {
        let mut counted_images = self.known_images;
        for line in self.failed_lines {
            if counted_images.insert(line.image)
                && let Some(entry) = self.sources.skipped.get_mut(line.entry_index)
            {
                entry.lost_images = 1;
            }
        }
    }

    /// Adds the annotation of a line. Lines without an annotation of their own are counted in
    /// `unused`.
    fn add_line(
        &mut self,
        object: &Map<String, Value>,
        file: &Arc<Path>,
        location: &str,
        unused: &mut UnusedLines,
    ) -> Result<(), String> {
        let image = string_value(object, IMAGE_KEY)?;
        let Some(attribute) = choose_attribute(object, self.search.attribute)? else {
            unused.unlabeled += 1;
            if unused.other_type.is_none() {
                unused.other_type = other_job_type(object);
            }
            return Ok(());
        };
        let mask = self.find_mask(string_value(object, attribute)?, file)?;
        let color_map = self.color_maps.parse_line(object, attribute)?;
        self.known_images.insert(image.to_owned());
        let created_at = creation_date(object, attribute);
        let label = LineLabel {
            image: image.to_owned(),
            mask: mask.clone(),
            color_map: color_map.clone(),
            created_at: created_at.clone(),
        };
        if !self.seen_labels.insert(label) {
            unused.repeated += 1;
            return Ok(());
        }
        let mask_source = match color_map {
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
        let annotation =
            Annotation::without_metadata(file.clone(), location.to_owned(), mask_source);
        self.sources.annotations.push(FoundAnnotation {
            image_name: ImageName::Reference(image.to_owned()),
            annotation: Annotation { created_at, ..annotation },
        });
        Ok(())
    }

    /// Tells which lines of a manifest gave no annotation. `is_unlabeled` is true if none did.
    fn report_unused_lines(&mut self, path: &Path, unused: UnusedLines, is_unlabeled: bool) {
        let UnusedLines { repeated, unlabeled, other_type } = unused;
        let subject = path.display().to_string();
        if repeated > 0 {
            let reason =
                format!("{repeated} lines repeat earlier ones (same image, mask and date)");
            let entry = SkippedEntry::expected(subject.clone(), reason);
            self.sources.skipped.push(entry.with_losses(0, repeated));
        }
        match other_type {
            Some(job_type) if is_unlabeled => {
                let reason = format!(
                    "its {unlabeled} lines have no masks: the labeling job is of the type \
                     {job_type}; expected is {MASK_TYPE}, whose lines have an attribute that ends \
                     in -ref"
                );
                self.sources.skipped.push(SkippedEntry::fault(subject, reason));
            }
            _ => self.sources.unlabeled_tasks += unlabeled,
        }
    }

    /// Returns the path of the mask that a line refers to.
    fn find_mask(&self, reference: &str, manifest: &Path) -> Result<PathBuf, String> {
        let found = match FileReference::parse(reference) {
            Some(parsed) => self.masks.find(&parsed, false),
            None => Err(NotFound::Missing),
        };
        let reference = shorten_text(reference, MAX_EXAMPLE_CHARS);
        match found {
            Ok(file_match) => Ok(self.masks.path(file_match.file_index)),
            Err(NotFound::Missing | NotFound::OtherFolder(_)) => {
                Err(format!("has the mask {reference}, which is not in the folder of annotations"))
            }
            Err(NotFound::Ambiguous { paths, .. }) => {
                // Jobs that lie side by side have their own masks, each in its own folder.
                if let Some(mask) = only_mask_of_job(&paths, manifest, self.search.folder) {
                    return Ok(self.search.folder.join(mask));
                }
                Err(format!("has the mask {reference}, which may be {}", paths.join(" or ")))
            }
        }
    }
}

/// Returns the text of an attribute, which must not be empty.
fn string_value<'a>(object: &'a Map<String, Value>, key: &str) -> Result<&'a str, String> {
    match object.get(key) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        Some(other) => {
            let other = other.to_string();
            let other = shorten_text(&other, MAX_EXAMPLE_CHARS);
            Err(format!("has {key} {other}; expected is a path or an S3 URI"))
        }
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

/// Returns the only path below `root` that lies in the folder of the job that wrote `manifest`.
fn only_mask_of_job<'a>(paths: &'a [String], manifest: &Path, root: &Path) -> Option<&'a str> {
    let job = manifest_job_folder(manifest)?;
    let mut own_masks = paths.iter().filter(|path| root.join(path).starts_with(&job));
    let only_mask = own_masks.next()?;
    if own_masks.next().is_some() { None } else { Some(only_mask) }
}

/// Returns the time at which an annotation was made, in ISO 8601; empty if its metadata lack it.
fn creation_date(object: &Map<String, Value>, attribute: &str) -> String {
    let metadata = object.get(&format!("{attribute}-metadata"));
    let date = metadata.and_then(|metadata| metadata.get("creation-date"));
    date.and_then(Value::as_str).unwrap_or_default().trim().to_owned()
}

/// Returns the type of a labeling job that makes no masks, from the metadata of a line.
fn other_job_type(object: &Map<String, Value>) -> Option<String> {
    for (key, value) in object {
        if !key.ends_with("-metadata") {
            continue;
        }
        if let Some(job_type) = value.get("type").and_then(Value::as_str)
            && job_type.starts_with("groundtruth/")
            && job_type != MASK_TYPE
        {
            return Some(job_type.chars().take(MAX_TYPE_CHARS).collect());
        }
    }
    None
}
