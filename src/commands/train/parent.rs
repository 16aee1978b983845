//! The parent of a host's workers, if a job has several processes: it meets the other hosts, reads
//! the data of its own, starts the workers, and watches until all hosts are done.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::inputs::Inputs;
use super::settings::JobSettings;
use super::worker::{HostDataFile, WorkerSpec, write_json};
use super::{TrainOptions, print_stopped_before_first_step};
use crate::console::print_stdout;
use crate::data::batch_parts::{RankShare, split_into_micro_batches};
use crate::data::dataset::{AuditedSplit, DatasetDocument, Spool};
use crate::data::shards::{Shard, Shards};
use crate::distributed::{
    Fault, JobStore, Meeting, Member, Topology, Watch, WatchSettings, WorkerExit, Workers,
    local_address_toward,
};
use crate::error::{Error, Problems, Result};
use crate::files::PathContext;
use crate::model::Architecture;
use crate::model::network::build_graph;
use crate::sagemaker::{MlRoot, StopSignal};
use crate::train::Hyperparameters;
use crate::train::data_record::{DataRecord, SplitRecord};
use crate::train::host_data::{HostData, HostSplit, Placement, find_placement};

/// Time between two looks at the workers.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Time that a failure of an exchange waits for the failure that caused it, which another host
/// finds out.
const CAUSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Variables by which libtorch and the loader are told how many threads to use.
const THREAD_VARIABLES: [&str; 2] = ["OMP_NUM_THREADS", "RAYON_NUM_THREADS"];

/// The parent before it has met the other hosts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parent<'a> {
    pub(super) root: &'a MlRoot,
    pub(super) options: &'a TrainOptions,
    pub(super) job: &'a JobSettings,
    pub(super) stop: &'a StopSignal,
    /// Number of workers of this host.
    pub(super) workers: usize,
}

/// A host of the job whose hosts have met.
struct Host<'a> {
    parent: Parent<'a>,
    topology: Topology,
    /// Position of this host.
    current: usize,
    /// Connection to the job's store, which ends with it on the first host.
    store: JobStore,
    watch: Watch,
}

/// The data of this host, read and compared with those of the others.
struct ReadyData {
    file: HostDataFile,
    /// Place of the validation samples.
    validation: Placement,
    /// Files of streams and objects, which lie on disk until this is dropped.
    _spool: Spool,
}

