//! The data set of a training job, read in phases. Each phase is a type that the next one consumes:
//!
//! ```text
//! ListedDataset     folders are paired, lines of manifests checked, label maps read
//!   |  read_streams
//! StreamedDataset   the records of streams lie on disk: all samples are known
//!   |  fetch
//! FetchedDataset    objects of S3 lie on disk, as far as there is room
//!   |  resolve_colors
//! ResolvedDataset   the masks give class ids
//!   |  audit
//! AuditedDataset    every image and mask was read once
//! ```
//!
//! Names come before content: every line of both manifests is checked before an object is fetched.
//! All phases add to one collection of problems, which also holds those of the rest of the job.
//! Once a problem is known, data is no longer brought to the disk, because that takes minutes:
//! streams are not read, and objects of S3 are not fetched, in which case the phases after `fetch`
//! are left out too. The audit of samples that lie on disk takes minutes as well, and is not left
//! out, so that one report names the missing and the damaged files. Only where class ids depend on
//! lines of manifests that may be unread does `resolve_colors` end the phases before it.
//!
//! Lines for users go to a [`Listener`].

mod document;
mod label_maps;
mod split;
mod spool;

use std::path::Path;
use std::sync::Arc;

pub use self::document::DatasetDocument;
use self::label_maps::{LabelMaps, read_label_maps};
use self::split::{ListedSplit, Split};
pub use self::spool::Spool;
use super::audit::Audit;
use super::class_names::RequiredClassNames;
use super::color_map;
use super::fifo::WaitLimits;
use super::listener::Listener;
use super::objects::ObjectCache;
use super::sample::Sample;
use crate::error::{Checked, GivenUp, Problems, Result};
use crate::sagemaker::Channels;

/// Settings of all phases.
#[derive(Debug, Clone, Copy)]
pub struct DatasetReader<'a> {
    /// The root folder, which paths of manifests must not leave.
    pub root: &'a Path,
    pub channels: &'a Channels,
    pub num_classes: usize,
    /// Class names that are known before the masks are read, if there are any.
    pub required_names: Option<RequiredClassNames<'a>>,
    /// The objects that manifests name are added here.
    pub objects: &'a Arc<ObjectCache>,
    pub wait_limits: WaitLimits<'a>,
    pub listener: &'a dyn Listener,
}

/// Both splits in the same phase.
#[derive(Debug)]
struct Splits {
    train: Split,
    validation: Split,
    /// Folder of streams and objects.
    spool: Spool,
}

/// A data set whose folders and manifests are listed. Streams are not read yet.
#[derive(Debug)]
pub struct ListedDataset<'a> {
    reader: DatasetReader<'a>,
    train: ListedSplit,
    validation: ListedSplit,
}

/// A data set whose samples are all known. Objects of S3 are not fetched yet.
#[derive(Debug)]
pub struct StreamedDataset<'a> {
    reader: DatasetReader<'a>,
    splits: Splits,
}

/// A data set whose files lie on disk, but for objects that have no room there.
#[derive(Debug)]
pub struct FetchedDataset<'a> {
    reader: DatasetReader<'a>,
    splits: Splits,
}

/// A data set whose masks give class ids.
#[derive(Debug)]
pub struct ResolvedDataset<'a> {
    reader: DatasetReader<'a>,
    splits: Splits,
    class_names: Option<Vec<String>>,
}

/// A data set that training can begin with, if the audit found no problems.
#[derive(Debug)]
pub struct AuditedDataset {
    pub training: AuditedSplit,
    pub validation: AuditedSplit,
    /// Class names of color maps, class 0 first, if the masks have any.
    pub class_names: Option<Vec<String>>,
    /// Files of streams and objects, which are deleted when this is dropped.
    pub spool: Spool,
}

/// Samples of one split, and what the audit learned of them.
#[derive(Debug)]
pub struct AuditedSplit {
    pub samples: Vec<Sample>,
    pub audit: Audit,
}

/// The training split alone, not audited, for pictures of its samples.
#[derive(Debug)]
pub struct TrainingSplit {
    pub samples: Vec<Sample>,
    /// Class names of color maps, class 0 first, if the masks have any.
    pub class_names: Option<Vec<String>>,
    /// Files of streams and objects, which are deleted when this is dropped.
    pub spool: Spool,
}

impl<'a> DatasetReader<'a> {
    /// Lists the samples of both splits. Those that have problems are left out.
    pub fn list(self, problems: &mut Problems) -> ListedDataset<'a> {
        let maps = read_label_maps(self, problems);
        let train = ListedSplit::list(self, &self.channels.train, maps.train, problems);
        let validation =
            ListedSplit::list(self, &self.channels.validation, maps.validation, problems);
        ListedDataset { reader: self, train, validation }
    }

    /// Lists and streams the training split; objects of S3 are fetched when a sample is read. The
    /// validation split is read only where names in color maps decide the classes of both.
    pub fn read_training_split(self, problems: &mut Problems) -> Checked<TrainingSplit> {
        let LabelMaps { train: map, validation: validation_map } = read_label_maps(self, problems);
        let mut spool = Spool::default();
        let train = ListedSplit::list(self, &self.channels.train, map, problems);
        let train = train.read_stream(self, &mut spool, problems);
        if !color_map::any_has_color_map(&train.samples) {
            return Ok(TrainingSplit { samples: train.samples, class_names: None, spool });
        }
        problems.check_empty()?;
        let validation =
            ListedSplit::list(self, &self.channels.validation, validation_map, problems);
        let validation = validation.read_stream(self, &mut spool, problems);
        let mut splits = Splits { train, validation, spool };
        let class_names = problems.check(splits.assign_class_ids(self))?;
        let Splits { train, spool, .. } = splits;
        Ok(TrainingSplit { samples: train.samples, class_names, spool })
    }

    fn is_asked_to_stop(self) -> bool {
        self.wait_limits.stop.is_requested()
    }
}

