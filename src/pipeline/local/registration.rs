//! Steps that make models known: `RegisterModel` fills the local registry, `Model` has properties only.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::results::{StepResult, job_name};
use super::root::now_text;
use super::step::{ReadyStep, Run, StepEnd};
use crate::error::Result;
use crate::pipeline::registry::{ApprovalStatus, NewPackage};
use crate::status_table::StepNews;

impl Run<'_> {
    /// Adds a model package to the local registry.
    pub(super) fn register_model(
        &self,
        ready: &ReadyStep,
        on_news: &dyn Fn(StepNews),
    ) -> Result<StepEnd> {
        let arguments = &ready.arguments;
        let start_time = now_text();
        let text = |key: &str| arguments.get(key).and_then(Value::as_str);
        let containers = arguments
            .get("InferenceSpecification")
            .and_then(|specification| specification.get("Containers"))
            .and_then(Value::as_array);
        if containers.is_some_and(|containers| containers.len() > 1) {
            on_news(StepNews::Note(
                "the local registry keeps the first container's model only".into(),
            ));
        }
        let model = containers.and_then(|containers| containers.first());
        let model = model.and_then(|container| container.get("ModelDataUrl")?.as_str());
        let model = match model {
            Some(uri) => Some(self.places.file(uri)?),
            None => None,
        };
        let mut metrics = Vec::new();
        if let Some(groups) = arguments.get("ModelMetrics").and_then(Value::as_object) {
            for (group, sources) in groups {
                for (source, place) in sources.as_object().into_iter().flatten() {
                    let Some(uri) = place.get("S3Uri").and_then(Value::as_str) else { continue };
                    let path = vec!["ModelMetrics".to_owned(), group.clone(), source.clone()];
                    metrics.push((path, self.places.file(uri)?));
                }
            }
        }
        let mut description = arguments.as_object().cloned().unwrap_or_default();
        for key in ["ModelPackageGroupName", "ModelApprovalStatus"] {
            description.remove(key);
        }
        let status = text("ModelApprovalStatus").and_then(ApprovalStatus::from_name);
        let package = self.registry.add(NewPackage {
            group: text("ModelPackageGroupName").unwrap_or_default(),
            status: status.unwrap_or(ApprovalStatus::PendingManualApproval),
            creation_time: &start_time,
            execution_id: &self.execution.pipeline_execution_id,
            step: &ready.step.name,
            description,
            model,
            metrics,
        })?;
        let mut properties = json!(package);
        let (group, version) = (&package.model_package_group_name, package.model_package_version);
        let arn = format!("arn:aws:sagemaker:local:000000000000:model-package/{group}/{version}");
        properties["ModelPackageArn"] = json!(arn);
        Ok(self.end_without_job(ready, properties, start_time))
    }

    pub(super) fn create_model(&self, ready: &ReadyStep) -> StepEnd {
        let mut properties = ready.arguments.clone();
        properties["ModelName"] = json!(job_name(self.execution, &ready.step));
        self.end_without_job(ready, properties, now_text())
    }

    fn end_without_job(&self, ready: &ReadyStep, properties: Value, start_time: String) -> StepEnd {
        let result = StepResult {
            pipeline_execution_id: self.execution.pipeline_execution_id.clone(),
            step_name: ready.step.name.clone(),
            properties,
            outputs: Vec::new(),
            metrics: BTreeMap::new(),
            start_time,
            end_time: now_text(),
        };
        StepEnd { result, is_cached: false }
    }
}
