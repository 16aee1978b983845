//! Requests and answers of SageMaker's API, as far as this program calls it. Names are the service's:
//! <https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_Operations.html>. Times are seconds
//! since 1970.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::json_client::{JsonRequest, JsonService};

pub static SAGEMAKER: JsonService = JsonService {
    name: "SageMaker",
    signing_name: "sagemaker",
    target_prefix: "SageMaker",
    host_prefix: "api.sagemaker",
    fips_host_prefix: "api-fips.sagemaker",
    endpoint_variable: "AWS_ENDPOINT_URL_SAGEMAKER",
};

/// Defines requests with the types of their answers.
macro_rules! requests {
    ($($request:ident -> $response:ty;)+) => {
        $(impl JsonRequest for $request {
            const OPERATION: &'static str = stringify!($request);
            type Response = $response;
        })+
    };
}

requests! {
    CreatePipeline -> PipelineArn;
    UpdatePipeline -> PipelineArn;
    DescribePipeline -> DescribedPipeline;
    AddTags -> Value;
    ListTags -> ListedTags;
    StartPipelineExecution -> PipelineExecutionArn;
    StopPipelineExecution -> PipelineExecutionArn;
    DescribePipelineExecution -> DescribedExecution;
    DescribePipelineDefinitionForExecution -> DescribedDefinition;
    ListPipelineExecutions -> ListedExecutions;
    ListPipelineExecutionSteps -> ListedSteps;
    DescribeTrainingJob -> DescribedTrainingJob;
    DescribeProcessingJob -> DescribedProcessingJob;
    ListModelPackageGroups -> ListedModelPackageGroups;
    ListModelPackages -> ListedModelPackages;
    DescribeModelPackage -> Map<String, Value>;
    UpdateModelPackage -> Value;
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreatePipeline {
    pub pipeline_name: String,
    #[serde(flatten)]
    pub definition: PipelineDefinition,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline_description: Option<String>,
    pub client_request_token: String,
    pub role_arn: String,
    pub tags: Vec<Tag>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdatePipeline {
    pub pipeline_name: String,
    #[serde(flatten)]
    pub definition: PipelineDefinition,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline_description: Option<String>,
    pub role_arn: String,
}

/// Definition of a pipeline: its text, or the object that holds it.
#[derive(Debug, Clone, Serialize)]
pub enum PipelineDefinition {
    #[serde(rename = "PipelineDefinition")]
    Text(String),
    #[serde(rename = "PipelineDefinitionS3Location")]
    Object(S3Location),
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct S3Location {
    pub bucket: String,
    pub object_key: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tag {
    pub key: String,
    pub value: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PipelineArn {
    pub pipeline_arn: String,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribePipeline {
    /// Name or ARN.
    pub pipeline_name: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribedPipeline {
    pub pipeline_arn: String,
    pub pipeline_name: String,
    pub pipeline_definition: String,
    #[serde(default)]
    pub pipeline_description: Option<String>,
    #[serde(default)]
    pub role_arn: String,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AddTags {
    pub resource_arn: String,
    pub tags: Vec<Tag>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListTags {
    pub resource_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListedTags {
    #[serde(default)]
    pub tags: Vec<Tag>,
    #[serde(default)]
    pub next_token: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct StartPipelineExecution {
    pub pipeline_name: String,
    pub pipeline_execution_display_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline_execution_description: Option<String>,
    pub pipeline_parameters: Vec<PipelineParameter>,
    /// Text of 32 to 128 characters. The service begins one execution for one token.
    pub client_request_token: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PipelineParameter {
    pub name: String,
    pub value: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PipelineExecutionArn {
    pub pipeline_execution_arn: String,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct StopPipelineExecution {
    pub pipeline_execution_arn: String,
    pub client_request_token: String,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribePipelineExecution {
    pub pipeline_execution_arn: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribedExecution {
    pub pipeline_execution_arn: String,
    #[serde(default)]
    pub pipeline_arn: String,
    /// Executing, Stopping, Stopped, Failed or Succeeded.
    pub pipeline_execution_status: String,
    #[serde(default)]
    pub failure_reason: Option<String>,
}

/// Request for the definition with which an execution began; the pipeline may have another one now.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribePipelineDefinitionForExecution {
    pub pipeline_execution_arn: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribedDefinition {
    pub pipeline_definition: String,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListPipelineExecutions {
    pub pipeline_name: String,
    pub sort_by: &'static str,
    pub sort_order: &'static str,
    pub max_results: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListedExecutions {
    #[serde(default)]
    pub pipeline_execution_summaries: Vec<ExecutionSummary>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExecutionSummary {
    pub pipeline_execution_arn: String,
    #[serde(default)]
    pub pipeline_execution_display_name: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListPipelineExecutionSteps {
    pub pipeline_execution_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    pub max_results: u32,
    pub sort_order: &'static str,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListedSteps {
    #[serde(default)]
    pub pipeline_execution_steps: Vec<ExecutionStep>,
    #[serde(default)]
    pub next_token: Option<String>,
}

/// Step of an execution, as far as it is.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ExecutionStep {
    pub step_name: String,
    /// Starting, Executing, Stopping, Stopped, Failed or Succeeded.
    pub step_status: String,
    pub start_time: Option<f64>,
    pub end_time: Option<f64>,
    /// Execution whose result stands for the step's.
    pub cache_hit_result: Option<CacheHitResult>,
    pub failure_reason: Option<String>,
    /// Resource or result of the step, by its kind: `{"TrainingJob": {"Arn": ...}}`.
    pub metadata: Map<String, Value>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CacheHitResult {
    pub source_pipeline_execution_arn: String,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeTrainingJob {
    pub training_job_name: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribedTrainingJob {
    /// `InProgress`, Completed, Failed, Stopping or Stopped.
    pub training_job_status: String,
    /// Starting, Downloading, Training, Uploading and others.
    pub secondary_status: String,
    /// Reason of a failure, such as `AlgorithmError: ..., exit code: 3`.
    pub failure_reason: Option<String>,
    /// Last values of the job's metrics.
    pub final_metric_data_list: Vec<MetricData>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MetricData {
    pub metric_name: String,
    pub value: f64,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeProcessingJob {
    pub processing_job_name: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribedProcessingJob {
    /// `InProgress`, Completed, Failed, Stopping or Stopped.
    pub processing_job_status: String,
    /// Reason of a failure, such as `AlgorithmError: ..., exit code: 3`.
    pub failure_reason: Option<String>,
    /// Text that the job wrote to `/opt/ml/output/message`.
    pub exit_message: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListModelPackageGroups {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    pub max_results: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListedModelPackageGroups {
    #[serde(default)]
    pub model_package_group_summary_list: Vec<ModelPackageGroup>,
    #[serde(default)]
    pub next_token: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ModelPackageGroup {
    pub model_package_group_name: String,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListModelPackages {
    pub model_package_group_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_approval_status: Option<&'static str>,
    pub sort_by: &'static str,
    pub sort_order: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    pub max_results: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListedModelPackages {
    #[serde(default)]
    pub model_package_summary_list: Vec<ModelPackageSummary>,
    #[serde(default)]
    pub next_token: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ModelPackageSummary {
    pub model_package_arn: String,
    #[serde(default)]
    pub model_package_version: Option<u32>,
    #[serde(default)]
    pub model_approval_status: Option<String>,
    #[serde(default)]
    pub creation_time: f64,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeModelPackage {
    /// ARN of the version.
    pub model_package_name: String,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateModelPackage {
    pub model_package_arn: String,
    pub model_approval_status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval_description: Option<String>,
}
