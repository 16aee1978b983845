//! The compute thread: all networks live on it alone, and jobs come to it one after the other.
//!
//! One thread, because libtorch keeps a pool of worker threads for each thread that computes: two would share the cores
//! badly. So models take turns, and only loading happens elsewhere.

mod batch;
mod pending;

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use image::RgbImage;
use tokio::sync::{oneshot, watch};

use self::pending::PendingJobs;
use super::model::Model;
use super::queue::Permit;
use super::settings::ServeSettings;
use crate::error::{Error, Result};
use crate::inference::{Segment, SegmentOptions, Segmentation};

/// The way to the compute thread, which ends when this is dropped and all jobs are done.
#[derive(Debug)]
pub(super) struct ComputeThread {
    sender: mpsc::Sender<Message>,
    ended: watch::Receiver<bool>,
}

/// One image to be computed.
pub(super) struct Job {
    pub(super) model: Arc<Model>,
    pub(super) image: RgbImage,
    pub(super) options: SegmentOptions,
    /// Pixels that the network will compute.
    pub(super) work_pixels: u64,
    pub(super) permit: Permit,
    pub(super) sent_at: Instant,
    pub(super) responder: Box<dyn Responder>,
}

/// Who waits for a job.
pub(super) trait Responder: Send {
    /// Whether nobody waits any more.
    fn is_disconnected(&self) -> bool;

    /// Takes the answer. Runs on the compute thread, so it must not take long.
    fn respond(self: Box<Self>, job: CompletedJob);
}

/// A job that is done.
pub(super) struct CompletedJob {
    pub(super) image: RgbImage,
    pub(super) permit: Permit,
    pub(super) outcome: Result<Segmentation, JobError>,
    /// From being handed over to being begun.
    pub(super) queue_time: Duration,
    /// That of the whole batch.
    pub(super) batch_time: Duration,
    /// Images in the batch.
    pub(super) batch_size: usize,
}

/// Why a job has no answer.
#[derive(Debug)]
pub(super) enum JobError {
    /// The model was unloaded before its turn came.
    Unloaded,
    /// The network failed on this image.
    Inference(Error),
}

enum Message {
    Job(Job),
    Command(Command),
}

/// What is done between batches.
enum Command {
    /// Takes a network over, after a trial.
    AddModel(Arc<Model>, Box<dyn Segment>, oneshot::Sender<Result<()>>),
    /// Lets go of a network once the jobs that have come for it are done.
    RemoveModel(u64, oneshot::Sender<()>),
}

impl ComputeThread {
    /// Starts the thread.
    pub(super) fn start(settings: &ServeSettings) -> Result<Self> {
        // Unbounded here: every job holds a ticket, and the queue has only so many.
        let (sender, messages) = mpsc::channel();
        let (ended_sender, ended) = watch::channel(false);
        let thread = ComputeWorker {
            messages,
            engines: HashMap::new(),
            pending: PendingJobs::default(),
            commands: VecDeque::new(),
            max_batch: settings.max_batch,
            batch_time: settings.batch_time,
            batch_wait: settings.batch_wait,
            warm_up_side: settings.warm_up_side,
        };
        std::thread::Builder::new()
            .name("compute".into())
            .spawn(move || {
                // Dropped last, however the thread ends.
                let _ended_guard = EndedGuard(ended_sender);
                thread.run();
            })
            .map_err(|cause| Error::internal(format!("cannot start the engine: {cause}")))?;
        Ok(Self { sender, ended })
    }

    /// Hands a job over. When the thread has ended the job is dropped, and its client with it.
    pub(super) fn send(&self, job: Job) {
        let _ = self.sender.send(Message::Job(job));
    }

    /// Hands a loaded network over; blocks until it has passed its trial. Not for threads of the HTTP runtime.
    pub(super) fn add_model(&self, model: &Arc<Model>, engine: Box<dyn Segment>) -> Result<()> {
        let (reply_sender, reply_receiver) = oneshot::channel();
        let command = Command::AddModel(Arc::clone(model), engine, reply_sender);
        let sent = self.sender.send(Message::Command(command));
        let reply = sent.ok().and_then(|()| reply_receiver.blocking_recv().ok());
        reply.unwrap_or_else(|| Err(Error::internal("the compute thread has ended")))
    }

