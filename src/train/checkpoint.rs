//! Checkpoints: all that a job needs to go on after an interruption. On a processor with the same
//! number of threads the result is bit for bit that of a job that was never stopped.
//!
//! The folder holds the newest two `checkpoint-STEP.safetensors`: the tensors `model.*`,
//! `optimizer.*` and, where weights are averaged, `ema.*`; and [`TrainState`] and [`Fingerprint`]
//! as JSON in the metadata; and the list of samples ([`DataRecord`]) as the JSON in tensor `samples`,
//! because it may be larger than metadata may be. The weights with the best score lie beside them once, as
//! `best-EPOCH.safetensors`, because SageMaker keeps this folder when a job is interrupted, and not
//! the model's.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use safetensors::tensor::{Dtype, SafeTensors};
use safetensors::{SafeTensorError, View};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::data_record::DataRecord;
use super::ema::Ema;
use super::fingerprint::Fingerprint;
use super::loss_scale::LossScale;
use super::observer::CheckpointEvent;
use super::train_config::TrainConfig;
use super::train_state::TrainState;
use super::train_step::TrainStep;
use crate::console::print_stderr;
use crate::error::{Error, ErrorContext, Result};
use crate::files::{self, PathContext};
use crate::model::{ModelConfig, Network, tensor_file, weights};

const CHECKPOINT_PREFIX: &str = "checkpoint-";
const BEST_PREFIX: &str = "best-";
const EXTENSION: &str = ".safetensors";
/// Number of checkpoints that are kept.
const MAX_CHECKPOINTS: usize = 2;
/// Beginnings of the names of a checkpoint's tensors.
const MODEL_PREFIX: &str = "model.";
const OPTIMIZER_PREFIX: &str = "optimizer.";
const EMA_PREFIX: &str = "ema.";
const METADATA_KEY: &str = "maskmaker";
/// Name of the tensor of bytes that is the list of samples.
const SAMPLES_TENSOR: &str = "samples";

#[derive(Serialize, Deserialize)]
struct CheckpointMetadata {
    fingerprint: Fingerprint,
    state: TrainState,
    loss_scale: Option<LossScale>,
}

/// A folder of checkpoints of one job.
#[derive(Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    interval: Duration,
    fingerprint: Fingerprint,
    last_written: Instant,
    /// Epoch and step of the newest checkpoint, unless it is damaged.
    last_position: Option<(usize, usize)>,
    /// Names of each kept checkpoint and of its best weights, newest last.
    kept_files: Vec<[Option<String>; 2]>,
}

/// The state of a job as a checkpoint holds it.
#[derive(Debug)]
pub struct RestoredCheckpoint {
    /// Network, optimizer, average and loss scale.
    pub train_step: TrainStep,
    /// Position, history and scores of the run.
    pub state: TrainState,
    /// Weights with the best score so far, the bytes of a whole `model.safetensors`.
    pub best_weights: Option<Vec<u8>>,
    /// False if the checkpoint does not know the content of its samples, but only their names.
    pub is_data_compared: bool,
}

impl Checkpoints {
    /// Opens `folder`, which is made if absent, and removes files that a killed job left half
    /// written. A new checkpoint is [due](Self::is_due) every `interval`.
    pub fn open(folder: &Path, interval: Duration, fingerprint: Fingerprint) -> Result<Self> {
        fs::create_dir_all(folder).with_path("create", folder)?;
        files::remove_partials(folder);
        let folder = folder.to_owned();
        let (last_written, last_position, kept_files) = (Instant::now(), None, Vec::new());
        Ok(Self { folder, interval, fingerprint, last_written, last_position, kept_files })
    }

    /// Returns true if the last checkpoint is an interval old and there was progress since.
    pub fn is_due(&self, state: &TrainState) -> bool {
        self.last_written.elapsed() >= self.interval && !self.holds(state)
    }

    /// Returns true if the newest checkpoint, written or restored, is whole and holds this state.
    /// Writing it again would remove the older one, which is there in case that the newest is
    /// damaged.
    pub fn holds(&self, state: &TrainState) -> bool {
        self.last_position == Some(state.position())
    }

