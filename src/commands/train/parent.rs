//! The parent of a host's workers, if a job has several processes: it meets the other hosts, reads
//! the data of its own, starts the workers, and watches until all hosts are done.

use std::collections::BTreeMap;
use std::env;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::host_data::ReadyData;
use super::inputs::Inputs;
use super::settings::JobSettings;
use super::worker::{GpuSpec, WorkerSpec, write_json};
use super::worker_command::{give_gpu, worker_command};
use super::{TrainOptions, print_stopped_before_first_step};
use crate::console::{print_stderr, print_stdout};
use crate::data::batch_parts::RankShare;
use crate::distributed::{
    Fault, JobStore, Meeting, Member, NcclHost, Route, SILENCE_TIMEOUT, Topology, Watch,
    WatchSettings, WorkerDevice, WorkerExit, Workers,
};
use crate::error::{Error, Problems, Result};
use crate::files::PathContext;
use crate::sagemaker::{MlRoot, StopSignal};
use crate::settings::VERSION;
use crate::train::host_data::Placement;

/// Time between two looks at the workers.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Time that a failure of an exchange waits for the failure that caused it, which another host
/// finds out.
const CAUSE_TIMEOUT: Duration = SILENCE_TIMEOUT.saturating_add(Duration::from_secs(3));

/// Time in which the job's store takes a fault.
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// The parent before it has met the other hosts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parent<'a> {
    pub(super) root: &'a MlRoot,
    pub(super) options: &'a TrainOptions,
    pub(super) job: &'a JobSettings,
    pub(super) stop: &'a StopSignal,
    /// Number of workers of this host.
    pub(super) workers: usize,
    pub(super) device: WorkerDevice,
}

/// A host of the job whose hosts have met.
pub(super) struct Host<'a> {
    pub(super) parent: Parent<'a>,
    pub(super) topology: Topology,
    /// Position of this host.
    pub(super) current: usize,
    /// Connection to the job's store, which ends with it on the first host.
    pub(super) store: JobStore,
    watch: Watch,
}

impl Parent<'_> {
    /// Trains with workers on this host and on the others. `device_problem` is why the device of
    /// this host cannot be used.
    pub(super) fn run(self, device_problem: Option<Error>) -> Result<()> {
        if let (Some(error), 1) = (&device_problem, self.job.cluster.hosts.len()) {
            return Err(error.clone());
        }
        let cluster = &self.job.cluster;
        let current = cluster.current_position();
        if cluster.hosts.len() > 1 {
            print_stdout(format_args!(
                "host {} of {} waits for the others",
                cluster.current_host,
                cluster.hosts.len()
            ));
        }
        let meeting = Meeting {
            hosts: &cluster.hosts,
            current_host: current,
            port: self.options.cluster.rendezvous_port,
            timeout: self.options.cluster.rendezvous_timeout,
        };
        let Some((store, topology)) =
            meeting.join(&self.member(device_problem)?, &|| self.stop.is_requested())?
        else {
            print_stopped_before_first_step();
            return Ok(());
        };
        print_stdout(topology.describe());
        let settings = WatchSettings {
            topology: topology.clone(),
            current_host: current,
            stall_timeout: self.options.cluster.stall_timeout,
        };
        let stop = self.stop.clone();
        let watch = Watch::start(store.reconnect()?, settings, move || stop.request())?;
        let host = Host { parent: self, topology, current, store, watch };
        let result = host.train();
        host.end(result)
    }

    /// Describes this host for the others.
    fn member(&self, device_problem: Option<Error>) -> Result<Member> {
        let settings = serde_json::to_value(&self.job.hyperparameters)
            .map_err(|cause| Error::internal(format!("hyperparameters: {cause}")))?;
        let mut texts = BTreeMap::new();
        for (name, value) in settings.as_object().into_iter().flatten() {
            texts.insert(name.clone(), value.to_string());
        }
        Ok(Member {
            version: VERSION.to_owned(),
            workers: self.workers,
            device: self.device,
            device_problem: device_problem.map(|error| error.to_string()),
            settings: texts,
        })
    }
}

