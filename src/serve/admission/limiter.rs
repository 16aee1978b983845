//! The bounds on accepted work: requests, seconds of computing, and bytes of decoded images.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::serve::api_error::{ApiError, overloaded_error};
use crate::serve::settings::ServeSettings;

/// The bounds and their current use. Work beyond a bound is refused at once; only permits of
/// decoders and of waiting records are waited for, in the order of arrival.
#[derive(Debug)]
pub(in crate::serve) struct Limiter {
    usage: Mutex<Usage>,
    /// Notified whenever a permit gives something back.
    capacity_freed: Notify,
    decoder_permits: Arc<Semaphore>,
    wait_permits: Arc<Semaphore>,
    limits: Usage,
}

#[derive(Debug, Default, Clone, Copy)]
struct Usage {
    /// Number of images that wait or are being computed.
    requests: usize,
    /// Sum of the times that they are predicted to take.
    compute_time: Duration,
    /// Sum of their decoded sizes, in bytes.
    image_bytes: u64,
}

/// The share of one image in the bounds. The permit travels with the image, also after the client
/// has left, because the image is still computed then.
#[derive(Debug)]
pub(in crate::serve) struct Permit {
    limiter: Arc<Limiter>,
    requests: usize,
    compute_time: Duration,
    image_bytes: u64,
}

impl Limiter {
    pub(in crate::serve) fn new(settings: &ServeSettings) -> Arc<Self> {
        Arc::new(Self {
            usage: Mutex::default(),
            capacity_freed: Notify::new(),
            decoder_permits: Arc::new(Semaphore::new(settings.decoders)),
            wait_permits: Arc::new(Semaphore::new(settings.decoders)),
            limits: Usage {
                requests: settings.queue_depth,
                compute_time: settings.max_wait,
                image_bytes: settings.pixels_bytes,
            },
        })
    }

    /// Refuses a request for which there is no place, before its body is read for nothing.
    pub(in crate::serve) fn check_capacity(&self) -> Result<(), ApiError> {
        let usage = *self.lock_usage();
        if usage.requests >= self.limits.requests {
            Err(overloaded_error("requests").with_retry_after(usage.compute_time))
        } else if usage.compute_time >= self.limits.compute_time {
            Err(overloaded_error("seconds of computing")
                .with_retry_after(usage.compute_time.saturating_sub(self.limits.compute_time)))
        } else {
            Ok(())
        }
    }

    /// Takes a place for a request. Its image is not known yet, so `expected_time` is the average
    /// of earlier requests.
    pub(in crate::serve) fn acquire(
        self: &Arc<Self>,
        expected_time: Duration,
    ) -> Result<Permit, ApiError> {
        let mut usage = self.lock_usage();
        if usage.requests >= self.limits.requests {
            return Err(overloaded_error("requests").with_retry_after(usage.compute_time));
        }
        let compute_time =
            self.add_compute_time(&usage, expected_time, self.limits.compute_time)?;
        usage.requests += 1;
        usage.compute_time = compute_time;
        drop(usage);
        Ok(Permit {
            limiter: Arc::clone(self),
            requests: 1,
            compute_time: expected_time,
            image_bytes: 0,
        })
    }

    /// Returns a permit for one image of a request that holds a place already.
    pub(in crate::serve) fn acquire_for_record(self: &Arc<Self>) -> Permit {
        Permit {
            limiter: Arc::clone(self),
            requests: 0,
            compute_time: Duration::ZERO,
            image_bytes: 0,
        }
    }

    /// Waits for the permit to decode an image.
    pub(in crate::serve) async fn decoder_permit(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        // Acquiring fails only on a closed semaphore, and this one is never closed.
        let permit = Arc::clone(&self.decoder_permits).acquire_owned().await;
        permit.map_err(|_| overloaded_error("images"))
    }

    /// Waits for the permit to hold a decoded image until [`Permit::wait_and_admit`] completes.
    pub(in crate::serve) async fn wait_permit(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let permit = Arc::clone(&self.wait_permits).acquire_owned().await;
        permit.map_err(|_| overloaded_error("images"))
    }

    /// Returns the predicted time of all computing that waits or is done now.
    pub(in crate::serve) fn compute_time(&self) -> Duration {
        self.lock_usage().compute_time
    }

    /// Returns the sum of `usage.compute_time` and `added`, and refuses a sum over `limit`. A
    /// single image is always accepted, however long it takes.
    fn add_compute_time(
        &self,
        usage: &Usage,
        added: Duration,
        limit: Duration,
    ) -> Result<Duration, ApiError> {
        let total = usage.compute_time.saturating_add(added);
        if usage.compute_time.is_zero() || total <= limit {
            return Ok(total);
        }
        Err(overloaded_error("seconds of computing")
            .with_retry_after(total.saturating_sub(self.limits.compute_time)))
    }

    fn lock_usage(&self) -> MutexGuard<'_, Usage> {
        // The lock guards sums only, and each is consistent whenever the lock is free.
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// Replaces the expected compute time with the predicted one, held until
    /// [`Self::release_compute_time`], and adds the bytes of the decoded image, held until the
    /// permit is dropped.
    pub(in crate::serve) fn admit(
        &mut self,
        compute_time: Duration,
        image_bytes: u64,
    ) -> Result<(), ApiError> {
        let limit = self.limiter.limits.compute_time;
        self.admit_within(compute_time, image_bytes, limit)
    }

