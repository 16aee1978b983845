//! The server's parts together, before any socket: models, queue, compute thread.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::sync::watch;

use super::app;
use super::engine::ComputeThread;
use super::input::ObjectFetcher;
use super::metrics::Metrics;
use super::model::{Model, ModelLoader};
use super::models::ModelRegistry;
use super::queue::Limiter;
use super::reply::{ApiError, ErrorType};
use super::settings::ServeSettings;
use crate::error::{Error, Result};

/// Where the one model of a server stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerStatus {
    /// It is being loaded.
    Loading,
    /// Images are answered.
    Ready,
    /// It could not be loaded.
    Failed(Error),
    /// The thread that computes has ended.
    Stopped,
}

/// A server without a socket.
#[derive(Clone)]
pub struct Server {
    state: Arc<AppState>,
}

/// What every request sees.
pub(super) struct AppState {
    pub(super) settings: ServeSettings,
    pub(super) limiter: Arc<Limiter>,
    pub(super) compute_thread: Arc<ComputeThread>,
    pub(super) models: Arc<ModelRegistry>,
    pub(super) metrics: Metrics,
    /// Who fetches images that requests name, if that is allowed.
    pub(super) fetcher: Option<Arc<dyn ObjectFetcher>>,
    /// Of a server with one model.
    single_model: Option<watch::Receiver<ModelStatus>>,
}

#[derive(Debug, Clone)]
enum ModelStatus {
    Loading,
    Ready(Arc<Model>),
    Failed(Error),
}

impl Server {
    /// Starts the compute thread, and loading of the model unless models come by `/models`; returns at once.
    pub fn start(
        settings: &ServeSettings,
        loader: Arc<dyn ModelLoader>,
        fetcher: Option<Arc<dyn ObjectFetcher>>,
    ) -> Result<Self> {
        settings.validate()?;
        let compute_thread = Arc::new(ComputeThread::start(settings)?);
        let models = Arc::new(ModelRegistry::new(settings, loader, Arc::clone(&compute_thread)));
        let single_model =
            if settings.multi_model { None } else { Some(spawn_load_thread(settings, &models)?) };
        let shared = AppState {
            settings: settings.clone(),
            limiter: Limiter::new(settings),
            compute_thread,
            models,
            metrics: Metrics::default(),
            fetcher,
            single_model,
        };
        Ok(Self { state: Arc::new(shared) })
    }

    /// The routes; needs no socket, only tokio.
    pub fn router(&self) -> Router {
        app::build_router(&self.state)
    }

    /// Where the model stands now; a server of many models is always ready. Never waits.
    pub fn status(&self) -> ServerStatus {
        let state = &self.state;
        if !state.compute_thread.is_alive() {
            return ServerStatus::Stopped;
        }
        match state.single_model.as_ref().map(|status| status.borrow().clone()) {
            None | Some(ModelStatus::Ready(_)) => ServerStatus::Ready,
            Some(ModelStatus::Loading) => ServerStatus::Loading,
            Some(ModelStatus::Failed(error)) => ServerStatus::Failed(error),
        }
    }

    /// Waits until the model is loaded.
    pub async fn ready(&self) -> Result<()> {
        let Some(status) = &self.state.single_model else { return Ok(()) };
        let mut status = status.clone();
        let settled = status.wait_for(|status| !matches!(status, ModelStatus::Loading)).await;
        match settled.as_deref() {
            Ok(ModelStatus::Failed(error)) => Err(error.clone()),
            Ok(_) => Ok(()),
            Err(_) => Err(Error::internal("the thread that loads the model ended")),
        }
    }

    /// Lets go of everything and waits, not for ever, until the compute thread has ended, so that a process does not end
    /// under a thread that is still taking libtorch down.
    pub(super) async fn shutdown(self, max_wait: Duration) {
        let is_loading = self.status() == ServerStatus::Loading;
        let mut thread_ended = self.state.compute_thread.ended_receiver();
        drop(self);
        if !is_loading {
            // Either way the process goes on to its end.
            let _ = tokio::time::timeout(max_wait, thread_ended.wait_for(|ended| *ended)).await;
        }
    }
}

impl AppState {
    /// The model of this name; without a name the one that there is.
    pub(super) fn model(&self, name: Option<&str>) -> Result<Arc<Model>, ApiError> {
        if !self.compute_thread.is_alive() {
            return Err(thread_ended_error());
        }
        match (&self.single_model, name) {
            (Some(status), None) => match &*status.borrow() {
                ModelStatus::Ready(model) => Ok(Arc::clone(model)),
                ModelStatus::Loading => {
                    Err(ApiError::new(ErrorType::ModelLoading, "loading the model"))
                }
                ModelStatus::Failed(error) => Err(ApiError::new(
                    ErrorType::ModelUnavailable,
                    format!("the model could not be loaded: {error}"),
                )),
            },
            (None, Some(name)) => self.models.get(name),
            (Some(_), Some(_)) => Err(ApiError::new(
                ErrorType::NotFound,
                "this server has one model; ask it with POST /invocations, or start it with \
                 SAGEMAKER_MULTI_MODEL=true",
            )),
            (None, None) => Err(ApiError::new(
                ErrorType::NotFound,
                "this server has models by name (SAGEMAKER_MULTI_MODEL=true); ask one with POST /models/NAME/invoke",
            )),
        }
    }

    /// Refuses unless images can be answered, or models loaded.
    pub(super) fn check_health(&self) -> Result<(), ApiError> {
        if self.settings.multi_model && self.compute_thread.is_alive() {
            return Ok(());
        }
        self.model(None).map(drop)
    }
}

fn spawn_load_thread(
    settings: &ServeSettings,
    models: &Arc<ModelRegistry>,
) -> Result<watch::Receiver<ModelStatus>> {
    let (status_sender, status_receiver) = watch::channel(ModelStatus::Loading);
    let (models, folder) = (Arc::clone(models), settings.model_dir.clone());
    std::thread::Builder::new()
        .name("load".into())
        .spawn(move || {
            let loaded = models.load_blocking("", &folder);
            drop(models);
            status_sender.send_replace(loaded.map_or_else(ModelStatus::Failed, ModelStatus::Ready));
        })
        .map_err(|cause| Error::internal(format!("cannot start a thread: {cause}")))?;
    Ok(status_receiver)
}

pub(super) fn thread_ended_error() -> ApiError {
    ApiError::new(
        ErrorType::ModelUnavailable,
        "the engine's thread has ended; restart the container and see its log for the reason",
    )
}
