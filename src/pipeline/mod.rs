//! Pipelines: `pipeline.json` in the format of Amazon SageMaker Pipelines, read, checked,
//! rendered, shown, and run on this machine or in SageMaker; and the registry of the models that they
//! made.
//!
//! | module | task |
//! |---|---|
//! | `definition` | parameters and steps of a file, and what is wrong with its form |
//! | `expression` | references (`{"Get": ...}`) and functions (`{"Std:Join": ...}`) in arguments |
//! | `graph` | which step waits for which |
//! | `check` | everything that can be known to be wrong before a run |
//! | `service_model` | requests and descriptions of SageMaker's API |
//! | `render` | what a run would ask the service for |
//! | `show` | the graph of the steps as text and as a picture |
//! | `local` | a run on this machine |
//! | `remote` | pipelines, executions and the registry in SageMaker |
//! | `registry` | model packages in a folder |
//! | `best_hyperparameters` | what a search found as values of parameters |
//! | `digest` | digests of files |
//! | `findings` | errors and warnings with the step and field that they are about |
//!
//! The format is described by AWS in the repository
//! `aws-sagemaker-mlops/sagemaker-model-building-pipeline-definition-JSON-schema`, which lacks some
//! of what the service takes and Amazon's Python SDK writes.

mod best_hyperparameters;
mod check;
mod definition;
mod digest;
mod expression;
mod findings;
mod graph;
mod local;
mod registry;
mod remote;
mod render;
mod service_model;
mod show;

pub use best_hyperparameters::find_parameter_values;
pub use check::{
    ArgumentsCheck, ParameterValues, UNKNOWN_ARGUMENT, check_definition, check_names, read_given,
};
pub use definition::{Definition, Parameter, ParameterKind, PropertyFile, Step, StepKind};
pub use expression::{
    ExecutionVariable, Expression, PathPart, PropertyPath, Reference, Values, resolve,
};
pub use findings::{Finding, Findings, Place, Severity};
pub use graph::Graph;
pub use local::{Executor, LocalRunOptions, PlaceMap, run_locally};
pub use registry::{
    ApprovalStatus, ApprovedModel, ModelPackage, REGISTRY_VARIABLE, RegisteredModel, Registry,
    RegistryPlace, SageMakerRegistry,
};
pub use remote::{
    ExecutionChoice, LogsOptions, StartOptions, StatusOptions, UpsertOptions, Upserted, print_logs,
    show_status, start_execution, stop_execution, upsert_pipeline,
};
pub use render::render_requests;
pub use show::{describe_graph, draw_graph, parameters_markdown};
