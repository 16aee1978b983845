//! The worker processes of this host.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};

use super::fault::{Fault, INPUT_EXIT_CODE};
use super::meeting::WorkerDevice;
use super::nccl_log::last_warnings;
use crate::error::{Error, Result};

/// Exit code of a process that failed for another reason than its data
/// (`docs/architecture.md#exit-codes`).
const INTERNAL_EXIT_CODE: i32 = 1;

/// Signal (SIGABRT) by which libtorch ends a process whose exchange by NCCL failed.
const NCCL_SIGNAL: i32 = 6;

/// A worker that ended.
#[derive(Debug)]
pub struct WorkerExit {
    pub rank: usize,
    device: WorkerDevice,
    status: ExitStatus,
    /// Reason that the worker wrote, a line per problem; empty if it wrote none.
    reason: String,
    /// Log that NCCL wrote in this worker; empty on processors.
    nccl_log: String,
}

impl WorkerExit {
    /// Returns true if the worker did all its work, or stopped because it was asked to.
    pub fn is_success(&self) -> bool {
        self.status.success()
    }

    /// Returns true if the reason may be another worker's end, which broke an exchange: an error that
    /// is neither one of data nor a panic, or the end by which NCCL's watch leaves.
    pub fn may_be_consequence(&self) -> bool {
        self.status.code() == Some(INTERNAL_EXIT_CODE)
            || self.status.signal() == Some(NCCL_SIGNAL) && self.device == WorkerDevice::Gpu
    }

    /// Returns the fault of a worker on `host` that failed.
    pub fn into_fault(self, host: &str) -> Fault {
        let place = format!("rank {} on host {host}", self.rank);
        let problem = match (self.status.signal(), self.status.code()) {
            (Some(9), _) => format!(
                "{place} was killed by signal 9 (SIGKILL), which the system sends when memory runs \
                 out: see the host's log; lower mini_batch_size or crop_size, or take a larger \
                 instance"
            ),
            (Some(NCCL_SIGNAL), _) if self.device == WorkerDevice::Gpu => {
                let mut problem = format!(
                    "{place} was ended by signal {NCCL_SIGNAL} (SIGABRT), as libtorch ends a worker \
                     whose exchange by NCCL failed"
                );
                for warning in last_warnings(&self.nccl_log) {
                    problem.push_str("; NCCL: ");
                    problem.push_str(warning);
                }
                problem
            }
            (Some(signal), _) => format!("{place} was ended by signal {signal}"),
            (None, code) if self.reason.is_empty() => {
                format!("{place} ended with exit code {}", code.unwrap_or_default())
            }
            (None, _) => format!("{place}: {}", self.reason),
        };
        let exit_code = match self.status.code() {
            Some(code) if code == i32::from(INPUT_EXIT_CODE) => INPUT_EXIT_CODE,
            _ => 1,
        };
        Fault { problems: vec![problem], exit_code }
    }
}

#[derive(Debug)]
struct WorkerProcess {
    rank: usize,
    child: Child,
    /// File to which the worker writes the reason of its failure.
    reason_file: PathBuf,
    /// File to which NCCL writes, if the worker has a GPU.
    nccl_log: Option<PathBuf>,
    has_ended: bool,
}

/// The workers of this host. They are killed when this is dropped.
#[derive(Debug)]
pub struct Workers {
    device: WorkerDevice,
    processes: Vec<WorkerProcess>,
}

impl Workers {
    /// Returns no workers yet, which will compute on a device.
    pub fn new(device: WorkerDevice) -> Self {
        Self { device, processes: Vec::new() }
    }

    /// Starts the worker of a rank. It writes the reason of a failure to `reason_file`, and NCCL
    /// writes to `nccl_log`.
    pub fn start(
        &mut self,
        rank: usize,
        command: &mut Command,
        reason_file: PathBuf,
        nccl_log: Option<PathBuf>,
    ) -> Result<()> {
        // A Ctrl-C of the terminal reaches the parent alone; workers learn of it from the store.
        let child = command.process_group(0).spawn().map_err(|cause| {
            Error::internal(format!("the worker of rank {rank} cannot be started: {cause}"))
        })?;
        self.processes.push(WorkerProcess { rank, child, reason_file, nccl_log, has_ended: false });
        Ok(())
    }

    /// Returns true if all workers have ended.
    pub fn have_ended(&self) -> bool {
        self.processes.iter().all(|process| process.has_ended)
    }

