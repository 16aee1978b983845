//! Hints at files whose names are nearly that of an image that is not there.

use std::collections::{BTreeSet, HashMap};

use super::file_index::{FileIndex, file_stem, has_image_extension};
use super::reference::{FileReference, PathReading, strip_upload_prefix};
use crate::error::join_examples;
use crate::files::normalize_name;

/// Number of files of one fold that are looked at. Hundreds of folders may hold a file of the same
/// name, and a hint that lists them says nothing.
const MAX_CANDIDATES: usize = 5;

/// Files of a folder by what is left of their names without case, extension, spaces and
/// normalization.
#[derive(Debug)]
pub(super) struct NearNames<'a> {
    images: &'a FileIndex,
    /// First files of each name's fold, and of each fold of the last folder and the name.
    files_by_fold: HashMap<String, Vec<usize>>,
}

impl<'a> NearNames<'a> {
    pub(super) fn new(images: &'a FileIndex) -> Self {
        let mut files_by_fold: HashMap<String, Vec<usize>> = HashMap::new();
        for file_index in 0..images.len() {
            let name_fold = fold_name(images.file_name(file_index));
            let key = images.key(file_index);
            let mut folds = Vec::new();
            if let Some(folder) = key.rsplit('/').nth(1) {
                folds.push(fold_in_folder(folder, &name_fold));
            }
            folds.push(name_fold);
            for fold in folds {
                let files = files_by_fold.entry(fold).or_default();
                if files.len() < MAX_CANDIDATES {
                    files.push(file_index);
                }
            }
        }
        Self { images, files_by_fold }
    }

    /// Returns a part of a sentence about the files that an image's name may mean with a slip of
    /// the pen, or nothing if there are none.
    pub(super) fn hint(&self, image_name: &str) -> String {
        let Some(reference) = FileReference::parse(image_name) else { return String::new() };
        let mut near_names = BTreeSet::new();
        for reading in reference.readings() {
            near_names.extend(self.find_near(reading, reading.file_name()));
            if reading.is_upload
                && let Some(own_name) = strip_upload_prefix(reading.file_name())
            {
                near_names.extend(self.find_near(reading, own_name));
            }
        }
        if !near_names.is_empty() {
            return format!(
                "; near it is {}, whose name differs in case, extension, spaces, underscores or \
                 plus signs: if that is the image, rename it, or mend the annotation",
                join_examples(near_names)
            );
        }
        for reading in reference.readings() {
            let Some(own_name) = strip_upload_prefix(reading.file_name()) else { continue };
            near_names.extend(self.find_near(reading, own_name));
            near_names.extend(self.find_equal(reading, own_name));
        }
        if near_names.is_empty() {
            return String::new();
        }
        format!(
            "; without the 8 digits before its name it could be {}, but those are taken off only \
             where Label Studio put them, from uploads (/data/upload/): if that is the image, \
             rename it, or mend the annotation",
            join_examples(near_names)
        )
    }

    /// Returns the paths of files whose names are nearly but not exactly `name`.
    fn find_near(&self, reading: &PathReading, name: &str) -> Vec<String> {
        self.find_files(reading, name, |own_name| own_name != name)
    }

    fn find_equal(&self, reading: &PathReading, name: &str) -> Vec<String> {
        self.find_files(reading, name, |own_name| own_name == name)
    }

    /// Returns the wanted files of the name's fold: those in a folder of the same name as the
    /// reading's if there are any, otherwise some of all folders.
    fn find_files(
        &self,
        reading: &PathReading,
        name: &str,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Vec<String> {
        let name_fold = fold_name(name);
        let mut folds = Vec::new();
        if let Some(folder) = reading.folders().last() {
            folds.push(fold_in_folder(folder, &name_fold));
        }
        folds.push(name_fold);
        for fold in folds {
            let mut paths = Vec::new();
            for &file_index in self.files_by_fold.get(&fold).into_iter().flatten() {
                if is_wanted(self.images.file_name(file_index)) {
                    paths.push(self.images.key(file_index));
                }
            }
            if !paths.is_empty() {
                return paths;
            }
        }
        Vec::new()
    }
}

/// Returns the fold of a name in a folder. No fold of a name alone has a slash.
fn fold_in_folder(folder: &str, name_fold: &str) -> String {
    format!("{}/{name_fold}", normalize_name(folder).to_lowercase())
}

/// Returns a name without what is easily confused: image extension, case of letters, Unicode
/// normalization, and the signs that stand for a space.
fn fold_name(name: &str) -> String {
    let stem = file_stem(name);
    let name = if has_image_extension(name) { stem } else { name };
    let lower_case = normalize_name(name.trim()).to_lowercase();
    lower_case.replace([' ', '+'], "_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Problems;
    use crate::sagemaker::StopSignal;

    #[test]
    fn names_are_near_if_they_differ_in_what_is_easily_confused() {
        for (one, other) in [
            ("a.PNG", "a.png"),
            ("A.jpg", "a.jpeg"),
            ("wet road.png", "wet_road.png"),
            ("wet+road.png", "Wet Road"),
            ("CAF\u{c9}.png", "cafe\u{301}.tif"),
        ] {
            assert_eq!(fold_name(one), fold_name(other));
        }
        for (one, other) in [("a.png", "b.png"), ("a.v1", "a.v2"), ("a1.png", "a.png")] {
            assert_ne!(fold_name(one), fold_name(other));
        }
    }

    #[test]
    fn the_file_in_the_same_folder_is_hinted_at_among_many_of_its_name() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..30 {
            let scene = folder.path().join(format!("s{number}"));
            std::fs::create_dir(&scene).unwrap();
            std::fs::write(scene.join("rgb.png"), "x").unwrap();
        }
        let mut problems = Problems::new();
        let images = FileIndex::from_folder(folder.path(), &StopSignal::default(), &mut problems);
        let near_names = NearNames::new(&images);
        let hint = near_names.hint("s3://b/s17/rgb.jpg");
        assert!(hint.starts_with("; near it is s17/rgb.png, whose name"), "{hint}");
        // Without such a folder there are some examples.
        let hint = near_names.hint("s3://b/other/rgb.jpg");
        assert_eq!(hint.matches("/rgb.png").count(), MAX_CANDIDATES, "{hint}");
        assert_eq!(near_names.hint("s3://b/s17/depth.jpg"), "");
    }

    proptest::proptest! {
        #[test]
        fn any_name_has_a_fold(name in ".{0,20}", end in r"[. +_Éé\\]{0,4}") {
            let fold = fold_name(&format!("{name}{end}"));
            proptest::prop_assert!(!fold.contains([' ', '+']), "{}", fold);
        }
    }
}
