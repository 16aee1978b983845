//! One job: it is prepared, run and taken in, or its result is taken from an earlier run.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::container::{Container, Executor, failure_reason};
use super::job::{Job, JobInput};
use super::job_folder::{JobState, has_checkpoints, read_state, remove_job_folder};
use super::outputs::{PendingOutputs, has_model};
use super::places::{PlaceFile, digest_files};
use super::results::{StepResult, describe_job};
use super::root::{now_text, read_json};
use super::step::{Run, StepEnd};
use crate::error::{Error, Result};
use crate::files::{PathContext, create_folder, write_json};
use crate::pipeline::definition::StepKind;
use crate::pipeline::digest::to_hex;
use crate::settings::STOPPED_EXIT_CODE;
use crate::status_table::StepNews;

/// Beginning of a line in a log that stands before an attempt.
const HEADING_MARK: &str = "== ";

/// Words of that line between the job's name and the time: of an attempt without checkpoints, and of one
/// that goes on from them.
const BEGINS: &str = " begins at ";
const GOES_ON: &str = " goes on at ";

/// A job that is ready: that of a step, or one of those that a tuning step runs.
#[derive(Debug, Clone)]
pub(super) struct ReadyJob {
    pub kind: StepKind,
    pub step_name: String,
    /// Name of the job, which no other one of the execution has.
    pub name: String,
    /// Folder of the job's files.
    pub folder: PathBuf,
    /// Request with all values in their places.
    pub arguments: Value,
    /// Request without what differs between executions.
    pub comparable: Value,
    /// Variables of the job that are not in its request, and on which its results do not depend.
    pub environment: Vec<(String, String)>,
    /// True for a job of a tuning step: its failure is that of one trial, and the records of the search
    /// know it, so that no result of an earlier run stands for it.
    pub is_trial: bool,
}

/// Callbacks that follow a job while it runs.
#[derive(Clone, Copy)]
pub(super) struct JobFollower<'a> {
    pub on_news: &'a dyn Fn(StepNews),
    /// Gets each line that the job prints.
    pub on_line: &'a dyn Fn(&str),
    /// Returns true once the job shall stop.
    pub should_stop: &'a dyn Fn() -> bool,
}

/// How a job ended.
#[derive(Debug)]
pub(super) enum JobEnd {
    Succeeded(StepEnd),
    /// Its program failed, for this reason.
    Failed(Error),
    /// It was stopped, as its follower wanted.
    Stopped,
}

/// How the container of a job ended.
enum ContainerEnd {
    /// The state of the job with what is to be moved, which is on disk.
    Succeeded(JobState),
    Failed(Error),
    Stopped,
}

/// Keys of a job: digests of what its results depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JobKeys {
    /// Digest of the request and the contents of the inputs.
    pub request: String,
    /// Digest of those, the program, and the settings outside of the request.
    pub whole: String,
}

