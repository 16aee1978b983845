//! How long an image will take, from how long images have taken.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Classes of size, by powers of two of the pixels computed.
const CLASSES: usize = 48;
/// How much of a new measure goes into the moving average.
const NEW: f64 = 0.3;
/// A measure may be so many times the average at most: one hiccup of the machine is not the model's.
const HICCUP: f64 = 4.0;
/// As long as nothing but the first trial was measured, on an image of another size and on a machine that is still busy
/// with starting, a request must be so many times too long to be refused.
const DOUBT: u32 = 4;

/// The seconds per pixel of one model, by size: small images leave cores idle, and large ones leave the caches.
#[derive(Debug)]
pub(super) struct Estimate(Mutex<Measures>);

#[derive(Debug)]
struct Measures {
    rates: [Option<f64>; CLASSES],
    /// Whether the rates come from requests.
    sure: bool,
    /// Seconds of the average request.
    usual: f64,
}

impl Default for Estimate {
    fn default() -> Self {
        Self(Mutex::new(Measures { rates: [None; CLASSES], sure: false, usual: 0.0 }))
    }
}

impl Estimate {
    /// How long `work` pixels will take. Nothing is known at first, and that is told as no time at all.
    pub(super) fn predict(&self, work: u64) -> Duration {
        self.measures().predict(work)
    }

    /// How long the next request will take, of which nothing is known.
    pub(super) fn usual(&self) -> Duration {
        duration(self.measures().usual)
    }

    /// Whether `work` pixels will surely take longer than `most`: then how long.
    pub(super) fn surely_over(&self, work: u64, most: Duration) -> Option<Duration> {
        let measures = self.measures();
        let predicted = measures.predict(work);
        let doubt = if measures.sure { 1 } else { DOUBT };
        (predicted > most.saturating_mul(doubt)).then_some(predicted)
    }

    /// An image of `work` pixels took so long in the trial of a new model.
    pub(super) fn try_out(&self, work: u64, took: Duration) {
        self.measures().rates[class(work)] = Some(took.as_secs_f64() / work.max(1) as f64);
    }

    /// Whether measures of requests are known.
    pub(super) fn is_sure(&self) -> bool {
        self.measures().sure
    }

    /// `images` of `work` pixels each took so long together.
    pub(super) fn learn(&self, work: u64, images: usize, took: Duration) {
        let each = took.as_secs_f64() / images.max(1) as f64;
        let rate = each / work.max(1) as f64;
        let mut measures = self.measures();
        if !measures.sure {
            // The trial has served; its size comes back when requests of it come.
            measures.rates = [None; CLASSES];
            measures.sure = true;
            measures.usual = each;
        }
        let known = &mut measures.rates[class(work)];
        *known = Some(known.map_or(rate, |known| known + NEW * (rate.min(known * HICCUP) - known)));
        measures.usual += NEW * (each - measures.usual);
    }

    fn measures(&self) -> MutexGuard<'_, Measures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Measures {
    /// By the nearest class that was measured; of two, the larger one.
    fn predict(&self, work: u64) -> Duration {
        let class = class(work);
        let near = |far: usize| {
            let above = self.rates.get(class + far).copied().flatten();
            above.or_else(|| class.checked_sub(far).and_then(|below| self.rates[below]))
        };
        let rate = (0..CLASSES).find_map(near).unwrap_or(0.0);
        duration(rate * work as f64)
    }
}

fn class(work: u64) -> usize {
    (work.max(1).ilog2() as usize).min(CLASSES - 1)
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn requests_replace_the_trial_and_sizes_are_kept_apart() {
        let estimate = Estimate::default();
        assert_eq!(estimate.predict(1 << 20), Duration::ZERO);
        estimate.try_out(1 << 10, 10 * MS);
        assert_eq!(estimate.predict(1 << 20), 10 * 1024 * MS);
        assert_eq!(estimate.surely_over(1 << 20, 3000 * MS), None);
        estimate.learn(1 << 20, 2, 2000 * MS);
        assert_eq!((estimate.predict(1 << 20), estimate.usual()), (1000 * MS, 1000 * MS));
        assert_eq!(estimate.surely_over(1 << 20, 999 * MS), Some(1000 * MS));
        estimate.learn(1 << 10, 1, 4 * MS);
        assert_eq!(estimate.predict(1 << 10), 4 * MS);
        assert_eq!(estimate.predict(1 << 20), 1000 * MS);
    }

    #[test]
    fn one_hiccup_moves_the_estimate_little_and_a_change_wins_in_the_end() {
        let estimate = Estimate::default();
        estimate.learn(1024, 1, 100 * MS);
        estimate.learn(1024, 1, 60_000 * MS);
        assert!(estimate.predict(1024) < 200 * MS, "{:?}", estimate.predict(1024));
        for _ in 0..30 {
            estimate.learn(1024, 1, 10 * MS);
        }
        assert!(estimate.predict(1024) < 11 * MS, "{:?}", estimate.predict(1024));
    }

    proptest! {
        #[test]
        fn no_measure_leads_to_a_panic(measures: Vec<(u64, u32, u64)>, work: u64) {
            let estimate = Estimate::default();
            for (work, images, nanos) in measures {
                estimate.learn(work, images as usize, Duration::from_nanos(nanos));
            }
            let _ = estimate.surely_over(work, estimate.usual().max(estimate.predict(work)));
        }
    }
}
