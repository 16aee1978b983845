//! The epoch loop: train, validate, keep the best, stop when asked.

use std::path::PathBuf;
use std::time::Instant;

use image::RgbImage;
use tch::{Device, Tensor};

use super::bf16_agreement;
use super::checkpoint::Checkpoints;
use super::early_stopping::EarlyStopping;
use super::history::{EpochMetrics, ModelMetrics};
use super::learning_curves;
use super::predictions;
use super::schedule::LrSchedule;
use super::tensorboard::SummaryWriter;
use super::train_state::TrainState;
use super::train_step::TrainStep;
use super::validate::validate_network;
use crate::console::{print_stderr, print_stdout};
use crate::data::Sample;
use crate::data::loader::{BatchPosition, DataLoader, DataLoaderConfig};
use crate::error::{Error, Result};
use crate::metrics::ConfusionMatrix;
use crate::model::precision::ComputePrecision;
use crate::model::{Artifact, ModelConfig, artifact};
use crate::progress::Progress;
use crate::render::draw_confusion_matrix;
use crate::sagemaker::StopSignal;

/// What the loop needs besides the network.
#[derive(Debug)]
pub struct TrainerSettings {
    /// Passes over the training samples.
    pub epochs: usize,
    /// The learning rate of each step.
    pub lr_schedule: LrSchedule,
    /// The training samples and their batches.
    pub loader_config: DataLoaderConfig,
    /// The validation samples.
    pub validation_samples: Vec<Sample>,
    /// Whole images of one size that are scored together at most.
    pub validation_batch_size: usize,
    /// Ends the training before all epochs are done.
    pub early_stopping: Option<EarlyStopping>,
    /// Describes the network in the artifact.
    pub config: ModelConfig,
    /// Where the artifact is written.
    pub model_folder: PathBuf,
    /// Where what is not part of the model is written: the learning curves.
    pub output_folder: PathBuf,
}

/// How a run ended.
#[derive(Debug)]
pub enum TrainOutcome {
    /// All epochs are done, or early stopping ended them: the scores of the model that was kept.
    Finished(ModelMetrics),
    /// It was asked to stop, and a checkpoint says where it was.
    Stopped,
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Continue,
    Stop,
}

/// A run at work.
#[derive(Debug)]
pub struct Trainer<'a> {
    /// The network and its optimizer.
    pub train_step: TrainStep,
    /// Where the run is.
    pub state: TrainState,
    /// What to do.
    pub settings: &'a TrainerSettings,
    /// Where to go on from after an interruption.
    pub checkpoints: &'a mut Checkpoints,
    /// Whether someone asked to stop.
    pub stop_signal: &'a StopSignal,
    /// What `TensorBoard` is told.
    pub writer: SummaryWriter,
}

