//! Grouping of annotations by the image that they belong to.

use std::collections::{BTreeMap, BTreeSet};

use super::file_index::{FileIndex, FileMatch, NotFound};
use super::reference::is_data_url;
use super::select::Annotation;
use super::sources::{FoundAnnotation, ImageName, SkippedEntry};
use crate::error::{MAX_EXAMPLE_CHARS, Problems, join_examples, shorten_text};

/// Annotations grouped by image.
#[derive(Debug, Default)]
pub(super) struct GroupedAnnotations {
    /// Annotations by image index.
    pub by_image: BTreeMap<usize, Vec<Annotation>>,
    /// Names of images that are not in the folder, each with its number of regions.
    pub missing: BTreeMap<String, usize>,
    /// Missing images for which a file of the same name exists in another folder: name to that
    /// path.
    pub other_folder_paths: BTreeMap<String, String>,
    /// Images that two annotations with different references match, and annotations that can have
    /// no image of the folder.
    pub conflicts: Vec<SkippedEntry>,
    pub warnings: Vec<String>,
}

impl GroupedAnnotations {
    /// Adds an annotation whose image is not in the folder.
    fn add_missing(&mut self, found: FoundAnnotation) {
        let regions = found.annotation.mask_source.region_count();
        *self.missing.entry(found.image_name.into_string()).or_default() += regions;
    }

    /// Returns the number of images that annotations name.
    pub(super) fn image_count(&self) -> usize {
        let mut count = self.by_image.len() + self.missing.len();
        for entry in &self.conflicts {
            count += entry.lost_images;
        }
        count
    }
}

/// Reason of an annotation whose image is a data URL.
const DATA_URL_REASON: &str = "has the image itself (a data URL) in place of a name, and images \
                               are read from files only: save it as a file below --images, and \
                               name that file instead";

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
        if is_data_url(found.image_name.as_str()) {
            let regions = found.annotation.mask_source.region_count();
            let entry = SkippedEntry::fault(found.annotation.location, DATA_URL_REASON);
            grouped.conflicts.push(entry.with_losses(1, regions));
            continue;
        }
        match find_image(&found.image_name, images, same_folder_only) {
            Ok(file_match) => {
                let matches = matches_by_image.entry(file_match.file_index).or_default();
                matches.push(MatchedAnnotation { file_match, found });
            }
            Err(NotFound::Missing) => grouped.add_missing(found),
            Err(NotFound::OtherFolder(path)) => {
                grouped.other_folder_paths.insert(found.image_name.as_str().to_owned(), path);
                grouped.add_missing(found);
            }
            Err(NotFound::Ambiguous { paths, .. }) => {
                ambiguous.insert(found.image_name.into_string(), paths);
            }
        }
    }
    for (image, paths) in ambiguous {
        let image = shorten_text(&image, MAX_EXAMPLE_CHARS);
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
        ImageName::Reference(_) | ImageName::ExportedName(_) => match name.parse_reference() {
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
    let matches = remove_second_masks(image_key, matches, grouped);
    let mut most_folders = 0;
    for MatchedAnnotation { file_match, .. } in &matches {
        most_folders = most_folders.max(file_match.common_folders);
    }
    if let Some((first, second)) = conflicting_names(&matches, most_folders) {
        let first = shorten_text(first, MAX_EXAMPLE_CHARS);
        let second = shorten_text(second, MAX_EXAMPLE_CHARS);
        let reason =
            format!("is the only image that {first} and {second} could mean, and those are two");
        let mut regions = 0;
        for MatchedAnnotation { found, .. } in &matches {
            regions += found.annotation.mask_source.region_count();
        }
        grouped.conflicts.push(SkippedEntry::fault(image_key, reason).with_losses(1, regions));
        return Vec::new();
    }
    let mut accepted = Vec::new();
    for MatchedAnnotation { file_match, found } in matches {
        if file_match.is_other_folder {
            if file_match.common_folders < most_folders {
                grouped.add_missing(found);
                continue;
            }
            matched_by_name.insert(format!("{image_key} for {}", found.image_name.as_str()));
        }
        accepted.push(found.annotation);
    }
    accepted
}

/// Removes masks that are named after the whole name of an image (`a.jpg.png`) if there is one of
/// its plain name (`a.png`), which is the image's.
fn remove_second_masks(
    image_key: &str,
    matches: Vec<MatchedAnnotation>,
    grouped: &mut GroupedAnnotations,
) -> Vec<MatchedAnnotation> {
    let Some(plain_mask) = plain_mask_location(&matches) else { return matches };
    let mut kept = Vec::new();
    for matched in matches {
        if matched.file_match.is_whole_name {
            let reason = format!(
                "is named after the whole name of the image {image_key}, which has the mask \
                 {plain_mask}; keep one of the two"
            );
            let location = matched.found.annotation.location;
            // The image has the other mask.
            grouped.conflicts.push(SkippedEntry::fault(location, reason).with_losses(0, 1));
        } else {
            kept.push(matched);
        }
    }
    kept
}

/// Returns the location of an image's mask that has the image's name without its extension.
fn plain_mask_location(matches: &[MatchedAnnotation]) -> Option<String> {
    for MatchedAnnotation { file_match, found } in matches {
        if !file_match.is_whole_name && !file_match.is_other_folder {
            return Some(found.annotation.location.clone());
        }
    }
    None
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
