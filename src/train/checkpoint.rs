//! Checkpoints: all that a job needs to go on where it was, so that the result is bit for bit that of
//! a job never stopped (CPU, same thread count).
//!
//! The folder holds the newest two `checkpoint-STEP.safetensors`: the tensors `model.*`, `optimizer.*`
//! and, where weights are averaged, `ema.*`; and [`State`] and [`Fingerprint`] as JSON in the metadata. The weights with the best
//! score lie beside them once, as `best-EPOCH.safetensors`, because SageMaker keeps this folder when a
//! job is interrupted, and not the model's.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use safetensors::tensor::{Dtype, SafeTensors};
use safetensors::{SafeTensorError, View};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::ema::Ema;
use super::fingerprint::Fingerprint;
use super::learning::Learning;
use super::loss_scale::LossScale;
use super::state::State;
use super::step::Stepper;
use crate::console::{note, say};
use crate::error::{Error, Result};
use crate::files;
use crate::model::{Config, Network, tensor_file, weights};

const CHECKPOINT: &str = "checkpoint-";
const BEST: &str = "best-";
const EXTENSION: &str = ".safetensors";
/// Checkpoints that stay.
const KEPT: usize = 2;
/// Names in a checkpoint's tensors and metadata.
const MODEL: &str = "model.";
const OPTIMIZER: &str = "optimizer.";
const EMA: &str = "ema.";
const ABOUT: &str = "maskmaker";

/// The metadata of a checkpoint.
#[derive(Serialize, Deserialize)]
struct About {
    fingerprint: Fingerprint,
    state: State,
    loss_scale: Option<LossScale>,
}

/// A folder of checkpoints of one job.
#[derive(Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    interval: Duration,
    fingerprint: Fingerprint,
    written: Instant,
    /// Epoch and step of the newest.
    position: Option<(usize, usize)>,
    /// Files that the newest checkpoints need, newest last.
    kept: Vec<[Option<String>; 2]>,
}

/// A checkpoint that was read.
#[derive(Debug)]
pub struct Restored {
    /// Network and optimizer as they were.
    pub stepper: Stepper,
    /// Where the job was.
    pub state: State,
    /// The weights with the best score so far, a whole `model.safetensors`.
    pub best: Option<Vec<u8>>,
}

impl Checkpoints {
    /// The checkpoints in `folder`, which is made if absent; what a killed job left half written is
    /// removed. A new one is [due](Self::is_due) every `interval`.
    pub fn open(folder: &Path, interval: Duration, fingerprint: Fingerprint) -> Result<Self> {
        fs::create_dir_all(folder).map_err(|cause| Error::io("create", folder, &cause))?;
        files::remove_partials(folder);
        let folder = folder.to_owned();
        let (written, position, kept) = (Instant::now(), None, Vec::new());
        Ok(Self { folder, interval, fingerprint, written, position, kept })
    }

    /// Whether the last one is an interval old, and there was progress since.
    pub fn is_due(&self, state: &State) -> bool {
        self.written.elapsed() >= self.interval && self.position != Some(state.position())
    }

    /// Writes a checkpoint and removes the one before the last. `model` is the artifact with the best
    /// weights, if there is one yet. When this fails, the earlier ones are as they were.
    pub fn write(&mut self, stepper: &Stepper, state: &State, model: &Path) -> Result<()> {
        let began = Instant::now();
        let best = state.best_epoch().map(|epoch| format!("{BEST}{epoch:06}{EXTENSION}"));
        if let Some(best) = &best {
            let target = self.folder.join(best);
            if !target.exists() {
                files::write_atomically(&target, &files::read(model)?)?;
            }
        }
        let name = format!("{CHECKPOINT}{:010}{EXTENSION}", state.steps);
        let about = About {
            fingerprint: self.fingerprint.clone(),
            state: state.clone(),
            loss_scale: stepper.loss_scale.clone(),
        };
        write(&self.folder.join(&name), stepper, &about)?;
        self.kept.retain(|[kept, _]| kept.as_ref() != Some(&name));
        self.kept.push([Some(name), best]);
        self.prune();
        self.written = Instant::now();
        self.position = Some(state.position());
        say(format_args!(
            "checkpoint at step {} (epoch {} step {}), written in {:.1} s",
            state.steps,
            state.epoch + 1,
            state.step,
            began.elapsed().as_secs_f64()
        ));
        Ok(())
    }

