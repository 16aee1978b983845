//! Places in S3 as folders of this machine.
//!
//! `--map s3://BUCKET/PREFIX=DIR` gives a prefix a folder. Every other place lies below the local
//! root, in `s3/BUCKET/KEY`. Jobs never see these folders: their inputs are copied and their
//! outputs moved, as the service downloads and uploads, so no job can change the files of a person.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::error::{Error, Problems, Result};
use crate::files::{
    PathContext, create_folder, is_partial, remove_partials, write_atomically_with,
};
use crate::pipeline::digest::{digest_file, to_hex};

/// Depth of folders below which a place is taken to go round in a circle of links.
const MAX_DEPTH: usize = 64;

/// Folder for a prefix of S3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceMap {
    /// `s3://BUCKET` or `s3://BUCKET/PREFIX`, without a slash at the end.
    uri: String,
    folder: PathBuf,
}

impl PlaceMap {
    /// Parses `s3://BUCKET/PREFIX=DIR`. The error completes a sentence whose subject is the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let form = "give s3://BUCKET/PREFIX=DIR";
        // Keys may have the sign, as in s3://BUCKET/date=2026-01-01; names of folders rarely do.
        let (uri, folder) = text.rsplit_once('=').ok_or(form)?;
        parse_uri(uri).map_err(|problem| format!("{problem}; {form}"))?;
        if folder.is_empty() {
            return Err(form.to_owned());
        }
        Ok(Self { uri: uri.trim_end_matches('/').to_owned(), folder: folder.into() })
    }
}

/// The folders of all places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Places {
    maps: Vec<PlaceMap>,
    /// Folder of the places that are not mapped.
    root: PathBuf,
}

/// A file of a place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PlaceFile {
    /// Path below the place, with `/` between its parts.
    pub name: String,
    pub path: PathBuf,
}

/// Parses `s3://BUCKET/KEY` into bucket and parts of the key.
fn parse_uri(uri: &str) -> Result<(&str, Vec<&str>), String> {
    let rest = uri.strip_prefix("s3://").filter(|rest| !rest.is_empty() && !rest.starts_with('/'));
    let Some(rest) = rest else {
        return Err(format!("{uri:?} is no place in S3; allowed: s3://BUCKET/PREFIX"));
    };
    let mut parts = rest.trim_end_matches('/').split('/');
    let bucket = parts.next().unwrap_or_default();
    let parts: Vec<&str> = parts.collect();
    for part in std::iter::once(&bucket).chain(&parts) {
        if part.is_empty() || matches!(*part, "." | "..") || part.contains('\0') {
            return Err(format!(
                "{uri:?} has a part {part:?}, which cannot be a folder; rename it"
            ));
        }
    }
    Ok((bucket, parts))
}

impl Places {
    /// Takes the maps and the folder of all other places. Two maps of one prefix, and folders that
    /// are files, are errors.
    pub(super) fn new(maps: &[PlaceMap], root: PathBuf) -> Result<Self> {
        let mut problems = Problems::new();
        let mut known = BTreeSet::new();
        for map in maps {
            if !known.insert(map.uri.as_str()) {
                problems.push(format!("--map {}: is given twice", map.uri));
            }
            if map.folder.exists() && !map.folder.is_dir() {
                let folder = map.folder.display();
                problems.push(format!("--map {}: {folder} is no folder", map.uri));
            }
        }
        problems.into_result()?;
        Ok(Self { maps: maps.to_vec(), root })
    }

    /// Finds maps of a folder that holds the local root: copies of the data would become data.
    pub(super) fn check_apart_from(&self, root: &Path) -> Result<()> {
        let mut problems = Problems::new();
        for map in &self.maps {
            if map.folder.canonicalize().is_ok_and(|folder| root.starts_with(folder)) {
                problems.push(format!(
                    "--map {}={}: the folder holds {}, where runs keep their copies; map a folder \
                     in it, or give another --root",
                    map.uri,
                    map.folder.display(),
                    root.display()
                ));
            }
        }
        problems.into_result()
    }

    /// Returns true if a place is no mapped folder, so that only runs write there.
    pub(super) fn is_own(&self, uri: &str) -> bool {
        self.path(uri).is_ok_and(|path| path.starts_with(&self.root))
    }

