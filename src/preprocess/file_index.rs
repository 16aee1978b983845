//! The files of a folder, and which of them an annotation means: images, and the masks of Ground Truth.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::reference::{FileReference, label_studio_upload_name, strip_upload_prefix};
use crate::error::{Error, Problems};
use crate::files;

/// The files below a folder, known by their paths.
#[derive(Debug, Default)]
pub(super) struct FileIndex {
    root: PathBuf,
    /// Names of folders and the file, by number, in the order of their paths.
    components_by_file: Vec<Vec<String>>,
    /// Numbers by the file's name.
    by_name: HashMap<String, Vec<usize>>,
    /// Numbers by the name that Label Studio would give an upload.
    by_upload_name: HashMap<String, Vec<usize>>,
    /// Numbers by the file's name without its extension.
    by_stem: HashMap<String, Vec<usize>>,
}

/// A file that a reference means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileMatch {
    /// Its number.
    pub file_index: usize,
    /// How many folders before the name agree.
    pub common_folders: usize,
    /// Whether the next folder is another one than the reference says: only the name tells that it is meant.
    pub is_other_folder: bool,
}

/// Why no image was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NotFound {
    /// None has the name.
    Missing,
    /// Only in another folder, and that is not good enough; its path.
    OtherFolder(String),
    /// Several fit equally well; their paths.
    Ambiguous(Vec<String>),
}

impl FileIndex {
    /// Lists the files below `root`. Those whose names are not UTF-8 are problems.
    pub(super) fn from_folder(root: &Path, problems: &mut Problems) -> Self {
        let mut paths = Vec::new();
        let mut not_utf8 = Vec::new();
        files::visit_files(root, problems, &mut |path, _| {
            let relative = path.strip_prefix(root).unwrap_or(&path);
            let components: Option<Vec<String>> =
                relative.iter().map(|component| component.to_str().map(str::to_owned)).collect();
            match components {
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
            index
                .by_upload_name
                .entry(label_studio_upload_name(name))
                .or_default()
                .push(file_index);
            if !is_sidecar_file(name) {
                index.by_stem.entry(file_stem(name).to_owned()).or_default().push(file_index);
            }
        }
        index.components_by_file = paths;
        index
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.components_by_file.is_empty()
    }

    /// The path of an image.
    pub(super) fn path(&self, file_index: usize) -> PathBuf {
        self.root.join(self.key(file_index))
    }

    /// The path of an image below the folder, with `/`: what the split goes by.
    pub(super) fn key(&self, file_index: usize) -> String {
        self.components_by_file[file_index].join("/")
    }

    /// The image whose path has the longest end in common with the reference; with `strictly` one in another folder
    /// than the reference says does not do.
    ///
    /// The file's name must be the same. If none is, percent signs are decoded, and then the prefix and the changes
    /// that Label Studio makes to an upload's name are undone.
    pub(super) fn find(
        &self,
        reference: &FileReference,
        same_folder_only: bool,
    ) -> Result<FileMatch, NotFound> {
        for components in reference.candidate_paths() {
            let Some((name, folders)) = components.split_last() else { continue };
            let candidates = self.by_name.get(name);
            let candidates = candidates.or_else(|| {
                let name = strip_upload_prefix(name)?;
                self.by_name.get(name).or_else(|| self.by_upload_name.get(name))
            });
            if let Some(candidates) = candidates {
                return self.best_match(
                    candidates,
                    (folders, reference.significant_folders(folders)),
                    same_folder_only,
                );
            }
        }
        Err(NotFound::Missing)
    }

    /// The file whose path without extension has the longest end in common with `path`, which has none.
    pub(super) fn find_same_path(
        &self,
        path: &str,
        same_folder_only: bool,
    ) -> Result<FileMatch, NotFound> {
        let components: Vec<String> = path.split('/').map(str::to_owned).collect();
        let (name, folders) = components.split_last().ok_or(NotFound::Missing)?;
        let candidates = self.by_stem.get(name).ok_or(NotFound::Missing)?;
        self.best_match(candidates, (folders, folders.len()), same_folder_only)
    }

    /// The one of `numbers` that fits best. The last `told` of the folders say where the file must lie.
    fn best_match(
        &self,
        candidates: &[usize],
        (folders, significant): (&[String], usize),
        same_folder_only: bool,
    ) -> Result<FileMatch, NotFound> {
        let match_file = |&file_index: &usize| {
            let reversed_folders = self.components_by_file[file_index].iter().rev().skip(1);
            let pairs = reversed_folders.zip(folders.iter().rev());
            let common_folders = pairs.take_while(|(one, other)| one == other).count();
            let depth = self.components_by_file[file_index].len() - 1;
            // Where the name is all that is told, another instance may have the same one in another folder.
            let is_other_folder = common_folders < significant.min(depth)
                || (same_folder_only && significant == 0 && depth > 0);
            FileMatch { file_index, common_folders, is_other_folder }
        };
        let mut matches: Vec<FileMatch> = candidates.iter().map(match_file).collect();
        if same_folder_only && matches.iter().all(|found| found.is_other_folder) {
            return Err(NotFound::OtherFolder(self.key(matches[0].file_index)));
        }
        let longest = matches.iter().map(|found| found.common_folders).max().unwrap_or(0);
        matches.retain(|found| {
            found.common_folders == longest && !(same_folder_only && found.is_other_folder)
        });
        match matches[..] {
            [only_match] => Ok(only_match),
            // `a.jpg` itself is meant by `a.jpg`, whatever lies in folders beside it.
            _ => match matches
                .iter()
                .filter(|found| self.components_by_file[found.file_index].len() == longest + 1)
                .collect::<Vec<_>>()[..]
            {
                [&exact_match] if longest == folders.len() => Ok(exact_match),
                _ => Err(NotFound::Ambiguous(
                    matches.iter().map(|found| self.key(found.file_index)).collect(),
                )),
            },
        }
    }

    /// What the masks of `used` images are called, in their order: the file's name without extension; the whole
    /// path without extension where another one of the `known` images, or one that is only referred to (`elsewhere`),
    /// has the same name. Images that no annotation names do not count, because another instance would not know of
    /// them. Two files in one folder that differ in nothing but the extension are a problem.
    pub(super) fn mask_names<'a>(
        &self,
        (used_images, annotated): (&[usize], &[usize]),
        missing_references: impl IntoIterator<Item = &'a FileReference>,
        problems: &mut Problems,
    ) -> Vec<String> {
        let missing_references: Vec<&FileReference> = missing_references.into_iter().collect();
        let missing_stems: HashSet<&str> =
            missing_references.iter().map(|reference| reference.stem()).collect();
        let mut stem_counts: HashMap<&str, usize> = HashMap::new();
        for name in
            annotated.iter().filter_map(|&image_index| self.components_by_file[image_index].last())
        {
            *stem_counts.entry(file_stem(name)).or_default() += 1;
        }
        let names: Vec<String> = used_images
            .iter()
            .map(|&image_index| {
                let components = &self.components_by_file[image_index];
                let (name, folders) = components
                    .split_last()
                    .map_or(("", &[][..]), |(file_name, parents)| (file_name.as_str(), parents));
                let own_stem = file_stem(name);
                let is_unique = stem_counts.get(own_stem).is_none_or(|count| *count == 1);
                if is_unique && !missing_stems.contains(own_stem) {
                    return own_stem.to_owned();
                }
                folders.iter().map(String::as_str).chain([own_stem]).collect::<Vec<_>>().join("/")
            })
            .collect();
        let mut image_by_name: HashMap<&str, usize> = HashMap::new();
        let mut duplicates = BTreeSet::new();
        for (name, &image_index) in names.iter().zip(used_images) {
            if let Some(other_image) = image_by_name.insert(name, image_index) {
                duplicates.insert(format!(
                    "{} and {}",
                    self.key(other_image),
                    self.key(image_index)
                ));
            }
        }
        for pair in duplicates {
            problems.push(format!(
                "{pair} have the same name but for the extension, and so would their masks; rename one"
            ));
        }
        names
    }
}

/// A file's name without its extension.
fn file_stem(name: &str) -> &str {
    name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()).map_or(name, |(stem, _)| stem)
}

