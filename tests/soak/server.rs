//! The server as a process: started on a free port, watched, ended by a signal.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use crate::http::Connection;

/// How long loading may take.
const READY_WITHIN: Duration = Duration::from_mins(1);
/// SageMaker kills 30 s after SIGTERM; a little more, to be able to say how long it took.
const END_WITHIN: Duration = Duration::from_secs(45);
/// Lines of the log that are shown when something went wrong.
const LAST_LINES: usize = 20;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    id: u32,
    log: Arc<Mutex<Log>>,
    ended: Receiver<ExitStatus>,
    has_ended: bool,
}

/// What the server said; most lines are about one request each and are only counted.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) lines: usize,
    /// Those that tell of a panic.
    pub(crate) panics: Vec<String>,
    last: VecDeque<String>,
}

/// How the server ended.
pub(crate) struct Ended {
    /// When SIGTERM had been sent.
    pub(crate) signaled: Instant,
    pub(crate) took: Duration,
    /// None if it had to be killed.
    pub(crate) status: Option<ExitStatus>,
    pub(crate) log: Log,
}

impl Server {
    /// Starts it and waits until it is ready.
    pub(crate) fn start(
        program: &Path,
        ml_root: &Path,
        further: &[String],
    ) -> Result<Self, String> {
        let mut command = Command::new(program);
        command.arg("--ml-root").arg(ml_root).args(["serve", "--host", "127.0.0.1", "--port", "0"]);
        command.args(further).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let cannot = |error| format!("{} does not start: {error}", program.display());
        let mut child = command.spawn().map_err(cannot)?;
        let id = child.id();
        let stderr = child.stderr.take().ok_or("the server has no log")?;
        let log = Arc::new(Mutex::new(Log::default()));
        let (say, said) = channel();
        let (end, ended) = channel();
        let shared = Arc::clone(&log);
        let reader = spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                if let Some(address) = address(&line) {
                    let _ = say.send(address);
                }
                shared.lock().unwrap().add(line);
            }
        });
        spawn(move || {
            let status = child.wait().unwrap();
            reader.join().unwrap();
            let _ = end.send(status);
        });
        let mut server = Self { address: ([0; 4], 0).into(), id, log, ended, has_ended: false };
        if let Ok(address) = said.recv_timeout(READY_WITHIN) {
            server.address = address;
            if server.is_ready() {
                return Ok(server);
            }
        }
        server.log.lock().unwrap().show();
        Err(format!("the server was not ready within {} s", READY_WITHIN.as_secs()))
    }

    fn is_ready(&self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < READY_WITHIN {
            let answer = Connection::open(self.address).and_then(|mut connection| {
                connection.send(b"GET /ping HTTP/1.1\r\nhost: soak\r\n\r\n")?;
                connection.answer()
            });
            match answer {
                Ok(Some(answer)) if answer.status == 200 => return true,
                Err(_) => return false,
                _ => sleep(Duration::from_millis(50)),
            }
        }
        false
    }

    /// The resident set in bytes; none if the process is gone.
    pub(crate) fn memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kilobytes << 10)
    }

    fn signal(&self, name: &str) {
        let _ = Command::new("kill").args([&format!("-{name}"), &self.id.to_string()]).status();
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) fn terminate(mut self) -> Ended {
        self.signal("TERM");
        let signaled = Instant::now();
        let status = match self.ended.recv_timeout(END_WITHIN) {
            Ok(status) => Some(status),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                self.signal("KILL");
                let _ = self.ended.recv_timeout(END_WITHIN);
                None
            }
        };
        self.has_ended = true;
        let log = std::mem::take(&mut *self.log.lock().unwrap());
        if !status.is_some_and(|status| status.success()) {
            log.show();
        }
        Ended { signaled, took: signaled.elapsed(), status, log }
    }
}

/// Nothing is left behind when the soak itself fails.
impl Drop for Server {
    fn drop(&mut self) {
        if !self.has_ended {
            self.signal("KILL");
        }
    }
}

impl Log {
    fn add(&mut self, line: String) {
        self.lines += 1;
        if line.contains("panicked") {
            self.panics.push(line.clone());
        }
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    fn show(&self) {
        for line in &self.last {
            eprintln!("server: {line}");
        }
    }
}

/// Where the server listens, if the line says so, in JSON or not.
fn address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("listening on http://")?;
    rest.split(|c: char| !c.is_ascii_digit() && c != '.' && c != ':').next()?.parse().ok()
}
