//! The temporary folder of a job.

use std::path::Path;

use tempfile::TempDir;

use crate::error::Result;
use crate::files::PathContext;

/// A temporary folder for files of streams and objects of S3. It is made when it is first needed,
/// and removed when this is dropped.
#[derive(Debug, Default)]
pub struct Spool {
    folder: Option<TempDir>,
}

impl Spool {
    /// Returns the folder, which exists then.
    pub(super) fn folder(&mut self) -> Result<&Path> {
        let folder = match self.folder.take() {
            Some(folder) => folder,
            None => tempfile::Builder::new()
                .prefix("maskmaker-")
                .tempdir()
                .with_path("make a folder in", &std::env::temp_dir())?,
        };
        Ok(self.folder.insert(folder).path())
    }
}
