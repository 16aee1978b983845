//! What a job trains on: the samples of both splits, found or streamed, mapped and audited.

use std::path::Path;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use crate::console::{print_stderr, print_stdout};
use crate::data::audit::{Audit, SplitDescription, audit_samples, describe_histogram};
use crate::data::color_map::RequiredClassNames;
use crate::data::fifo::WaitLimits;
use crate::data::label_map::LabelMap;
use crate::data::objects::ObjectCache;
use crate::data::pipe::{RESERVED_DISK_BYTES, StreamFolder};
use crate::data::{Sample, color_map, manifest, pairing};
use crate::error::{Error, Problems, Result};
use crate::progress::Progress;
use crate::sagemaker::Channels;
use crate::sagemaker::channels::{LabelMapChannel, SplitSource};
use crate::train::Hyperparameters;

/// The samples of a job.
#[derive(Debug)]
pub(in crate::commands) struct TrainingData {
    pub(in crate::commands) training: Vec<Sample>,
    pub(in crate::commands) validation: Vec<Sample>,
    /// The classes' names, if the masks tell them.
    pub(in crate::commands) class_names: Option<Vec<String>>,
    /// What was found in the two, once they were looked at.
    pub(in crate::commands) audits: Option<[Audit; 2]>,
    /// Where the images of streams lie; they go when it is dropped.
    pub(in crate::commands) _temp_dir: Option<TempDir>,
}

impl TrainingData {
    /// Reads and audits both splits; `known` names the classes, if anything but the masks does. They may be
    /// incomplete when there are problems, or when someone asked the job to stop.
    pub(in crate::commands) fn read_and_audit(
        (root, objects): (&Path, &Arc<ObjectCache>),
        channels: &Channels,
        hyperparameters: &Hyperparameters,
        required_names: Option<RequiredClassNames<'_>>,
        wait_limits: WaitLimits<'_>,
        problems: &mut Problems,
    ) -> Self {
        let num_classes = hyperparameters.num_classes;
        let sources = [&channels.train, &channels.validation];
        let split_label_maps = read_label_maps(&channels.label_map, num_classes, problems);
        let mut temp_dir = None;
        // All names before any content: every line of both manifests is checked before an object is
        // fetched.
        let [mut train, mut validation] =
            sources.map(|source| SplitSamples::list(source, root, objects, problems));
        for ((split, source), map) in
            [&mut train, &mut validation].into_iter().zip(sources).zip(split_label_maps)
        {
            split.read_stream(source, wait_limits, &mut temp_dir, problems);
            split.set_label_map(map.as_ref());
        }
        // After the streams, which must have room on the disk.
        if !objects.is_empty() {
            // Fetching takes minutes: not when the job is known to fail.
            let fetched = problems.is_empty()
                && problems
                    .record_err(fetch_objects(objects, wait_limits, &mut temp_dir))
                    .is_some();
            if !fetched || wait_limits.stop.is_requested() {
                return Self::from_splits(train, validation, temp_dir);
            }
        }
        // Without names, those that are found are all, unless there are lines that could not be read.
        let is_complete = required_names.is_some() || problems.is_empty();
        let has_colors = color_map::any_has_color_map(&train.samples)
            || color_map::any_has_color_map(&validation.samples);
        let defer_colors = has_colors && (!is_complete || wait_limits.stop.is_requested());
        let assignment = if defer_colors {
            Ok(None)
        } else {
            assign_color_classes(&mut train, &mut validation, required_names, num_classes)
        };
        let assignment = problems.record_err(assignment);
        let (mut class_names, mut audits) = (None, None);
        // Masks whose colors stand for nothing yet would all be wrong.
        if let Some(names) = assignment.filter(|_| !defer_colors) {
            class_names = names;
            let audit = audit_split(&train, num_classes, wait_limits, problems);
            audit.check_learnable(&train.subject, problems);
            audits = Some([audit, audit_split(&validation, num_classes, wait_limits, problems)]);
        }
        if let (SplitSource::Pipe { fifo, .. }, Some(expected)) =
            (&channels.train, hyperparameters.num_training_samples)
            && expected != train.samples.len()
            && problems.is_empty()
        {
            print_stderr(format_args!(
                "warning: num_training_samples is {expected}, and {} brought {} images; was the \
                 manifest read to its end?",
                fifo.display(),
                train.samples.len()
            ));
        }
        Self { class_names, audits, ..Self::from_splits(train, validation, temp_dir) }
    }