    /// Writes a checkpoint and removes the one before the last. `best_weights_file` holds the best
    /// weights, if an epoch was validated. When this fails, the earlier checkpoints are unchanged.
    pub fn write(
        &mut self,
        train_step: &TrainStep,
        state: &TrainState,
        best_weights_file: &Path,
    ) -> Result<CheckpointEvent> {
        let start = Instant::now();
        let best_file = best_weights_name(state);
        if let Some(best) = &best_file {
            let target = self.folder.join(best);
            // A file that this run has neither read nor written may be damaged.
            let is_whole = self.kept_files.as_flattened().contains(&best_file);
            if !is_whole || !target.exists() {
                files::write_atomically(&target, &files::read_file(best_weights_file)?)?;
            }
        }
        let name = format!("{CHECKPOINT_PREFIX}{:010}{EXTENSION}", state.steps);
        let metadata = CheckpointMetadata {
            fingerprint: self.fingerprint.clone(),
            state: state.clone(),
            loss_scale: train_step.loss_scale.clone(),
        };
        save_checkpoint(&self.folder.join(&name), train_step, &metadata)?;
        self.kept_files.retain(|[kept, _]| kept.as_ref() != Some(&name));
        self.kept_files.push([Some(name), best_file]);
        self.prune();
        self.last_written = Instant::now();
        self.last_position = Some(state.position());
        Ok(CheckpointEvent {
            steps: state.steps,
            epoch: state.epoch + 1,
            step: state.step,
            seconds: start.elapsed().as_secs_f64(),
        })
    }

    /// Removes files that no kept checkpoint needs. Files that cannot be removed stay.
    fn prune(&mut self) {
        let surplus = self.kept_files.len().saturating_sub(MAX_CHECKPOINTS);
        self.kept_files.drain(..surplus);
        let needed: HashSet<&String> = self.kept_files.iter().flatten().flatten().collect();
        for name in list_files(&self.folder, CHECKPOINT_PREFIX)
            .into_iter()
            .chain(list_files(&self.folder, BEST_PREFIX))
        {
            if !needed.contains(&name) {
                let _ = fs::remove_file(self.folder.join(name));
            }
        }
    }

    /// Reads the newest checkpoint that can be read; `None` if the folder has none. A checkpoint of
    /// another job is an error that names the differences.
    pub fn restore(
        &mut self,
        config: &ModelConfig,
        train_config: &TrainConfig,
        device: Device,
    ) -> Result<Option<RestoredCheckpoint>> {
        let mut read_errors = Vec::new();
        for name in list_files(&self.folder, CHECKPOINT_PREFIX).into_iter().rev() {
            let path = self.folder.join(&name);
            match self.read_checkpoint(&path, config, train_config, device) {
                Ok((restored, best)) => {
                    // The next checkpoint takes the place of those that are damaged. A job that
                    // has nothing left to train writes one too, so that the next start has a whole
                    // one.
                    let is_newest = read_errors.is_empty();
                    self.last_position = is_newest.then(|| restored.state.position());
                    for problem in read_errors {
                        print_stderr(format_args!(
                            "warning: {problem}; going on with an older checkpoint"
                        ));
                    }
                    if !restored.is_data_compared {
                        print_stderr(format_args!(
                            "warning: {} is of an older version, which did not save what the \
                             images and masks hold: they are taken to be the same; if any was \
                             changed, empty the folder to start from the beginning",
                            path.display()
                        ));
                    }
                    self.kept_files = vec![[Some(name), best]];
                    return Ok(Some(restored));
                }
                Err(RestoreError::Fatal(error)) => return Err(error),
                Err(RestoreError::Unreadable(error)) => {
                    read_errors.push(error.with_context(path.display()));
                }
            }
        }
        match read_errors.into_iter().next() {
            None => {
                self.prune();
                Ok(None)
            }
            Some(error) => Err(error.with_context(format!(
                "no checkpoint in {} can be read; empty the folder to start from the beginning",
                self.folder.display()
            ))),
        }
    }

