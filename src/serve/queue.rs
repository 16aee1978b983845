//! How much is taken on at once: bodies' bytes, requests, the seconds that their computing will take, and pixels in
//! memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::reply::{ErrorType, Refusal};
use super::settings::Settings;

/// The bounds and what is held of them. Whatever goes beyond is refused at once; only turns to be decoded are waited for,
/// in the order of arrival.
#[derive(Debug)]
pub(super) struct Queue {
    held: Mutex<Held>,
    /// Told whenever something was given back.
    room: Notify,
    decoders: Arc<Semaphore>,
    patient: Arc<Semaphore>,
    most: Held,
}

#[derive(Debug, Default, Clone, Copy)]
struct Held {
    bodies: usize,
    requests: usize,
    work: Duration,
    pixels: u64,
}

/// Travels with the work of one image, also when the client has left and nobody waits for it any more: what is still
/// being computed still counts.
#[derive(Debug)]
pub(super) struct Ticket {
    queue: Arc<Queue>,
    requests: usize,
    work: Duration,
    pixels: u64,
}

/// The bytes of one body, counted against the bound while they are held.
#[derive(Debug)]
pub(super) struct Budget {
    queue: Arc<Queue>,
    bytes: usize,
}

impl Queue {
    pub(super) fn new(settings: &Settings) -> Arc<Self> {
        Arc::new(Self {
            held: Mutex::default(),
            room: Notify::new(),
            decoders: Arc::new(Semaphore::new(settings.decoders)),
            patient: Arc::new(Semaphore::new(settings.decoders)),
            most: Held {
                bodies: settings.bodies_bytes,
                requests: settings.queue_depth,
                work: settings.max_wait,
                pixels: settings.pixels_bytes,
            },
        })
    }

    /// Refuses when there is no place, before a body is read for nothing.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        let held = *self.held();
        if held.requests >= self.most.requests {
            Err(overloaded("requests").after(held.work))
        } else if held.work >= self.most.work {
            Err(overloaded("seconds of computing").after(held.work.saturating_sub(self.most.work)))
        } else {
            Ok(())
        }
    }

    /// A place for a request of which it is known only how long such requests take on average.
    pub(super) fn enter(self: &Arc<Self>, expected: Duration) -> Result<Ticket, Refusal> {
        let mut held = self.held();
        if held.requests >= self.most.requests {
            return Err(overloaded("requests").after(held.work));
        }
        let work = self.fits_work(&held, expected, self.most.work)?;
        held.requests += 1;
        held.work = work;
        drop(held);
        Ok(Ticket { queue: Arc::clone(self), requests: 1, work: expected, pixels: 0 })
    }

    /// A place for an image of a request that has its own already.
    pub(super) fn enter_within(self: &Arc<Self>) -> Ticket {
        Ticket { queue: Arc::clone(self), requests: 0, work: Duration::ZERO, pixels: 0 }
    }

    /// The turn to decode.
    pub(super) async fn decoder(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        // Fails only on a closed semaphore, and nobody closes it.
        let turn = Arc::clone(&self.decoders).acquire_owned().await;
        turn.map_err(|_| overloaded("images"))
    }

    /// The turn to hold a decoded image that waits for room, see [`Ticket::admit_patiently`].
    pub(super) async fn patience(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let turn = Arc::clone(&self.patient).acquire_owned().await;
        turn.map_err(|_| overloaded("images"))
    }

    /// A budget of no bytes yet, for a body that begins to arrive.
    pub(super) fn budget(self: &Arc<Self>) -> Budget {
        Budget { queue: Arc::clone(self), bytes: 0 }
    }

    /// The computing that waits or is done now.
    pub(super) fn work(&self) -> Duration {
        self.held().work
    }

    /// `held.work` with `more`, unless that is over `most`; one alone is always taken.
    fn fits_work(&self, held: &Held, more: Duration, most: Duration) -> Result<Duration, Refusal> {
        let all = held.work.saturating_add(more);
        if held.work.is_zero() || all <= most {
            return Ok(all);
        }
        Err(overloaded("seconds of computing").after(all.saturating_sub(self.most.work)))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Only sums are kept under this lock; each is whole whenever it is open.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// Exchanges what was expected for what is known now: `work` until [`Self::computed`], `pixels` bytes until the end.
    pub(super) fn admit(&mut self, work: Duration, pixels: u64) -> Result<(), Refusal> {
        let most = self.queue.most.work;
        self.admit_to(work, pixels, most)
    }

    /// As [`Self::admit`], but waits for room; and leaves the other half of the queue to those who do not wait.
    pub(super) async fn admit_patiently(
        &mut self,
        work: Duration,
        pixels: u64,
    ) -> Result<(), Refusal> {
        let queue = Arc::clone(&self.queue);
        loop {
            let mut room = std::pin::pin!(queue.room.notified());
            // Before looking, so that nothing given back in between is missed.
            room.as_mut().enable();
            if self.admit_to(work, pixels, queue.most.work / 2).is_ok() {
                return Ok(());
            }
            room.await;
        }
    }

    fn admit_to(&mut self, work: Duration, pixels: u64, most: Duration) -> Result<(), Refusal> {
        let queue = Arc::clone(&self.queue);
        let mut held = queue.held();
        let others = Held { work: held.work.saturating_sub(self.work), ..*held };
        let all = queue.fits_work(&others, work, most)?;
        let bytes = held.pixels.saturating_add(pixels);
        if held.pixels > 0 && bytes > queue.most.pixels {
            return Err(overloaded("pixels").after(others.work / 2));
        }
        (held.work, held.pixels) = (all, bytes);
        (self.work, self.pixels) = (work, pixels);
        Ok(())
    }

    /// Gives the time back; the image stays.
    pub(super) fn computed(&mut self) {
        let work = std::mem::take(&mut self.work);
        let mut held = self.queue.held();
        held.work = held.work.saturating_sub(work);
        drop(held);
        self.queue.room.notify_waiters();
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut held = self.queue.held();
        held.requests = held.requests.saturating_sub(self.requests);
        held.work = held.work.saturating_sub(self.work);
        held.pixels = held.pixels.saturating_sub(self.pixels);
        drop(held);
        self.queue.room.notify_waiters();
    }
}

