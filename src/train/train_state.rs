//! The position and the history of a training run: the part of a checkpoint that is no tensor.

use serde::{Deserialize, Serialize};

use super::early_stopping::EarlyStopping;
use super::history::{EpochMetrics, ModelMetrics};

/// Position and history of a run. A batch is that of all ranks together
/// (`docs/architecture.md#counted-randomness`).
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
    /// Numbers of training samples of each host, if each host has a part of them: the order of
    /// samples within an epoch depends on it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples_by_host: Vec<usize>,
}

impl TrainState {
    /// Returns the state before the first step.
    pub fn new(early_stopping: Option<EarlyStopping>) -> Self {
        Self { early_stopping, ..Self::default() }
    }

    /// Takes over the hosts that train from now on. If samples lie on other hosts than before, the
    /// epoch begins anew, and this returns the number of its batches that were learned from.
    pub fn move_to_hosts(&mut self, samples_by_host: Vec<usize>) -> Option<usize> {
        let are_same = self.samples_by_host == samples_by_host;
        self.samples_by_host = samples_by_host;
        if are_same || self.step == 0 {
            return None;
        }
        let batches = self.step;
        (self.step, self.loss, self.seconds) = (0, 0.0, 0.0);
        Some(batches)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_on_other_hosts_begin_the_epoch_anew() {
        let start = TrainState { epoch: 3, step: 5, steps: 35, loss: 1.5, ..TrainState::default() };
        let mut state = start.clone();
        assert_eq!(state.move_to_hosts(Vec::new()), None);
        assert_eq!(state, start);
        assert_eq!(state.move_to_hosts(vec![10, 11]), Some(5));
        assert_eq!((state.epoch, state.step, state.steps), (3, 0, 35));
        state.step = 2;
        assert_eq!(state.move_to_hosts(vec![10, 11]), None);
        assert_eq!(state.move_to_hosts(vec![7, 7, 7]), Some(2));
    }
}
