//! The thread by which the parent of a host watches the job: its own workers, the other hosts, and
//! what they say.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::fault::Fault;
use super::heartbeat::INTERVAL;
use super::job_store::{
    JobStore, host_pulse_key, worker_long_phase_key, worker_progress_key, worker_pulse_key,
};
use super::liveness::Pulse;
use super::meeting::leave;
use super::topology::Topology;
use crate::error::{Error, Result};

/// Longest time without a sign of life from a host or a worker. A link that breaks and a process
/// that is frozen are found out by it, so all hosts end within 30 s.
pub const SILENCE_TIMEOUT: Duration = Duration::from_secs(15);

/// Time in which a host that found a fault first writes it down, unless it is gone itself.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(3);

/// Longest time that leaving the store may take: what the first host waits for others, and a bit.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(8);

/// Settings of a parent's watch.
#[derive(Debug, Clone)]
pub struct WatchSettings {
    pub topology: Topology,
    /// Position of this host.
    pub current_host: usize,
    /// Longest time in which no worker of the job makes a step, scores a batch of validation
    /// images, or is in a phase that takes long.
    pub stall_timeout: Duration,
}

/// The watch of a parent. The calls here do not wait for the network.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    settings: WatchSettings,
    thread: JoinHandle<()>,
}

/// State that the parent's main thread and the watch's thread share.
#[derive(Debug)]
struct Shared {
    /// Fault of the job, once it is known.
    fault: Mutex<Option<Fault>>,
    /// Fault that this host found, which the store does not know yet.
    reported_fault: Mutex<Option<Fault>>,
    /// Ranks of this host's workers that run.
    running_ranks: Mutex<BTreeSet<usize>>,
    last_answer: Mutex<Instant>,
    /// True once this host is asked to stop, and once any host is.
    wants_stop: AtomicBool,
    is_stop_requested: AtomicBool,
    /// True once a host has left the job.
    has_host_left: AtomicBool,
    /// True once this host's workers are done, and once those of all hosts are.
    is_done: AtomicBool,
    are_all_done: AtomicBool,
    should_leave: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watch {
    /// Starts to watch. `store` is a connection of the watch's own. `interrupt` is called when any
    /// host is asked to stop, or the job has a fault, so that what the host does at the time ends.
    pub fn start(
        store: JobStore,
        settings: WatchSettings,
        interrupt: impl Fn() + Send + 'static,
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            fault: Mutex::new(None),
            reported_fault: Mutex::new(None),
            running_ranks: Mutex::new(BTreeSet::new()),
            last_answer: Mutex::new(Instant::now()),
            wants_stop: AtomicBool::new(false),
            is_stop_requested: AtomicBool::new(false),
            has_host_left: AtomicBool::new(false),
            is_done: AtomicBool::new(false),
            are_all_done: AtomicBool::new(false),
            should_leave: AtomicBool::new(false),
        });
        let watcher = Watcher::new(store, settings.clone(), shared.clone());
        let spawned =
            thread::Builder::new().name("watch".to_owned()).spawn(move || watcher.run(&interrupt));
        match spawned {
            Ok(thread) => Ok(Self { shared, settings, thread }),
            Err(cause) => Err(Error::internal(format!("cannot start the watch: {cause}"))),
        }
    }

    /// Returns the fault of the job, if it has one.
    pub fn fault(&self) -> Option<Fault> {
        if let Some(fault) = lock(&self.shared.fault).clone() {
            return Some(fault);
        }
        let silence = lock(&self.shared.last_answer).elapsed();
        if silence < SILENCE_TIMEOUT {
            return None;
        }
        // The thread waits for an answer of the store, which the first host keeps.
        let first_host = self.settings.topology.describe_host(0);
        Some(Fault::new(describe_silence(&first_host, silence)))
    }

    /// Makes a fault that of the job, unless the job has one already.
    pub fn report(&self, fault: Fault) {
        lock(&self.shared.reported_fault).get_or_insert(fault);
        self.thread.thread().unpark();
    }

    /// Asks all hosts to stop the job.
    pub fn request_stop(&self) {
        self.shared.wants_stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
    }

    /// Returns true if any host was asked to stop.
    pub fn is_stop_requested(&self) -> bool {
        self.shared.is_stop_requested.load(Ordering::Relaxed)
    }

    /// Returns true if a host has left the job. If the job has a fault for which it left,
    /// [`Watch::fault`] returns it from then on.
    pub fn has_host_left(&self) -> bool {
        self.shared.has_host_left.load(Ordering::Relaxed)
    }

    /// Takes note that a worker of this host runs, or has ended.
    pub fn set_running(&self, rank: usize, is_running: bool) {
        let mut running = lock(&self.shared.running_ranks);
        if is_running {
            running.insert(rank);
        } else {
            running.remove(&rank);
        }
    }

    /// Tells the other hosts that all workers of this one are done.
    pub fn set_done(&self) {
        self.shared.is_done.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
    }

    /// Returns true if the workers of all hosts are done.
    pub fn are_all_done(&self) -> bool {
        self.shared.are_all_done.load(Ordering::Relaxed)
    }

    /// Ends the watch. The first host, which keeps the store, waits a few seconds for the others to
    /// end theirs.
    pub fn leave(self) {
        self.shared.should_leave.store(true, Ordering::Release);
        self.thread.thread().unpark();
        let deadline = Instant::now() + LEAVE_TIMEOUT;
        while !self.thread.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// State of the watch's thread.
struct Watcher {
    store: JobStore,
    settings: WatchSettings,
    shared: Arc<Shared>,
    /// Signs of life by host and by rank. Those of a worker begin with its first one.
    hosts: Vec<Pulse>,
    workers: Vec<Option<Pulse>>,
    /// Steps and batches of all workers together.
    progress: Pulse,
    has_told_done: bool,
    /// Fault that this host found, and when. Another host may have found one at the same time.
    claimed: Option<(Fault, Instant)>,
}

impl Watcher {
    fn new(store: JobStore, settings: WatchSettings, shared: Arc<Shared>) -> Self {
        let now = Instant::now();
        Self {
            hosts: vec![Pulse::new(now); settings.topology.hosts.len()],
            workers: vec![None; settings.topology.world_size()],
            progress: Pulse::new(now),
            has_told_done: false,
            claimed: None,
            store,
            settings,
            shared,
        }
    }

    fn run(mut self, interrupt: &dyn Fn()) {
        loop {
            // Read first: what this host reported before it leaves is told below.
            let should_leave = self.shared.should_leave.load(Ordering::Acquire);
            if let Err(error) = self.observe() {
                let first_host = self.settings.topology.describe_host(0);
                let problem = format!("the connection to {first_host} broke: {error}");
                lock(&self.shared.fault).get_or_insert(Fault::new(problem));
            }
            let is_stop_requested = self.shared.is_stop_requested.load(Ordering::Relaxed);
            if is_stop_requested || lock(&self.shared.fault).is_some() {
                interrupt();
            }
            if should_leave {
                let host_count = self.settings.topology.hosts.len();
                leave(&self.store, self.settings.current_host, host_count);
                return;
            }
            thread::park_timeout(INTERVAL);
        }
    }

    /// Tells the store the news of this host, and takes note of those of the others.
    fn observe(&mut self) -> Result<()> {
        self.store.add(&host_pulse_key(self.settings.current_host), 1)?;
        if self.shared.wants_stop.load(Ordering::Relaxed) {
            self.store.request_stop()?;
        }
        if self.store.is_stop_requested()? {
            self.shared.is_stop_requested.store(true, Ordering::Relaxed);
        }
        if self.shared.is_done.load(Ordering::Relaxed) && !self.has_told_done {
            self.store.add_done_host()?;
            self.has_told_done = true;
        }
        if self.store.done_hosts()? >= self.hosts.len() as i64 {
            self.shared.are_all_done.store(true, Ordering::Relaxed);
        }
        let mut found = lock(&self.shared.reported_fault).take();
        if found.is_none() {
            found = self.find_fault(Instant::now())?;
        }
        if let Some(found) = found {
            self.store.claim_fault(&found)?;
            self.claimed.get_or_insert((found, Instant::now()));
        }
        // A host that leaves because of a fault has told it before.
        let has_host_left = self.store.left_hosts()? > 0;
        let mut fault = self.store.fault()?;
        if let (None, Some((claimed, since))) = (&fault, &self.claimed)
            && since.elapsed() >= CLAIM_TIMEOUT
        {
            self.store.write_fault(claimed)?;
            fault = Some(claimed.clone());
        }
        if let Some(fault) = fault {
            lock(&self.shared.fault).get_or_insert(fault);
        }
        if has_host_left {
            self.shared.has_host_left.store(true, Ordering::Release);
        }
        *lock(&self.shared.last_answer) = Instant::now();
        Ok(())
    }

    /// Looks for hosts and workers that give no sign of life, and for a job that stands still.
    fn find_fault(&mut self, now: Instant) -> Result<Option<Fault>> {
        if self.shared.are_all_done.load(Ordering::Relaxed) {
            return Ok(None);
        }
        for host in 0..self.hosts.len() {
            if host == self.settings.current_host {
                continue;
            }
            self.hosts[host].observe(self.store.count(&host_pulse_key(host))?, now);
            let silence = self.hosts[host].age(now);
            if silence >= SILENCE_TIMEOUT {
                let host = self.settings.topology.describe_host(host);
                return Ok(Some(Fault::new(describe_silence(&host, silence))));
            }
        }
        if let Some(fault) = self.find_silent_worker(now)? {
            return Ok(Some(fault));
        }
        // One host decides for all, so that one reason is told.
        if self.settings.current_host == 0 { self.find_stall(now) } else { Ok(None) }
    }

    fn find_silent_worker(&mut self, now: Instant) -> Result<Option<Fault>> {
        let running = lock(&self.shared.running_ranks).clone();
        for rank in running {
            let count = self.store.count(&worker_pulse_key(rank))?;
            let pulse = &mut self.workers[rank];
            if count > 0 {
                pulse.get_or_insert(Pulse::new(now)).observe(count, now);
            }
            let silence = pulse.map_or(Duration::ZERO, |pulse| pulse.age(now));
            if silence >= SILENCE_TIMEOUT {
                let place = self.describe_rank(rank);
                return Ok(Some(Fault::new(describe_silence(&place, silence))));
            }
        }
        Ok(None)
    }

    /// Finds out if no worker of the job did anything for too long.
    fn find_stall(&mut self, now: Instant) -> Result<Option<Fault>> {
        let mut counts = Vec::new();
        let mut is_in_long_phase = false;
        for rank in 0..self.settings.topology.world_size() {
            counts.push(self.store.count(&worker_progress_key(rank))?);
            is_in_long_phase |= self.store.count(&worker_long_phase_key(rank))? > 0;
        }
        let total: i64 = counts.iter().sum();
        // Before the workers have joined, the join has a timeout of its own.
        if is_in_long_phase || total == 0 {
            self.progress = Pulse::new(now);
        }
        self.progress.observe(total, now);
        let age = self.progress.age(now);
        if total == 0 || age < self.settings.stall_timeout {
            return Ok(None);
        }
        let least = counts.iter().copied().min().unwrap_or_default();
        let mut behind = Vec::new();
        for (rank, count) in counts.iter().enumerate() {
            if *count == least {
                behind.push(self.describe_rank(rank));
            }
        }
        Ok(Some(Fault::new(format!(
            "no worker made a step or scored a batch {}; furthest behind: {}; a longer time is set \
             by --stall-timeout (MASKMAKER_STALL_TIMEOUT)",
            describe_since(age),
            behind.join(", ")
        ))))
    }

    fn describe_rank(&self, rank: usize) -> String {
        let topology = &self.settings.topology;
        format!("rank {rank} on host {}", topology.hosts[topology.host_of(rank)].name)
    }
}

fn describe_silence(place: &str, silence: Duration) -> String {
    format!("no sign of life from {place} {}", describe_since(silence))
}

/// Describes a time that began in the past, such as `for 15 s (since 17:31:05 UTC)`.
fn describe_since(age: Duration) -> String {
    let began = time::OffsetDateTime::now_utc() - age;
    let (hour, minute, second) = (began.hour(), began.minute(), began.second());
    format!("for {} s (since {hour:02}:{minute:02}:{second:02} UTC)", age.as_secs())
}

#[cfg(test)]
mod tests {
    use super::super::topology::HostWorkers;
    use super::*;

    fn settings(current_host: usize) -> WatchSettings {
        let host = |name: &str| HostWorkers { name: name.to_owned(), workers: 2 };
        let topology = Topology { hosts: vec![host("a"), host("b")] };
        WatchSettings { topology, current_host, stall_timeout: Duration::from_mins(10) }
    }

    fn wait_until(condition: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_mins(1);
        while !condition() {
            assert!(Instant::now() < deadline);
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns a watcher whose thread does not run, for chosen times.
    fn watcher(current_host: usize) -> Watcher {
        let store = JobStore::serve_on_loopback();
        let watch =
            Watch::start(store.reconnect().unwrap(), settings(current_host), || ()).unwrap();
        let shared = watch.shared.clone();
        watch.leave();
        Watcher::new(store, settings(current_host), shared)
    }

    fn problem(found: Result<Option<Fault>>) -> String {
        found.unwrap().unwrap().problems.remove(0)
    }

    #[test]
    fn hosts_learn_of_faults_and_requests_and_of_the_end() {
        let store = JobStore::serve_on_loopback();
        let [first, second] = [0, 1]
            .map(|host| Watch::start(store.reconnect().unwrap(), settings(host), || ()).unwrap());
        assert!(first.fault().is_none() && !first.is_stop_requested() && !first.are_all_done());
        second.request_stop();
        wait_until(|| first.is_stop_requested() && second.is_stop_requested());
        second.set_done();
        second.report(Fault::new("rank 2 on host b was killed".to_owned()));
        wait_until(|| first.fault().is_some());
        assert_eq!(first.fault(), second.fault());
        assert!(!first.are_all_done());
        first.set_done();
        wait_until(|| first.are_all_done() && second.are_all_done());
        second.leave();
        first.leave();
        assert_eq!(store.left_hosts().unwrap(), 1);
    }

    #[test]
    fn a_host_without_a_sign_of_life_is_named_with_its_ranks() {
        let mut watcher = watcher(0);
        let now = Instant::now();
        assert!(watcher.find_fault(now).unwrap().is_none());
        watcher.store.add(&host_pulse_key(1), 1).unwrap();
        assert!(watcher.find_fault(now + Duration::from_secs(14)).unwrap().is_none());
        assert!(watcher.find_fault(now + Duration::from_secs(28)).unwrap().is_none());
        let told = problem(watcher.find_fault(now + Duration::from_secs(30)));
        let expected = "no sign of life from host b (ranks 2 and 3) for 16 s (since ";
        assert!(told.starts_with(expected), "{told}");
    }

    #[test]
    fn a_worker_is_watched_from_its_first_sign_of_life_until_its_end() {
        let mut watcher = watcher(0);
        watcher.shared.running_ranks.lock().unwrap().insert(1);
        let now = Instant::now();
        let later = now + Duration::from_mins(9);
        assert!(watcher.find_silent_worker(now).unwrap().is_none());
        watcher.store.add(&worker_pulse_key(1), 1).unwrap();
        assert!(watcher.find_silent_worker(later).unwrap().is_none());
        let silent = later + Duration::from_secs(15);
        let told = problem(watcher.find_silent_worker(silent));
        assert!(told.starts_with("no sign of life from rank 1 on host a for 15 s"), "{told}");
        watcher.shared.running_ranks.lock().unwrap().clear();
        assert!(watcher.find_silent_worker(silent).unwrap().is_none());
    }

    #[test]
    fn a_job_that_stands_still_is_told_unless_a_long_phase_explains_it() {
        let mut watcher = watcher(0);
        let start = Instant::now();
        let after = |minutes| start + Duration::from_mins(minutes);
        assert!(watcher.find_stall(after(20)).unwrap().is_none(), "no step yet");
        for (rank, count) in [(0, 3), (1, 2), (2, 3), (3, 3)] {
            watcher.store.add(&worker_progress_key(rank), count).unwrap();
        }
        watcher.store.add(&worker_long_phase_key(0), 1).unwrap();
        assert!(watcher.find_stall(after(21)).unwrap().is_none());
        assert!(watcher.find_stall(after(60)).unwrap().is_none());
        watcher.store.add(&worker_long_phase_key(0), -1).unwrap();
        assert!(watcher.find_stall(after(61)).unwrap().is_none());
        let told = problem(watcher.find_stall(after(71)));
        assert!(told.contains("furthest behind: rank 1 on host a;"), "{told}");
        watcher.store.add(&worker_progress_key(1), 1).unwrap();
        assert!(watcher.find_stall(after(72)).unwrap().is_none());
    }
}
