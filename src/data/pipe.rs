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
use super::fifo::{Fifo, Patience};
use super::recordio::{MAX_RECORD, RecordError, Records};
use crate::console::say;
use crate::error::{Error, Result};

/// Bytes that stay free on the disk of the temporary folder.
pub const RESERVE: u64 = 1 << 30;

/// How many characters of a text a message shows.
const SHOWN: usize = 60;

const ORDER: &str = "AttributeNames must name the image and then the annotation, as in \
                     [\"source-ref\", \"labels-ref\"], and after them, for masks whose classes are told \
                     by colours, \"labels-ref-metadata\"; every line of the manifest must have all of them";

/// Where the records of a stream are kept.
#[derive(Debug)]
pub struct Spool {
    /// An empty folder, or one to be made.
    pub folder: PathBuf,
    /// Bytes to leave free on its disk.
    pub reserve: u64,
}

impl Spool {
    /// Reads the FIFO of `channel` to its end. The keys sort in the order of the stream. Empty when
    /// someone asked the job to stop.
    pub fn fill(&self, channel: &str, fifo: &Path, patience: Patience<'_>) -> Result<Vec<Sample>> {
        fs::create_dir_all(&self.folder).map_err(|e| Error::io("make", &self.folder, &e))?;
        let mut stream = Fifo::new(fifo.to_owned(), patience);
        let mut records = Records::new(&mut stream, MAX_RECORD);
        let samples = self.pairs(&mut records);
        if patience.stop.is_requested() {
            return Ok(Vec::new());
        }
        let samples = samples
            .map_err(|error| error.within(format!("channel {channel}: {}", fifo.display())))?;
        say(format_args!(
            "{channel}: {} images and annotations ({:.1} MB) read from {}",
            samples.len(),
            stream.bytes() as f64 / 1e6,
            fifo.display()
        ));
        Ok(samples)
    }

