//! What stands in the folder of annotations: every file is known by its content, and what it says about which
//! image is kept; what was drawn is read again, image by image.

mod coco;
mod format;
mod ground_truth;
mod label_studio;
mod masks;

use std::collections::{BTreeMap, BTreeSet};
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

/// How many files a message names.
const MAX_EXAMPLES: usize = 5;

/// An annotation and the image that it is of.
#[derive(Debug)]
pub struct FoundAnnotation {
    /// The image as the annotation calls it.
    pub image_name: ImageName,
    /// What is known of the annotation.
    pub annotation: Annotation,
}

/// How an annotation names its image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageName {
    /// By a path or an address.
    Reference(String),
    /// By having the same path without extension, below another folder.
    SamePath(String),
}

/// Something that was not used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedEntry {
    /// An image, a file, or a place in one.
    pub subject: String,
    /// Why.
    pub reason: String,
    /// Whether somebody should mend it; what was not labeled yet, or was skipped by its annotator, is as it should be.
    pub is_fault: bool,
}

impl SkippedEntry {
    /// Something that somebody should mend.
    pub fn fault(subject: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { subject: subject.into(), reason: reason.into(), is_fault: true }
    }

    /// Something that is as it should be.
    pub fn expected(subject: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { is_fault: false, ..Self::fault(subject, reason) }
    }
}

/// How annotations are looked for.
#[derive(Debug, Clone, Copy)]
pub struct SearchOptions<'a> {
    /// The folder of annotations.
    pub folder: &'a Path,
    /// Only this format.
    pub format: Option<AnnotationFormat>,
    /// The images of a labeling configuration, if there is one.
    pub image_tags: &'a [ImageTag],
    /// The attribute of Ground Truth's manifests, where a line has several.
    pub attribute: Option<&'a str>,
}

/// All that the annotations say.
#[derive(Debug, Default)]
pub struct AnnotationSources {
    /// What there is.
    pub formats: BTreeSet<AnnotationFormat>,
    /// Annotations and their images, in the order of files and in them.
    pub annotations: Vec<FoundAnnotation>,
    /// The names of labels.
    pub labels: BTreeSet<String>,
    /// What was not used.
    pub skipped: Vec<SkippedEntry>,
    /// Tasks that nobody labeled yet.
    pub unlabeled_tasks: usize,
    /// What somebody should know.
    pub warnings: Vec<String>,
}

/// Reads all annotations. What makes a whole file unusable is a problem; a single bad object among many is skipped.
pub fn read_annotations(search: &SearchOptions<'_>, problems: &mut Problems) -> AnnotationSources {
    let mut listed_files = Vec::new();
    files::visit_files(search.folder, problems, &mut |path, bytes| {
        listed_files.push((path, bytes));
    });
    listed_files.sort();
    let mut sources = AnnotationSources::default();
    let mut by_format: BTreeMap<AnnotationFormat, Vec<PathBuf>> = BTreeMap::new();
    for (path, bytes) in listed_files {
        // Objects without bytes stand for folders in S3.
        if bytes == 0 {
            continue;
        }
        let head = read_head(&path);
        match problems.record_err(head).map(|head| format::detect_format(&head)) {
            Some(Ok(format)) => {
                let format =
                    if is_coco_file(format, &path) { AnnotationFormat::Coco } else { format };
                by_format.entry(format).or_default().push(path);
            }
            Some(Err(reason)) => {
                sources.skipped.push(SkippedEntry::fault(path.display().to_string(), reason));
            }
            None => {}
        }
    }
    choose_format(&mut by_format, search, &mut sources, problems);
    sources.formats = by_format.keys().copied().collect();
    for (format, paths) in &by_format {
        match format {
            AnnotationFormat::LabelStudio => {
                label_studio::read_label_studio(paths, search, &mut sources, problems);
            }
            AnnotationFormat::Coco => coco::read_coco(paths, &mut sources, problems),
            AnnotationFormat::GroundTruth => {
                // Masks lie anywhere below; their references end as their paths do.
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

/// Whether what looks like a task of Label Studio is COCO: with its keys sorted the `annotations` come first, and
/// what tells them apart far behind.
fn is_coco_file(format: AnnotationFormat, path: &Path) -> bool {
    format == AnnotationFormat::LabelStudio
        && read_head(path).is_ok_and(|head| !format::is_json_array(&head))
        && File::open(path).is_ok_and(crate::annotations::coco::is_coco)
}

/// Leaves one format: the one asked for, or the only one. Masks beside documents belong to those.
fn choose_format(
    by_format: &mut BTreeMap<AnnotationFormat, Vec<PathBuf>>,
    search: &SearchOptions<'_>,
    sources: &mut AnnotationSources,
    problems: &mut Problems,
) {
    if let Some(format) = search.format {
        by_format.retain(|other_format, _| *other_format == format);
        if by_format.is_empty() {
            problems.push(format!(
                "{} holds no annotations of the format {}",
                search.folder.display(),
                format.name()
            ));
        }
        return;
    }
    let document_formats =
        by_format.keys().filter(|format| **format != AnnotationFormat::Masks).count();
    if document_formats > 1 {
        let format_texts: Vec<String> = by_format
            .iter()
            .map(|(format, paths)| {
                let first = paths.first().map_or(String::new(), |path| path.display().to_string());
                format!("{} ({first})", format.name())
            })
            .collect();
        problems.push(format!(
            "{} holds annotations of several formats: {}; say which is meant with --format",
            search.folder.display(),
            format_texts.join(", ")
        ));
    }
    if document_formats > 0
        && let Some(masks) = by_format.remove(&AnnotationFormat::Masks)
        && !by_format.contains_key(&AnnotationFormat::GroundTruth)
    {
        sources.warnings.push(format!(
            "{} PNG files beside the annotations are not looked at ({}); --format masks takes them instead",
            masks.len(),
            join_examples(masks.iter().map(|path| path.display().to_string()))
        ));
    }
    if document_formats == 0 && !by_format.contains_key(&AnnotationFormat::Masks) {
        problems.push(format!(
            "{} holds no annotations; expected are objects or exports of Label Studio (JSON), COCO JSON, manifests \
             of Ground Truth with their masks, or PNG masks",
            search.folder.display()
        ));
    }
}

fn read_head(path: &Path) -> Result<Vec<u8>, Error> {
    let mut head = Vec::new();
    File::open(path)
        .and_then(|file| file.take(format::HEAD_BYTES as u64).read_to_end(&mut head))
        .map_err(|cause| Error::io("read", path, &cause))?;
    Ok(head)
}

/// The first few, and how many more there are.
pub(super) fn join_examples(names: impl IntoIterator<Item = String>) -> String {
    let names: Vec<String> = names.into_iter().collect();
    let shown = names.iter().take(MAX_EXAMPLES).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MAX_EXAMPLES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

impl ImageName {
    /// As a reference, to be compared with the names of images.
    pub fn parse_reference(&self) -> Option<FileReference> {
        match self {
            Self::Reference(text) | Self::SamePath(text) => FileReference::parse(text),
        }
    }

    /// For messages.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Reference(text) | Self::SamePath(text) => text,
        }
    }
}
