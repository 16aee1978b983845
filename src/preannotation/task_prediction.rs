//! A task's prediction, from its image to its regions.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::control::ControlPlan;
use super::images::{ImageError, TaskImages};
use super::prediction::{Prediction, RegionOptions, build_prediction};
use super::segmenter::{ModelVersion, PredictedMask, SegmentError, SegmentErrorKind, Segmenter};

/// Pause before a busy model is asked again; each further pause is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Longest pause between two attempts.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Longest time for which a busy model is asked again and again.
const MAX_BUSY: Duration = Duration::from_mins(10);

/// Predicts tasks: reads their images, segments them, and makes regions of the masks. Clones share all.
#[derive(Clone)]
pub struct TaskPredictor {
    pub images: TaskImages,
    pub segmenter: Arc<dyn Segmenter>,
    pub regions: RegionOptions,
}

impl fmt::Debug for TaskPredictor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskPredictor").field("regions", &self.regions).finish_non_exhaustive()
    }
}

/// Prediction for a task, and what it took.
#[derive(Debug)]
pub struct TaskPrediction {
    pub prediction: Prediction,
    pub model: Arc<ModelVersion>,
    pub times: StageTimes,
}

/// Times of the stages of predictions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StageTimes {
    /// Time to read the images.
    pub fetch: Duration,
    /// Time to decode the images and to compute their masks, without waiting for other images.
    pub model: Duration,
    /// Time to make regions of the masks.
    pub encode: Duration,
}

impl StageTimes {
    /// Adds the times of another task.
    pub fn add(&mut self, other: Self) {
        self.fetch += other.fetch;
        self.model += other.model;
        self.encode += other.encode;
    }
}

/// Failure to predict a task, with a text for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskError {
    pub message: String,
    /// True if all other tasks would fail too.
    pub concerns_all: bool,
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<ImageError> for TaskError {
    fn from(error: ImageError) -> Self {
        Self { concerns_all: error.concerns_all, message: error.message }
    }
}

impl From<SegmentError> for TaskError {
    fn from(error: SegmentError) -> Self {
        Self { concerns_all: error.kind != SegmentErrorKind::Image, message: error.message }
    }
}

impl TaskPredictor {
    /// Predicts a task. `task` is its JSON with its `data`.
    pub async fn predict(
        &self,
        task: &[u8],
        plan: &Arc<ControlPlan>,
    ) -> Result<TaskPrediction, TaskError> {
        let started = Instant::now();
        let image = self.images.read(task, &plan.image_tag).await?;
        let fetch = started.elapsed();
        let mask = self.segment_patiently(image).await?;
        let (model, model_time) = (Arc::clone(&mask.model), mask.compute_time);
        let (plan, regions) = (Arc::clone(plan), self.regions);
        // Large masks keep a core busy for a while.
        let encoding = tokio::task::spawn_blocking(move || {
            let started = Instant::now();
            build_prediction(&mask, &plan, &regions).map(|built| (built, started.elapsed()))
        });
        let internal = |message: String| TaskError { message, concerns_all: false };
        let built =
            encoding.await.map_err(|_| internal("making regions of the mask failed".to_owned()))?;
        let (prediction, encode) = built.map_err(|error| internal(error.to_string()))?;
        let times = StageTimes { fetch, model: model_time, encode };
        Ok(TaskPrediction { prediction, model, times })
    }

    /// Reads the image of a task and computes its mask.
    pub async fn read_mask(
        &self,
        task: &[u8],
        plan: &ControlPlan,
    ) -> Result<PredictedMask, TaskError> {
        let image = self.images.read(task, &plan.image_tag).await?;
        Ok(self.segment_patiently(image).await?)
    }

    /// Segments an image, and asks again while the model is busy.
    async fn segment_patiently(&self, image: Vec<u8>) -> Result<PredictedMask, SegmentError> {
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            match self.segmenter.segment(image.clone()).await {
                Err(error)
                    if error.kind == SegmentErrorKind::Busy && started.elapsed() < MAX_BUSY =>
                {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
                outcome => return outcome,
            }
        }
    }
}
