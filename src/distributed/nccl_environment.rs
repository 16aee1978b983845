//! Parents tell NCCL, by which GPUs exchange tensors, here about their host before it starts.
//!
//! NCCL reads environment variables
//! (<https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/env.html>), and so does libtorch's part
//! that calls it. Those that the user has set are left as they are, but for the two without which a
//! worker that fails would not end the others.

use std::path::Path;

use crate::machine;

/// Folder of the host's shared memory.
const SHARED_MEMORY: &str = "/dev/shm";

/// Bytes of shared memory for each GPU of a host. NVIDIA recommends 1 GiB for a container
/// (`--shm-size=1g` in NCCL's troubleshooting guide), on hosts of up to 8 GPUs; segments of 9.6 and
/// of 33 MB that could not be made are in NCCL's reports of errors.
const SHARED_MEMORY_PER_GPU: u64 = 128 << 20;

/// Folder with a file `uverbsN` for each adapter by which the plugins of NCCL reach other hosts: AWS'
/// Elastic Fabric Adapter, or InfiniBand.
const FABRIC_DEVICES: &str = "/dev/infiniband";

/// A host, as far as it matters to NCCL.
#[derive(Debug, Clone, Default)]
pub struct NcclHost {
    /// Number of GPUs that train.
    pub gpus: usize,
    /// Name of the network interface that leads to the other hosts, if there are any.
    pub interface: Option<String>,
    /// Free bytes of shared memory, if the system tells.
    pub free_shared_memory: Option<u64>,
    /// True if the host has an Elastic Fabric Adapter or InfiniBand.
    pub has_fabric: bool,
}

/// Variables for the workers of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NcclEnvironment {
    /// Names and values.
    pub variables: Vec<(&'static str, String)>,
    /// Says what makes the exchange slower than it could be, and how to mend it.
    pub warning: Option<String>,
}

impl NcclHost {
    /// Looks at this host, of which `gpus` GPUs train. `interface` leads to the job's other hosts.
    pub fn inspect(gpus: usize, interface: Option<String>) -> Self {
        Self {
            gpus,
            interface,
            free_shared_memory: machine::free_bytes(Path::new(SHARED_MEMORY)),
            has_fabric: has_fabric_device(Path::new(FABRIC_DEVICES)),
        }
    }

    /// Returns the variables for this host's workers. `is_set` tells if the user has set one, and
    /// `log_file` is where NCCL of one worker writes what it chose.
    pub fn environment(&self, is_set: &dyn Fn(&str) -> bool, log_file: &Path) -> NcclEnvironment {
        let mut environment = NcclEnvironment::default();
        let variables = &mut environment.variables;
        // libtorch ends a process whose exchange failed (3: without waiting for NCCL to clean up),
        // from a thread that exists only if calls do not block.
        variables.push(("TORCH_NCCL_ASYNC_ERROR_HANDLING", "3".to_owned()));
        variables.push(("TORCH_NCCL_BLOCKING_WAIT", "0".to_owned()));
        let mut offer = |name, value: String| {
            if !is_set(name) {
                variables.push((name, value));
            }
        };
        if let Some(interface) = &self.interface {
            // The sign means the whole name, where NCCL would take a prefix.
            offer("NCCL_SOCKET_IFNAME", format!("={interface}"));
        }
        if !self.has_fabric {
            // A plugin for adapters that are not there would cost time, and print errors.
            offer("NCCL_NET_PLUGIN", "none".to_owned());
        }
        if !is_set("NCCL_DEBUG") && !is_set("NCCL_DEBUG_FILE") {
            offer("NCCL_DEBUG", "INFO".to_owned());
            offer("NCCL_DEBUG_SUBSYS", "INIT".to_owned());
            offer("NCCL_DEBUG_FILE", log_file.display().to_string());
        } else {
            // Standard output is that of the first worker alone.
            offer("NCCL_DEBUG_FILE", "/dev/stderr".to_owned());
        }
        if let Some(warning) = self.shared_memory_warning()
            && !is_set("NCCL_SHM_DISABLE")
        {
            variables.push(("NCCL_SHM_DISABLE", "1".to_owned()));
            environment.warning = Some(warning);
        }
        environment
    }

    /// Returns a warning if the host has too little shared memory for its GPUs.
    fn shared_memory_warning(&self) -> Option<String> {
        let needed = SHARED_MEMORY_PER_GPU * self.gpus as u64;
        let free = self.free_shared_memory?;
        if self.gpus < 2 || free >= needed {
            return None;
        }
        Some(format!(
            "{SHARED_MEMORY} has {} MiB free, and NCCL may need {} MiB for {} GPUs: they exchange \
             gradients without it (NCCL_SHM_DISABLE=1), which is slow where they have no NVLink; \
             start the container with --shm-size={}m",
            free >> 20,
            needed >> 20,
            self.gpus,
            needed >> 20
        ))
    }
}

