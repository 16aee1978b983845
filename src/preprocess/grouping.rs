//! Which annotations are of which image.

use std::collections::{BTreeMap, BTreeSet};

use super::file_index::{FileIndex, FileMatch, NotFound};
use super::select::Annotation;
use super::sources::{FoundAnnotation, ImageName, SkippedEntry, join_examples};
use crate::error::Problems;

/// Annotations by the image that they are of.
#[derive(Debug, Default)]
pub(super) struct GroupedAnnotations {
    /// By the image's number.
    pub by_image: BTreeMap<usize, Vec<Annotation>>,
    /// Names of images that are not here.
    pub missing: BTreeSet<String>,
    /// Of those the ones that have the file's name of an image in another folder, with that image's path.
    pub other_folder_paths: BTreeMap<String, String>,
    /// Images that annotations of different files could only mean.
    pub conflicts: Vec<SkippedEntry>,
    /// What somebody should know.
    pub warnings: Vec<String>,
}

/// Finds the image of every annotation. One that lies in another folder than the annotation says does where it is the
/// only one of its name and no other annotation fits it better; with `strictly` it never does, because the one that is
/// meant may be on another instance.
pub(super) fn group_by_image(
    found: Vec<FoundAnnotation>,
    images: &FileIndex,
    same_folder_only: bool,
    problems: &mut Problems,
) -> GroupedAnnotations {
    let mut grouped = GroupedAnnotations::default();
    let mut by_image: BTreeMap<usize, Vec<(FileMatch, FoundAnnotation)>> = BTreeMap::new();
    let mut ambiguous: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for found in found {
        let file_match = match &found.image_name {
            ImageName::SamePath(path) => images.find_same_path(path, same_folder_only),
            ImageName::Reference(_) => found
                .image_name
                .parse_reference()
                .ok_or(NotFound::Missing)
                .and_then(|reference| images.find(&reference, same_folder_only)),
        };
        let name = found.image_name.as_str().to_owned();
        match file_match {
            Ok(file_match) => {
                by_image.entry(file_match.file_index).or_default().push((file_match, found));
            }
            Err(NotFound::Missing) => {
                grouped.missing.insert(name);
            }
            Err(NotFound::OtherFolder(path)) => {
                grouped.missing.insert(name.clone());
                grouped.other_folder_paths.insert(name, path);
            }
            Err(NotFound::Ambiguous(paths)) => {
                ambiguous.insert(name, paths);
            }
        }
    }
    for (image, paths) in ambiguous {
        problems.push(format!(
            "the annotation's image {image} may be {}; keep one, or give a folder with --images in which only one fits",
            join_examples(paths)
        ));
    }
    let mut matched_by_name = BTreeSet::new();
    for (image_index, matches) in by_image {
        let most_folders =
            matches.iter().map(|(file_match, _)| file_match.common_folders).max().unwrap_or(0);
        if let Some((first, second)) = conflicting_names(&matches, most_folders) {
            let reason = format!(
                "is the only image that {first} and {second} could mean, and those are two"
            );
            grouped.conflicts.push(SkippedEntry::fault(images.key(image_index), reason));
            continue;
        }
        for (file_match, found) in matches {
            let name = found.image_name.as_str();
            if file_match.is_other_folder && file_match.common_folders < most_folders {
                grouped.missing.insert(name.to_owned());
                continue;
            }
            if file_match.is_other_folder {
                matched_by_name.insert(format!("{} for {name}", images.key(image_index)));
            }
            grouped.by_image.entry(image_index).or_default().push(found.annotation);
        }
    }
    if !matched_by_name.is_empty() {
        grouped.warnings.push(format!(
            "images were taken by their names, from other folders than the annotations say: {}",
            join_examples(matched_by_name)
        ));
    }
    grouped
}

/// Two names among those that fit an image best which cannot both be its.
fn conflicting_names(
    matches: &[(FileMatch, FoundAnnotation)],
    most_folders: usize,
) -> Option<(String, String)> {
    let best_matches = matches.iter().filter(|(file_match, _)| {
        !file_match.is_other_folder || file_match.common_folders == most_folders
    });
    let references: Vec<_> = best_matches
        .filter_map(|(_, found)| {
            Some((found.image_name.as_str(), found.image_name.parse_reference()?))
        })
        .collect();
    let (first, reference) = references.first()?;
    let (other, _) = references.iter().find(|(_, other)| !other.may_match(reference))?;
    Some(((*first).to_owned(), (*other).to_owned()))
}
