//! `maskmaker pipeline upsert|start|status|stop|logs`: pipelines in Amazon SageMaker.

use std::time::Duration;

use super::pipeline::{PipelineInput, read_checked_pipeline};
use super::training_job::s3::job_region;
use crate::aws::{
    CLOUDWATCH_LOGS, JsonClient, JsonService, S3Client, S3Error, S3Settings, SAGEMAKER, StopCheck,
};
use crate::console::{print_stderr, print_stdout};
use crate::error::Result;
use crate::pipeline::{
    ArgumentsCheck, ExecutionChoice, LogsOptions, StartOptions, StatusOptions, UpsertOptions,
    Upserted, print_logs, show_status, start_execution, stop_execution, upsert_pipeline,
};
use crate::sagemaker::StopSignal;

/// Longest time without a byte from S3, after which an attempt has failed.
const S3_TIMEOUT: Duration = Duration::from_mins(1);

/// Largest number of changes of a definition that are printed.
const MAX_PRINTED_CHANGES: usize = 50;

/// Makes a pipeline, or brings it up to date, and prints its ARN. A definition with errors is not
/// sent.
pub fn run_upsert(
    input: &PipelineInput,
    options: &UpsertOptions,
    check_arguments: ArgumentsCheck<'_>,
) -> Result<()> {
    let pipeline = read_checked_pipeline(input, check_arguments)?;
    let stop = StopSignal::listen()?;
    let client = connect(&SAGEMAKER, &stop)?;
    let (arn, upserted) = upsert_pipeline(
        &pipeline.bytes,
        &pipeline.given,
        &pipeline.values,
        options,
        &client,
        &|| connect_s3(&stop),
    )?;
    let outcome = match &upserted {
        Upserted::Created => "created",
        Upserted::Updated(_) => "updated",
        Upserted::Tagged => "tagged",
        Upserted::Unchanged => "unchanged",
    };
    if let Upserted::Updated(changes) = &upserted {
        for change in changes.iter().take(MAX_PRINTED_CHANGES) {
            print_stderr(change);
        }
        if changes.len() > MAX_PRINTED_CHANGES {
            print_stderr(format_args!("and {} more", changes.len() - MAX_PRINTED_CHANGES));
        }
    }
    print_stdout(format_args!("{arn} {outcome}"));
    Ok(())
}

/// Starts an execution, prints its ARN, and follows it if `follow_interval` is given.
pub fn run_start(options: &StartOptions, follow_interval: Option<Duration>) -> Result<()> {
    let stop = StopSignal::listen()?;
    let client = connect(&SAGEMAKER, &stop)?;
    let arn = start_execution(options, &client, &|| connect_s3(&stop), &|note| print_stderr(note))?;
    print_stdout(&arn);
    if follow_interval.is_none() {
        return Ok(());
    }
    let pipeline = options.pipeline.clone();
    let execution = ExecutionChoice { pipeline, execution: Some(arn) };
    show_status(&StatusOptions { execution, follow_interval }, &client, &stop)
}

/// Prints how far an execution is, once or until it ends.
pub fn run_status(options: &StatusOptions) -> Result<()> {
    let stop = StopSignal::listen()?;
    show_status(options, &connect(&SAGEMAKER, &stop)?, &stop)
}

/// Stops an execution, and prints its ARN.
pub fn run_stop(execution: &ExecutionChoice) -> Result<()> {
    let stop = StopSignal::listen()?;
    let arn = stop_execution(execution, &connect(&SAGEMAKER, &stop)?)?;
    print_stdout(format_args!("{arn} is stopping"));
    Ok(())
}

/// Prints the log of a step.
pub fn run_logs(options: &LogsOptions) -> Result<()> {
    let stop = StopSignal::listen()?;
    let (sagemaker, logs) = (connect(&SAGEMAKER, &stop)?, connect(&CLOUDWATCH_LOGS, &stop)?);
    print_logs(options, &sagemaker, &logs, &stop)
}

/// Connects to a service of the account. Calls give up when the program is asked to stop.
pub(super) fn connect(service: &'static JsonService, stop: &StopSignal) -> Result<JsonClient> {
    let stop = stop.clone();
    let should_stop = StopCheck::new(move || stop.is_requested());
    Ok(JsonClient::connect(service, job_region().as_deref(), should_stop)?)
}

/// Connects to S3. Calls give up when the program is asked to stop.
pub(super) fn connect_s3(stop: &StopSignal) -> Result<S3Client, S3Error> {
    let stop = stop.clone();
    let mut settings = S3Settings::new(S3_TIMEOUT, StopCheck::new(move || stop.is_requested()));
    settings.region = job_region();
    S3Client::connect(settings)
}
