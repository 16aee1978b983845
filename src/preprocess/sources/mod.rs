//! Readers of the folder of annotations. The content of a file decides its format. A reader records
//! the image and the position of each annotation; regions are read later, image by image.
//!
//! | subject | files |
//! |---|---|
//! | the format of a file | `format.rs` |
//! | readers, one per format | `label_studio.rs`, `coco.rs`, `ground_truth.rs`, `masks.rs` |
//! | files that cannot be read, by name and fix | `foreign_file.rs`, `other_tools.rs` |
//! | files that are expected beside annotations | `side_files.rs` |
//! | the end of reading after a request to stop | `stoppable.rs` |

mod coco;
mod foreign_file;
mod format;
mod ground_truth;
mod label_studio;
mod masks;
mod other_tools;
mod side_files;
mod stoppable;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use self::foreign_file::describe_skipped_files;
pub use self::format::AnnotationFormat;
use self::format::FormatError;
use self::side_files::{LabelingJobs, NamedFiles, is_side_file};
use self::stoppable::StoppableFile;
use super::file_index::FileIndex;
use super::reference::FileReference;
use super::select::Annotation;
use crate::annotations::label_config::LabelConfig;
use crate::error::{
    Error, MAX_EXAMPLE_CHARS, MAX_PROBLEM_CHARS, Problems, join_examples, shorten_text,
};
use crate::files;
use crate::sagemaker::StopSignal;

/// Annotation with the name of its image.
#[derive(Debug)]
pub struct FoundAnnotation {
    pub image_name: ImageName,
    pub annotation: Annotation,
}

/// Way in which an annotation names its image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageName {
    /// Path or address of the image.
    Reference(String),
    /// The same in a file that Label Studio's converter wrote, where mere names may be those of
    /// uploads.
    ExportedName(String),
    /// Path of the annotation's file without extension; the image has the same path below its own
    /// folder.
    SamePath(String),
}

/// Image, annotation or file that was not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedEntry {
    /// Path of an image or a file, or a location in a file.
    pub subject: String,
    pub reason: String,
    /// True if a user should repair it. Tasks that are not labeled yet, or that an annotator
    /// skipped, are no faults.
    pub is_fault: bool,
    /// Number of images that are not written because of it: 0 or 1.
    pub lost_images: usize,
    /// Number of regions that are in no mask because of it.
    pub lost_regions: usize,
}

impl SkippedEntry {
    /// Makes an entry that a user should repair. Texts of users in it are cut.
    pub fn fault(subject: impl Into<String>, reason: impl Into<String>) -> Self {
        let subject = shorten_text(&subject.into(), MAX_EXAMPLE_CHARS).into_owned();
        let reason = shorten_text(&reason.into(), MAX_PROBLEM_CHARS).into_owned();
        Self { subject, reason, is_fault: true, lost_images: 0, lost_regions: 0 }
    }

    /// Makes an entry that needs no repair.
    pub fn expected(subject: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { is_fault: false, ..Self::fault(subject, reason) }
    }

    /// Sets the numbers of images and regions that are lost with the entry.
    pub(super) fn with_losses(mut self, images: usize, regions: usize) -> Self {
        self.lost_images = images;
        self.lost_regions = regions;
        self
    }
}

impl fmt::Display for SkippedEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.reason)
    }
}

/// Settings for reading a folder of annotations.
#[derive(Debug, Clone, Copy)]
pub struct SearchOptions<'a> {
    pub folder: &'a Path,
    /// Only format to read; `None` detects it.
    pub format: Option<AnnotationFormat>,
    /// Labeling configuration or `labels.json`, if one is given.
    pub label_config: Option<&'a LabelConfig>,
    /// Attribute of Ground Truth's manifests, needed if a line has several.
    pub attribute: Option<&'a str>,
    /// Files that other flags name, such as the labeling configuration, which are no annotations.
    pub named_files: &'a [&'a Path],
    /// Request to stop, after which the reading ends early.
    pub stop: &'a StopSignal,
}

/// Content of a folder of annotations.
#[derive(Debug, Default)]
pub struct AnnotationSources {
    /// Formats that were read.
    pub formats: BTreeSet<AnnotationFormat>,
    /// Annotations in the order of the sorted files and of their content.
    pub annotations: Vec<FoundAnnotation>,
    /// Names of the labels that annotations use.
    pub labels: BTreeSet<String>,
    /// Entries that were not used, with the reasons.
    pub skipped: Vec<SkippedEntry>,
    /// Number of tasks without annotations.
    pub unlabeled_tasks: usize,
    pub warnings: Vec<String>,
}

