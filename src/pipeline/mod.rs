//! Pipelines: `pipeline.json` in the format of Amazon SageMaker Pipelines, read, checked,
//! rendered and shown.
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
//! | `findings` | errors and warnings with the step and field that they are about |
//!
//! The format is described by AWS in the repository
//! `aws-sagemaker-mlops/sagemaker-model-building-pipeline-definition-JSON-schema`, which lacks some
//! of what the service takes and Amazon's Python SDK writes.

mod check;
mod definition;
mod expression;
mod findings;
mod graph;
mod render;
mod service_model;
mod show;

pub use check::{ArgumentsCheck, ParameterValues, UNKNOWN_ARGUMENT, check_definition, check_names};
pub use definition::{Definition, Parameter, ParameterKind, PropertyFile, Step, StepKind};
pub use expression::{
    ExecutionVariable, Expression, PathPart, PropertyPath, Reference, Values, resolve,
};
pub use findings::{Finding, Findings, Place, Severity};
pub use graph::Graph;
pub use render::render_requests;
pub use show::{describe_graph, draw_graph, parameters_markdown};
