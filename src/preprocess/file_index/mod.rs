//! Index of the files of a folder, which finds the file that an annotation refers to: an image, or
//! a mask of Ground Truth.

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use unicode_normalization::UnicodeNormalization;

use super::reference::{
    FileReference, PathReading, is_same_name, label_studio_upload_name, strip_upload_prefix,
};
use crate::error::{Error, Problems};
use crate::files::{self, normalize_name};
use crate::sagemaker::StopSignal;

/// Extensions of images. Some are of formats that cannot be decoded, because a later message about
/// the image says more.
const IMAGE_EXTENSIONS: [&str; 9] =
    [".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".jfif"];

/// Files below a folder. A file's index is its position in the sorted paths.
#[derive(Debug, Default)]
pub(super) struct FileIndex {
    root: PathBuf,
    /// Path of each file below `root` as the names of its folders and the file, sorted.
    components_by_file: Vec<Vec<String>>,
    /// File indexes by normalized file name.
    by_name: HashMap<String, Vec<usize>>,
    /// File indexes by the names that Label Studio would give the file at an upload.
    by_upload_name: HashMap<String, Vec<usize>>,
    /// File indexes by normalized file name without extension; sidecar files such as `.json` are
    /// left out.
    by_stem: HashMap<String, Vec<usize>>,
}

/// File that a reference matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileMatch {
    pub file_index: usize,
    /// Number of folders, counted back from the file name, that agree with the reference.
    pub common_folders: usize,
    /// True if the next folder differs from the reference's, so only the end of the path matches.
    pub is_other_folder: bool,
    /// True if a mask is named after the whole name of the image file, as `a.jpg.png`.
    pub is_whole_name: bool,
    /// Number of folders that agree with the reference to the letter, also in their Unicode
    /// normalization.
    literal_folders: usize,
}

/// Reason why no file matches a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NotFound {
    /// No file has the name.
    Missing,
    /// Only a file in another folder matches, which `same_folder_only` refuses; its path.
    OtherFolder(String),
    /// Several files match equally well.
    Ambiguous {
        paths: Vec<String>,
        /// True if all of them are in other folders than the reference's.
        are_elsewhere: bool,
    },
}

/// Folders before the file name of a reference.
struct ExpectedFolders<'a> {
    folders: &'a [String],
    /// Number of folders, counted back from the last, that a file's own folders must agree with.
    significant: usize,
}

/// Ways to compare the name of a reference with those of files, from the strictest.
#[derive(Debug, Clone, Copy)]
enum NameComparison {
    Exact,
    /// Equal but for Unicode normalization.
    Normalized,
    /// Equal once Label Studio's changes to the name of an upload are undone.
    Upload,
}

/// Result of several searches, from the likeliest to the least likely.
struct SearchResult(Result<FileMatch, NotFound>);

impl FileIndex {
    /// Lists the files below `root`, until `stop`. A name that is not UTF-8 is a problem.
    pub(super) fn from_folder(root: &Path, stop: &StopSignal, problems: &mut Problems) -> Self {
        let mut paths = Vec::new();
        let mut not_utf8 = Vec::new();
        files::visit_files_until(root, &|| stop.is_requested(), problems, &mut |path, _| {
            let relative = path.strip_prefix(root).unwrap_or(&path);
            match utf8_components(relative) {
                Some(components) => paths.push(components),
                None => not_utf8.push(path),
            }
        });
        for path in not_utf8 {
            problems.push(format!("{}: the name is not UTF-8; rename it", path.display()));
        }
        Self::from_paths(root, paths)
    }

    /// Makes the index of files whose paths below `root` are given as names.
    fn from_paths(root: &Path, mut paths: Vec<Vec<String>>) -> Self {
        paths.sort();
        let mut index = Self { root: root.to_owned(), ..Self::default() };
        for (file_index, path) in paths.iter().enumerate() {
            let Some(name) = path.last() else { continue };
            let normalized = normalize_name(name).into_owned();
            for upload_name in upload_names(name) {
                index.by_upload_name.entry(upload_name).or_default().push(file_index);
            }
            if !is_sidecar_file(name) {
                let stem = file_stem(&normalized).to_owned();
                index.by_stem.entry(stem).or_default().push(file_index);
            }
            index.by_name.entry(normalized).or_default().push(file_index);
        }
        index.components_by_file = paths;
        index
    }

