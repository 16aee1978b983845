//! The log of a step's job, from Amazon CloudWatch Logs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::execution::{ExecutionChoice, list_steps};
use super::last_part;
use super::status::list_step_names;
use crate::aws::logs_api::{DescribeLogStreams, GetLogEvents, GotLogEvents, LogEvent};
use crate::aws::sagemaker_api::ExecutionStep;
use crate::aws::{JsonClient, ServiceErrorKind};
use crate::console::{print_stderr, try_print_stdout};
use crate::error::{Error, Result, did_you_mean};
use crate::sagemaker::StopSignal;

/// Looks after the end of a job. Its last lines may come some seconds late.
const LOOKS_AFTER_END: usize = 2;

/// Longest time between a request to stop and the end of the command.
const STOP_POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Settings of the command.
#[derive(Debug)]
pub struct LogsOptions {
    pub execution: ExecutionChoice,
    /// Name of the step.
    pub step: String,
    /// Time between two looks if the log is followed until the job has ended; none for one look.
    pub follow_interval: Option<Duration>,
}

/// Prints the log of a step's job. Lines of several hosts begin with the host's name.
pub fn print_logs(
    options: &LogsOptions,
    sagemaker: &JsonClient,
    logs: &JsonClient,
    stop: &StopSignal,
) -> Result<()> {
    let arn = options.execution.find(sagemaker)?;
    match print_log_of(&arn, options, sagemaker, logs, stop) {
        // A signal may come while a call waits.
        Err(_) if stop.is_requested() => Ok(()),
        result => result,
    }
}

fn print_log_of(
    arn: &str,
    options: &LogsOptions,
    sagemaker: &JsonClient,
    logs: &JsonClient,
    stop: &StopSignal,
) -> Result<()> {
    let mut reader: Option<LogReader<'_>> = None;
    let mut looks_after_end = 0;
    let names = list_step_names(sagemaker, arn)?;
    if !names.contains(&options.step) {
        let hint = did_you_mean(&options.step, names.iter().map(String::as_str));
        let (step, names) = (&options.step, names.join(", "));
        return Err(Error::input(format!("there is no step {step}{hint}; the steps are {names}")));
    }
    loop {
        let steps = list_steps(sagemaker, arn)?;
        let step = steps.iter().find(|step| step.step_name == options.step);
        let has_ended = step.is_some_and(has_step_ended);
        match step.map(find_log) {
            Some(Some(place)) => {
                // A step that is tried again has another job.
                let kept = reader.take().filter(|reader| reader.place == place);
                let reader = reader.insert(kept.unwrap_or_else(|| LogReader::new(place, logs)));
                let Some(has_printed) = reader.print_new()? else { return Ok(()) };
                if options.follow_interval.is_none() && !has_printed {
                    print_stderr(format_args!("note: step {} wrote nothing yet", options.step));
                }
            }
            // A job that is followed may get its name later.
            _ if options.follow_interval.is_some() && !has_ended && may_begin(sagemaker, arn)? => {}
            _ => return Err(missing_log_error(&options.step, &steps)),
        }
        looks_after_end += usize::from(has_ended);
        let Some(interval) = options.follow_interval else { return Ok(()) };
        if looks_after_end > LOOKS_AFTER_END {
            return Ok(());
        }
        let mut waited = Duration::ZERO;
        while waited < interval {
            if stop.is_requested() {
                return Ok(());
            }
            std::thread::sleep(STOP_POLL_INTERVAL);
            waited += STOP_POLL_INTERVAL;
        }
    }
}

/// Returns true if an execution may begin further steps.
fn may_begin(client: &JsonClient, arn: &str) -> Result<bool> {
    let execution = super::execution::describe_execution(client, arn)?;
    Ok(execution.pipeline_execution_status == "Executing")
}

fn has_step_ended(step: &ExecutionStep) -> bool {
    matches!(step.step_status.as_str(), "Succeeded" | "Failed" | "Stopped")
}

/// Log group and beginning of the names of a job's log streams.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LogPlace {
    group: &'static str,
    prefix: String,
}

