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

use self::pending::Pending;
use super::model::Model;
use super::queue::Ticket;
use super::settings::Settings;
use crate::error::{Error, Result};
use crate::inference::{Ask, Segment, Segmentation, View};

/// The way to the compute thread, which ends when this is dropped and all jobs are done.
#[derive(Debug)]
pub(super) struct Compute {
    inbox: mpsc::Sender<Message>,
    ended: watch::Receiver<bool>,
}

/// One image to be computed.
pub(super) struct Job {
    pub(super) model: Arc<Model>,
    pub(super) image: RgbImage,
    pub(super) ask: Ask,
    /// Pixels that the network will compute.
    pub(super) work: u64,
    pub(super) ticket: Ticket,
    pub(super) sent: Instant,
    pub(super) client: Box<dyn Client>,
}

/// Who waits for a job.
pub(super) trait Client: Send {
    /// Whether nobody waits any more.
    fn has_left(&self) -> bool;

    /// Takes the answer. Runs on the compute thread, so it must not take long.
    fn answer(self: Box<Self>, computed: Computed);
}

/// A job that is done.
pub(super) struct Computed {
    pub(super) image: RgbImage,
    pub(super) ticket: Ticket,
    pub(super) outcome: Result<Segmentation, Failure>,
    /// From being handed over to being begun.
    pub(super) queued: Duration,
    /// That of the whole batch.
    pub(super) took: Duration,
    /// Images in the batch.
    pub(super) batch: usize,
}

/// Why a job has no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The model was unloaded before its turn came.
    Unloaded,
    /// The network failed on this image.
    Failed(Error),
}

enum Message {
    Job(Job),
    Errand(Errand),
}

/// What is done between batches.
enum Errand {
    /// Takes a network over, after a trial.
    Adopt(Arc<Model>, Box<dyn Segment>, oneshot::Sender<Result<()>>),
    /// Lets go of a network once the jobs that have come for it are done.
    Retire(u64, oneshot::Sender<()>),
}

impl Compute {
    /// Starts the thread.
    pub(super) fn start(settings: &Settings) -> Result<Self> {
        // Unbounded here: every job holds a ticket, and the queue has only so many.
        let (inbox, messages) = mpsc::channel();
        let (announce, ended) = watch::channel(false);
        let thread = Thread {
            messages,
            engines: HashMap::new(),
            pending: Pending::default(),
            errands: VecDeque::new(),
            max_batch: settings.max_batch,
            batch_time: settings.batch_time,
            batch_wait: settings.batch_wait,
            warm_up_side: settings.warm_up_side,
        };
        std::thread::Builder::new()
            .name("compute".into())
            .spawn(move || {
                // Dropped last, however the thread ends.
                let _announce = Announce(announce);
                thread.run();
            })
            .map_err(|cause| Error::internal(format!("cannot start the engine: {cause}")))?;
        Ok(Self { inbox, ended })
    }

    /// Hands a job over. When the thread has ended the job is dropped, and its client with it.
    pub(super) fn send(&self, job: Job) {
        let _ = self.inbox.send(Message::Job(job));
    }

    /// Hands a loaded network over; blocks until it has passed its trial. Not for threads of the HTTP runtime.
    pub(super) fn adopt(&self, model: &Arc<Model>, engine: Box<dyn Segment>) -> Result<()> {
        let (tell, told) = oneshot::channel();
        let errand = Errand::Adopt(Arc::clone(model), engine, tell);
        let sent = self.inbox.send(Message::Errand(errand));
        let told = sent.ok().and_then(|()| told.blocking_recv().ok());
        told.unwrap_or_else(|| Err(Error::internal("the compute thread has ended")))
    }

    /// Lets go of a network; completes when its memory is free.
    pub(super) async fn retire(&self, id: u64) {
        let (tell, told) = oneshot::channel();
        if self.inbox.send(Message::Errand(Errand::Retire(id, tell))).is_ok() {
            // An error: the thread ended, and the network with it.
            let _ = told.await;
        }
    }

    /// Whether the thread still works.
    pub(super) fn is_alive(&self) -> bool {
        !*self.ended.borrow()
    }

    /// Tells when the thread has ended.
    pub(super) fn end(&self) -> watch::Receiver<bool> {
        self.ended.clone()
    }
}

/// Tells that the thread has ended, however that came.
struct Announce(watch::Sender<bool>);

impl Drop for Announce {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

struct Thread {
    messages: mpsc::Receiver<Message>,
    engines: HashMap<u64, Box<dyn Segment>>,
    pending: Pending,
    errands: VecDeque<Errand>,
    max_batch: usize,
    batch_time: Duration,
    batch_wait: Duration,
    warm_up_side: u32,
}

impl Thread {
    /// Until the last sender is gone and all is done.
    fn run(mut self) {
        loop {
            if self.pending.is_empty() && self.errands.is_empty() {
                match self.messages.recv() {
                    Ok(message) => self.take(message),
                    Err(mpsc::RecvError) => return,
                }
            }
            while let Ok(message) = self.messages.try_recv() {
                self.take(message);
            }
            self.pending.drop_abandoned();
            self.run_errands();
            if let Some(batch) = self.next_batch() {
                self.compute(batch);
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Job(job) => self.pending.push(job),
            Message::Errand(errand) => self.errands.push_back(errand),
        }
    }

    fn run_errands(&mut self) {
        for errand in std::mem::take(&mut self.errands) {
            match errand {
                Errand::Adopt(model, mut engine, tell) => {
                    let tried = self.try_out(&model, engine.as_mut());
                    if tried.is_ok() {
                        self.engines.insert(model.id, engine);
                    } else {
                        let_go(engine);
                    }
                    let _ = tell.send(tried);
                }
                Errand::Retire(id, tell) if self.pending.has(id) => {
                    self.errands.push_back(Errand::Retire(id, tell));
                }
                Errand::Retire(id, tell) => {
                    if let Some(engine) = self.engines.remove(&id) {
                        let_go(engine);
                    }
                    let _ = tell.send(());
                }
            }
        }
    }

    /// Computes a grey image, so that a model that cannot is found out before a client does, what is prepared with the
    /// first image is prepared, and there is a first measure.
    fn try_out(&self, model: &Model, engine: &mut dyn Segment) -> Result<()> {
        let side = self.warm_up_side;
        if side == 0 {
            return Ok(());
        }
        let image = RgbImage::from_pixel(side, side, image::Rgb([128; 3]));
        let work = model.about.work((side, side), &View::default());
        let mut best = Duration::MAX;
        for _ in 0..2 {
            let begun = Instant::now();
            batch::segment(engine, &[&image], &Ask::default())
                .map_err(|error| error.within("the model fails on an image"))?;
            best = best.min(begun.elapsed());
        }
        model.estimate.try_out(work, best);
        Ok(())
    }
}

#[cfg(test)]
mod tests;

/// Drops a network; what its destructor may do is not trusted.
fn let_go(engine: Box<dyn Segment>) {
    let _ = contained("letting the model go", || {
        drop(engine);
        Ok(())
    });
}

/// Runs `work`; a panic inside becomes an error.
pub(super) fn contained<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let error = Error::internal(format!("{what} panicked: {}", said(&*panic)));
        // What a panic carries is anybody's, and may panic again when it is dropped.
        std::mem::forget(panic);
        Err(error)
    })
}

/// The words of a panic.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without words")
}
