//! Index of the files of a folder, which finds the file that an annotation refers to: an image, or
//! a mask of Ground Truth.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::reference::{FileReference, label_studio_upload_name, strip_upload_prefix};
use crate::error::{Error, Problems};
use crate::files;

/// Files below a folder. A file's index is its position in the sorted paths.
#[derive(Debug, Default)]
pub(super) struct FileIndex {
    root: PathBuf,
    /// Path of each file below `root` as the names of its folders and the file, sorted.
    components_by_file: Vec<Vec<String>>,
    /// File indexes by file name.
    by_name: HashMap<String, Vec<usize>>,
    /// File indexes by the name that Label Studio would give the file at an upload.
    by_upload_name: HashMap<String, Vec<usize>>,
    /// File indexes by file name without extension; sidecar files such as `.json` are left out.
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
}

/// Reason why no file matches a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NotFound {
    /// No file has the name.
    Missing,
    /// Only a file in another folder matches, which `same_folder_only` refuses; its path.
    OtherFolder(String),
    /// Several files match equally well; their paths.
    Ambiguous(Vec<String>),
}

/// Folders before the file name of a reference.
struct ExpectedFolders<'a> {
    folders: &'a [String],
    /// Number of folders, counted back from the last, that a file's own folders must agree with.
    significant: usize,
}

