//! Executions in the account: finding one, listing its steps, stopping it.

use super::make_token;
use super::upsert::describe_pipeline;
use crate::aws::JsonClient;
use crate::aws::sagemaker_api::{
    DescribePipelineExecution, DescribedExecution, ExecutionStep, ListPipelineExecutionSteps,
    ListPipelineExecutions, StopPipelineExecution,
};
use crate::error::{Error, Result};

/// Most steps of one answer of the service.
const MAX_STEPS_PER_ANSWER: u32 = 100;

/// Execution that a person means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutionChoice {
    /// Name or ARN of the pipeline.
    pub pipeline: String,
    /// ARN or identifier of the execution; none for the last one.
    pub execution: Option<String>,
}

impl ExecutionChoice {
    /// Returns the ARN of the execution.
    pub(super) fn find(&self, client: &JsonClient) -> Result<String> {
        if let Some(arn) = self.execution.as_deref().filter(|text| text.starts_with("arn:")) {
            return Ok(arn.to_owned());
        }
        let name = &self.pipeline;
        let Some(pipeline) = describe_pipeline(client, name)? else {
            return Err(missing_pipeline_error(name, client));
        };
        if let Some(id) = &self.execution {
            return Ok(format!("{}/execution/{id}", pipeline.pipeline_arn));
        }
        let listed = client.send(&ListPipelineExecutions {
            pipeline_name: name.clone(),
            sort_by: "CreationTime",
            sort_order: "Descending",
            max_results: 1,
        })?;
        match listed.pipeline_execution_summaries.into_iter().next() {
            Some(last) => Ok(last.pipeline_execution_arn),
            None => Err(Error::input(format!(
                "the pipeline {name} has no execution; `maskmaker pipeline start` begins one"
            ))),
        }
    }
}

/// Returns the error of a pipeline that is not there.
pub(super) fn missing_pipeline_error(name: &str, client: &JsonClient) -> Error {
    Error::input(format!(
        "there is no pipeline {name} in {}; `maskmaker pipeline upsert` makes one, --name gives its \
         name and AWS_REGION its region",
        client.region()
    ))
}

/// Describes an execution.
pub(super) fn describe_execution(client: &JsonClient, arn: &str) -> Result<DescribedExecution> {
    Ok(client.send(&DescribePipelineExecution { pipeline_execution_arn: arn.to_owned() })?)
}

/// Lists the steps that have begun, the first one first.
pub(super) fn list_steps(client: &JsonClient, arn: &str) -> Result<Vec<ExecutionStep>> {
    let mut steps = Vec::new();
    let mut next_token = None;
    loop {
        let listed = client.send(&ListPipelineExecutionSteps {
            pipeline_execution_arn: arn.to_owned(),
            next_token,
            max_results: MAX_STEPS_PER_ANSWER,
            sort_order: "Ascending",
        })?;
        steps.extend(listed.pipeline_execution_steps);
        next_token = listed.next_token;
        if next_token.is_none() {
            return Ok(steps);
        }
    }
}

/// Asks the service to stop an execution, and returns its ARN. The running jobs get some minutes to
/// end. An execution that has ended is an error.
pub fn stop_execution(choice: &ExecutionChoice, client: &JsonClient) -> Result<String> {
    let arn = choice.find(client)?;
    let status = describe_execution(client, &arn)?.pipeline_execution_status;
    match status.as_str() {
        // Asking twice changes nothing.
        "Stopping" => return Ok(arn),
        "Executing" => {}
        _ => return Err(Error::input(format!("{arn} has ended: {status}"))),
    }
    let stopped = client.send(&StopPipelineExecution {
        pipeline_execution_arn: arn.clone(),
        client_request_token: make_token(),
    })?;
    Ok(stopped.pipeline_execution_arn)
}
