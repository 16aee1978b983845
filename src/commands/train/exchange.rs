//! A worker joins the others and tries how fast they exchange tensors, before it trains.

use std::path::Path;
use std::time::Duration;

use tch::Device;

use super::worker::{WRITER_RANK, WorkerSpec};
use crate::console::{print_stderr, print_stdout};
use crate::distributed::{ExchangeTest, JobStore, NcclTransports, WorkerProgress};
use crate::error::{Error, Result};
use crate::sagemaker::cluster::Cluster;
use crate::torch::ProcessGroup;

/// Longest time until all ranks are connected, once their hosts have met and read their data.
const JOIN_TIMEOUT: Duration = Duration::from_mins(5);

/// Longest time of a collective. Parents find out about ranks that do not come, so this is longer
/// than anything that a rank may have to wait for: rank 0 writes checkpoints and models meanwhile.
const GROUP_TIMEOUT: Duration = Duration::from_hours(24);

/// Joins the other workers of the job. The first worker prints how fast all exchange tensors.
pub(super) fn join_workers(
    spec: &WorkerSpec,
    store: &JobStore,
    progress: &WorkerProgress,
    cluster: &Cluster,
    device: Device,
) -> Result<ProcessGroup> {
    let group = ProcessGroup::join(
        store.as_store(),
        spec.rank,
        spec.world_size,
        &spec.local_address,
        JOIN_TIMEOUT,
        GROUP_TIMEOUT,
    )
    .map_err(|error| {
        Error::internal(format!(
            "it cannot connect to the other ranks within {} s; all ports must be open between the \
             hosts (in a VPC the security group must allow all traffic from itself): {error}",
            JOIN_TIMEOUT.as_secs()
        ))
    })?;
    progress.count_batch();
    if let Some(gpu) = &spec.gpu {
        if !device.is_cuda() {
            return Err(Error::input(
                "libtorch finds no GPU in this worker, although its parent did: look at the \
                 host's driver (nvidia-smi)",
            ));
        }
        // The only one that this process sees.
        group.add_nccl(store.as_store(), 0, GROUP_TIMEOUT)?;
        let test = ExchangeTest::run(&group, device)?;
        let transports = share_transports(spec, store, &gpu.nccl_log)?;
        if let Some(transports) = transports {
            print_gpu_exchange(&test, &transports, cluster);
        }
    } else {
        let test = ExchangeTest::run(&group, device)?;
        if spec.rank == WRITER_RANK {
            print_stdout(format_args!("workers sum over Gloo: {}", test.describe()));
        }
    }
    progress.count_batch();
    Ok(group)
}

/// Tells the first worker how NCCL reaches the others from this one. Returns the transports of all
/// in the first worker, and nothing in the others.
fn share_transports(
    spec: &WorkerSpec,
    store: &JobStore,
    log_file: &Path,
) -> Result<Option<NcclTransports>> {
    // Without the file, which a user's NCCL_DEBUG_FILE replaces, no transport is known.
    let log = std::fs::read(log_file).unwrap_or_default();
    let mut transports = NcclTransports::parse(&String::from_utf8_lossy(&log));
    let key = |rank: usize| format!("transports/{rank}");
    let to_error = |cause: serde_json::Error| Error::internal(format!("transports: {cause}"));
    if spec.rank != WRITER_RANK {
        store.publish(&key(spec.rank), &serde_json::to_vec(&transports).map_err(to_error)?)?;
        return Ok(None);
    }
    for rank in 0..spec.world_size {
        if rank != WRITER_RANK {
            let text = store.wait_for(&key(rank))?;
            transports.add(serde_json::from_slice(&text).map_err(to_error)?);
        }
    }
    Ok(Some(transports))
}

fn print_gpu_exchange(test: &ExchangeTest, transports: &NcclTransports, cluster: &Cluster) {
    print_stdout(format_args!("GPUs sum over {}: {}", transports.describe(), test.describe()));
    if let Some(instance_type) = cluster.instance_type_with_fabric()
        && cluster.hosts.len() > 1
        && transports.use_sockets()
    {
        print_stderr(format_args!(
            "warning: {instance_type} has an Elastic Fabric Adapter, and NCCL does not use it: \
             hosts exchange gradients over sockets, which is slow; the image needs libfabric and \
             the plugin aws-ofi-nccl, and the container the devices /dev/infiniband/uverbs*"
        ));
    }
}
