//! A training split whose samples lie on several hosts, each of which has a part of them
//! (SageMaker's `ShardedByS3Key`).

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::batch_parts::{RankShare, split_into_micro_batches};

/// The samples of one host, and the ranks that learn from them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Number of samples on the host.
    pub samples: usize,
    /// Ranks of the host's workers.
    pub ranks: Range<usize>,
}

/// All shards of a split. Each host draws the order of its own samples. An epoch ends when the
/// smallest shard has no more for a whole batch; larger shards leave out another random part of
/// their samples in each epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shards {
    /// Shards of all hosts, in the order of their ranks.
    pub shards: Vec<Shard>,
    /// Position of this host's shard.
    pub current: usize,
}

impl Shards {
    /// Returns the number of workers of all hosts.
    fn world_size(&self) -> usize {
        self.shards.last().map_or(1, |shard| shard.ranks.end)
    }

    /// Returns the number of samples of all hosts.
    pub fn total_samples(&self) -> usize {
        self.shards.iter().map(|shard| shard.samples).sum()
    }

    /// Returns the number of samples of each host.
    pub fn samples_by_host(&self) -> Vec<usize> {
        self.shards.iter().map(|shard| shard.samples).collect()
    }

    /// Returns the number of samples on the hosts before this one. Samples are numbered through all
    /// hosts, so that two samples never get the same random draws.
    pub fn first_sample(&self) -> usize {
        self.shards[..self.current].iter().map(|shard| shard.samples).sum()
    }

    /// Returns the images that a host computes in a part of a batch, as places in the part.
    pub fn range_of_host(&self, host: usize, part_images: usize) -> Range<usize> {
        let (world_size, ranks) = (self.world_size(), &self.shards[host].ranks);
        let range_of = |rank| RankShare { rank, world_size }.range(part_images);
        range_of(ranks.start).start..range_of(ranks.end - 1).end
    }

    /// Returns the number of images that a host computes in a batch.
    pub fn images_per_batch(&self, host: usize, batch_size: usize, max_images: usize) -> usize {
        let mut images = 0;
        for part in split_into_micro_batches(batch_size, max_images, self.world_size()) {
            images += self.range_of_host(host, part.len()).len();
        }
        images
    }

    /// Returns the number of whole batches that every host has samples for.
    pub fn batches_per_epoch(&self, batch_size: usize, max_images: usize) -> usize {
        let mut batches = usize::MAX;
        for (host, shard) in self.shards.iter().enumerate() {
            let images = self.images_per_batch(host, batch_size, max_images).max(1);
            batches = batches.min(shard.samples / images);
        }
        batches
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Makes shards of hosts with these numbers of samples and workers.
    fn shards(hosts: &[(usize, usize)]) -> Shards {
        let mut shards = Vec::new();
        let mut first = 0;
        for &(samples, workers) in hosts {
            shards.push(Shard { samples, ranks: first..first + workers });
            first += workers;
        }
        Shards { shards, current: 0 }
    }

    #[test]
    fn the_smallest_shard_ends_an_epoch() {
        let two = shards(&[(10, 1), (7, 1)]);
        assert_eq!(two.batches_per_epoch(4, 4), 3);
        assert_eq!(two.total_samples(), 17);
        assert_eq!(Shards { current: 1, ..two }.first_sample(), 10);
        // Three of four images are those of the host with three workers.
        let uneven = shards(&[(10, 1), (10, 3)]);
        assert_eq!(uneven.batches_per_epoch(4, 4), 3);
        assert_eq!(shards(&[(10, 1), (1, 1)]).batches_per_epoch(4, 4), 0);
    }

    proptest! {
        #[test]
        fn hosts_share_every_batch_without_gaps(
            hosts in proptest::collection::vec((0_usize..50, 1_usize..5), 1..5),
            batch_size in 1_usize..60,
            max_images in 1_usize..20,
        ) {
            let shards = shards(&hosts);
            let mut images = 0;
            for host in 0..hosts.len() {
                images += shards.images_per_batch(host, batch_size, max_images);
            }
            prop_assert_eq!(images, batch_size);
        }
    }
}