    /// Returns the workers that ended since the last call.
    pub fn take_exits(&mut self) -> Result<Vec<WorkerExit>> {
        let mut exits = Vec::new();
        for process in &mut self.processes {
            if process.has_ended {
                continue;
            }
            let status = process.child.try_wait().map_err(|cause| {
                Error::internal(format!("the worker of rank {}: {cause}", process.rank))
            })?;
            if let Some(status) = status {
                process.has_ended = true;
                let reason = std::fs::read_to_string(&process.reason_file).unwrap_or_default();
                let nccl_log = process.nccl_log.as_ref().and_then(|file| std::fs::read(file).ok());
                exits.push(WorkerExit {
                    rank: process.rank,
                    device: self.device,
                    status,
                    reason,
                    nccl_log: String::from_utf8_lossy(&nccl_log.unwrap_or_default()).into_owned(),
                });
            }
        }
        Ok(exits)
    }

    /// Ends all workers at once.
    pub fn kill(&mut self) {
        for process in self.processes.iter_mut().filter(|process| !process.has_ended) {
            let _ = process.child.kill();
            let _ = process.child.wait();
            process.has_ended = true;
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs shell commands as workers of a device, and returns their ends by rank.
    fn run(device: WorkerDevice, commands: &[&str]) -> Vec<WorkerExit> {
        let folder = tempfile::tempdir().unwrap();
        let mut workers = Workers::new(device);
        for (rank, command) in commands.iter().enumerate() {
            let reason_file = folder.path().join(rank.to_string());
            let nccl_log = folder.path().join("nccl.log");
            let mut shell = Command::new("sh");
            shell.args(["-c", command]);
            shell.env("REASON_FILE", &reason_file).env("NCCL_LOG", &nccl_log);
            workers.start(rank, &mut shell, reason_file, Some(nccl_log)).unwrap();
        }
        let mut exits = Vec::new();
        while !workers.have_ended() {
            exits.extend(workers.take_exits().unwrap());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        exits.sort_by_key(|exit| exit.rank);
        exits
    }

    #[test]
    fn ends_are_told_with_rank_host_and_reason() {
        let commands = [
            "exit 0",
            "printf 'a.png is damaged' >$REASON_FILE; exit 3",
            "kill -KILL $$",
            "kill -SEGV $$",
            "exit 7",
        ];
        let mut exits = run(WorkerDevice::Cpu, &commands);
        assert!(exits.remove(0).is_success());
        let faults: Vec<Fault> = exits.into_iter().map(|exit| exit.into_fault("algo-2")).collect();
        assert_eq!(faults[0].problems, ["rank 1 on host algo-2: a.png is damaged"]);
        assert_eq!(faults[0].exit_code, 3);
        assert!(faults[1].problems[0].contains("rank 2 on host algo-2 was killed by signal 9"));
        assert_eq!(faults[2].problems, ["rank 3 on host algo-2 was ended by signal 11"]);
        assert_eq!(faults[3].problems, ["rank 4 on host algo-2 ended with exit code 7"]);
        assert_eq!(faults[3].exit_code, 1);
    }

    #[test]
    fn the_end_of_an_exchange_is_told_with_the_warnings_of_nccl() {
        let command = "printf 'x [0] NCCL WARN Connection closed\\n' >$NCCL_LOG; kill -ABRT $$";
        let problem =
            run(WorkerDevice::Gpu, &[command]).remove(0).into_fault("a").problems.remove(0);
        assert!(problem.contains("exchange by NCCL failed; NCCL: Connection closed"), "{problem}");
        let problem =
            run(WorkerDevice::Cpu, &[command]).remove(0).into_fault("a").problems.remove(0);
        assert_eq!(problem, "rank 0 on host a was ended by signal 6");
    }

    #[test]
    fn ends_by_data_signals_and_panics_do_not_follow_from_others() {
        let commands = ["exit 3", "kill -KILL $$", "exit 101", "exit 1", "kill -ABRT $$"];
        for (device, expected) in [
            (WorkerDevice::Cpu, [false, false, false, true, false]),
            (WorkerDevice::Gpu, [false, false, false, true, true]),
        ] {
            let exits = run(device, &commands);
            let flags: Vec<bool> = exits.iter().map(WorkerExit::may_be_consequence).collect();
            assert_eq!(flags, expected);
        }
    }

    #[test]
    fn workers_are_killed_with_their_owner() {
        let mut workers = Workers::new(WorkerDevice::Cpu);
        let mut command = Command::new("sleep");
        workers.start(0, command.arg("60"), PathBuf::new(), None).unwrap();
        let process = format!("/proc/{}", workers.processes[0].child.id());
        drop(workers);
        assert!(!std::path::Path::new(&process).exists());
    }
}