    /// Lets go of a network; completes when its memory is free.
    pub(super) async fn remove_model(&self, model_id: u64) {
        let (done_sender, done_receiver) = oneshot::channel();
        if self.sender.send(Message::Command(Command::RemoveModel(model_id, done_sender))).is_ok() {
            // An error: the thread ended, and the network with it.
            let _ = done_receiver.await;
        }
    }

    /// Whether the thread still works.
    pub(super) fn is_alive(&self) -> bool {
        !*self.ended.borrow()
    }

    /// Tells when the thread has ended.
    pub(super) fn ended_receiver(&self) -> watch::Receiver<bool> {
        self.ended.clone()
    }
}

/// Tells that the thread has ended, however that came.
struct EndedGuard(watch::Sender<bool>);

impl Drop for EndedGuard {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

struct ComputeWorker {
    messages: mpsc::Receiver<Message>,
    engines: HashMap<u64, Box<dyn Segment>>,
    pending: PendingJobs,
    commands: VecDeque<Command>,
    max_batch: usize,
    batch_time: Duration,
    batch_wait: Duration,
    warm_up_side: u32,
}

impl ComputeWorker {
    /// Until the last sender is gone and all is done.
    fn run(mut self) {
        loop {
            if self.pending.is_empty() && self.commands.is_empty() {
                match self.messages.recv() {
                    Ok(message) => self.handle_message(message),
                    Err(mpsc::RecvError) => return,
                }
            }
            while let Ok(message) = self.messages.try_recv() {
                self.handle_message(message);
            }
            self.pending.drop_abandoned();
            self.run_commands();
            if let Some(batch) = self.next_batch() {
                self.compute_batch(batch);
            }
        }
    }

    fn handle_message(&mut self, message: Message) {
        match message {
            Message::Job(job) => self.pending.push(job),
            Message::Command(errand) => self.commands.push_back(errand),
        }
    }

    fn run_commands(&mut self) {
        for command in std::mem::take(&mut self.commands) {
            match command {
                Command::AddModel(model, mut engine, reply_sender) => {
                    let warm_up_result = self.warm_up(&model, engine.as_mut());
                    if warm_up_result.is_ok() {
                        self.engines.insert(model.id, engine);
                    } else {
                        drop_engine(engine);
                    }
                    let _ = reply_sender.send(warm_up_result);
                }
                Command::RemoveModel(model_id, done_sender)
                    if self.pending.has_jobs_for(model_id) =>
                {
                    self.commands.push_back(Command::RemoveModel(model_id, done_sender));
                }
                Command::RemoveModel(model_id, done_sender) => {
                    if let Some(engine) = self.engines.remove(&model_id) {
                        drop_engine(engine);
                    }
                    let _ = done_sender.send(());
                }
            }
        }
    }

    /// Computes a gray image, so that a model that cannot is found out before a client does, what is prepared with the
    /// first image is prepared, and there is a first measure.
    fn warm_up(&self, model: &Model, engine: &mut dyn Segment) -> Result<()> {
        let side = self.warm_up_side;
        if side == 0 {
            return Ok(());
        }
        let image = RgbImage::from_pixel(side, side, image::Rgb([128; 3]));
        let work_pixels = model.info.network_pixels((side, side), &SegmentOptions::default());
        let mut shortest = Duration::MAX;
        for _ in 0..2 {
            let started = Instant::now();
            batch::segment_images(engine, &[&image], &SegmentOptions::default())
                .map_err(|error| error.with_context("the model fails on an image"))?;
            shortest = shortest.min(started.elapsed());
        }
        model.time_estimate.record_warm_up(work_pixels, shortest);
        Ok(())
    }
}

#[cfg(test)]
mod tests;

/// Drops a network; what its destructor may do is not trusted.
fn drop_engine(engine: Box<dyn Segment>) {
    let _ = catch_panic("letting the model go", || {
        drop(engine);
        Ok(())
    });
}

/// Runs `work`; a panic inside becomes an error.
pub(super) fn catch_panic<T>(what: &str, operation: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(operation)).unwrap_or_else(|panic| {
        let error = Error::internal(format!("{what} panicked: {}", panic_message(&*panic)));
        // What a panic carries is anybody's, and may panic again when it is dropped.
        std::mem::forget(panic);
        Err(error)
    })
}

/// The words of a panic.
fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without words")
}