/// Returns the place of the log of a step's job; nothing if it has none.
fn find_log(step: &ExecutionStep) -> Option<LogPlace> {
    for (kind, group, end) in [
        ("TrainingJob", "/aws/sagemaker/TrainingJobs", "/"),
        ("ProcessingJob", "/aws/sagemaker/ProcessingJobs", "/"),
        ("TransformJob", "/aws/sagemaker/TransformJobs", "/"),
        // The names of its training jobs begin with that of the tuning job.
        ("TuningJob", "/aws/sagemaker/TrainingJobs", "-"),
    ] {
        let arn = step.metadata.get(kind).and_then(|job| job.get("Arn")).and_then(Value::as_str);
        if let Some(arn) = arn {
            return Some(LogPlace { group, prefix: format!("{}{end}", last_part(arn)) });
        }
    }
    None
}

fn missing_log_error(step: &str, steps: &[ExecutionStep]) -> Error {
    let mut with_log = Vec::new();
    for other in steps.iter().filter(|other| find_log(other).is_some()) {
        with_log.push(other.step_name.as_str());
    }
    let known = if with_log.is_empty() { "none".to_owned() } else { with_log.join(", ") };
    if steps.iter().any(|other| other.step_name == step) {
        return Error::input(format!("step {step} has no job with a log; steps with one: {known}"));
    }
    Error::input(format!("step {step} has not begun; steps with a log so far: {known}"))
}

/// Reader of the log streams of a job, one for each host.
struct LogReader<'a> {
    place: LogPlace,
    client: &'a JsonClient,
    /// Places in the streams, by their names, behind what was printed.
    tokens: BTreeMap<String, Option<String>>,
}

impl<'a> LogReader<'a> {
    fn new(place: LogPlace, client: &'a JsonClient) -> Self {
        Self { place, client, tokens: BTreeMap::new() }
    }

    /// Prints the lines that came since the last call. Returns false if no line was ever there, and
    /// nothing if nobody reads them any more.
    fn print_new(&mut self) -> Result<Option<bool>> {
        self.find_streams()?;
        let is_alone = self.tokens.len() == 1;
        let mut has_lines = false;
        for (stream, token) in &mut self.tokens {
            has_lines |= token.is_some();
            let host = if is_alone { String::new() } else { name_host(stream, &self.place.prefix) };
            loop {
                let answer: GotLogEvents = self.client.send(&GetLogEvents {
                    log_group_name: self.place.group.to_owned(),
                    log_stream_name: stream.clone(),
                    next_token: token.clone(),
                    start_from_head: true,
                })?;
                for LogEvent { message, .. } in &answer.events {
                    let line = message.trim_end_matches(['\r', '\n']);
                    if !try_print_stdout(format_args!("{host}{line}")) {
                        return Ok(None);
                    }
                }
                has_lines |= !answer.events.is_empty();
                // At the end of the stream the same place comes back. A page before may be empty.
                let is_end =
                    answer.next_forward_token.is_none() || answer.next_forward_token == *token;
                *token = answer.next_forward_token;
                if is_end {
                    break;
                }
            }
        }
        Ok(Some(has_lines))
    }

    /// Looks for streams of hosts that began to write.
    fn find_streams(&mut self) -> Result<()> {
        let mut next_token = None;
        loop {
            let answer = self.client.send(&DescribeLogStreams {
                log_group_name: self.place.group.to_owned(),
                log_stream_name_prefix: self.place.prefix.clone(),
                next_token,
            });
            let answer = match answer {
                Ok(answer) => answer,
                // The first job of the account makes the group.
                Err(error) if error.kind == ServiceErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            for stream in answer.log_streams {
                self.tokens.entry(stream.log_stream_name).or_default();
            }
            next_token = answer.next_token;
            if next_token.is_none() {
                return Ok(());
            }
        }
    }
}

/// Returns the beginning of a host's lines: `algo-2: ` for the stream `JOB/algo-2-1700000000`.
fn name_host(stream: &str, prefix: &str) -> String {
    let name = stream.strip_prefix(prefix).unwrap_or(stream);
    let is_time = |end: &str| end.len() >= 9 && end.bytes().all(|byte| byte.is_ascii_digit());
    let host = match name.rsplit_once('-') {
        Some((host, end)) if is_time(end) => host,
        _ => name,
    };
    format!("{host}: ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_named_by_its_host() {
        assert_eq!(name_host("job/algo-2-1700000000", "job/"), "algo-2: ");
        assert_eq!(name_host("job/algo-2", "job/"), "algo-2: ");
        assert_eq!(name_host("t-001-ab/algo-1-1700000000", "t-"), "001-ab/algo-1: ");
    }
}