/// Whether a file is what tools write beside an image.
fn is_sidecar_file(name: &str) -> bool {
    let extension = file_extension(name).to_ascii_lowercase();
    [".json", ".xml", ".txt", ".csv", ".yaml", ".yml"].contains(&extension.as_str())
}

/// The extension with its dot, as written.
pub(super) fn file_extension(key: &str) -> &str {
    let name = key.rsplit('/').next().unwrap_or(key);
    &name[file_stem(name).len()..]
}

/// The problem of a folder that is not there, before anything in it is looked for.
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
        // Nothing outside of the folder is looked at.
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
            // Another instance may have one of that name in another folder.
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
            images.mask_names((&used, &used), [], &mut problems),
            ["a/x", "b/x", "y", "z.tar"]
        );
        // The same on an instance that has only a part of the images.
        let other = FileReference::parse("s3://bucket/d/y.jpg").unwrap();
        assert_eq!(images.mask_names((&[2], &[2]), [&other], &mut problems), ["c/y"]);
        problems.into_result().unwrap();
        assert_eq!(file_extension("c/z.tar.JPG"), ".JPG");
        assert_eq!(file_extension("c.d/z"), "");
    }

    #[test]
    fn files_that_differ_in_their_extension_only_are_told() {
        let (_folder, images) = images(&["a/x.jpg", "a/x.png"]);
        let mut problems = Problems::new();
        images.mask_names((&[0, 1], &[0, 1]), [], &mut problems);
        let text = problems.into_result().unwrap_err().to_string();
        assert!(text.starts_with("a/x.jpg and a/x.png have the same name but for"), "{text}");
    }
}
