//! Trait of an object store, with its requests and answers.

use std::fmt::Debug;
use std::fs::File;
use std::io::{self, Seek, Write};

use super::{S3Error, S3Uri};

/// Store of objects that can be read.
pub trait ObjectStore: Debug + Send + Sync {
    /// Writes a whole object into `sink`. After an error the content of `sink` is undefined.
    fn get(
        &self,
        request: &GetRequest<'_>,
        sink: &mut dyn ObjectSink,
    ) -> Result<ObjectInfo, S3Error>;

    /// Returns the names of the objects directly below `folder`, without the folder's key.
    fn list(&self, folder: &S3Uri) -> Result<Vec<String>, S3Error>;
}

/// Request for one object.
#[derive(Debug, Clone, Copy)]
pub struct GetRequest<'a> {
    pub uri: &'a S3Uri,
    /// Largest size that the object may have, in bytes; a larger one is an error.
    pub max_bytes: u64,
    /// Content that the object must still have, by an earlier [`ObjectInfo::etag`]. `None` accepts
    /// any.
    pub etag: Option<&'a str>,
}

/// Size and version of an object that was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Size of the object, in bytes.
    pub bytes: u64,
    /// Identifier of this content of the object, if the store returns one.
    pub etag: Option<String>,
}

/// Destination of an object's bytes, which can start over when a transfer breaks off.
pub trait ObjectSink: Write {
    /// Discards all bytes written so far.
    fn restart(&mut self) -> io::Result<()>;
}

impl ObjectSink for Vec<u8> {
    fn restart(&mut self) -> io::Result<()> {
        self.clear();
        Ok(())
    }
}

impl ObjectSink for File {
    fn restart(&mut self) -> io::Result<()> {
        self.rewind()?;
        self.set_len(0)
    }
}
