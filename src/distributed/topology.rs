//! The hosts of a job and the numbers of its workers.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::error::pluralize;

/// One host and the number of its workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostWorkers {
    /// Name of the host, such as `algo-1`.
    pub name: String,
    /// Number of workers that run on it, at least 1.
    pub workers: usize,
}

/// All hosts of a job, in the order of their ranks: those of the first host come first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    pub hosts: Vec<HostWorkers>,
}

impl Topology {
    /// Returns the number of workers on all hosts.
    pub fn world_size(&self) -> usize {
        let mut workers = 0;
        for host in &self.hosts {
            workers += host.workers;
        }
        workers
    }

    /// Returns the ranks of the workers of a host, which is given by its position.
    pub fn ranks_of(&self, host: usize) -> Range<usize> {
        let mut first = 0;
        for earlier in &self.hosts[..host] {
            first += earlier.workers;
        }
        first..first + self.hosts[host].workers
    }

    /// Returns the position of the host on which a rank's worker runs.
    pub fn host_of(&self, rank: usize) -> usize {
        let mut host = 0;
        while host + 1 < self.hosts.len() && rank >= self.ranks_of(host).end {
            host += 1;
        }
        host
    }

    /// Describes a host, such as `host algo-2 (ranks 2 and 3)`.
    pub fn describe_host(&self, host: usize) -> String {
        format!("host {} ({})", self.hosts[host].name, describe_ranks(self.ranks_of(host)))
    }

    /// Describes all hosts, such as `2 hosts, 4 workers: algo-1 (ranks 0 and 1), ...`.
    pub fn describe(&self) -> String {
        let mut hosts = Vec::new();
        for (position, host) in self.hosts.iter().enumerate() {
            hosts.push(format!("{} ({})", host.name, describe_ranks(self.ranks_of(position))));
        }
        format!(
            "{} on {}: {}",
            pluralize(self.world_size(), "worker"),
            pluralize(self.hosts.len(), "host"),
            hosts.join(", ")
        )
    }
}

/// Describes neighboring ranks, such as `rank 0` or `ranks 0 to 7`.
fn describe_ranks(ranks: Range<usize>) -> String {
    match ranks.len() {
        0 | 1 => format!("rank {}", ranks.start),
        2 => format!("ranks {} and {}", ranks.start, ranks.end - 1),
        _ => format!("ranks {} to {}", ranks.start, ranks.end - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_numbered_host_by_host() {
        let host = |name: &str, workers| HostWorkers { name: name.to_owned(), workers };
        let topology = Topology { hosts: vec![host("a", 1), host("b", 4), host("c", 2)] };
        assert_eq!(topology.world_size(), 7);
        let ranks: Vec<_> = (0..3).map(|host| topology.ranks_of(host)).collect();
        assert_eq!(ranks, [0..1, 1..5, 5..7]);
        let hosts: Vec<_> = (0..7).map(|rank| topology.host_of(rank)).collect();
        assert_eq!(hosts, [0, 1, 1, 1, 1, 2, 2]);
        assert_eq!(topology.describe_host(1), "host b (ranks 1 to 4)");
        assert_eq!(
            topology.describe(),
            "7 workers on 3 hosts: a (rank 0), b (ranks 1 to 4), c (ranks 5 and 6)"
        );
    }
}
