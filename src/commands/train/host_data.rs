//! The data of a host in a job of several processes: read once, compared with those of the other
//! hosts, and made ready for the host's workers.

use std::thread;
use std::time::Duration;

use super::inputs::Inputs;
use super::parent::Host;
use super::worker::HostDataFile;
use crate::console::print_stdout;
use crate::data::batch_parts::split_into_micro_batches;
use crate::data::dataset::{AuditedSplit, DatasetDocument, Spool};
use crate::data::shards::{Shard, Shards};
use crate::distributed::{JobStore, WorkerDevice};
use crate::error::{Error, Problems, Result};
use crate::model::Architecture;
use crate::model::network::build_graph;
use crate::sagemaker::StopSignal;
use crate::train::Hyperparameters;
use crate::train::data_record::DataRecord;
use crate::train::host_data::{HostData, HostSplit, Placement, check_classes, find_placement};

/// Time between two looks for the data of hosts that are not ready yet.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The data of this host, read and compared with those of the others.
pub(super) struct ReadyData {
    pub(super) file: HostDataFile,
    /// Place of the validation samples.
    pub(super) validation: Placement,
    /// Files of streams and objects, which lie on disk until this is dropped.
    _spool: Spool,
}

impl Host<'_> {
    /// Tells the other hosts which samples this one has, and compares them. Returns nothing if the
    /// job was asked to stop meanwhile.
    pub(super) fn share_data(&self, inputs: Inputs) -> Result<Option<ReadyData>> {
        let Inputs { initial, mut training, mut validation, class_names, spool } = inputs;
        // The workers read them again; the parent holds no tensors.
        drop(initial);
        let own = HostData {
            training: HostSplit::new(&training),
            validation: HostSplit::new(&validation),
            class_names: class_names.clone(),
        };
        let (current, host_count) = (self.current, self.topology.hosts.len());
        let stop = self.parent.stop.clone();
        let address = self.store.address();
        let exchange = move || {
            let store = JobStore::connect_to(&address)?;
            exchange_host_data(&store, current, host_count, own, &stop)
        };
        let Some(hosts) = self.do_watched(exchange)? else { return Ok(None) };
        let mut names = Vec::new();
        for host in &self.topology.hosts {
            names.push(host.name.as_str());
        }
        let mut problems = Problems::new();
        problems.record_err(check_classes(&names, &hosts));
        let [trainings, validations] = [training_of as fn(&HostData) -> &HostSplit, validation_of]
            .map(|split| hosts.iter().map(split).collect::<Vec<&HostSplit>>());
        let placements = (
            problems.check(find_placement("train", &names, &trainings)),
            problems.check(find_placement("validation", &names, &validations)),
        );
        let (training_placement, validation_placement) = problems.finish_with(placements)?;
        let mut record = DataRecord {
            training: trainings[current].record()?,
            validation: validations[current].record()?,
        };
        let mut shards = None;
        if training_placement == Placement::Sharded {
            add_other_hosts(&mut training, &trainings, current);
            record.training = HostSplit::join_records(&trainings)?;
            shards = Some(self.shards(&trainings));
        }
        let mut validation_images = validation.samples.len();
        if validation_placement == Placement::Sharded {
            add_other_hosts(&mut validation, &validations, current);
            record.validation = HostSplit::join_records(&validations)?;
            validation_images = validations.iter().map(|split| split.keys.len()).sum();
        }
        let dataset = DatasetDocument::new(&training, &validation, class_names);
        let file = HostDataFile { dataset, record, shards, validation_images };
        Ok(Some(ReadyData { file, validation: validation_placement, _spool: spool }))
    }

    /// Returns the training samples of all hosts by number.
    fn shards(&self, hosts: &[&HostSplit]) -> Shards {
        let mut shards = Vec::new();
        for (position, host) in hosts.iter().enumerate() {
            shards
                .push(Shard { samples: host.keys.len(), ranks: self.topology.ranks_of(position) });
        }
        Shards { shards, current: self.current }
    }

    /// Checks that every rank has images in each part of a batch.
    pub(super) fn check_batch(&self, data: &HostDataFile) -> Result<()> {
        let mut problems = Problems::new();
        let params = &self.parent.job.hyperparameters;
        let world_size = self.topology.world_size();
        let batch_size = params.mini_batch_size * params.gradient_accumulation_steps;
        let samples = match &data.shards {
            Some(shards) => shards.total_samples(),
            None => data.dataset.training_images(),
        };
        let images = batch_size.min(samples);
        let mut smallest_part = images;
        for part in split_into_micro_batches(images, params.mini_batch_size, world_size) {
            smallest_part = smallest_part.min(part.len());
        }
        let fewer_workers = match self.parent.device {
            WorkerDevice::Cpu => "--workers",
            WorkerDevice::Gpu => "CUDA_VISIBLE_DEVICES",
        };
        if smallest_part < world_size {
            problems.push(format!(
                "mini_batch_size is {} over all workers, and the training data have {samples} \
                 images: {world_size} workers cannot share {smallest_part} images; raise \
                 mini_batch_size to at least {world_size}, add images, or use fewer workers \
                 ({fewer_workers}, InstanceCount)",
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
}

/// Publishes what this host has, and waits for what the others have. Returns nothing if the job is
/// asked to stop meanwhile.
fn exchange_host_data(
    store: &JobStore,
    current: usize,
    host_count: usize,
    own: HostData,
    stop: &StopSignal,
) -> Result<Option<Vec<HostData>>> {
    if host_count == 1 {
        return Ok(Some(vec![own]));
    }
    let key = |host: usize| format!("host/{host}/data");
    let text = serde_json::to_vec(&own)
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

fn training_of(host: &HostData) -> &HostSplit {
    &host.training
}

fn validation_of(host: &HostData) -> &HostSplit {
    &host.validation
}

/// Adds what the audits of the other hosts found to that of this one.
fn add_other_hosts(split: &mut AuditedSplit, hosts: &[&HostSplit], current: usize) {
    for (position, host) in hosts.iter().enumerate() {
        if position != current {
            host.add_to(&mut split.audit);
        }
    }
}

fn pools_to_1x1(hyperparameters: &Hyperparameters) -> bool {
    let Hyperparameters { algorithm, backbone, num_classes, .. } = *hyperparameters;
    build_graph(Architecture { algorithm, backbone }, num_classes).pools_to_1x1()
}
