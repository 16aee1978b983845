//! Files and folders: listing a folder, and writing a file so that it is whole or absent
//! (`docs/architecture.md#atomic-files`).

use std::borrow::Cow;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tempfile::{NamedTempFile, TempDir};
use unicode_normalization::UnicodeNormalization;

use crate::error::{Error, Problems, Result};

/// Prefix of temporary names, which a killed process may leave behind.
const PARTIAL_PREFIX: &str = ".partial-";

/// Mode of written files: all users may read them, the owner may write them.
const FILE_MODE: u32 = 0o644;

/// Name of the file that marks a folder as unfinished. A folder holds it while `preprocess` fills
/// the folder, so that an interrupted run is not mistaken for a complete one.
pub const UNFINISHED_MARKER: &str = ".maskmaker-unfinished";

/// Returns a name in Unicode's composed form (NFC), in which names that are canonically equivalent
/// are equal. macOS decomposes the accents of file names, most writers of annotations compose them.
pub fn normalize_name(name: &str) -> Cow<'_, str> {
    if name.is_ascii() { Cow::Borrowed(name) } else { Cow::Owned(name.nfc().collect()) }
}

/// Names the file in the error of an operation of the operating system.
pub trait PathContext<T> {
    /// Converts an error to that of an operation on `path`. `operation` completes "cannot ...
    /// PATH", for example "read".
    fn with_path(self, operation: &str, path: &Path) -> Result<T>;
}

impl<T> PathContext<T> for io::Result<T> {
    fn with_path(self, operation: &str, path: &Path) -> Result<T> {
        self.map_err(|cause| Error::io(operation, path, &cause))
    }
}

/// Writes `bytes` to `path`: under a temporary name in the same folder first, then syncs and
/// renames. Makes missing parent folders.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    write_and_sync(path, bytes).with_path("write", path)
}

fn write_and_sync(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = parent_folder(path);
    fs::create_dir_all(folder)?;
    let mut file = create_partial_file(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    fsync_folder(folder)
}

/// Writes a value as JSON for people, as [`write_atomically`] does.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|cause| Error::internal(format!("{}: {cause}", path.display())))?;
    bytes.push(b'\n');
    write_atomically(path, &bytes)
}

/// Writes `bytes` to `path` as [`write_atomically`] does, but does not wait for the disk. The
/// caller marks the folder with [`UNFINISHED_MARKER`] and calls [`sync_filesystem`] after the last
/// file. The folder must exist.
pub fn write_without_sync(path: &Path, bytes: &[u8]) -> Result<()> {
    write_and_rename(path, bytes).with_path("write", path)
}

fn write_and_rename(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = create_partial_file(parent_folder(path))?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

/// Creates a file with a temporary name in `folder`.
fn create_partial_file(folder: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix(PARTIAL_PREFIX)
        .permissions(fs::Permissions::from_mode(FILE_MODE))
        .tempfile_in(folder)
}

/// Makes a folder and its missing parents.
pub fn create_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_path("make the folder", path)
}

/// Waits until all written data of the file system that holds `folder` is on disk.
pub fn sync_filesystem(folder: &Path) -> Result<()> {
    let open_folder = fs::File::open(folder).with_path("write", folder)?;
    rustix::fs::syncfs(open_folder).map_err(io::Error::from).with_path("write", folder)
}

/// Writes a file as [`write_atomically`] does, with content that `write_content` puts piece by
/// piece into a new file. `write_content` gets the temporary path of that file.
pub fn write_atomically_with(
    path: &Path,
    write_content: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let folder = parent_folder(path);
    let partial_folder = create_partial_folder(folder).with_path("write", path)?;
    let file = partial_folder.path().join("content");
    write_content(&file)?;
    sync_and_rename(&file, path).with_path("write", path)
}

/// Makes `folder` and its missing parents, and in it a folder with a temporary name.
pub(crate) fn create_partial_folder(folder: &Path) -> io::Result<TempDir> {
    fs::create_dir_all(folder)?;
    tempfile::Builder::new().prefix(PARTIAL_PREFIX).tempdir_in(folder)
}

fn sync_and_rename(file: &Path, path: &Path) -> io::Result<()> {
    fs::set_permissions(file, fs::Permissions::from_mode(FILE_MODE))?;
    fs::File::open(file)?.sync_all()?;
    fs::rename(file, path)?;
    fsync_folder(parent_folder(path))
}

