//! The state that every request sees.

use std::sync::Arc;

use tokio::sync::watch;

use super::api_error::{ApiError, ErrorType, thread_ended_error};
use super::metrics::{Metrics, ServerLoad};
use super::pipeline::Pipeline;
use super::registry::ModelRegistry;
use super::registry::model::Model;
use super::settings::ServeSettings;
use crate::error::Error;

/// Name in the registry of the model of a server that has no others.
pub(super) const SINGLE_MODEL_NAME: &str = "";

/// The status of a server; without [`ServeSettings::multi_model`], the status of its model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerStatus {
    /// The model is being loaded.
    Loading,
    /// The server answers images.
    Ready,
    /// The model could not be loaded.
    Failed(Error),
    /// The compute thread has ended.
    Stopped,
}

/// The state of the routes: the models, the pipeline that computes answers, and the metrics.
pub(super) struct AppState {
    pub(super) settings: ServeSettings,
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) registry: Arc<ModelRegistry>,
    pub(super) metrics: Metrics,
    /// Status of the single model; none if models come by `/models`.
    pub(super) model_status: Option<watch::Receiver<ServerStatus>>,
}

impl AppState {
    /// Returns the status now. A server of many models is ready as long as its compute thread
    /// lives.
    pub(super) fn status(&self) -> ServerStatus {
        if !self.pipeline.compute_thread.is_alive() {
            return ServerStatus::Stopped;
        }
        match &self.model_status {
            Some(status) => status.borrow().clone(),
            None => ServerStatus::Ready,
        }
    }

    /// Returns the model of this name, or the single model if no name is given.
    pub(super) fn model(&self, name: Option<&str>) -> Result<Arc<Model>, ApiError> {
        match (&self.model_status, name) {
            _ if !self.pipeline.compute_thread.is_alive() => Err(thread_ended_error()),
            (Some(_), None) => {
                self.check_health()?;
                self.registry.get(SINGLE_MODEL_NAME)
            }
            (None, Some(name)) => self.registry.get(name),
            (Some(_), Some(_)) => Err(ApiError::new(
                ErrorType::NotFound,
                "this server has one model; ask it with POST /invocations, or start it with \
                 SAGEMAKER_MULTI_MODEL=true",
            )),
            (None, None) => Err(ApiError::new(
                ErrorType::NotFound,
                "this server has models by name (SAGEMAKER_MULTI_MODEL=true); ask one with POST \
                 /models/NAME/invoke",
            )),
        }
    }

    /// Returns an error unless the server can answer images or load models.
    pub(super) fn check_health(&self) -> Result<(), ApiError> {
        match self.status() {
            ServerStatus::Ready => Ok(()),
            ServerStatus::Loading => {
                Err(ApiError::new(ErrorType::ModelLoading, "loading the model"))
            }
            ServerStatus::Failed(error) => Err(ApiError::new(
                ErrorType::ModelUnavailable,
                format!("the model could not be loaded: {error}"),
            )),
            ServerStatus::Stopped => Err(thread_ended_error()),
        }
    }

    /// Returns the work and the models of this moment.
    pub(super) fn load(&self) -> ServerLoad {
        let (model_count, model_bytes) = self.registry.totals();
        let compute_time = self.pipeline.limiter.compute_time();
        ServerLoad { compute_time, model_count, model_bytes }
    }
}
