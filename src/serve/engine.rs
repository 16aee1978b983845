//! The engine's thread: the model lives on it alone, and images come to it one after the other.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;

use image::{GrayImage, RgbImage};
use tokio::sync::{oneshot, watch};

use super::queue::Ticket;
use crate::error::{Error, Result};
use crate::inference::Segment;

/// Where the engine stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// The model is being loaded.
    Loading,
    /// Images are answered.
    Ready,
    /// The model could not be loaded.
    Failed(Error),
    /// The thread has ended.
    Gone,
}

/// The way to the engine's thread. The thread ends when the last handle is dropped.
#[derive(Debug, Clone)]
pub struct EngineHandle {
    jobs: mpsc::Sender<Job>,
    status: watch::Receiver<Status>,
}

#[derive(Debug)]
struct Job {
    image: RgbImage,
    ticket: Ticket,
    reply: oneshot::Sender<(Result<GrayImage>, Ticket)>,
}

impl EngineHandle {
    /// Starts the thread and returns at once; `load` runs on it, as libtorch likes best.
    pub fn spawn(load: impl FnOnce() -> Result<Box<dyn Segment>> + Send + 'static) -> Result<Self> {
        // Unbounded here: every job holds a ticket, and the queue has only so many.
        let (jobs, inbox) = mpsc::channel();
        let (sender, status) = watch::channel(Status::Loading);
        let announce = Announce(sender);
        std::thread::Builder::new()
            .name("engine".into())
            .spawn(move || work(load, &inbox, &announce))
            .map_err(|cause| Error::internal(format!("cannot start the engine: {cause}")))?;
        Ok(Self { jobs, status })
    }

    /// Where the engine stands now; never waits for the model.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Waits until the model is loaded.
    pub async fn ready(&self) -> Result<()> {
        let mut status = self.status.clone();
        let settled = status.wait_for(|status| *status != Status::Loading).await;
        match settled.as_deref() {
            Ok(Status::Ready) => Ok(()),
            Ok(Status::Failed(error)) => Err(error.clone()),
            _ => Err(Error::internal("the engine's thread ended before it was ready")),
        }
    }

    /// Lets go of a loaded engine and waits, not for ever, until it is gone, so that a process
    /// does not end under a thread that is still taking libtorch down.
    pub(super) async fn ended(self, patience: Duration) {
        let Self { jobs, mut status } = self;
        drop(jobs);
        if *status.borrow() != Status::Loading {
            let gone = status.wait_for(|status| matches!(status, Status::Gone | Status::Failed(_)));
            // Either way the process goes on to its end.
            let _ = tokio::time::timeout(patience, gone).await;
        }
    }

    /// The class ids of an image, or nothing when the thread has ended. The ticket comes back
    /// with the mask, and is given up on the way where nobody waits for it.
    pub(super) async fn segment(
        &self,
        image: RgbImage,
        ticket: Ticket,
    ) -> Option<(Result<GrayImage>, Ticket)> {
        let (reply, answer) = oneshot::channel();
        self.jobs.send(Job { image, ticket, reply }).ok()?;
        answer.await.ok()
    }
}

/// Tells the status; when the thread ends, however that comes, it tells that too.
struct Announce(watch::Sender<Status>);

impl Drop for Announce {
    fn drop(&mut self) {
        self.0.send_if_modified(|status| {
            let failed = matches!(status, Status::Failed(_));
            if !failed {
                *status = Status::Gone;
            }
            !failed
        });
    }
}

fn work(
    load: impl FnOnce() -> Result<Box<dyn Segment>>,
    inbox: &mpsc::Receiver<Job>,
    announce: &Announce,
) {
    let loaded = catch_unwind(AssertUnwindSafe(load)).unwrap_or_else(|panic| {
        Err(Error::internal(format!("loading the model panicked: {}", said(&*panic))))
    });
    let mut engine = match loaded {
        Ok(engine) => engine,
        Err(error) => {
            announce.0.send_replace(Status::Failed(error));
            return;
        }
    };
    announce.0.send_replace(Status::Ready);
    while let Ok(job) = inbox.recv() {
        answer(engine.as_mut(), job);
    }
}

/// Computes one job, unless its client has left.
fn answer(engine: &mut dyn Segment, job: Job) {
    let Job { image, ticket, reply } = job;
    if reply.is_closed() {
        return;
    }
    // An engine keeps no half-done work between images, so that one after a panic is safe.
    let mask = catch_unwind(AssertUnwindSafe(|| engine.segment(&image))).unwrap_or_else(|panic| {
        Err(Error::internal(format!("the model panicked: {}", said(&*panic))))
    });
    drop(image);
    // The client may have left meanwhile.
    let _ = reply.send((mask, ticket));
}

/// The words of a panic.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without words")
}
