//! How much memory this container has, and how much this process holds.

use std::fs::read_to_string;

/// The share of the container's memory, in percent, that models may hold unless told otherwise: the rest is for
/// requests and for what a network needs while it computes.
const MODELS_PERCENT: u64 = 60;

/// What models may hold together unless told otherwise; everything where the system tells no size.
pub(super) fn default_models_bytes() -> u64 {
    let limit_files = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let cgroup_limits =
        limit_files.iter().filter_map(|path| read_to_string(path).ok()?.trim().parse().ok());
    // A group without a limit says "max" (version 2), or a number beyond any machine (version 1).
    let smallest: Option<u64> = cgroup_limits.chain(machine_memory_bytes()).min();
    smallest.map_or(u64::MAX, |bytes| bytes / 100 * MODELS_PERCENT)
}

fn machine_memory_bytes() -> Option<u64> {
    parse_proc_bytes(&read_to_string("/proc/meminfo").ok()?, "MemTotal:")
}

/// What this process holds in memory, in bytes.
pub(super) fn resident_bytes() -> Option<u64> {
    parse_proc_bytes(&read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// The bytes on the line of a file under /proc that begins with `key`.
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
