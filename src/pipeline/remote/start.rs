//! Starting an execution in the account.

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::data_revision::{compute_data_revision, find_revision_parameters};
use super::execution::missing_pipeline_error;
use super::make_token;
use super::upsert::describe_pipeline;
use crate::aws::sagemaker_api::{
    ListPipelineExecutions, PipelineParameter, StartPipelineExecution,
};
use crate::aws::{JsonClient, S3Client, S3Error, ServiceErrorKind};
use crate::error::{Error, ErrorContext, Result};
use crate::pipeline::check::{ParameterValues, read_given};
use crate::pipeline::definition::Definition;
use crate::pipeline::digest::to_hex;
use crate::pipeline::findings::Findings;
use crate::pipeline::render::check_parameter_values;

/// Length of the part of a token's hash in the name of its execution, in characters.
const TOKEN_NAME_CHARS: usize = 24;

/// Executions among which that of a token is looked for; the most of one answer of the service.
const MAX_LOOKED_AT: u32 = 100;

/// Execution that is to begin.
#[derive(Debug)]
pub struct StartOptions {
    /// Name or ARN of the pipeline.
    pub pipeline: String,
    /// Values of parameters, by name, as texts.
    pub parameters: Vec<(String, String)>,
    /// Text of 32 to 128 characters that stands for this start: one execution begins for one token.
    /// None begins another one.
    pub token: Option<String>,
    pub description: Option<String>,
}

/// Starts an execution, and returns its ARN. Parameters without a value that name the revision of data
/// get a hash of the data's keys and ETags. `on_note` gets lines for people.
pub fn start_execution(
    options: &StartOptions,
    client: &JsonClient,
    connect_s3: &dyn Fn() -> Result<S3Client, S3Error>,
    on_note: &dyn Fn(&str),
) -> Result<String> {
    let name = &options.pipeline;
    let Some(pipeline) = describe_pipeline(client, name)? else {
        return Err(missing_pipeline_error(name, client));
    };
    // The data may have changed since the token's execution began, and the service refuses another
    // request with the same token.
    if let Some(token) = &options.token
        && let Some(arn) = find_execution_of_token(name, token, client)?
    {
        on_note("an execution with this token has begun");
        return Ok(arn);
    }
    let context = format!("the pipeline {name}");
    // Mistakes of the definition are those of who made it. The service knows better what it runs.
    let (definition, _) =
        Definition::parse(pipeline.pipeline_definition.as_bytes()).error_context(&context)?;
    let mut findings = Findings::new();
    let mut given = read_given(&definition, &options.parameters, &mut findings);
    let values = ParameterValues::choose(&definition, &given, &mut findings);
    findings.into_result().error_context(&context)?;
    for revision in find_revision_parameters(&definition, &given, &values)? {
        let mut places = Vec::new();
        for place in &revision.places {
            places.push(place.to_string());
        }
        if places.is_empty() {
            continue;
        }
        let state = compute_data_revision(&revision.places, &connect_s3()?)?;
        on_note(&format!(
            "{} = {} ({} objects in {})",
            revision.name,
            state.hash,
            state.objects,
            places.join(", ")
        ));
        given.insert(revision.name, Value::String(state.hash));
    }
    let values = ParameterValues::choose(&definition, &given, &mut Findings::new());
    check_parameter_values(&definition, &values).error_context(&context)?;
    let token = options.token.clone().unwrap_or_else(make_token);
    let request = StartPipelineExecution {
        pipeline_name: name.clone(),
        pipeline_execution_display_name: name_execution(&token),
        pipeline_execution_description: options.description.clone(),
        pipeline_parameters: write_parameters(&given),
        client_request_token: token.clone(),
    };
    match client.send(&request) {
        Ok(started) => Ok(started.pipeline_execution_arn),
        // Another process may have begun it meanwhile, with other data.
        Err(error)
            if options.token.is_some()
                && matches!(error.kind, ServiceErrorKind::Conflict | ServiceErrorKind::Invalid) =>
        {
            match find_execution_of_token(name, &token, client)? {
                Some(arn) => Ok(arn),
                None => Err(error.into()),
            }
        }
        Err(error) if error.kind.is_final() => Err(error.into()),
        Err(error) => Err(Error::input(format!(
            "{error}; the execution may have begun all the same: --token {token} with the same \
             parameters returns it, or begins it"
        ))),
    }
}

/// Returns the display name of an execution that was started with a token.
fn name_execution(token: &str) -> String {
    format!("token-{}", &to_hex(&Sha256::digest(token))[..TOKEN_NAME_CHARS])
}

/// Looks for the execution of a token among the last ones of a pipeline.
fn find_execution_of_token(
    pipeline: &str,
    token: &str,
    client: &JsonClient,
) -> Result<Option<String>> {
    let name = name_execution(token);
    let listed = client.send(&ListPipelineExecutions {
        pipeline_name: pipeline.to_owned(),
        sort_by: "CreationTime",
        sort_order: "Descending",
        max_results: MAX_LOOKED_AT,
    })?;
    for execution in listed.pipeline_execution_summaries {
        if execution.pipeline_execution_display_name.as_deref() == Some(&*name) {
            return Ok(Some(execution.pipeline_execution_arn));
        }
    }
    Ok(None)
}

/// Writes values as the service takes them: as texts, and booleans as Python writes them, as Amazon's
/// SDK does.
fn write_parameters(given: &BTreeMap<String, Value>) -> Vec<PipelineParameter> {
    let mut parameters = Vec::new();
    for (name, value) in given {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Bool(true) => "True".to_owned(),
            Value::Bool(false) => "False".to_owned(),
            other => other.to_string(),
        };
        parameters.push(PipelineParameter { name: name.clone(), value });
    }
    parameters
}

impl StartOptions {
    /// Parses a token of 32 to 128 characters.
    pub fn parse_token(text: &str) -> Result<String, String> {
        if (32..=128).contains(&text.chars().count()) {
            return Ok(text.to_owned());
        }
        Err("allowed: 32 to 128 characters".to_owned())
    }
}