impl Run<'_> {
    /// Runs a job, or finds the result of an earlier one. An error is one of this machine, such as a full
    /// disk.
    pub(super) fn run_job(&self, ready: &ReadyJob, follower: JobFollower<'_>) -> Result<JobEnd> {
        let on_news = follower.on_news;
        let mut job = Job::read(ready.kind, &ready.arguments, &ready.name)?;
        job.environment.extend(ready.environment.iter().cloned());
        for note in &job.notes {
            on_news(StepNews::Note(note.clone()));
        }
        let program = self.executor.identity(&job, self.program_digest)?;
        let inputs = self.list_inputs(&job, on_news)?;
        let keys = self.job_keys(ready, &program, &inputs)?;
        let folder = &ready.folder;
        let ml = folder.join("ml");
        create_folder(folder)?;
        if self.uses_cache
            && !ready.is_trial
            && !reads_elsewhere(&ready.arguments)
            && let Some(result) = self.find_cached(&keys.whole)
        {
            write_json(&folder.join("result.json"), &result)?;
            remove_job_folder(&ml, on_news);
            return Ok(JobEnd::Succeeded(StepEnd { result, is_cached: true }));
        }
        let has_ended_well = |state: &JobState| {
            let pending = state.pending.as_ref();
            state.key == keys.whole
                && pending.is_some_and(|pending| pending.is_complete(&ml, self.places))
        };
        let state = match read_state(folder) {
            Some(state) if has_ended_well(&state) => state,
            state => {
                let start_time = now_text();
                let state = self.prepare_job(ready, &program, &job, &inputs, state, on_news)?;
                match self.run_container(&job, ready, state, start_time, follower)? {
                    ContainerEnd::Succeeded(state) => state,
                    ContainerEnd::Failed(error) => return Ok(JobEnd::Failed(error)),
                    ContainerEnd::Stopped => return Ok(JobEnd::Stopped),
                }
            }
        };
        let Some(pending) = &state.pending else {
            return Err(Error::internal("a job has ended without a list of its outputs"));
        };
        let outputs = pending.take(&ml, self.places, &state.earlier, on_news)?;
        let description = pending.description.clone();
        let result = StepResult {
            pipeline_execution_id: self.execution.pipeline_execution_id.clone(),
            step_name: ready.step_name.clone(),
            properties: describe_job(ready.kind, &ready.arguments, &ready.name, description),
            outputs,
            metrics: pending.metrics.clone(),
            start_time: pending.start_time.clone(),
            end_time: now_text(),
        };
        write_json(&folder.join("result.json"), &result)?;
        write_json(&self.root.cache_file(&state.key), &result)?;
        remove_job_folder(&ml, on_news);
        Ok(JobEnd::Succeeded(StepEnd { result, is_cached: false }))
    }

    fn run_container(
        &self,
        job: &Job,
        ready: &ReadyJob,
        mut state: JobState,
        start_time: String,
        follower: JobFollower<'_>,
    ) -> Result<ContainerEnd> {
        let on_news = follower.on_news;
        let (name, folder) = (&ready.name, &ready.folder);
        let ml = folder.join("ml");
        let log = folder.join("log.txt");
        let goes_on = has_checkpoints(job, &ml);
        let mut metrics = BTreeMap::new();
        if goes_on {
            for line in read_counted_log(&log).lines() {
                metrics.extend(find_metrics(job, line));
            }
        }
        let verb = if goes_on { GOES_ON } else { BEGINS };
        write_log_heading(&log, &format!("{name}{verb}{start_time}"))?;
        let container = Container {
            job,
            ml: ml.clone(),
            log: log.clone(),
            name: self.container_name(folder),
            root: self.root.folder().to_owned(),
            registry: self.registry_folder.clone(),
        };
        let status = self.executor.run(&container, follower.should_stop, &mut |line| {
            (follower.on_line)(line);
            for (name, value) in find_metrics(job, line) {
                metrics.insert(name.clone(), value);
                on_news(StepNews::Metric(name, value));
            }
        })?;
        if (follower.should_stop)() {
            return Ok(ContainerEnd::Stopped);
        }
        if !status.success() {
            let reason = failure_reason(&ml, status, self.executor);
            let problem = format!("{reason} (its log: {})", log.display());
            let is_killed = status.signal().is_some() || status.code() == Some(STOPPED_EXIT_CODE);
            let is_not_started = matches!(self.executor, Executor::Docker { .. })
                && matches!(status.code(), Some(125..=127));
            if ready.is_trial && (is_killed || is_not_started) {
                // It says nothing of the trial's settings.
                return Err(Error::internal(format!(
                    "{problem}; the same command goes on with it"
                )));
            }
            // 2 and 3 are a person's mistakes, in flags and in data, and 4 is a decision; from 125 on
            // docker could not start the container.
            return Ok(ContainerEnd::Failed(match (self.executor, status.code()) {
                (_, Some(2 | 3)) | (Executor::Docker { .. }, Some(125..=127)) => {
                    Error::input(problem)
                }
                (_, Some(4)) => Error::rejected(problem),
                _ => Error::internal(problem),
            }));
        }
        if job.kind == StepKind::Training && !has_model(&ml)? {
            let problem = "the job ended without a model in /opt/ml/model";
            return Ok(ContainerEnd::Failed(Error::input(problem)));
        }
        let pending = PendingOutputs::collect(job, name, &ml, metrics, start_time, on_news)?;
        state.pending = Some(pending);
        write_json(&folder.join("job.json"), &state)?;
        Ok(ContainerEnd::Succeeded(state))
    }

    /// Returns the name of a job's container: the path of the job's folder in one word.
    fn container_name(&self, folder: &Path) -> String {
        let execution = &self.execution.pipeline_execution_id;
        let below = folder.strip_prefix(self.root.execution_folder(execution)).unwrap_or(folder);
        let mut name = format!("maskmaker-{execution}");
        for part in below {
            name.push('-');
            name.push_str(&part.to_string_lossy());
        }
        name
    }

    /// Lists the files of all inputs, and says what the service would also read.
    pub(super) fn list_inputs(
        &self,
        job: &Job,
        on_news: &dyn Fn(StepNews),
    ) -> Result<Vec<(JobInput, Vec<PlaceFile>)>> {
        let mut inputs = Vec::with_capacity(job.inputs.len());
        for input in &job.inputs {
            let files = self.places.list(&input.uri)?;
            let namesakes = self.places.list_namesakes(&input.uri)?;
            if !namesakes.is_empty() {
                on_news(StepNews::Note(format!(
                    "{}: the service would also read {}, whose names begin alike; end the place \
                     with a slash",
                    input.uri,
                    namesakes.join(", ")
                )));
            }
            inputs.push((input.clone(), files));
        }
        Ok(inputs)
    }

    /// Returns digests of everything that a job's results depend on.
    pub(super) fn job_keys(
        &self,
        ready: &ReadyJob,
        program: &str,
        inputs: &[(JobInput, Vec<PlaceFile>)],
    ) -> Result<JobKeys> {
        let comparable = ready.comparable.to_string();
        let mut digest = Sha256::new();
        for part in [ready.kind.name(), &comparable] {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        for (input, files) in inputs {
            digest.update(input.folder.as_os_str().as_encoded_bytes());
            digest.update(digest_files(files)?);
        }
        for group in registry_groups(&ready.arguments) {
            digest.update(&group);
            // The model with which another one is compared. A version of this execution is none.
            let approved = self
                .registry
                .last_approved_before(&group, &self.execution.pipeline_execution_id)?;
            digest.update(approved.map_or(String::new(), |package| package.content_digest));
        }
        let request = to_hex(&digest.clone().finalize());
        digest.update(program);
        Ok(JobKeys { request, whole: to_hex(&digest.finalize()) })
    }

    /// Returns the result of an earlier job with this key whose outputs are still as it left them.
    pub(super) fn find_cached(&self, key: &str) -> Option<StepResult> {
        let result: StepResult = read_json(&self.root.cache_file(key)).ok()?;
        result.outputs.iter().all(|output| output.is_as_written(self.places)).then_some(result)
    }
}

