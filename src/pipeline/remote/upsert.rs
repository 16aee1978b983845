//! Making a pipeline in SageMaker, or bringing it up to date. Doing so twice changes nothing.

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::difference::list_differences;
use super::make_token;
use crate::aws::sagemaker_api::{
    AddTags, CreatePipeline, DescribePipeline, DescribedPipeline, ListTags, PipelineDefinition,
    S3Location, Tag, UpdatePipeline,
};
use crate::aws::{JsonClient, S3Client, S3Error, S3Uri, ServiceError, ServiceErrorKind};
use crate::error::{Error, Result, pluralize};
use crate::pipeline::check::ParameterValues;
use crate::pipeline::definition::parse_json;
use crate::pipeline::digest::to_hex;

/// Size from which a definition goes to S3 and not into the request, in bytes, as with Amazon's Python
/// SDK.
const MAX_INLINE_BYTES: usize = 100 * 1024;

/// Most differences that a message lists.
const MAX_LISTED_DIFFERENCES: usize = 30;

/// Tags of the pipeline: the version of this program, and the SHA-256 of the definition that it sent;
/// during an update, those of the definition before and after it.
const VERSION_TAG: &str = "maskmaker:version";
const REVISION_TAG: &str = "maskmaker:revision";

/// Pipeline that is to be made or brought up to date.
#[derive(Debug)]
pub struct UpsertOptions {
    pub name: String,
    /// Role of the pipeline; none for the value of its parameter `RoleArn`.
    pub role_arn: Option<String>,
    /// Description; none leaves that of the pipeline as it is.
    pub description: Option<String>,
    /// Tags beside the program's own.
    pub tags: Vec<(String, String)>,
    /// Folder of definitions that are too large for a request; none for one below the value of the
    /// parameter `OutputRoot`.
    pub definitions_folder: Option<S3Uri>,
    /// True if a pipeline of this name that another program wrote, or a person changed, is replaced.
    pub replaces_others: bool,
}

/// Result of an upsert.
#[derive(Debug, PartialEq, Eq)]
pub enum Upserted {
    Created,
    /// The definition, role or description changed; the lines tell how.
    Updated(Vec<String>),
    /// Tags alone changed, most likely because an earlier upsert was interrupted.
    Tagged,
    Unchanged,
}

/// Makes the pipeline of a definition, or brings it up to date. Returns its ARN, and what changed.
/// `given` are values of parameters, which become their defaults in the account.
pub fn upsert_pipeline(
    bytes: &[u8],
    given: &BTreeMap<String, Value>,
    values: &ParameterValues,
    options: &UpsertOptions,
    client: &JsonClient,
    connect_s3: &dyn Fn() -> Result<S3Client, S3Error>,
) -> Result<(String, Upserted)> {
    let wanted = WantedPipeline::new(bytes, given, values, options)?;
    // Another program may make the pipeline between the look and the call.
    for _ in 0..2 {
        let Some(existing) = describe_pipeline(client, &options.name)? else {
            match wanted.create(client, connect_s3) {
                Err(CallError::Service(error)) if error.kind == ServiceErrorKind::Conflict => {
                    continue;
                }
                created => return Ok((created?, Upserted::Created)),
            }
        };
        let changes = wanted.update(&existing, client, connect_s3)?;
        return Ok((existing.pipeline_arn, changes));
    }
    Err(Error::input(format!(
        "{}: the pipeline is being made and removed by another program at the same time",
        options.name
    )))
}

/// Describes a pipeline. Returns nothing if there is none of this name.
pub(super) fn describe_pipeline(
    client: &JsonClient,
    name: &str,
) -> Result<Option<DescribedPipeline>> {
    match client.send(&DescribePipeline { pipeline_name: name.to_owned() }) {
        Ok(pipeline) => Ok(Some(pipeline)),
        Err(error) if error.kind == ServiceErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Failure of a call, or of what comes before it.
enum CallError {
    Service(ServiceError),
    Other(Error),
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Service(error) => error.into(),
            CallError::Other(error) => error,
        }
    }
}

