//! The machine or container that this process runs on: its memory, its cores, and free space of its
//! disks.

use std::env;
use std::fs::read_to_string;
use std::path::Path;
use std::thread;

/// Variables by which libtorch and the loader are told how many threads to use.
const THREAD_VARIABLES: [&str; 2] = ["OMP_NUM_THREADS", "RAYON_NUM_THREADS"];

/// Limits of a container's memory, of both versions of control groups.
const MEMORY_LIMIT_FILES: [&str; 2] =
    ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];

/// Returns the variables that divide the cores of this machine among so many processes side by side.
/// The list lacks those that are set already, as they count.
pub fn divide_cores(processes: usize) -> Vec<(String, String)> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = (cores / processes.max(1)).max(1).to_string();
    let mut variables = Vec::new();
    for name in THREAD_VARIABLES {
        if env::var_os(name).is_none() {
            variables.push((name.to_owned(), threads.clone()));
        }
    }
    variables
}

/// Returns the bytes of memory that this process may use: the machine's, or fewer if its container
/// has a limit. Returns nothing if the system reports no size.
pub fn memory_bytes() -> Option<u64> {
    let limits = MEMORY_LIMIT_FILES
        .iter()
        .filter_map(|path| read_to_string(path).ok()?.trim().parse::<u64>().ok());
    // A cgroup without a limit says "max" (version 2), or a number beyond any machine (version 1).
    limits.chain(machine_memory_bytes()).min()
}

fn machine_memory_bytes() -> Option<u64> {
    parse_proc_bytes(&read_to_string("/proc/meminfo").ok()?, "MemTotal:")
}

/// Returns the resident memory of this process, in bytes.
pub fn resident_bytes() -> Option<u64> {
    parse_proc_bytes(&read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// Returns the bytes on the line of a file under /proc that begins with `key`.
fn parse_proc_bytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let number: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    number.checked_mul(1024)
}

/// Returns the bytes that can still be written to the file system of a folder.
pub fn free_bytes(folder: &Path) -> Option<u64> {
    let status = rustix::fs::statvfs(folder).ok()?;
    Some(status.f_bavail.saturating_mul(status.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_the_machine_and_of_this_process_are_read() {
        assert_eq!(parse_proc_bytes("Name: x\nVmRSS:\t    12 kB\n", "VmRSS:"), Some(12 << 10));
        assert_eq!(parse_proc_bytes("VmRSS: many kB", "VmRSS:"), None);
        let (whole, held) = (memory_bytes().unwrap(), resident_bytes().unwrap());
        assert!(held > 1 << 20 && whole > held, "{whole} {held}");
        assert!(free_bytes(Path::new("/")).is_some());
        assert_eq!(free_bytes(Path::new("/no/such/folder")), None);
    }
}
