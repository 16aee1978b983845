//! The epoch loop: it learns, validates, keeps the best model, writes checkpoints, and stops when
//! the job is asked to stop. [Observers](super::observer) report what it does.

use std::path::PathBuf;
use std::time::Instant;

use tch::{Device, Tensor};

use super::bf16_agreement;
use super::checkpoint::Checkpoints;
use super::device_batch::DeviceBatch;
use super::early_stopping::EarlyStopping;
use super::history::{EpochMetrics, ModelMetrics};
use super::observer::{
    DataWaitEvent, EpochEndEvent, EpochEvent, Phase, PhaseEvent, StepEvent, StopEvent,
    TrainObserver,
};
use super::schedule::LrSchedule;
use super::train_state::TrainState;
use super::train_step::TrainStep;
use super::validate::validate_network;
use crate::data::Sample;
use crate::data::batch_parts::RankShare;
use crate::data::loader::{BatchPosition, DataLoader, DataLoaderConfig};
use crate::error::{Error, ErrorContext, Result};
use crate::files::write_json;
use crate::metrics::ConfusionMatrix;
use crate::model::precision::ComputePrecision;
use crate::model::{Artifact, ModelConfig, artifact};
use crate::sagemaker::StopSignal;
use crate::torch::{UploadStream, set_convolution_autotuning};

/// Settings and data of the epoch loop.
#[derive(Debug)]
pub struct TrainerSettings {
    /// Number of passes over the training samples.
    pub epochs: usize,
    /// Learning rate of each step.
    pub lr_schedule: LrSchedule,
    /// Training samples and their batches.
    pub loader_config: DataLoaderConfig,
    /// Validation samples of this host.
    pub validation_samples: Vec<Sample>,
    /// Part of them that this rank scores.
    pub validation_share: RankShare,
    /// Number of validation samples that all ranks score together.
    pub validation_images: usize,
    /// Largest number of whole images of one size that are scored together.
    pub validation_batch_size: usize,
    /// Rule that may end the training before all epochs are done.
    pub early_stopping: Option<EarlyStopping>,
    /// Content of the artifact's `config.json`.
    pub config: ModelConfig,
    /// Folder of the artifact.
    pub model_folder: PathBuf,
}

/// The end of a run without an error.
#[derive(Debug)]
pub enum TrainOutcome {
    /// All epochs are done, or early stopping ended the run. Holds the scores of the kept model.
    Finished(ModelMetrics),
    /// The job was asked to stop, and a checkpoint holds its state.
    Stopped,
}

/// Says if the epoch loop goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Continue,
    Stop,
}

/// Returns true if a score is above the best one so far. A score that is absent or not a number is
/// never better, and any number is better than those.
pub(super) fn is_better_score(score: Option<f64>, best: Option<f64>) -> bool {
    match (score, best) {
        (Some(score), Some(best)) if !best.is_nan() => score > best,
        (Some(score), _) => !score.is_nan(),
        (None, _) => false,
    }
}

/// A training run.
#[derive(Debug)]
pub struct Trainer<'a> {
    /// Network and optimizer.
    pub train_step: TrainStep,
    /// Position and history of the run.
    pub state: TrainState,
    /// Settings and data of the run.
    pub settings: &'a TrainerSettings,
    /// Checkpoints, from which an interrupted job goes on. Of several ranks, only the one that
    /// writes the files of the job has them.
    pub checkpoints: Option<&'a mut Checkpoints>,
    /// Signal by which SageMaker or a user asks the job to stop.
    pub stop_signal: &'a StopSignal,
    /// Reporters of the run, in the order in which they are called.
    pub observers: Vec<Box<dyn TrainObserver>>,
}

