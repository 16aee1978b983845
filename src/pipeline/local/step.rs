//! One step: its job is run, or its result needs none.

use std::path::PathBuf;

use serde_json::Value;

use super::container::Executor;
use super::job_run::{JobEnd, JobFollower, ReadyJob};
use super::places::Places;
use super::results::{Known, StepResult, job_name};
use super::root::{Execution, LocalRoot};
use crate::error::{Error, Result};
use crate::pipeline::definition::{Step, StepKind};
use crate::pipeline::registry::Registry;
use crate::sagemaker::StopSignal;
use crate::status_table::StepNews;

/// Settings and folders that all steps of a run share.
pub(super) struct Run<'a> {
    pub root: &'a LocalRoot,
    pub places: &'a Places,
    pub execution: &'a Execution,
    pub executor: &'a Executor,
    pub registry: &'a Registry,
    pub registry_folder: PathBuf,
    /// Digest of this program.
    pub program_digest: &'a str,
    /// False if every job is run, whatever is known of earlier ones.
    pub uses_cache: bool,
    pub stop: &'a StopSignal,
}

/// A step that is ready: what it waited for has succeeded.
#[derive(Debug, Clone)]
pub(super) struct ReadyStep {
    pub step: Step,
    /// Arguments with all values in their places.
    pub arguments: Value,
    /// Arguments without what differs between executions.
    pub comparable: Value,
}

/// How a step came to its result.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StepEnd {
    pub result: StepResult,
    /// True if an earlier run's result stands for it.
    pub is_cached: bool,
}

impl ReadyStep {
    pub(super) fn new(step: &Step, known: Known<'_>) -> std::result::Result<Self, Vec<String>> {
        let arguments = known.arguments(step)?;
        let comparable = known.comparable_arguments(step);
        Ok(Self { step: step.clone(), arguments, comparable })
    }
}

impl Run<'_> {
    /// Returns the folder of a step.
    pub(super) fn step_folder(&self, step: &str) -> PathBuf {
        self.root.execution_folder(&self.execution.pipeline_execution_id).join(step)
    }

    /// Runs a step until it ends.
    pub(super) fn run_step(
        &self,
        ready: &ReadyStep,
        on_news: &(dyn Fn(StepNews) + Sync),
    ) -> Result<StepEnd> {
        match ready.step.kind {
            StepKind::RegisterModel => self.register_model(ready, on_news),
            StepKind::Model => Ok(self.create_model(ready)),
            StepKind::Tuning => self.run_tuning(ready, on_news),
            _ => self.run_only_job(ready, on_news),
        }
    }

    /// Runs the job of a step that has one.
    fn run_only_job(&self, ready: &ReadyStep, on_news: &dyn Fn(StepNews)) -> Result<StepEnd> {
        let step = &ready.step;
        let job = ReadyJob {
            kind: step.kind,
            step_name: step.name.clone(),
            name: job_name(self.execution, step),
            folder: self.step_folder(&step.name),
            arguments: ready.arguments.clone(),
            comparable: ready.comparable.clone(),
            environment: Vec::new(),
            is_trial: false,
        };
        let follower =
            JobFollower { on_news, on_line: &|_| {}, should_stop: &|| self.stop.is_requested() };
        match self.run_job(&job, follower)? {
            JobEnd::Succeeded(end) => Ok(end),
            JobEnd::Failed(error) => Err(error),
            JobEnd::Stopped => Err(Error::internal("was stopped; the same command goes on here")),
        }
    }
}
