//! The server's parts together, before any socket: models, queue, compute thread.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::sync::watch;

use super::app;
use super::engine::Compute;
use super::input::Fetch;
use super::metrics::Metrics;
use super::model::{Load, Model};
use super::models::Models;
use super::queue::Queue;
use super::reply::{ErrorType, Refusal};
use super::settings::Settings;
use crate::error::{Error, Result};

/// Where the one model of a server stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// It is being loaded.
    Loading,
    /// Images are answered.
    Ready,
    /// It could not be loaded.
    Failed(Error),
    /// The thread that computes has ended.
    Gone,
}

/// A server without a socket.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

/// What every request sees.
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) queue: Arc<Queue>,
    pub(super) compute: Arc<Compute>,
    pub(super) models: Arc<Models>,
    pub(super) metrics: Metrics,
    /// Who fetches images that requests name, if that is allowed.
    pub(super) fetch: Option<Arc<dyn Fetch>>,
    /// Of a server with one model.
    single: Option<watch::Receiver<Single>>,
}

#[derive(Debug, Clone)]
enum Single {
    Loading,
    Ready(Arc<Model>),
    Failed(Error),
}

impl Server {
    /// Starts the compute thread, and loading of the model unless models come by `/models`; returns at once.
    pub fn start(
        settings: &Settings,
        loader: Arc<dyn Load>,
        fetch: Option<Arc<dyn Fetch>>,
    ) -> Result<Self> {
        settings.check()?;
        let compute = Arc::new(Compute::start(settings)?);
        let models = Arc::new(Models::new(settings, loader, Arc::clone(&compute)));
        let single = if settings.multi_model { None } else { Some(load(settings, &models)?) };
        let shared = Shared {
            settings: settings.clone(),
            queue: Queue::new(settings),
            compute,
            models,
            metrics: Metrics::default(),
            fetch,
            single,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The routes; needs no socket, only tokio.
    pub fn app(&self) -> Router {
        app::app(&self.shared)
    }

    /// Where the model stands now; a server of many models is always ready. Never waits.
    pub fn status(&self) -> Status {
        let shared = &self.shared;
        if !shared.compute.is_alive() {
            return Status::Gone;
        }
        match shared.single.as_ref().map(|single| single.borrow().clone()) {
            None | Some(Single::Ready(_)) => Status::Ready,
            Some(Single::Loading) => Status::Loading,
            Some(Single::Failed(error)) => Status::Failed(error),
        }
    }

    /// Waits until the model is loaded.
    pub async fn ready(&self) -> Result<()> {
        let Some(single) = &self.shared.single else { return Ok(()) };
        let mut single = single.clone();
        let settled = single.wait_for(|single| !matches!(single, Single::Loading)).await;
        match settled.as_deref() {
            Ok(Single::Failed(error)) => Err(error.clone()),
            Ok(_) => Ok(()),
            Err(_) => Err(Error::internal("the thread that loads the model ended")),
        }
    }

    /// Lets go of everything and waits, not for ever, until the compute thread has ended, so that a process does not end
    /// under a thread that is still taking libtorch down.
    pub(super) async fn ended(self, patience: Duration) {
        let loading = self.status() == Status::Loading;
        let mut end = self.shared.compute.end();
        drop(self);
        if !loading {
            // Either way the process goes on to its end.
            let _ = tokio::time::timeout(patience, end.wait_for(|ended| *ended)).await;
        }
    }
}

impl Shared {
    /// The model of this name; without a name the one that there is.
    pub(super) fn model(&self, name: Option<&str>) -> Result<Arc<Model>, Refusal> {
        if !self.compute.is_alive() {
            return Err(gone());
        }
        match (&self.single, name) {
            (Some(single), None) => match &*single.borrow() {
                Single::Ready(model) => Ok(Arc::clone(model)),
                Single::Loading => Err(Refusal::new(ErrorType::ModelLoading, "loading the model")),
                Single::Failed(error) => Err(Refusal::new(
                    ErrorType::ModelUnavailable,
                    format!("the model could not be loaded: {error}"),
                )),
            },
            (None, Some(name)) => self.models.get(name),
            (Some(_), Some(_)) => Err(Refusal::new(
                ErrorType::NotFound,
                "this server has one model; ask it with POST /invocations, or start it with \
                 SAGEMAKER_MULTI_MODEL=true",
            )),
            (None, None) => Err(Refusal::new(
                ErrorType::NotFound,
                "this server has models by name (SAGEMAKER_MULTI_MODEL=true); ask one with POST /models/NAME/invoke",
            )),
        }
    }

    /// Refuses unless images can be answered, or models loaded.
    pub(super) fn check_health(&self) -> Result<(), Refusal> {
        if self.settings.multi_model && self.compute.is_alive() {
            return Ok(());
        }
        self.model(None).map(drop)
    }
}

fn load(settings: &Settings, models: &Arc<Models>) -> Result<watch::Receiver<Single>> {
    let (tell, told) = watch::channel(Single::Loading);
    let (models, folder) = (Arc::clone(models), settings.model.clone());
    std::thread::Builder::new()
        .name("load".into())
        .spawn(move || {
            let loaded = models.load_here("", &folder);
            drop(models);
            tell.send_replace(loaded.map_or_else(Single::Failed, Single::Ready));
        })
        .map_err(|cause| Error::internal(format!("cannot start a thread: {cause}")))?;
    Ok(told)
}

pub(super) fn gone() -> Refusal {
    Refusal::new(
        ErrorType::ModelUnavailable,
        "the engine's thread has ended; restart the container and see its log for the reason",
    )
}
