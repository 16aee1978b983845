//! The compute thread: all networks live on it alone, and jobs come to it one after the other.
//!
//! There is one thread, because libtorch keeps a pool of worker threads for each thread that
//! computes, and two pools would share the cores badly. So models take turns, and only loading
//! happens elsewhere.

mod compute_worker;
pub(in crate::serve) mod job;
pub(in crate::serve) mod panic;
mod pending;

use std::sync::{Arc, mpsc};

use tokio::sync::{oneshot, watch};

use self::compute_worker::ComputeWorker;
use self::job::Job;
use crate::error::{Error, Result};
use crate::inference::Segment;
use crate::serve::registry::model::Model;
use crate::serve::settings::ServeSettings;

/// The handle of the compute thread, which ends when the handle is dropped and all jobs are done.
#[derive(Debug)]
pub(in crate::serve) struct ComputeThread {
    sender: mpsc::Sender<Message>,
    ended: watch::Receiver<bool>,
}

enum Message {
    Job(Job),
    Command(Command),
}

/// A command that runs between batches.
enum Command {
    /// Takes a network over after its warm-up, and replies with the warm-up's result.
    AddModel {
        model: Arc<Model>,
        engine: Box<dyn Segment>,
        reply_sender: oneshot::Sender<Result<()>>,
    },
    /// Unloads a network once no job that has come for it waits. Jobs that come later end with
    /// [`job::JobError::Unloaded`].
    RemoveModel { model_id: u64, done_sender: oneshot::Sender<()> },
}

impl ComputeThread {
    /// Starts the thread.
    pub(in crate::serve) fn start(settings: &ServeSettings) -> Result<Self> {
        // The channel needs no bound: every job holds a permit, whose number is bounded.
        let (sender, messages) = mpsc::channel();
        let (ended_sender, ended) = watch::channel(false);
        let worker = ComputeWorker::new(messages, settings);
        std::thread::Builder::new()
            .name("compute".into())
            .spawn(move || {
                // The guard is dropped last, however the thread ends.
                let _ended_guard = EndedGuard(ended_sender);
                worker.run();
            })
            .map_err(|cause| Error::internal(format!("cannot start the engine: {cause}")))?;
        Ok(Self { sender, ended })
    }

    /// Sends a job. If the thread has ended, the job is dropped with its responder.
    pub(in crate::serve) fn send(&self, job: Job) {
        let _ = self.sender.send(Message::Job(job));
    }

    /// Hands a loaded network over, and blocks until its warm-up is done. Must not be called on a
    /// thread of the HTTP runtime.
    pub(in crate::serve) fn add_model(
        &self,
        model: &Arc<Model>,
        engine: Box<dyn Segment>,
    ) -> Result<()> {
        let (reply_sender, reply_receiver) = oneshot::channel();
        let command = Command::AddModel { model: Arc::clone(model), engine, reply_sender };
        if self.sender.send(Message::Command(command)).is_ok()
            && let Ok(reply) = reply_receiver.blocking_recv()
        {
            return reply;
        }
        Err(Error::internal("the compute thread has ended"))
    }

    /// Unloads a network; completes when its memory is free.
    pub(in crate::serve) async fn remove_model(&self, model_id: u64) {
        let (done_sender, done_receiver) = oneshot::channel();
        let command = Command::RemoveModel { model_id, done_sender };
        if self.sender.send(Message::Command(command)).is_ok() {
            // An error means that the thread has ended, and the network with it.
            let _ = done_receiver.await;
        }
    }

    /// Returns true if the thread runs.
    pub(in crate::serve) fn is_alive(&self) -> bool {
        !*self.ended.borrow()
    }

    /// Returns a receiver of true when the thread has ended.
    pub(in crate::serve) fn ended_receiver(&self) -> watch::Receiver<bool> {
        self.ended.clone()
    }
}

/// A guard that reports the end of the thread, also after a panic.
struct EndedGuard(watch::Sender<bool>);

impl Drop for EndedGuard {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

#[cfg(test)]
mod tests;
