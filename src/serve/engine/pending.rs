//! Jobs that wait, and which are computed together.

use std::collections::VecDeque;
use std::time::Duration;

use super::Job;

/// Jobs in the order of arrival.
#[derive(Default)]
pub(super) struct Pending {
    jobs: VecDeque<Job>,
    /// The model that had the last turn.
    last: Option<u64>,
}

impl Job {
    /// Whether the two can be computed together.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.model.id == other.model.id
            && self.image.dimensions() == other.image.dimensions()
            && self.ask == other.ask
    }

    /// How long `count` jobs like this one will take together.
    pub(super) fn time_of(&self, count: usize) -> Duration {
        let each = self.model.estimate.predict(self.work);
        each.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX))
    }
}

impl Pending {
    pub(super) fn push(&mut self, job: Job) {
        self.jobs.push_back(job);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Whether a job waits for this model.
    pub(super) fn has(&self, model: u64) -> bool {
        self.jobs.iter().any(|job| job.model.id == model)
    }

    /// Drops the jobs that nobody waits for any more.
    pub(super) fn drop_abandoned(&mut self) {
        self.jobs.retain(|job| !job.client.has_left());
    }

    /// The job whose turn it is, and up to `most` - 1 others that go with it within `time`. Models take turns, so that
    /// one with many jobs does not keep the others' clients waiting for all of them.
    pub(super) fn take(&mut self, most: usize, time: Duration) -> Vec<Job> {
        let other = self.jobs.iter().position(|job| Some(job.model.id) != self.last);
        let Some(first) = self.jobs.remove(other.unwrap_or(0)) else { return Vec::new() };
        self.last = Some(first.model.id);
        let mut batch = vec![first];
        let mut at = 0;
        while at < self.jobs.len() && batch.len() < most {
            if batch[0].time_of(batch.len() + 1) > time {
                break;
            }
            if batch[0].is_like(&self.jobs[at]) {
                batch.extend(self.jobs.remove(at));
            } else {
                at += 1;
            }
        }
        batch
    }
}