    /// Removes what no kept checkpoint needs; what cannot be removed stays.
    fn prune(&mut self) {
        let surplus = self.kept.len().saturating_sub(KEPT);
        self.kept.drain(..surplus);
        let needed = |name: &String| self.kept.iter().flatten().flatten().any(|kept| kept == name);
        for name in names(&self.folder, CHECKPOINT).into_iter().chain(names(&self.folder, BEST)) {
            if !needed(&name) {
                let _ = fs::remove_file(self.folder.join(name));
            }
        }
    }

    /// The newest checkpoint that can be read; none when the folder has none. One of another job is
    /// an error that names the differences.
    pub fn restore(
        &mut self,
        config: &Config,
        learning: &Learning,
        device: Device,
    ) -> Result<Option<Restored>> {
        let mut unreadable = Vec::new();
        for name in names(&self.folder, CHECKPOINT).into_iter().rev() {
            let path = self.folder.join(&name);
            match self.read(&path, config, learning, device) {
                Ok((restored, best)) => {
                    for problem in unreadable {
                        note(format_args!("warning: {problem}; going on with an older checkpoint"));
                    }
                    self.kept = vec![[Some(name), best]];
                    return Ok(Some(restored));
                }
                Err(Unusable::Other(error)) => return Err(error),
                Err(Unusable::Unreadable(error)) => {
                    unreadable.push(error.within(path.display()));
                }
            }
        }
        match unreadable.into_iter().next() {
            None => {
                self.prune();
                Ok(None)
            }
            Some(error) => Err(error.within(format!(
                "no checkpoint in {} can be read; empty the folder to start from the beginning",
                self.folder.display()
            ))),
        }
    }

    fn read(
        &self,
        path: &Path,
        config: &Config,
        learning: &Learning,
        device: Device,
    ) -> Result<(Restored, Option<String>), Unusable> {
        let bytes = files::read(path)?;
        let file = tensor_file::open(&bytes)?;
        let About { fingerprint, state, loss_scale } = about(&bytes)?;
        let differences = self.fingerprint.differences(&fingerprint);
        if !differences.is_empty() {
            return Err(Unusable::Other(Error::input(format!(
                "{} is of a job with other settings or data: {}; use those again to go on, or empty \
                 the folder to start from the beginning",
                path.display(),
                differences.join("; ")
            ))));
        }
        let network = Network::from_tensors(config, &file, MODEL, device)?;
        let mut stepper = Stepper::new(network, learning.clone())?;
        stepper.optimizer.load_state(tensors(&file, OPTIMIZER)?)?;
        if let Some(decay) = learning.ema_decay {
            let average = Network::from_tensors(config, &file, EMA, device)?;
            stepper.ema = Some(Ema::going_on(decay, average, &stepper.network)?);
        }
        // `auto` may be another format on this machine than it was on the last.
        if stepper.loss_scale.is_some() && loss_scale.is_some() {
            stepper.loss_scale = loss_scale;
        }
        let best = state.best_epoch().map(|epoch| format!("{BEST}{epoch:06}{EXTENSION}"));
        let best_bytes = best.as_ref().map(|best| files::read(&self.folder.join(best)));
        let best_bytes = best_bytes.transpose()?;
        if let Some(bytes) = &best_bytes {
            tensor_file::open(bytes)?;
        }
        Ok((Restored { stepper, state, best: best_bytes }, best))
    }
}

/// Why a checkpoint is not taken.
enum Unusable {
    /// It is damaged; an older one may do.
    Unreadable(Error),
    /// Older ones will not do either.
    Other(Error),
}

impl From<Error> for Unusable {
    fn from(error: Error) -> Self {
        Self::Unreadable(error)
    }
}

/// The names in `folder` that start and end as those of one kind, oldest first.
fn names(folder: &Path, start: &str) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with(start) && name.ends_with(EXTENSION))
        .collect();
    names.sort();
    names
}