    /// Returns the file or folder of a place, which need not be there.
    pub(super) fn path(&self, uri: &str) -> Result<PathBuf> {
        let (bucket, parts) = parse_uri(uri).map_err(Error::input)?;
        let whole = uri.trim_end_matches('/');
        let mut best: Option<(&PlaceMap, &str)> = None;
        for map in &self.maps {
            let Some(rest) = whole.strip_prefix(&map.uri) else { continue };
            let is_below = rest.is_empty() || rest.starts_with('/');
            if is_below && best.is_none_or(|(other, _)| map.uri.len() > other.uri.len()) {
                best = Some((map, rest));
            }
        }
        Ok(match best {
            Some((map, rest)) => map.folder.join(rest.trim_start_matches('/')),
            None => parts.iter().fold(self.root.join(bucket), |path, part| path.join(part)),
        })
    }

    /// Lists the files of a place, by name: all files below a folder, or the file itself. Links are
    /// followed. A place without any file is an error that says how to map it.
    pub(super) fn list(&self, uri: &str) -> Result<Vec<PlaceFile>> {
        let path = self.path(uri)?;
        let files = list_files(&path)?;
        if files.is_empty() {
            return Err(Error::input(format!(
                "{uri}: there is no file in {}; put the data there, or name their folder by \
                 --map {}=DIR",
                path.display(),
                uri.trim_end_matches('/')
            )));
        }
        Ok(files)
    }

    /// Returns the only file of a place that names one.
    pub(super) fn file(&self, uri: &str) -> Result<PathBuf> {
        let path = self.path(uri)?;
        if path.is_dir() {
            let folder = path.display();
            return Err(Error::input(format!("{uri}: {folder} is a folder; name one file")));
        }
        self.list(uri)?;
        Ok(path)
    }

    /// Returns the names of other files and folders beside a place whose names begin with its own:
    /// the service reads them too, because a place is the beginning of keys.
    pub(super) fn list_namesakes(&self, uri: &str) -> Result<Vec<String>> {
        let mut namesakes = Vec::new();
        // Beside a mapped folder lies what is no part of S3.
        let is_mapped = self.maps.iter().any(|map| map.uri == uri);
        if uri.ends_with('/') || is_mapped {
            return Ok(namesakes);
        }
        let path = self.path(uri)?;
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(namesakes);
        };
        let name = name.to_string_lossy();
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let other = entry.file_name().to_string_lossy().into_owned();
            if other != name && other.starts_with(name.as_ref()) {
                namesakes.push(other);
            }
        }
        namesakes.sort();
        Ok(namesakes)
    }
}

/// Lists a file, or all files below a folder, by name. Links are followed.
pub(super) fn list_files(path: &Path) -> Result<Vec<PlaceFile>> {
    let mut files = Vec::new();
    if path.is_file() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.push(PlaceFile { name, path: path.to_owned() });
    } else if path.is_dir() {
        list_folder(path, "", 0, &mut files)?;
    }
    files.sort();
    Ok(files)
}

fn list_folder(
    folder: &Path,
    prefix: &str,
    depth: usize,
    files: &mut Vec<PlaceFile>,
) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(Error::input(format!(
            "{}: the folders are more than {MAX_DEPTH} deep; do links go round in a circle?",
            folder.display()
        )));
    }
    for entry in fs::read_dir(folder).with_path("read the folder", folder)? {
        let entry = entry.with_path("read the folder", folder)?;
        let path = entry.path();
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
            return Err(Error::input(format!(
                "{}: the name is not UTF-8, which S3 needs; rename the file",
                path.display()
            )));
        };
        let name = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        let metadata = fs::metadata(&path).with_path("read", &path)?;
        if metadata.is_dir() {
            list_folder(&path, &name, depth + 1, files)?;
        } else if metadata.is_file() {
            files.push(PlaceFile { name, path });
        } else {
            let path = path.display();
            return Err(Error::input(format!("{path}: is neither a file nor a folder")));
        }
    }
    Ok(())
}

/// Returns a digest of names and contents of files, which must be sorted by name.
pub(super) fn digest_files(files: &[PlaceFile]) -> Result<String> {
    let digests: Result<Vec<[u8; 32]>> =
        files.par_iter().map(|file| digest_file(&file.path)).collect();
    let mut all = Sha256::new();
    for (file, digest) in files.iter().zip(digests?) {
        all.update((file.name.len() as u64).to_le_bytes());
        all.update(file.name.as_bytes());
        all.update(digest);
    }
    Ok(to_hex(&all.finalize()))
}

