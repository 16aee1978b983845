//! Which annotations are of which image.

use std::collections::{BTreeMap, BTreeSet};

use super::folder::{Folder, Match, NotFound};
use super::select::Annotation;
use super::sources::{Found, ImageName, Skipped, examples};
use crate::error::Problems;

/// Annotations by the image that they are of.
#[derive(Debug, Default)]
pub(super) struct Grouped {
    /// By the image's number.
    pub by_image: BTreeMap<usize, Vec<Annotation>>,
    /// Names of images that are not here.
    pub missing: BTreeSet<String>,
    /// Of those the ones that have the file's name of an image in another folder, with that image's path.
    pub elsewhere: BTreeMap<String, String>,
    /// Images that annotations of different files could only mean.
    pub conflicts: Vec<Skipped>,
    /// What somebody should know.
    pub warnings: Vec<String>,
}

/// Finds the image of every annotation. One that lies in another folder than the annotation says does where it is the
/// only one of its name and no other annotation fits it better; with `strictly` it never does, because the one that is
/// meant may be on another instance.
pub(super) fn group(
    found: Vec<Found>,
    images: &Folder,
    strictly: bool,
    problems: &mut Problems,
) -> Grouped {
    let mut grouped = Grouped::default();
    let mut by_image: BTreeMap<usize, Vec<(Match, Found)>> = BTreeMap::new();
    let mut ambiguous: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for found in found {
        let place = match &found.image {
            ImageName::SamePath(path) => images.find_same_path(path, strictly),
            ImageName::Reference(_) => found
                .image
                .reference()
                .ok_or(NotFound::Missing)
                .and_then(|reference| images.find(&reference, strictly)),
        };
        let name = found.image.text().to_owned();
        match place {
            Ok(place) => by_image.entry(place.file).or_default().push((place, found)),
            Err(NotFound::Missing) => {
                grouped.missing.insert(name);
            }
            Err(NotFound::Elsewhere(path)) => {
                grouped.missing.insert(name.clone());
                grouped.elsewhere.insert(name, path);
            }
            Err(NotFound::Ambiguous(paths)) => {
                ambiguous.insert(name, paths);
            }
        }
    }
    for (image, paths) in ambiguous {
        problems.push(format!(
            "the annotation's image {image} may be {}; keep one, or give a folder with --images in which only one fits",
            examples(paths)
        ));
    }
    let mut guessed = BTreeSet::new();
    for (image, all) in by_image {
        let longest = all.iter().map(|(place, _)| place.folders).max().unwrap_or(0);
        if let Some((one, other)) = two_files(&all, longest) {
            let reason =
                format!("is the only image that {one} and {other} could mean, and those are two");
            grouped.conflicts.push(Skipped::fault(images.key(image), reason));
            continue;
        }
        for (place, found) in all {
            let name = found.image.text();
            if place.strays && place.folders < longest {
                grouped.missing.insert(name.to_owned());
                continue;
            }
            if place.strays {
                guessed.insert(format!("{} for {name}", images.key(image)));
            }
            grouped.by_image.entry(image).or_default().push(found.annotation);
        }
    }
    if !guessed.is_empty() {
        grouped.warnings.push(format!(
            "images were taken by their names, from other folders than the annotations say: {}",
            examples(guessed)
        ));
    }
    grouped
}

/// Two names among those that fit an image best which cannot both be its.
fn two_files(all: &[(Match, Found)], longest: usize) -> Option<(String, String)> {
    let best = all.iter().filter(|(place, _)| !place.strays || place.folders == longest);
    let named: Vec<_> = best
        .filter_map(|(_, found)| Some((found.image.text(), found.image.reference()?)))
        .collect();
    let (first, reference) = named.first()?;
    let (other, _) = named.iter().find(|(_, other)| !other.may_be(reference))?;
    Some(((*first).to_owned(), (*other).to_owned()))
}
