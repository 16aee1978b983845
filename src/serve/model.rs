//! A model that is loaded, as requests see it; the network itself lives on the compute thread.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::estimate::TimeEstimate;
use crate::error::Result;
use crate::inference::{ModelInfo, Segment};

/// Makes networks of model folders. Called on threads that nobody's answer waits for.
pub trait ModelLoader: Send + Sync {
    /// About how many bytes of memory the model in `folder` will hold, told quickly, before it is loaded.
    fn estimate_bytes(&self, folder: &Path) -> Result<u64>;

    /// Loads the model in `folder`.
    fn load(&self, folder: &Path) -> Result<LoadedModel>;
}

/// A model that was loaded.
pub struct LoadedModel {
    /// The network.
    pub engine: Box<dyn Segment>,
    /// The bytes of memory that it holds.
    pub memory_bytes: u64,
}

impl std::fmt::Debug for LoadedModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded").field("bytes", &self.memory_bytes).finish_non_exhaustive()
    }
}

/// What requests know of a model.
#[derive(Debug)]
pub(super) struct Model {
    /// Which network on the compute thread; never used twice.
    pub(super) id: u64,
    /// Empty for the one model of a server that has no others.
    pub(super) name: String,
    /// The folder, as it was named by who had it loaded.
    pub(super) url: String,
    /// Bytes of memory.
    pub(super) memory_bytes: u64,
    pub(super) info: ModelInfo,
    pub(super) time_estimate: TimeEstimate,
    /// Images that are being decoded for it now.
    images_expected: AtomicUsize,
}

impl Model {
    pub(super) fn new(name: &str, url: &str, loaded: &LoadedModel) -> Arc<Self> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            name: name.to_owned(),
            url: url.to_owned(),
            memory_bytes: loaded.memory_bytes,
            info: loaded.engine.info().clone(),
            time_estimate: TimeEstimate::default(),
            images_expected: AtomicUsize::new(0),
        })
    }

    /// Notes that an image is on its way, until what is returned is dropped.
    pub(super) fn expect_image(self: &Arc<Self>) -> ExpectedImage {
        self.images_expected.fetch_add(1, Ordering::Relaxed);
        ExpectedImage(Arc::clone(self))
    }

    /// Whether images are on their way, for which a batch may wait.
    pub(super) fn expects_images(&self) -> bool {
        self.images_expected.load(Ordering::Relaxed) > 0
    }
}

/// An image on its way to the compute thread.
#[derive(Debug)]
pub(super) struct ExpectedImage(Arc<Model>);

impl Drop for ExpectedImage {
    fn drop(&mut self) {
        self.0.images_expected.fetch_sub(1, Ordering::Relaxed);
    }
}
