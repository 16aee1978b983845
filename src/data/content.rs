//! Where the bytes of an image or a mask are: in a file, or in an object of S3.

use std::fmt;
use std::path::PathBuf;

use super::objects::CachedObject;
use crate::error::{Error, Result};
use crate::files;

/// Something whose bytes can be read, again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A file.
    File(PathBuf),
    /// An object, kept on disk as long as there is room.
    Object(CachedObject),
}

impl Content {
    /// All bytes.
    pub fn read(&self) -> Result<Vec<u8>> {
        match self {
            Self::File(path) => files::read_file(path),
            Self::Object(object) => object
                .read()
                .map_err(|error| Error::from(error).with_context(object.manifest_line())),
        }
    }

    /// Its path or URI, for messages.
    pub fn display(&self) -> impl fmt::Display {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Object(object) => object.to_string(),
        }
    }
}

impl<P: Into<PathBuf>> From<P> for Content {
    fn from(path: P) -> Self {
        Self::File(path.into())
    }
}
