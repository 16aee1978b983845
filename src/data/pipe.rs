//! Augmented manifests in Pipe mode: a stream of images and annotations in turn, kept on disk. Each
//! annotation may be followed by its metadata, if the job asks for them.
//!
//! The stream of the first epoch is read once, to its end, and trained from like a folder: so it is
//! audited like a folder, every epoch's shuffle starts from the order of the manifest, and a step
//! needs no earlier one. The FIFOs of later epochs are never opened, which SageMaker allows, as a
//! job may end early.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Sample;
use super::color_map::{ColorMap, ColorMaps};
use super::fifo::{Fifo, WaitLimits};
use super::listener::Listener;
use super::recordio::{MAX_RECORD_BYTES, RecordIoError, RecordIoReader};
use crate::error::{Error, Result};
use crate::files::PathContext;
use crate::python_json::parse_python_json;

/// Bytes that stay free on the disk of the temporary folder.
pub const RESERVED_DISK_BYTES: u64 = 1 << 30;

/// Number of characters of a text that a message shows.
const MAX_SHOWN_CHARS: usize = 60;

const ATTRIBUTE_NAMES_ADVICE: &str = "AttributeNames must name the image and then the annotation, as in \
                     [\"source-ref\", \"labels-ref\"], and after them, for masks whose classes are told \
                     by colors, \"labels-ref-metadata\"; every line of the manifest must have all of them";

/// Folder for the records of a stream.
#[derive(Debug)]
pub struct StreamFolder {
    /// An empty folder, or the path of a new one.
    pub folder: PathBuf,
    /// Bytes to leave free on its disk.
    pub reserved_bytes: u64,
}

/// Samples of a stream that was read to its end. Its text says how many came.
#[derive(Debug)]
pub struct StreamContent {
    /// Samples in the order of the stream, in which their keys sort too.
    pub samples: Vec<Sample>,
    channel: String,
    fifo: PathBuf,
    /// Bytes of the stream, with its frames.
    bytes: u64,
}

impl fmt::Display for StreamContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} images and annotations ({:.1} MB) read from {}",
            self.channel,
            self.samples.len(),
            self.bytes as f64 / 1e6,
            self.fifo.display()
        )
    }
}

impl StreamFolder {
    /// Reads the FIFO of `channel` to its end. Returns nothing if the job was asked to stop.
    pub fn read_stream(
        &self,
        channel: &str,
        fifo: &Path,
        limits: WaitLimits<'_>,
        listener: &dyn Listener,
    ) -> Result<Option<StreamContent>> {
        fs::create_dir_all(&self.folder).with_path("make", &self.folder)?;
        let mut stream = Fifo::new(fifo.to_owned(), limits, listener);
        let mut reader = RecordIoReader::new(&mut stream, MAX_RECORD_BYTES);
        let samples = self.read_pairs(&mut reader);
        if limits.stop.is_requested() {
            return Ok(None);
        }
        let samples = match samples {
            Ok(samples) => samples,
            Err(error) => {
                let context = format!("channel {channel}: {}", fifo.display());
                return Err(error.with_context(context));
            }
        };
        let (channel, fifo) = (channel.to_owned(), fifo.to_owned());
        Ok(Some(StreamContent { samples, channel, fifo, bytes: stream.bytes_read() }))
    }

    fn read_pairs(&self, reader: &mut RecordIoReader<&mut Fifo<'_>>) -> Result<Vec<Sample>> {
        let mut samples = Vec::new();
        let mut color_maps = ColorMaps::default();
        let mut lookahead = next_record(reader)?;
        while let Some(image) = lookahead.take() {
            check_image(&image, reader.record_count())?;
            let (number, image_file) =
                (reader.record_count(), self.write_record(&image, reader.record_count())?);
            let mut checksum = crc32fast::Hasher::new_with_initial(crc32fast::hash(&image));
            drop(image);
            let Some(mask) = next_record(reader)? else {
                return Err(Error::input(format!(
                    "the stream ends after record {number}, an image without its annotation; \
                     {ATTRIBUTE_NAMES_ADVICE}"
                )));
            };
            check_mask(&mask, reader.record_count())?;
            let mask_file = self.write_record(&mask, reader.record_count())?;
            checksum.update(&mask);
            drop(mask);
            // A checkpoint identifies samples by their keys. With a shuffled manifest the same
            // number is another image the next time, so the key includes a checksum.
            let key = format!("record-{number:08}-{:08x}", checksum.finalize());
            lookahead = next_record(reader)?;
            let mut color_map = None;
            // No image is text, so the next record shows whether AttributeNames includes the
            // metadata.
            if let Some(record) = lookahead.take_if(|record| is_metadata(record)) {
                color_map = match parse_metadata(&record, &mut color_maps) {
                    Ok(color_map) => color_map,
                    Err(reason) => {
                        let number = reader.record_count();
                        return Err(Error::input(format!("record {number} {reason}")));
                    }
                };
                lookahead = next_record(reader)?;
            }
            samples.push(Sample {
                key,
                image: image_file.into(),
                mask: mask_file.into(),
                label_map: None,
                color_map,
            });
        }
        if samples.is_empty() {
            return Err(Error::input("the stream holds no records; is the manifest empty?"));
        }
        Ok(samples)
    }

