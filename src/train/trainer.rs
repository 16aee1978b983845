//! The epoch loop: train, validate, keep the best, stop when asked.

use std::path::PathBuf;
use std::time::Instant;

use image::RgbImage;
use tch::{Device, Tensor};

use super::agreement;
use super::checkpoint::Checkpoints;
use super::curves;
use super::early_stopping::EarlyStopping;
use super::history::{Epoch, Metrics};
use super::predictions;
use super::schedule::Schedule;
use super::state::State;
use super::step::Stepper;
use super::tensorboard::Board;
use super::validate::validate;
use crate::console::{note, say};
use crate::data::Sample;
use crate::data::loader::{Loader, Plan, Position};
use crate::error::{Error, Result};
use crate::metrics::ConfusionMatrix;
use crate::model::precision::Compute;
use crate::model::{Artifact, Config, artifact};
use crate::progress::Progress;
use crate::render::confusion_matrix;
use crate::sagemaker::Stop;

/// What the loop needs besides the network.
#[derive(Debug)]
pub struct Settings {
    /// Passes over the training samples.
    pub epochs: usize,
    /// The learning rate of each step.
    pub schedule: Schedule,
    /// The training samples and their batches.
    pub plan: Plan,
    /// The validation samples.
    pub validation: Vec<Sample>,
    /// Whole images of one size that are scored together at most.
    pub validation_batch_size: usize,
    /// Ends the training before all epochs are done.
    pub early_stopping: Option<EarlyStopping>,
    /// Describes the network in the artifact.
    pub config: Config,
    /// Where the artifact is written.
    pub model_folder: PathBuf,
    /// Where what is not part of the model is written: the learning curves.
    pub output_folder: PathBuf,
}

/// How a run ended.
#[derive(Debug)]
pub enum End {
    /// All epochs are done, or early stopping ended them: the scores of the model that was kept.
    Finished(Metrics),
    /// It was asked to stop, and a checkpoint says where it was.
    Stopped,
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Go {
    On,
    Stop,
}

/// A run at work.
#[derive(Debug)]
pub struct Trainer<'a> {
    /// The network and its optimizer.
    pub stepper: Stepper,
    /// Where the run is.
    pub state: State,
    /// What to do.
    pub settings: &'a Settings,
    /// Where to go on from after an interruption.
    pub checkpoints: &'a mut Checkpoints,
    /// Whether someone asked to stop.
    pub stop: &'a Stop,
    /// What `TensorBoard` is told.
    pub board: Board,
}