impl Trainer<'_> {
    /// Trains for the epochs that are left, or until early stopping ends it. After each one the
    /// network is scored on the validation images, the built-in's metric lines are printed, and when
    /// the mean IoU is the best so far the artifact is written.
    pub fn run(mut self) -> Result<TrainOutcome> {
        let outcome = self.run_epochs();
        self.writer.flush_steps();
        // One that was stopped has not ended.
        if !matches!(outcome, Ok(TrainOutcome::Stopped)) {
            self.writer.add_session_end(self.state.steps, outcome.is_ok());
        }
        outcome
    }

    fn run_epochs(&mut self) -> Result<TrainOutcome> {
        let TrainerSettings { loader_config, epochs, .. } = self.settings;
        let start = BatchPosition { epoch: self.state.epoch as u64, step: self.state.step };
        let mut loader = loader_config.start(start, *epochs as u64)?;
        while !self.state.is_finished(*epochs) {
            if self.train_epoch(&mut loader)? == Next::Stop || self.validate_epoch()? == Next::Stop
            {
                return self.conclude_stopped();
            }
            if self.checkpoints.is_due(&self.state) {
                self.write_checkpoint()?;
            }
        }
        self.write_checkpoint()?;
        if let Err(error) = self.measure_bf16() {
            // The model is trained; this is for servers that would like to know.
            print_stderr(format_args!("warning: bf16 was not compared with fp32: {error}"));
        }
        let best = self.state.best.take();
        let best = best.ok_or_else(|| Error::internal("no epoch was trained"))?;
        Ok(TrainOutcome::Finished(best))
    }

    /// Writes into the configuration of the model that was kept how far bfloat16 can be trusted with it.
    fn measure_bf16(&self) -> Result<()> {
        let TrainerSettings { validation_samples, model_folder, .. } = self.settings;
        // On the processor, for which it is meant: GPUs round in their own ways.
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
        print_stdout(format_args!(
            "in bf16 the class of {:.3} % of {} pixels ({} validation images) is another than in fp32",
            100.0 * bf16.differing,
            bf16.pixels,
            bf16.images
        ));
        let config = ModelConfig { bf16: Some(bf16), ..best_model.config };
        artifact::write_json(&model_folder.join(artifact::CONFIG_FILE), &config)
    }

    /// Learns from what is left of the epoch's batches.
    fn train_epoch(&mut self, loader: &mut DataLoader) -> Result<Next> {
        let TrainerSettings { loader_config, lr_schedule, epochs, .. } = self.settings;
        let (batch_count, epoch) = (loader_config.batches_per_epoch(), self.state.epoch);
        if self.state.step >= batch_count {
            return Ok(Next::Continue);
        }
        let images = batch_count * loader_config.batch_size.min(loader_config.samples.len());
        let mut progress = Progress::new(&format!("epoch {}/{epochs} training", epoch + 1), images);
        progress.advance(self.state.step * images / batch_count, || None);
        let mut loss_sum =
            Tensor::from(self.state.loss).f_to_device(self.train_step.network.device())?;
        let mut timer = Instant::now();
        for batch in loader.take(batch_count - self.state.step) {
            let batch = match batch {
                // What was being read was given up.
                Err(_) if self.stop_signal.is_requested() => {
                    self.state.seconds += timer.elapsed().as_secs_f64();
                    self.state.loss = self.check_finite_loss(loss_sum.f_double_value(&[])?)?;
                    return Ok(Next::Stop);
                }
                batch => batch?,
            };
            let lr = lr_schedule.lr(self.state.steps);
            let step_loss = self.train_step.run(&batch, lr)?;
            self.writer.add_step(self.state.steps, lr, &step_loss);
            loss_sum = loss_sum.f_add(&step_loss)?;
            self.state.step += 1;
            self.state.steps += 1;
            progress.advance(batch.dropout_seeds.len(), || step_loss.f_double_value(&[]).ok());
            let (should_stop, is_last) =
                (self.stop_signal.is_requested(), self.state.step == batch_count);
            let is_due = self.checkpoints.is_due(&self.state);
            if should_stop || is_last || is_due {
                self.state.seconds += timer.elapsed().as_secs_f64();
                self.state.loss = self.check_finite_loss(loss_sum.f_double_value(&[])?)?;
                if is_due && !should_stop {
                    self.write_checkpoint()?;
                }
                timer = Instant::now();
            }
            if should_stop {
                return Ok(Next::Stop);
            }
        }
        self.writer.waiting_share = loader.waiting_share();
        if let Some(line) = loader.starvation_warning() {
            print_stderr(line);
        }
        Ok(Next::Continue)
    }

    /// Scores the network, keeps it if it is the best, and concludes the epoch.
    fn validate_epoch(&mut self) -> Result<Next> {
        let TrainerSettings { validation_samples, validation_batch_size, config, epochs, .. } =
            self.settings;
        let epoch_number = self.state.epoch + 1;
        let mut progress = Progress::new(
            &format!("epoch {epoch_number}/{epochs} validation"),
            validation_samples.len(),
        );
        let sizes = (config.num_classes, *validation_batch_size);
        let best_weights_file = self.settings.model_folder.join(artifact::WEIGHTS_FILE);
        let mut write_result = Ok(());
        let matrix =
            validate_network(self.train_step.eval_network(), validation_samples, sizes, |images| {
                progress.advance(images, || None);
                // A validation may take longer than an interval: what was learned before it must not be
                // at stake for so long.
                if self.checkpoints.is_due(&self.state) {
                    write_result =
                        self.checkpoints.write(&self.train_step, &self.state, &best_weights_file);
                }
                write_result.is_ok() && !self.stop_signal.is_requested()
            });
        write_result?;
        let matrix = match matrix {
            // What was being read was given up.
            Err(_) if self.stop_signal.is_requested() => None,
            matrix => matrix?,
        };
        let Some(matrix) = matrix else { return Ok(Next::Stop) };
        progress.finish();
        self.finish_epoch(&matrix, progress.images_per_second())?;
        Ok(Next::Continue)
    }

    fn finish_epoch(&mut self, matrix: &ConfusionMatrix, validation_throughput: f64) -> Result<()> {
        let TrainerSettings {
            loader_config,
            lr_schedule,
            config,
            model_folder,
            output_folder,
            epochs,
            ..
        } = self.settings;
        let state = &mut self.state;
        let epoch_number = state.epoch + 1;
        let images = loader_config.batches_per_epoch()
            * loader_config.batch_size.min(loader_config.samples.len());
        let metrics = ModelMetrics::new(epoch_number, matrix, &config.class_names);
        let epoch_metrics = EpochMetrics {
            epoch: epoch_number,
            train_loss: state.loss / loader_config.batches_per_epoch() as f64,
            train_throughput: images as f64 / state.seconds.max(1e-9),
            validation_miou: metrics.miou,
            validation_pixel_accuracy: metrics.pixel_accuracy,
            validation_throughput,
            learning_rate: lr_schedule.lr(state.steps.saturating_sub(1)),
        };
        print_stdout(epoch_metrics.metric_lines(*epochs));
        self.writer.add_epoch(state.steps.saturating_sub(1), &epoch_metrics, &metrics);
        let matrix_image = draw_confusion_matrix(&metrics.confusion_matrix, &config.class_names);
        state.history.push(epoch_metrics);
        learning_curves::write_learning_curves(output_folder, &state.history)?;
        let is_best = state.best.as_ref().is_none_or(|best| metrics.miou > best.miou);
        if is_best {
            // The last update may be the one that went wrong: no loss has seen it.
            self.train_step.eval_network().weights.check_finite()?;
            artifact::write_model(model_folder, config, self.train_step.eval_network())?;
        }
        let miou = metrics.miou;
        let best_metrics =
            if is_best { state.best.insert(metrics) } else { state.best.get_or_insert(metrics) };
        best_metrics.epochs.clone_from(&state.history);
        artifact::write_json(&model_folder.join(artifact::METRICS_FILE), best_metrics)?;
        let reason =
            state.early_stopping.as_mut().and_then(|rule| rule.observe(epoch_number, miou));
        if let Some(reason) = reason.filter(|_| epoch_number < *epochs) {
            print_stdout(format_args!(
                "stopping early after epoch {epoch_number}/{epochs}: {reason}"
            ));
            state.stopped_early = true;
        }
        (state.epoch, state.step, state.loss, state.seconds) = (epoch_number, 0, 0.0, 0.0);
        self.write_pictures(&matrix_image, epoch_number)
    }

    /// Gives the board its pictures of an epoch.
    fn write_pictures(&mut self, matrix_image: &RgbImage, epoch: usize) -> Result<()> {
        // Nobody waits for pictures at the end.
        if !self.writer.is_open() || self.stop_signal.is_requested() {
            return Ok(());
        }
        let TrainerSettings { validation_samples, config, .. } = self.settings;
        let position = (self.state.steps.saturating_sub(1), epoch);
        self.writer.add_image(position.0, "confusion_matrix", matrix_image);
        let network = self.train_step.eval_network();
        predictions::write_predictions(
            &mut self.writer,
            position,
            network,
            validation_samples,
            &config.class_names,
        )
    }

    /// Leaves everything such that the job can go on, and a model that can be used.
    fn conclude_stopped(&mut self) -> Result<TrainOutcome> {
        let TrainerSettings { model_folder, config, epochs, .. } = self.settings;
        if self.state.best.is_none() {
            // Better than nothing: no epoch has been scored yet.
            artifact::write_model(model_folder, config, self.train_step.eval_network())?;
        }
        self.write_checkpoint()?;
        let TrainState { epoch, step, .. } = self.state;
        let kept_model = match self.state.best_epoch() {
            Some(best) => format!("the model of epoch {best}, the best so far,"),
            None => "the model as it is, which was not validated yet,".to_owned(),
        };
        print_stdout(format_args!(
            "asked to stop in epoch {}/{epochs} after step {step}: {kept_model} is in {}; the same job \
             started again goes on from the checkpoint",
            epoch + 1,
            model_folder.display()
        ));
        Ok(TrainOutcome::Stopped)
    }

    fn write_checkpoint(&mut self) -> Result<()> {
        // A job that goes on from here does not repeat them.
        self.writer.flush_steps();
        let best_weights_file = self.settings.model_folder.join(artifact::WEIGHTS_FILE);
        self.checkpoints.write(&self.train_step, &self.state, &best_weights_file)
    }

    /// Weights that are not numbers must neither be kept nor served.
    fn check_finite_loss(&self, loss: f64) -> Result<f64> {
        if loss.is_finite() {
            return Ok(loss);
        }
        let advice = match self.train_step.network.precision {
            ComputePrecision::Fp16 => "set precision to bf16 or fp32, or lower learning_rate",
            ComputePrecision::Fp32 | ComputePrecision::Bf16 => "lower learning_rate",
        };
        let epoch = self.state.epoch + 1;
        Err(Error::input(format!(
            "the training loss became {loss} in epoch {epoch}: training diverged; {advice}"
        )))
    }
}
