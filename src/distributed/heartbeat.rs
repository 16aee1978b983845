//! The thread by which a worker tells that it lives and what it has done.

use std::os::unix::process::parent_id;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;
use std::time::Duration;

use super::job_store::{JobStore, worker_long_phase_key, worker_progress_key, worker_pulse_key};
use crate::error::{Error, Result};
use crate::torch::exit_process;

/// Time between two signs of life.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);

/// Exit code of a worker whose parent is gone; nobody reads it.
const ORPHAN_EXIT_CODE: u8 = 1;

/// Counts what a worker does. Its training thread counts, and its heartbeat tells the store.
#[derive(Debug, Clone, Default)]
pub struct WorkerProgress(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    /// Steps and validation batches.
    batches: AtomicI64,
    is_in_long_phase: AtomicBool,
}

impl WorkerProgress {
    /// Counts a training step or a batch of validation images.
    pub fn count_batch(&self) {
        self.0.batches.fetch_add(1, Ordering::Relaxed);
    }

    /// Says that something begins or ends that may take minutes, such as writing a checkpoint.
    pub fn set_long_phase(&self, is_in_long_phase: bool) {
        self.0.is_in_long_phase.store(is_in_long_phase, Ordering::Relaxed);
    }
}

/// The thread of a worker's signs of life, which runs until the process ends.
#[derive(Debug)]
pub struct Heartbeat;

impl Heartbeat {
    /// Starts the thread for the worker of this rank. `stop` is called once the job is to stop. The
    /// process ends if the one that started it is gone, so that no worker goes on alone.
    pub fn start(
        store: JobStore,
        rank: usize,
        stop: impl Fn() + Send + 'static,
    ) -> Result<WorkerProgress> {
        let progress = WorkerProgress::default();
        let counted = progress.clone();
        let parent = parent_id();
        let spawned = thread::Builder::new().name("heartbeat".to_owned()).spawn(move || {
            let mut told = Told::default();
            loop {
                if parent_id() != parent {
                    exit_process(ORPHAN_EXIT_CODE);
                }
                // Without the store the parent decides, which sees the same.
                let _ = told.tell(&store, rank, &counted.0);
                if store.is_stop_requested().unwrap_or(false) {
                    stop();
                }
                thread::sleep(INTERVAL);
            }
        });
        match spawned {
            Ok(_) => Ok(progress),
            Err(cause) => Err(Error::internal(format!("cannot start the heartbeat: {cause}"))),
        }
    }
}

/// Remembers what the store was told, because its counters take differences.
#[derive(Debug, Default)]
struct Told {
    batches: i64,
    is_in_long_phase: bool,
}

impl Told {
    fn tell(&mut self, store: &JobStore, rank: usize, counters: &Counters) -> Result<()> {
        let batches = counters.batches.load(Ordering::Relaxed);
        store.add(&worker_progress_key(rank), batches - self.batches)?;
        self.batches = batches;
        let is_in_long_phase = counters.is_in_long_phase.load(Ordering::Relaxed);
        let change = i64::from(is_in_long_phase) - i64::from(self.is_in_long_phase);
        store.add(&worker_long_phase_key(rank), change)?;
        self.is_in_long_phase = is_in_long_phase;
        store.add(&worker_pulse_key(rank), 1)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_is_told_what_is_counted() {
        let store = JobStore::serve_on_loopback();
        let progress = WorkerProgress::default();
        let mut told = Told::default();
        for (long_phase, alive) in [(true, 1), (false, 2)] {
            progress.count_batch();
            progress.set_long_phase(long_phase);
            told.tell(&store, 3, &progress.0).unwrap();
            assert_eq!(store.count(&worker_pulse_key(3)).unwrap(), alive);
            assert_eq!(store.count(&worker_progress_key(3)).unwrap(), alive);
            assert_eq!(store.count(&worker_long_phase_key(3)).unwrap(), i64::from(long_phase));
        }
    }
}
