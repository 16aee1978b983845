//! How much is taken on at once: counters of bodies' bytes, of requests, and of images in memory.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::reply::{ErrorType, Refusal};
use super::settings::{BODIES_HELD, Settings};

/// The three bounds. Requests beyond `slots` and bytes beyond `bytes` are refused at once; turns
/// to be decoded are waited for, in the order of arrival.
#[derive(Debug)]
pub(super) struct Queue {
    bytes: Arc<Semaphore>,
    slots: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

/// Travels with the work, also when the client has left and nobody waits for it any more: what is
/// still being computed still counts.
#[derive(Debug)]
pub(super) struct Ticket {
    _slot: OwnedSemaphorePermit,
    _turn: OwnedSemaphorePermit,
}

/// The bytes of one body, counted against the bound while they are held.
#[derive(Debug)]
pub(super) struct Budget(OwnedSemaphorePermit);

impl Queue {
    pub(super) fn new(settings: &Settings) -> Self {
        let of = |permits| Arc::new(Semaphore::new(permits));
        Self {
            bytes: of(settings.max_body_bytes.saturating_mul(BODIES_HELD)),
            slots: of(settings.queue_depth),
            turns: of(settings.decoded_images),
        }
    }

    /// Refuses when there is no place, before a body is read for nothing.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        if self.slots.available_permits() == 0 { Err(overloaded("requests")) } else { Ok(()) }
    }

    /// A place in the queue, or a refusal at once; then waits for the turn to hold pixels.
    pub(super) async fn enter(&self) -> Result<Ticket, Refusal> {
        let slot = Arc::clone(&self.slots).try_acquire_owned();
        let slot = slot.map_err(|_| overloaded("requests"))?;
        // Fails only on a closed semaphore, and nobody closes it.
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.map_err(|_| overloaded("requests"))?;
        Ok(Ticket { _slot: slot, _turn: turn })
    }

    /// A budget of no bytes yet, for a body that begins to arrive.
    pub(super) fn budget(&self) -> Result<Budget, Refusal> {
        let none = Arc::clone(&self.bytes).try_acquire_many_owned(0);
        none.map(Budget).map_err(|_| overloaded("bytes"))
    }
}

impl Budget {
    /// Counts `more` bytes to this body.
    pub(super) fn grow(&mut self, more: usize) -> Result<(), Refusal> {
        let more = u32::try_from(more).map_err(|_| overloaded("bytes"))?;
        let permit = Arc::clone(self.0.semaphore()).try_acquire_many_owned(more);
        self.0.merge(permit.map_err(|_| overloaded("bytes"))?);
        Ok(())
    }
}

fn overloaded(what: &str) -> Refusal {
    Refusal::new(
        ErrorType::Overloaded,
        format!(
            "as many {what} wait as may wait; send this again after the seconds in Retry-After, \
             or serve from more instances"
        ),
    )
}