    fn pairs(&self, records: &mut Records<&mut Fifo<'_>>) -> Result<Vec<Sample>> {
        let mut samples = Vec::new();
        let mut color_maps = ColorMaps::default();
        let mut ahead = next(records)?;
        while let Some(image) = ahead.take() {
            check_image(&image, records.count())?;
            let (number, image_file) = (records.count(), self.keep(&image, records.count())?);
            let mut content = crc32fast::Hasher::new_with_initial(crc32fast::hash(&image));
            drop(image);
            let mask = next(records)?.ok_or_else(|| {
                Error::input(format!(
                    "the stream ends after record {number}, an image without its annotation; {ORDER}"
                ))
            })?;
            check_mask(&mask, records.count())?;
            let mask_file = self.keep(&mask, records.count())?;
            content.update(&mask);
            drop(mask);
            // A checkpoint knows the samples by their keys. With a shuffled manifest the same number is
            // another image the next time, hence the checksum.
            let key = format!("record-{number:08}-{:08x}", content.finalize());
            ahead = next(records)?;
            let mut color_map = None;
            // No image is text, so it is seen whether AttributeNames has the metadata too.
            if let Some(record) = ahead.take_if(|record| is_metadata(record)) {
                color_map = metadata(&record, &mut color_maps)
                    .map_err(|what| Error::input(format!("record {} {what}", records.count())))?;
                ahead = next(records)?;
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
    fn keep(&self, record: &[u8], number: u64) -> Result<PathBuf> {
        let path = self.folder.join(format!("record-{number:08}"));
        let failed = |cause: &std::io::Error| Error::io("write", &path, cause);
        let disk = rustix::fs::statvfs(&self.folder).map_err(|cause| failed(&cause.into()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < self.reserve.saturating_add(record.len() as u64) {
            return Err(Error::input(format!(
                "the disk of {} is full: {:.1} GB are free, of which {:.1} GB must stay so; the \
                 images of a stream are kept there: give the job a larger VolumeSizeInGB, name a \
                 folder on a larger disk with TMPDIR, or use File mode",
                self.folder.display(),
                free as f64 / 1e9,
                self.reserve as f64 / 1e9
            )));
        }
        fs::write(&path, record).map_err(|e| failed(&e))?;
        Ok(path)
    }
}

fn next(records: &mut Records<&mut Fifo<'_>>) -> Result<Option<Vec<u8>>> {
    records.read().map_err(|error| match error {
        RecordError::Broken(what) => Error::input(format!(
            "{what}; the writer ended early, or the channel's RecordWrapperType is not RecordIO"
        )),
        RecordError::Io(cause) => {
            Error::input(format!("record {}: cannot be read: {cause}", records.count() + 1))
        }
    })
}

/// Whether a record is the JSON of an annotation's metadata.
fn is_metadata(record: &[u8]) -> bool {
    record.trim_ascii_start().starts_with(b"{") && text(record).is_some()
}

fn metadata(record: &[u8], maps: &mut ColorMaps) -> Result<Option<Arc<ColorMap>>, String> {
    let metadata = serde_json::from_slice(record)
        .map_err(|cause| format!("begins like JSON, but cannot be read: {cause}"))?;
    maps.of_metadata(&metadata)
}

fn check_image(record: &[u8], number: u64) -> Result<()> {
    match text(record) {
        Some(text) => Err(Error::input(format!(
            "record {number} is not an image but the text {text:?}; only attributes whose names end \
             in -ref bring the object itself: {ORDER}"
        ))),
        None => Ok(()),
    }
}

fn check_mask(record: &[u8], number: u64) -> Result<()> {
    if record.starts_with(&[0xff, 0xd8]) {
        return Err(Error::input(format!(
            "record {number} is a JPEG where an annotation was expected, which is a PNG; {ORDER}"
        )));
    }
    match text(record) {
        Some(text) => Err(Error::input(format!(
            "record {number} is not an annotation but the text {text:?}; only attributes whose names \
             end in -ref bring the object itself: {ORDER}"
        ))),
        None => Ok(()),
    }
}

/// The beginning of a record that is text, such as an S3 URI or JSON.
fn text(record: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(record).ok()?;
    let printable = !text.is_empty() && !text.chars().any(|c| c.is_control() && !c.is_whitespace());
    printable.then(|| text.chars().take(SHOWN).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sagemaker::Stop;
    use std::time::Duration;

    /// What becomes of a stream of two records, which here is a plain file.
    fn fill(reserve: u64, stop: &Stop) -> (tempfile::TempDir, Result<Vec<Sample>>) {
        let folder = tempfile::tempdir().unwrap();
        let stream = folder.path().join("train_0");
        fs::write(
            &stream,
            b"\x0a\x23\xd7\xce\x01\0\0\0\xff\0\0\0\x0a\x23\xd7\xce\x01\0\0\0\xfe\0\0\0",
        )
        .unwrap();
        let spool = Spool { folder: folder.path().join("spool"), reserve };
        let patience = Patience { idle: Duration::from_mins(1), stop };
        let samples = spool.fill("train", &stream, patience);
        (folder, samples)
    }

    #[test]
    fn records_become_files_in_pairs() {
        let (_folder, samples) = fill(0, &Stop::default());
        let samples = samples.unwrap();
        assert_eq!(samples.len(), 1);
        assert!(samples[0].key.starts_with("record-00000001-"), "{}", samples[0].key);
        assert_eq!(samples[0].image.read().unwrap(), b"\xff");
        assert_eq!(samples[0].mask.read().unwrap(), b"\xfe");
    }

    #[test]
    fn a_disk_is_not_filled_to_the_brim() {
        let (_folder, samples) = fill(u64::MAX, &Stop::default());
        let text = samples.unwrap_err().to_string();
        assert!(text.contains("train_0: the disk of ") && text.contains("TMPDIR"), "{text}");
    }

    #[test]
    fn a_request_to_stop_gives_nothing_and_is_no_error() {
        let stop = Stop::default();
        stop.request();
        assert_eq!(fill(0, &stop).1.unwrap(), []);
    }
}
