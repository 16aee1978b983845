//! An event file: `TFRecord`s of [`Event`]s, appended as they come.
//!
//! A record is the length of its data (u64), the masked CRC32C of the length, the data, and the
//! masked CRC32C of the data, numbers in little-endian bytes
//! (`tensorflow/core/lib/io/record_writer.cc`). A reader takes a record that is cut, as a killed
//! job leaves it, for the end of the file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

use super::message::{Event, EventPayload, SessionLog, Summary, SummaryValue};
use crate::error::Result;
use crate::files::PathContext;

/// Version that the first event of a file states.
const FILE_VERSION: &str = "brain.Event:2";
/// Status of a `SessionLog` that starts a session.
const SESSION_STATUS_START: i32 = 1;

/// An event file that is being written.
#[derive(Debug)]
pub(super) struct EventFile {
    path: PathBuf,
    file: BufWriter<File>,
}

impl EventFile {
    /// Creates a file in `folder`, which is made if absent. Readers drop the events of other files
    /// of the folder from `step` on, because a job that goes on from a checkpoint repeats them.
    pub(super) fn create(folder: &Path, step: usize) -> Result<Self> {
        std::fs::create_dir_all(folder).with_path("create", folder)?;
        // Readers take the files of a folder in the order of their names.
        let name = format!("events.out.tfevents.{:010.0}.{}", unix_seconds(), process::id());
        let path = folder.join(name);
        let file = File::create(&path).with_path("create", &path)?;
        let mut file = Self { path, file: BufWriter::new(file) };
        file.write_event(0, EventPayload::FileVersion(FILE_VERSION.to_owned()))?;
        file.write_event(
            step,
            EventPayload::SessionLog(SessionLog { status: SESSION_STATUS_START }),
        )?;
        Ok(file)
    }

    /// Appends values of one step.
    pub(super) fn write_summary(&mut self, step: usize, values: Vec<SummaryValue>) -> Result<()> {
        self.write_event(step, EventPayload::Summary(Summary { value: values }))
    }

    fn write_event(&mut self, step: usize, payload: EventPayload) -> Result<()> {
        let event = Event { wall_time: unix_seconds(), step: step as i64, payload: Some(payload) };
        write_record(&mut self.file, &event.encode_to_vec()).with_path("write", &self.path)
    }

    /// Writes the buffered events to the file, so that readers see them.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.file.flush().with_path("write", &self.path)
    }
}

/// Returns the seconds since 1970.
pub(super) fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

fn write_record(file: &mut impl Write, data: &[u8]) -> std::io::Result<()> {
    let length = (data.len() as u64).to_le_bytes();
    file.write_all(&length)?;
    file.write_all(&masked_crc32c(&length).to_le_bytes())?;
    file.write_all(data)?;
    file.write_all(&masked_crc32c(data).to_le_bytes())
}

/// Computes the checksum, rotated and shifted as TensorFlow does, because a checksum of data that
/// contain checksums is weak.
fn masked_crc32c(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xA282_EAD8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_framed_as_tensorflow_frames_it() {
        let mut bytes = Vec::new();
        write_record(&mut bytes, b"maskmaker").unwrap();
        assert_eq!(bytes.len(), 8 + 4 + 9 + 4);
        assert_eq!(bytes[..8], 9u64.to_le_bytes());
        assert_eq!(&bytes[12..21], b"maskmaker");
        // CRC32C of "123456789", the checksum's check value (RFC 3720, appendix B.4, has more).
        assert_eq!(crc32c::crc32c(b"123456789"), 0xE306_9283);
        let turned = 0xE306_9283u32.rotate_right(15).wrapping_add(0xA282_EAD8);
        assert_eq!(masked_crc32c(b"123456789"), turned);
    }
}
