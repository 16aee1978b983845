//! Lines in which a training job reports its score.

use regex::Regex;

use crate::error::{Error, Result};

/// Patterns of the lines in which a training job reports the score of an epoch.
#[derive(Debug)]
pub struct ReportLines {
    epoch: Regex,
    metric: Regex,
}

impl ReportLines {
    /// Takes regular expressions whose first groups are the number of the epoch, from 1, and the score.
    pub fn new(epoch: &str, metric: &str) -> Result<Self> {
        let read = |pattern: &str| {
            Regex::new(pattern).map_err(|cause| Error::input(format!("{pattern}: {cause}")))
        };
        Ok(Self { epoch: read(epoch)?, metric: read(metric)? })
    }

    /// Returns epoch and score of a line that has both.
    pub fn read(&self, line: &str) -> Option<(u64, f64)> {
        let epoch = self.epoch.captures(line)?.get(1)?.as_str().parse().ok()?;
        let score = self.metric.captures(line)?.get(1)?.as_str().parse().ok()?;
        Some((epoch, score))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_an_epoch_and_a_score_in_one_line() {
        let lines = ReportLines::new(r"^epoch (\d+)/", r"validation mIOU: (\S+)").unwrap();
        let line = "epoch 2/13 validation mIOU: 0.391031 validation pixel_accuracy: 0.680848";
        assert_eq!(lines.read(line), Some((2, 0.391_031)));
        let line = "epoch 3/13 validation mIOU: nan";
        assert!(lines.read(line).is_some_and(|(_, score)| score.is_nan()));
        assert_eq!(lines.read("best validation mIOU: 0.4"), None);
        assert_eq!(lines.read("epoch 2/13 train loss: 0.4"), None);
    }
}