/// Copies files into a folder, which is made. File systems that can share blocks (Btrfs, XFS) do.
pub(super) fn copy_files(files: &[PlaceFile], folder: &Path) -> Result<()> {
    create_folder(folder)?;
    let mut folders = BTreeSet::new();
    for file in files {
        if let Some((parent, _)) = file.name.rsplit_once('/') {
            folders.insert(parent);
        }
    }
    for parent in folders {
        create_folder(&folder.join(parent))?;
    }
    files.par_iter().try_for_each(|file| {
        fs::copy(&file.path, folder.join(&file.name)).map(drop).with_path("copy", &file.path)
    })
}

/// Lists the files that a job wrote to a folder, by name. Links and special files are left out, as
/// the service leaves them out; their names come second.
pub(super) fn list_written(folder: &Path) -> Result<(Vec<PlaceFile>, Vec<String>)> {
    let mut files = Vec::new();
    let mut left_out = Vec::new();
    if folder.is_dir() {
        list_written_below(folder, "", &mut files, &mut left_out)?;
    }
    files.sort();
    left_out.sort();
    Ok((files, left_out))
}

fn list_written_below(
    folder: &Path,
    prefix: &str,
    files: &mut Vec<PlaceFile>,
    left_out: &mut Vec<String>,
) -> Result<()> {
    for entry in fs::read_dir(folder).with_path("read the folder", folder)? {
        let entry = entry.with_path("read the folder", folder)?;
        let path = entry.path();
        let kind = entry.file_type().with_path("read", &path)?;
        if is_partial(&path) {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        let name = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        if kind.is_dir() {
            list_written_below(&path, &name, files, left_out)?;
        } else if kind.is_file() {
            files.push(PlaceFile { name, path });
        } else {
            left_out.push(name);
        }
    }
    Ok(())
}

/// Removes links among the folders on the way from a job's folder down to one below it. A job may
/// have made them, and what is done below the folder must not be done elsewhere.
pub(super) fn unlink_folder_links(ml: &Path, below: &Path) -> Result<()> {
    let mut path = ml.to_owned();
    for part in below.components() {
        path.push(part);
        if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink()) {
            fs::remove_file(&path).with_path("remove the link", &path)?;
        }
    }
    Ok(())
}

