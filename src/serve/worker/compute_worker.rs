//! The loop of the compute thread: takes messages, makes batches, and computes them.

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc::{Receiver, RecvError, RecvTimeoutError};
use std::time::{Duration, Instant};

use image::RgbImage;

use super::job::{BatchRun, Job, JobError};
use super::panic::catch_panic;
use super::pending::PendingJobs;
use super::{Command, Message};
use crate::error::{Error, Result};
use crate::inference::{Segment, SegmentOptions, Segmentation};
use crate::serve::registry::model::Model;
use crate::serve::settings::ServeSettings;

/// A batch waits for more images for at most 1 / `WAIT_DIVISOR` of the time that it takes itself,
/// because batching saves at most about this part.
const WAIT_DIVISOR: u32 = 4;

/// Images that warm a model up; the shortest time counts, because the first image also pays for
/// preparations.
const WARM_UP_RUNS: usize = 2;

/// The networks and the jobs that wait for them.
pub(super) struct ComputeWorker {
    messages: Receiver<Message>,
    engines: HashMap<u64, Box<dyn Segment>>,
    pending: PendingJobs,
    commands: VecDeque<Command>,
    max_batch: usize,
    batch_time: Duration,
    batch_wait: Duration,
    /// Side of the warm-up image, in pixels; 0 leaves the warm-up out.
    warm_up_side: u32,
}

impl ComputeWorker {
    pub(super) fn new(messages: Receiver<Message>, settings: &ServeSettings) -> Self {
        Self {
            messages,
            engines: HashMap::new(),
            pending: PendingJobs::default(),
            commands: VecDeque::new(),
            max_batch: settings.max_batch,
            batch_time: settings.batch_time,
            batch_wait: settings.batch_wait,
            warm_up_side: settings.warm_up_side,
        }
    }

    /// Computes until the last sender of messages is gone and all jobs are done.
    pub(super) fn run(mut self) {
        loop {
            if self.pending.is_empty() && self.commands.is_empty() {
                match self.messages.recv() {
                    Ok(message) => self.handle_message(message),
                    Err(RecvError) => return,
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
            Message::Command(command) => self.commands.push_back(command),
        }
    }

    /// Runs the commands that have come. A model for which jobs wait is unloaded in a later turn.
    fn run_commands(&mut self) {
        for command in std::mem::take(&mut self.commands) {
            match command {
                Command::AddModel { model, mut engine, reply_sender } => {
                    let warm_up_result = self.warm_up(&model, engine.as_mut());
                    if warm_up_result.is_ok() {
                        self.engines.insert(model.id, engine);
                    } else {
                        drop_engine(engine);
                    }
                    let _ = reply_sender.send(warm_up_result);
                }
                Command::RemoveModel { model_id, .. } if self.pending.has_jobs_for(model_id) => {
                    self.commands.push_back(command);
                }
                Command::RemoveModel { model_id, done_sender } => {
                    if let Some(engine) = self.engines.remove(&model_id) {
                        drop_engine(engine);
                    }
                    let _ = done_sender.send(());
                }
            }
        }
    }

    /// Computes a gray image. A model that fails is found before a client asks it, preparations of
    /// the first image are done, and the first time is measured.
    fn warm_up(&self, model: &Model, engine: &mut dyn Segment) -> Result<()> {
        let side = self.warm_up_side;
        if side == 0 {
            return Ok(());
        }
        let image = RgbImage::from_pixel(side, side, image::Rgb([128; 3]));
        let work_pixels = model.info.network_pixels((side, side), &SegmentOptions::default());
        let mut shortest = Duration::MAX;
        for _ in 0..WARM_UP_RUNS {
            let started = Instant::now();
            segment_images(engine, &[&image], &SegmentOptions::default())
                .map_err(|error| error.with_context("the model fails on an image"))?;
            shortest = shortest.min(started.elapsed());
        }
        model.time_estimate.record_warm_up(work_pixels, shortest);
        Ok(())
    }

    /// Takes the jobs to be computed now, if there are any.
    ///
    /// Waits for more jobs of their kind only while images for them are being decoded. So a client
    /// that is alone never waits, and neither do jobs of another kind.
    fn next_batch(&mut self) -> Option<Vec<Job>> {
        let mut batch = self.pending.take_batch(self.max_batch, self.batch_time);
        let first = batch.first()?;
        let max_wait = self.batch_wait.min(first.predict_time(1) / WAIT_DIVISOR);
        let deadline = Instant::now() + max_wait;
        while self.pending.is_empty() && self.commands.is_empty() && self.has_room(&batch) {
            if !batch[0].model.expects_images() {
                break;
            }
            let remaining = deadline.saturating_duration_since(Instant::now());
            match self.messages.recv_timeout(remaining) {
                Ok(Message::Job(job)) if job.can_batch_with(&batch[0]) => batch.push(job),
                Ok(message) => self.handle_message(message),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        batch.retain(|job| !job.responder.is_disconnected());
        Some(batch)
    }

    fn has_room(&self, batch: &[Job]) -> bool {
        batch.len() < self.max_batch && batch[0].predict_time(batch.len() + 1) <= self.batch_time
    }

    /// Computes jobs of one kind together. If that fails, each is computed alone, so that one image
    /// does not spoil the answers of others.
    fn compute_batch(&mut self, batch: Vec<Job>) {
        let Some(first) = batch.first() else { return };
        let started = Instant::now();
        let Some(engine) = self.engines.get_mut(&first.model.id) else {
            let run = BatchRun { started, time: Duration::ZERO, size: 1 };
            for job in batch {
                job.finish(Err(JobError::Unloaded), run);
            }
            return;
        };
        let images: Vec<&RgbImage> = batch.iter().map(|job| &job.image).collect();
        let outcome = segment_images(engine.as_mut(), &images, &first.options);
        let run = BatchRun { started, time: started.elapsed(), size: batch.len() };
        match outcome {
            Ok(segmentations) => {
                first.model.time_estimate.update(first.work_pixels, run.size, run.time);
                for (job, segmentation) in batch.into_iter().zip(segmentations) {
                    job.finish(Ok(segmentation), run);
                }
            }
            Err(error) if run.size == 1 => {
                for job in batch {
                    job.finish(Err(JobError::Inference(error.clone())), run);
                }
            }
            Err(_) => {
                for job in batch {
                    self.compute_batch(vec![job]);
                }
            }
        }
    }
}

/// Runs a network over images. A panic is an error, and so are answers that do not fit the images.
fn segment_images(
    engine: &mut dyn Segment,
    images: &[&RgbImage],
    options: &SegmentOptions,
) -> Result<Vec<Segmentation>> {
    // An engine keeps no half-done work between images, so the next image after a panic is safe.
    let segmentations = catch_panic("the model", || engine.segment(images, options))?;
    let mut matches_images = segmentations.len() == images.len();
    for (segmentation, image) in segmentations.iter().zip(images) {
        matches_images &= segmentation.ids.dimensions() == image.dimensions();
    }
    if matches_images {
        Ok(segmentations)
    } else {
        Err(Error::internal("the model answers other images than asked"))
    }
}

/// Drops a network, whose destructor may panic.
fn drop_engine(engine: Box<dyn Segment>) {
    let _ = catch_panic("letting the model go", || {
        drop(engine);
        Ok(())
    });
}
