//! Models that commands are given: a folder, or an archive that is unpacked for the time of the command.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::error::{Error, Result};
use crate::files::PathContext;
use crate::model::archive::{ARCHIVE_FILE, unpack_model};
use crate::model::artifact::{CONFIG_FILE, TORCHSCRIPT_FILE};

/// A model in a folder, which may be a temporary one.
#[derive(Debug)]
pub(super) struct OpenModel {
    /// Place that is named for people: the folder or archive, or the ARN of a version.
    pub(super) path: PathBuf,
    pub(super) folder: PathBuf,
    _unpacked: Option<TempDir>,
}

impl OpenModel {
    /// Finds the model, and unpacks it if it is an archive. `path` is a folder, a `model.tar.gz`, or a
    /// folder that holds this archive.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let archive = path.join(ARCHIVE_FILE);
        let has_model =
            [CONFIG_FILE, TORCHSCRIPT_FILE].iter().any(|name| path.join(name).is_file());
        let archive = match (path.is_file(), archive.is_file()) {
            (true, _) => path,
            (false, true) if has_model => {
                return Err(Error::input(format!(
                    "{} holds {ARCHIVE_FILE} and an unpacked model beside it, and they may differ; \
                     remove one of them",
                    path.display()
                )));
            }
            (false, true) => &archive,
            (false, false) => {
                let (path, folder) = (path.to_owned(), path.to_owned());
                return Ok(Self { path, folder, _unpacked: None });
            }
        };
        let unpacked = make_temporary_folder()?;
        unpack_model(archive, unpacked.path())?;
        Ok(Self::of_unpacked(path.to_owned(), unpacked))
    }

    /// Takes over a temporary folder with the unpacked model of `path`.
    pub(super) fn of_unpacked(path: PathBuf, unpacked: TempDir) -> Self {
        Self { path, folder: unpacked.path().to_owned(), _unpacked: Some(unpacked) }
    }
}

/// Makes a folder that goes away with its handle.
pub(super) fn make_temporary_folder() -> Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("maskmaker-").tempdir();
    folder.with_path("write to", &std::env::temp_dir())
}
