//! Where a training run is: what a checkpoint holds besides tensors.

use serde::{Deserialize, Serialize};

use super::early_stopping::EarlyStopping;
use super::history::{EpochMetrics, ModelMetrics};

/// Where a run is. It knows batches and not ranks: a batch is the global one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainState {
    /// Epochs that are done, validation included.
    pub epoch: usize,
    /// Batches of the next epoch that are learned from.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Sum of the losses of those batches.
    pub loss: f64,
    /// Seconds that they took.
    pub seconds: f64,
    /// The epochs that are done.
    pub history: Vec<EpochMetrics>,
    /// The scores of the model that is kept.
    pub best: Option<ModelMetrics>,
    /// Where the rule stands, if there is one.
    pub early_stopping: Option<EarlyStopping>,
    /// Whether the rule ended the run.
    pub stopped_early: bool,
}

impl TrainState {
    /// The state before the first step.
    pub fn new(early_stopping: Option<EarlyStopping>) -> Self {
        Self { early_stopping, ..Self::default() }
    }

    /// Whether all is done that was to do.
    pub fn is_finished(&self, total_epochs: usize) -> bool {
        self.stopped_early || self.epoch >= total_epochs
    }

    /// Epochs that are done, and batches of the next one.
    pub fn position(&self) -> (usize, usize) {
        (self.epoch, self.step)
    }

    /// The epoch with the best score, counted from 1.
    pub fn best_epoch(&self) -> Option<usize> {
        self.best.as_ref().map(|best| best.best_epoch)
    }
}
