//! The position and the history of a training run: the part of a checkpoint that is no tensor.

use serde::{Deserialize, Serialize};

use super::early_stopping::EarlyStopping;
use super::history::{EpochMetrics, ModelMetrics};

/// Position and history of a run. A batch is that of all ranks together, of which there is one
/// today (`docs/architecture.md#counted-randomness`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainState {
    /// Number of epochs that are done, validation included.
    pub epoch: usize,
    /// Next batch of the epoch, from 0, which is the number of its batches that are learned from.
    /// The epoch is the one after those that are done.
    pub step: usize,
    /// Next step of the run, from 0, which is the number of steps in all epochs so far.
    pub steps: usize,
    /// Sum of the losses of the next epoch's batches so far.
    pub loss: f64,
    /// Seconds that the next epoch's batches took so far.
    pub seconds: f64,
    /// Metrics of the epochs that are done.
    pub history: Vec<EpochMetrics>,
    /// Scores of the model that is kept; `None` before the first validation.
    pub best: Option<ModelMetrics>,
    /// Early-stopping rule with its state, if the job has one.
    pub early_stopping: Option<EarlyStopping>,
    /// True if early stopping ended the run.
    pub stopped_early: bool,
}

impl TrainState {
    /// Returns the state before the first step.
    pub fn new(early_stopping: Option<EarlyStopping>) -> Self {
        Self { early_stopping, ..Self::default() }
    }

    /// Returns true if all epochs are done or early stopping ended the run.
    pub fn is_finished(&self, total_epochs: usize) -> bool {
        self.stopped_early || self.epoch >= total_epochs
    }

    /// Returns the number of epochs that are done, and of batches of the next epoch.
    pub fn position(&self) -> (usize, usize) {
        (self.epoch, self.step)
    }

    /// Returns the epoch with the best score, counted from 1.
    pub fn best_epoch(&self) -> Option<usize> {
        self.best.as_ref().map(|best| best.best_epoch)
    }
}
