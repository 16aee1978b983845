//! A process whose output goes to a log file, and line by line to who started it.

use std::fs::File;
use std::io::{self, PipeReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// This program as the system has it open, even if its file was replaced meanwhile.
pub(crate) const OWN_PROGRAM: &str = "/proc/self/exe";

/// Time that a process gets to end after a request to stop; SageMaker gives jobs as much.
const STOP_TIMEOUT: Duration = Duration::from_mins(2);

/// Time between two looks at a process.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Time in which the last lines of a process that has ended must come. Another one that it left
/// behind may keep its output open.
const LAST_LINES_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest part of a line that is passed on, in bytes. The log gets all.
const MAX_LINE_BYTES: usize = 16 << 10;

/// Process that runs.
#[derive(Debug)]
pub(crate) struct LoggedProcess {
    child: Child,
    lines: Receiver<String>,
}

impl LoggedProcess {
    /// Starts a command, whose output and errors are appended to a log.
    pub(crate) fn start(mut command: Command, log: File) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        // A Ctrl-C of the terminal reaches this process alone, which passes it on.
        let child = command.process_group(0).spawn()?;
        // The writing ends in the command would keep the pipe open.
        drop(command);
        Ok(Self { child, lines: copy_to_log(reader, log) })
    }

    /// Waits for the end of the process, and passes its lines on. Once `should_stop` returns true, the
    /// process is asked to end, and killed if it does not within two minutes.
    pub(crate) fn wait(
        mut self,
        should_stop: &dyn Fn() -> bool,
        on_line: &mut dyn FnMut(&str),
    ) -> io::Result<ExitStatus> {
        let pid = Pid::from_child(&self.child);
        let mut stop_began: Option<Instant> = None;
        let status = loop {
            match self.lines.recv_timeout(POLL_INTERVAL) {
                Ok(line) => on_line(&line),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => thread::sleep(POLL_INTERVAL),
            }
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            match stop_began {
                None if should_stop() => {
                    let _ = kill_process(pid, Signal::TERM);
                    stop_began = Some(Instant::now());
                }
                Some(began) if began.elapsed() > STOP_TIMEOUT => {
                    let _ = self.child.kill();
                }
                _ => {}
            }
        };
        let deadline = Instant::now() + LAST_LINES_TIMEOUT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else { return Ok(status) };
            on_line(&line);
        }
    }
}

/// Starts a thread that appends what a process prints to its log, and sends on its lines.
fn copy_to_log(mut reader: PipeReader, mut log: File) -> Receiver<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        let mut line = Vec::new();
        loop {
            let count = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            // A full disk must not stop the output, which would stop the process.
            let _ = log.write_all(&buffer[..count]);
            for &byte in &buffer[..count] {
                if byte == b'\n' || byte == b'\r' {
                    let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
                    line.clear();
                } else if line.len() < MAX_LINE_BYTES {
                    line.push(byte);
                }
            }
        }
        if !line.is_empty() {
            let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
        }
    });
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn run(script: &str, should_stop: &dyn Fn() -> bool) -> (ExitStatus, Vec<String>, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut command = Command::new("sh");
        command.arg("-c").arg(script);
        let process = LoggedProcess::start(command, File::create(&path).unwrap()).unwrap();
        let mut lines = Vec::new();
        let status = process.wait(should_stop, &mut |line| lines.push(line.to_owned())).unwrap();
        (status, lines, std::fs::read_to_string(&path).unwrap())
    }

    #[test]
    fn output_goes_to_the_log_and_to_the_caller() {
        let (status, lines, log) = run("echo a; echo b >&2; printf 'c\\rd'; exit 7", &|| false);
        assert_eq!(status.code(), Some(7));
        assert_eq!(lines, ["a", "b", "c", "d"]);
        assert_eq!(log, "a\nb\nc\rd");
    }

    #[test]
    fn a_requested_stop_is_passed_on_once() {
        let asked = Cell::new(0);
        let should_stop = || {
            asked.set(asked.get() + 1);
            true
        };
        let script = "trap 'echo stopping; exit 3' TERM; while :; do sleep 0.05; done";
        let (status, _, log) = run(script, &should_stop);
        // The signal may come before the trap is set.
        assert!(status.code() == Some(3) && log == "stopping\n" || status.code().is_none());
        assert_eq!(asked.get(), 1);
    }
}
