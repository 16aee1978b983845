//! One worker of a job of several processes. Its parent reads the data and gives it a file with its
//! place in the job.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tch::Device;

use super::TrainOptions;
use super::exchange::join_workers;
use super::settings::{JobSettings, ProcessPlace};
use super::training::WriterProcess;
use crate::commands::training_job::initial_weights::find_initial_weights;
use crate::commands::training_job::s3::lazy_s3_connection;
use crate::data::batch_parts::RankShare;
use crate::data::dataset::{AuditedSplit, DatasetDocument};
use crate::data::objects::{self, DiskBudget, ObjectCache};
use crate::data::shards::Shards;
use crate::distributed::{Heartbeat, JobStore, WorkerProgress};
use crate::error::{Error, ErrorContext, Result};
use crate::files;
use crate::model::precision::ComputePrecision;
use crate::model::{Architecture, Network};
use crate::sagemaker::{MlRoot, StopSignal};
use crate::torch::{self, ProcessGroup};
use crate::train::data_record::DataRecord;
use crate::train::observer::{CheckpointEvent, PhaseEvent, StepEvent, TrainObserver};
use crate::train::{TrainConfig, TrainState, TrainStep, Trainer};

/// Key of the store under which rank 0 tells the others where training begins.
const START_KEY: &str = "start";

/// Rank that writes the files of the job.
pub(super) const WRITER_RANK: usize = 0;

/// The place of a worker in its job, as its parent writes it to a file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WorkerSpec {
    pub(super) rank: usize,
    /// Number of workers of the job.
    pub(super) world_size: usize,
    /// Address of the job's store.
    pub(super) store: String,
    /// Address of this host that the other workers reach.
    pub(super) local_address: String,
    /// File of the host's data, the same for all its workers.
    pub(super) data_file: PathBuf,
    pub(super) validation_share: RankShare,
    /// The worker's GPU, unless it computes on the processor.
    pub(super) gpu: Option<GpuSpec>,
}

/// A parent tells a worker by this that it has a GPU of its own.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct GpuSpec {
    /// File to which NCCL writes what it chose.
    pub(super) nccl_log: PathBuf,
}

/// The data of a host as its workers read them.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct HostDataFile {
    pub(super) dataset: DatasetDocument,
    /// Names and digests of the samples of all hosts.
    pub(super) record: DataRecord,
    /// Training samples of all hosts, if each host has a part of them.
    pub(super) shards: Option<Shards>,
    /// Number of validation samples of all hosts.
    pub(super) validation_images: usize,
}

/// The state before the first step, as far as it is no tensor.
#[derive(Debug, Serialize, Deserialize)]
struct StartState {
    state: TrainState,
    /// Number format that rank 0 computes in: `auto` may mean another one on other hosts.
    compute: String,
}

/// Returns the file to which a worker writes the reason of its failure.
pub(super) fn reason_file(spec_file: &Path) -> PathBuf {
    spec_file.with_extension("failure")
}

/// Writes a value as JSON to a file.
pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec(value)
        .map_err(|cause| Error::input(format!("the workers' data: {cause}")))?;
    files::write_atomically(path, &text)
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T> {
    let text = files::read_file(path)?;
    serde_json::from_slice(&text)
        .map_err(|cause| Error::internal(cause.to_string()))
        .error_context(path.display())
}

/// Trains as the worker that `spec_file` describes.
pub(super) fn run_worker(root: &MlRoot, options: &TrainOptions, spec_file: &Path) -> Result<()> {
    // The choice of the device comes before any other call of libtorch, and before threads.
    torch::choose_device(options.device)?;
    let stop = StopSignal::listen()?;
    let device = torch::default_device();
    let spec: WorkerSpec = read_json(spec_file)?;
    let store = JobStore::connect_to(&spec.store)?;
    let signal = stop.clone();
    let progress = Heartbeat::start(store.reconnect()?, spec.rank, move || signal.request())?;
    let job = JobSettings::read_checked(root)?;
    let group = join_workers(&spec, &store, &progress, &job.cluster, device)?;
    // Rank 0 reads weights and checkpoints first.
    progress.set_long_phase(spec.rank == WRITER_RANK);
    let worker =
        Worker { root, options, job, store, group: Arc::new(group), progress, stop, device };
    worker.train(&spec)
}

/// A worker that has joined the others.
struct Worker<'a> {
    root: &'a MlRoot,
    options: &'a TrainOptions,
    job: JobSettings,
    store: JobStore,
    group: Arc<ProcessGroup>,
    progress: WorkerProgress,
    stop: StopSignal,
    device: Device,
}

