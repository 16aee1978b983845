//! The files of a folder, and which of them an annotation means: images, and the masks of Ground Truth.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::reference::{Reference, as_uploaded, without_upload_prefix};
use crate::error::{Error, Problems};
use crate::files;

/// The files below a folder, known by their paths.
#[derive(Debug, Default)]
pub(super) struct Folder {
    root: PathBuf,
    /// Names of folders and the file, by number, in the order of their paths.
    paths: Vec<Vec<String>>,
    /// Numbers by the file's name.
    by_name: HashMap<String, Vec<usize>>,
    /// Numbers by the name that Label Studio would give an upload.
    by_upload: HashMap<String, Vec<usize>>,
    /// Numbers by the file's name without its extension.
    by_stem: HashMap<String, Vec<usize>>,
}

/// A file that a reference means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Match {
    /// Its number.
    pub file: usize,
    /// How many folders before the name agree.
    pub folders: usize,
    /// Whether the next folder is another one than the reference says: only the name tells that it is meant.
    pub strays: bool,
}

/// Why no image was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NotFound {
    /// None has the name.
    Missing,
    /// Only in another folder, and that is not good enough; its path.
    Elsewhere(String),
    /// Several fit equally well; their paths.
    Ambiguous(Vec<String>),
}

impl Folder {
    /// Lists the files below `root`. Those whose names are not UTF-8 are problems.
    pub(super) fn list(root: &Path, problems: &mut Problems) -> Self {
        let mut paths = Vec::new();
        let mut unnamed = Vec::new();
        files::below(root, problems, &mut |path, _| {
            let below = path.strip_prefix(root).unwrap_or(&path);
            let names: Option<Vec<String>> =
                below.iter().map(|name| name.to_str().map(str::to_owned)).collect();
            match names {
                Some(names) => paths.push(names),
                None => unnamed.push(path),
            }
        });
        for path in unnamed {
            problems.push(format!("{}: the name is not UTF-8; rename it", path.display()));
        }
        paths.sort();
        let mut folder = Self { root: root.to_owned(), ..Self::default() };
        for (number, path) in paths.iter().enumerate() {
            let Some(name) = path.last() else { continue };
            folder.by_name.entry(name.clone()).or_default().push(number);
            folder.by_upload.entry(as_uploaded(name)).or_default().push(number);
            if !is_sidecar(name) {
                folder.by_stem.entry(stem(name).to_owned()).or_default().push(number);
            }
        }
        folder.paths = paths;
        folder
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// The path of an image.
    pub(super) fn path(&self, image: usize) -> PathBuf {
        self.root.join(self.key(image))
    }

    /// The path of an image below the folder, with `/`: what the split goes by.
    pub(super) fn key(&self, image: usize) -> String {
        self.paths[image].join("/")
    }

    /// The image whose path has the longest end in common with the reference; with `strictly` one in another folder
    /// than the reference says does not do.
    ///
    /// The file's name must be the same. If none is, percent signs are decoded, and then the prefix and the changes
    /// that Label Studio makes to an upload's name are undone.
    pub(super) fn find(&self, reference: &Reference, strictly: bool) -> Result<Match, NotFound> {
        for names in reference.readings() {
            let Some((name, folders)) = names.split_last() else { continue };
            let numbers = self.by_name.get(name);
            let numbers = numbers.or_else(|| {
                let name = without_upload_prefix(name)?;
                self.by_name.get(name).or_else(|| self.by_upload.get(name))
            });
            if let Some(numbers) = numbers {
                return self.nearest(numbers, (folders, reference.told(folders)), strictly);
            }
        }
        Err(NotFound::Missing)
    }

    /// The file whose path without extension has the longest end in common with `path`, which has none.
    pub(super) fn find_same_path(&self, path: &str, strictly: bool) -> Result<Match, NotFound> {
        let names: Vec<String> = path.split('/').map(str::to_owned).collect();
        let (name, folders) = names.split_last().ok_or(NotFound::Missing)?;
        let numbers = self.by_stem.get(name).ok_or(NotFound::Missing)?;
        self.nearest(numbers, (folders, folders.len()), strictly)
    }

    /// The one of `numbers` that fits best. The last `told` of the folders say where the file must lie.
    fn nearest(
        &self,
        numbers: &[usize],
        (folders, told): (&[String], usize),
        strictly: bool,
    ) -> Result<Match, NotFound> {
        let fit = |&file: &usize| {
            let path = self.paths[file].iter().rev().skip(1);
            let pairs = path.zip(folders.iter().rev());
            let common = pairs.take_while(|(one, other)| one == other).count();
            let depth = self.paths[file].len() - 1;
            // Where the name is all that is told, another instance may have the same one in another folder.
            let strays = common < told.min(depth) || (strictly && told == 0 && depth > 0);
            Match { file, folders: common, strays }
        };
        let mut fits: Vec<Match> = numbers.iter().map(fit).collect();
        if strictly && fits.iter().all(|fit| fit.strays) {
            return Err(NotFound::Elsewhere(self.key(fits[0].file)));
        }
        let longest = fits.iter().map(|fit| fit.folders).max().unwrap_or(0);
        fits.retain(|fit| fit.folders == longest && !(strictly && fit.strays));
        match fits[..] {
            [one] => Ok(one),
            // `a.jpg` itself is meant by `a.jpg`, whatever lies in folders beside it.
            _ => match fits
                .iter()
                .filter(|fit| self.paths[fit.file].len() == longest + 1)
                .collect::<Vec<_>>()[..]
            {
                [&whole] if longest == folders.len() => Ok(whole),
                _ => Err(NotFound::Ambiguous(fits.iter().map(|fit| self.key(fit.file)).collect())),
            },
        }
    }

    /// What the masks of `used` images are called, in their order: the file's name without extension; the whole
    /// path without extension where another one of the `known` images, or one that is only referred to (`elsewhere`),
    /// has the same name. Images that no annotation names do not count, because another instance would not know of
    /// them. Two files in one folder that differ in nothing but the extension are a problem.
    pub(super) fn names<'a>(
        &self,
        (used, known): (&[usize], &[usize]),
        elsewhere: impl IntoIterator<Item = &'a Reference>,
        problems: &mut Problems,
    ) -> Vec<String> {
        let elsewhere: Vec<&Reference> = elsewhere.into_iter().collect();
        let foreign: HashSet<&str> = elsewhere.iter().map(|reference| reference.stem()).collect();
        let mut stems: HashMap<&str, usize> = HashMap::new();
        for name in known.iter().filter_map(|&image| self.paths[image].last()) {
            *stems.entry(stem(name)).or_default() += 1;
        }
        let names: Vec<String> = used
            .iter()
            .map(|&image| {
                let path = &self.paths[image];
                let (name, folders) =
                    path.split_last().map_or(("", &[][..]), |(n, f)| (n.as_str(), f));
                let own = stem(name);
                let alone = stems.get(own).is_none_or(|count| *count == 1);
                if alone && !foreign.contains(own) {
                    return own.to_owned();
                }
                folders.iter().map(String::as_str).chain([own]).collect::<Vec<_>>().join("/")
            })
            .collect();
        let mut seen: HashMap<&str, usize> = HashMap::new();
        let mut twice = BTreeSet::new();
        for (name, &image) in names.iter().zip(used) {
            if let Some(other) = seen.insert(name, image) {
                twice.insert(format!("{} and {}", self.key(other), self.key(image)));
            }
        }
        for pair in twice {
            problems.push(format!(
                "{pair} have the same name but for the extension, and so would their masks; rename one"
            ));
        }
        names
    }
}