    pub(super) fn is_empty(&self) -> bool {
        self.components_by_file.is_empty()
    }

    /// Returns the full path of a file.
    pub(super) fn path(&self, file_index: usize) -> PathBuf {
        self.root.join(self.key(file_index))
    }

    /// Returns the path of a file below the root, with `/`. The split depends on this key.
    pub(super) fn key(&self, file_index: usize) -> String {
        self.components_by_file[file_index].join("/")
    }

    /// Returns the number of files.
    pub(super) fn len(&self) -> usize {
        self.components_by_file.len()
    }

    /// Returns the file whose path has the longest end in common with the reference. With
    /// `same_folder_only` a file in another folder than the reference's is refused.
    ///
    /// The file names must be equal: to the letter, else but for Unicode normalization, else once
    /// the changes that Label Studio makes to an upload's name are undone. In each of these, the
    /// first reading of the reference counts that a file fits. A file in another folder counts only
    /// if no reading leads to one in the right folder.
    pub(super) fn find(
        &self,
        reference: &FileReference,
        same_folder_only: bool,
    ) -> Result<FileMatch, NotFound> {
        let mut search = SearchResult(Err(NotFound::Missing));
        for comparison in
            [NameComparison::Exact, NameComparison::Normalized, NameComparison::Upload]
        {
            for reading in reference.readings() {
                let expected = ExpectedFolders {
                    folders: reading.folders(),
                    significant: reading.significant_folders,
                };
                let candidates = self.files_named(reading, comparison);
                if search.ends_with(self.best_match(&candidates, &expected, same_folder_only)) {
                    return search.0;
                }
            }
        }
        search.0
    }

    /// Returns the files whose name is that of a reading.
    fn files_named(&self, reading: &PathReading, comparison: NameComparison) -> Vec<usize> {
        let name = reading.file_name();
        match comparison {
            NameComparison::Exact => {
                let mut files = look_up(&self.by_name, name);
                files.retain(|&file_index| self.file_name(file_index) == name);
                files
            }
            NameComparison::Normalized => look_up(&self.by_name, name),
            NameComparison::Upload => match strip_upload_prefix(name) {
                Some(name) if reading.is_upload => {
                    let mut files = look_up(&self.by_upload_name, name);
                    files.extend(look_up(&self.by_name, name));
                    files.sort_unstable();
                    files.dedup();
                    files
                }
                _ => Vec::new(),
            },
        }
    }

    /// Returns the file whose path without extension has the longest end in common with `path`,
    /// which has no extension. Without one, `path` may end with the whole name of a file.
    pub(super) fn find_same_path(
        &self,
        path: &str,
        same_folder_only: bool,
    ) -> Result<FileMatch, NotFound> {
        let components: Vec<String> = path.split('/').map(str::to_owned).collect();
        let Some((name, folders)) = components.split_last() else { return Err(NotFound::Missing) };
        let expected = ExpectedFolders { folders, significant: folders.len() };
        let mut search = SearchResult(Err(NotFound::Missing));
        for is_whole_name in [false, true] {
            let mut candidates = look_up(&self.by_stem, name);
            if is_whole_name {
                candidates = look_up(&self.by_name, name);
                candidates.retain(|&file_index| !is_sidecar_file(self.file_name(file_index)));
            }
            let mut exact_candidates = candidates.clone();
            exact_candidates.retain(|&file_index| {
                let own_name = self.file_name(file_index);
                name == if is_whole_name { own_name } else { file_stem(own_name) }
            });
            for candidates in [exact_candidates, candidates] {
                let mut found = self.best_match(&candidates, &expected, same_folder_only);
                if let Ok(found) = &mut found {
                    found.is_whole_name = is_whole_name;
                }
                if search.ends_with(found) {
                    return search.0;
                }
            }
        }
        search.0
    }