impl Worker<'_> {
    fn train(self, spec: &WorkerSpec) -> Result<()> {
        let HostDataFile { dataset, record, shards, validation_images } =
            read_json(&spec.data_file)?;
        let connect = lazy_s3_connection(self.options.s3_timeout, &self.stop);
        let budget = DiskBudget {
            max_bytes: self.options.s3_cache_bytes,
            reserved_bytes: objects::RESERVED_DISK_BYTES,
        };
        let class_names = dataset.class_names.clone();
        let splits = dataset.into_splits(&ObjectCache::new(connect.clone(), budget))?;
        let place = ProcessPlace {
            share: RankShare { rank: spec.rank, world_size: spec.world_size },
            shards,
            validation_share: spec.validation_share,
            validation_images,
        };
        if spec.rank != WRITER_RANK {
            return self.train_beside_writer(place, splits, class_names);
        }
        let JobSettings { hyperparameters, channels, .. } = &self.job;
        let pretrained = self.options.pretrained.as_deref();
        let initial = find_initial_weights(hyperparameters, channels, pretrained, &connect)?;
        let writer = WriterProcess {
            root: self.root,
            job: &self.job,
            place,
            splits,
            data: record,
            class_names,
        };
        let observers: Vec<Box<dyn TrainObserver>> =
            vec![Box::new(ProgressObserver::new(&self.progress))];
        let hand_over = |train_step: &mut TrainStep, state: &TrainState| {
            let start = StartState {
                state: state.clone(),
                compute: train_step.network.precision.name().to_owned(),
            };
            let text = serde_json::to_vec(&start)
                .map_err(|cause| Error::internal(format!("the state of the job: {cause}")))?;
            self.store.publish(START_KEY, &text)?;
            train_step.join_group(self.group.clone())
        };
        writer.train(initial, &self.stop, self.device, hand_over, observers)
    }

    /// Trains as a rank that writes no files, from the state of the rank that does.
    fn train_beside_writer(
        self,
        place: ProcessPlace,
        [training, validation]: [AuditedSplit; 2],
        class_names: Option<Vec<String>>,
    ) -> Result<()> {
        let hyperparameters = &self.job.hyperparameters;
        let pixels = training.audit.histogram;
        let settings = self.job.trainer_settings(
            self.root,
            place,
            training.samples,
            validation.samples,
            class_names,
        );
        let pixels = &pixels[..settings.config.num_classes];
        let mut train_config =
            TrainConfig::from_hyperparameters(hyperparameters, pixels, self.device);
        let text = self.store.wait_for(START_KEY)?;
        let StartState { state, compute } = serde_json::from_slice(&text)
            .map_err(|cause| Error::internal(format!("the state of rank 0: {cause}")))?;
        train_config.compute = ComputePrecision::from_name(&compute)
            .ok_or_else(|| Error::internal(format!("rank 0 computes in {compute}")))?;
        let architecture = Architecture {
            algorithm: hyperparameters.algorithm,
            backbone: hyperparameters.backbone,
        };
        let network = Network::random(
            architecture,
            hyperparameters.num_classes,
            hyperparameters.seed,
            self.device,
        )?;
        let mut train_step = TrainStep::new(network, train_config)?;
        train_step.join_group(self.group.clone())?;
        let trainer = Trainer {
            train_step,
            state,
            settings: &settings,
            checkpoints: None,
            stop_signal: &self.stop,
            observers: vec![Box::new(ProgressObserver::new(&self.progress))],
        };
        trainer.run()?;
        Ok(())
    }
}

/// Tells the parents that a worker goes on, or does something that takes long: all that is done
/// outside of training and validation, such as writing the model, and writing checkpoints.
#[derive(Debug)]
struct ProgressObserver {
    progress: WorkerProgress,
    is_in_phase: bool,
}

impl ProgressObserver {
    fn new(progress: &WorkerProgress) -> Self {
        Self { progress: progress.clone(), is_in_phase: false }
    }
}

impl TrainObserver for ProgressObserver {
    fn on_phase_start(&mut self, _phase: &PhaseEvent<'_>) {
        self.is_in_phase = true;
        self.progress.set_long_phase(false);
    }

    fn on_phase_end(&mut self) {
        self.is_in_phase = false;
        self.progress.set_long_phase(true);
    }

    fn on_step(&mut self, _step: &StepEvent<'_>) {
        self.progress.count_batch();
    }

    fn on_validation_batch_end(&mut self, _images: usize) {
        self.progress.count_batch();
    }

    fn on_save_checkpoint(&mut self) {
        self.progress.set_long_phase(true);
    }

    fn on_checkpoint(&mut self, _checkpoint: &CheckpointEvent) {
        self.progress.set_long_phase(!self.is_in_phase);
    }
}