    fn read_checkpoint(
        &self,
        path: &Path,
        config: &ModelConfig,
        train_config: &TrainConfig,
        device: Device,
    ) -> Result<(RestoredCheckpoint, Option<String>), RestoreError> {
        let bytes = files::read_file(path)?;
        let file = tensor_file::parse_safetensors(&bytes)?;
        let CheckpointMetadata { fingerprint, state, loss_scale } = read_metadata(&bytes)?;
        let fingerprint = fingerprint.with_sample_list(read_samples(&file)?);
        let differences = self.fingerprint.describe_differences(&fingerprint);
        if !differences.is_empty() {
            return Err(RestoreError::Fatal(Error::input(format!(
                "{} is of a job with other settings or data: {}; use those again to go on, or empty \
                 the folder to start from the beginning",
                path.display(),
                differences.join("; ")
            ))));
        }
        let network = Network::from_tensors(config, &file, MODEL_PREFIX, device)?;
        let mut train_step = TrainStep::new(network, train_config.clone())?;
        train_step.optimizer.load_state_dict(read_tensors(&file, OPTIMIZER_PREFIX)?)?;
        if let Some(decay) = train_config.ema_decay {
            let average = Network::from_tensors(config, &file, EMA_PREFIX, device)?;
            train_step.ema = Some(Ema::resume(decay, average, &train_step.network)?);
        }
        // Precision `auto` may be another format on this machine than on the last one.
        if train_step.loss_scale.is_some() && loss_scale.is_some() {
            train_step.loss_scale = loss_scale;
        }
        let best_file = best_weights_name(&state);
        let mut best_weights = None;
        if let Some(best) = &best_file {
            let bytes = files::read_file(&self.folder.join(best))?;
            tensor_file::parse_safetensors(&bytes).error_context(best)?;
            best_weights = Some(bytes);
        }
        let is_data_compared = fingerprint.knows_content();
        Ok((RestoredCheckpoint { train_step, state, best_weights, is_data_compared }, best_file))
    }
}

/// The reason why a checkpoint is not restored.
enum RestoreError {
    /// The file is damaged; an older checkpoint may be whole.
    Unreadable(Error),
    /// The checkpoint is of another job, as are the older ones.
    Fatal(Error),
}

impl From<Error> for RestoreError {
    fn from(error: Error) -> Self {
        Self::Unreadable(error)
    }
}

/// Returns the name of the file of the best weights, if an epoch was validated.
fn best_weights_name(state: &TrainState) -> Option<String> {
    let epoch = state.best_epoch()?;
    Some(format!("{BEST_PREFIX}{epoch:06}{EXTENSION}"))
}

/// Lists the files in `folder` with this prefix and the extension of checkpoints, oldest first.
fn list_files(folder: &Path, prefix: &str) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if let Ok(name) = entry.file_name().into_string()
            && name.starts_with(prefix)
            && name.ends_with(EXTENSION)
        {
            names.push(name);
        }
    }
    names.sort();
    names
}

fn save_checkpoint(
    path: &Path,
    train_step: &TrainStep,
    metadata: &CheckpointMetadata,
) -> Result<()> {
    let metadata_json = serde_json::to_string(metadata).map_err(serialize_error)?;
    let samples_json = serde_json::to_vec(metadata.fingerprint.data()).map_err(serialize_error)?;
    let write_error = RefCell::new(None);
    let mut groups = vec![
        (MODEL_PREFIX, train_step.network.weights.named_tensors()?),
        (OPTIMIZER_PREFIX, train_step.optimizer.state_dict()),
    ];
    if let Some(ema) = &train_step.ema {
        groups.push((EMA_PREFIX, ema.network.weights.named_tensors()?));
    }
    let mut lazy_tensors = Vec::new();
    for (prefix, named_tensors) in groups {
        for (name, tensor) in named_tensors {
            let shape = tensor_shape(&tensor);
            let lazy_tensor = LazyTensor { shape, tensor, write_error: &write_error };
            lazy_tensors.push((format!("{prefix}{name}"), lazy_tensor));
        }
    }
    let tensor = Tensor::f_from_slice(&samples_json)?;
    let lazy_tensor =
        LazyTensor { shape: tensor_shape(&tensor), tensor, write_error: &write_error };
    lazy_tensors.push((SAMPLES_TENSOR.to_owned(), lazy_tensor));
    files::write_atomically_with(path, |file| {
        let metadata_map = HashMap::from([(METADATA_KEY.to_owned(), metadata_json)]);
        match safetensors::serialize_to_file(lazy_tensors, Some(metadata_map), file) {
            Ok(()) => write_error.take().map_or(Ok(()), Err),
            Err(SafeTensorError::IoError(cause)) => Err(Error::io("write", path, &cause)),
            Err(other) => Err(Error::internal(format!("{}: {other}", path.display()))),
        }
    })
}

