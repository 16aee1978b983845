//! Pipelines that run on this machine: steps are containers or processes with folders in place of
//! `/opt/ml`, places in S3 are folders, and the model registry is one too.
//!
//! | module | task |
//! |---|---|
//! | `root` | the folder of local executions and their state |
//! | `places` | places in S3 as folders; copying, moving and digests of files |
//! | `results` | what steps left, and the values that expressions take from it |
//! | `conditions` | which branch of a condition is taken |
//! | `job` | what a processing or training job is given, by its request |
//! | `job_folder` | the folder of a job, and how far the job is |
//! | `container` | the process or container of a job |
//! | `docker` | docker's client |
//! | `outputs` | taking what a job left to its places |
//! | `archive` | archives of a training job's results |
//! | `job_run` | one job from its request to its result, or to an earlier one |
//! | `tuning` | the training jobs of a tuning step, which are the trials of a search |
//! | `step` | one step, by its kind |
//! | `registration` | steps that make models known |
//! | `schedule` | which step's turn it is |
//!
//! A step whose request, inputs, program and settings are those of an earlier job gets that job's
//! result, if its outputs are still as the job left them. So a run that was killed, stopped or
//! failed goes on where it was: the next run with the same definition and parameters has the same
//! identifier, finished steps are found, and a training job has its checkpoints.

mod archive;
mod conditions;
mod container;
mod docker;
mod job;
mod job_folder;
mod job_run;
mod outputs;
mod places;
mod registration;
mod results;
mod root;
mod schedule;
mod step;
mod tuning;

use std::path::PathBuf;

use serde_json::Map;
use sha2::{Digest, Sha256};

pub use self::container::Executor;
use self::container::own_program_digest;
use self::docker::remove_containers;
use self::job::Job;
pub use self::places::PlaceMap;
use self::places::Places;
use self::root::{Execution, ExecutionStatus, LocalRoot, new_execution_id, now_text};
use self::schedule::Progress;
use self::step::Run;
use self::tuning::TuningRequest;
use super::check::ParameterValues;
use super::definition::{Definition, StepKind};
use super::digest::to_hex;
use super::expression::resolve;
use super::graph::Graph;
use super::registry::Registry;
use super::render::check_parameter_values;
use crate::console::print_stdout;
use crate::error::{ErrorContext, Problems, Result};
use crate::files::{PathContext, create_folder};
use crate::sagemaker::StopSignal;
use crate::status_table::Table;

/// Kinds of steps that run on this machine.
const LOCAL_KINDS: [StepKind; 7] = [
    StepKind::Processing,
    StepKind::Training,
    StepKind::Tuning,
    StepKind::Condition,
    StepKind::RegisterModel,
    StepKind::Model,
    StepKind::Fail,
];

/// Settings of a local run.
#[derive(Debug)]
pub struct LocalRunOptions {
    pub pipeline_name: String,
    /// Bytes of the definition, by which an interrupted execution is found again.
    pub definition_bytes: Vec<u8>,
    /// Folder of local executions.
    pub root: PathBuf,
    /// Folders of places in S3.
    pub maps: Vec<PlaceMap>,
    /// Folder of the model registry; none for that in the root.
    pub registry: Option<PathBuf>,
    pub executor: Executor,
    /// False if a new execution begins, and every job is run.
    pub uses_cache: bool,
}