impl<'a> ListedDataset<'a> {
    /// Reads streams to their ends. Each takes minutes, and is left out if there are problems.
    pub fn read_streams(self, problems: &mut Problems) -> StreamedDataset<'a> {
        let reader = self.reader;
        let mut spool = Spool::default();
        let train = self.train.read_stream(reader, &mut spool, problems);
        let validation = self.validation.read_stream(reader, &mut spool, problems);
        StreamedDataset { reader, splits: Splits { train, validation, spool } }
    }
}

impl<'a> StreamedDataset<'a> {
    /// Returns the number of images to train on, as far as they could be listed.
    pub fn training_images(&self) -> usize {
        self.splits.train.samples.len()
    }

    /// Passes through all further phases.
    pub fn prepare(self, problems: &mut Problems) -> Checked<AuditedDataset> {
        let fetched = self.fetch(problems)?;
        let resolved = fetched.resolve_colors(problems)?;
        Ok(resolved.audit(problems))
    }

    /// Fetches objects of S3. Streams come first, as they must have room on the disk. Fetching
    /// takes minutes, and is given up if there are problems.
    pub fn fetch(mut self, problems: &mut Problems) -> Checked<FetchedDataset<'a>> {
        let reader = self.reader;
        if !reader.objects.is_empty() {
            problems.check_empty()?;
            problems.check(self.splits.fetch_objects(reader))?;
            if reader.is_asked_to_stop() {
                return Err(GivenUp::asked_to_stop());
            }
        }
        Ok(FetchedDataset { reader, splits: self.splits })
    }
}

impl<'a> FetchedDataset<'a> {
    /// Assigns class ids to the colors of masks. Without required names the ids depend on all names
    /// that occur, so this is given up if some lines could not be read.
    pub fn resolve_colors(mut self, problems: &mut Problems) -> Checked<ResolvedDataset<'a>> {
        let Self { reader, splits } = &mut self;
        if splits.have_color_maps() {
            if reader.required_names.is_none() {
                problems.check_empty()?;
            }
            if reader.is_asked_to_stop() {
                return Err(GivenUp::asked_to_stop());
            }
        }
        let class_names = problems.check(splits.assign_class_ids(*reader))?;
        Ok(ResolvedDataset { reader: self.reader, splits: self.splits, class_names })
    }
}

impl ResolvedDataset<'_> {
    /// Reads every image and mask once, and adds what is wrong with them to `problems`. If the job
    /// is asked to stop, the audit covers some samples only.
    pub fn audit(self, problems: &mut Problems) -> AuditedDataset {
        let Splits { train, validation, spool } = self.splits;
        let audit = train.audit(self.reader, problems);
        audit.check_learnable(&train.description, problems);
        let validation_audit = validation.audit(self.reader, problems);
        validation_audit.check_scorable(&validation.description, &audit, problems);
        AuditedDataset {
            training: AuditedSplit { samples: train.samples, audit },
            validation: AuditedSplit { samples: validation.samples, audit: validation_audit },
            class_names: self.class_names,
            spool,
        }
    }
}

impl Splits {
    fn have_color_maps(&self) -> bool {
        color_map::any_has_color_map(&self.train.samples)
            || color_map::any_has_color_map(&self.validation.samples)
    }

    /// Assigns ids to the classes of color maps, and returns all names if there are color maps.
    fn assign_class_ids(&mut self, reader: DatasetReader<'_>) -> Result<Option<Vec<String>>> {
        let splits = [
            (self.train.description.split, &mut self.train.samples[..]),
            (self.validation.description.split, &mut self.validation.samples[..]),
        ];
        let required = reader.required_names;
        let names = color_map::assign_class_ids(splits, required, reader.num_classes)?;
        if let Some(names) = &names {
            let order_source = match required {
                Some(required) => required.source,
                None => "sorted by name; class_names would fix the order",
            };
            reader.listener.on_result(&format_args!(
                "classes by color ({order_source}): {}",
                color_map::format_class_order(names)
            ));
        }
        Ok(names)
    }

    /// Fetches the objects that manifests name, as far as there is room for them.
    fn fetch_objects(&mut self, reader: DatasetReader<'_>) -> Result<()> {
        let DatasetReader { objects, listener, .. } = reader;
        listener.on_task("fetching", objects.count());
        let fetched = self
            .spool
            .folder()
            .and_then(|folder| objects.fetch_all(&folder.join("objects"), || listener.on_image()));
        listener.on_task_end();
        fetched?;
        if !reader.is_asked_to_stop() {
            let summary = objects.summary();
            listener.on_result(&summary);
            if let Some(warning) = summary.warning() {
                listener.on_note(&format_args!("warning: {warning}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
