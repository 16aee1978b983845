//! What a job trains on: the samples of both splits, found or streamed, mapped and audited.

use std::path::Path;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use crate::console::{note, say};
use crate::data::audit::{Audit, audit, describe};
use crate::data::fifo::Patience;
use crate::data::label_map::LabelMap;
use crate::data::pipe::{RESERVE, Spool};
use crate::data::{Sample, manifest, source};
use crate::error::{Error, Problems, Result};
use crate::progress::Progress;
use crate::sagemaker::channels::{LabelMapChannel, Source};
use crate::sagemaker::{Channels, Hyperparameters};

/// The samples of a job.
#[derive(Debug)]
pub(in crate::commands) struct Inputs {
    pub(in crate::commands) training: Vec<Sample>,
    pub(in crate::commands) validation: Vec<Sample>,
    /// Training pixels of each class, once they were looked at.
    pub(in crate::commands) pixels: Vec<u64>,
    /// Where the images of streams lie; they go when it is dropped.
    pub(in crate::commands) _spool: Option<TempDir>,
}

impl Inputs {
    /// Reads and audits both splits. They may be incomplete when there are problems, or when someone
    /// asked the job to stop.
    pub(in crate::commands) fn read(
        root: &Path,
        channels: &Channels,
        hyperparameters: &Hyperparameters,
        patience: Patience<'_>,
        problems: &mut Problems,
    ) -> Self {
        let classes = hyperparameters.num_classes;
        let [train_map, validation_map] = label_maps(&channels.label_map, classes, problems);
        let mut spool = None;
        let mut read =
            |source: &Source, label_map: Option<Arc<LabelMap>>, problems: &mut Problems| {
                let samples = find(source, (root, label_map), patience, &mut spool, problems);
                let audit = check(source.name(), &samples, classes, patience, problems);
                (samples, audit)
            };
        let (training, audit) = read(&channels.train, train_map, problems);
        audit.check_learnable(channels.train.name(), problems);
        let (validation, _) = read(&channels.validation, validation_map, problems);
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
        let pixels = audit.pixels[..classes].to_vec();
        Self { training, validation, pixels, _spool: spool }
    }

    /// The training samples alone, which are not looked at yet.
    pub(in crate::commands) fn of_training(
        root: &Path,
        channels: &Channels,
        classes: usize,
        patience: Patience<'_>,
        problems: &mut Problems,
    ) -> Self {
        let [map, _] = label_maps(&channels.label_map, classes, problems);
        let mut spool = None;
        let training = find(&channels.train, (root, map), patience, &mut spool, problems);
        Self { training, validation: Vec::new(), pixels: Vec::new(), _spool: spool }
    }
}

/// The samples of a split, with its label map.
fn find(
    source: &Source,
    (root, label_map): (&Path, Option<Arc<LabelMap>>),
    patience: Patience<'_>,
    spool: &mut Option<TempDir>,
    problems: &mut Problems,
) -> Vec<Sample> {
    let mut samples = match source {
        Source::Folders(split) => source::pair(split, problems),
        Source::Manifest { file, .. } => manifest::read(file, root, problems),
        // Reading a stream takes minutes: not when the job is known to fail.
        Source::Pipe { .. } if !problems.is_empty() => Vec::new(),
        Source::Pipe { name, fifo } => {
            problems.check(stream(name, fifo, patience, spool)).unwrap_or_default()
        }
    };
    for sample in &mut samples {
        sample.label_map.clone_from(&label_map);
    }
    samples
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
    name: &str,
    samples: &[Sample],
    classes: usize,
    patience: Patience<'_>,
    problems: &mut Problems,
) -> Audit {
    let progress = Mutex::new(Progress::new(&format!("checking {name}"), samples.len()));
    let audit = audit(name, samples, classes, problems, || {
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
    audit
}