fn has_fabric_device(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    let mut names = entries.flatten().map(|entry| entry.file_name());
    names.any(|name| name.to_string_lossy().starts_with("uverbs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the variables of a host by name, if the user has set those of `set`.
    fn values(host: &NcclHost, set: &[&str]) -> std::collections::BTreeMap<&'static str, String> {
        let is_set = |name: &str| set.contains(&name);
        host.environment(&is_set, Path::new("/tmp/nccl.log")).variables.into_iter().collect()
    }

    #[test]
    fn failures_end_workers_whatever_the_user_set() {
        let host = NcclHost { gpus: 8, ..NcclHost::default() };
        let set = ["TORCH_NCCL_BLOCKING_WAIT", "TORCH_NCCL_ASYNC_ERROR_HANDLING"];
        let values = values(&host, &set);
        assert_eq!(values["TORCH_NCCL_ASYNC_ERROR_HANDLING"], "3");
        assert_eq!(values["TORCH_NCCL_BLOCKING_WAIT"], "0");
    }

    #[test]
    fn the_interface_toward_the_other_hosts_is_named_whole() {
        let host = NcclHost { interface: Some("eth0".to_owned()), ..NcclHost::default() };
        assert_eq!(values(&host, &[])["NCCL_SOCKET_IFNAME"], "=eth0");
        assert!(!values(&host, &["NCCL_SOCKET_IFNAME"]).contains_key("NCCL_SOCKET_IFNAME"));
        assert!(!values(&NcclHost::default(), &[]).contains_key("NCCL_SOCKET_IFNAME"));
    }

    #[test]
    fn plugins_are_looked_for_where_there_are_adapters() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!has_fabric_device(&folder.path().join("missing")));
        std::fs::write(folder.path().join("rdma_cm"), "").unwrap();
        assert!(!has_fabric_device(folder.path()));
        std::fs::write(folder.path().join("uverbs0"), "").unwrap();
        assert!(has_fabric_device(folder.path()));
        assert_eq!(values(&NcclHost::default(), &[])["NCCL_NET_PLUGIN"], "none");
        let host = NcclHost { has_fabric: true, ..NcclHost::default() };
        assert!(!values(&host, &[]).contains_key("NCCL_NET_PLUGIN"));
    }

    #[test]
    fn too_little_shared_memory_is_not_used_and_told() {
        let host = |gpus, mebibytes: u64| NcclHost {
            gpus,
            free_shared_memory: Some(mebibytes << 20),
            ..NcclHost::default()
        };
        let too_small = host(4, 64);
        assert_eq!(values(&too_small, &[])["NCCL_SHM_DISABLE"], "1");
        let warning = too_small.environment(&|_| false, Path::new("")).warning.unwrap();
        assert!(warning.contains("has 64 MiB free") && warning.contains("512 MiB for 4 GPUs"));
        assert!(warning.contains("--shm-size=512m"), "{warning}");
        assert!(!values(&too_small, &["NCCL_SHM_DISABLE"]).contains_key("NCCL_SHM_DISABLE"));
        for enough in [host(4, 512), host(1, 1), NcclHost { gpus: 8, ..NcclHost::default() }] {
            let environment = enough.environment(&|_| false, Path::new(""));
            assert_eq!(environment.warning, None);
            assert!(!values(&enough, &[]).contains_key("NCCL_SHM_DISABLE"));
        }
    }

    #[test]
    fn a_log_that_the_user_asked_for_is_the_users() {
        let host = NcclHost::default();
        assert_eq!(values(&host, &[])["NCCL_DEBUG_FILE"], "/tmp/nccl.log");
        let with_level = values(&host, &["NCCL_DEBUG"]);
        assert_eq!(with_level["NCCL_DEBUG_FILE"], "/dev/stderr");
        let with_file = values(&host, &["NCCL_DEBUG_FILE"]);
        for values in [with_level, with_file.clone()] {
            assert!(!values.contains_key("NCCL_DEBUG"));
        }
        assert!(!with_file.contains_key("NCCL_DEBUG_FILE"));
    }

    #[test]
    fn this_host_can_be_looked_at() {
        let host = NcclHost::inspect(2, None);
        assert_eq!((host.gpus, host.interface), (2, None));
    }
}
