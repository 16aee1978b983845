//! The memory of the container and of this process, in bytes.

use std::fs::read_to_string;

/// Default share of the container's memory for models, in percent. The rest is for requests and for
/// the buffers of a network while it computes.
const MODELS_PERCENT: u64 = 60;

/// Returns the default bound on the bytes of all models; `u64::MAX` if the system reports no size.
pub(in crate::serve) fn default_models_bytes() -> u64 {
    let limit_files = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let cgroup_limits =
        limit_files.iter().filter_map(|path| read_to_string(path).ok()?.trim().parse().ok());
    // A cgroup without a limit says "max" (version 2), or a number beyond any machine (version 1).
    let smallest: Option<u64> = cgroup_limits.chain(machine_memory_bytes()).min();
    smallest.map_or(u64::MAX, |bytes| bytes / 100 * MODELS_PERCENT)
}

fn machine_memory_bytes() -> Option<u64> {
    parse_proc_bytes(&read_to_string("/proc/meminfo").ok()?, "MemTotal:")
}

/// Returns the resident memory of this process, in bytes.
pub(in crate::serve) fn resident_bytes() -> Option<u64> {
    parse_proc_bytes(&read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// Returns the bytes on the line of a file under /proc that begins with `key`.
fn parse_proc_bytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let number: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    number.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_the_machine_and_of_this_process_are_read() {
        assert_eq!(parse_proc_bytes("Name: x\nVmRSS:\t    12 kB\n", "VmRSS:"), Some(12 << 10));
        assert_eq!(parse_proc_bytes("VmRSS: many kB", "VmRSS:"), None);
        let (budget, held) = (default_models_bytes(), resident_bytes().unwrap());
        assert!(held > 1 << 20 && budget > held, "{budget} {held}");
    }
}