impl Parent<'_> {
    /// Trains with workers on this host and on the others.
    pub(super) fn run(self) -> Result<()> {
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
            port: if cluster.hosts.len() > 1 { self.options.cluster.rendezvous_port } else { 0 },
            timeout: self.options.cluster.rendezvous_timeout,
        };
        let Some((store, topology)) =
            meeting.join(&self.member()?, &|| self.stop.is_requested())?
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
    fn member(&self) -> Result<Member> {
        let settings = serde_json::to_value(&self.job.hyperparameters)
            .map_err(|cause| Error::internal(format!("hyperparameters: {cause}")))?;
        let mut texts = BTreeMap::new();
        for (name, value) in settings.as_object().into_iter().flatten() {
            texts.insert(name.clone(), value.to_string());
        }
        let version =
            concat!(env!("CARGO_PKG_VERSION"), " (", env!("MASKMAKER_REVISION"), ")").to_owned();
        Ok(Member { version, workers: self.workers, settings: texts })
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
        let mut workers = Workers::default();
        self.start_workers(&mut workers, &folder, &data)?;
        self.watch_workers(&mut workers)
    }

    /// Adds to an error about missing pairs that several hosts may be the reason.
    fn with_shard_advice(&self, error: Error) -> Error {
        let lacks_pairs = error.problems().iter().any(|problem| {
            problem.contains("without a mask") || problem.contains("without an image")
        });
        if self.topology.hosts.len() == 1 || !lacks_pairs {
            return error;
        }
        let mut problems = Problems::new();
        let _ = problems.check::<()>(Err(error.clone()));
        problems.push(
            "with S3DataDistributionType ShardedByS3Key an image and its mask may lie on different \
             hosts: set FullyReplicated for both channels, or name both in the lines of a manifest",
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

    /// Tells the other hosts how this one ended, if that was its own fault, and leaves them.
    fn end(self, result: Result<()>) -> Result<()> {
        let place = format!("host {}", self.topology.hosts[self.current].name);
        if let Err(error) = &result
            && self.watch.fault().is_none()
        {
            self.watch.report(Fault::from_error(&place, error));
        }
        self.watch.leave();
        result
    }

    /// Does something that may wait for the network in a thread of its own, and returns early if the
    /// job has a fault meanwhile.
    fn do_watched<T: Send + 'static>(
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

    /// Tells the other hosts which samples this one has, and compares them. Returns nothing if the
    /// job was asked to stop meanwhile.
    fn share_data(&self, inputs: Inputs) -> Result<Option<ReadyData>> {
        let Inputs { initial, mut training, mut validation, class_names, spool } = inputs;
        // The workers read them again; the parent holds no tensors.
        drop(initial);
        let own = HostData { training: describe(&training)?, validation: describe(&validation)? };
        let (current, host_count) = (self.current, self.topology.hosts.len());
        let stop = self.parent.stop.clone();
        let store = self.store.reconnect()?;
        let exchange = move || exchange_host_data(&store, current, host_count, &own, &stop);
        let Some(hosts) = self.do_watched(exchange)? else { return Ok(None) };
        let mut names = Vec::new();
        for host in &self.topology.hosts {
            names.push(host.name.as_str());
        }
        let mut problems = Problems::new();
        let mut place = |split: &str, of: fn(&HostData) -> &HostSplit| {
            let records: Vec<&SplitRecord> = hosts.iter().map(|host| &of(host).record).collect();
            problems.check(find_placement(split, &names, &records))
        };
        let placements =
            (place("train", |host| &host.training), place("validation", |host| &host.validation));
        let (training_placement, validation_placement) = problems.finish_with(placements)?;
        let mut record = hosts[current].clone();
        let mut shards = None;
        let mut validation_images = validation.samples.len();
        for (position, host) in hosts.iter().enumerate() {
            if position == current {
                continue;
            }
            if training_placement == Placement::Sharded {
                host.training.add_to(&mut training.audit);
            }
            if validation_placement == Placement::Sharded {
                host.validation.add_to(&mut validation.audit);
                validation_images += host.validation.record.keys().count();
            }
        }
        if training_placement == Placement::Sharded {
            record.training.record = join_records(&hosts, |host| &host.training);
            shards = Some(self.shards(&hosts));
        }
        if validation_placement == Placement::Sharded {
            record.validation.record = join_records(&hosts, |host| &host.validation);
        }
        let file = HostDataFile {
            dataset: DatasetDocument::new(&training, &validation, class_names),
            record: DataRecord {
                training: record.training.record,
                validation: record.validation.record,
            },
            shards,
            validation_images,
        };
        Ok(Some(ReadyData { file, validation: validation_placement, _spool: spool }))
    }

    /// Returns the training samples of all hosts by number.
    fn shards(&self, hosts: &[HostData]) -> Shards {
        let mut shards = Vec::new();
        for (position, host) in hosts.iter().enumerate() {
            let samples = host.training.record.keys().count();
            shards.push(Shard { samples, ranks: self.topology.ranks_of(position) });
        }
        Shards { shards, current: self.current }
    }

    /// Checks that every rank has images in each part of a batch.
    fn check_batch(&self, data: &HostDataFile) -> Result<()> {
        let mut problems = Problems::new();
        let params = &self.parent.job.hyperparameters;
        let world_size = self.topology.world_size();
        let batch_size = params.mini_batch_size * params.gradient_accumulation_steps;
        let samples = match &data.shards {
            Some(shards) => shards.total_samples(),
            None => data.record.training.keys().count(),
        };
        let images = batch_size.min(samples);
        let mut smallest_part = images;
        for part in split_into_micro_batches(images, params.mini_batch_size, world_size) {
            smallest_part = smallest_part.min(part.len());
        }
        if smallest_part < world_size {
            problems.push(format!(
                "mini_batch_size is {} over all workers, and the training data have {samples} \
                 images: {world_size} workers cannot share {smallest_part} images; raise \
                 mini_batch_size to at least {world_size}, add images, or use fewer workers",
                params.mini_batch_size
            ));
        } else if smallest_part / world_size == 1 && !params.syncbn && pools_to_1x1(params) {
            problems.push(format!(
                "algorithm {} pools an image to a single value per channel, over which BatchNorm \
                 needs at least 2 images on each of {world_size} workers; mini_batch_size is {}: \
                 raise it to at least {}, or set syncbn to True",
                params.algorithm.name(),
                params.mini_batch_size,
                2 * world_size
            ));
        }
        if let Some(shards) = &data.shards {
            self.check_shards(shards, batch_size, &mut problems);
        }
        problems.into_result()
    }

    /// Checks that every host has images for a batch, and says what an epoch leaves out.
    fn check_shards(&self, shards: &Shards, batch_size: usize, problems: &mut Problems) {
        let max_images = self.parent.job.hyperparameters.mini_batch_size;
        for (host, shard) in shards.shards.iter().enumerate() {
            let needed = shards.images_per_batch(host, batch_size, max_images);
            if shard.samples < needed {
                problems.push(format!(
                    "{} has {} training images of its own (S3DataDistributionType \
                     ShardedByS3Key), and computes {needed} of each batch: lower mini_batch_size, \
                     add images, or set FullyReplicated",
                    self.topology.describe_host(host),
                    shard.samples
                ));
                continue;
            }
            let batches = shards.batches_per_epoch(batch_size, max_images);
            let left_out = shard.samples - batches * needed;
            print_stdout(format_args!(
                "{} has {} training images of its own, of which each epoch takes {} at random",
                self.topology.describe_host(host),
                shard.samples,
                shard.samples - left_out
            ));
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
        let local_address = self.local_address()?;
        let ranks = self.topology.ranks_of(self.current);
        for rank in ranks.clone() {
            let global = RankShare { rank, world_size: self.topology.world_size() };
            let on_host = RankShare { rank: rank - ranks.start, world_size: ranks.len() };
            let spec = WorkerSpec {
                rank,
                world_size: global.world_size,
                store: self.store.address(),
                local_address: local_address.clone(),
                data_file: data_file.clone(),
                validation_share: match data.validation {
                    Placement::Replicated => global,
                    Placement::Sharded => on_host,
                },
            };
            let spec_file = folder.path().join(format!("worker-{rank}.json"));
            write_json(&spec_file, &spec)?;
            let mut command = worker_command(&spec_file, ranks.len())?;
            if rank > 0 {
                // Rank 0 alone tells of the job.
                command.stdout(Stdio::null());
            }
            workers.start(rank, &mut command, super::worker::reason_file(&spec_file))?;
            self.watch.set_running(rank, true);
        }
        Ok(())
    }

    /// Returns an address of this host that the workers of all hosts reach.
    fn local_address(&self) -> Result<String> {
        let hosts = &self.topology.hosts;
        let Some(peer) = hosts.iter().enumerate().find(|(host, _)| *host != self.current) else {
            return Ok("127.0.0.1".to_owned());
        };
        let peer = &peer.1.name;
        match local_address_toward(peer) {
            Ok(address) => Ok(address.to_string()),
            Err(cause) => {
                Err(Error::input(format!("no network of this host leads to host {peer}: {cause}")))
            }
        }
    }

    /// Waits until the workers of all hosts are done. Ends them if the job has a fault.
    fn watch_workers(&self, workers: &mut Workers) -> Result<()> {
        let mut is_told_to_stop = false;
        let mut has_failed = false;
        // An end whose cause another host may find out.
        let mut unexplained: Option<(Instant, WorkerExit)> = None;
        loop {
            if let Some(fault) = self.watch.fault() {
                workers.kill();
                return Err(fault.into_error());
            }
            if self.parent.stop.is_requested() && !is_told_to_stop {
                self.watch.request_stop();
                workers.ask_to_stop();
                is_told_to_stop = true;
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

/// Publishes what this host has, and waits for what the others have. Returns nothing if the job is
/// asked to stop meanwhile.
fn exchange_host_data(
    store: &JobStore,
    current: usize,
    host_count: usize,
    own: &HostData,
    stop: &StopSignal,
) -> Result<Option<Vec<HostData>>> {
    let key = |host: usize| format!("host/{host}/data");
    let text = serde_json::to_vec(own)
        .map_err(|cause| Error::internal(format!("a host's samples: {cause}")))?;
    store.publish(&key(current), &text)?;
    let mut hosts = Vec::new();
    while hosts.len() < host_count {
        if let Some(text) = store.find(&key(hosts.len()))? {
            let host = serde_json::from_slice(&text)
                .map_err(|cause| Error::internal(format!("a host's samples: {cause}")))?;
            hosts.push(host);
        } else if stop.is_requested() {
            return Ok(None);
        } else {
            thread::sleep(POLL_INTERVAL);
        }
    }
    Ok(Some(hosts))
}

fn describe(split: &AuditedSplit) -> Result<HostSplit> {
    let record = SplitRecord::new(&split.samples, &split.audit.digests)?;
    Ok(HostSplit::new(record, &split.audit))
}

fn join_records(hosts: &[HostData], of: fn(&HostData) -> &HostSplit) -> SplitRecord {
    let records: Vec<&SplitRecord> = hosts.iter().map(|host| &of(host).record).collect();
    SplitRecord::join(&records)
}

fn pools_to_1x1(hyperparameters: &Hyperparameters) -> bool {
    let Hyperparameters { algorithm, backbone, num_classes, .. } = *hyperparameters;
    build_graph(Architecture { algorithm, backbone }, num_classes).pools_to_1x1()
}

/// Returns the command of a worker: this program with the same arguments, and the file with the
/// worker's place. Workers of a host share its cores.
fn worker_command(spec_file: &Path, workers: usize) -> Result<Command> {
    let program: PathBuf = env::current_exe()
        .map_err(|cause| Error::internal(format!("the program's own path: {cause}")))?;
    let mut command = Command::new(program);
    let mut arguments = env::args_os();
    if let Some(name) = arguments.next() {
        // The name may be the subcommand: the image has a link `train`.
        std::os::unix::process::CommandExt::arg0(&mut command, name);
    }
    command.args(arguments).arg("--worker").arg(spec_file).stdin(Stdio::null());
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = (cores / workers).max(1).to_string();
    for variable in THREAD_VARIABLES {
        if env::var_os(variable).is_none() {
            command.env(variable, &threads);
        }
    }
    Ok(command)
}
