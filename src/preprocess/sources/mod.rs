//! Readers of the folder of annotations. The content of a file decides its format. A reader records
//! the image and the position of each annotation; regions are read later, image by image.

mod coco;
mod format;
mod ground_truth;
mod label_studio;
mod masks;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

pub use self::format::AnnotationFormat;
use super::file_index::FileIndex;
use super::reference::FileReference;
use super::select::Annotation;
use crate::annotations::label_config::ImageTag;
use crate::error::{Error, Problems};
use crate::files;

/// Largest number of names that a message lists.
const MAX_EXAMPLES: usize = 5;

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
}

impl SkippedEntry {
    /// Makes an entry that a user should repair.
    pub fn fault(subject: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { subject: subject.into(), reason: reason.into(), is_fault: true }
    }

    /// Makes an entry that needs no repair.
    pub fn expected(subject: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { is_fault: false, ..Self::fault(subject, reason) }
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
    /// `<Image>` tags of the labeling configuration; empty without one.
    pub image_tags: &'a [ImageTag],
    /// Attribute of Ground Truth's manifests, needed if a line has several.
    pub attribute: Option<&'a str>,
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
    /// Returns true if all annotations are masks of ids without label names.
    pub(super) fn has_only_unnamed_masks(&self) -> bool {
        self.labels.is_empty() && self.formats.contains(&AnnotationFormat::Masks)
    }
}

/// Reads all annotations. A file that is unusable as a whole is a problem; a single bad object
/// among many is skipped.
pub fn read_annotations(search: &SearchOptions<'_>, problems: &mut Problems) -> AnnotationSources {
    let mut sources = AnnotationSources::default();
    let mut by_format = find_files(search.folder, &mut sources.skipped, problems);
    choose_format(&mut by_format, search, &mut sources.warnings, problems);
    for (format, paths) in &by_format {
        sources.formats.insert(*format);
        match format {
            AnnotationFormat::LabelStudio => {
                label_studio::read_label_studio(paths, search, &mut sources, problems);
            }
            AnnotationFormat::Coco => coco::read_coco(paths, &mut sources, problems),
            AnnotationFormat::GroundTruth => {
                // Masks lie anywhere below the folder; the ends of their references are the ends of
                // their paths.
                let masks = FileIndex::from_folder(search.folder, problems);
                ground_truth::read_ground_truth(
                    paths,
                    &masks,
                    search.attribute,
                    &mut sources,
                    problems,
                );
            }
            AnnotationFormat::Masks => masks::read_masks(paths, search.folder, &mut sources),
        }
    }
    sources
}

/// Returns the files below a folder by their format, sorted. Files of no known format are skipped.
fn find_files(
    folder: &Path,
    skipped: &mut Vec<SkippedEntry>,
    problems: &mut Problems,
) -> BTreeMap<AnnotationFormat, Vec<PathBuf>> {
    let mut listed_files = Vec::new();
    files::visit_files(folder, problems, &mut |path, bytes| {
        // S3 stands for folders by objects without bytes.
        if bytes > 0 {
            listed_files.push(path);
        }
    });
    listed_files.sort();
    let mut by_format: BTreeMap<AnnotationFormat, Vec<PathBuf>> = BTreeMap::new();
    for path in listed_files {
        let Some(head) = problems.record_err(read_head(&path)) else { continue };
        match format::detect_format(&head) {
            Ok(AnnotationFormat::LabelStudio) if is_coco_file(&head, &path) => {
                by_format.entry(AnnotationFormat::Coco).or_default().push(path);
            }
            Ok(format) => by_format.entry(format).or_default().push(path),
            Err(reason) => skipped.push(SkippedEntry::fault(path.display().to_string(), reason)),
        }
    }
    by_format
}

/// Returns true if a file that looks like a task of Label Studio is COCO. With sorted keys COCO's
/// `annotations` come first, and the keys that only COCO has may come after the head.
fn is_coco_file(head: &[u8], path: &Path) -> bool {
    !format::is_json_array(head) && File::open(path).is_ok_and(crate::annotations::coco::is_coco)
}

/// Reduces the formats to the requested one, or to the only one. Masks beside documents belong to
/// the documents.
fn choose_format(
    by_format: &mut BTreeMap<AnnotationFormat, Vec<PathBuf>>,
    search: &SearchOptions<'_>,
    warnings: &mut Vec<String>,
    problems: &mut Problems,
) {
    let folder = search.folder.display();
    if let Some(format) = search.format {
        by_format.retain(|other_format, _| *other_format == format);
        if by_format.is_empty() {
            problems.push(format!("{folder} holds no annotations of the format {}", format.name()));
        }
        return;
    }
    let has_masks = by_format.contains_key(&AnnotationFormat::Masks);
    let document_count = by_format.len() - usize::from(has_masks);
    if document_count > 1 {
        problems.push(format!(
            "{folder} holds annotations of several formats: {}; say which is meant with --format",
            describe_formats(by_format)
        ));
    }
    if document_count > 0
        && let Some(masks) = by_format.remove(&AnnotationFormat::Masks)
        && !by_format.contains_key(&AnnotationFormat::GroundTruth)
    {
        warnings.push(format!(
            "{} PNG files beside the annotations are not looked at ({}); --format masks takes them \
             instead",
            masks.len(),
            join_examples(masks.iter().map(|path| path.display().to_string()))
        ));
    }
    if by_format.is_empty() {
        problems.push(format!(
            "{folder} holds no annotations; expected are objects or exports of Label Studio \
             (JSON), COCO JSON, manifests of Ground Truth with their masks, or PNG masks"
        ));
    }
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

/// Joins the first few names, and appends the number of further ones.
pub(super) fn join_examples(names: impl IntoIterator<Item = String>) -> String {
    let names: Vec<String> = names.into_iter().collect();
    let shown = names[..names.len().min(MAX_EXAMPLES)].join(", ");
    if names.len() <= MAX_EXAMPLES {
        return shown;
    }
    format!("{shown} and {} more", names.len() - MAX_EXAMPLES)
}

impl ImageName {
    /// Parses the name as a reference, which can be compared with paths of images.
    pub fn parse_reference(&self) -> Option<FileReference> {
        match self {
            Self::Reference(text) | Self::SamePath(text) => FileReference::parse(text),
        }
    }

    pub fn as_str(&self) -> &str {
        match self {
            Self::Reference(text) | Self::SamePath(text) => text,
        }
    }

    pub(super) fn into_string(self) -> String {
        match self {
            Self::Reference(text) | Self::SamePath(text) => text,
        }
    }
}