/// Moves files into the folder of a place. Files of the same names that are there are replaced, as
/// in S3, and others stay.
pub(super) fn move_files(files: &[PlaceFile], folder: &Path) -> Result<()> {
    let mut known_folders = BTreeSet::new();
    for file in files {
        let target = folder.join(&file.name);
        if let Some(parent) = target.parent()
            && known_folders.insert(parent.to_owned())
        {
            create_folder(parent)?;
            remove_partials(parent);
        }
        if fs::rename(&file.path, &target).is_ok() {
            continue;
        }
        // Another file system, or a reason that the copy meets again and tells.
        write_atomically_with(&target, |partial| {
            fs::copy(&file.path, partial).map(drop).with_path("write", &target)
        })?;
        fs::remove_file(&file.path).with_path("remove", &file.path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn places(folder: &Path, maps: &[&str]) -> Places {
        let maps: Vec<PlaceMap> = maps.iter().map(|map| PlaceMap::parse(map).unwrap()).collect();
        Places::new(&maps, folder.join("s3")).unwrap()
    }

    #[test]
    fn the_longest_map_that_a_place_lies_below_wins() {
        let places = places(
            Path::new("/root"),
            &["s3://b/data/=/data", "s3://b/data/images=/pictures", "s3://whole=/w"],
        );
        let path = |uri: &str| places.path(uri).unwrap().display().to_string();
        assert_eq!(path("s3://b/data/x.json"), "/data/x.json");
        assert_eq!(path("s3://b/data/images/"), "/pictures/");
        assert_eq!(path("s3://b/data/images/a/b.jpg"), "/pictures/a/b.jpg");
        assert_eq!(path("s3://b/data/images2"), "/data/images2");
        assert_eq!(path("s3://b/database"), "/root/s3/b/database");
        assert_eq!(path("s3://whole/k"), "/w/k");
        for wrong in ["https://b/k", "s3://", "s3:///k", "s3://b/../k", "s3://b/a//k", "b/k"] {
            assert!(places.path(wrong).is_err(), "{wrong}");
        }
        let keyed = PlaceMap::parse("s3://b/dt=2026/x=DIR").unwrap();
        assert_eq!((keyed.uri.as_str(), keyed.folder.to_str()), ("s3://b/dt=2026/x", Some("DIR")));
        for wrong in ["s3://b", "s3://b=", "b=/x", "s3://b/..=/x"] {
            assert!(PlaceMap::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn copies_are_apart_from_their_originals_and_outputs_leave_other_files_alone() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path(), &[]);
        let source = folder.path().join("s3/b/in");
        fs::create_dir_all(source.join("deep")).unwrap();
        fs::write(source.join("deep/a"), "one").unwrap();
        std::os::unix::fs::symlink(source.join("deep/a"), source.join("link")).unwrap();
        let files = places.list("s3://b/in").unwrap();
        let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["deep/a", "link"]);
        let digest = digest_files(&files).unwrap();

        let job = folder.path().join("job");
        copy_files(&files, &job).unwrap();
        assert_eq!(list_written(&job).unwrap().1, [""; 0], "the copy of a link is a file");
        fs::write(job.join("deep/a"), "two").unwrap();
        assert_eq!(digest_files(&files).unwrap(), digest);

        std::os::unix::fs::symlink("deep/a", job.join("new-link")).unwrap();
        let (written, left_out) = list_written(&job).unwrap();
        assert_eq!(left_out, ["new-link"]);
        let target = places.path("s3://b/out").unwrap();
        fs::create_dir_all(target.join("deep")).unwrap();
        fs::write(target.join("deep/a"), "old").unwrap();
        fs::write(target.join("other"), "stays").unwrap();
        move_files(&written, &target).unwrap();
        assert_eq!(fs::read_to_string(target.join("deep/a")).unwrap(), "two");
        assert_eq!(fs::read_to_string(target.join("other")).unwrap(), "stays");
        assert!(!job.join("deep/a").exists());
        assert_ne!(digest_files(&places.list("s3://b/out").unwrap()).unwrap(), digest);
    }

    proptest! {
        #[test]
        fn no_place_leads_out_of_its_folder(
            uri in "(s3://)?[a-z./ é=-]{0,12}(/[a-z./ é=-]{0,12}){0,3}",
            map in "s3://[a-z./=-]{0,8}=[a-z./]{0,8}",
        ) {
            let places = Places { maps: Vec::new(), root: PathBuf::from("/root/s3") };
            if let Ok(path) = places.path(&uri) {
                prop_assert!(path.starts_with("/root/s3") && path != Path::new("/root/s3"), "{path:?}");
                prop_assert!(path.components().all(|part| part != std::path::Component::ParentDir));
                prop_assert!(places.is_own(&uri));
            }
            if let Ok(map) = PlaceMap::parse(&map) {
                let mapped = Places { maps: vec![map.clone()], root: PathBuf::from("/root/s3") };
                prop_assert_eq!(mapped.path(&map.uri).unwrap().components().count(),
                    map.folder.components().count());
                prop_assert!(!mapped.is_own(&map.uri) || map.folder.starts_with("/root/s3"));
            }
        }
    }

    #[test]
    fn links_on_the_way_to_a_folder_are_removed_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (ml, elsewhere) = (folder.path().join("ml"), folder.path().join("elsewhere"));
        fs::create_dir_all(ml.join("processing")).unwrap();
        fs::create_dir_all(elsewhere.join("train")).unwrap();
        fs::write(elsewhere.join("train/original"), "kept").unwrap();
        std::os::unix::fs::symlink(&elsewhere, ml.join("processing/output")).unwrap();
        unlink_folder_links(&ml, Path::new("processing/output/train")).unwrap();
        assert!(!ml.join("processing/output").exists());
        assert!(elsewhere.join("train/original").exists());
    }

    #[test]
    fn a_map_of_the_folder_of_runs_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root").join("deep");
        fs::create_dir_all(&root).unwrap();
        let map = format!("s3://b={}", folder.path().display());
        let error = places(&root, &[&map]).check_apart_from(&root.canonicalize().unwrap());
        assert!(error.unwrap_err().to_string().contains("give another --root"));
    }

    #[test]
    fn a_place_without_files_says_how_to_map_it() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path(), &[]);
        let error = places.list("s3://b/none/").unwrap_err().to_string();
        assert!(error.contains("--map s3://b/none=DIR"), "{error}");
        fs::create_dir_all(folder.path().join("s3/b/train")).unwrap();
        fs::create_dir_all(folder.path().join("s3/b/train_annotation")).unwrap();
        assert_eq!(places.list_namesakes("s3://b/train").unwrap(), ["train_annotation"]);
        assert_eq!(places.list_namesakes("s3://b/train/").unwrap(), [""; 0]);
    }
}