    /// Waits for room, then does the same as [`Self::admit`]. Uses at most half of the bound on
    /// compute time, so that requests which do not wait find the other half.
    pub(in crate::serve) async fn wait_and_admit(
        &mut self,
        compute_time: Duration,
        image_bytes: u64,
    ) -> Result<(), ApiError> {
        let limiter = Arc::clone(&self.limiter);
        loop {
            let mut freed = std::pin::pin!(limiter.capacity_freed.notified());
            // The waiter is registered before the check, so that it misses no notification in
            // between.
            freed.as_mut().enable();
            if self.admit_within(compute_time, image_bytes, limiter.limits.compute_time / 2).is_ok()
            {
                return Ok(());
            }
            freed.await;
        }
    }

    fn admit_within(
        &mut self,
        compute_time: Duration,
        image_bytes: u64,
        limit: Duration,
    ) -> Result<(), ApiError> {
        let limiter = Arc::clone(&self.limiter);
        let mut usage = limiter.lock_usage();
        let other_usage =
            Usage { compute_time: usage.compute_time.saturating_sub(self.compute_time), ..*usage };
        let total_time = limiter.add_compute_time(&other_usage, compute_time, limit)?;
        let total_bytes = usage.image_bytes.saturating_add(image_bytes);
        if usage.image_bytes > 0 && total_bytes > limiter.limits.image_bytes {
            return Err(overloaded_error("pixels").with_retry_after(other_usage.compute_time / 2));
        }
        (usage.compute_time, usage.image_bytes) = (total_time, total_bytes);
        (self.compute_time, self.image_bytes) = (compute_time, image_bytes);
        Ok(())
    }

    /// Gives the compute time back; the bytes of the image stay counted.
    pub(in crate::serve) fn release_compute_time(&mut self) {
        let compute_time = std::mem::take(&mut self.compute_time);
        let mut usage = self.limiter.lock_usage();
        usage.compute_time = usage.compute_time.saturating_sub(compute_time);
        drop(usage);
        self.limiter.capacity_freed.notify_waiters();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut usage = self.limiter.lock_usage();
        usage.requests = usage.requests.saturating_sub(self.requests);
        usage.compute_time = usage.compute_time.saturating_sub(self.compute_time);
        usage.image_bytes = usage.image_bytes.saturating_sub(self.image_bytes);
        drop(usage);
        self.limiter.capacity_freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn test_limiter() -> Arc<Limiter> {
        Limiter::new(&ServeSettings {
            queue_depth: 3,
            pixels_bytes: 100,
            ..ServeSettings::default()
        })
    }

    fn retry_after(refusal: ApiError) -> u64 {
        use axum::response::IntoResponse;
        let response = refusal.into_response();
        response.headers()["retry-after"].to_str().unwrap().parse().unwrap()
    }

    #[test]
    fn one_alone_is_taken_however_long_and_the_next_is_told_when_to_come_back() {
        let limiter = test_limiter();
        let mut first = limiter.acquire(Duration::ZERO).unwrap();
        first.admit(50 * SECOND, 1000).unwrap();
        assert_eq!(retry_after(limiter.check_capacity().unwrap_err()), 30);
        assert_eq!(retry_after(limiter.acquire(SECOND).unwrap_err()), 31);
        first.release_compute_time();
        limiter.check_capacity().unwrap();
        // The permit still holds the bytes of its image.
        assert!(limiter.acquire(SECOND).unwrap().admit(SECOND, 1).is_err());
        drop(first);
        limiter.acquire(SECOND).unwrap().admit(SECOND, 1).unwrap();
        assert_eq!(limiter.compute_time(), Duration::ZERO);
    }

    #[test]
    fn what_was_expected_is_exchanged_for_what_is_known() {
        let limiter = test_limiter();
        let mut first = limiter.acquire(8 * SECOND).unwrap();
        let mut second = limiter.acquire(8 * SECOND).unwrap();
        assert!(limiter.acquire(8 * SECOND).is_err());
        first.admit(SECOND, 10).unwrap();
        assert_eq!(limiter.compute_time(), 9 * SECOND);
        assert!(second.admit(20 * SECOND, 10).is_err());
        assert_eq!(limiter.compute_time(), 9 * SECOND);
        second.admit(19 * SECOND, 10).unwrap();
        assert_eq!(limiter.compute_time(), 20 * SECOND);
    }

    #[test]
    fn places_are_as_many_as_set() {
        let limiter = test_limiter();
        let permits: Vec<_> = (0..3).map(|_| limiter.acquire(Duration::ZERO).unwrap()).collect();
        assert!(limiter.acquire(Duration::ZERO).is_err() && limiter.check_capacity().is_err());
        drop(permits);
        limiter.check_capacity().unwrap();
    }

    #[tokio::test]
    async fn who_waits_for_room_gets_it_and_leaves_half_of_the_queue_to_others() {
        let limiter = test_limiter();
        let mut first = limiter.acquire(Duration::ZERO).unwrap();
        first.admit(6 * SECOND, 10).unwrap();
        let mut waits = limiter.acquire_for_record();
        let mut waiting = std::pin::pin!(waits.wait_and_admit(6 * SECOND, 10));
        let once = std::future::poll_fn(|cx| std::task::Poll::Ready(waiting.as_mut().poll(cx)));
        assert!(once.await.is_pending());
        limiter.acquire(6 * SECOND).unwrap();
        first.release_compute_time();
        waiting.await.unwrap();
    }
}