/// Returns the folder of a file: `.` for a bare name, whose parent is empty.
fn parent_folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Brings a folder's entries to disk. A rename survives a power cut only after that.
fn fsync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

/// Returns true for the name of a file or folder that is being written.
pub fn is_partial(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PARTIAL_PREFIX))
}

/// Removes the temporary files and folders that a killed process left in `folder`. Ignores those
/// that cannot be removed.
pub fn remove_partials(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(PARTIAL_PREFIX) {
            let path = entry.path();
            let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        }
    }
}

/// Removes a file if it exists.
pub fn remove_file_if_exists(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.with_path("remove", path),
    }
}

/// Calls `visit` with the path and size in bytes of each file at any depth below a folder, in no
/// particular order. Leaves out hidden files and files that storage systems and tools put beside
/// data. Reports as problems entries that cannot be read and entries that are neither file nor
/// folder.
pub fn visit_files(folder: &Path, problems: &mut Problems, visit: &mut impl FnMut(PathBuf, u64)) {
    visit_files_until(folder, &|| false, problems, visit);
}

/// Calls `visit` as [`visit_files`] does, until `is_done` returns true.
pub fn visit_files_until(
    folder: &Path,
    is_done: &impl Fn() -> bool,
    problems: &mut Problems,
    visit: &mut impl FnMut(PathBuf, u64),
) {
    let entries = fs::read_dir(folder).with_path("list", folder);
    let Some(entries) = problems.record_err(entries) else { return };
    for entry in entries {
        if is_done() {
            return;
        }
        let entry = entry.with_path("list", folder);
        let Some(entry) = problems.record_err(entry) else { continue };
        let path = entry.path();
        if is_ignored_file(&path) {
            continue;
        }
        // `metadata` follows links: SageMaker's FastFile mode and mounts on a laptop may hold some.
        let metadata = fs::metadata(&path).with_path("read", &path);
        let Some(metadata) = problems.record_err(metadata) else { continue };
        if metadata.is_dir() {
            visit_files_until(&path, is_done, problems, visit);
        } else if metadata.is_file() {
            visit(path, metadata.len());
        } else {
            // Reading a FIFO may never end.
            problems.push(format!("{} is neither a file nor a folder; remove it", path.display()));
        }
    }
}

fn is_ignored_file(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.')
        || name == "_SUCCESS"
        || name.ends_with("_$folder$")
        || name == "Thumbs.db"
        || name == "__MACOSX"
}

/// Checks that files can be written to a folder, which is made if it is missing.
pub fn check_writable(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)
        .and_then(|()| tempfile::NamedTempFile::new_in(folder))
        .map(drop)
        .with_path("write", folder)
}

/// Reads a whole file; the error names the file.
pub fn read_file(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_path("read", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_file_is_whole_and_leaves_no_temporary_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b.txt");
        write_atomically(&path, b"one").unwrap();
        write_atomically(&path, b"two").unwrap();
        assert_eq!(read_file(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn content_in_pieces_is_whole_or_absent_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        write_atomically_with(&path, |file| {
            fs::write(file, b"whole").unwrap();
            Ok(())
        })
        .unwrap();
        let result = write_atomically_with(&path, |file| {
            fs::write(file, b"ha").unwrap();
            Err(Error::input("no space left"))
        });
        assert!(result.is_err());
        assert_eq!(read_file(&path).unwrap(), b"whole");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("kept"), b"").unwrap();
        fs::write(folder.path().join(".partial-x"), b"").unwrap();
        fs::create_dir(folder.path().join(".partial-y")).unwrap();
        remove_partials(folder.path());
        let names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["kept"]);
        remove_partials(&folder.path().join("absent"));
    }

    #[test]
    fn what_is_to_be_removed_may_be_gone_but_must_be_removable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("old");
        fs::write(&path, b"").unwrap();
        remove_file_if_exists(&path).unwrap();
        assert!(!path.exists());
        remove_file_if_exists(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(
            remove_file_if_exists(&path).unwrap_err().to_string().starts_with("cannot remove ")
        );
    }

    #[test]
    fn a_folder_that_is_a_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("model");
        fs::write(&file, b"").unwrap();
        let error = write_atomically(&file.join("x"), b"1").unwrap_err();
        assert!(error.to_string().contains("model/x"), "{error}");
    }
}
