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
pub(super) struct Inputs {
    pub(super) training: Vec<Sample>,
    pub(super) validation: Vec<Sample>,
    /// Training pixels of each class.
    pub(super) pixels: Vec<u64>,
    /// Where the images of streams lie; they go when it is dropped.
    pub(super) _spool: Option<TempDir>,
}

impl Inputs {
    /// Reads and audits both splits. They may be incomplete when there are problems, or when someone
    /// asked the job to stop.
    pub(super) fn read(
        root: &Path,
        channels: &Channels,
        hyperparameters: &Hyperparameters,
        patience: Patience<'_>,
        problems: &mut Problems,
    ) -> Self {
        let classes = hyperparameters.num_classes;
        let [train_map, validation_map] = label_maps(&channels.label_map, classes, problems);
        let mut spool = None;
        let mut find =
            |source: &Source, label_map: Option<Arc<LabelMap>>, problems: &mut Problems| {
                let mut samples = match source {
                    Source::Folders(split) => source::pair(split, problems),
                    Source::Manifest { file, .. } => manifest::read(file, root, problems),
                    // Reading a stream takes minutes: not when the job is known to fail.
                    Source::Pipe { .. } if !problems.is_empty() => Vec::new(),
                    Source::Pipe { name, fifo } => {
                        let samples = stream(name, fifo, patience, &mut spool);
                        problems.check(samples).unwrap_or_default()
                    }
                };
                for sample in &mut samples {
                    sample.label_map.clone_from(&label_map);
                }
                let audit = check(source.name(), &samples, classes, patience, problems);
                (samples, audit)
            };
        let (training, audit) = find(&channels.train, train_map, problems);
        audit.check_learnable(channels.train.name(), problems);
        let (validation, _) = find(&channels.validation, validation_map, problems);
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