    /// Writes a record to a file that is named by its number.
    fn write_record(&self, record: &[u8], number: u64) -> Result<PathBuf> {
        let path = self.folder.join(format!("record-{number:08}"));
        let disk =
            rustix::fs::statvfs(&self.folder).map_err(io::Error::from).with_path("write", &path)?;
        let free_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free_bytes < self.reserved_bytes.saturating_add(record.len() as u64) {
            return Err(Error::input(format!(
                "the disk of {} is full: {:.1} GB are free, of which {:.1} GB must stay so; the \
                 images of a stream are kept there: give the job a larger VolumeSizeInGB, name a \
                 folder on a larger disk with TMPDIR, or use File mode",
                self.folder.display(),
                free_bytes as f64 / 1e9,
                self.reserved_bytes as f64 / 1e9
            )));
        }
        fs::write(&path, record).with_path("write", &path)?;
        Ok(path)
    }
}

fn next_record(reader: &mut RecordIoReader<&mut Fifo<'_>>) -> Result<Option<Vec<u8>>> {
    match reader.read() {
        Ok(record) => Ok(record),
        Err(RecordIoError::Malformed(reason)) => Err(Error::input(format!(
            "{reason}; the writer ended early, or the channel's RecordWrapperType is not RecordIO"
        ))),
        Err(RecordIoError::Io(cause)) => {
            let number = reader.record_count() + 1;
            Err(Error::input(format!("record {number}: cannot be read: {cause}")))
        }
    }
}

/// Returns true if a record is the JSON of an annotation's metadata.
fn is_metadata(record: &[u8]) -> bool {
    record.trim_ascii_start().starts_with(b"{") && printable_prefix(record).is_some()
}

fn parse_metadata(
    record: &[u8],
    color_maps: &mut ColorMaps,
) -> Result<Option<Arc<ColorMap>>, String> {
    let metadata = parse_python_json(record)
        .map_err(|cause| format!("begins like JSON, but cannot be read: {cause}"))?;
    color_maps.parse_metadata(&metadata)
}

fn check_image(record: &[u8], number: u64) -> Result<()> {
    match printable_prefix(record) {
        Some(text) => Err(Error::input(format!(
            "record {number} is not an image but the text {text:?}; only attributes whose names end \
             in -ref bring the object itself: {ATTRIBUTE_NAMES_ADVICE}"
        ))),
        None => Ok(()),
    }
}

fn check_mask(record: &[u8], number: u64) -> Result<()> {
    if record.starts_with(&[0xff, 0xd8]) {
        return Err(Error::input(format!(
            "record {number} is a JPEG where an annotation was expected, which is a PNG; {ATTRIBUTE_NAMES_ADVICE}"
        )));
    }
    match printable_prefix(record) {
        Some(text) => Err(Error::input(format!(
            "record {number} is not an annotation but the text {text:?}; only attributes whose names \
             end in -ref bring the object itself: {ATTRIBUTE_NAMES_ADVICE}"
        ))),
        None => Ok(()),
    }
}

/// Returns the beginning of a record that is text, such as an S3 URI or JSON.
fn printable_prefix(record: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(record).ok()?;
    if text.is_empty() || text.chars().any(|c| c.is_control() && !c.is_whitespace()) {
        return None;
    }
    Some(text.chars().take(MAX_SHOWN_CHARS).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::listener::SilentListener;
    use crate::sagemaker::StopSignal;
    use std::time::Duration;

    /// Reads a stream of two records, which here is a plain file.
    fn read_two_records(
        reserve: u64,
        stop: &StopSignal,
    ) -> (tempfile::TempDir, Result<Option<StreamContent>>) {
        let folder = tempfile::tempdir().unwrap();
        let stream = folder.path().join("train_0");
        fs::write(
            &stream,
            b"\x0a\x23\xd7\xce\x01\0\0\0\xff\0\0\0\x0a\x23\xd7\xce\x01\0\0\0\xfe\0\0\0",
        )
        .unwrap();
        let stream_folder =
            StreamFolder { folder: folder.path().join("spool"), reserved_bytes: reserve };
        let limits = WaitLimits { idle_timeout: Duration::from_mins(1), stop };
        let content = stream_folder.read_stream("train", &stream, limits, &SilentListener);
        (folder, content)
    }

    #[test]
    fn records_become_files_in_pairs() {
        let (folder, content) = read_two_records(0, &StopSignal::default());
        let content = content.unwrap().unwrap();
        let fifo = folder.path().join("train_0");
        assert_eq!(
            content.to_string(),
            format!("train: 1 images and annotations (0.0 MB) read from {}", fifo.display())
        );
        let samples = content.samples;
        assert_eq!(samples.len(), 1);
        assert!(samples[0].key.starts_with("record-00000001-"), "{}", samples[0].key);
        assert_eq!(samples[0].image.read().unwrap(), b"\xff");
        assert_eq!(samples[0].mask.read().unwrap(), b"\xfe");
    }

    #[test]
    fn a_disk_is_not_filled_to_the_brim() {
        let (_folder, content) = read_two_records(u64::MAX, &StopSignal::default());
        let text = content.unwrap_err().to_string();
        assert!(text.contains("train_0: the disk of ") && text.contains("TMPDIR"), "{text}");
    }

    #[test]
    fn a_request_to_stop_gives_nothing_and_is_no_error() {
        let stop = StopSignal::default();
        stop.request();
        assert!(read_two_records(0, &stop).1.unwrap().is_none());
    }
}