impl Budget {
    /// Counts `more` bytes to this body.
    pub(super) fn grow(&mut self, more: usize) -> Result<(), Refusal> {
        let mut held = self.queue.held();
        let all = held.bodies.saturating_add(more);
        if all > self.queue.most.bodies {
            return Err(overloaded("bytes"));
        }
        held.bodies = all;
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        let mut held = self.queue.held();
        held.bodies = held.bodies.saturating_sub(self.bytes);
    }
}

/// The refusal of what is more than may wait.
pub(super) fn overloaded(what: &str) -> Refusal {
    Refusal::new(
        ErrorType::Overloaded,
        format!(
            "as many {what} wait as may wait; send this again after the seconds in Retry-After, or serve from more \
             instances"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn queue() -> Arc<Queue> {
        Queue::new(&Settings { queue_depth: 3, pixels_bytes: 100, ..Settings::default() })
    }

    fn retry_after(refusal: Refusal) -> u64 {
        use axum::response::IntoResponse;
        let response = refusal.into_response();
        response.headers()["retry-after"].to_str().unwrap().parse().unwrap()
    }

    #[test]
    fn one_alone_is_taken_however_long_and_the_next_is_told_when_to_come_back() {
        let queue = queue();
        let mut first = queue.enter(Duration::ZERO).unwrap();
        first.admit(50 * SECOND, 1000).unwrap();
        assert_eq!(retry_after(queue.check().unwrap_err()), 30);
        assert_eq!(retry_after(queue.enter(SECOND).unwrap_err()), 31);
        first.computed();
        queue.check().unwrap();
        // Its pixels are still there.
        assert!(queue.enter(SECOND).unwrap().admit(SECOND, 1).is_err());
        drop(first);
        queue.enter(SECOND).unwrap().admit(SECOND, 1).unwrap();
        assert_eq!(queue.work(), Duration::ZERO);
    }

    #[test]
    fn what_was_expected_is_exchanged_for_what_is_known() {
        let queue = queue();
        let mut first = queue.enter(8 * SECOND).unwrap();
        let mut second = queue.enter(8 * SECOND).unwrap();
        assert!(queue.enter(8 * SECOND).is_err());
        first.admit(SECOND, 10).unwrap();
        assert_eq!(queue.work(), 9 * SECOND);
        assert!(second.admit(20 * SECOND, 10).is_err());
        assert_eq!(queue.work(), 9 * SECOND);
        second.admit(19 * SECOND, 10).unwrap();
        assert_eq!(queue.work(), 20 * SECOND);
    }

    #[test]
    fn places_are_as_many_as_set() {
        let queue = queue();
        let all: Vec<_> = (0..3).map(|_| queue.enter(Duration::ZERO).unwrap()).collect();
        assert!(queue.enter(Duration::ZERO).is_err() && queue.check().is_err());
        drop(all);
        queue.check().unwrap();
    }

    #[tokio::test]
    async fn who_waits_for_room_gets_it_and_leaves_half_of_the_queue_to_others() {
        let queue = queue();
        let mut first = queue.enter(Duration::ZERO).unwrap();
        first.admit(6 * SECOND, 10).unwrap();
        let mut waits = queue.enter_within();
        let mut waiting = std::pin::pin!(waits.admit_patiently(6 * SECOND, 10));
        let once = std::future::poll_fn(|cx| std::task::Poll::Ready(waiting.as_mut().poll(cx)));
        assert!(once.await.is_pending());
        queue.enter(6 * SECOND).unwrap();
        first.computed();
        waiting.await.unwrap();
    }

    #[test]
    fn bodies_are_counted_until_they_are_gone() {
        let queue = Queue::new(&Settings { bodies_bytes: 10, ..Settings::default() });
        let (mut one, mut two) = (queue.budget(), queue.budget());
        one.grow(6).unwrap();
        assert!(two.grow(5).is_err());
        two.grow(4).unwrap();
        drop(one);
        two.grow(6).unwrap();
    }
}
