//! NCCL's log tells how it moves tensors between GPUs, and what went wrong.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Network that NCCL takes where it has no better one.
const SOCKETS: &str = "NET/Socket";

/// The ways from one worker's GPU to the others, or from those of all workers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NcclTransports {
    /// Version of NCCL, if the log names it.
    version: Option<String>,
    /// Names of transports as NCCL writes them: `P2P` from GPU to GPU, `SHM` by shared memory,
    /// `NET/Socket`, `NET/IB` or `NET/AWS Libfabric` by a network.
    transports: BTreeSet<String>,
}

impl NcclTransports {
    /// Reads a worker's log, in which NCCL writes a line for each connection, such as
    /// `host:9:9 [0] NCCL INFO Channel 00/0 : 0[0] -> 1[1] [send] via NET/Socket/0`.
    pub fn parse(log: &str) -> Self {
        let mut found = Self::default();
        for line in log.lines() {
            if let Some((_, version)) = line.split_once("NCCL version ") {
                let version = version.split(['+', ' ']).next().unwrap_or_default();
                found.version = Some(version.to_owned());
            }
            let connection = line.split_once("NCCL INFO Channel ");
            if let Some((_, transport)) = connection.and_then(|(_, rest)| rest.split_once(" via "))
            {
                found.transports.insert(transport_name(transport));
            }
        }
        found
    }

    /// Adds the transports of another worker.
    pub fn add(&mut self, other: Self) {
        self.transports.extend(other.transports);
        self.version = self.version.take().or(other.version);
    }

    /// Returns true if tensors go through sockets of the system.
    pub fn use_sockets(&self) -> bool {
        self.transports.contains(SOCKETS)
    }

    /// Describes the transports, such as `NCCL 2.27.5 by NET/Socket, P2P`.
    pub fn describe(&self) -> String {
        let version = self.version.as_deref().unwrap_or("of unknown version");
        if self.transports.is_empty() {
            return format!("NCCL {version}");
        }
        let names: Vec<&str> = self.transports.iter().map(String::as_str).collect();
        format!("NCCL {version} by {}", names.join(", "))
    }
}

/// Returns NCCL's last warnings, which say why an exchange failed, such as
/// `Call to ibv_modify_qp failed`.
pub(super) fn last_warnings(log: &str) -> Vec<&str> {
    const WARNINGS: usize = 3;
    let mut warnings = Vec::new();
    for line in log.lines() {
        if let Some((_, warning)) = line.split_once("NCCL WARN ") {
            warnings.push(warning.trim());
        }
    }
    warnings.split_off(warnings.len().saturating_sub(WARNINGS))
}

/// Returns the part of a transport's name that does not depend on the connection.
fn transport_name(transport: &str) -> String {
    let mut parts = transport.trim().split('/');
    let family = parts.next().unwrap_or_default();
    match parts.next() {
        Some(network) if family == "NET" => format!("{family}/{network}"),
        _ => family.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Lines of logs in reports of NCCL's users (NVIDIA/nccl 1189, 952, NVIDIA/nccl-tests 166).
    const LOG: &str = "\
NCCL version 2.27.5+cuda12.8
h:9621:9692 [7] NCCL INFO Using network Socket
h:9621:9692 [7] NCCL INFO Channel 14/0 : 15[7] -> 0[0] [send] via NET/Socket/0
h:9621:9688 [3] NCCL INFO Channel 05 : 11[3] -> 12[4] via SHM/direct/direct
h:919:1150 [0] NCCL INFO Channel 01/0 : 8[0] -> 15[7] via P2P/IPC/read
h:919:1150 [0] NCCL INFO Channel 02/0 : 8[0] -> 15[7] via P2P/CUMEM
h:919:1150 [0] NCCL INFO comm 0x55cd1a0bf930 rank 1 nRanks 2 nNodes 1 localRanks 2
";

    #[test]
    fn transports_and_version_are_read_from_the_log() {
        let found = NcclTransports::parse(LOG);
        assert_eq!(found.describe(), "NCCL 2.27.5 by NET/Socket, P2P, SHM");
        assert!(found.use_sockets());
    }

    #[test]
    fn transports_of_several_workers_are_joined() {
        let line = "h:1:1 [0] NCCL INFO Channel 00/0 : 0[0] -> 8[0] [send] via NET/AWS Libfabric/0";
        let mut all = NcclTransports::parse(&format!("{line}/GDRDMA\n{line}\n"));
        assert_eq!(all.describe(), "NCCL of unknown version by NET/AWS Libfabric");
        assert!(!all.use_sockets());
        all.add(NcclTransports::parse(LOG));
        assert_eq!(all.describe(), "NCCL 2.27.5 by NET/AWS Libfabric, NET/Socket, P2P, SHM");
    }

    #[test]
    fn the_last_warnings_are_read_from_the_log() {
        // From NVIDIA/nccl 525 and ai-dynamo/dynamo 1408.
        let log = "h:1:2 [3] include/shm.h:28 NCCL WARN Call to posix_fallocate failed : No space\n\
                   h:1:2 [3] NCCL INFO include/shm.h:41 -> 2\n\
                   h:1:2 [1] misc/shmutils.cc:87 NCCL WARN Error: failed to extend /dev/shm/nccl-Y\n";
        let expected = [
            "Call to posix_fallocate failed : No space",
            "Error: failed to extend /dev/shm/nccl-Y",
        ];
        assert_eq!(last_warnings(log), expected);
        let many = "NCCL WARN 1\nNCCL WARN 2\nNCCL WARN 3\nNCCL WARN 4\n";
        assert_eq!(last_warnings(many), ["2", "3", "4"]);
        assert!(last_warnings(LOG).is_empty());
    }

    #[test]
    fn a_log_without_connections_names_none() {
        assert_eq!(NcclTransports::parse("").describe(), "NCCL of unknown version");
    }

    proptest::proptest! {
        #[test]
        fn any_log_is_read(log in "(NCCL INFO Channel|NCCL WARN|NCCL version| via |/|\\PC|\n){0,20}") {
            let _ = NcclTransports::parse(&log).describe();
            let _ = last_warnings(&log);
        }
    }
}
