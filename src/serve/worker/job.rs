//! One image on its way through the compute thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use image::RgbImage;

use super::panic::catch_panic;
use crate::error::Error;
use crate::inference::{SegmentOptions, Segmentation};
use crate::serve::admission::limiter::Permit;
use crate::serve::registry::model::Model;

/// One image to be computed.
pub(in crate::serve) struct Job {
    pub(in crate::serve) model: Arc<Model>,
    pub(in crate::serve) image: RgbImage,
    pub(in crate::serve) options: SegmentOptions,
    /// Pixels that the network will compute, over all its passes.
    pub(in crate::serve) work_pixels: u64,
    pub(in crate::serve) permit: Permit,
    pub(in crate::serve) sent_at: Instant,
    pub(in crate::serve) responder: Box<dyn Responder>,
}

/// The receiver of a job's answer.
pub(in crate::serve) trait Responder: Send {
    /// Returns true if the client has left.
    fn is_disconnected(&self) -> bool;

    /// Takes the answer. Runs on the compute thread, so it must not take long.
    fn respond(self: Box<Self>, job: CompletedJob);
}

/// A job that is done.
pub(in crate::serve) struct CompletedJob {
    pub(in crate::serve) image: RgbImage,
    pub(in crate::serve) permit: Permit,
    pub(in crate::serve) outcome: Result<Segmentation, JobError>,
    /// Time from sending the job to the start of its batch.
    pub(in crate::serve) queue_time: Duration,
    /// Time to compute the whole batch.
    pub(in crate::serve) batch_time: Duration,
    /// Images in the batch.
    pub(in crate::serve) batch_size: usize,
}

/// The reason why a job has no answer.
#[derive(Debug)]
pub(in crate::serve) enum JobError {
    /// The model was unloaded before the job's turn.
    Unloaded,
    /// The network failed on this image.
    Inference(Error),
}

/// When a batch was computed, for how long, and with how many images.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchRun {
    pub(super) started: Instant,
    pub(super) time: Duration,
    pub(super) size: usize,
}

impl Job {
    /// Returns true if both jobs can be computed in one batch.
    pub(super) fn can_batch_with(&self, other: &Self) -> bool {
        self.model.id == other.model.id
            && self.image.dimensions() == other.image.dimensions()
            && self.options == other.options
    }

    /// Predicts the time to compute `count` jobs like this one together.
    pub(super) fn predict_time(&self, count: usize) -> Duration {
        let per_image = self.model.time_estimate.predict(self.work_pixels);
        per_image.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// Hands the outcome to the responder.
    pub(super) fn finish(self, outcome: Result<Segmentation, JobError>, run: BatchRun) {
        let Self { image, mut permit, sent_at, responder, .. } = self;
        permit.release_compute_time();
        let completed = CompletedJob {
            image,
            permit,
            outcome,
            queue_time: run.started.saturating_duration_since(sent_at),
            batch_time: run.time,
            batch_size: run.size,
        };
        // A panic of one responder must not end the thread.
        let _ = catch_panic("answering", || {
            responder.respond(completed);
            Ok(())
        });
    }
}