impl Trainer<'_> {
    /// Trains for the epochs that are left, or until early stopping ends the run. After each epoch
    /// the network is scored on the validation images, and when the mean IoU is the best so far the
    /// artifact is written. Observers write event file, learning curves and `metrics.json` after
    /// each epoch, whether its model is kept or not.
    ///
    /// A checkpoint is written when the last one is `checkpoint_interval` seconds old, which is
    /// checked between steps, and after each validation batch and epoch. One more is written after the last
    /// epoch, and when the job is asked to stop. All files of a job are listed at the end of
    /// `docs/architecture.md#walk-a-training-image-to-a-checkpoint-and-a-model`.
    pub fn run(mut self) -> Result<TrainOutcome> {
        let outcome = self.run_epochs();
        for observer in &mut self.observers {
            observer.on_end(self.state.steps, &outcome);
        }
        outcome
    }

    fn run_epochs(&mut self) -> Result<TrainOutcome> {
        self.train_step.apply_gpu_math()?;
        let TrainerSettings { loader_config, epochs, .. } = self.settings;
        let start = BatchPosition { epoch: self.state.epoch as u64, step: self.state.step };
        let stream = UploadStream::new(self.train_step.network.device())?;
        let memory_advice = self.train_step.memory_advice();
        let prepare = move |batch| DeviceBatch::new(batch, &stream).memory_advice(&memory_advice);
        let mut loader = loader_config.start_with(start, *epochs as u64, prepare)?;
        while !self.state.is_finished(*epochs) {
            if self.train_epoch(&mut loader)? == Next::Stop || self.validate_epoch()? == Next::Stop
            {
                return self.conclude_stopped();
            }
            if self.is_checkpoint_due() {
                self.write_checkpoint()?;
            }
        }
        self.write_missing_checkpoint()?;
        let Some(best) = self.state.best.take() else {
            return Err(Error::input(
                "no epoch has a score, so none of its weights can be kept: no pixel of the \
                 validation masks is counted; add validation images whose masks have classes",
            ));
        };
        if self.writes_files()
            && let Err(error) = self.measure_bf16()
        {
            // The model is trained and can be served without this measurement.
            let warning = format!("bf16 was not compared with fp32: {error}");
            for observer in &mut self.observers {
                observer.on_warning(&warning);
            }
        }
        Ok(TrainOutcome::Finished(best))
    }

    /// Returns true if this rank writes the files of the job.
    fn writes_files(&self) -> bool {
        self.checkpoints.is_some()
    }

    fn is_checkpoint_due(&self) -> bool {
        // Before the first step there is nothing to go on from.
        self.state.steps > 0
            && self.checkpoints.as_ref().is_some_and(|checkpoints| checkpoints.is_due(&self.state))
    }

    /// Measures on how many pixels bfloat16 changes the class, and writes the share into the kept
    /// model's configuration.
    fn measure_bf16(&mut self) -> Result<()> {
        let TrainerSettings { validation_samples, model_folder, .. } = self.settings;
        // Measured on the processor, where servers use the result: GPUs round in other ways.
        let best_model = Artifact::read(model_folder, Device::Cpu)?;
        let should_continue = || !self.stop_signal.is_requested();
        let Some(bf16) = bf16_agreement::measure_bf16_agreement(
            &best_model.network,
            validation_samples,
            should_continue,
        )?
        else {
            return Ok(());
        };
        for observer in &mut self.observers {
            observer.on_bf16_agreement(&bf16);
        }
        let config = ModelConfig { bf16: Some(bf16), ..best_model.config };
        write_json(&model_folder.join(artifact::CONFIG_FILE), &config)
    }

    /// Learns from the batches of the epoch that are left.
    fn train_epoch(&mut self, loader: &mut DataLoader<DeviceBatch>) -> Result<Next> {
        let loader_config = &self.settings.loader_config;
        let batch_count = loader_config.batches_per_epoch();
        if self.state.step >= batch_count {
            return Ok(Next::Continue);
        }
        let images = batch_count * loader_config.images_per_batch();
        self.start_phase(Phase::Training, images, self.state.step * images / batch_count);
        // All crops have one shape, and whole images have many.
        let is_tuned = !self.train_step.is_deterministic();
        set_convolution_autotuning(is_tuned);
        let next = self.train_batches(loader, batch_count);
        set_convolution_autotuning(false);
        self.end_phase();
        if let Ok(Next::Continue) = next {
            // The share comes first: asking for the warning starts to measure anew.
            let waiting_share = loader.waiting_share();
            let event = DataWaitEvent { waiting_share, warning: loader.starvation_warning() };
            for observer in &mut self.observers {
                observer.on_train_epoch_end(&event);
            }
        }
        next
    }

    fn train_batches(
        &mut self,
        loader: &mut DataLoader<DeviceBatch>,
        batch_count: usize,
    ) -> Result<Next> {
        let mut loss_sum =
            Tensor::from(self.state.loss).f_to_device(self.train_step.network.device())?;
        let mut timer = Instant::now();
        let mut next = Next::Continue;
        for batch in loader.take(batch_count - self.state.step) {
            // The loader stops with an error when the job is asked to stop. Ranks agree on that
            // before each step, since one that had no batch would leave the others waiting.
            next = self.interrupt(&loss_sum, &mut timer)?;
            if next == Next::Stop {
                break;
            }
            let batch = batch?;
            let lr = self.settings.lr_schedule.lr(self.state.steps);
            let step_loss = self.train_step.run(&batch, lr)?;
            let event = StepEvent {
                step: self.state.steps,
                learning_rate: lr,
                images: self.settings.loader_config.images_per_batch(),
                loss: &step_loss,
            };
            for observer in &mut self.observers {
                observer.on_step(&event);
            }
            loss_sum = loss_sum.f_add(&step_loss)?;
            self.state.step += 1;
            self.state.steps += 1;
        }
        if next == Next::Continue {
            next = self.interrupt(&loss_sum, &mut timer)?;
        }
        self.state.seconds += timer.elapsed().as_secs_f64();
        self.state.loss = self.check_finite_loss(loss_sum.f_double_value(&[])?)?;
        Ok(next)
    }

    /// Writes a checkpoint between two steps if one is due, and says if the job is to stop. All
    /// ranks decide the same.
    fn interrupt(&mut self, loss_sum: &Tensor, timer: &mut Instant) -> Result<Next> {
        let own = [self.stop_signal.is_requested(), self.is_checkpoint_due()];
        let [should_stop, should_write] = self.train_step.is_any_true(own)?;
        if should_stop {
            return Ok(Next::Stop);
        }
        if should_write {
            self.state.seconds += timer.elapsed().as_secs_f64();
            self.state.loss = self.check_finite_loss(loss_sum.f_double_value(&[])?)?;
            self.train_step.average_running_statistics()?;
            self.write_checkpoint()?;
            *timer = Instant::now();
        }
        Ok(Next::Continue)
    }

    fn start_phase(&mut self, phase: Phase, images: usize, images_done: usize) {
        let event = PhaseEvent {
            settings: self.settings,
            phase,
            epoch: self.state.epoch + 1,
            images,
            images_done,
        };
        for observer in &mut self.observers {
            observer.on_phase_start(&event);
        }
    }

    fn end_phase(&mut self) {
        for observer in &mut self.observers {
            observer.on_phase_end();
        }
    }

    /// Scores the network on the validation images and finishes the epoch.
    fn validate_epoch(&mut self) -> Result<Next> {
        let images = self.settings.validation_images;
        self.train_step.average_running_statistics()?;
        if self.train_step.unify_state()? {
            let warning = "the ranks' weights differed in their last digits, as those of different \
                           processors may; all go on from those of rank 0";
            for observer in &mut self.observers {
                observer.on_warning(warning);
            }
        }
        let TrainerSettings { validation_samples, validation_share, .. } = self.settings;
        let own_images = validation_share.range(validation_samples.len()).len();
        self.start_phase(Phase::Validation, own_images, 0);
        let timer = Instant::now();
        let matrix = self.score_validation_images();
        self.end_phase();
        let classes = self.settings.config.num_classes;
        let Some(matrix) = self.train_step.sum_matrices(matrix?, classes)? else {
            return Ok(Next::Stop);
        };
        let images_per_second = images as f64 / timer.elapsed().as_secs_f64().max(1e-9);
        self.finish_epoch(&matrix, images_per_second)?;
        Ok(Next::Continue)
    }

    /// Counts true and predicted classes of the validation images. Returns `None` if the job was
    /// asked to stop.
    fn score_validation_images(&mut self) -> Result<Option<ConfusionMatrix>> {
        let TrainerSettings { validation_samples, validation_share, config, .. } = self.settings;
        let best_weights_file = self.settings.model_folder.join(artifact::WEIGHTS_FILE);
        let mut write_result = Ok(());
        let on_batch = |images| {
            for observer in &mut self.observers {
                observer.on_validation_batch_end(images);
            }
            // A validation may take longer than an interval: the steps before it must not be lost.
            if let Some(checkpoints) = &mut self.checkpoints
                && checkpoints.is_due(&self.state)
            {
                match checkpoints.write(&self.train_step, &self.state, &best_weights_file) {
                    Ok(event) => {
                        for observer in &mut self.observers {
                            observer.on_checkpoint(&event);
                        }
                    }
                    Err(error) => write_result = Err(error),
                }
            }
            write_result.is_ok() && !self.stop_signal.is_requested()
        };
        let matrix = validate_network(
            self.train_step.eval_network(),
            &validation_samples[validation_share.range(validation_samples.len())],
            config.num_classes,
            self.settings.validation_batch_size,
            on_batch,
        );
        write_result?;
        match matrix {
            // Reading stops with an error when the job is asked to stop.
            Err(_) if self.stop_signal.is_requested() => Ok(None),
            matrix => matrix,
        }
    }

    /// Keeps the network if it is the best so far, and makes the state that of the next epoch.
    fn finish_epoch(&mut self, matrix: &ConfusionMatrix, validation_throughput: f64) -> Result<()> {
        let TrainerSettings { config, model_folder, .. } = self.settings;
        let epoch = self.state.epoch + 1;
        let last_step = self.state.steps.saturating_sub(1);
        let metrics = ModelMetrics::new(epoch, matrix, &config.class_names);
        let epoch_metrics = self.epoch_metrics(&metrics, validation_throughput);
        self.state.history.push(epoch_metrics.clone());
        let event = EpochEvent {
            settings: self.settings,
            last_step,
            epoch: &epoch_metrics,
            model: &metrics,
            history: &self.state.history,
        };
        for observer in &mut self.observers {
            observer.on_validation_epoch_end(&event)?;
        }

        let best_score = self.state.best.as_ref().and_then(|best| best.miou);
        if is_better_score(metrics.miou, best_score) {
            // No loss was computed after the last update, which may be the one that went wrong.
            self.train_step.eval_network().weights.check_finite()?;
            if self.writes_files() {
                artifact::write_model(model_folder, config, self.train_step.eval_network())?;
            }
            self.state.best = Some(metrics.clone());
        }
        if let Some(best) = &mut self.state.best {
            best.epochs.clone_from(&self.state.history);
            for observer in &mut self.observers {
                observer.on_best_metrics(best)?;
            }
        }
        self.check_early_stopping(epoch, metrics.miou);

        let state = &mut self.state;
        (state.epoch, state.step, state.loss, state.seconds) = (epoch, 0, 0.0, 0.0);
        let event = EpochEndEvent {
            settings: self.settings,
            epoch,
            last_step,
            model: &metrics,
            network: self.train_step.eval_network(),
            is_stop_requested: self.stop_signal.is_requested(),
        };
        for observer in &mut self.observers {
            observer.on_epoch_end(&event)?;
        }
        Ok(())
    }

    /// Returns what the history says of the epoch that was just validated.
    fn epoch_metrics(&self, metrics: &ModelMetrics, validation_throughput: f64) -> EpochMetrics {
        let TrainerSettings { loader_config, lr_schedule, .. } = self.settings;
        let batch_count = loader_config.batches_per_epoch();
        let images = batch_count * loader_config.images_per_batch();
        EpochMetrics {
            epoch: metrics.best_epoch,
            train_loss: self.state.loss / batch_count as f64,
            train_throughput: images as f64 / self.state.seconds.max(1e-9),
            validation_miou: metrics.miou,
            validation_pixel_accuracy: metrics.pixel_accuracy,
            validation_throughput,
            learning_rate: lr_schedule.lr(self.state.steps.saturating_sub(1)),
        }
    }

    /// Shows the score of an epoch, counted from 1, to the early-stopping rule, which may end the
    /// run.
    fn check_early_stopping(&mut self, epoch: usize, miou: Option<f64>) {
        let Some(rule) = &mut self.state.early_stopping else { return };
        let Some(reason) = rule.observe(epoch, miou) else { return };
        if epoch < self.settings.epochs {
            for observer in &mut self.observers {
                observer.on_early_stop(self.settings, epoch, &reason);
            }
            self.state.stopped_early = true;
        }
    }

    /// Writes a checkpoint, and a model if none was kept, so that a stopped job can go on.
    fn conclude_stopped(&mut self) -> Result<TrainOutcome> {
        let TrainerSettings { model_folder, config, .. } = self.settings;
        self.train_step.average_running_statistics()?;
        if self.state.best.is_none() && self.writes_files() {
            // No epoch has been scored: the model as it is can still be tried.
            artifact::write_model(model_folder, config, self.train_step.eval_network())?;
        }
        self.write_missing_checkpoint()?;
        let event = StopEvent {
            settings: self.settings,
            epoch: self.state.epoch + 1,
            step: self.state.step,
            best_epoch: self.state.best_epoch(),
        };
        for observer in &mut self.observers {
            observer.on_stop(&event);
        }
        Ok(TrainOutcome::Stopped)
    }

    /// Writes a checkpoint unless the newest one holds the state already.
    fn write_missing_checkpoint(&mut self) -> Result<()> {
        match &self.checkpoints {
            Some(checkpoints) if !checkpoints.holds(&self.state) => self.write_checkpoint(),
            _ => Ok(()),
        }
    }

    /// Writes a checkpoint, if this rank has checkpoints. All ranks have the same running statistics
    /// then.
    fn write_checkpoint(&mut self) -> Result<()> {
        let Some(checkpoints) = &mut self.checkpoints else { return Ok(()) };
        for observer in &mut self.observers {
            observer.on_save_checkpoint();
        }
        let best_weights_file = self.settings.model_folder.join(artifact::WEIGHTS_FILE);
        let event = checkpoints.write(&self.train_step, &self.state, &best_weights_file)?;
        for observer in &mut self.observers {
            observer.on_checkpoint(&event);
        }
        Ok(())
    }

    /// Returns the loss if it is finite, else an error: weights that are not numbers must neither
    /// be kept nor served.
    fn check_finite_loss(&self, loss: f64) -> Result<f64> {
        if loss.is_finite() {
            return Ok(loss);
        }
        let advice = match self.train_step.network.precision {
            ComputePrecision::Fp16 => "set precision to bf16 or fp32, or lower learning_rate",
            ComputePrecision::Fp32 | ComputePrecision::Bf16 | ComputePrecision::Fp64 => {
                "lower learning_rate"
            }
        };
        let epoch = self.state.epoch + 1;
        Err(Error::input(format!(
            "the training loss became {loss} in epoch {epoch}: training diverged; {advice}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_that_is_no_number_is_never_the_best() {
        for best in [None, Some(f64::NAN), Some(0.0), Some(0.5)] {
            assert!(!is_better_score(None, best));
            assert!(!is_better_score(Some(f64::NAN), best));
        }
        assert!(is_better_score(Some(0.0), None), "a first score of 0 is a score");
        assert!(is_better_score(Some(0.0), Some(f64::NAN)));
        assert!(is_better_score(Some(0.6), Some(0.5)));
        assert!(!is_better_score(Some(0.5), Some(0.5)), "the earlier of two equal ones is kept");
    }
}