/// A file's name without its extension.
fn stem(name: &str) -> &str {
    name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()).map_or(name, |(stem, _)| stem)
}

/// Whether a file is what tools write beside an image.
fn is_sidecar(name: &str) -> bool {
    let extension = extension(name).to_ascii_lowercase();
    [".json", ".xml", ".txt", ".csv", ".yaml", ".yml"].contains(&extension.as_str())
}

/// The extension with its dot, as written.
pub(super) fn extension(key: &str) -> &str {
    let name = key.rsplit('/').next().unwrap_or(key);
    &name[stem(name).len()..]
}

/// The problem of a folder that is not there, before anything in it is looked for.
pub(super) fn folder_exists(folder: &Path, what: &str, flag: &str, problems: &mut Problems) {
    match fs::metadata(folder) {
        Ok(about) if about.is_dir() => {}
        Ok(_) => problems.push(format!(
            "{} is a file; {what} are looked for in a folder: name one with {flag}",
            folder.display()
        )),
        Err(cause) => {
            let error = Error::io("open", folder, &cause);
            problems.push(format!("{error}; name the folder of {what} with {flag}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(names: &[&str]) -> (tempfile::TempDir, Folder) {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        let mut problems = Problems::new();
        let images = Folder::list(folder.path(), &mut problems);
        problems.into_result().unwrap();
        (folder, images)
    }

    fn found(images: &Folder, reference: &str) -> Result<String, NotFound> {
        images
            .find(&Reference::parse(reference).unwrap(), false)
            .map(|found| images.key(found.file))
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
            assert_eq!(found(&images, reference).as_deref(), Ok(expected), "{reference}");
        }
        let both = |paths: [&str; 2]| Err(NotFound::Ambiguous(paths.map(str::to_owned).to_vec()));
        assert_eq!(found(&images, "s3://bucket/b.jpg"), both(["set1/b.jpg", "set2/b.jpg"]));
        assert_eq!(found(&images, "z/set1/c.jpg"), both(["x/set1/c.jpg", "y/set1/c.jpg"]));
        assert_eq!(found(&images, "s3://bucket/e.jpg"), Err(NotFound::Missing));
        // Nothing outside of the folder is looked at.
        assert_eq!(found(&images, "../../../../etc/passwd"), Err(NotFound::Missing));
    }

    #[test]
    fn another_folder_than_the_reference_says_is_noticed_and_may_be_refused() {
        let (_folder, images) = images(&["x/a.jpg", "y/a.jpg", "x/b.jpg", "c.jpg"]);
        let find = |reference: &str, strictly| {
            images.find(&Reference::parse(reference).unwrap(), strictly)
        };
        for (reference, strays, refused) in [
            ("s3://bucket/x/b.jpg", false, false),
            // Another instance may have one of that name in another folder.
            ("s3://bucket/b.jpg", false, true),
            ("/data/upload/1/0123abcd-b.jpg", false, true),
            ("/data/upload/1/0123abcd-c.jpg", false, false),
            ("s3://bucket/any/where/c.jpg", false, false),
            ("s3://bucket/z/b.jpg", true, true),
        ] {
            assert_eq!(find(reference, false).unwrap().strays, strays, "{reference}");
            assert_eq!(find(reference, true).is_err(), refused, "{reference}");
        }
        let elsewhere = Err(NotFound::Elsewhere("x/a.jpg".to_owned()));
        assert_eq!(find("s3://bucket/z/a.jpg", true), elsewhere);
        assert!(matches!(find("s3://bucket/z/a.jpg", false), Err(NotFound::Ambiguous(_))));
        assert_eq!(
            images.find_same_path("z/b", true),
            Err(NotFound::Elsewhere("x/b.jpg".to_owned()))
        );
        assert_eq!(images.key(images.find_same_path("y/a", true).unwrap().file), "y/a.jpg");
    }

    #[test]
    fn uploads_are_found_under_their_own_names() {
        let (_folder, images) = images(&["odd size ünïcode.png", "a.jpg", "deadbeef-b.jpg"]);
        for (reference, expected) in [
            ("/data/upload/1/ecb42193-odd_size_%C3%BCn%C3%AFcode.png", "odd size ünïcode.png"),
            ("/data/upload/1/a0cba9f4-a.jpg", "a.jpg"),
            ("/data/upload/1/deadbeef-b.jpg", "deadbeef-b.jpg"),
        ] {
            assert_eq!(found(&images, reference).as_deref(), Ok(expected), "{reference}");
        }
    }

    #[test]
    fn masks_are_named_by_stem_and_keep_folders_where_stems_are_equal() {
        let (_folder, images) = images(&["b/x.jpg", "a/x.png", "c/y.jpg", "c/z.tar.jpg"]);
        let used: Vec<usize> = (0..4).collect();
        let mut problems = Problems::new();
        assert_eq!(images.names((&used, &used), [], &mut problems), ["a/x", "b/x", "y", "z.tar"]);
        // The same on an instance that has only a part of the images.
        let other = Reference::parse("s3://bucket/d/y.jpg").unwrap();
        assert_eq!(images.names((&[2], &[2]), [&other], &mut problems), ["c/y"]);
        problems.into_result().unwrap();
        assert_eq!(extension("c/z.tar.JPG"), ".JPG");
        assert_eq!(extension("c.d/z"), "");
    }

    #[test]
    fn files_that_differ_in_their_extension_only_are_told() {
        let (_folder, images) = images(&["a/x.jpg", "a/x.png"]);
        let mut problems = Problems::new();
        images.names((&[0, 1], &[0, 1]), [], &mut problems);
        let text = problems.into_result().unwrap_err().to_string();
        assert!(text.starts_with("a/x.jpg and a/x.png have the same name but for"), "{text}");
    }
}
