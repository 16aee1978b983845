//! What a job trains on: the samples of both splits, found or streamed, mapped and audited.

use std::path::Path;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use crate::console::{note, say};
use crate::data::audit::{Audit, Subject, audit, describe};
use crate::data::color_map::Known;
use crate::data::fifo::Patience;
use crate::data::label_map::LabelMap;
use crate::data::objects::Objects;
use crate::data::pipe::{RESERVE, Spool};
use crate::data::{Sample, color_map, manifest, source};
use crate::error::{Error, Problems, Result};
use crate::progress::Progress;
use crate::sagemaker::channels::{LabelMapChannel, Source};
use crate::sagemaker::{Channels, Hyperparameters};

/// The samples of a job.
#[derive(Debug)]
pub(in crate::commands) struct Inputs {
    pub(in crate::commands) training: Vec<Sample>,
    pub(in crate::commands) validation: Vec<Sample>,
    /// The classes' names, if the masks tell them.
    pub(in crate::commands) class_names: Option<Vec<String>>,
    /// What was found in the two, once they were looked at.
    pub(in crate::commands) audits: Option<[Audit; 2]>,
    /// Where the images of streams lie; they go when it is dropped.
    pub(in crate::commands) _spool: Option<TempDir>,
}

impl Inputs {
    /// Reads and audits both splits; `known` names the classes, if anything but the masks does. They may be
    /// incomplete when there are problems, or when someone asked the job to stop.
    pub(in crate::commands) fn read(
        (root, objects): (&Path, &Arc<Objects>),
        channels: &Channels,
        hyperparameters: &Hyperparameters,
        known: Option<Known<'_>>,
        patience: Patience<'_>,
        problems: &mut Problems,
    ) -> Self {
        let classes = hyperparameters.num_classes;
        let sources = [&channels.train, &channels.validation];
        let maps = label_maps(&channels.label_map, classes, problems);
        let mut spool = None;
        // All names before any content: every line of both manifests is checked before an object is
        // fetched.
        let [mut train, mut valid] =
            sources.map(|source| Split::named(source, root, objects, problems));
        for ((split, source), map) in [&mut train, &mut valid].into_iter().zip(sources).zip(maps) {
            split.fill(source, patience, &mut spool, problems);
            split.map_labels(map.as_ref());
        }
        // After the streams, which must have room on the disk.
        if !objects.is_empty() {
            // Fetching takes minutes: not when the job is known to fail.
            let fetched = problems.is_empty()
                && problems.check(fetch(objects, patience, &mut spool)).is_some();
            if !fetched || patience.stop.is_requested() {
                return Self::of(train, valid, spool);
            }
        }
        // Without names, those that are found are all, unless there are lines that could not be read.
        let is_complete = known.is_some() || problems.is_empty();
        let has_colors = color_map::is_in(&train.samples) || color_map::is_in(&valid.samples);
        let wait = has_colors && (!is_complete || patience.stop.is_requested());
        let assigned =
            if wait { Ok(None) } else { assign_colors(&mut train, &mut valid, known, classes) };
        let assigned = problems.check(assigned);
        let (mut class_names, mut audits) = (None, None);
        // Masks whose colours stand for nothing yet would all be wrong.
        if let Some(names) = assigned.filter(|_| !wait) {
            class_names = names;
            let audit = check(&train, classes, patience, problems);
            audit.check_learnable(&train.subject, problems);
            audits = Some([audit, check(&valid, classes, patience, problems)]);
        }
        if let (Source::Pipe { fifo, .. }, Some(expected)) =
            (&channels.train, hyperparameters.num_training_samples)
            && expected != train.samples.len()
            && problems.is_empty()
        {
            note(format_args!(
                "warning: num_training_samples is {expected}, and {} brought {} images; was the \
                 manifest read to its end?",
                fifo.display(),
                train.samples.len()
            ));
        }
        Self { class_names, audits, ..Self::of(train, valid, spool) }
    }

    /// The training samples alone, which are not looked at yet; objects of S3 are fetched when they are
    /// read. The validation samples are found too where the names in colour maps decide the classes.
    pub(in crate::commands) fn of_training(
        (root, objects): (&Path, &Arc<Objects>),
        channels: &Channels,
        classes: usize,
        known: Option<Known<'_>>,
        patience: Patience<'_>,
        problems: &mut Problems,
    ) -> Self {
        let [map, validation_map] = label_maps(&channels.label_map, classes, problems);
        let mut spool = None;
        let mut read = |source: &Source, problems: &mut Problems| {
            let mut split = Split::named(source, root, objects, problems);
            split.fill(source, patience, &mut spool, problems);
            split
        };
        let mut train = read(&channels.train, problems);
        train.map_labels(map.as_ref());
        let mut valid = Split { samples: Vec::new(), subject: Subject::folders("validation") };
        let mut class_names = None;
        if color_map::is_in(&train.samples) && problems.is_empty() {
            valid = read(&channels.validation, problems);
            valid.map_labels(validation_map.as_ref());
            let assigned = assign_colors(&mut train, &mut valid, known, classes);
            class_names = problems.check(assigned).flatten();
        }
        Self { class_names, ..Self::of(train, valid, spool) }
    }

