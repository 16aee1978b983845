//! The place of an image's or a mask's bytes: a file, or an object of S3.

use std::fmt;
use std::path::PathBuf;

use super::objects::CachedObject;
use crate::error::{Error, Result};
use crate::files;

/// Bytes that can be read again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A local file.
    File(PathBuf),
    /// An object, kept on disk if there is room.
    Object(CachedObject),
}

impl Content {
    /// Reads all bytes.
    pub fn read(&self) -> Result<Vec<u8>> {
        match self {
            Self::File(path) => files::read_file(path),
            Self::Object(object) => match object.read() {
                Ok(bytes) => Ok(bytes),
                Err(error) => Err(Error::from(error).with_context(object.manifest_line())),
            },
        }
    }

    /// Returns the tag by which S3 identifies the whole content of an object that was read; files
    /// have none.
    pub fn etag(&self) -> Option<String> {
        match self {
            Self::File(_) => None,
            Self::Object(object) => object.etag(),
        }
    }

    /// Returns the path or URI, for messages.
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
