//! Counters that others must keep counting, and the time since they last did.

use std::time::{Duration, Instant};

/// A counter that another process adds to as long as it lives.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pulse {
    count: i64,
    changed_at: Instant,
}

impl Pulse {
    /// Starts to watch a counter.
    pub(super) fn new(now: Instant) -> Self {
        Self { count: 0, changed_at: now }
    }

    /// Takes note of the counter's value at `now`. Returns true if it is another than before.
    pub(super) fn observe(&mut self, count: i64, now: Instant) -> bool {
        let has_changed = count != self.count;
        if has_changed {
            (self.count, self.changed_at) = (count, now);
        }
        has_changed
    }

    /// Returns how long the counter has been the same.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.changed_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_is_the_time_since_the_last_change() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut pulse = Pulse::new(start);
        assert!(!pulse.observe(0, after(3)));
        assert_eq!(pulse.age(after(4)), Duration::from_secs(4));
        assert!(pulse.observe(7, after(5)));
        assert!(!pulse.observe(7, after(9)));
        assert_eq!(pulse.age(after(9)), Duration::from_secs(4));
    }
}