impl AnnotationSources {
    /// Returns the number of regions that were found, those of skipped entries among them.
    pub(super) fn region_count(&self) -> usize {
        let mut total = 0;
        for found in &self.annotations {
            total += found.annotation.mask_source.region_count();
        }
        for entry in &self.skipped {
            total += entry.lost_regions;
        }
        total
    }

    /// Returns true if all annotations are masks of ids without label names. Ground Truth's are
    /// such masks if its manifests have no color maps.
    pub(super) fn has_only_unnamed_masks(&self) -> bool {
        let have_masks = self.formats.contains(&AnnotationFormat::Masks)
            || self.formats.contains(&AnnotationFormat::GroundTruth);
        self.labels.is_empty() && have_masks
    }
}

/// Reads all annotations. A file that is unusable as a whole is a problem; a single bad object
/// among many is skipped. After a request to stop the result is not complete.
pub fn read_annotations(search: &SearchOptions<'_>, problems: &mut Problems) -> AnnotationSources {
    let mut sources = AnnotationSources::default();
    let mut found = find_files(search, &mut sources.skipped, problems);
    choose_format(&mut found, search, &mut sources, problems);
    for (format, paths) in &found.by_format {
        sources.formats.insert(*format);
        match format {
            AnnotationFormat::LabelStudio => {
                label_studio::read_label_studio(paths, search, &mut sources, problems);
            }
            AnnotationFormat::Coco => coco::read_coco(paths, search, &mut sources, problems),
            AnnotationFormat::GroundTruth => {
                // Masks lie anywhere below the folder; the ends of their references are the ends of
                // their paths.
                let masks = FileIndex::from_folder(search.folder, search.stop, problems);
                ground_truth::read_ground_truth(paths, &masks, search, &mut sources, problems);
            }
            AnnotationFormat::Masks => masks::read_masks(paths, search.folder, &mut sources),
        }
    }
    sources
}

/// Files below the folder of annotations.
#[derive(Debug, Default)]
struct FoundFiles {
    /// Sorted paths by format.
    by_format: BTreeMap<AnnotationFormat, Vec<PathBuf>>,
    /// Pictures that can be no masks. They are faults among masks, and expected beside documents.
    pictures: Vec<SkippedEntry>,
}

/// Returns the files below the folder. Files of no known format are skipped.
fn find_files(
    search: &SearchOptions<'_>,
    skipped: &mut Vec<SkippedEntry>,
    problems: &mut Problems,
) -> FoundFiles {
    let mut listed_files = Vec::new();
    let is_stopped = || search.stop.is_requested();
    files::visit_files_until(search.folder, &is_stopped, problems, &mut |path, bytes| {
        // S3 stands for folders by objects without bytes.
        if bytes > 0 {
            listed_files.push(path);
        }
    });
    listed_files.sort();
    let named_files = NamedFiles::find(search.folder, search.named_files);
    let mut jobs = LabelingJobs::find(&listed_files);
    let mut found = FoundFiles::default();
    for path in listed_files {
        if search.stop.is_requested() {
            break;
        }
        if named_files.contains(&path) || jobs.take_working_file(&path) {
            continue;
        }
        let Some(head) = problems.record_err(read_head(&path)) else { continue };
        match format::detect_format(&head) {
            Ok(AnnotationFormat::LabelStudio) if is_coco_file(&head, &path, search.stop) => {
                found.by_format.entry(AnnotationFormat::Coco).or_default().push(path);
            }
            Ok(format) => found.by_format.entry(format).or_default().push(path),
            Err(FormatError::Picture(reason)) => {
                found.pictures.push(SkippedEntry::fault(path.display().to_string(), reason));
            }
            Err(reason) => skipped.push(skip_file(&path, reason)),
        }
    }
    skipped.extend(jobs.into_skipped());
    found
}

/// Returns the entry of a file that holds no annotations. Texts for people are expected, unless
/// their content is another tool's.
fn skip_file(path: &Path, reason: FormatError) -> SkippedEntry {
    let subject = path.display().to_string();
    match reason {
        FormatError::Unknown(reason) if is_side_file(path) => {
            SkippedEntry::expected(subject, reason)
        }
        FormatError::Unknown(reason)
        | FormatError::Picture(reason)
        | FormatError::OtherTool(reason) => SkippedEntry::fault(subject, reason),
    }
}