impl FileIndex {
    /// Lists the files below `root`. A name that is not UTF-8 is a problem.
    pub(super) fn from_folder(root: &Path, problems: &mut Problems) -> Self {
        let mut paths = Vec::new();
        let mut not_utf8 = Vec::new();
        files::visit_files(root, problems, &mut |path, _| {
            let relative = path.strip_prefix(root).unwrap_or(&path);
            match utf8_components(relative) {
                Some(components) => paths.push(components),
                None => not_utf8.push(path),
            }
        });
        for path in not_utf8 {
            problems.push(format!("{}: the name is not UTF-8; rename it", path.display()));
        }
        paths.sort();
        let mut index = Self { root: root.to_owned(), ..Self::default() };
        for (file_index, path) in paths.iter().enumerate() {
            let Some(name) = path.last() else { continue };
            index.by_name.entry(name.clone()).or_default().push(file_index);
            let upload_name = label_studio_upload_name(name);
            index.by_upload_name.entry(upload_name).or_default().push(file_index);
            if !is_sidecar_file(name) {
                index.by_stem.entry(file_stem(name).to_owned()).or_default().push(file_index);
            }
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

    /// Returns the file whose path has the longest end in common with the reference. With
    /// `same_folder_only` a file in another folder than the reference's is refused.
    ///
    /// The file names must be equal. If no file has the name, percent signs are decoded, and then
    /// the prefix and the changes that Label Studio makes to an upload's name are undone.
    pub(super) fn find(
        &self,
        reference: &FileReference,
        same_folder_only: bool,
    ) -> Result<FileMatch, NotFound> {
        for components in reference.candidate_paths() {
            let Some((name, folders)) = components.split_last() else { continue };
            if let Some(candidates) = self.files_named(name) {
                let significant = reference.significant_folders(folders);
                let expected = ExpectedFolders { folders, significant };
                return self.best_match(candidates, &expected, same_folder_only);
            }
        }
        Err(NotFound::Missing)
    }

    /// Returns the files with a name; without any, those that Label Studio would give the name at
    /// an upload.
    fn files_named(&self, name: &str) -> Option<&Vec<usize>> {
        if let Some(files) = self.by_name.get(name) {
            return Some(files);
        }
        let name = strip_upload_prefix(name)?;
        self.by_name.get(name).or_else(|| self.by_upload_name.get(name))
    }

    /// Returns the file whose path without extension has the longest end in common with `path`,
    /// which has no extension.
    pub(super) fn find_same_path(
        &self,
        path: &str,
        same_folder_only: bool,
    ) -> Result<FileMatch, NotFound> {
        let components: Vec<String> = path.split('/').map(str::to_owned).collect();
        let Some((name, folders)) = components.split_last() else { return Err(NotFound::Missing) };
        let Some(candidates) = self.by_stem.get(name) else { return Err(NotFound::Missing) };
        let expected = ExpectedFolders { folders, significant: folders.len() };
        self.best_match(candidates, &expected, same_folder_only)
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
            longest = longest.max(found.common_folders);
            matches.push(found);
        }
        if same_folder_only && matches.iter().all(|found| found.is_other_folder) {
            return Err(NotFound::OtherFolder(self.key(matches[0].file_index)));
        }
        matches.retain(|found| {
            found.common_folders == longest && !(same_folder_only && found.is_other_folder)
        });
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
        Err(NotFound::Ambiguous(matches.iter().map(|found| self.key(found.file_index)).collect()))
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
        let common_folders = pairs.take_while(|(own, expected)| own == expected).count();
        // A reference that is a mere name may mean a file of another instance's folder.
        let is_mere_name = expected.significant == 0 && !folders.is_empty();
        let is_other_folder = common_folders < expected.significant.min(folders.len())
            || (same_folder_only && is_mere_name);
        FileMatch { file_index, common_folders, is_other_folder }
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
        let mut stem_counts: HashMap<&str, usize> = HashMap::new();
        for &image_index in annotated {
            *stem_counts.entry(file_stem(self.file_name(image_index))).or_default() += 1;
        }
        let missing_stems: HashSet<&str> =
            missing_references.iter().map(FileReference::stem).collect();
        let mut names = Vec::new();
        for &image_index in used_images {
            let key = self.key(image_index);
            let stem = file_stem(self.file_name(image_index));
            let is_unique = stem_counts.get(stem).is_none_or(|count| *count == 1);
            if is_unique && !missing_stems.contains(stem) {
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

    fn file_name(&self, file_index: usize) -> &str {
        self.components_by_file[file_index].last().map_or("", String::as_str)
    }
}

/// Returns the names of a path's folders and file, or `None` if one is not UTF-8.
fn utf8_components(path: &Path) -> Option<Vec<String>> {
    path.iter().map(|component| component.to_str().map(str::to_owned)).collect()
}

/// Returns a file's name without its extension.
fn file_stem(name: &str) -> &str {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn images(names: &[&str]) -> (tempfile::TempDir, FileIndex) {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        let mut problems = Problems::new();
        let images = FileIndex::from_folder(folder.path(), &mut problems);
        problems.into_result().unwrap();
        (folder, images)
    }

    fn find_key(images: &FileIndex, reference: &str) -> Result<String, NotFound> {
        images
            .find(&FileReference::parse(reference).unwrap(), false)
            .map(|found| images.key(found.file_index))
    }

    #[test]
    fn the_longest_common_end_decides() {
        let (_folder, images) = images(&[
            "a.jpg",
            "set1/b.jpg",
            "set2/b.jpg",
            "x/set1/c.jpg",
            "y/set1/c.jpg",
            "d/d.jpg",
            "d.jpg",
        ]);
        for (reference, expected) in [
            ("s3://bucket/images/a.jpg", "a.jpg"),
            ("s3://bucket/set2/b.jpg", "set2/b.jpg"),
            ("/data/local-files/?d=y/set1/c.jpg", "y/set1/c.jpg"),
            ("d.jpg", "d.jpg"),
            ("s3://bucket/d/d.jpg", "d/d.jpg"),
        ] {
            assert_eq!(find_key(&images, reference).as_deref(), Ok(expected), "{reference}");
        }
        let ambiguous =
            |paths: [&str; 2]| Err(NotFound::Ambiguous(paths.map(str::to_owned).to_vec()));
        assert_eq!(find_key(&images, "s3://bucket/b.jpg"), ambiguous(["set1/b.jpg", "set2/b.jpg"]));
        assert_eq!(find_key(&images, "z/set1/c.jpg"), ambiguous(["x/set1/c.jpg", "y/set1/c.jpg"]));
        assert_eq!(find_key(&images, "s3://bucket/e.jpg"), Err(NotFound::Missing));
        // References cannot leave the folder.
        assert_eq!(find_key(&images, "../../../../etc/passwd"), Err(NotFound::Missing));
    }

    #[test]
    fn another_folder_than_the_reference_says_is_noticed_and_may_be_refused() {
        let (_folder, images) = images(&["x/a.jpg", "y/a.jpg", "x/b.jpg", "c.jpg"]);
        let find_match = |reference: &str, strictly| {
            images.find(&FileReference::parse(reference).unwrap(), strictly)
        };
        for (reference, is_other_folder, is_refused) in [
            ("s3://bucket/x/b.jpg", false, false),
            // Another instance may have an image of that name in another folder.
            ("s3://bucket/b.jpg", false, true),
            ("/data/upload/1/0123abcd-b.jpg", false, true),
            ("/data/upload/1/0123abcd-c.jpg", false, false),
            ("s3://bucket/any/where/c.jpg", false, false),
            ("s3://bucket/z/b.jpg", true, true),
        ] {
            assert_eq!(
                find_match(reference, false).unwrap().is_other_folder,
                is_other_folder,
                "{reference}"
            );
            assert_eq!(find_match(reference, true).is_err(), is_refused, "{reference}");
        }
        let other_folder = Err(NotFound::OtherFolder("x/a.jpg".to_owned()));
        assert_eq!(find_match("s3://bucket/z/a.jpg", true), other_folder);
        assert!(matches!(find_match("s3://bucket/z/a.jpg", false), Err(NotFound::Ambiguous(_))));
        assert_eq!(
            images.find_same_path("z/b", true),
            Err(NotFound::OtherFolder("x/b.jpg".to_owned()))
        );
        assert_eq!(images.key(images.find_same_path("y/a", true).unwrap().file_index), "y/a.jpg");
    }

    #[test]
    fn uploads_are_found_under_their_own_names() {
        let (_folder, images) = images(&["odd size ünïcode.png", "a.jpg", "deadbeef-b.jpg"]);
        for (reference, expected) in [
            ("/data/upload/1/ecb42193-odd_size_%C3%BCn%C3%AFcode.png", "odd size ünïcode.png"),
            ("/data/upload/1/a0cba9f4-a.jpg", "a.jpg"),
            ("/data/upload/1/deadbeef-b.jpg", "deadbeef-b.jpg"),
        ] {
            assert_eq!(find_key(&images, reference).as_deref(), Ok(expected), "{reference}");
        }
    }

    #[test]
    fn masks_are_named_by_stem_and_keep_folders_where_stems_are_equal() {
        let (_folder, images) = images(&["b/x.jpg", "a/x.png", "c/y.jpg", "c/z.tar.jpg"]);
        let used: Vec<usize> = (0..4).collect();
        let mut problems = Problems::new();
        assert_eq!(
            images.mask_names(&used, &used, &[], &mut problems),
            ["a/x", "b/x", "y", "z.tar"]
        );
        // An instance with only a part of the images gives the same name.
        let other = FileReference::parse("s3://bucket/d/y.jpg").unwrap();
        assert_eq!(images.mask_names(&[2], &[2], &[other], &mut problems), ["c/y"]);
        problems.into_result().unwrap();
        assert_eq!(file_extension("c/z.tar.JPG"), ".JPG");
        assert_eq!(file_extension("c.d/z"), "");
    }

    #[test]
    fn files_that_differ_in_their_extension_only_are_told() {
        let (_folder, images) = images(&["a/x.jpg", "a/x.png"]);
        let mut problems = Problems::new();
        images.mask_names(&[0, 1], &[0, 1], &[], &mut problems);
        let text = problems.into_result().unwrap_err().to_string();
        assert!(text.starts_with("a/x.jpg and a/x.png have the same name but for"), "{text}");
    }
}