#[expect(clippy::needless_pass_by_value, reason = "map_err passes a value")]
fn serialize_error(cause: serde_json::Error) -> Error {
    Error::internal(format!("checkpoint: {cause}"))
}

fn tensor_shape(tensor: &Tensor) -> Vec<usize> {
    tensor.size().iter().map(|&dim| dim as usize).collect()
}

/// A tensor whose bytes are copied when they are written, so that a checkpoint needs no memory of
/// its own size. An error of the copy is kept in `write_error`, because the trait cannot return it.
struct LazyTensor<'a> {
    tensor: Tensor,
    shape: Vec<usize>,
    write_error: &'a RefCell<Option<Error>>,
}

impl View for LazyTensor<'_> {
    fn dtype(&self) -> Dtype {
        match self.tensor.kind() {
            Kind::Int64 => Dtype::I64,
            Kind::Uint8 => Dtype::U8,
            _ => Dtype::F32,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match weights::tensor_bytes(&self.tensor) {
            Ok(bytes) => bytes.into(),
            Err(error) => {
                self.write_error.replace(Some(error));
                vec![0; self.data_len()].into()
            }
        }
    }

    fn data_len(&self) -> usize {
        self.tensor.numel() * self.tensor.kind().elt_size_in_bytes()
    }
}

fn read_metadata(bytes: &[u8]) -> Result<CheckpointMetadata> {
    let (_, metadata) = SafeTensors::read_metadata(bytes)
        .map_err(|cause| Error::input(format!("not a whole safetensors file: {cause}")))?;
    let Some(metadata_map) = metadata.metadata() else {
        return Err(Error::input("not a checkpoint of maskmaker"));
    };
    let Some(metadata_json) = metadata_map.get(METADATA_KEY) else {
        return Err(Error::input("not a checkpoint of maskmaker"));
    };
    serde_json::from_str(metadata_json)
        .map_err(|cause| Error::input(format!("not a checkpoint of this version: {cause}")))
}

/// Reads the list of samples, which checkpoints of older versions do not have.
fn read_samples(file: &SafeTensors<'_>) -> Result<DataRecord> {
    let Ok(view) = file.tensor(SAMPLES_TENSOR) else { return Ok(DataRecord::default()) };
    serde_json::from_slice(view.data())
        .map_err(|cause| Error::input(format!("the list of samples cannot be read: {cause}")))
}

/// Reads the tensors whose names start with `prefix`, and cuts the prefix off.
fn read_tensors(file: &SafeTensors<'_>, prefix: &str) -> Result<Vec<(String, Tensor)>> {
    let mut tensors = Vec::new();
    for (full_name, view) in file.iter() {
        let Some(name) = full_name.strip_prefix(prefix) else { continue };
        let shape: Vec<i64> = view.shape().iter().map(|&dim| dim as i64).collect();
        let kind = match view.dtype() {
            Dtype::I64 => Kind::Int64,
            Dtype::F32 => Kind::Float,
            other => return Err(Error::input(format!("tensor {full_name} holds {other:?}"))),
        };
        tensors.push((name.to_owned(), Tensor::f_from_data_size(view.data(), &shape, kind)?));
    }
    Ok(tensors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Algorithm, Architecture, Backbone};
    use crate::train::optimizer::OptimizerConfig;

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_are_unreadable_not_a_panic(bytes: Vec<u8>) {
            let folder = tempfile::tempdir().unwrap();
            let name = format!("{CHECKPOINT_PREFIX}0000000001{EXTENSION}");
            fs::write(folder.path().join(&name), bytes).unwrap();
            let (interval, fingerprint) = (Duration::ZERO, Fingerprint::default());
            let mut checkpoints =
                Checkpoints::open(folder.path(), interval, fingerprint).unwrap();
            let kind =
                Architecture { algorithm: Algorithm::Fcn, backbone: Backbone::Resnet18 };
            let train_config = TrainConfig::new(OptimizerConfig::Adagrad);
            let config = ModelConfig::new(kind, 4, None);
            let error = checkpoints.restore(&config, &train_config, Device::Cpu).unwrap_err().to_string();
            proptest::prop_assert!(error.contains(&name), "{}", error);
            proptest::prop_assert!(error.contains("empty the folder to start"), "{}", error);
        }
    }
}
