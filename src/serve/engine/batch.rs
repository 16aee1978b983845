//! Making a batch, and computing it.

use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use image::RgbImage;

use super::{Computed, Failure, Job, Message, Thread, contained};
use crate::error::{Error, Result};
use crate::inference::{Ask, Segment, Segmentation};

/// A batch waits for others for a part of the time that it takes itself: what saves a quarter at best is not worth more.
const WAIT_SHARE: u32 = 4;

impl Thread {
    /// The jobs to be computed now, if there are any.
    ///
    /// Waits for more of their kind only while some are on their way; so a client that is alone never waits, and
    /// neither do jobs of another kind.
    pub(super) fn next_batch(&mut self) -> Option<Vec<Job>> {
        let mut batch = self.pending.take(self.max_batch, self.batch_time);
        let lead = batch.first()?;
        let wait = self.batch_wait.min(lead.time_of(1) / WAIT_SHARE);
        let until = Instant::now() + wait;
        while self.pending.is_empty() && self.errands.is_empty() && self.has_room(&batch) {
            if !batch[0].model.expects_more() {
                break;
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.messages.recv_timeout(left) {
                Ok(Message::Job(job)) if job.is_like(&batch[0]) => batch.push(job),
                Ok(other) => self.take(other),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        batch.retain(|job| !job.client.has_left());
        Some(batch)
    }

    fn has_room(&self, batch: &[Job]) -> bool {
        batch.len() < self.max_batch && batch[0].time_of(batch.len() + 1) <= self.batch_time
    }

    /// Computes jobs of one kind together. When that fails, each is computed alone, so that one image does not spoil
    /// the answers of others.
    pub(super) fn compute(&mut self, batch: Vec<Job>) {
        let Some(first) = batch.first() else { return };
        let Some(engine) = self.engines.get_mut(&first.model.id) else {
            for job in batch {
                finish(job, Err(Failure::Unloaded), Instant::now(), Duration::ZERO, 1);
            }
            return;
        };
        let begun = Instant::now();
        let images: Vec<&RgbImage> = batch.iter().map(|job| &job.image).collect();
        let outcome = segment(engine.as_mut(), &images, &first.ask);
        let (took, count) = (begun.elapsed(), batch.len());
        match outcome {
            Ok(answers) => {
                first.model.estimate.learn(first.work, count, took);
                for (job, answer) in batch.into_iter().zip(answers) {
                    finish(job, Ok(answer), begun, took, count);
                }
            }
            Err(error) if count == 1 => {
                for job in batch {
                    finish(job, Err(Failure::Failed(error.clone())), begun, took, 1);
                }
            }
            Err(_) => batch.into_iter().for_each(|job| self.compute(vec![job])),
        }
    }
}

/// Asks a network about images; a panic is an error, and so is an answer that does not fit the question.
pub(super) fn segment(
    engine: &mut dyn Segment,
    images: &[&RgbImage],
    ask: &Ask,
) -> Result<Vec<Segmentation>> {
    // An engine keeps no half-done work between images, so that one after a panic is safe.
    let answers = contained("the model", || engine.segment(images, ask))?;
    let fits = answers.len() == images.len()
        && answers.iter().zip(images).all(|(a, image)| a.ids.dimensions() == image.dimensions());
    if fits {
        Ok(answers)
    } else {
        Err(Error::internal("the model answers other images than asked"))
    }
}

fn finish(
    job: Job,
    outcome: Result<Segmentation, Failure>,
    begun: Instant,
    took: Duration,
    batch: usize,
) {
    let Job { image, mut ticket, sent, client, .. } = job;
    ticket.computed();
    let queued = begun.saturating_duration_since(sent);
    let computed = Computed { image, ticket, outcome, queued, took, batch };
    // Whatever happens to one answer, the thread goes on to the next.
    let _ = contained("answering", || {
        client.answer(computed);
        Ok(())
    });
}
