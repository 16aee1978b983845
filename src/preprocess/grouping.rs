//! Grouping of annotations by the image that they belong to.

use std::collections::{BTreeMap, BTreeSet};

use super::file_index::{FileIndex, FileMatch, NotFound};
use super::select::Annotation;
use super::sources::{FoundAnnotation, ImageName, SkippedEntry, join_examples};
use crate::error::Problems;

/// Annotations grouped by image.
#[derive(Debug, Default)]
pub(super) struct GroupedAnnotations {
    /// Annotations by image index.
    pub by_image: BTreeMap<usize, Vec<Annotation>>,
    /// Names of images that are not in the folder.
    pub missing: BTreeSet<String>,
    /// Missing images for which a file of the same name exists in another folder: name to that
    /// path.
    pub other_folder_paths: BTreeMap<String, String>,
    /// Images that two annotations with different references match.
    pub conflicts: Vec<SkippedEntry>,
    pub warnings: Vec<String>,
}

/// Annotation with the file that matches its image's name.
struct MatchedAnnotation {
    file_match: FileMatch,
    found: FoundAnnotation,
}

/// Finds the image of every annotation. An image in another folder than the annotation says is
/// accepted if no other image has its name and no other annotation matches it better;
/// `same_folder_only` refuses it always, because another instance may have the image that is meant.
pub(super) fn group_by_image(
    found: Vec<FoundAnnotation>,
    images: &FileIndex,
    same_folder_only: bool,
    problems: &mut Problems,
) -> GroupedAnnotations {
    let mut grouped = GroupedAnnotations::default();
    let matches_by_image = match_images(found, images, same_folder_only, &mut grouped, problems);
    let mut matched_by_name = BTreeSet::new();
    for (image_index, matches) in matches_by_image {
        let image_key = images.key(image_index);
        let accepted = accept_matches(&image_key, matches, &mut grouped, &mut matched_by_name);
        if !accepted.is_empty() {
            grouped.by_image.insert(image_index, accepted);
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

/// Returns the annotations by the index of the image that matches best. Names without a match are
/// added to `grouped.missing`, and names with several matches are problems.
fn match_images(
    found: Vec<FoundAnnotation>,
    images: &FileIndex,
    same_folder_only: bool,
    grouped: &mut GroupedAnnotations,
    problems: &mut Problems,
) -> BTreeMap<usize, Vec<MatchedAnnotation>> {
    let mut matches_by_image: BTreeMap<usize, Vec<MatchedAnnotation>> = BTreeMap::new();
    let mut ambiguous: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for found in found {
        match find_image(&found.image_name, images, same_folder_only) {
            Ok(file_match) => {
                let matches = matches_by_image.entry(file_match.file_index).or_default();
                matches.push(MatchedAnnotation { file_match, found });
            }
            Err(NotFound::Missing) => {
                grouped.missing.insert(found.image_name.into_string());
            }
            Err(NotFound::OtherFolder(path)) => {
                let name = found.image_name.into_string();
                grouped.missing.insert(name.clone());
                grouped.other_folder_paths.insert(name, path);
            }
            Err(NotFound::Ambiguous(paths)) => {
                ambiguous.insert(found.image_name.into_string(), paths);
            }
        }
    }
    for (image, paths) in ambiguous {
        problems.push(format!(
            "the annotation's image {image} may be {}; keep one, or give a folder with --images in \
             which only one fits",
            join_examples(paths)
        ));
    }
    matches_by_image
}

fn find_image(
    name: &ImageName,
    images: &FileIndex,
    same_folder_only: bool,
) -> Result<FileMatch, NotFound> {
    match name {
        ImageName::SamePath(path) => images.find_same_path(path, same_folder_only),
        ImageName::Reference(_) => match name.parse_reference() {
            Some(reference) => images.find(&reference, same_folder_only),
            None => Err(NotFound::Missing),
        },
    }
}

/// Returns the annotations that belong to the image `image_key`. Annotations of another folder's
/// image are missing if others match better, and none is accepted if the best contradict each
/// other. Adds accepted images of other folders to `matched_by_name`.
fn accept_matches(
    image_key: &str,
    matches: Vec<MatchedAnnotation>,
    grouped: &mut GroupedAnnotations,
    matched_by_name: &mut BTreeSet<String>,
) -> Vec<Annotation> {
    let mut most_folders = 0;
    for MatchedAnnotation { file_match, .. } in &matches {
        most_folders = most_folders.max(file_match.common_folders);
    }
    if let Some((first, second)) = conflicting_names(&matches, most_folders) {
        let reason =
            format!("is the only image that {first} and {second} could mean, and those are two");
        grouped.conflicts.push(SkippedEntry::fault(image_key, reason));
        return Vec::new();
    }
    let mut accepted = Vec::new();
    for MatchedAnnotation { file_match, found } in matches {
        if file_match.is_other_folder {
            if file_match.common_folders < most_folders {
                grouped.missing.insert(found.image_name.into_string());
                continue;
            }
            matched_by_name.insert(format!("{image_key} for {}", found.image_name.as_str()));
        }
        accepted.push(found.annotation);
    }
    accepted
}

/// Returns two references among the best matches of an image that cannot mean the same file.
fn conflicting_names(matches: &[MatchedAnnotation], most_folders: usize) -> Option<(&str, &str)> {
    let mut first = None;
    for MatchedAnnotation { file_match, found } in matches {
        if file_match.is_other_folder && file_match.common_folders < most_folders {
            continue;
        }
        let Some(reference) = found.image_name.parse_reference() else { continue };
        let name = found.image_name.as_str();
        match &first {
            None => first = Some((name, reference)),
            Some((first_name, first_reference)) if !reference.may_match(first_reference) => {
                return Some((*first_name, name));
            }
            Some(_) => {}
        }
    }
    None
}
