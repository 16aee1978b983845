//! The model behind predictions, wherever it runs.

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use image::GrayImage;

/// A future on the heap.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A model that computes masks: in this process, behind a SageMaker endpoint, or behind a web address.
pub trait Segmenter: Send + Sync {
    /// Returns the model that computes now. New weights are another version.
    fn current_model(&self) -> BoxFuture<'_, Result<Arc<ModelVersion>, SegmentError>>;

    /// Computes the mask of an image file.
    fn segment(&self, image: Vec<u8>) -> BoxFuture<'_, Result<PredictedMask, SegmentError>>;
}

/// A model as predictions name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelVersion {
    /// Name that changes with the weights, which Label Studio shows and stores as `model_version`.
    pub name: String,
    /// Names of the classes, class 0 first.
    pub class_names: Vec<String>,
}

/// Mask of an image.
pub struct PredictedMask {
    /// Class of every pixel, at the upright image's own size.
    pub ids: GrayImage,
    /// Normalized entropy of every pixel, row by row: 0 if the model is certain of a class, 1 if all are
    /// equally likely. None if the model does not tell it.
    pub pixel_entropy: Option<Vec<f32>>,
    pub model: Arc<ModelVersion>,
    /// Time to decode the image and to compute its mask.
    pub compute_time: Duration,
    /// Place among the images of the model's queue, which is free again when this is dropped.
    pub queue_place: Option<Box<dyn Any + Send>>,
}

impl fmt::Debug for PredictedMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PredictedMask")
            .field("size", &self.ids.dimensions())
            .field("model", &self.model.name)
            .finish_non_exhaustive()
    }
}

/// Reason of a failure, by which callers tell whether others would fail too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentErrorKind {
    /// This image cannot be computed, now or later.
    Image,
    /// The model is busy or not ready yet; the same image may succeed later.
    Busy,
    /// No image can be computed.
    Model,
}

/// Failure to compute a mask, with a text for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentError {
    pub kind: SegmentErrorKind,
    pub message: String,
}

impl fmt::Display for SegmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SegmentError {}
