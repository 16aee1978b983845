//! Files that stop giving bytes when the process is asked to stop: an export of gigabytes is one
//! file, so the signal is looked at while it is read.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use crate::error::{Error, Result};
use crate::sagemaker::StopSignal;

/// File whose reading fails after a request to stop. The caller looks at the signal before it looks
/// at the error.
#[derive(Debug)]
pub(super) struct StoppableFile<'a> {
    file: File,
    stop: &'a StopSignal,
}

impl<'a> StoppableFile<'a> {
    pub(super) fn open(path: &Path, stop: &'a StopSignal) -> Result<Self> {
        match File::open(path) {
            Ok(file) => Ok(Self { file, stop }),
            Err(cause) => Err(Error::io("read", path, &cause)),
        }
    }
}

impl Read for StoppableFile<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_requested() {
            return Err(io::Error::other("asked to stop"));
        }
        self.file.read(buffer)
    }
}

impl Seek for StoppableFile<'_> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.file.seek(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_request_to_stop_nothing_more_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "ab").unwrap();
        let stop = StopSignal::default();
        let mut file = StoppableFile::open(&path, &stop).unwrap();
        let mut byte = [0];
        file.read_exact(&mut byte).unwrap();
        stop.request();
        assert!(file.read(&mut byte).is_err());
    }
}