/// Runs a pipeline on this machine. A Fail step is an error with exit code 4 and its message.
pub fn run_locally(
    definition: &Definition,
    graph: &Graph,
    parameters: &ParameterValues,
    options: &LocalRunOptions,
    stop: &StopSignal,
) -> Result<()> {
    check_kinds(definition)?;
    check_parameter_values(definition, parameters)?;
    let root = LocalRoot::open(&options.root)?;
    let places = Places::new(&options.maps, root.s3_folder())?;
    places.check_apart_from(root.folder())?;
    let registry_folder = options.registry.clone().unwrap_or_else(|| root.registry_folder());
    create_folder(&registry_folder)?;
    // Containers and processes in other folders get the path.
    let registry_folder =
        registry_folder.canonicalize().with_path("open the folder", &registry_folder)?;
    let registry = Registry::new(&registry_folder);
    check_jobs(definition, parameters, &options.executor)?;
    let program_digest = match &options.executor {
        Executor::Process => own_program_digest()?,
        Executor::Docker { .. } => {
            remove_containers(root.folder())?;
            String::new()
        }
    };
    let mut execution = begin_execution(definition, parameters, options, &root)?;
    let run = Run {
        root: &root,
        places: &places,
        execution: &execution.clone(),
        executor: &options.executor,
        registry: &registry,
        registry_folder,
        program_digest: &program_digest,
        uses_cache: options.uses_cache,
        stop,
    };
    let names: Vec<&str> =
        graph.order().iter().map(|&index| definition.steps[index].name.as_str()).collect();
    let table = Table::new(&names);
    let mut progress = Progress::new(definition, graph);
    progress.run(&run, parameters, &table);
    let result = progress.conclude(stop, options.uses_cache);
    execution.status = match &result {
        Ok(()) => ExecutionStatus::Succeeded,
        Err(_) if stop.is_requested() => ExecutionStatus::Stopped,
        Err(_) => ExecutionStatus::Failed,
    };
    execution.end_time = Some(now_text());
    execution.failure_reason = result.as_ref().err().map(ToString::to_string);
    execution.ended_by_fail_step = progress.was_refused();
    let written = root.write_execution(&execution);
    result?;
    written?;
    let folder = root.execution_folder(&execution.pipeline_execution_id);
    print_stdout(format_args!(
        "execution {} succeeded; its logs: {}",
        execution.pipeline_execution_id,
        folder.display()
    ));
    Ok(())
}

/// Finds steps that only the service can run.
fn check_kinds(definition: &Definition) -> Result<()> {
    let mut problems = Problems::new();
    for step in &definition.steps {
        if !LOCAL_KINDS.contains(&step.kind) {
            problems.push(format!(
                "step {}: has the type {}, which runs on SageMaker only; a local run has {}",
                step.name,
                step.kind.name(),
                LOCAL_KINDS.map(StepKind::name).join(", ")
            ));
        }
    }
    problems.into_result()
}

/// Finds what cannot run of the jobs of all steps, as far as their requests are known.
fn check_jobs(
    definition: &Definition,
    parameters: &ParameterValues,
    executor: &Executor,
) -> Result<()> {
    let mut problems = Problems::new();
    for step in &definition.steps {
        let arguments = resolve(&step.arguments, parameters);
        let job = match step.kind {
            StepKind::Processing | StepKind::Training => Job::read(step.kind, &arguments, ""),
            StepKind::Tuning => TuningRequest::read(&arguments)
                .and_then(|request| Job::read(StepKind::Training, request.training_job(), "")),
            _ => continue,
        };
        let checked = job
            .and_then(|job| executor.check(&job))
            .error_context(format_args!("step {}", step.name));
        problems.record_err(checked);
    }
    problems.into_result()
}

/// Begins an execution, or goes on with one that was interrupted.
fn begin_execution(
    definition: &Definition,
    parameters: &ParameterValues,
    options: &LocalRunOptions,
    root: &LocalRoot,
) -> Result<Execution> {
    let mut values = Map::new();
    for parameter in &definition.parameters {
        if let Some(value) = parameters.get(&parameter.name) {
            values.insert(parameter.name.clone(), value.clone());
        }
    }
    let digest = to_hex(&Sha256::digest(&options.definition_bytes));
    let unfinished = if options.uses_cache { root.find_unfinished(&digest, &values) } else { None };
    let execution = if let Some(mut execution) = unfinished {
        print_stdout(format_args!("execution {} goes on", execution.pipeline_execution_id));
        execution.status = ExecutionStatus::Executing;
        execution.end_time = None;
        execution.failure_reason = None;
        execution
    } else {
        let execution = Execution {
            pipeline_execution_id: new_execution_id(),
            pipeline_name: options.pipeline_name.clone(),
            definition_digest: digest,
            parameters: values,
            status: ExecutionStatus::Executing,
            start_time: now_text(),
            end_time: None,
            failure_reason: None,
            ended_by_fail_step: false,
        };
        print_stdout(format_args!("execution {} begins", execution.pipeline_execution_id));
        execution
    };
    root.write_execution(&execution)?;
    Ok(execution)
}