fn write(path: &Path, stepper: &Stepper, about: &About) -> Result<()> {
    let about = serde_json::to_string(about)
        .map_err(|cause| Error::internal(format!("checkpoint: {cause}")))?;
    let failed = RefCell::new(None);
    let prefixed = |prefix: &'static str, named: Vec<(String, Tensor)>| {
        let failed = &failed;
        named.into_iter().map(move |(name, tensor)| {
            (format!("{prefix}{name}"), Piece { shape: shape(&tensor), tensor, failed })
        })
    };
    let ema = stepper.ema.as_ref().map(|ema| ema.network.weights.named()).transpose()?;
    let ema = ema.unwrap_or_default();
    let pieces: Vec<_> = prefixed(MODEL, stepper.network.weights.named()?)
        .chain(prefixed(OPTIMIZER, stepper.optimizer.state()))
        .chain(prefixed(EMA, ema))
        .collect();
    files::write_atomically_with(path, |file| {
        let about = HashMap::from([(ABOUT.to_owned(), about)]);
        safetensors::serialize_to_file(pieces, Some(about), file).map_err(|cause| match cause {
            SafeTensorError::IoError(cause) => Error::io("write", path, &cause),
            other => Error::internal(format!("{}: {other}", path.display())),
        })?;
        failed.take().map_or(Ok(()), Err)
    })
}

fn shape(tensor: &Tensor) -> Vec<usize> {
    tensor.size().iter().map(|&side| side as usize).collect()
}

/// A tensor whose bytes are made when they are written, so that a checkpoint needs no memory of its
/// own size.
struct Piece<'a> {
    tensor: Tensor,
    shape: Vec<usize>,
    failed: &'a RefCell<Option<Error>>,
}

impl View for Piece<'_> {
    fn dtype(&self) -> Dtype {
        match self.tensor.kind() {
            Kind::Int64 => Dtype::I64,
            _ => Dtype::F32,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        weights::bytes_of(&self.tensor)
            .unwrap_or_else(|error| {
                self.failed.replace(Some(error));
                vec![0; self.data_len()]
            })
            .into()
    }

    fn data_len(&self) -> usize {
        self.tensor.numel() * self.tensor.kind().elt_size_in_bytes()
    }
}

fn about(bytes: &[u8]) -> Result<About> {
    let (_, metadata) = SafeTensors::read_metadata(bytes)
        .map_err(|cause| Error::input(format!("not a whole safetensors file: {cause}")))?;
    let text = metadata.metadata().as_ref().and_then(|metadata| metadata.get(ABOUT));
    let text = text.ok_or_else(|| Error::input("not a checkpoint of maskmaker"))?;
    serde_json::from_str(text)
        .map_err(|cause| Error::input(format!("not a checkpoint of this version: {cause}")))
}

/// The tensors whose names start with `prefix`, under the rest of their names.
fn tensors(file: &SafeTensors<'_>, prefix: &str) -> Result<Vec<(String, Tensor)>> {
    let own = file.iter().filter_map(|(name, view)| Some((name.strip_prefix(prefix)?, view)));
    own.map(|(name, view)| {
        let shape: Vec<i64> = view.shape().iter().map(|&side| side as i64).collect();
        let kind = match view.dtype() {
            Dtype::I64 => Kind::Int64,
            Dtype::F32 => Kind::Float,
            other => return Err(Error::input(format!("tensor {prefix}{name} holds {other:?}"))),
        };
        Ok((name.to_owned(), Tensor::f_from_data_size(view.data(), &shape, kind)?))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sagemaker::hyperparameters::{Algorithm, Backbone};
    use crate::train::optimizer::Rule;

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_are_unreadable_not_a_panic(bytes: Vec<u8>) {
            let folder = tempfile::tempdir().unwrap();
            let name = format!("{CHECKPOINT}0000000001{EXTENSION}");
            fs::write(folder.path().join(&name), bytes).unwrap();
            let (interval, fingerprint) = (Duration::ZERO, Fingerprint::default());
            let mut checkpoints =
                Checkpoints::open(folder.path(), interval, fingerprint).unwrap();
            let kind = (Algorithm::Fcn, Backbone::Resnet18);
            let learning = Learning::new(Rule::Adagrad);
            let config = Config::new(kind, 4, None);
            let error = checkpoints.restore(&config, &learning, Device::Cpu).unwrap_err().to_string();
            proptest::prop_assert!(error.contains(&name), "{}", error);
            proptest::prop_assert!(error.contains("empty the folder to start"), "{}", error);
        }
    }
}
