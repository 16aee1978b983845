//! Augmented manifests in Pipe mode: a stream of images and annotations in turn, kept on disk; after each
//! annotation its metadata may come, if the job asks for them.
//!
//! The stream of the first epoch is read once, to its end, and trained from like a folder: so it is
//! audited like one, its order is that of the manifest in every epoch's shuffle, and a step needs no
//! earlier one. The FIFOs of later epochs are never opened, as a job that ends never opens the next.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Sample;
use super::color_map::{ColorMap, ColorMaps};
use super::fifo::{Fifo, WaitLimits};
use super::recordio::{MAX_RECORD_BYTES, RecordIoError, RecordIoReader};
use crate::console::print_stdout;
use crate::error::{Error, Result};

/// Bytes that stay free on the disk of the temporary folder.
pub const RESERVED_DISK_BYTES: u64 = 1 << 30;

/// How many characters of a text a message shows.
const MAX_SHOWN_CHARS: usize = 60;

const ATTRIBUTE_NAMES_ADVICE: &str = "AttributeNames must name the image and then the annotation, as in \
                     [\"source-ref\", \"labels-ref\"], and after them, for masks whose classes are told \
                     by colors, \"labels-ref-metadata\"; every line of the manifest must have all of them";

/// Where the records of a stream are kept.
#[derive(Debug)]
pub struct StreamFolder {
    /// An empty folder, or one to be made.
    pub folder: PathBuf,
    /// Bytes to leave free on its disk.
    pub reserved_bytes: u64,
}

impl StreamFolder {
    /// Reads the FIFO of `channel` to its end. The keys sort in the order of the stream. Empty when
    /// someone asked the job to stop.
    pub fn read_stream(
        &self,
        channel: &str,
        fifo: &Path,
        limits: WaitLimits<'_>,
    ) -> Result<Vec<Sample>> {
        fs::create_dir_all(&self.folder).map_err(|e| Error::io("make", &self.folder, &e))?;
        let mut stream = Fifo::new(fifo.to_owned(), limits);
        let mut reader = RecordIoReader::new(&mut stream, MAX_RECORD_BYTES);
        let samples = self.read_pairs(&mut reader);
        if limits.stop.is_requested() {
            return Ok(Vec::new());
        }
        let samples = samples.map_err(|error| {
            error.with_context(format!("channel {channel}: {}", fifo.display()))
        })?;
        print_stdout(format_args!(
            "{channel}: {} images and annotations ({:.1} MB) read from {}",
            samples.len(),
            stream.bytes_read() as f64 / 1e6,
            fifo.display()
        ));
        Ok(samples)
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
            let mask = next_record(reader)?.ok_or_else(|| {
                Error::input(format!(
                    "the stream ends after record {number}, an image without its annotation; {ATTRIBUTE_NAMES_ADVICE}"
                ))
            })?;
            check_mask(&mask, reader.record_count())?;
            let mask_file = self.write_record(&mask, reader.record_count())?;
            checksum.update(&mask);
            drop(mask);
            // A checkpoint knows the samples by their keys. With a shuffled manifest the same number is
            // another image the next time, hence the checksum.
            let key = format!("record-{number:08}-{:08x}", checksum.finalize());
            lookahead = next_record(reader)?;
            let mut color_map = None;
            // No image is text, so it is seen whether AttributeNames has the metadata too.
            if let Some(record) = lookahead.take_if(|record| is_metadata(record)) {
                color_map = parse_metadata(&record, &mut color_maps).map_err(|reason| {
                    Error::input(format!("record {} {reason}", reader.record_count()))
                })?;
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
        let write_error = |cause: &std::io::Error| Error::io("write", &path, cause);
        let disk = rustix::fs::statvfs(&self.folder).map_err(|cause| write_error(&cause.into()))?;
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
        fs::write(&path, record).map_err(|e| write_error(&e))?;
        Ok(path)
    }
}

fn next_record(reader: &mut RecordIoReader<&mut Fifo<'_>>) -> Result<Option<Vec<u8>>> {
    reader.read().map_err(|error| match error {
        RecordIoError::Malformed(reason) => Error::input(format!(
            "{reason}; the writer ended early, or the channel's RecordWrapperType is not RecordIO"
        )),
        RecordIoError::Io(cause) => {
            Error::input(format!("record {}: cannot be read: {cause}", reader.record_count() + 1))
        }
    })
}

/// Whether a record is the JSON of an annotation's metadata.
fn is_metadata(record: &[u8]) -> bool {
    record.trim_ascii_start().starts_with(b"{") && printable_prefix(record).is_some()
}

fn parse_metadata(
    record: &[u8],
    color_maps: &mut ColorMaps,
) -> Result<Option<Arc<ColorMap>>, String> {
    let metadata = serde_json::from_slice(record)
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

/// The beginning of a record that is text, such as an S3 URI or JSON.
fn printable_prefix(record: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(record).ok()?;
    let is_printable =
        !text.is_empty() && !text.chars().any(|c| c.is_control() && !c.is_whitespace());
    is_printable.then(|| text.chars().take(MAX_SHOWN_CHARS).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sagemaker::StopSignal;
    use std::time::Duration;

    /// What becomes of a stream of two records, which here is a plain file.
    fn read_two_records(
        reserve: u64,
        stop: &StopSignal,
    ) -> (tempfile::TempDir, Result<Vec<Sample>>) {
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
        let samples = stream_folder.read_stream("train", &stream, limits);
        (folder, samples)
    }

    #[test]
    fn records_become_files_in_pairs() {
        let (_folder, samples) = read_two_records(0, &StopSignal::default());
        let samples = samples.unwrap();
        assert_eq!(samples.len(), 1);
        assert!(samples[0].key.starts_with("record-00000001-"), "{}", samples[0].key);
        assert_eq!(samples[0].image.read().unwrap(), b"\xff");
        assert_eq!(samples[0].mask.read().unwrap(), b"\xfe");
    }

    #[test]
    fn a_disk_is_not_filled_to_the_brim() {
        let (_folder, samples) = read_two_records(u64::MAX, &StopSignal::default());
        let text = samples.unwrap_err().to_string();
        assert!(text.contains("train_0: the disk of ") && text.contains("TMPDIR"), "{text}");
    }

    #[test]
    fn a_request_to_stop_gives_nothing_and_is_no_error() {
        let stop = StopSignal::default();
        stop.request();
        assert_eq!(read_two_records(0, &stop).1.unwrap(), []);
    }
}
