//! The steps of an execution: which one's turn it is, and what comes of it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;

use serde_json::{Value, json};

use super::conditions;
use super::results::{Known, StepResult};
use super::root::now_text;
use super::step::{ReadyStep, Run, StepEnd};
use crate::error::{Error, Result};
use crate::pipeline::check::ParameterValues;
use crate::pipeline::definition::{Definition, Step, StepKind};
use crate::pipeline::graph::Graph;
use crate::sagemaker::StopSignal;
use crate::status_table::{ShownState, Table};

/// State of a step in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StepState {
    Waiting,
    Running,
    Succeeded,
    NotRun,
    Failed,
}

/// Message of a step's thread that has ended.
struct StepMessage {
    index: usize,
    end: Result<StepEnd>,
}

/// Steps of an execution and how far they are.
pub(super) struct Progress<'a> {
    definition: &'a Definition,
    graph: &'a Graph,
    states: Vec<StepState>,
    results: BTreeMap<String, StepResult>,
    /// Branch that each condition chose, by its step's index.
    branches: BTreeMap<usize, bool>,
    /// Errors of failed steps.
    failures: Vec<Error>,
    /// Message of the Fail step that ended the run.
    refusal: Option<String>,
}

impl<'a> Progress<'a> {
    /// Begins with steps that all wait.
    pub(super) fn new(definition: &'a Definition, graph: &'a Graph) -> Self {
        Self {
            definition,
            graph,
            states: vec![StepState::Waiting; definition.steps.len()],
            results: BTreeMap::new(),
            branches: BTreeMap::new(),
            failures: Vec::new(),
            refusal: None,
        }
    }

    /// Returns true if a Fail step ended the run, and nothing else did.
    pub(super) fn was_refused(&self) -> bool {
        self.refusal.is_some() && !self.has_failed()
    }

