//! `maskmaker train`: from channels to a model artifact, by the container contract.

mod exchange;
mod finish;
mod host_data;
mod inputs;
mod parent;
mod settings;
mod start;
mod training;
mod worker;
mod worker_command;

use std::path::{Path, PathBuf};
use std::time::Duration;

use self::inputs::Inputs;
use self::parent::Parent;
use self::settings::JobSettings;
use crate::commands::device::check_training_device;
use crate::console::{print_stderr, print_stdout};
use crate::distributed::WorkerDevice;
use crate::error::{Error, Result};
use crate::sagemaker::{MlRoot, StopSignal, failure};
use crate::torch::{self, DeviceChoice};

/// Settings of the command line.
#[derive(Debug, Clone, Default)]
pub struct TrainOptions {
    /// Path or S3 URI of the weights for a pretrained backbone.
    pub pretrained: Option<PathBuf>,
    /// Longest time that a stream may bring nothing.
    pub pipe_timeout: Duration,
    /// Bytes that objects of S3 may take on disk; without them the disk is the limit.
    pub s3_cache_bytes: Option<u64>,
    /// Longest time that S3 may bring nothing.
    pub s3_timeout: Duration,
    /// Device that the user wants to compute on.
    pub device: DeviceChoice,
    pub cluster: ClusterOptions,
    /// File by which the parent of a host makes this process one of its workers.
    pub worker: Option<PathBuf>,
}

/// Settings of a job of several processes.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClusterOptions {
    /// Number of workers on a host without GPUs.
    pub workers: usize,
    /// Port of the first host by which the hosts find each other.
    pub rendezvous_port: u16,
    /// Longest time until all hosts are there.
    pub rendezvous_timeout: Duration,
    /// Longest time in which no worker makes a step.
    pub stall_timeout: Duration,
}

/// Trains the job under `root`. A failure is also written to `output/failure`.
pub fn run_train(root: &MlRoot, options: &TrainOptions) -> Result<()> {
    if !root.path().is_dir() {
        // No folders are made below a mistyped root.
        return Err(Error::input(format!(
            "there is no folder {}; --ml-root (MASKMAKER_ML_ROOT) names the one that SageMaker \
             calls /opt/ml",
            root.path().display()
        )));
    }
    let result = match &options.worker {
        Some(file) => worker::run_worker(root, options, file),
        None => train_model(root, options),
    };
    if let Err(error) = &result
        && let Err(write_error) =
            failure::write_failure_reason(&failure_file(root, options.worker.as_deref()), error)
    {
        print_stderr(format_args!("warning: {write_error}"));
    }
    result
}

/// Returns the file to which the reason of a failure is written: SageMaker's, or that of a worker,
/// whose parent reads it.
pub fn failure_file(root: &MlRoot, worker: Option<&Path>) -> PathBuf {
    match worker {
        Some(file) => worker::reason_file(file),
        None => root.failure_file(),
    }
}

fn train_model(root: &MlRoot, options: &TrainOptions) -> Result<()> {
    // The choice of the device comes before any other call of libtorch, and before threads.
    torch::choose_device(options.device)?;
    let stop = StopSignal::listen()?;
    let device = torch::default_device();
    let job = JobSettings::read(root)?;
    let (workers, worker_device) = match torch::gpu_count() {
        0 => (options.cluster.workers, WorkerDevice::Cpu),
        gpus => (gpus, WorkerDevice::Gpu),
    };
    if worker_device == WorkerDevice::Gpu && ![1, workers].contains(&options.cluster.workers) {
        print_stderr(format_args!(
            "--workers is without effect on a host with GPUs: each of them ({workers}) has a \
             worker; CUDA_VISIBLE_DEVICES chooses fewer"
        ));
    }
    let mut device_check = check_training_device(&job.cluster);
    if job.cluster.hosts.len() == 1 && workers == 1 {
        device_check?;
    } else {
        if worker_device == WorkerDevice::Gpu {
            device_check = device_check.and_then(|()| torch::open_nccl_library());
        }
        let parent =
            Parent { root, options, job: &job, stop: &stop, workers, device: worker_device };
        // The other hosts end with the same reason, so they are told first.
        return parent.run(device_check.err());
    }
    let Some(inputs) = Inputs::read(root, options, &job, &stop)? else {
        print_stopped_before_first_step();
        return Ok(());
    };
    training::train_alone(root, &job, inputs, &stop, device)
}

fn print_stopped_before_first_step() {
    print_stdout("asked to stop before the first step: nothing is written");
}
