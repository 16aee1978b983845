//! How long an image will take, from how long images have taken.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Classes of size, by powers of two of the pixels computed.
const SIZE_CLASSES: usize = 48;
/// How much of a new measure goes into the moving average.
const SMOOTHING: f64 = 0.3;
/// A measure may be so many times the average at most: one hiccup of the machine is not the model's.
const MAX_OUTLIER_RATIO: f64 = 4.0;
/// As long as nothing but the first trial was measured, on an image of another size and on a machine that is still busy
/// with starting, a request must be so many times too long to be refused.
const WARM_UP_TOLERANCE: u32 = 4;

/// The seconds per pixel of one model, by size: small images leave cores idle, and large ones leave the caches.
#[derive(Debug)]
pub(super) struct TimeEstimate(Mutex<Measurements>);

#[derive(Debug)]
struct Measurements {
    seconds_per_pixel: [Option<f64>; SIZE_CLASSES],
    /// Whether the rates come from requests.
    from_requests: bool,
    /// Seconds of the average request.
    average_seconds: f64,
}

impl Default for TimeEstimate {
    fn default() -> Self {
        Self(Mutex::new(Measurements {
            seconds_per_pixel: [None; SIZE_CLASSES],
            from_requests: false,
            average_seconds: 0.0,
        }))
    }
}

impl TimeEstimate {
    /// How long `work` pixels will take. Nothing is known at first, and that is told as no time at all.
    pub(super) fn predict(&self, work_pixels: u64) -> Duration {
        self.lock_measurements().predict(work_pixels)
    }

    /// How long the next request will take, of which nothing is known.
    pub(super) fn average(&self) -> Duration {
        duration_from_secs(self.lock_measurements().average_seconds)
    }

    /// Whether `work` pixels will surely take longer than `most`: then how long.
    pub(super) fn predict_if_over(&self, work_pixels: u64, max_time: Duration) -> Option<Duration> {
        let measurements = self.lock_measurements();
        let predicted = measurements.predict(work_pixels);
        let tolerance = if measurements.from_requests { 1 } else { WARM_UP_TOLERANCE };
        (predicted > max_time.saturating_mul(tolerance)).then_some(predicted)
    }

    /// An image of `work` pixels took so long in the trial of a new model.
    pub(super) fn record_warm_up(&self, work_pixels: u64, elapsed: Duration) {
        self.lock_measurements().seconds_per_pixel[size_class(work_pixels)] =
            Some(elapsed.as_secs_f64() / work_pixels.max(1) as f64);
    }

    /// Whether measures of requests are known.
    pub(super) fn is_from_requests(&self) -> bool {
        self.lock_measurements().from_requests
    }

    /// `images` of `work` pixels each took so long together.
    pub(super) fn update(&self, work_pixels: u64, image_count: usize, elapsed: Duration) {
        let seconds_per_image = elapsed.as_secs_f64() / image_count.max(1) as f64;
        let seconds_per_pixel = seconds_per_image / work_pixels.max(1) as f64;
        let mut measurements = self.lock_measurements();
        if !measurements.from_requests {
            // The trial has served; its size comes back when requests of it come.
            measurements.seconds_per_pixel = [None; SIZE_CLASSES];
            measurements.from_requests = true;
            measurements.average_seconds = seconds_per_image;
        }
        let class_average = &mut measurements.seconds_per_pixel[size_class(work_pixels)];
        *class_average = Some(class_average.map_or(seconds_per_pixel, |average| {
            average + SMOOTHING * (seconds_per_pixel.min(average * MAX_OUTLIER_RATIO) - average)
        }));
        measurements.average_seconds +=
            SMOOTHING * (seconds_per_image - measurements.average_seconds);
    }

    fn lock_measurements(&self) -> MutexGuard<'_, Measurements> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Measurements {
    /// By the nearest class that was measured; of two, the larger one.
    fn predict(&self, work_pixels: u64) -> Duration {
        let class = size_class(work_pixels);
        let rate_at_distance = |distance: usize| {
            let above = self.seconds_per_pixel.get(class + distance).copied().flatten();
            above.or_else(|| {
                class.checked_sub(distance).and_then(|below| self.seconds_per_pixel[below])
            })
        };
        let seconds_per_pixel = (0..SIZE_CLASSES).find_map(rate_at_distance).unwrap_or(0.0);
        duration_from_secs(seconds_per_pixel * work_pixels as f64)
    }
}

fn size_class(work_pixels: u64) -> usize {
    (work_pixels.max(1).ilog2() as usize).min(SIZE_CLASSES - 1)
}

fn duration_from_secs(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn requests_replace_the_trial_and_sizes_are_kept_apart() {
        let estimate = TimeEstimate::default();
        assert_eq!(estimate.predict(1 << 20), Duration::ZERO);
        estimate.record_warm_up(1 << 10, 10 * MS);
        assert_eq!(estimate.predict(1 << 20), 10 * 1024 * MS);
        assert_eq!(estimate.predict_if_over(1 << 20, 3000 * MS), None);
        estimate.update(1 << 20, 2, 2000 * MS);
        assert_eq!((estimate.predict(1 << 20), estimate.average()), (1000 * MS, 1000 * MS));
        assert_eq!(estimate.predict_if_over(1 << 20, 999 * MS), Some(1000 * MS));
        estimate.update(1 << 10, 1, 4 * MS);
        assert_eq!(estimate.predict(1 << 10), 4 * MS);
        assert_eq!(estimate.predict(1 << 20), 1000 * MS);
    }

    #[test]
    fn one_hiccup_moves_the_estimate_little_and_a_change_wins_in_the_end() {
        let estimate = TimeEstimate::default();
        estimate.update(1024, 1, 100 * MS);
        estimate.update(1024, 1, 60_000 * MS);
        assert!(estimate.predict(1024) < 200 * MS, "{:?}", estimate.predict(1024));
        for _ in 0..30 {
            estimate.update(1024, 1, 10 * MS);
        }
        assert!(estimate.predict(1024) < 11 * MS, "{:?}", estimate.predict(1024));
    }

    proptest! {
        #[test]
        fn no_measure_leads_to_a_panic(measures: Vec<(u64, u32, u64)>, work: u64) {
            let estimate = TimeEstimate::default();
            for (work, images, nanos) in measures {
                estimate.update(work, images as usize, Duration::from_nanos(nanos));
            }
            let _ = estimate.predict_if_over(work, estimate.average().max(estimate.predict(work)));
        }
    }
}
