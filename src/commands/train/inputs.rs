//! What a job trains on: the samples of both splits, found or streamed, mapped and audited.

use std::path::Path;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use crate::console::{note, say};
use crate::data::audit::{Audit, Subject, audit, describe};
use crate::data::color_map::Known;
use crate::data::fifo::Patience;
use crate::data::label_map::LabelMap;
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
    /// Training pixels of each class, once they were looked at.
    pub(in crate::commands) pixels: Vec<u64>,
    /// Where the images of streams lie; they go when it is dropped.
    pub(in crate::commands) _spool: Option<TempDir>,
}

impl Inputs {
    /// Reads and audits both splits; `known` names the classes, if anything but the masks does. They may be
    /// incomplete when there are problems, or when someone asked the job to stop.
    pub(in crate::commands) fn read(
        root: &Path,
        channels: &Channels,
        hyperparameters: &Hyperparameters,
        known: Option<Known<'_>>,
        patience: Patience<'_>,
        problems: &mut Problems,
    ) -> Self {
        let classes = hyperparameters.num_classes;
        let [train_map, validation_map] = label_maps(&channels.label_map, classes, problems);
        let mut spool = None;
        let mut find = |source: &Source, map: Option<Arc<LabelMap>>, problems: &mut Problems| {
            find(source, (root, map), patience, &mut spool, problems)
        };
        let (mut training, train) = find(&channels.train, train_map, problems);
        let (mut validation, valid) = find(&channels.validation, validation_map, problems);
        let splits = [(train.split, &mut training[..]), (valid.split, &mut validation[..])];
        // Without names, those that are found are all, unless there are lines that could not be read.
        let is_complete = known.is_some() || problems.is_empty();
        let has_colors = splits.iter().any(|(_, samples)| color_map::is_in(samples));
        let wait = has_colors && (!is_complete || patience.stop.is_requested());
        let assigned = if wait { Ok(None) } else { color_map::assign(splits, known, classes) };
        let assigned = problems.check(assigned);
        let class_names = assigned.clone().flatten();
        if let Some(names) = &class_names {
            let by = known.map_or("sorted by name; class_names would fix the order", |k| k.source);
            say(format_args!("classes by colour ({by}): {}", color_map::order(names)));
        }
        let mut pixels = Vec::new();
        // Masks whose colours stand for nothing yet would all be wrong.
        if assigned.is_some() && !wait {
            let audit = check(&train, &training, classes, patience, problems);
            audit.check_learnable(&train, problems);
            pixels = audit.pixels[..classes].to_vec();
            check(&valid, &validation, classes, patience, problems);
        }
        if let (Source::Pipe { fifo, .. }, Some(expected)) =
            (&channels.train, hyperparameters.num_training_samples)
            && expected != training.len()
            && problems.is_empty()
        {
            note(format_args!(
                "warning: num_training_samples is {expected}, and {} brought {} images; was the \
                 manifest read to its end?",
                fifo.display(),
                training.len()
            ));
        }
        Self { training, validation, class_names, pixels, _spool: spool }
    }

    /// The training samples alone, which are not looked at yet. The validation samples are found too where
    /// the names in colour maps decide the classes.
    pub(in crate::commands) fn of_training(
        root: &Path,
        channels: &Channels,
        classes: usize,
        known: Option<Known<'_>>,
        patience: Patience<'_>,
        problems: &mut Problems,
    ) -> Self {
        let [train_map, validation_map] = label_maps(&channels.label_map, classes, problems);
        let mut spool = None;
        let mut find = |source: &Source, map: Option<Arc<LabelMap>>, problems: &mut Problems| {
            find(source, (root, map), patience, &mut spool, problems)
        };
        let (mut training, train) = find(&channels.train, train_map, problems);
        let (mut validation, mut class_names) = (Vec::new(), None);
        if color_map::is_in(&training) && problems.is_empty() {
            let (found, valid) = find(&channels.validation, validation_map, problems);
            validation = found;
            let splits = [(train.split, &mut training[..]), (valid.split, &mut validation[..])];
            class_names = problems.check(color_map::assign(splits, known, classes)).flatten();
        }
        Self { training, validation, class_names, pixels: Vec::new(), _spool: spool }
    }
}

/// The samples of a split, with its label map, and how messages call them.
fn find(
    source: &Source,
    (root, label_map): (&Path, Option<Arc<LabelMap>>),
    patience: Patience<'_>,
    spool: &mut Option<TempDir>,
    problems: &mut Problems,
) -> (Vec<Sample>, Subject) {
    let (mut samples, subject) = match source {
        Source::Folders(split) => (source::pair(split, problems), Subject::folders(split.name)),
        Source::Manifest { name, file } => {
            let (samples, attribute) = manifest::read(file, root, problems);
            (samples, Subject::manifest(name, file, attribute.as_deref()))
        }
        Source::Pipe { name, fifo } => {
            // Reading a stream takes minutes: not when the job is known to fail.
            let samples = problems.is_empty().then(|| stream(name, fifo, patience, spool));
            let samples = samples.and_then(|read| problems.check(read));
            (samples.unwrap_or_default(), Subject::stream(name, fifo))
        }
    };
    for sample in &mut samples {
        sample.label_map.clone_from(&label_map);
    }
    (samples, subject)
}

/// Reads a stream into a folder of its own below `spool`, which is made when it is first needed.
fn stream(
    name: &str,
    fifo: &Path,
    patience: Patience<'_>,
    spool: &mut Option<TempDir>,
) -> Result<Vec<Sample>> {
    let folder = if let Some(spool) = spool {
        spool.path()
    } else {
        let new = tempfile::Builder::new().prefix("maskmaker-").tempdir();
        let new =
            new.map_err(|cause| Error::io("make a folder in", &std::env::temp_dir(), &cause))?;
        spool.insert(new).path()
    };
    Spool { folder: folder.join(name), reserve: RESERVE }.fill(name, fifo, patience)
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
    subject: &Subject,
    samples: &[Sample],
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
