//! Files and folders: listing what is there, and writing so that a file is whole or absent
//! (`docs/architecture.md#atomic-files`).

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::{Error, Problems, Result};

/// How names start that a killed process may leave behind.
const PARTIAL_PREFIX: &str = ".partial-";

/// What a folder holds while it is being filled by a program whose interruption must not be mistaken for its end.
pub const UNFINISHED_MARKER: &str = ".maskmaker-unfinished";

/// Writes `bytes` to `path` under a temporary name in the same folder, syncs, and renames.
/// Missing parent folders are made.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let write_error = |cause: &std::io::Error| Error::io("write", path, cause);
    let folder = parent_folder(path);
    fs::create_dir_all(folder).map_err(|e| write_error(&e))?;
    let mut file = tempfile::Builder::new()
        .prefix(PARTIAL_PREFIX)
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(folder)
        .map_err(|e| write_error(&e))?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(|e| write_error(&e))?;
    file.persist(path).map_err(|e| write_error(&e.error))?;
    fsync_folder(folder).map_err(|e| write_error(&e))
}

/// The same without waiting for the disk, for many files whose folder is marked as [`UNFINISHED`] and brought to disk
/// in the end by [`sync_disk`]. The folder must be there.
pub fn write_without_sync(path: &Path, bytes: &[u8]) -> Result<()> {
    let write_error = |cause: &std::io::Error| Error::io("write", path, cause);
    let mut file = tempfile::Builder::new()
        .prefix(PARTIAL_PREFIX)
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(parent_folder(path))
        .map_err(|e| write_error(&e))?;
    file.write_all(bytes).map_err(|e| write_error(&e))?;
    file.persist(path).map(drop).map_err(|e| write_error(&e.error))
}

/// Makes a folder and those above it.
pub fn create_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|cause| Error::io("make the folder", path, &cause))
}

/// Waits until everything that was written is on the disk of `folder`.
pub fn sync_filesystem(folder: &Path) -> Result<()> {
    let sync = || rustix::fs::syncfs(fs::File::open(folder)?).map_err(std::io::Error::from);
    sync().map_err(|cause| Error::io("write", folder, &cause))
}

/// As [`write_atomically`] for content that `write` puts into a new file at the path it is given, piece by piece.
pub fn write_atomically_with(
    path: &Path,
    write_content: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let write_error = |cause: &std::io::Error| Error::io("write", path, cause);
    let folder = parent_folder(path);
    fs::create_dir_all(folder).map_err(|e| write_error(&e))?;
    let temporary_folder = tempfile::Builder::new()
        .prefix(PARTIAL_PREFIX)
        .tempdir_in(folder)
        .map_err(|e| write_error(&e))?;
    let file = temporary_folder.path().join("content");
    write_content(&file)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(&file, mode)
        .and_then(|()| fs::File::open(&file)?.sync_all())
        .and_then(|()| fs::rename(&file, path))
        .and_then(|()| fsync_folder(folder))
        .map_err(|e| write_error(&e))
}

/// The folder of a file; a bare name has an empty parent.
fn parent_folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A rename survives a power cut only once the folder is on disk too.
fn fsync_folder(folder: &Path) -> std::io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

/// Removes what a killed process left half written in `folder`; what cannot be removed stays.
pub fn remove_partials(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(PARTIAL_PREFIX) {
            let path = entry.path();
            let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        }
    }
}

/// Removes a file if it is there.
pub fn remove_file_if_exists(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", path, &cause))
        }
        _ => Ok(()),
    }
}

/// Visits the files at any depth below a folder with their sizes in bytes, in no particular order. What storage
/// and tools leave beside data is not visited: hidden files and Hadoop's markers. Everything that cannot be read,
/// and what is neither a file nor a folder, is a problem.
pub fn visit_files(folder: &Path, problems: &mut Problems, visit: &mut impl FnMut(PathBuf, u64)) {
    let entries = fs::read_dir(folder).map_err(|cause| Error::io("list", folder, &cause));
    for entry in problems.record_err(entries).into_iter().flatten() {
        let entry = entry.map_err(|cause| Error::io("list", folder, &cause));
        let Some(path) = problems.record_err(entry).map(|entry| entry.path()) else { continue };
        if is_ignored_file(&path) {
            continue;
        }
        // Follows links, as FastFile and mounts of a laptop may have them.
        let metadata = fs::metadata(&path).map_err(|cause| Error::io("read", &path, &cause));
        let Some(metadata) = problems.record_err(metadata) else { continue };
        if metadata.is_dir() {
            visit_files(&path, problems, visit);
        } else if metadata.is_file() {
            visit(path, metadata.len());
        } else {
            // Reading a FIFO would wait for ever.
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

/// Reads a whole file, naming it when that fails.
pub fn read_file(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|cause| Error::io("read", path, &cause))
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
