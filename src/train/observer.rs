//! Observers of a training run: the parts that report about it and do not change it.
//!
//! [`Trainer`](super::Trainer) learns, validates, keeps the best model and writes checkpoints, and
//! calls its observers in between, one after the other in the order of its list. The methods are
//! named as those of PyTorch Lightning's callbacks.
//!
//! An error that a method returns ends the job: a `learning-curves.png` or `metrics.json` that
//! cannot be written is one. The `SummaryWriter` of `TensorBoard` only warns when it cannot write.

use std::fmt::Debug;
use std::path::PathBuf;

use tch::Tensor;

use super::history::{EpochMetrics, ModelMetrics};
use super::trainer::{TrainOutcome, TrainerSettings};
use crate::console::{print_stderr, print_stdout};
use crate::error::Result;
use crate::files::write_json;
use crate::model::artifact::Bf16Agreement;
use crate::model::{Network, artifact};
use crate::progress::Progress;

/// The part of an epoch that works through images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Training,
    Validation,
}

/// The start of a phase.
#[derive(Debug, Clone, Copy)]
pub struct PhaseEvent<'a> {
    /// Settings of the run.
    pub settings: &'a TrainerSettings,
    pub phase: Phase,
    /// Number of the epoch, from 1.
    pub epoch: usize,
    /// Number of images of the whole phase.
    pub images: usize,
    /// Number of its images that were done before a checkpoint that the job goes on from.
    pub images_done: usize,
}

/// A training step that was taken.
#[derive(Debug, Clone, Copy)]
pub struct StepEvent<'a> {
    /// Step of the run, from 0.
    pub step: usize,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Number of images of the step's batch.
    pub images: usize,
    /// Loss of the step's batch, a scalar that may still be computed on the device.
    pub loss: &'a Tensor,
}

/// The time that an epoch's training waited for data.
#[derive(Debug, Clone, PartialEq)]
pub struct DataWaitEvent {
    /// Share of the training's time, 0 to 1; `None` if no batch was taken.
    pub waiting_share: Option<f64>,
    /// A line with advice, if the share is large.
    pub warning: Option<String>,
}

/// An epoch that was trained and validated, before it is known whether its model is kept.
#[derive(Debug, Clone, Copy)]
pub struct EpochEvent<'a> {
    /// Settings of the run.
    pub settings: &'a TrainerSettings,
    /// Number of the epoch's last step in the run, from 0.
    pub last_step: usize,
    /// Throughput, loss and scores of the epoch.
    pub epoch: &'a EpochMetrics,
    /// Scores of the epoch's model, also by class.
    pub model: &'a ModelMetrics,
    /// All epochs so far, this one last.
    pub history: &'a [EpochMetrics],
}

/// The end of an epoch, after the best model was kept.
#[derive(Debug, Clone, Copy)]
pub struct EpochEndEvent<'a> {
    /// Settings of the run.
    pub settings: &'a TrainerSettings,
    /// Number of the epoch, from 1.
    pub epoch: usize,
    /// Number of the epoch's last step in the run, from 0.
    pub last_step: usize,
    /// Scores of the epoch's model.
    pub model: &'a ModelMetrics,
    /// The network that was scored.
    pub network: &'a Network,
    /// True if the job was asked to stop, so that nothing that takes long should begin.
    pub is_stop_requested: bool,
}

/// A checkpoint that was written.
#[derive(Debug, Clone, Copy)]
pub struct CheckpointEvent {
    /// Number of steps of the run so far.
    pub steps: usize,
    /// Number of the epoch that the job goes on with, from 1.
    pub epoch: usize,
    /// Number of steps of this epoch that were taken.
    pub step: usize,
    /// Seconds that writing took.
    pub seconds: f64,
}

/// A run that ends before its last epoch because the job was asked to stop.
#[derive(Debug, Clone, Copy)]
pub struct StopEvent<'a> {
    /// Settings of the run.
    pub settings: &'a TrainerSettings,
    /// Number of the unfinished epoch, from 1.
    pub epoch: usize,
    /// Next batch of the epoch, from 0, which is the number of its steps that were taken.
    pub step: usize,
    /// Number of the epoch whose model is kept, from 1; none if no epoch was validated.
    pub best_epoch: Option<usize>,
}

