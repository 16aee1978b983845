//! Showing how far an execution is, once or until it ends.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use super::execution::{ExecutionChoice, describe_execution, list_steps};
use super::last_part;
use crate::aws::sagemaker_api::{
    DescribePipelineDefinitionForExecution, DescribeProcessingJob, DescribeTrainingJob,
    DescribedExecution, ExecutionStep,
};
use crate::aws::{JsonClient, ServiceError, ServiceErrorKind};
use crate::console::{print_stderr, print_stdout};
use crate::error::{Error, Result};
use crate::sagemaker::StopSignal;
use crate::status_table::{ShownState, Table};

/// Longest time between a request to stop and the end of the command.
const STOP_POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Settings of the command.
#[derive(Debug)]
pub struct StatusOptions {
    pub execution: ExecutionChoice,
    /// Time between two looks if the execution is followed until it ends; none for one look.
    pub follow_interval: Option<Duration>,
}

/// Step as a person sees it.
#[derive(Debug, Clone, PartialEq)]
struct ShownStep {
    state: ShownState,
    elapsed: Option<Duration>,
    /// Metrics, remarks or the reason of a failure.
    text: String,
}

/// Prints the state of an execution. One that is followed ends as a local run does: a Fail step is an
/// error with exit code 4 and its message.
pub fn show_status(options: &StatusOptions, client: &JsonClient, stop: &StopSignal) -> Result<()> {
    let arn = options.execution.find(client)?;
    match show_execution(&arn, options.follow_interval, client, stop) {
        // A signal may come while a call waits.
        Err(_) if stop.is_requested() => Err(Error::internal(format!(
            "the execution goes on; `maskmaker pipeline stop` stops {arn}"
        ))),
        result => result,
    }
}

fn show_execution(
    arn: &str,
    follow_interval: Option<Duration>,
    client: &JsonClient,
    stop: &StopSignal,
) -> Result<()> {
    let names = list_step_names(client, arn)?;
    let mut details = JobDetails::new(client);
    let Some(interval) = follow_interval else {
        let execution = describe_execution(client, arn)?;
        let steps = list_steps(client, arn)?;
        print_stdout(format_args!("{arn}: {}", execution.pipeline_execution_status));
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
        for name in &names {
            let shown = details.show_step(name, &steps, &execution);
            let time = shown.elapsed.map_or(String::new(), |time| format!("{} s", time.as_secs()));
            let (state, text) = (shown.state.name(), &shown.text);
            let line = format!("{name:<width$}  {state:<9}  {time:>8}  {text}");
            print_stdout(line.trim_end());
        }
        if let Some(reason) = &execution.failure_reason {
            print_stdout(reason);
        }
        for note in &details.notes {
            print_stderr(note);
        }
        return Ok(());
    };
    print_stderr(arn);
    let name_list: Vec<&str> = names.iter().map(String::as_str).collect();
    let table = Table::new(&name_list);
    let mut shown: BTreeMap<&str, ShownStep> = BTreeMap::new();
    loop {
        // The execution first: what it says of itself is not older than its steps then.
        let execution = describe_execution(client, arn)?;
        let steps = list_steps(client, arn)?;
        for name in &names {
            let step = details.show_step(name, &steps, &execution);
            update_table(&table, name, shown.get(name.as_str()), &step);
            shown.insert(name, step);
        }
        for note in details.notes.drain(..) {
            table.print(&note);
        }
        if has_ended(&execution) {
            return details.conclude(&execution, &steps);
        }
        let looked = Instant::now();
        while looked.elapsed() < interval {
            if stop.is_requested() {
                return Err(Error::internal("the program was asked to stop"));
            }
            table.draw_times();
            std::thread::sleep(STOP_POLL_INTERVAL);
        }
    }
}

/// Returns true if an execution has ended.
pub(super) fn has_ended(execution: &DescribedExecution) -> bool {
    !matches!(execution.pipeline_execution_status.as_str(), "Executing" | "Stopping")
}

/// Lists the names of all steps, those in branches after their condition, as the definition of the
/// execution has them.
pub(super) fn list_step_names(client: &JsonClient, arn: &str) -> Result<Vec<String>> {
    let pipeline_execution_arn = arn.to_owned();
    let described =
        client.send(&DescribePipelineDefinitionForExecution { pipeline_execution_arn })?;
    let definition: Value = serde_json::from_str(&described.pipeline_definition)
        .map_err(|cause| Error::input(format!("{arn}: its definition is no JSON: {cause}")))?;
    let mut names = Vec::new();
    collect_step_names(definition.get("Steps"), &mut names);
    Ok(names)
}