    fn of(train: Split, valid: Split, spool: Option<TempDir>) -> Self {
        Self {
            training: train.samples,
            validation: valid.samples,
            class_names: None,
            audits: None,
            _spool: spool,
        }
    }
}

/// The samples of one split, and how messages call them.
struct Split {
    samples: Vec<Sample>,
    subject: Subject,
}

impl Split {
    /// The samples of folders and manifests; a stream's are not known before it is read.
    fn named(
        source: &Source,
        root: &Path,
        objects: &Arc<Objects>,
        problems: &mut Problems,
    ) -> Self {
        let (samples, subject) = match source {
            Source::Folders(split) => (source::pair(split, problems), Subject::folders(split.name)),
            Source::Manifest { name, file } => {
                let (samples, attribute) = manifest::read(file, root, objects, problems);
                (samples, Subject::manifest(name, file, attribute.as_deref()))
            }
            Source::Pipe { name, fifo } => (Vec::new(), Subject::stream(name, fifo)),
        };
        Self { samples, subject }
    }

    /// Reads a stream, unless the job is known to fail: it takes minutes.
    fn fill(
        &mut self,
        source: &Source,
        patience: Patience<'_>,
        spool: &mut Option<TempDir>,
        problems: &mut Problems,
    ) {
        if let (Source::Pipe { name, fifo }, true) = (source, problems.is_empty()) {
            let samples = problems.check(stream(name, fifo, patience, spool));
            self.samples = samples.unwrap_or_default();
        }
    }

    fn map_labels(&mut self, map: Option<&Arc<LabelMap>>) {
        for sample in &mut self.samples {
            sample.label_map = map.cloned();
        }
    }
}

/// Gives the classes of colour maps their ids and says which; their names come back if there are any.
fn assign_colors(
    train: &mut Split,
    valid: &mut Split,
    known: Option<Known<'_>>,
    classes: usize,
) -> Result<Option<Vec<String>>> {
    let splits = [train, valid].map(|split| (split.subject.split, &mut split.samples[..]));
    let names = color_map::assign(splits, known, classes)?;
    if let Some(names) = &names {
        let by = known.map_or("sorted by name; class_names would fix the order", |k| k.source);
        say(format_args!("classes by colour ({by}): {}", color_map::order(names)));
    }
    Ok(names)
}

/// Reads a stream into a folder of its own below `spool`, which is made when it is first needed.
fn stream(
    name: &str,
    fifo: &Path,
    patience: Patience<'_>,
    spool: &mut Option<TempDir>,
) -> Result<Vec<Sample>> {
    Spool { folder: temporary(spool)?.join(name), reserve: RESERVE }.fill(name, fifo, patience)
}

/// Fetches the objects that manifests name into a folder below `spool`.
fn fetch(objects: &Objects, patience: Patience<'_>, spool: &mut Option<TempDir>) -> Result<()> {
    let progress = Mutex::new(Progress::new("fetching", objects.count()));
    objects.fetch(&temporary(spool)?.join("objects"), || {
        if let Ok(mut progress) = progress.lock() {
            progress.advance(1, || None);
        }
    })?;
    if let Ok(progress) = progress.lock() {
        progress.finish();
    }
    if !patience.stop.is_requested() {
        objects.describe();
    }
    Ok(())
}

/// The job's temporary folder.
fn temporary(spool: &mut Option<TempDir>) -> Result<&Path> {
    if spool.is_none() {
        let new = tempfile::Builder::new().prefix("maskmaker-").tempdir();
        let new = new.map_err(|e| Error::io("make a folder in", &std::env::temp_dir(), &e))?;
        *spool = Some(new);
    }
    spool.as_ref().map(TempDir::path).ok_or_else(|| Error::internal("no temporary folder"))
}

/// The label maps of training and validation; the log tells how each is read.
fn label_maps(
    channel: &LabelMapChannel,
    classes: usize,
    problems: &mut Problems,
) -> [Option<Arc<LabelMap>>; 2] {
    let LabelMapChannel { train, validation, .. } = channel;
    let mut read = |name: &str, path: Option<&Path>| {
        let map = problems.check(LabelMap::read(path?, classes)).flatten()?;
        say(format_args!("label map of {name}: {map}"));
        Some(Arc::new(map))
    };
    if train == validation {
        // What is wrong with one file is wrong once.
        let map = read("train and validation", train.as_deref());
        return [map.clone(), map];
    }
    [read("train", train.as_deref()), read("validation", validation.as_deref())]
}

/// Audits the samples of a split.
fn check(
    Split { samples, subject }: &Split,
    classes: usize,
    patience: Patience<'_>,
    problems: &mut Problems,
) -> Audit {
    let name = subject.split;
    let progress = Mutex::new(Progress::new(&format!("checking {name}"), samples.len()));
    let audit = audit(subject, samples, classes, problems, || {
        if let Ok(mut progress) = progress.lock() {
            progress.advance(1, || None);
        }
        !patience.stop.is_requested()
    });
    if let Ok(progress) = progress.lock() {
        progress.finish();
    }
    say(format_args!(
        "{name}: {} images, mask pixels per class: {}",
        samples.len(),
        describe(&audit.pixels)
    ));
    if let Some(snapped) = audit.snapped(subject) {
        note(format_args!("warning: {snapped}"));
    }
    audit
}