/// Returns true if a file that looks like a task of Label Studio is COCO. With sorted keys COCO's
/// `annotations` come first, and the keys that only COCO has may come after the head.
fn is_coco_file(head: &[u8], path: &Path, stop: &StopSignal) -> bool {
    !format::is_json_array(head)
        && StoppableFile::open(path, stop).is_ok_and(crate::annotations::coco::is_coco)
}

/// Reduces the formats to the requested one, or to the only one. Masks and other pictures beside
/// documents belong to the documents.
fn choose_format(
    found: &mut FoundFiles,
    search: &SearchOptions<'_>,
    sources: &mut AnnotationSources,
    problems: &mut Problems,
) {
    let FoundFiles { by_format, pictures } = found;
    let folder = search.folder.display();
    let found_formats = describe_formats(by_format);
    if let Some(format) = search.format {
        by_format.retain(|other_format, _| *other_format == format);
    }
    let has_masks = by_format.contains_key(&AnnotationFormat::Masks);
    let document_count = by_format.len() - usize::from(has_masks);
    if document_count == 0 {
        sources.skipped.append(pictures);
    }
    let skipped = describe_skipped_files(&sources.skipped);
    if let Some(format) = search.format {
        if by_format.is_empty() {
            let mut message =
                format!("{folder} holds no annotations of the format {}", format.name());
            if !found_formats.is_empty() {
                message = format!("{message}; there are {found_formats}");
            }
            problems.push(message + &skipped);
        }
        return;
    }
    if document_count > 1 {
        problems.push(format!(
            "{folder} holds annotations of several formats: {found_formats}; say which is meant \
             with --format"
        ));
    }
    if document_count > 0 {
        let masks = by_format.remove(&AnnotationFormat::Masks).unwrap_or_default();
        if !by_format.contains_key(&AnnotationFormat::GroundTruth) {
            sources.warnings.extend(describe_unread_pictures(&masks, pictures));
        }
    }
    if by_format.is_empty() {
        problems.push(format!(
            "{folder} holds no annotations; expected are objects or exports of Label Studio \
             (JSON), COCO JSON, manifests of Ground Truth with their masks, or PNG masks{skipped}"
        ));
    }
}

/// Returns the warning about pictures beside documents, if there are any. `masks` are the PNG files
/// among them.
fn describe_unread_pictures(masks: &[PathBuf], others: &[SkippedEntry]) -> Option<String> {
    let mut names = Vec::new();
    for path in masks {
        names.push(path.display().to_string());
    }
    for entry in others {
        names.push(entry.subject.clone());
    }
    if names.is_empty() {
        return None;
    }
    let count = names.len();
    let kind = if others.is_empty() { "PNG" } else { "image" };
    let mut text = format!(
        "{count} {kind} files beside the annotations are not looked at ({})",
        join_examples(names)
    );
    if others.is_empty() {
        text.push_str("; --format masks takes them instead");
    } else if !masks.is_empty() {
        text.push_str("; --format masks takes the PNG files instead");
    }
    Some(text)
}

/// Returns the names of the formats, each with the path of a file.
fn describe_formats(by_format: &BTreeMap<AnnotationFormat, Vec<PathBuf>>) -> String {
    let mut texts = Vec::new();
    for (format, paths) in by_format {
        if let Some(path) = paths.first() {
            texts.push(format!("{} ({})", format.name(), path.display()));
        }
    }
    texts.join(", ")
}

fn read_head(path: &Path) -> Result<Vec<u8>, Error> {
    let mut head = Vec::new();
    match File::open(path)
        .and_then(|file| file.take(format::HEAD_BYTES as u64).read_to_end(&mut head))
    {
        Ok(_) => Ok(head),
        Err(cause) => Err(Error::io("read", path, &cause)),
    }
}

impl ImageName {
    /// Parses the name as a reference, which can be compared with paths of images.
    pub fn parse_reference(&self) -> Option<FileReference> {
        match self {
            Self::Reference(text) | Self::SamePath(text) => FileReference::parse(text),
            Self::ExportedName(text) => FileReference::parse_exported_name(text),
        }
    }

    pub fn as_str(&self) -> &str {
        match self {
            Self::Reference(text) | Self::ExportedName(text) | Self::SamePath(text) => text,
        }
    }

    pub(super) fn into_string(self) -> String {
        match self {
            Self::Reference(text) | Self::ExportedName(text) | Self::SamePath(text) => text,
        }
    }
}
