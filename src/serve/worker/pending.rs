//! The jobs that wait, and the choice of jobs for the next batch.

use std::collections::VecDeque;
use std::time::Duration;

use super::job::Job;

/// The waiting jobs in the order of arrival.
#[derive(Default)]
pub(super) struct PendingJobs {
    jobs: VecDeque<Job>,
    /// Number of the model that had the last turn.
    last_model: Option<u64>,
}

impl PendingJobs {
    pub(super) fn push(&mut self, job: Job) {
        self.jobs.push_back(job);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Returns true if a job waits for this model.
    pub(super) fn has_jobs_for(&self, model_id: u64) -> bool {
        self.jobs.iter().any(|job| job.model.id == model_id)
    }

    /// Drops the jobs whose clients have left.
    pub(super) fn drop_abandoned(&mut self) {
        self.jobs.retain(|job| !job.responder.is_disconnected());
    }

    /// Takes the job whose turn it is, and up to `max_batch` - 1 others that fit into a batch with
    /// it within `batch_time`. Models take turns, so that many jobs for one model do not delay the
    /// clients of all others.
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