    /// The training samples alone, which are not looked at yet; objects of S3 are fetched when they are
    /// read. The validation samples are found too where the names in color maps decide the classes.
    pub(in crate::commands) fn read_training_split(
        (root, objects): (&Path, &Arc<ObjectCache>),
        channels: &Channels,
        num_classes: usize,
        required_names: Option<RequiredClassNames<'_>>,
        wait_limits: WaitLimits<'_>,
        problems: &mut Problems,
    ) -> Self {
        let [map, validation_map] = read_label_maps(&channels.label_map, num_classes, problems);
        let mut temp_dir = None;
        let mut read_split = |source: &SplitSource, problems: &mut Problems| {
            let mut split = SplitSamples::list(source, root, objects, problems);
            split.read_stream(source, wait_limits, &mut temp_dir, problems);
            split
        };
        let mut train = read_split(&channels.train, problems);
        train.set_label_map(map.as_ref());
        let mut validation = SplitSamples {
            samples: Vec::new(),
            subject: SplitDescription::for_folders("validation"),
        };
        let mut class_names = None;
        if color_map::any_has_color_map(&train.samples) && problems.is_empty() {
            validation = read_split(&channels.validation, problems);
            validation.set_label_map(validation_map.as_ref());
            let assigned =
                assign_color_classes(&mut train, &mut validation, required_names, num_classes);
            class_names = problems.record_err(assigned).flatten();
        }
        Self { class_names, ..Self::from_splits(train, validation, temp_dir) }
    }

    fn from_splits(
        train: SplitSamples,
        validation: SplitSamples,
        temp_dir: Option<TempDir>,
    ) -> Self {
        Self {
            training: train.samples,
            validation: validation.samples,
            class_names: None,
            audits: None,
            _temp_dir: temp_dir,
        }
    }
}

/// The samples of one split, and how messages call them.
struct SplitSamples {
    samples: Vec<Sample>,
    subject: SplitDescription,
}

impl SplitSamples {
    /// The samples of folders and manifests; a stream's are not known before it is read.
    fn list(
        source: &SplitSource,
        root: &Path,
        objects: &Arc<ObjectCache>,
        problems: &mut Problems,
    ) -> Self {
        let (samples, subject) = match source {
            SplitSource::Folders(split) => (
                pairing::pair_images_and_masks(split, problems),
                SplitDescription::for_folders(split.name),
            ),
            SplitSource::Manifest { name, file } => {
                let (samples, attribute) = manifest::read_manifest(file, root, objects, problems);
                (samples, SplitDescription::for_manifest(name, file, attribute.as_deref()))
            }
            SplitSource::Pipe { name, fifo } => {
                (Vec::new(), SplitDescription::for_stream(name, fifo))
            }
        };
        Self { samples, subject }
    }

    /// Reads a stream, unless the job is known to fail: it takes minutes.
    fn read_stream(
        &mut self,
        source: &SplitSource,
        wait_limits: WaitLimits<'_>,
        temp_dir: &mut Option<TempDir>,
        problems: &mut Problems,
    ) {
        if let (SplitSource::Pipe { name, fifo }, true) = (source, problems.is_empty()) {
            let samples = problems.record_err(spool_stream(name, fifo, wait_limits, temp_dir));
            self.samples = samples.unwrap_or_default();
        }
    }

    fn set_label_map(&mut self, map: Option<&Arc<LabelMap>>) {
        for sample in &mut self.samples {
            sample.label_map = map.cloned();
        }
    }
}

