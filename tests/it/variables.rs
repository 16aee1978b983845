//! Environment variables in place of flags: SageMaker's and our own, unset and unusable ones.

use std::fs;

use crate::job::{Job, Run, maskmaker};

/// Runs a subcommand below an empty root, with these variables.
fn run(job: &Job, arguments: &[&str], variables: &[(&str, &str)]) -> Run {
    let mut command = maskmaker();
    command.envs(variables.iter().copied());
    job.run_with(command, arguments)
}

#[test]
fn variables_that_cannot_be_used_are_named_all_at_once() {
    let job = Job::without_data();
    let variables = [
        ("SAGEMAKER_MAX_PAYLOAD_IN_MB", "6.0"),
        ("SAGEMAKER_BATCH_STRATEGY", "Both"),
        ("MASKMAKER_MAX_SIDE", "7"),
        ("MASKMAKER_PRECISION", "int7"),
        ("SAGEMAKER_MULTI_MODEL", ""),
    ];
    let run = run(&job, &["serve"], &variables);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    for (variable, value) in &variables[..4] {
        let named = format!("the environment variable {variable} is {value:?}");
        assert!(run.stderr.contains(&named), "{}", run.stderr);
    }
    assert!(!run.stderr.contains("MULTI_MODEL"), "{}", run.stderr);
}

#[test]
fn variables_that_are_set_to_nothing_count_as_unset() {
    let job = Job::without_data();
    let run = run(
        &job,
        &["serve", "--port", "0"],
        &[
            ("SAGEMAKER_BATCH", ""),
            ("SAGEMAKER_BATCH_STRATEGY", ""),
            ("SAGEMAKER_MAX_PAYLOAD_IN_MB", ""),
            ("SAGEMAKER_MAX_CONCURRENT_TRANSFORMS", ""),
            ("SAGEMAKER_BIND_TO_PORT", ""),
            ("MASKMAKER_ML_ROOT", ""),
        ],
    );
    // The server begins, and then finds no model.
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    assert!(run.stderr.contains("listening on"), "{}", run.stderr);
    assert!(!run.stderr.contains("environment variable"), "{}", run.stderr);
}

#[test]
fn a_flag_wins_over_a_variable_that_cannot_be_used() {
    let job = Job::without_data();
    let variables = [("MASKMAKER_PORT", "ninety"), ("MASKMAKER_QUEUE_DEPTH", "-1")];
    let run = run(&job, &["serve", "--port", "0"], &variables);
    assert!(!run.stderr.contains("MASKMAKER_PORT"), "{}", run.stderr);
    assert!(run.stderr.contains("MASKMAKER_QUEUE_DEPTH"), "{}", run.stderr);
}

#[test]
fn a_training_job_tells_a_bad_variable_in_its_failure_file() {
    let job = Job::without_data();
    let run = run(&job, &["train"], &[("MASKMAKER_PIPE_TIMEOUT", "10m")]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    let reason = fs::read_to_string(job.path("output/failure")).unwrap();
    assert!(reason.contains("MASKMAKER_PIPE_TIMEOUT is \"10m\""), "{reason}");
    assert!(run.stderr.contains(reason.lines().next().unwrap()), "{}", run.stderr);
}

#[test]
fn help_and_usage_errors_do_not_look_at_variables() {
    let job = Job::without_data();
    let variables = [("MASKMAKER_PORT", "ninety")];
    let help = run(&job, &["serve", "--help"], &variables);
    assert_eq!(help.code, Some(0), "{}", help.stderr);
    assert_eq!(run(&job, &["serve", "--prot", "1"], &variables).code, Some(2));
}
