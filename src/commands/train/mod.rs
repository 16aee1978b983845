//! `maskmaker train`: from channels to a model artifact, by the container contract.

mod finish;
mod inputs;
mod settings;
mod start;

use std::path::PathBuf;
use std::time::Duration;

use self::inputs::Inputs;
use self::settings::JobSettings;
use crate::console::{print_stderr, print_stdout};
use crate::error::{Error, Result};
use crate::sagemaker::{MlRoot, StopSignal, failure};
use crate::torch;
use crate::train::observer::{Console, MetricsFile};
use crate::train::{LearningCurves, SummaryWriter, TrainConfig, Trainer};

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
    let result = train_model(root, options);
    if let Err(error) = &result
        && let Err(write_error) = failure::write_failure_reason(root, error)
    {
        print_stderr(format_args!("warning: {write_error}"));
    }
    result
}

fn train_model(root: &MlRoot, options: &TrainOptions) -> Result<()> {
    let stop = StopSignal::listen()?;
    // The choice of the device comes before any other call of libtorch.
    let device = torch::default_device();
    let job = JobSettings::read(root)?;
    let Some(inputs) = Inputs::read(root, options, &job, &stop)? else {
        print_stdout("asked to stop before the first step: nothing is written");
        return Ok(());
    };
    let mut checkpoints = start::open_checkpoints(&job, &inputs)?;
    let Inputs { initial, training, validation, class_names, spool: _spool } = inputs;
    let audits = [training.audit, validation.audit];
    let settings = job.trainer_settings(root, training.samples, validation.samples, class_names);
    let pixels = &audits[0].histogram[..settings.config.num_classes];
    let train_config = TrainConfig::from_hyperparameters(&job.hyperparameters, pixels, device);
    start::print_device_and_warnings(&job, &train_config, &settings, device);
    start::warn_of_absent_classes(&audits, &settings);
    let restored = checkpoints.restore(&settings.config, &train_config, device)?;
    let (train_step, state) = start::start(restored, initial, train_config, &settings, device)?;
    start::print_plan(&job, &train_step, &settings);
    let tensorboard = &job.output_folders.tensorboard.path;
    let writer = SummaryWriter::open(tensorboard, &job.hyperparameters, state.steps);
    let trainer = Trainer {
        // Observers are called in this order, in which their lines and files appear.
        observers: vec![
            Box::new(Console::default()),
            Box::new(writer),
            Box::new(LearningCurves::new(root.output_data_folder())),
            Box::new(MetricsFile::new(root.model_folder())),
        ],
        train_step,
        state,
        settings: &settings,
        checkpoints: &mut checkpoints,
        stop_signal: &stop,
    };
    let outcome = trainer.run()?;
    finish::write_torchscript_and_card(&settings, &job.hyperparameters, &audits)?;
    finish::print_outcome(&outcome, &settings.model_folder);
    Ok(())
}