    /// Returns the candidate with most folders in common with those that a reference expects.
    fn best_match(
        &self,
        candidates: &[usize],
        expected: &ExpectedFolders<'_>,
        same_folder_only: bool,
    ) -> Result<FileMatch, NotFound> {
        let mut matches = Vec::new();
        let mut longest = 0;
        for &file_index in candidates {
            let found = self.match_file(file_index, expected, same_folder_only);
            if !(same_folder_only && found.is_other_folder) {
                longest = longest.max(found.common_folders);
                matches.push(found);
            }
        }
        if matches.is_empty() {
            return Err(match candidates {
                [first, ..] => NotFound::OtherFolder(self.key(*first)),
                [] => NotFound::Missing,
            });
        }
        matches.retain(|found| found.common_folders == longest);
        // Folders that are equal to the letter come before those of another normalization.
        let most_literal = matches.iter().map(|found| found.literal_folders).max();
        matches.retain(|found| Some(found.literal_folders) == most_literal);
        if let [only_match] = matches[..] {
            return Ok(only_match);
        }
        // `a.jpg` means `a.jpg` itself, even if subfolders hold files of that name.
        if longest == expected.folders.len() {
            let mut exact_matches = Vec::new();
            for found in &matches {
                if self.components_by_file[found.file_index].len() == longest + 1 {
                    exact_matches.push(*found);
                }
            }
            if let [exact_match] = exact_matches[..] {
                return Ok(exact_match);
            }
        }
        let paths = matches.iter().map(|found| self.key(found.file_index)).collect();
        let are_elsewhere = matches.iter().all(|found| found.is_other_folder);
        Err(NotFound::Ambiguous { paths, are_elsewhere })
    }

    /// Compares a file's folders with those that a reference expects, from the last to the first.
    fn match_file(
        &self,
        file_index: usize,
        expected: &ExpectedFolders<'_>,
        same_folder_only: bool,
    ) -> FileMatch {
        let components = &self.components_by_file[file_index];
        let folders = &components[..components.len() - 1];
        let pairs = folders.iter().rev().zip(expected.folders.iter().rev());
        let (mut common_folders, mut literal_folders) = (0, 0);
        for (own, expected) in pairs.take_while(|(own, expected)| is_same_name(own, expected)) {
            common_folders += 1;
            literal_folders += usize::from(own == expected);
        }
        // A reference that is a mere name may mean a file of another instance's folder.
        let is_mere_name = expected.significant == 0 && !folders.is_empty();
        let is_other_folder = common_folders < expected.significant.min(folders.len())
            || (same_folder_only && is_mere_name);
        FileMatch {
            file_index,
            common_folders,
            is_other_folder,
            is_whole_name: false,
            literal_folders,
        }
    }

    /// Returns the names of the masks of `used_images`, in their order: the image's file name
    /// without extension, or its whole path without extension if another image in `annotated` or in
    /// `missing_references` has the same name.
    ///
    /// Images without annotations do not count, because another instance would not know of them.
    /// Two files in one folder that differ only in their extension are a problem.
    pub(super) fn mask_names(
        &self,
        used_images: &[usize],
        annotated: &[usize],
        missing_references: &[FileReference],
        problems: &mut Problems,
    ) -> Vec<String> {
        // Stems that differ in their normalization only may be one name to another system.
        let mut stem_counts: HashMap<String, usize> = HashMap::new();
        for &image_index in annotated {
            let stem = normalize_name(file_stem(self.file_name(image_index))).into_owned();
            *stem_counts.entry(stem).or_default() += 1;
        }
        let mut missing_stems = HashSet::new();
        for reference in missing_references {
            missing_stems.extend(reference.stems().map(normalize_name));
        }
        let mut names = Vec::new();
        for &image_index in used_images {
            let key = self.key(image_index);
            let stem = file_stem(self.file_name(image_index));
            let normalized = normalize_name(stem);
            let is_unique = stem_counts.get(&*normalized).is_none_or(|count| *count == 1);
            if is_unique && !missing_stems.contains(&normalized) {
                names.push(stem.to_owned());
            } else {
                let length = key.len() - file_extension(&key).len();
                names.push(key[..length].to_owned());
            }
        }
        self.check_unique_names(&names, used_images, problems);
        names
    }