    /// Runs all steps that can run. After a failure no further step begins.
    pub(super) fn run(&mut self, run: &Run<'_>, parameters: &ParameterValues, table: &Table) {
        let (sender, messages) = channel::<StepMessage>();
        thread::scope(|scope| {
            let mut running = 0;
            loop {
                while let Some(index) = self.next_ready(run) {
                    self.start_step(index, run, parameters, table, &mut |ready| {
                        running += 1;
                        let sender = sender.clone();
                        scope.spawn(move || run_in_thread(index, &ready, run, table, &sender));
                    });
                }
                if running == 0 {
                    break;
                }
                match messages.recv_timeout(Table::draw_interval()) {
                    Ok(message) => {
                        running -= 1;
                        self.end_step(message, run, table);
                    }
                    Err(RecvTimeoutError::Timeout) => table.draw_times(),
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
        });
    }

    /// Returns a step that waits for nothing any more.
    fn next_ready(&self, run: &Run<'_>) -> Option<usize> {
        let is_over = !self.failures.is_empty() || self.refusal.is_some();
        if is_over || run.stop.is_requested() {
            return None;
        }
        let has_ended =
            |&step: &usize| matches!(self.states[step], StepState::Succeeded | StepState::NotRun);
        self.graph.order().iter().copied().find(|&index| {
            self.states[index] == StepState::Waiting
                && self.graph.dependencies(index).iter().all(has_ended)
        })
    }

    /// Starts a step whose time has come. Conditions and Fail steps are done at once; the others
    /// are given to `spawn`.
    fn start_step(
        &mut self,
        index: usize,
        run: &Run<'_>,
        parameters: &ParameterValues,
        table: &Table,
        spawn: &mut dyn FnMut(ReadyStep),
    ) {
        let step = &self.definition.steps[index];
        if !self.is_wanted(index) {
            self.states[index] = StepState::NotRun;
            table.set_state(&step.name, ShownState::NotRun, "");
            return;
        }
        self.states[index] = StepState::Running;
        let known = Known {
            definition: self.definition,
            parameters,
            execution: run.execution,
            places: run.places,
            results: &self.results,
        };
        let ready = match ReadyStep::new(step, known) {
            Ok(ready) => ready,
            Err(problems) => {
                let error = Error::from_process(problems, true);
                self.fail(index, error, table);
                return;
            }
        };
        match step.kind {
            StepKind::Condition => {
                let conditions = ready.arguments.get("Conditions").unwrap_or(&Value::Null);
                match conditions::hold_all(conditions) {
                    Ok(holds) => {
                        self.branches.insert(index, holds);
                        self.results.insert(step.name.clone(), condition_result(run, step, holds));
                        self.states[index] = StepState::Succeeded;
                        let text = if holds { "holds" } else { "does not hold" };
                        table.set_state(&step.name, ShownState::Succeeded, text);
                    }
                    Err(problem) => self.fail(index, Error::input(problem), table),
                }
            }
            StepKind::Fail => {
                let message = ready.arguments.get("ErrorMessage").and_then(Value::as_str);
                let message = message.unwrap_or("the pipeline's Fail step was reached").to_owned();
                self.states[index] = StepState::Failed;
                table.set_state(&step.name, ShownState::Failed, &message);
                self.refusal = Some(message);
            }
            _ => {
                table.set_state(&step.name, ShownState::Running, "");
                spawn(ready);
            }
        }
    }

    /// Returns true if a step is in no branch or in the one that was chosen, and everything that it
    /// waits for ran.
    fn is_wanted(&self, index: usize) -> bool {
        let waits_in_vain = self
            .graph
            .dependencies(index)
            .iter()
            .any(|&other| self.states[other] == StepState::NotRun);
        if waits_in_vain {
            return false;
        }
        let Some(branch) = &self.definition.steps[index].branch else { return true };
        self.branches.iter().any(|(&condition, &holds)| {
            self.definition.steps[condition].name == branch.condition && holds == branch.is_if
        })
    }

    fn end_step(&mut self, message: StepMessage, run: &Run<'_>, table: &Table) {
        let index = message.index;
        let name = &self.definition.steps[index].name;
        match message.end {
            Ok(end) => {
                self.states[index] = StepState::Succeeded;
                let (state, text) = if end.is_cached {
                    let execution = &end.result.pipeline_execution_id;
                    (ShownState::Cached, format!("the result of execution {execution}"))
                } else {
                    (ShownState::Succeeded, describe_end(&end.result))
                };
                table.set_state(name, state, &text);
                self.results.insert(name.clone(), end.result);
            }
            Err(error) if run.stop.is_requested() => {
                self.states[index] = StepState::Failed;
                table.set_state(name, ShownState::Failed, &error.to_string());
            }
            Err(error) => self.fail(index, error, table),
        }
    }

    fn fail(&mut self, index: usize, error: Error, table: &Table) {
        let name = &self.definition.steps[index].name;
        self.states[index] = StepState::Failed;
        table.set_state(name, ShownState::Failed, &error.to_string());
        self.failures.push(error.with_context(format_args!("step {name}")));
    }

    /// Returns true if a step failed that is no Fail step.
    pub(super) fn has_failed(&self) -> bool {
        self.states
            .iter()
            .zip(&self.definition.steps)
            .any(|(&state, step)| state == StepState::Failed && step.kind != StepKind::Fail)
    }

    /// Returns how the run ended.
    pub(super) fn conclude(&mut self, stop: &StopSignal, uses_cache: bool) -> Result<()> {
        if let [_] = self.failures.as_slice() {
            // The one error keeps its kind.
            return self.failures.pop().map_or(Ok(()), Err);
        }
        if !self.failures.is_empty() {
            let mut problems = Vec::new();
            for failure in &self.failures {
                problems.extend_from_slice(failure.problems());
            }
            let is_input = self.failures.iter().all(|failure| failure.exit_code() == 3);
            return Err(Error::from_process(problems, is_input));
        }
        if let Some(message) = &self.refusal {
            return Err(Error::rejected(message));
        }
        if stop.is_requested() {
            let advice = if uses_cache {
                "the same command goes on where it was"
            } else {
                "the same command without --no-cache goes on where it was"
            };
            return Err(Error::internal(format!("the run was stopped; {advice}")));
        }
        Ok(())
    }
}

/// Returns the result of a condition, which has one property.
fn condition_result(run: &Run<'_>, step: &Step, holds: bool) -> StepResult {
    let outcome = if holds { "True" } else { "False" };
    StepResult {
        pipeline_execution_id: run.execution.pipeline_execution_id.clone(),
        step_name: step.name.clone(),
        properties: json!({"Outcome": outcome}),
        outputs: Vec::new(),
        metrics: BTreeMap::new(),
        start_time: now_text(),
        end_time: now_text(),
    }
}

/// Runs a step in a thread of its own, and sends its end. A panic is the failure of the step.
fn run_in_thread(
    index: usize,
    ready: &ReadyStep,
    run: &Run<'_>,
    table: &Table,
    sender: &Sender<StepMessage>,
) {
    let name = &ready.step.name;
    let end = catch_unwind(AssertUnwindSafe(|| {
        run.run_step(ready, &|news| table.show_news(name, &news))
    }));
    let end = end.unwrap_or_else(|_| Err(Error::internal("ended by a bug, which is told above")));
    let _ = sender.send(StepMessage { index, end });
}

/// Returns what is worth knowing of a step that succeeded.
fn describe_end(result: &StepResult) -> String {
    let text = |key: &str| result.properties.get(key).and_then(Value::as_str);
    if let (Some(group), Some(version)) =
        (text("ModelPackageGroupName"), result.properties.get("ModelPackageVersion"))
    {
        return format!("{group} version {version}, {}", text("ModelApprovalStatus").unwrap_or(""));
    }
    let mut parts = Vec::new();
    for (name, value) in &result.metrics {
        parts.push(format!("{name} {value}"));
    }
    parts.extend(text("ExitMessage").map(str::to_owned));
    parts.join(", ")
}