/// Pipeline as it is to be in the account.
struct WantedPipeline<'a> {
    options: &'a UpsertOptions,
    role_arn: String,
    document: Value,
    /// The document as text, whose keys are in order, so that equal definitions have equal bytes.
    text: String,
    tags: Vec<Tag>,
    definitions_folder: Option<S3Uri>,
}

impl<'a> WantedPipeline<'a> {
    fn new(
        bytes: &[u8],
        given: &BTreeMap<String, Value>,
        values: &ParameterValues,
        options: &'a UpsertOptions,
    ) -> Result<Self> {
        let mut document = parse_json(bytes)?;
        set_defaults(&mut document, given);
        let text = document.to_string();
        let text_value = |name: &str| values.get(name).and_then(Value::as_str);
        let role_arn = options.role_arn.as_deref().or_else(|| text_value("RoleArn"));
        let role_arn = role_arn.ok_or_else(|| {
            Error::input(
                "the pipeline needs a role: give --role-arn ARN, or --parameter RoleArn=ARN",
            )
        })?;
        let below_output = text_value("OutputRoot")
            .and_then(|root| format!("{}/definitions/", root.trim_end_matches('/')).parse().ok());
        let mut tags = vec![
            Tag { key: VERSION_TAG.to_owned(), value: env!("CARGO_PKG_VERSION").to_owned() },
            Tag { key: REVISION_TAG.to_owned(), value: hash_text(&text) },
        ];
        for (key, value) in &options.tags {
            tags.push(Tag { key: key.clone(), value: value.clone() });
        }
        Ok(Self {
            options,
            role_arn: role_arn.to_owned(),
            document,
            text,
            tags,
            definitions_folder: options.definitions_folder.clone().or(below_output),
        })
    }

    fn create(
        &self,
        client: &JsonClient,
        connect_s3: &dyn Fn() -> Result<S3Client, S3Error>,
    ) -> Result<String, CallError> {
        let options = self.options;
        let request = CreatePipeline {
            pipeline_name: options.name.clone(),
            definition: self.send_definition(connect_s3)?,
            pipeline_description: options.description.clone(),
            client_request_token: make_token(),
            role_arn: self.role_arn.clone(),
            tags: self.tags.clone(),
        };
        Ok(client.send(&request).map_err(CallError::Service)?.pipeline_arn)
    }

    fn update(
        &self,
        existing: &DescribedPipeline,
        client: &JsonClient,
        connect_s3: &dyn Fn() -> Result<S3Client, S3Error>,
    ) -> Result<Upserted> {
        let options = self.options;
        let mut tags = list_tags(client, &existing.pipeline_arn)?;
        let existing_document: Value = serde_json::from_str(&existing.pipeline_definition)
            .unwrap_or_else(|_| Value::String(existing.pipeline_definition.clone()));
        let mut changes = list_differences(&existing_document, &self.document);
        let has_own_definition = changes.is_empty();
        if existing.role_arn != self.role_arn {
            changes.push(format!("RoleArn: {} -> {}", existing.role_arn, self.role_arn));
        }
        let description = options.description.as_ref().or(existing.pipeline_description.as_ref());
        if description != existing.pipeline_description.as_ref() {
            changes.push(format!(
                "PipelineDescription: {:?} -> {:?}",
                existing.pipeline_description.as_deref().unwrap_or_default(),
                description.map_or("", String::as_str)
            ));
        }
        let existing_hash = hash_text(&existing_document.to_string());
        let is_ours = has_own_definition
            || tags.iter().any(|tag| {
                tag.key == REVISION_TAG && tag.value.split(' ').any(|hash| hash == existing_hash)
            });
        if !is_ours && !options.replaces_others {
            return Err(self.other_definition_error(&tags, &changes));
        }
        if !changes.is_empty() {
            // Either definition is ours, wherever this program ends.
            let revisions = format!("{existing_hash} {}", hash_text(&self.text));
            let both = Tag { key: REVISION_TAG.to_owned(), value: revisions };
            let resource_arn = existing.pipeline_arn.clone();
            client.send(&AddTags { resource_arn, tags: vec![both.clone()] })?;
            tags.retain(|tag| tag.key != REVISION_TAG);
            tags.push(both);
            client.send(&UpdatePipeline {
                pipeline_name: options.name.clone(),
                definition: self.send_definition(connect_s3)?,
                pipeline_description: description.cloned(),
                role_arn: self.role_arn.clone(),
            })?;
        }
        let new_tags: Vec<Tag> =
            self.tags.iter().filter(|tag| !tags.contains(tag)).cloned().collect();
        let has_new_tags = !new_tags.is_empty();
        if has_new_tags {
            let resource_arn = existing.pipeline_arn.clone();
            client.send(&AddTags { resource_arn, tags: new_tags })?;
        }
        Ok(match (changes.is_empty(), has_new_tags) {
            (false, _) => Upserted::Updated(changes),
            (true, true) => Upserted::Tagged,
            (true, false) => Upserted::Unchanged,
        })
    }