fn collect_step_names(steps: Option<&Value>, names: &mut Vec<String>) {
    for step in steps.and_then(Value::as_array).into_iter().flatten() {
        names.extend(step.get("Name").and_then(Value::as_str).map(str::to_owned));
        for branch in ["IfSteps", "ElseSteps"] {
            let arguments = step.get("Arguments");
            collect_step_names(arguments.and_then(|arguments| arguments.get(branch)), names);
        }
    }
}

/// Shows what changed of a step since the last look.
fn update_table(table: &Table, name: &str, before: Option<&ShownStep>, step: &ShownStep) {
    if let Some(elapsed) = step.elapsed {
        table.set_elapsed(name, elapsed, step.state != ShownState::Running);
    }
    let is_new = before.is_none_or(|before| before.state != step.state);
    let was_waiting = before.is_none() && step.state == ShownState::Waiting;
    if is_new && !was_waiting {
        table.set_state(name, step.state, &step.text);
        if let Some(elapsed) = step.elapsed {
            table.set_elapsed(name, elapsed, step.state != ShownState::Running);
        }
    } else if before.is_some_and(|before| before.text != step.text) {
        table.show_text(name, &step.text);
    }
}

/// Metrics and messages of jobs, beside the state of their steps.
struct JobDetails<'a> {
    client: &'a JsonClient,
    /// Texts of steps that are over, by name, which do not change any more.
    known: BTreeMap<String, String>,
    /// Lines for people.
    notes: Vec<String>,
    /// True once a description could not be had, which is told once.
    has_failed: bool,
}

impl<'a> JobDetails<'a> {
    fn new(client: &'a JsonClient) -> Self {
        Self { client, known: BTreeMap::new(), notes: Vec::new(), has_failed: false }
    }

    /// Returns what is to be shown of a step.
    fn show_step(
        &mut self,
        name: &str,
        steps: &[ExecutionStep],
        execution: &DescribedExecution,
    ) -> ShownStep {
        let Some(step) = steps.iter().find(|step| step.step_name == name) else {
            let state = if has_ended(execution) { ShownState::NotRun } else { ShownState::Waiting };
            return ShownStep { state, elapsed: None, text: String::new() };
        };
        let state = match step.step_status.as_str() {
            "Succeeded" if step.cache_hit_result.is_some() => ShownState::Cached,
            "Succeeded" => ShownState::Succeeded,
            "Failed" => ShownState::Failed,
            "Stopped" => ShownState::Stopped,
            _ => ShownState::Running,
        };
        let elapsed = step.start_time.map(|start| elapsed_since(start, step.end_time));
        ShownStep { state, elapsed, text: self.describe_step(step, state) }
    }

    /// Returns the metrics, the remark or the reason of a step.
    fn describe_step(&mut self, step: &ExecutionStep, state: ShownState) -> String {
        if let Some(hit) = &step.cache_hit_result {
            let execution = last_part(&hit.source_pipeline_execution_arn);
            return format!("the result of execution {execution}");
        }
        if let Some(reason) = &step.failure_reason {
            return reason.clone();
        }
        if let Some(text) = self.known.get(&step.step_name) {
            return text.clone();
        }
        let text = self.describe_metadata(step);
        // A description that could not be had this time may be had the next.
        if state != ShownState::Running
            && let Some(text) = &text
        {
            self.known.insert(step.step_name.clone(), text.clone());
        }
        text.unwrap_or_default()
    }

    fn describe_metadata(&mut self, step: &ExecutionStep) -> Option<String> {
        let (kind, metadata) = step.metadata.iter().next()?;
        let text = |key: &str| metadata.get(key).and_then(Value::as_str).map(str::to_owned);
        match kind.as_str() {
            "Condition" => Some(match text("Outcome")?.as_str() {
                "True" => "holds".to_owned(),
                "False" => "does not hold".to_owned(),
                other => other.to_owned(),
            }),
            "Fail" => text("ErrorMessage"),
            "TrainingJob" => self.describe_training_job(last_part(&text("Arn")?)),
            "ProcessingJob" => self.describe_processing_job(last_part(&text("Arn")?)),
            "RegisterModel" => {
                let arn = text("Arn")?;
                let (group, version) = arn.rsplit_once('/')?;
                Some(format!("{} version {version}", last_part(group)))
            }
            _ => Some(last_part(&text("Arn")?).to_owned()),
        }
    }

