//! Predictions of models for tasks.

use std::collections::BTreeMap;

use reqwest::Method;
use reqwest::header::ACCEPT;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::LabelStudio;
use super::api::MAX_PAGE_BYTES;
use crate::web_client::{Url, WebError, WebErrorKind, WebRequest};

/// A prediction that is to be stored.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct NewPrediction<'a> {
    /// Id of the task.
    pub task: i64,
    /// JSON list of regions.
    pub result: &'a RawValue,
    /// Confidence, 0 to 1.
    pub score: Option<f64>,
    pub model_version: &'a str,
}

impl LabelStudio {
    /// Stores a prediction. The request is sent once: whether a prediction of it is there after a fault, the
    /// caller finds by [`Self::has_prediction`].
    pub async fn create_prediction(&self, prediction: NewPrediction<'_>) -> Result<(), WebError> {
        #[derive(Deserialize)]
        struct Created {
            #[serde(rename = "id")]
            _id: i64,
        }
        let Created { .. } =
            self.send_json(Method::POST, "api/predictions/", &prediction, false).await?;
        Ok(())
    }

    /// Returns true if a task has a prediction of this version of a model.
    pub async fn has_prediction(
        &self,
        task_id: i64,
        model_version: &str,
    ) -> Result<bool, WebError> {
        #[derive(Deserialize)]
        struct Stored {
            #[serde(default)]
            model_version: Option<String>,
        }
        let url = self.join(&format!("api/predictions/?task={task_id}"));
        let predictions: Vec<Stored> = self.get_parsed(&url).await?;
        Ok(predictions.iter().any(|stored| stored.model_version.as_deref() == Some(model_version)))
    }

    /// Returns the number of a project's predictions of a version of a model.
    pub async fn count_predictions(
        &self,
        project_id: i64,
        model_version: &str,
    ) -> Result<u64, WebError> {
        let url = self.join(&format!("api/projects/{project_id}/model-versions/"));
        let counts: BTreeMap<String, u64> = self.get_parsed(&url).await?;
        Ok(counts.get(model_version).copied().unwrap_or(0))
    }

    /// Reads JSON from an address of Label Studio.
    async fn get_parsed<T: DeserializeOwned>(&self, url: &Url) -> Result<T, WebError> {
        let request = WebRequest::get(url).header(ACCEPT, "application/json");
        let body = self.read_authorized(&request, MAX_PAGE_BYTES).await?;
        serde_json::from_slice(&body).map_err(|cause| {
            let fault = format!("the answer is not that of Label Studio ({cause})");
            WebError::new(WebErrorKind::Answer, &Method::GET, url, fault)
        })
    }

    /// Makes a version of predictions the one that a project shows, and by whose scores it chooses the next
    /// task under uncertainty sampling.
    pub async fn set_model_version(&self, project_id: i64, version: &str) -> Result<(), WebError> {
        let path = format!("api/projects/{project_id}/");
        let change = json!({ "model_version": version });
        let _: Value = self.send_json(Method::PATCH, &path, &change, true).await?;
        Ok(())
    }
}
