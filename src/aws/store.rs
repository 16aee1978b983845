//! What is asked of a store of objects.

use std::fmt::Debug;
use std::fs::File;
use std::io::{self, Seek, Write};

use super::{S3Error, S3Uri};

/// A store of objects that can be read.
pub trait ObjectStore: Debug + Send + Sync {
    /// Writes an object into `sink`, whole. On failure there may be anything in it.
    fn get(
        &self,
        request: &GetRequest<'_>,
        sink: &mut dyn ObjectSink,
    ) -> Result<ObjectInfo, S3Error>;

    /// The names of the objects right below a folder.
    fn list(&self, folder: &S3Uri) -> Result<Vec<String>, S3Error>;
}

/// Which object is wanted.
#[derive(Debug, Clone, Copy)]
pub struct GetRequest<'a> {
    /// Where it lies.
    pub uri: &'a S3Uri,
    /// Bytes that it may have.
    pub max_bytes: u64,
    /// The content that it must still have: an earlier [`About::etag`].
    pub etag: Option<&'a str>,
}

/// What was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Bytes.
    pub bytes: u64,
    /// What tells this content of the object from others, if the store says it.
    pub etag: Option<String>,
}

/// Where an object goes. A transfer that breaks off begins anew.
pub trait ObjectSink: Write {
    /// Forgets all that was written.
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
