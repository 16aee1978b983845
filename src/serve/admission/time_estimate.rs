//! The prediction of an image's compute time from the times of earlier images.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Number of size classes. Class k holds images of 2^k to 2^(k+1) - 1 computed pixels.
const SIZE_CLASSES: usize = 48;
/// Weight of a new measurement in the moving average.
const SMOOTHING: f64 = 0.3;
/// Largest ratio of a measurement to the average, so that a single hiccup of the machine moves the
/// average little.
const MAX_OUTLIER_RATIO: f64 = 4.0;
/// Factor by which a prediction must exceed the limit to refuse a request while only the warm-up
/// was measured: the warm-up used another image size, on a machine that was still busy with
/// starting.
const WARM_UP_TOLERANCE: u32 = 4;

/// The seconds per pixel of one model by size class. Small images leave cores idle, and large ones
/// do not fit into the caches, so the rate depends on the size.
#[derive(Debug)]
pub(in crate::serve) struct TimeEstimate(Mutex<Measurements>);

#[derive(Debug)]
struct Measurements {
    seconds_per_pixel: [Option<f64>; SIZE_CLASSES],
    /// True if the rates come from requests, false if they come from the warm-up.
    from_requests: bool,
    /// Moving average of the time per image, in seconds.
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
    /// Predicts the time to compute `work_pixels` pixels; zero before the first measurement.
    pub(in crate::serve) fn predict(&self, work_pixels: u64) -> Duration {
        self.lock_measurements().predict(work_pixels)
    }

    /// Returns the average time of an image, which is the prediction for a request of unknown size.
    pub(in crate::serve) fn average(&self) -> Duration {
        duration_from_secs(self.lock_measurements().average_seconds)
    }

    /// Returns the predicted time if it surely exceeds `max_time`.
    pub(in crate::serve) fn predict_if_over(
        &self,
        work_pixels: u64,
        max_time: Duration,
    ) -> Option<Duration> {
        let measurements = self.lock_measurements();
        let predicted = measurements.predict(work_pixels);
        let tolerance = if measurements.from_requests { 1 } else { WARM_UP_TOLERANCE };
        (predicted > max_time.saturating_mul(tolerance)).then_some(predicted)
    }

    /// Records that the warm-up of a new model computed an image of `work_pixels` in `elapsed`.
    pub(in crate::serve) fn record_warm_up(&self, work_pixels: u64, elapsed: Duration) {
        self.lock_measurements().seconds_per_pixel[size_class(work_pixels)] =
            Some(elapsed.as_secs_f64() / work_pixels.max(1) as f64);
    }

    /// Returns true if at least one request was measured.
    pub(in crate::serve) fn is_from_requests(&self) -> bool {
        self.lock_measurements().from_requests
    }

    /// Records that `image_count` images of `work_pixels` each took `elapsed` together.
    pub(in crate::serve) fn update(&self, work_pixels: u64, image_count: usize, elapsed: Duration) {
        let seconds_per_image = elapsed.as_secs_f64() / image_count.max(1) as f64;
        let seconds_per_pixel = seconds_per_image / work_pixels.max(1) as f64;
        let mut measurements = self.lock_measurements();
        if !measurements.from_requests {
            // Requests replace the rate of the warm-up.
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
    /// Predicts by the rate of the nearest measured class; of two at the same distance, by the
    /// larger.
    fn predict(&self, work_pixels: u64) -> Duration {
        let class = size_class(work_pixels);
        let rates = &self.seconds_per_pixel;
        for distance in 0..SIZE_CLASSES {
            let above = rates.get(class + distance).copied().flatten();
            let below = class.checked_sub(distance).and_then(|below| rates[below]);
            if let Some(seconds_per_pixel) = above.or(below) {
                return duration_from_secs(seconds_per_pixel * work_pixels as f64);
            }
        }
        Duration::ZERO
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
