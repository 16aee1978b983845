//! A model that is loaded, as requests see it; the network itself lives on the compute thread.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::estimate::Estimate;
use crate::error::Result;
use crate::inference::{About, Segment};

/// Makes networks of model folders. Called on threads that nobody's answer waits for.
pub trait Load: Send + Sync {
    /// About how many bytes of memory the model in `folder` will hold, told quickly, before it is loaded.
    fn bytes(&self, folder: &Path) -> Result<u64>;

    /// Loads the model in `folder`.
    fn load(&self, folder: &Path) -> Result<Loaded>;
}

/// A model that was loaded.
pub struct Loaded {
    /// The network.
    pub engine: Box<dyn Segment>,
    /// The bytes of memory that it holds.
    pub bytes: u64,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded").field("bytes", &self.bytes).finish_non_exhaustive()
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
    pub(super) bytes: u64,
    pub(super) about: About,
    pub(super) estimate: Estimate,
    /// Images that are being decoded for it now.
    arriving: AtomicUsize,
}

impl Model {
    pub(super) fn new(name: &str, url: &str, loaded: &Loaded) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Arc::new(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            name: name.to_owned(),
            url: url.to_owned(),
            bytes: loaded.bytes,
            about: loaded.engine.about().clone(),
            estimate: Estimate::default(),
            arriving: AtomicUsize::new(0),
        })
    }

    /// Notes that an image is on its way, until what is returned is dropped.
    pub(super) fn expect_one(self: &Arc<Self>) -> Arriving {
        self.arriving.fetch_add(1, Ordering::Relaxed);
        Arriving(Arc::clone(self))
    }

    /// Whether images are on their way, for which a batch may wait.
    pub(super) fn expects_more(&self) -> bool {
        self.arriving.load(Ordering::Relaxed) > 0
    }
}

/// An image on its way to the compute thread.
#[derive(Debug)]
pub(super) struct Arriving(Arc<Model>);

impl Drop for Arriving {
    fn drop(&mut self) {
        self.0.arriving.fetch_sub(1, Ordering::Relaxed);
    }
}