impl Host<'_> {
    fn train(&self) -> Result<()> {
        let Parent { root, options, job, stop, .. } = self.parent;
        let inputs = match Inputs::read(root, options, job, stop) {
            Ok(Some(inputs)) => inputs,
            Ok(None) => return self.stop_before_first_step(),
            Err(error) => return Err(self.with_shard_advice(error)),
        };
        let Some(data) = self.share_data(inputs)? else {
            return self.stop_before_first_step();
        };
        self.check_batch(&data.file)?;
        let folder = tempfile::Builder::new()
            .prefix("maskmaker-")
            .tempdir()
            .with_path("make a folder in", &env::temp_dir())?;
        let mut workers = Workers::new(self.parent.device);
        self.start_workers(&mut workers, &folder, &data)?;
        self.watch_workers(&mut workers)
    }

    /// Adds to an error about missing pairs that several hosts may be the reason.
    fn with_shard_advice(&self, error: Error) -> Error {
        let hints = ["without a mask", "without an image", "holds 1 image", "nothing to learn"];
        let may_be_of_shards =
            error.problems().iter().any(|problem| hints.iter().any(|hint| problem.contains(hint)));
        if self.topology.hosts.len() == 1 || !may_be_of_shards {
            return error;
        }
        let mut problems = Problems::new();
        let _ = problems.check::<()>(Err(error.clone()));
        problems.push(
            "with S3DataDistributionType ShardedByS3Key an image and its mask may lie on different \
             hosts, and each host needs images with classes of its own: set FullyReplicated for \
             both channels, or name image and mask in the lines of a manifest",
        );
        problems.into_result().err().unwrap_or(error)
    }

    /// Ends this host's part of a job that was asked to stop before it trained.
    fn stop_before_first_step(&self) -> Result<()> {
        if let Some(fault) = self.watch.fault() {
            return Err(fault.into_error());
        }
        self.watch.request_stop();
        print_stopped_before_first_step();
        Ok(())
    }

    /// Tells the other hosts how this one ended, if that was its own fault, and leaves them. All
    /// return the same error.
    fn end(self, result: Result<()>) -> Result<()> {
        let result = match result {
            Err(error) if self.topology.hosts.len() > 1 => Err(self.agree_on_fault(error)),
            result => result,
        };
        self.watch.leave();
        result
    }

    /// Returns the first fault of the job, which is `error` unless another host was faster.
    fn agree_on_fault(&self, error: Error) -> Error {
        if let Some(fault) = self.watch.fault() {
            return fault.into_error();
        }
        let place = format!("host {}", self.topology.hosts[self.current].name);
        let own = error.with_context(place);
        self.watch.report(Fault::from_error(&own));
        let deadline = Instant::now() + REPORT_TIMEOUT;
        while Instant::now() < deadline {
            if let Some(fault) = self.watch.fault() {
                return fault.into_error();
            }
            thread::sleep(POLL_INTERVAL);
        }
        own
    }

    /// Does something that may wait for the network in a thread of its own, and returns early if the
    /// job has a fault meanwhile.
    pub(super) fn do_watched<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let thread = thread::spawn(work);
        while !thread.is_finished() {
            if let Some(fault) = self.watch.fault() {
                return Err(fault.into_error());
            }
            thread::sleep(POLL_INTERVAL);
        }
        match thread.join() {
            Ok(result) => result,
            Err(_) => Err(Error::internal("the exchange of the hosts' data panicked")),
        }
    }

    fn start_workers(
        &self,
        workers: &mut Workers,
        folder: &TempDir,
        data: &ReadyData,
    ) -> Result<()> {
        let data_file = folder.path().join("data.json");
        write_json(&data_file, &data.file)?;
        let ranks = self.topology.ranks_of(self.current);
        let route = self.find_route()?;
        let nccl_host = match self.parent.device {
            WorkerDevice::Gpu => Some(NcclHost::inspect(ranks.len(), route.interface)),
            WorkerDevice::Cpu => None,
        };
        for rank in ranks.clone() {
            let global = RankShare { rank, world_size: self.topology.world_size() };
            let on_host = RankShare { rank: rank - ranks.start, world_size: ranks.len() };
            let spec = WorkerSpec {
                rank,
                world_size: global.world_size,
                store: self.store.address(),
                local_address: route.local_address.to_string(),
                data_file: data_file.clone(),
                validation_share: match data.validation {
                    Placement::Replicated => global,
                    Placement::Sharded => on_host,
                },
                gpu: nccl_host
                    .as_ref()
                    .map(|_| GpuSpec { nccl_log: folder.path().join(format!("nccl-{rank}.log")) }),
            };
            let spec_file = folder.path().join(format!("worker-{rank}.json"));
            write_json(&spec_file, &spec)?;
            let mut command = worker_command(&spec_file, ranks.len())?;
            if let (Some(host), Some(gpu)) = (&nccl_host, &spec.gpu) {
                let is_set = |name: &str| env::var_os(name).is_some();
                let nccl = host.environment(&is_set, &gpu.nccl_log);
                if let Some(warning) = nccl.warning.as_ref().filter(|_| on_host.rank == 0) {
                    print_stderr(format_args!("warning: {warning}"));
                }
                give_gpu(&mut command, on_host.rank, &nccl);
            }
            if rank > 0 {
                // Rank 0 alone tells of the job.
                command.stdout(Stdio::null());
            }
            let reason_file = super::worker::reason_file(&spec_file);
            let nccl_log = spec.gpu.map(|gpu| gpu.nccl_log);
            workers.start(rank, &mut command, reason_file, nccl_log)?;
            self.watch.set_running(rank, true);
        }
        Ok(())
    }

    /// Returns how this host reaches the others, or itself if there are none.
    fn find_route(&self) -> Result<Route> {
        let mut others = self.topology.hosts.iter().enumerate();
        let Some((_, peer)) = others.find(|(host, _)| *host != self.current) else {
            return Ok(Route::loopback());
        };
        let peer = peer.name.clone();
        self.do_watched(move || {
            Route::find(&peer).map_err(|cause| {
                Error::input(format!("no network of this host leads to host {peer}: {cause}"))
            })
        })
    }

    /// Waits until the workers of all hosts are done. Ends them if the job has a fault.
    fn watch_workers(&self, workers: &mut Workers) -> Result<()> {
        let mut has_failed = false;
        // An end whose cause another host may find out.
        let mut unexplained: Option<(Instant, WorkerExit)> = None;
        loop {
            if let Some(fault) = self.watch.fault() {
                workers.kill();
                return Err(fault.into_error());
            }
            if self.parent.stop.is_requested() {
                // Workers learn of it from the store.
                self.watch.request_stop();
                if self.watch.has_host_left() && !self.watch.are_all_done() {
                    // That host was asked to stop before it had workers.
                    workers.kill();
                    return self.stop_before_first_step();
                }
            }
            for exit in workers.take_exits()? {
                self.watch.set_running(exit.rank, false);
                if exit.is_success() {
                    continue;
                }
                has_failed = true;
                if exit.may_be_consequence() {
                    unexplained.get_or_insert((Instant::now(), exit));
                } else {
                    self.report(exit);
                }
            }
            if let Some((ended_at, exit)) = unexplained.take() {
                if ended_at.elapsed() >= CAUSE_TIMEOUT {
                    self.report(exit);
                } else {
                    unexplained = Some((ended_at, exit));
                }
            }
            if workers.have_ended() && !has_failed {
                self.watch.set_done();
                if self.watch.are_all_done() {
                    return Ok(());
                }
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    fn report(&self, exit: WorkerExit) {
        let host = &self.topology.hosts[self.current].name;
        self.watch.report(exit.into_fault(host));
    }
}