    /// Returns the error of a pipeline that holds another program's or a person's definition.
    fn other_definition_error(&self, tags: &[Tag], changes: &[String]) -> Error {
        let has_tag = tags.iter().any(|tag| tag.key == REVISION_TAG);
        let owner = if has_tag {
            "its definition was changed after the last upsert"
        } else {
            "another program made it"
        };
        let mut text = format!(
            "a pipeline named {} is there, and {owner}; give another --name, or --force to replace \
             its definition. {} (there -> here):",
            self.options.name,
            pluralize(changes.len(), "difference")
        );
        for change in changes.iter().take(MAX_LISTED_DIFFERENCES) {
            text.push_str("\n  ");
            text.push_str(change);
        }
        if changes.len() > MAX_LISTED_DIFFERENCES {
            text.push_str("\n  and more");
        }
        Error::input(text)
    }

    /// Returns the definition as the request holds it. A large one is written to S3 first.
    fn send_definition(
        &self,
        connect_s3: &dyn Fn() -> Result<S3Client, S3Error>,
    ) -> Result<PipelineDefinition> {
        if self.text.len() < MAX_INLINE_BYTES {
            return Ok(PipelineDefinition::Text(self.text.clone()));
        }
        let Some(folder) = &self.definitions_folder else {
            return Err(Error::input(format!(
                "the definition has {} bytes, and from {MAX_INLINE_BYTES} it goes to S3: give its \
                 folder by --definitions s3://BUCKET/PREFIX/",
                self.text.len()
            )));
        };
        // The name tells the content, so that writing it twice changes nothing.
        let uri = folder.join(&format!("{}-{}.json", self.options.name, hash_text(&self.text)));
        connect_s3()?.put(&uri, self.text.clone().into_bytes())?;
        Ok(PipelineDefinition::Object(S3Location {
            bucket: uri.bucket().to_owned(),
            object_key: uri.key().to_owned(),
        }))
    }
}

/// Makes given values the defaults of their parameters.
fn set_defaults(document: &mut Value, given: &BTreeMap<String, Value>) {
    let parameters = document.get_mut("Parameters").and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        let name = parameter.get("Name").and_then(Value::as_str).unwrap_or_default();
        if let Some(value) = given.get(name) {
            parameter["DefaultValue"] = value.clone();
        }
    }
}

fn list_tags(client: &JsonClient, arn: &str) -> Result<Vec<Tag>> {
    let mut tags = Vec::new();
    let mut next_token = None;
    loop {
        let request = ListTags { resource_arn: arn.to_owned(), next_token };
        let listed = client.send(&request)?;
        tags.extend(listed.tags);
        next_token = listed.next_token;
        if next_token.is_none() {
            return Ok(tags);
        }
    }
}

fn hash_text(text: &str) -> String {
    to_hex(&Sha256::digest(text))
}
