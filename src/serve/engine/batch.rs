//! Making a batch, and computing it.

use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use image::RgbImage;

use super::{CompletedJob, ComputeWorker, Job, JobError, Message, catch_panic};
use crate::error::{Error, Result};
use crate::inference::{Segment, SegmentOptions, Segmentation};

/// A batch waits for others for a part of the time that it takes itself: what saves a quarter at best is not worth more.
const WAIT_DIVISOR: u32 = 4;

impl ComputeWorker {
    /// The jobs to be computed now, if there are any.
    ///
    /// Waits for more of their kind only while some are on their way; so a client that is alone never waits, and
    /// neither do jobs of another kind.
    pub(super) fn next_batch(&mut self) -> Option<Vec<Job>> {
        let mut batch = self.pending.take_batch(self.max_batch, self.batch_time);
        let first = batch.first()?;
        let max_wait = self.batch_wait.min(first.predict_time(1) / WAIT_DIVISOR);
        let deadline = Instant::now() + max_wait;
        while self.pending.is_empty() && self.commands.is_empty() && self.has_room(&batch) {
            if !batch[0].model.expects_images() {
                break;
            }
            let remaining = deadline.saturating_duration_since(Instant::now());
            match self.messages.recv_timeout(remaining) {
                Ok(Message::Job(job)) if job.can_batch_with(&batch[0]) => batch.push(job),
                Ok(message) => self.handle_message(message),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        batch.retain(|job| !job.responder.is_disconnected());
        Some(batch)
    }

    fn has_room(&self, batch: &[Job]) -> bool {
        batch.len() < self.max_batch && batch[0].predict_time(batch.len() + 1) <= self.batch_time
    }

    /// Computes jobs of one kind together. When that fails, each is computed alone, so that one image does not spoil
    /// the answers of others.
    pub(super) fn compute_batch(&mut self, batch: Vec<Job>) {
        let Some(first) = batch.first() else { return };
        let Some(engine) = self.engines.get_mut(&first.model.id) else {
            for job in batch {
                finish_job(job, Err(JobError::Unloaded), Instant::now(), Duration::ZERO, 1);
            }
            return;
        };
        let started = Instant::now();
        let images: Vec<&RgbImage> = batch.iter().map(|job| &job.image).collect();
        let outcome = segment_images(engine.as_mut(), &images, &first.options);
        let (batch_time, batch_size) = (started.elapsed(), batch.len());
        match outcome {
            Ok(segmentations) => {
                first.model.time_estimate.update(first.work_pixels, batch_size, batch_time);
                for (job, segmentation) in batch.into_iter().zip(segmentations) {
                    finish_job(job, Ok(segmentation), started, batch_time, batch_size);
                }
            }
            Err(error) if batch_size == 1 => {
                for job in batch {
                    finish_job(
                        job,
                        Err(JobError::Inference(error.clone())),
                        started,
                        batch_time,
                        1,
                    );
                }
            }
            Err(_) => batch.into_iter().for_each(|job| self.compute_batch(vec![job])),
        }
    }
}

/// Asks a network about images; a panic is an error, and so is an answer that does not fit the question.
pub(super) fn segment_images(
    engine: &mut dyn Segment,
    images: &[&RgbImage],
    options: &SegmentOptions,
) -> Result<Vec<Segmentation>> {
    // An engine keeps no half-done work between images, so that one after a panic is safe.
    let segmentations = catch_panic("the model", || engine.segment(images, options))?;
    let matches_images = segmentations.len() == images.len()
        && segmentations
            .iter()
            .zip(images)
            .all(|(a, image)| a.ids.dimensions() == image.dimensions());
    if matches_images {
        Ok(segmentations)
    } else {
        Err(Error::internal("the model answers other images than asked"))
    }
}

fn finish_job(
    job: Job,
    outcome: Result<Segmentation, JobError>,
    started: Instant,
    batch_time: Duration,
    batch_size: usize,
) {
    let Job { image, mut permit, sent_at, responder, .. } = job;
    permit.release_compute_time();
    let queue_time = started.saturating_duration_since(sent_at);
    let completed = CompletedJob { image, permit, outcome, queue_time, batch_time, batch_size };
    // Whatever happens to one answer, the thread goes on to the next.
    let _ = catch_panic("answering", || {
        responder.respond(completed);
        Ok(())
    });
}
