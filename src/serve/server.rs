//! The parts of the server put together, before any socket.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::sync::watch;

use super::api_error::ApiError;
use super::metrics::Metrics;
use super::pipeline::{Pipeline, SegmentedImage};
use super::registry::ModelRegistry;
use super::registry::model::ModelLoader;
use super::request::ObjectFetcher;
use super::routes;
use super::settings::ServeSettings;
use super::state::{AppState, SINGLE_MODEL_NAME, ServerStatus};
use super::worker::ComputeThread;
use crate::error::{Error, Result};
use crate::inference::{ModelInfo, SegmentOptions};

/// A server without a socket.
#[derive(Clone)]
pub struct Server {
    state: Arc<AppState>,
}

impl Server {
    /// Starts the compute thread and, unless models come by `/models`, loading of the model.
    /// Returns at once. `fetcher` gets images that requests name; without a fetcher such requests
    /// are refused.
    pub fn start(
        settings: &ServeSettings,
        loader: Arc<dyn ModelLoader>,
        fetcher: Option<Arc<dyn ObjectFetcher>>,
    ) -> Result<Self> {
        settings.validate()?;
        let compute_thread = Arc::new(ComputeThread::start(settings)?);
        let registry = Arc::new(ModelRegistry::new(settings, loader, Arc::clone(&compute_thread)));
        let model_status =
            if settings.multi_model { None } else { Some(spawn_load_thread(settings, &registry)?) };
        let state = AppState {
            settings: settings.clone(),
            pipeline: Arc::new(Pipeline::new(settings, compute_thread, fetcher)),
            registry,
            metrics: Metrics::default(),
            model_status,
        };
        Ok(Self { state: Arc::new(state) })
    }

    /// Returns the routes, which need no socket but run on tokio.
    pub fn router(&self) -> Router {
        routes::build_router(&self.state)
    }

    /// Returns the status of the model now, without waiting. A server of many models is always
    /// ready.
    pub fn status(&self) -> ServerStatus {
        self.state.status()
    }

    /// Waits until the model is loaded.
    pub async fn ready(&self) -> Result<()> {
        let Some(status) = &self.state.model_status else { return Ok(()) };
        let mut status = status.clone();
        let settled = status.wait_for(|status| *status != ServerStatus::Loading).await;
        match settled.as_deref() {
            Ok(ServerStatus::Failed(error)) => Err(error.clone()),
            Ok(_) => Ok(()),
            Err(_) => Err(Error::internal("the thread that loads the model ended")),
        }
    }

    /// Loads the model in a folder under a name that no other loaded model has, into a server of many
    /// models. Completes when images can be segmented by it.
    pub async fn load_model(&self, name: &str, folder: &Path) -> Result<ModelInfo, ApiError> {
        let model = self.state.registry.load(name, &folder.display().to_string()).await?;
        Ok(model.info.clone())
    }

    /// Unloads a model after the images that wait for it.
    pub async fn unload_model(&self, name: &str) -> Result<(), ApiError> {
        self.state.registry.unload(name).await.map(drop)
    }

    /// Segments an image for a caller within this process: in the same queue and within the same bounds
    /// as those of clients. `bytes` are those of an image file.
    pub async fn segment(
        &self,
        model_name: &str,
        bytes: Vec<u8>,
        options: SegmentOptions,
    ) -> Result<SegmentedImage, ApiError> {
        let model = self.state.model(Some(model_name))?;
        self.state.pipeline.segment(model, bytes, options).await
    }

    /// Drops the server and waits, at most `max_wait`, until the compute thread has ended, so that
    /// the process does not end under a thread that still releases libtorch.
    pub(super) async fn shutdown(self, max_wait: Duration) {
        let is_loading = self.status() == ServerStatus::Loading;
        let mut thread_ended = self.state.pipeline.compute_thread.ended_receiver();
        drop(self);
        if !is_loading {
            // The process ends in any case, also when the wait times out.
            let _ = tokio::time::timeout(max_wait, thread_ended.wait_for(|ended| *ended)).await;
        }
    }
}

/// Loads the single model on a thread of its own, and returns the status that the thread keeps.
fn spawn_load_thread(
    settings: &ServeSettings,
    registry: &Arc<ModelRegistry>,
) -> Result<watch::Receiver<ServerStatus>> {
    let (status_sender, status_receiver) = watch::channel(ServerStatus::Loading);
    let (registry, folder) = (Arc::clone(registry), settings.model_dir.clone());
    std::thread::Builder::new()
        .name("load".into())
        .spawn(move || {
            let loaded = registry.load_blocking(SINGLE_MODEL_NAME, &folder);
            drop(registry);
            status_sender.send_replace(match loaded {
                Ok(_) => ServerStatus::Ready,
                Err(error) => ServerStatus::Failed(error),
            });
        })
        .map_err(|cause| Error::internal(format!("cannot start a thread: {cause}")))?;
    Ok(status_receiver)
}
