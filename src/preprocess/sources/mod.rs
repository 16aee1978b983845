//! What stands in the folder of annotations: every file is known by its content, and what it says about which
//! image is kept; what was drawn is read again, image by image.

mod coco;
mod ground_truth;
mod kind;
mod label_studio;
mod masks;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

pub use self::kind::Format;
use super::folder::Folder;
use super::reference::Reference;
use super::select::Annotation;
use crate::annotations::label_config::ImageTag;
use crate::error::{Error, Problems};
use crate::files;

/// How many files a message names.
const EXAMPLES: usize = 5;

/// An annotation and the image that it is of.
#[derive(Debug)]
pub struct Found {
    /// The image as the annotation calls it.
    pub image: ImageName,
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
pub struct Skipped {
    /// An image, a file, or a place in one.
    pub what: String,
    /// Why.
    pub reason: String,
    /// Whether somebody should mend it; what was not labelled yet, or was skipped by its annotator, is as it should be.
    pub is_fault: bool,
}

impl Skipped {
    /// Something that somebody should mend.
    pub fn fault(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { what: what.into(), reason: reason.into(), is_fault: true }
    }

    /// Something that is as it should be.
    pub fn proper(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { is_fault: false, ..Self::fault(what, reason) }
    }
}

/// How annotations are looked for.
#[derive(Debug, Clone, Copy)]
pub struct Search<'a> {
    /// The folder of annotations.
    pub folder: &'a Path,
    /// Only this format.
    pub format: Option<Format>,
    /// The images of a labelling configuration, if there is one.
    pub images: &'a [ImageTag],
    /// The attribute of Ground Truth's manifests, where a line has several.
    pub attribute: Option<&'a str>,
}

/// All that the annotations say.
#[derive(Debug, Default)]
pub struct Sources {
    /// What there is.
    pub formats: BTreeSet<Format>,
    /// Annotations and their images, in the order of files and in them.
    pub found: Vec<Found>,
    /// The names of labels.
    pub labels: BTreeSet<String>,
    /// What was not used.
    pub skipped: Vec<Skipped>,
    /// Tasks that nobody labelled yet.
    pub unlabelled: usize,
    /// What somebody should know.
    pub warnings: Vec<String>,
}

/// Reads all annotations. What makes a whole file unusable is a problem; a single bad object among many is skipped.
pub fn read(search: &Search<'_>, problems: &mut Problems) -> Sources {
    let mut listed = Vec::new();
    files::below(search.folder, problems, &mut |path, bytes| listed.push((path, bytes)));
    listed.sort();
    let mut sources = Sources::default();
    let mut by_format: BTreeMap<Format, Vec<PathBuf>> = BTreeMap::new();
    for (path, bytes) in listed {
        // Objects without bytes stand for folders in S3.
        if bytes == 0 {
            continue;
        }
        let head = head(&path);
        match problems.check(head).map(|head| kind::format_of(&head)) {
            Some(Ok(format)) => {
                let format = if is_coco(format, &path) { Format::Coco } else { format };
                by_format.entry(format).or_default().push(path);
            }
            Some(Err(reason)) => {
                sources.skipped.push(Skipped::fault(path.display().to_string(), reason));
            }
            None => {}
        }
    }
    choose_format(&mut by_format, search, &mut sources, problems);
    sources.formats = by_format.keys().copied().collect();
    for (format, paths) in &by_format {
        match format {
            Format::LabelStudio => label_studio::read(paths, search, &mut sources, problems),
            Format::Coco => coco::read(paths, &mut sources, problems),
            Format::GroundTruth => {
                // Masks lie anywhere below; their references end as their paths do.
                let masks = Folder::list(search.folder, problems);
                ground_truth::read(paths, &masks, search.attribute, &mut sources, problems);
            }
            Format::Masks => masks::read(paths, search.folder, &mut sources),
        }
    }
    sources
}

/// Whether what looks like a task of Label Studio is COCO: with its keys sorted the `annotations` come first, and
/// what tells them apart far behind.
fn is_coco(format: Format, path: &Path) -> bool {
    format == Format::LabelStudio
        && head(path).is_ok_and(|head| !kind::is_list(&head))
        && File::open(path).is_ok_and(crate::annotations::coco::is_coco)
}

/// Leaves one format: the one asked for, or the only one. Masks beside documents belong to those.
fn choose_format(
    by_format: &mut BTreeMap<Format, Vec<PathBuf>>,
    search: &Search<'_>,
    sources: &mut Sources,
    problems: &mut Problems,
) {
    if let Some(format) = search.format {
        by_format.retain(|found, _| *found == format);
        if by_format.is_empty() {
            problems.push(format!(
                "{} holds no annotations of the format {}",
                search.folder.display(),
                format.name()
            ));
        }
        return;
    }
    let documents = by_format.keys().filter(|format| **format != Format::Masks).count();
    if documents > 1 {
        let kinds: Vec<String> = by_format
            .iter()
            .map(|(format, paths)| {
                let first = paths.first().map_or(String::new(), |path| path.display().to_string());
                format!("{} ({first})", format.name())
            })
            .collect();
        problems.push(format!(
            "{} holds annotations of several formats: {}; say which is meant with --format",
            search.folder.display(),
            kinds.join(", ")
        ));
    }
    if documents > 0
        && let Some(masks) = by_format.remove(&Format::Masks)
        && !by_format.contains_key(&Format::GroundTruth)
    {
        sources.warnings.push(format!(
            "{} PNG files beside the annotations are not looked at ({}); --format masks takes them instead",
            masks.len(),
            examples(masks.iter().map(|path| path.display().to_string()))
        ));
    }
    if documents == 0 && !by_format.contains_key(&Format::Masks) {
        problems.push(format!(
            "{} holds no annotations; expected are objects or exports of Label Studio (JSON), COCO JSON, manifests \
             of Ground Truth with their masks, or PNG masks",
            search.folder.display()
        ));
    }
}

fn head(path: &Path) -> Result<Vec<u8>, Error> {
    let mut head = Vec::new();
    File::open(path)
        .and_then(|file| file.take(kind::HEAD as u64).read_to_end(&mut head))
        .map_err(|cause| Error::io("read", path, &cause))?;
    Ok(head)
}

/// The first few, and how many more there are.
pub(super) fn examples(names: impl IntoIterator<Item = String>) -> String {
    let names: Vec<String> = names.into_iter().collect();
    let shown = names.iter().take(EXAMPLES).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(EXAMPLES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

impl ImageName {
    /// As a reference, to be compared with the names of images.
    pub fn reference(&self) -> Option<Reference> {
        match self {
            Self::Reference(text) | Self::SamePath(text) => Reference::parse(text),
        }
    }

    /// For messages.
    pub fn text(&self) -> &str {
        match self {
            Self::Reference(text) | Self::SamePath(text) => text,
        }
    }
}