    /// Records a problem for each pair of images whose masks would have the same name.
    fn check_unique_names(&self, names: &[String], images: &[usize], problems: &mut Problems) {
        let mut image_by_name: HashMap<&str, usize> = HashMap::new();
        let mut pairs = BTreeSet::new();
        for (name, &image_index) in names.iter().zip(images) {
            if let Some(other_image) = image_by_name.insert(name, image_index) {
                pairs.insert(format!("{} and {}", self.key(other_image), self.key(image_index)));
            }
        }
        for pair in pairs {
            problems.push(format!(
                "{pair} have the same name but for the extension, and so would their masks; \
                 rename one"
            ));
        }
    }

    /// Returns the name of a file without its folders.
    pub(super) fn file_name(&self, file_index: usize) -> &str {
        self.components_by_file[file_index].last().map_or("", String::as_str)
    }
}

impl SearchResult {
    /// Adds the result of the next search, and returns true if no later one may change the result:
    /// a file in the right folder was found, or several. Those in other folders leave the question open.
    fn ends_with(&mut self, next: Result<FileMatch, NotFound>) -> bool {
        let is_final = match &next {
            Ok(found) => !found.is_other_folder,
            Err(NotFound::Ambiguous { are_elsewhere, .. }) => {
                !are_elsewhere && self.0 == Err(NotFound::Missing)
            }
            Err(NotFound::Missing | NotFound::OtherFolder(_)) => false,
        };
        if is_final || self.0 == Err(NotFound::Missing) {
            self.0 = next;
        }
        is_final
    }
}

/// Returns the files of a name in a table by normalized names.
fn look_up(files_by_name: &HashMap<String, Vec<usize>>, name: &str) -> Vec<usize> {
    files_by_name.get(&*normalize_name(name)).cloned().unwrap_or_default()
}

/// Returns the names, normalized, that Label Studio may have given a file at its upload. It drops
/// accents that stand apart, so the name depends on the normalization that the file had then.
fn upload_names(name: &str) -> BTreeSet<String> {
    let mut upload_names = BTreeSet::new();
    let mut forms = vec![name.to_owned()];
    if !name.is_ascii() {
        forms.extend([name.nfc().collect(), name.nfd().collect()]);
    }
    for form in forms {
        upload_names.insert(normalize_name(&label_studio_upload_name(&form)).into_owned());
    }
    upload_names
}

/// Returns the names of a path's folders and file, or `None` if one is not UTF-8.
fn utf8_components(path: &Path) -> Option<Vec<String>> {
    path.iter().map(|component| component.to_str().map(str::to_owned)).collect()
}

/// Returns a file's name without its extension.
pub(super) fn file_stem(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem,
        _ => name,
    }
}

/// Returns true if a file has an extension that tools use for notes beside an image.
fn is_sidecar_file(name: &str) -> bool {
    let extension = file_extension(name).to_ascii_lowercase();
    [".json", ".xml", ".txt", ".csv", ".yaml", ".yml"].contains(&extension.as_str())
}

/// Returns the extension with its dot, as written.
pub(super) fn file_extension(key: &str) -> &str {
    let name = key.rsplit('/').next().unwrap_or(key);
    &name[file_stem(name).len()..]
}

/// Returns true if a name or an address ends with the extension of an image, in any case.
pub(super) fn has_image_extension(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    IMAGE_EXTENSIONS.iter().any(|extension| text.ends_with(extension))
}

/// Records a problem if `folder` does not exist or is a file.
pub(super) fn check_folder_exists(
    folder: &Path,
    contents: &str,
    flag: &str,
    problems: &mut Problems,
) {
    match fs::metadata(folder) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => problems.push(format!(
            "{} is a file; {contents} are looked for in a folder: name one with {flag}",
            folder.display()
        )),
        Err(cause) => {
            let error = Error::io("open", folder, &cause);
            problems.push(format!("{error}; name the folder of {contents} with {flag}"));
        }
    }
}
