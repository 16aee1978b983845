//! A loaded model as requests see it; the network itself lives on the compute thread.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::error::Result;
use crate::inference::{ModelInfo, Segment};
use crate::serve::admission::time_estimate::TimeEstimate;

/// Makes a network of a model folder. The server calls it on threads of its own, because it may
/// block.
pub trait ModelLoader: Send + Sync {
    /// Estimates the bytes of memory that the model in `folder` will hold, quickly and without
    /// loading.
    fn estimate_bytes(&self, folder: &Path) -> Result<u64>;

    /// Returns the bytes of memory of the GPU that models are loaded to, if it is a GPU.
    fn gpu_memory_bytes(&self) -> Option<u64> {
        None
    }

    /// Loads the model in `folder`.
    fn load(&self, folder: &Path) -> Result<LoadedModel>;
}

/// A network with its size.
pub struct LoadedModel {
    /// The network.
    pub engine: Box<dyn Segment>,
    /// Memory of the network, in bytes.
    pub memory_bytes: u64,
}

impl std::fmt::Debug for LoadedModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded").field("bytes", &self.memory_bytes).finish_non_exhaustive()
    }
}

/// The model without its network.
#[derive(Debug)]
pub(in crate::serve) struct Model {
    /// Number of the network on the compute thread; never used twice.
    pub(in crate::serve) id: u64,
    /// Name of the model; empty if the server has a single model.
    pub(in crate::serve) name: String,
    /// Folder of the model, as the request to load it names it.
    pub(in crate::serve) url: String,
    /// Memory of the network, in bytes.
    pub(in crate::serve) memory_bytes: u64,
    pub(in crate::serve) info: ModelInfo,
    pub(in crate::serve) time_estimate: TimeEstimate,
    /// Number of images that are being decoded for this model.
    images_expected: AtomicUsize,
}

impl Model {
    pub(in crate::serve) fn new(name: &str, url: &str, loaded: &LoadedModel) -> Arc<Self> {
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

    /// Counts an image that will come to the compute thread, until the returned guard is dropped.
    pub(in crate::serve) fn expect_image(self: &Arc<Self>) -> ExpectedImage {
        self.images_expected.fetch_add(1, Ordering::Relaxed);
        ExpectedImage(Arc::clone(self))
    }

    /// Returns true if images are being decoded, for which a batch may wait.
    pub(in crate::serve) fn expects_images(&self) -> bool {
        self.images_expected.load(Ordering::Relaxed) > 0
    }
}

/// A guard that counts one image on its way to the compute thread.
#[derive(Debug)]
pub(in crate::serve) struct ExpectedImage(Arc<Model>);

impl Drop for ExpectedImage {
    fn drop(&mut self) {
        self.0.images_expected.fetch_sub(1, Ordering::Relaxed);
    }
}
