//! The time that training waits for data, and the advice if it is long.

use std::time::{Duration, Instant};

/// Share of the time, 0 to 1, above which waiting is reported.
const MIN_REPORTED_SHARE: f64 = 0.1;

/// Shortest wait that is reported, whatever its share: a batch or two of a small data set take
/// less.
const MIN_REPORTED_WAIT: Duration = Duration::from_secs(1);

/// Sum of the waits from one report to the next.
#[derive(Debug)]
pub(super) struct WaitTimer {
    waited: Duration,
    /// Start of the time that waits are compared with: the first batch, because a start always
    /// waits, or the first request after a report, because validation is no waiting.
    measured_since: Option<Instant>,
    has_started: bool,
}

impl WaitTimer {
    pub(super) fn new() -> Self {
        Self { waited: Duration::ZERO, measured_since: None, has_started: false }
    }

    /// Adds the wait for one batch.
    pub(super) fn record_wait(&mut self, requested_at: Instant, received_at: Instant) {
        if self.has_started {
            self.waited += received_at - requested_at;
            self.measured_since.get_or_insert(requested_at);
        } else {
            self.measured_since = Some(received_at);
            self.has_started = true;
        }
    }

    /// Returns the share of time since the last report that was spent waiting, 0 to 1.
    pub(super) fn wait_share(&self, now: Instant) -> Option<f64> {
        let total = now - self.measured_since?;
        Some(self.waited.as_secs_f64() / total.as_secs_f64().max(1e-9))
    }

    /// Returns a warning if much of the time since the last report was spent waiting, and starts
    /// anew.
    pub(super) fn take_warning(&mut self, now: Instant) -> Option<String> {
        let waited = std::mem::take(&mut self.waited);
        let total = now - self.measured_since.take()?;
        let share = waited.as_secs_f64() / total.as_secs_f64();
        if waited < MIN_REPORTED_WAIT || share <= MIN_REPORTED_SHARE {
            return None;
        }
        Some(format!(
            "training waited for data for {:.0} % of the epoch ({:.1} of {:.1} s): decoding and \
             scaling the images takes longer than training on them. An instance with more CPU \
             cores, or images stored smaller (their longer side needs no more than twice \
             base_size), makes training faster",
            share * 100.0,
            waited.as_secs_f64(),
            total.as_secs_f64()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records a batch every `period` seconds, of which `waited` are spent waiting for it.
    fn record_epoch(
        waiting: &mut WaitTimer,
        start: Instant,
        batches: u32,
        waited: f64,
        period: f64,
    ) -> Instant {
        let mut now = start;
        for _ in 0..batches {
            let came = now + Duration::from_secs_f64(waited);
            waiting.record_wait(now, came);
            now += Duration::from_secs_f64(period);
        }
        now
    }

    #[test]
    fn waiting_for_more_than_a_tenth_of_the_time_is_told_with_its_share() {
        let mut waiting = WaitTimer::new();
        let end = record_epoch(&mut waiting, Instant::now(), 101, 0.5, 2.0);
        let line = waiting.take_warning(end).unwrap();
        assert!(line.contains("25 % of the epoch (50.0 of 201.5 s)"), "{line}");
        assert!(line.contains("more CPU cores"), "{line}");
    }

    #[test]
    fn little_waiting_the_start_and_validation_are_not_told() {
        let mut waiting = WaitTimer::new();
        let start = Instant::now();
        assert_eq!(waiting.take_warning(start), None, "nothing was asked for");
        // The first batch of all took long, the others no time.
        waiting.record_wait(start, start + Duration::from_mins(1));
        let end = record_epoch(&mut waiting, start + Duration::from_mins(1), 100, 0.1, 2.0);
        assert_eq!(waiting.take_warning(end), None);
        // An hour of validation, then a wait that counts.
        let end = record_epoch(&mut waiting, end + Duration::from_hours(1), 100, 1.0, 2.0);
        assert!(waiting.take_warning(end).unwrap().contains("50 %"));
        // Three batches of a tiny data set.
        let end = record_epoch(&mut waiting, end, 3, 0.2, 0.3);
        assert_eq!(waiting.take_warning(end), None);
    }
}