/// Gives the classes of color maps their ids and says which; their names come back if there are any.
fn assign_color_classes(
    train: &mut SplitSamples,
    validation: &mut SplitSamples,
    required_names: Option<RequiredClassNames<'_>>,
    num_classes: usize,
) -> Result<Option<Vec<String>>> {
    let splits = [train, validation].map(|split| (split.subject.split, &mut split.samples[..]));
    let names = color_map::assign_class_ids(splits, required_names, num_classes)?;
    if let Some(names) = &names {
        let order_source =
            required_names.map_or("sorted by name; class_names would fix the order", |k| k.source);
        print_stdout(format_args!(
            "classes by color ({order_source}): {}",
            color_map::format_class_order(names)
        ));
    }
    Ok(names)
}

/// Reads a stream into a folder of its own below `spool`, which is made when it is first needed.
fn spool_stream(
    name: &str,
    fifo: &Path,
    wait_limits: WaitLimits<'_>,
    temp_dir: &mut Option<TempDir>,
) -> Result<Vec<Sample>> {
    StreamFolder {
        folder: ensure_temp_dir(temp_dir)?.join(name),
        reserved_bytes: RESERVED_DISK_BYTES,
    }
    .read_stream(name, fifo, wait_limits)
}

/// Fetches the objects that manifests name into a folder below `spool`.
fn fetch_objects(
    objects: &ObjectCache,
    wait_limits: WaitLimits<'_>,
    temp_dir: &mut Option<TempDir>,
) -> Result<()> {
    let progress = Mutex::new(Progress::new("fetching", objects.count()));
    objects.fetch_all(&ensure_temp_dir(temp_dir)?.join("objects"), || {
        if let Ok(mut progress) = progress.lock() {
            progress.advance(1, || None);
        }
    })?;
    if let Ok(progress) = progress.lock() {
        progress.finish();
    }
    if !wait_limits.stop.is_requested() {
        objects.print_summary();
    }
    Ok(())
}

/// The job's temporary folder.
fn ensure_temp_dir(temp_dir: &mut Option<TempDir>) -> Result<&Path> {
    if temp_dir.is_none() {
        let created = tempfile::Builder::new().prefix("maskmaker-").tempdir();
        let created =
            created.map_err(|e| Error::io("make a folder in", &std::env::temp_dir(), &e))?;
        *temp_dir = Some(created);
    }
    temp_dir.as_ref().map(TempDir::path).ok_or_else(|| Error::internal("no temporary folder"))
}

/// The label maps of training and validation; the log tells how each is read.
fn read_label_maps(
    channel: &LabelMapChannel,
    num_classes: usize,
    problems: &mut Problems,
) -> [Option<Arc<LabelMap>>; 2] {
    let LabelMapChannel { train, validation, .. } = channel;
    let mut read_map = |name: &str, path: Option<&Path>| {
        let map = problems.record_err(LabelMap::read(path?, num_classes)).flatten()?;
        print_stdout(format_args!("label map of {name}: {map}"));
        Some(Arc::new(map))
    };
    if train == validation {
        // What is wrong with one file is wrong once.
        let map = read_map("train and validation", train.as_deref());
        return [map.clone(), map];
    }
    [read_map("train", train.as_deref()), read_map("validation", validation.as_deref())]
}

/// Audits the samples of a split.
fn audit_split(
    SplitSamples { samples, subject }: &SplitSamples,
    num_classes: usize,
    wait_limits: WaitLimits<'_>,
    problems: &mut Problems,
) -> Audit {
    let split_name = subject.split;
    let progress = Mutex::new(Progress::new(&format!("checking {split_name}"), samples.len()));
    let audit = audit_samples(subject, samples, num_classes, problems, || {
        if let Ok(mut progress) = progress.lock() {
            progress.advance(1, || None);
        }
        !wait_limits.stop.is_requested()
    });
    if let Ok(progress) = progress.lock() {
        progress.finish();
    }
    print_stdout(format_args!(
        "{split_name}: {} images, mask pixels per class: {}",
        samples.len(),
        describe_histogram(&audit.histogram)
    ));
    if let Some(snap_warning) = audit.snapped_warning(subject) {
        print_stderr(format_args!("warning: {snap_warning}"));
    }
    audit
}