    fn describe_training_job(&mut self, name: &str) -> Option<String> {
        let request = DescribeTrainingJob { training_job_name: name.to_owned() };
        let answer = self.client.send(&request);
        let job = self.note_failure(answer)?;
        let mut parts = Vec::new();
        if job.training_job_status == "InProgress" {
            parts.push(job.secondary_status);
        }
        for metric in job.final_metric_data_list {
            parts.push(format!("{} {}", metric.metric_name, metric.value));
        }
        Some(parts.join(", "))
    }

    fn describe_processing_job(&mut self, name: &str) -> Option<String> {
        let request = DescribeProcessingJob { processing_job_name: name.to_owned() };
        let answer = self.client.send(&request);
        Some(self.note_failure(answer)?.exit_message.unwrap_or_default())
    }

    /// Returns the reason that the job of a step gives for its failure.
    fn find_job_failure(&mut self, step: &ExecutionStep) -> Option<String> {
        let arn = |kind: &str| step.metadata.get(kind)?.get("Arn")?.as_str().map(last_part);
        if let Some(name) = arn("TrainingJob") {
            let answer =
                self.client.send(&DescribeTrainingJob { training_job_name: name.to_owned() });
            return self.note_failure(answer)?.failure_reason;
        }
        let name = arn("ProcessingJob")?.to_owned();
        let answer = self.client.send(&DescribeProcessingJob { processing_job_name: name });
        self.note_failure(answer)?.failure_reason
    }

    /// Returns how an execution ended.
    fn conclude(&mut self, execution: &DescribedExecution, steps: &[ExecutionStep]) -> Result<()> {
        if execution.pipeline_execution_status == "Succeeded" {
            return Ok(());
        }
        let mut problems = Vec::new();
        let mut is_input = true;
        for step in steps.iter().filter(|step| step.step_status == "Failed") {
            if let Some(fail) = step.metadata.get("Fail") {
                let message = fail.get("ErrorMessage").and_then(Value::as_str);
                let message = message.or(step.failure_reason.as_deref()).unwrap_or_default();
                return Err(Error::rejected(message));
            }
            let job_reason = self.find_job_failure(step);
            let reason = job_reason.as_ref().or(step.failure_reason.as_ref());
            let reason = reason.map_or("no reason is given", String::as_str);
            is_input &= is_fault_of_input(reason);
            problems.push(format!("step {}: {reason}", step.step_name));
        }
        if problems.is_empty() {
            let reason = execution.failure_reason.as_deref().unwrap_or("no reason is given");
            let status = execution.pipeline_execution_status.to_lowercase();
            problems.push(format!("the execution has {status}: {reason}"));
            is_input = false;
        }
        Err(Error::from_process(problems, is_input))
    }

    /// Returns an answer. A description that cannot be had, for example for want of a permission,
    /// leaves the state of the steps as it is.
    fn note_failure<T>(&mut self, answer: Result<T, ServiceError>) -> Option<T> {
        match answer {
            Ok(answer) => Some(answer),
            Err(error) if error.kind == ServiceErrorKind::Stopped => None,
            Err(error) => {
                if !self.has_failed {
                    self.notes.push(format!("note: no metrics and messages of jobs: {error}"));
                }
                self.has_failed = true;
                None
            }
        }
    }
}

/// Returns the time from `start` to `end`, or until now; both are seconds since 1970.
fn elapsed_since(start: f64, end: Option<f64>) -> Duration {
    let end = end.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        now.as_secs_f64()
    });
    Duration::try_from_secs_f64(end - start).unwrap_or_default()
}

/// Returns true if a job failed for its data or settings: its program ended with exit code 3, or the
/// service could not use the request.
fn is_fault_of_input(reason: &str) -> bool {
    match reason.rsplit_once("exit code: ") {
        Some((_, code)) => {
            let digits = code.len() - code.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            &code[..digits] == "3"
        }
        None => reason.starts_with("ClientError"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_of_a_job_tells_whose_fault_its_failure_is() {
        for (reason, is_input) in [
            ("AlgorithmError: no mask for a.jpg, exit code: 3", true),
            ("AlgorithmError: , exit code: 1", false),
            ("AlgorithmError: , exit code: 137", false),
            ("ClientError: Data download failed", true),
            ("InternalServerError: try again", false),
            ("exit code: ", false),
        ] {
            assert_eq!(is_fault_of_input(reason), is_input, "{reason}");
        }
    }
}