impl Trainer<'_> {
    /// Trains for the epochs that are left, or until early stopping ends it. After each one the
    /// network is scored on the validation images, the built-in's metric lines are printed, and when
    /// the mean IoU is the best so far the artifact is written.
    pub fn run(mut self) -> Result<End> {
        let end = self.train();
        self.board.steps();
        // One that was stopped has not ended.
        if !matches!(end, Ok(End::Stopped)) {
            self.board.end(self.state.steps, end.is_ok());
        }
        end
    }

    fn train(&mut self) -> Result<End> {
        let Settings { plan, epochs, .. } = self.settings;
        let first = Position { epoch: self.state.epoch as u64, step: self.state.step };
        let mut loader = plan.start(first, *epochs as u64)?;
        while !self.state.is_finished(*epochs) {
            if self.learn(&mut loader)? == Go::Stop || self.score()? == Go::Stop {
                return self.leave();
            }
            if self.checkpoints.is_due(&self.state) {
                self.write_checkpoint()?;
            }
        }
        self.write_checkpoint()?;
        if let Err(error) = self.measure_bf16() {
            // The model is trained; this is for servers that would like to know.
            note(format_args!("warning: bf16 was not compared with fp32: {error}"));
        }
        let best = self.state.best.take();
        let best = best.ok_or_else(|| Error::internal("no epoch was trained"))?;
        Ok(End::Finished(best))
    }

    /// Writes into the configuration of the model that was kept how far bfloat16 can be trusted with it.
    fn measure_bf16(&self) -> Result<()> {
        let Settings { validation, model_folder, .. } = self.settings;
        // On the processor, for which it is meant: GPUs round in their own ways.
        let kept = Artifact::read(model_folder, Device::Cpu)?;
        let go_on = || !self.stop.is_requested();
        let Some(bf16) = agreement::measure(&kept.network, validation, go_on)? else {
            return Ok(());
        };
        say(format_args!(
            "in bf16 the class of {:.3} % of {} pixels ({} validation images) is another than in fp32",
            100.0 * bf16.differing,
            bf16.pixels,
            bf16.images
        ));
        let config = Config { bf16: Some(bf16), ..kept.config };
        artifact::write_json(&model_folder.join(artifact::CONFIG), &config)
    }

    /// Learns from what is left of the epoch's batches.
    fn learn(&mut self, loader: &mut Loader) -> Result<Go> {
        let Settings { plan, schedule, epochs, .. } = self.settings;
        let (batches, epoch) = (plan.batches(), self.state.epoch);
        if self.state.step >= batches {
            return Ok(Go::On);
        }
        let images = batches * plan.batch_size.min(plan.samples.len());
        let mut progress = Progress::new(&format!("epoch {}/{epochs} training", epoch + 1), images);
        progress.advance(self.state.step * images / batches, || None);
        let mut loss = Tensor::from(self.state.loss).f_to_device(self.stepper.network.device())?;
        let mut since = Instant::now();
        for batch in loader.take(batches - self.state.step) {
            let batch = match batch {
                // What was being read was given up.
                Err(_) if self.stop.is_requested() => {
                    self.state.seconds += since.elapsed().as_secs_f64();
                    self.state.loss = self.finite(loss.f_double_value(&[])?)?;
                    return Ok(Go::Stop);
                }
                batch => batch?,
            };
            let rate = schedule.rate(self.state.steps);
            let one = self.stepper.step(&batch, rate)?;
            self.board.step(self.state.steps, rate, &one);
            loss = loss.f_add(&one)?;
            self.state.step += 1;
            self.state.steps += 1;
            progress.advance(batch.dropout_seeds.len(), || one.f_double_value(&[]).ok());
            let (stop, last) = (self.stop.is_requested(), self.state.step == batches);
            let due = self.checkpoints.is_due(&self.state);
            if stop || last || due {
                self.state.seconds += since.elapsed().as_secs_f64();
                self.state.loss = self.finite(loss.f_double_value(&[])?)?;
                if due && !stop {
                    self.write_checkpoint()?;
                }
                since = Instant::now();
            }
            if stop {
                return Ok(Go::Stop);
            }
        }
        self.board.waiting = loader.waiting_share();
        if let Some(line) = loader.starvation() {
            note(line);
        }
        Ok(Go::On)
    }

    /// Scores the network, keeps it if it is the best, and concludes the epoch.
    fn score(&mut self) -> Result<Go> {
        let Settings { validation, validation_batch_size, config, epochs, .. } = self.settings;
        let number = self.state.epoch + 1;
        let mut progress =
            Progress::new(&format!("epoch {number}/{epochs} validation"), validation.len());
        let sizes = (config.num_classes, *validation_batch_size);
        let best = self.settings.model_folder.join(artifact::WEIGHTS);
        let mut written = Ok(());
        let matrix = validate(self.stepper.evaluated(), validation, sizes, |images| {
            progress.advance(images, || None);
            // A validation may take longer than an interval: what was learned before it must not be
            // at stake for so long.
            if self.checkpoints.is_due(&self.state) {
                written = self.checkpoints.write(&self.stepper, &self.state, &best);
            }
            written.is_ok() && !self.stop.is_requested()
        });
        written?;
        let matrix = match matrix {
            // What was being read was given up.
            Err(_) if self.stop.is_requested() => None,
            matrix => matrix?,
        };
        let Some(matrix) = matrix else { return Ok(Go::Stop) };
        progress.finish();
        self.conclude(&matrix, progress.speed())?;
        Ok(Go::On)
    }

    fn conclude(&mut self, matrix: &ConfusionMatrix, validation_throughput: f64) -> Result<()> {
        let Settings { plan, schedule, config, model_folder, output_folder, epochs, .. } =
            self.settings;
        let state = &mut self.state;
        let number = state.epoch + 1;
        let images = plan.batches() * plan.batch_size.min(plan.samples.len());
        let metrics = Metrics::new(number, matrix, &config.class_names);
        let epoch = Epoch {
            epoch: number,
            train_loss: state.loss / plan.batches() as f64,
            train_throughput: images as f64 / state.seconds.max(1e-9),
            validation_miou: metrics.miou,
            validation_pixel_accuracy: metrics.pixel_accuracy,
            validation_throughput,
            learning_rate: schedule.rate(state.steps.saturating_sub(1)),
        };
        say(epoch.lines(*epochs));
        self.board.epoch(state.steps.saturating_sub(1), &epoch, &metrics);
        let picture = confusion_matrix(&metrics.confusion_matrix, &config.class_names);
        state.history.push(epoch);
        curves::write(output_folder, &state.history)?;
        let better = state.best.as_ref().is_none_or(|best| metrics.miou > best.miou);
        if better {
            // The last update may be the one that went wrong: no loss has seen it.
            self.stepper.evaluated().weights.check_finite()?;
            artifact::write(model_folder, config, self.stepper.evaluated())?;
        }
        let score = metrics.miou;
        let kept =
            if better { state.best.insert(metrics) } else { state.best.get_or_insert(metrics) };
        kept.epochs.clone_from(&state.history);
        artifact::write_json(&model_folder.join(artifact::METRICS), kept)?;
        let reason = state.early_stopping.as_mut().and_then(|rule| rule.observe(number, score));
        if let Some(reason) = reason.filter(|_| number < *epochs) {
            say(format_args!("stopping early after epoch {number}/{epochs}: {reason}"));
            state.stopped_early = true;
        }
        (state.epoch, state.step, state.loss, state.seconds) = (number, 0, 0.0, 0.0);
        self.draw(&picture, number)
    }

    /// Gives the board its pictures of an epoch.
    fn draw(&mut self, confusion: &RgbImage, epoch: usize) -> Result<()> {
        // Nobody waits for pictures at the end.
        if !self.board.is_open() || self.stop.is_requested() {
            return Ok(());
        }
        let Settings { validation, config, .. } = self.settings;
        let at = (self.state.steps.saturating_sub(1), epoch);
        self.board.picture(at.0, "confusion_matrix", confusion);
        let network = self.stepper.evaluated();
        predictions::show(&mut self.board, at, network, validation, &config.class_names)
    }

    /// Leaves everything such that the job can go on, and a model that can be used.
    fn leave(&mut self) -> Result<End> {
        let Settings { model_folder, config, epochs, .. } = self.settings;
        if self.state.best.is_none() {
            // Better than nothing: no epoch has been scored yet.
            artifact::write(model_folder, config, self.stepper.evaluated())?;
        }
        self.write_checkpoint()?;
        let State { epoch, step, .. } = self.state;
        let kept = match self.state.best_epoch() {
            Some(best) => format!("the model of epoch {best}, the best so far,"),
            None => "the model as it is, which was not validated yet,".to_owned(),
        };
        say(format_args!(
            "asked to stop in epoch {}/{epochs} after step {step}: {kept} is in {}; the same job \
             started again goes on from the checkpoint",
            epoch + 1,
            model_folder.display()
        ));
        Ok(End::Stopped)
    }

    fn write_checkpoint(&mut self) -> Result<()> {
        // A job that goes on from here does not repeat them.
        self.board.steps();
        let best = self.settings.model_folder.join(artifact::WEIGHTS);
        self.checkpoints.write(&self.stepper, &self.state, &best)
    }

    /// Weights that are not numbers must neither be kept nor served.
    fn finite(&self, loss: f64) -> Result<f64> {
        if loss.is_finite() {
            return Ok(loss);
        }
        let advice = match self.stepper.network.compute {
            Compute::Fp16 => "set precision to bf16 or fp32, or lower learning_rate",
            Compute::Fp32 | Compute::Bf16 => "lower learning_rate",
        };
        let epoch = self.state.epoch + 1;
        Err(Error::input(format!(
            "the training loss became {loss} in epoch {epoch}: training diverged; {advice}"
        )))
    }
}
