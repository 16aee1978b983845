//! Events of a run that go to `TensorBoard`.

use super::SummaryWriter;
use crate::error::Result;
use crate::render::{draw_confusion_matrix, rasterize};
use crate::train::observer::{DataWaitEvent, EpochEndEvent, EpochEvent, StepEvent, TrainObserver};
use crate::train::predictions::draw_predictions;
use crate::train::trainer::TrainOutcome;

impl TrainObserver for SummaryWriter {
    fn on_step(&mut self, event: &StepEvent<'_>) {
        self.add_step(event.step, event.learning_rate, event.loss);
    }

    fn on_train_epoch_end(&mut self, event: &DataWaitEvent) {
        self.waiting_share = event.waiting_share;
    }

    fn on_validation_epoch_end(&mut self, event: &EpochEvent<'_>) -> Result<()> {
        self.add_epoch(event.last_step, event.epoch, event.model);
        Ok(())
    }

    /// Writes the pictures of the epoch, unless the job is about to stop.
    fn on_epoch_end(&mut self, event: &EpochEndEvent<'_>) -> Result<()> {
        if !self.is_open() || event.is_stop_requested {
            return Ok(());
        }
        let class_names = &event.settings.config.class_names;
        let matrix = draw_confusion_matrix(&event.model.confusion_matrix, class_names);
        let matrix_image = rasterize(&matrix);
        self.add_image(event.last_step, "confusion_matrix", &matrix_image);
        let samples = &event.settings.validation_samples;
        if let Some(sheet) = draw_predictions(event.network, samples, class_names, event.epoch)? {
            self.add_image(event.last_step, "predictions", &sheet);
        }
        Ok(())
    }

    fn on_save_checkpoint(&mut self) {
        self.flush_steps();
    }

    /// Writes how the run ended. A run that was stopped goes on later, so its session stays open.
    fn on_end(&mut self, steps: usize, outcome: &Result<TrainOutcome>) {
        self.flush_steps();
        if !matches!(outcome, Ok(TrainOutcome::Stopped)) {
            self.add_session_end(steps, outcome.is_ok());
        }
    }
}