/// Returns true if a job reads data that are no inputs of it, so that no key tells when they changed.
fn reads_elsewhere(arguments: &Value) -> bool {
    let subcommand = arguments.pointer("/AppSpecification/ContainerArguments/0");
    subcommand.and_then(Value::as_str) == Some("fetch")
}

/// Returns the groups of the registry that a step's arguments name, as `registry:GROUP`.
fn registry_groups(arguments: &Value) -> Vec<String> {
    let list =
        arguments.get("AppSpecification").and_then(|program| program.get("ContainerArguments"));
    let mut groups = Vec::new();
    for argument in list.and_then(Value::as_array).into_iter().flatten() {
        let group = argument.as_str().and_then(|text| text.split_once("registry:"));
        groups.extend(group.map(|(_, group)| group.to_owned()));
    }
    groups
}

/// Writes a line between the attempts of a job.
fn write_log_heading(log: &Path, heading: &str) -> Result<()> {
    use std::io::Write;
    let mut file =
        fs::File::options().append(true).create(true).open(log).with_path("write", log)?;
    writeln!(file, "{HEADING_MARK}{heading}").with_path("write", log)
}

/// Returns the lines of the attempts that made a job's results: from the last one that began anew on.
pub(super) fn read_counted_log(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let mut start = 0;
    let mut position = 0;
    for line in text.split_inclusive('\n') {
        if line.starts_with(HEADING_MARK) && line.contains(BEGINS) {
            start = position;
        }
        position += line.len();
    }
    text[start..].to_owned()
}

/// Finds metrics in a line: what the first group of a pattern matches.
fn find_metrics(job: &Job, line: &str) -> Vec<(String, f64)> {
    let mut found = Vec::new();
    for (name, regex) in &job.metrics {
        let value = regex.captures(line).and_then(|captures| {
            captures.get(1)?.as_str().trim_end_matches([',', ';']).parse::<f64>().ok()
        });
        if let Some(value) = value.filter(|value| value.is_finite()) {
            found.push((name.clone(), value));
        }
    }
    found
}
