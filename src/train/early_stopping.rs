//! Early stopping ends a run whose score no longer gets better, by the built-in's four parameters.
//!
//! An epoch is improved when its mean IoU is above the best score so far by at least
//! `early_stopping_tolerance` of that best score; an equal score is no improvement. The best score
//! changes only with improved epochs, so a slow steady rise counts once it has added up. The
//! built-in documents that the first `early_stopping_min_epochs` epochs "must be run before the
//! early stopping logic is invoked": epochs that are not improved count from epoch number
//! `early_stopping_min_epochs` on, this one included.

use serde::{Deserialize, Serialize};

use super::history::format_score;

/// The rule with its state. A checkpoint holds both, so that a resumed job goes on with them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EarlyStopping {
    /// Number of epochs before which no epoch counts as not improved.
    pub min_epochs: usize,
    /// Number of epochs in a row without improvement that end the job; 0 is taken as 1.
    pub patience: usize,
    /// Relative improvement below which an epoch counts as not improved, 0 to 1.
    pub tolerance: f64,
    best: Option<f64>,
    since: usize,
}

impl EarlyStopping {
    /// Returns a rule that has seen no epoch.
    pub fn new(min_epochs: usize, patience: usize, tolerance: f64) -> Self {
        Self { min_epochs, patience, tolerance, best: None, since: 0 }
    }

    /// Takes in the mean IoU after `epoch`, counted from 1; an epoch without a score is not
    /// improved. Returns the reason to stop when the patience is used up.
    pub fn observe(&mut self, epoch: usize, score: Option<f64>) -> Option<String> {
        if let Some(score) = score
            && !score.is_nan()
            && self.is_improved(score)
        {
            self.best = Some(score);
            self.since = 0;
        } else if epoch >= self.min_epochs {
            self.since += 1;
        }
        let Self { patience, tolerance, since, .. } = *self;
        if since < patience.max(1) {
            return None;
        }
        let best = format_score(self.best, 6, "none");
        let s = if since == 1 { "" } else { "s" };
        Some(format!(
            "validation mIOU did not improve on {best} for {since} epoch{s} in a row \
             (early_stopping_patience {patience}, early_stopping_tolerance {tolerance})"
        ))
    }

    fn is_improved(&self, score: f64) -> bool {
        self.best.is_none_or(|best| score > best && score - best >= self.tolerance * best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The epoch after which a job with these scores stops.
    fn stop_epoch(mut rule: EarlyStopping, scores: &[f64]) -> Option<usize> {
        (1..)
            .zip(scores)
            .find(|&(epoch, &score)| rule.observe(epoch, Some(score)).is_some())
            .map(|(e, _)| e)
    }

    #[test]
    fn a_plateau_stops_after_patience_epochs_but_not_before_the_minimum() {
        let flat = [0.5; 30];
        assert_eq!(stop_epoch(EarlyStopping::new(5, 4, 0.0), &flat), Some(8));
        assert_eq!(stop_epoch(EarlyStopping::new(0, 4, 0.0), &flat), Some(5));
        assert_eq!(stop_epoch(EarlyStopping::new(0, 0, 0.0), &flat), Some(2));
        assert_eq!(stop_epoch(EarlyStopping::new(40, 1, 0.0), &flat), None);
    }

    #[test]
    fn the_tolerance_is_relative_to_the_best_score() {
        // 10 percent of 0.2 is 0.02, of 0.8 it is 0.08.
        assert_eq!(stop_epoch(EarlyStopping::new(0, 1, 0.1), &[0.2, 0.2201, 0.2422, 0.2665]), None);
        assert_eq!(stop_epoch(EarlyStopping::new(0, 1, 0.1), &[0.8, 0.85]), Some(2));
        assert_eq!(stop_epoch(EarlyStopping::new(0, 1, 0.1), &[0.0, 1e-9, 0.5]), None);
    }

    #[test]
    fn an_improvement_starts_the_count_again_and_a_slow_rise_adds_up() {
        let scores = [0.5, 0.4, 0.6, 0.5, 0.5, 0.5];
        assert_eq!(stop_epoch(EarlyStopping::new(0, 2, 0.0), &scores), Some(5));
        // Two steps of 4 percent are more than 5.
        let rise: Vec<f64> = (0..20).map(|epoch| 0.2 * 1.04f64.powi(epoch)).collect();
        assert_eq!(stop_epoch(EarlyStopping::new(0, 2, 0.05), &rise), None);
        assert_eq!(stop_epoch(EarlyStopping::new(0, 1, 0.05), &rise), Some(2));
    }

    #[test]
    fn epochs_without_a_score_are_not_improved() {
        let mut rule = EarlyStopping::new(0, 2, 0.0);
        assert_eq!(rule.observe(1, None), None);
        assert_eq!(rule.observe(2, Some(0.25)), None);
        assert_eq!(rule.observe(3, Some(f64::NAN)), None);
        let reason = rule.observe(4, Some(0.25)).unwrap();
        assert!(reason.starts_with("validation mIOU did not improve on 0.250000 for 2 epochs"));
    }

    #[test]
    fn a_rule_that_was_written_and_read_goes_on_where_it_was() {
        let scores = [0.5, 0.3, 0.3, 0.3, 0.3];
        let mut rule = EarlyStopping::new(0, 3, 0.0);
        for (epoch, score) in (1..).zip(scores) {
            let text = serde_json::to_string(&rule).unwrap();
            rule = serde_json::from_str(&text).unwrap();
            assert_eq!(rule.observe(epoch, Some(score)).is_some(), epoch >= 4, "{epoch}");
        }
    }
}
