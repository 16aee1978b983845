//! One split of a data set: the samples to train on, or those to validate on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{DatasetReader, Spool};
use crate::data::audit::{Audit, SplitDescription, audit_samples, describe_histogram};
use crate::data::label_map::LabelMap;
use crate::data::pipe::{RESERVED_DISK_BYTES, StreamFolder};
use crate::data::{Sample, manifest, pairing};
use crate::error::{Problems, Result};
use crate::sagemaker::channels::SplitSource;

/// A split whose samples are known unless they come from a stream.
#[derive(Debug)]
pub(super) struct ListedSplit {
    content: ListedContent,
    description: SplitDescription,
    label_map: Option<Arc<LabelMap>>,
}

#[derive(Debug)]
enum ListedContent {
    /// Samples of folders or of a manifest.
    Samples(Vec<Sample>),
    /// The FIFO of a channel, whose samples are known once it is read.
    Stream { channel: &'static str, fifo: PathBuf },
}

/// A split whose samples are known.
#[derive(Debug)]
pub(super) struct Split {
    pub(super) samples: Vec<Sample>,
    /// Names of the split in messages.
    pub(super) description: SplitDescription,
}

impl ListedSplit {
    /// Lists the samples of folders or of a manifest. Those that have problems are left out.
    pub(super) fn list(
        reader: DatasetReader<'_>,
        source: &SplitSource,
        label_map: Option<Arc<LabelMap>>,
        problems: &mut Problems,
    ) -> Self {
        let (content, description) = match source {
            SplitSource::Folders(split) => (
                ListedContent::Samples(pairing::pair_images_and_masks(split, problems)),
                SplitDescription::for_folders(split.name),
            ),
            SplitSource::Manifest { name, file } => {
                let (samples, attribute) =
                    manifest::read_manifest(file, reader.root, reader.objects, problems);
                let description = SplitDescription::for_manifest(name, file, attribute.as_deref());
                (ListedContent::Samples(samples), description)
            }
            SplitSource::Pipe { name, fifo } => (
                ListedContent::Stream { channel: name, fifo: fifo.clone() },
                SplitDescription::for_stream(name, fifo),
            ),
        };
        Self { content, description, label_map }
    }

    /// Reads the stream, if the split has one, to its end. A stream takes minutes, so its samples
    /// are left out if there are problems, or if the job is asked to stop.
    pub(super) fn read_stream(
        self,
        reader: DatasetReader<'_>,
        spool: &mut Spool,
        problems: &mut Problems,
    ) -> Split {
        let mut samples = match self.content {
            ListedContent::Samples(samples) => samples,
            ListedContent::Stream { channel, fifo } if problems.is_empty() => {
                let samples = read_fifo(reader, channel, &fifo, spool);
                problems.record_err(samples).unwrap_or_default()
            }
            ListedContent::Stream { .. } => Vec::new(),
        };
        for sample in &mut samples {
            sample.label_map.clone_from(&self.label_map);
        }
        Split { samples, description: self.description }
    }
}

/// Reads a stream into a folder of its own below the spool.
fn read_fifo(
    reader: DatasetReader<'_>,
    channel: &str,
    fifo: &Path,
    spool: &mut Spool,
) -> Result<Vec<Sample>> {
    let DatasetReader { wait_limits, listener, .. } = reader;
    let folder = spool.folder()?.join(channel);
    let stream_folder = StreamFolder { folder, reserved_bytes: RESERVED_DISK_BYTES };
    let Some(content) = stream_folder.read_stream(channel, fifo, wait_limits, listener)? else {
        return Ok(Vec::new());
    };
    listener.on_result(&content);
    Ok(content.samples)
}

impl Split {
    /// Reads every image and mask once, and tells what the masks hold.
    pub(super) fn audit(&self, reader: DatasetReader<'_>, problems: &mut Problems) -> Audit {
        let Self { samples, description } = self;
        let DatasetReader { num_classes, wait_limits, listener, .. } = reader;
        let name = description.split;
        listener.on_task(&format!("checking {name}"), samples.len());
        let audit = audit_samples(description, samples, num_classes, problems, || {
            listener.on_image();
            !wait_limits.stop.is_requested()
        });
        listener.on_task_end();
        listener.on_result(&format_args!(
            "{name}: {} images, mask pixels per class: {}",
            samples.len(),
            describe_histogram(&audit.histogram)
        ));
        for warning in audit.warnings(description, samples.len()) {
            listener.on_note(&format_args!("warning: {warning}"));
        }
        audit
    }
}
