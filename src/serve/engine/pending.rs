//! Jobs that wait, and which are computed together.

use std::collections::VecDeque;
use std::time::Duration;

use super::Job;

/// Jobs in the order of arrival.
#[derive(Default)]
pub(super) struct PendingJobs {
    jobs: VecDeque<Job>,
    /// The model that had the last turn.
    last_model: Option<u64>,
}

impl Job {
    /// Whether the two can be computed together.
    pub(super) fn can_batch_with(&self, other: &Self) -> bool {
        self.model.id == other.model.id
            && self.image.dimensions() == other.image.dimensions()
            && self.options == other.options
    }

    /// How long `count` jobs like this one will take together.
    pub(super) fn predict_time(&self, count: usize) -> Duration {
        let per_image = self.model.time_estimate.predict(self.work_pixels);
        per_image.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX))
    }
}

impl PendingJobs {
    pub(super) fn push(&mut self, job: Job) {
        self.jobs.push_back(job);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Whether a job waits for this model.
    pub(super) fn has_jobs_for(&self, model_id: u64) -> bool {
        self.jobs.iter().any(|job| job.model.id == model_id)
    }

    /// Drops the jobs that nobody waits for any more.
    pub(super) fn drop_abandoned(&mut self) {
        self.jobs.retain(|job| !job.responder.is_disconnected());
    }

    /// The job whose turn it is, and up to `most` - 1 others that go with it within `time`. Models take turns, so that
    /// one with many jobs does not keep the others' clients waiting for all of them.
    pub(super) fn take_batch(&mut self, max_batch: usize, batch_time: Duration) -> Vec<Job> {
        let next_index = self.jobs.iter().position(|job| Some(job.model.id) != self.last_model);
        let Some(first) = self.jobs.remove(next_index.unwrap_or(0)) else { return Vec::new() };
        self.last_model = Some(first.model.id);
        let mut batch = vec![first];
        let mut index = 0;
        while index < self.jobs.len() && batch.len() < max_batch {
            if batch[0].predict_time(batch.len() + 1) > batch_time {
                break;
            }
            if batch[0].can_batch_with(&self.jobs[index]) {
                batch.extend(self.jobs.remove(index));
            } else {
                index += 1;
            }
        }
        batch
    }
}
