//! A reader of the FIFOs of SageMaker's Pipe mode, which never waits forever.
//!
//! A plain read of a FIFO blocks until a writer comes, and a writer that hangs also hangs the
//! reader. So the FIFO is opened without blocking and polled. Between two polls the reader checks
//! for a request to stop and for its timeout.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

use super::listener::Listener;
use crate::sagemaker::StopSignal;

/// Longest time until a request to stop is noticed.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Time between two notes on waiting.
const REPORT_INTERVAL: Duration = Duration::from_secs(30);

/// Limits on waiting for a stream.
#[derive(Debug, Clone, Copy)]
pub struct WaitLimits<'a> {
    /// Longest time without a byte.
    pub idle_timeout: Duration,
    /// Request to stop the job, which ends the waiting.
    pub stop: &'a StopSignal,
}

/// A FIFO that may not exist yet.
#[derive(Debug)]
pub struct Fifo<'a> {
    path: PathBuf,
    file: Option<File>,
    limits: WaitLimits<'a>,
    listener: &'a dyn Listener,
    /// Time of the last byte, or of the start.
    last_byte_at: Instant,
    last_note_at: Instant,
    bytes_read: u64,
}

impl<'a> Fifo<'a> {
    /// Creates a reader of `path`, which reads as soon as the FIFO exists and has a writer. The
    /// listener is told what the reader waits for.
    pub fn new(path: PathBuf, limits: WaitLimits<'a>, listener: &'a dyn Listener) -> Self {
        let now = Instant::now();
        Self {
            path,
            file: None,
            limits,
            listener,
            last_byte_at: now,
            last_note_at: now,
            bytes_read: 0,
        }
    }

    /// Returns the number of bytes read so far.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Opens the FIFO if it exists.
    fn open_if_exists(&mut self) -> io::Result<Option<&File>> {
        if self.file.is_none() {
            let mut options = OpenOptions::new();
            options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
            match options.open(&self.path) {
                Ok(file) if file.metadata()?.is_dir() => {
                    return Err(io::Error::other("it is a folder, not a FIFO"));
                }
                Ok(file) => self.file = Some(file),
                Err(cause) if cause.kind() == ErrorKind::NotFound => {}
                Err(cause) => return Err(cause),
            }
        }
        Ok(self.file.as_ref())
    }

    /// Fails if the reader must not wait any longer. Notes long waits.
    fn check_limits(&mut self) -> io::Result<()> {
        if self.limits.stop.is_requested() {
            return Err(io::Error::other("the job was asked to stop"));
        }
        let (waited, limit) = (self.last_byte_at.elapsed(), self.limits.idle_timeout);
        if waited >= limit {
            return Err(io::Error::new(
                ErrorKind::TimedOut,
                format!(
                    "{} for {} s; look at the job's role and at the manifest's S3 URIs, or set \
                     MASKMAKER_PIPE_TIMEOUT to more seconds",
                    self.describe_wait(),
                    limit.as_secs()
                ),
            ));
        }
        if waited >= REPORT_INTERVAL && self.last_note_at.elapsed() >= REPORT_INTERVAL {
            self.last_note_at = Instant::now();
            self.listener.on_note(&format_args!(
                "waiting for {}: {} for {} s; the job fails after {} s",
                self.path.display(),
                self.describe_wait(),
                waited.as_secs(),
                limit.as_secs()
            ));
        }
        Ok(())
    }

    /// Describes the state of the writer.
    fn describe_wait(&self) -> String {
        match (&self.file, self.bytes_read) {
            (None, _) => "it did not exist".to_owned(),
            (_, 0) => "nothing was written to it".to_owned(),
            (_, bytes) => format!("nothing was written to it after {bytes} bytes"),
        }
    }
}

impl Read for Fifo<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            self.check_limits()?;
            let Some(mut file) = self.open_if_exists()? else {
                thread::sleep(POLL_INTERVAL);
                continue;
            };
            // Until a first writer comes there is no event. A read without polling would report the
            // end of the stream.
            let poll_timeout =
                Timespec { tv_sec: 0, tv_nsec: i64::from(POLL_INTERVAL.subsec_nanos()) };
            match poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&poll_timeout)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                Ok(_) => {}
                Err(cause) => return Err(cause.into()),
            }
            match file.read(buffer) {
                Ok(count) => {
                    self.last_byte_at = Instant::now();
                    self.bytes_read += count as u64;
                    return Ok(count);
                }
                Err(cause)
                    if matches!(cause.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(cause) => return Err(cause),
            }
        }
    }
}
