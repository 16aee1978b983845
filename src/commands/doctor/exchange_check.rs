//! The test of the exchange between the GPUs of this host and between the hosts of the job.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use tch::Device;

use super::finding::Finding;
use crate::distributed::{
    ExchangeTest, JobStore, Meeting, Member, Route, Topology, WorkerDevice, leave,
};
use crate::error::{Error, Result};
use crate::sagemaker::cluster::Cluster;
use crate::settings::VERSION;
use crate::torch::{self, ProcessGroup};

/// Longest time until `doctor` runs on all hosts, until they are connected, and of each exchange.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Sums tensors over all GPUs of the host and all hosts of the job, as training does. Returns nothing
/// if there is one of each.
pub(super) fn check_exchange(cluster: &Cluster, port: u16) -> Option<Finding> {
    let gpus = torch::gpu_count();
    if cluster.hosts.len() == 1 && gpus < 2 {
        return None;
    }
    let device = if gpus > 0 { WorkerDevice::Gpu } else { WorkerDevice::Cpu };
    Some(match exchange_with_all(cluster, gpus.max(1), device, port) {
        Ok(message) => Finding::ok("exchange", message),
        Err(error) => Finding::problem("exchange", error.to_string()),
    })
}

/// Meets the other hosts, and returns what this host's ranks measured.
fn exchange_with_all(
    cluster: &Cluster,
    workers: usize,
    device: WorkerDevice,
    port: u16,
) -> Result<String> {
    let current = cluster.current_position();
    let meeting = Meeting { hosts: &cluster.hosts, current_host: current, port, timeout: TIMEOUT };
    let own = Member {
        version: VERSION.to_owned(),
        workers,
        device,
        device_problem: None,
        settings: BTreeMap::new(),
    };
    let met = meeting.join(&own, &|| false).map_err(|error| {
        let seconds = TIMEOUT.as_secs();
        error.with_context(format!("doctor must run on all hosts within {seconds} s"))
    })?;
    let Some((store, topology)) = met else {
        return Err(Error::internal("the meeting of the hosts was given up"));
    };
    let peer = cluster.hosts.iter().find(|host| **host != cluster.current_host);
    let result = match peer.map(|peer| Route::find(peer)).transpose() {
        Ok(route) => {
            let address = route.unwrap_or_else(Route::loopback).local_address.to_string();
            exchange_as_ranks(&store, &topology, current, device, &address)
        }
        Err(cause) => Err(Error::input(format!("no network leads to the other hosts: {cause}"))),
    };
    leave(&store, current, cluster.hosts.len());
    result
}

/// Runs the test as all ranks of this host, a thread for each.
fn exchange_as_ranks(
    store: &JobStore,
    topology: &Topology,
    current: usize,
    device: WorkerDevice,
    local_address: &str,
) -> Result<String> {
    let world_size = topology.world_size();
    let exchange_as_rank = |position: usize, rank: usize| -> Result<ExchangeTest> {
        let own_store = store.reconnect()?;
        let own_store = own_store.as_store();
        let group =
            ProcessGroup::join(own_store, rank, world_size, local_address, TIMEOUT, TIMEOUT)?;
        let device = match device {
            WorkerDevice::Cpu => Device::Cpu,
            WorkerDevice::Gpu => {
                group.add_nccl(own_store, position, TIMEOUT)?;
                Device::Cuda(position)
            }
        };
        ExchangeTest::run(&group, device)
    };
    let results: Vec<Result<ExchangeTest>> = thread::scope(|scope| {
        let mut threads = Vec::new();
        for (position, rank) in topology.ranks_of(current).enumerate() {
            let exchange_as_rank = &exchange_as_rank;
            threads.push(scope.spawn(move || exchange_as_rank(position, rank)));
        }
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|_| Err(Error::internal("the exchange panicked")))
        };
        threads.into_iter().map(join).collect()
    });
    let mut messages = Vec::new();
    for result in results {
        messages.push(format!("{}: {}", topology.describe(), result?.describe()));
    }
    Ok(messages.swap_remove(0))
}
