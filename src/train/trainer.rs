//! The epoch loop: train, validate, keep the best.

use std::path::PathBuf;

use tch::{Kind, Tensor};

use super::curves;
use super::early_stopping::EarlyStopping;
use super::history::{Epoch, Metrics};
use super::schedule::Schedule;
use super::step::Stepper;
use super::validate::validate;
use crate::console::say;
use crate::data::Sample;
use crate::data::loader::Plan;
use crate::error::{Error, Result};
use crate::metrics::ConfusionMatrix;
use crate::model::{Config, artifact};
use crate::progress::Progress;

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

/// Trains for all epochs, or until early stopping ends it. After each one the network is scored on the validation images, the
/// built-in's metric lines are printed, and when the mean IoU is the best so far the artifact is
/// written. Returns the metrics of the model that was kept.
pub fn train(mut stepper: Stepper, settings: &Settings) -> Result<Metrics> {
    let mut history = Vec::new();
    let mut best: Option<Metrics> = None;
    let mut early_stopping = settings.early_stopping.clone();
    for number in 1..=settings.epochs {
        let (train_loss, train_throughput, learning_rate) =
            train_epoch(&mut stepper, settings, number)?;
        let (matrix, validation_throughput) = score(&stepper, settings, number)?;
        let names = &settings.config.class_names;
        let metrics = Metrics::new(number, &matrix, names);
        let epoch = Epoch {
            epoch: number,
            train_loss,
            train_throughput,
            validation_miou: metrics.miou,
            validation_pixel_accuracy: metrics.pixel_accuracy,
            validation_throughput,
            learning_rate,
        };
        report(&epoch, settings.epochs);
        let score = epoch.validation_miou;
        history.push(epoch);
        curves::write(&settings.output_folder, &history)?;
        let better = best.as_ref().is_none_or(|best| metrics.miou > best.miou);
        if better {
            artifact::write(&settings.model_folder, &settings.config, &stepper.network)?;
        }
        let kept = if better { best.insert(metrics) } else { best.get_or_insert(metrics) };
        kept.epochs.clone_from(&history);
        artifact::write_json(&settings.model_folder.join(artifact::METRICS), kept)?;
        let stop = early_stopping.as_mut().and_then(|rule| rule.observe(number, score));
        if let Some(reason) = stop.filter(|_| number < settings.epochs) {
            say(format_args!("stopping early after epoch {number}/{}: {reason}", settings.epochs));
            break;
        }
    }
    best.ok_or_else(|| Error::internal("no epoch was trained"))
}

/// Mean loss, images per second, and the last learning rate of an epoch.
fn train_epoch(
    stepper: &mut Stepper,
    settings: &Settings,
    number: usize,
) -> Result<(f64, f64, f64)> {
    let Settings { plan, schedule, epochs, .. } = settings;
    let batches = plan.batches();
    let images = batches * plan.batch_size.min(plan.samples.len());
    let mut progress = Progress::new(&format!("epoch {number}/{epochs} training"), images);
    let mut total = Tensor::f_zeros([], (Kind::Double, stepper.network.device()))?;
    let mut rate = 0.0;
    for (index, batch) in plan.start(number as u64 - 1)?.enumerate() {
        let batch = batch?;
        rate = schedule.rate((number - 1) * batches + index);
        let loss = stepper.step(&batch, rate)?;
        total = total.f_add(&loss)?;
        progress.advance(batch.dropout_seeds.len(), || loss.f_double_value(&[]).ok());
    }
    let loss = total.f_double_value(&[])? / batches as f64;
    if !loss.is_finite() {
        // Weights that are not numbers must neither be kept nor served.
        return Err(Error::input(format!(
            "the training loss became {loss} in epoch {number}: training diverged; lower \
             learning_rate"
        )));
    }
    progress.finish();
    Ok((loss, progress.speed(), rate))
}

/// The confusion matrix on the validation images, and images per second.
fn score(stepper: &Stepper, settings: &Settings, number: usize) -> Result<(ConfusionMatrix, f64)> {
    let Settings { validation, validation_batch_size, config, epochs, .. } = settings;
    let mut progress =
        Progress::new(&format!("epoch {number}/{epochs} validation"), validation.len());
    let sizes = (config.num_classes, *validation_batch_size);
    let matrix = validate(&stepper.network, validation, sizes, |images| {
        progress.advance(images, || None);
    })?;
    progress.finish();
    Ok((matrix, progress.speed()))
}

/// The lines that the built-in's metric regexes match: each number stands bare before a space or
/// the line's end.
fn report(epoch: &Epoch, epochs: usize) {
    let number = epoch.epoch;
    let score = |value: Option<f64>| value.map_or("nan".to_owned(), |v| format!("{v:.6}"));
    say(format_args!(
        "epoch {number}/{epochs} train loss: {:.6} train throughput: {:.2} learning rate {:.3e}",
        epoch.train_loss, epoch.train_throughput, epoch.learning_rate
    ));
    say(format_args!(
        "epoch {number}/{epochs} validation mIOU: {} validation pixel_accuracy: {} validation \
         throughput: {:.2}",
        score(epoch.validation_miou),
        score(epoch.validation_pixel_accuracy),
        epoch.validation_throughput
    ));
}