/// Listens to a training run. Each method does nothing unless an observer implements it.
pub trait TrainObserver: Debug {
    /// Called before the images of a phase.
    fn on_phase_start(&mut self, _phase: &PhaseEvent<'_>) {}

    /// Called after the images of a phase, also if the job was asked to stop before the last one.
    fn on_phase_end(&mut self) {}

    /// Called after a batch of `images` images was scored in the validation.
    fn on_validation_batch_end(&mut self, _images: usize) {}

    /// Called after each training step.
    fn on_step(&mut self, _step: &StepEvent<'_>) {}

    /// Called after the last training step of an epoch, before the validation.
    fn on_train_epoch_end(&mut self, _wait: &DataWaitEvent) {}

    /// Called after the validation of an epoch.
    fn on_validation_epoch_end(&mut self, _epoch: &EpochEvent<'_>) -> Result<()> {
        Ok(())
    }

    /// Called once per epoch, when the artifact holds the best model so far, with the scores of
    /// this model and the history of all epochs.
    fn on_best_metrics(&mut self, _best: &ModelMetrics) -> Result<()> {
        Ok(())
    }

    /// Called when early stopping ends the run after epoch `epoch`, counted from 1.
    fn on_early_stop(&mut self, _settings: &TrainerSettings, _epoch: usize, _reason: &str) {}

    /// Called at the end of an epoch, when its model was kept or dropped.
    fn on_epoch_end(&mut self, _epoch: &EpochEndEvent<'_>) -> Result<()> {
        Ok(())
    }

    /// Called before a checkpoint is written between steps or epochs. A job that goes on from this
    /// checkpoint does not repeat the steps before it.
    fn on_save_checkpoint(&mut self) {}

    /// Called after a checkpoint was written.
    fn on_checkpoint(&mut self, _checkpoint: &CheckpointEvent) {}

    /// Called after the last epoch, when bfloat16 was compared with 32-bit floats.
    fn on_bf16_agreement(&mut self, _agreement: &Bf16Agreement) {}

    /// Called with a warning that ends nothing.
    fn on_warning(&mut self, _warning: &str) {}

    /// Called when the job was asked to stop and its last checkpoint is written.
    fn on_stop(&mut self, _stop: &StopEvent<'_>) {}

    /// Called at the end of the run, after `steps` steps in all.
    fn on_end(&mut self, _steps: usize, _outcome: &Result<TrainOutcome>) {}
}

/// Prints the built-in algorithm's metric lines, progress, checkpoints, warnings, and the reasons
/// why a run ends early.
#[derive(Debug, Default)]
pub struct Console {
    /// Progress through the images of the current phase.
    progress: Option<Progress>,
}

impl TrainObserver for Console {
    fn on_phase_start(&mut self, event: &PhaseEvent<'_>) {
        let PhaseEvent { settings, phase, epoch, images, images_done } = *event;
        let phase = match phase {
            Phase::Training => "training",
            Phase::Validation => "validation",
        };
        let mut progress =
            Progress::new(&format!("epoch {epoch}/{} {phase}", settings.epochs), images);
        if images_done > 0 {
            progress.advance(images_done, || None);
        }
        self.progress = Some(progress);
    }

    fn on_phase_end(&mut self) {
        self.progress = None;
    }

    fn on_validation_batch_end(&mut self, images: usize) {
        if let Some(progress) = &mut self.progress {
            progress.advance(images, || None);
        }
    }

    fn on_step(&mut self, event: &StepEvent<'_>) {
        if let Some(progress) = &mut self.progress {
            progress.advance(event.images, || event.loss.f_double_value(&[]).ok());
        }
    }

    fn on_checkpoint(&mut self, event: &CheckpointEvent) {
        let CheckpointEvent { steps, epoch, step, seconds } = *event;
        print_stdout(format_args!(
            "checkpoint at step {steps} (epoch {epoch} step {step}), written in {seconds:.1} s"
        ));
    }

    fn on_bf16_agreement(&mut self, agreement: &Bf16Agreement) {
        print_stdout(format_args!(
            "in bf16 the class of {:.3} % of {} pixels ({} validation images) is another than in fp32",
            100.0 * agreement.differing,
            agreement.pixels,
            agreement.images
        ));
    }

    fn on_warning(&mut self, warning: &str) {
        print_stderr(format_args!("warning: {warning}"));
    }

    fn on_train_epoch_end(&mut self, event: &DataWaitEvent) {
        if let Some(warning) = &event.warning {
            print_stderr(warning);
        }
    }

    fn on_validation_epoch_end(&mut self, event: &EpochEvent<'_>) -> Result<()> {
        print_stdout(event.epoch.metric_lines(event.settings.epochs));
        Ok(())
    }

    fn on_early_stop(&mut self, settings: &TrainerSettings, epoch: usize, reason: &str) {
        let epochs = settings.epochs;
        print_stdout(format_args!("stopping early after epoch {epoch}/{epochs}: {reason}"));
    }

    fn on_stop(&mut self, event: &StopEvent<'_>) {
        let StopEvent { settings, epoch, step, best_epoch } = *event;
        let kept_model = match best_epoch {
            Some(best) => format!("the model of epoch {best}, the best so far,"),
            None => "the model as it is, which was not validated yet,".to_owned(),
        };
        print_stdout(format_args!(
            "asked to stop in epoch {epoch}/{} after step {step}: {kept_model} is in {}; the same job \
             started again goes on from the checkpoint",
            settings.epochs,
            settings.model_folder.display()
        ));
    }
}

/// Writes `metrics.json` of the artifact after each epoch, also if the epoch's model is not kept:
/// the file holds the scores of the kept model and the history of all epochs.
/// `artifact::write_model` removes the file of earlier weights.
#[derive(Debug)]
pub struct MetricsFile {
    model_folder: PathBuf,
}

impl MetricsFile {
    /// Returns an observer that writes into `model_folder`.
    pub fn new(model_folder: PathBuf) -> Self {
        Self { model_folder }
    }
}

impl TrainObserver for MetricsFile {
    fn on_best_metrics(&mut self, best: &ModelMetrics) -> Result<()> {
        write_json(&self.model_folder.join(artifact::METRICS_FILE), best)
    }
}
