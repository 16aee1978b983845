//! The container of a job: a process of this program with a folder in place of `/opt/ml`, or a
//! container of the job's image that has that folder mounted there.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use super::docker::{docker_command, docker_error, find_image, pull_image, remove_container};
use super::job::Job;
use super::places::{digest_files, list_files};
use crate::error::{Error, Problems, Result};
use crate::files::PathContext;
use crate::logged_process::{LoggedProcess, OWN_PROGRAM};
use crate::pipeline::definition::StepKind;
use crate::pipeline::digest::{digest_file, to_hex};
use crate::pipeline::registry::REGISTRY_VARIABLE;
use crate::settings::{DEFAULT_ML_ROOT, STOPPED_EXIT_CODE};

/// Repository of Amazon's built-in algorithm, whose jobs this program takes.
const BUILT_IN_NAME: &str = "semantic-segmentation";

/// Variable that moves the root of the contract.
const ML_ROOT_VARIABLE: &str = "MASKMAKER_ML_ROOT";

/// Variables that name places only, whose contents count where they are read.
const PLACE_VARIABLES: [&str; 4] =
    [ML_ROOT_VARIABLE, REGISTRY_VARIABLE, "MASKMAKER_LOCAL_ROOT", "MASKMAKER_PRETRAINED"];

/// Beginnings of variables that change what this program computes.
const RELEVANT_VARIABLES: [&str; 4] = ["MASKMAKER_", "ONEDNN_", "DNNL_", "CUDA_VISIBLE_DEVICES"];

/// How containers are run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Executor {
    /// Processes of this program.
    Process,
    /// `docker run`, with the image of the definition or another one.
    Docker { image: Option<String> },
}

/// Folder of a job, and what it needs beside its request.
#[derive(Debug)]
pub(super) struct Container<'a> {
    pub job: &'a Job,
    /// Folder that is `/opt/ml` for the job.
    pub ml: PathBuf,
    /// File that gets what the job prints.
    pub log: PathBuf,
    /// Name of the container, which no other one on this machine has.
    pub name: String,
    /// Folder of local executions.
    pub root: PathBuf,
    /// Folder of model packages.
    pub registry: PathBuf,
}

impl Executor {
    /// Returns a text that is another one if the job's program or its settings outside of the
    /// request are others.
    pub(super) fn identity(&self, job: &Job, program_digest: &str) -> Result<String> {
        let mut parts = Vec::new();
        match self {
            Self::Process => {
                parts.push(format!("program {program_digest}"));
                for (name, value) in env::vars_os() {
                    let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
                    let is_relevant =
                        RELEVANT_VARIABLES.iter().any(|start| name.starts_with(start));
                    if is_relevant && !PLACE_VARIABLES.contains(&name.as_ref()) {
                        parts.push(format!("{name}={value}"));
                    }
                }
                parts.sort();
                if job.kind == StepKind::Training {
                    parts.push(digest_pretrained()?);
                }
            }
            Self::Docker { .. } => {
                let image = self.image(job);
                let id = match find_image(image)? {
                    Some(id) => id,
                    None => pull_image(image)?,
                };
                parts.push(format!("image {image} {id}"));
            }
        }
        Ok(parts.join("\n"))
    }

    fn image<'a>(&'a self, job: &'a Job) -> &'a str {
        match self {
            Self::Docker { image: Some(image) } => image,
            _ => &job.image,
        }
    }

    /// Finds what this way of running cannot do of a job, before anything runs.
    pub(super) fn check(&self, job: &Job) -> Result<()> {
        if matches!(self, Self::Docker { .. }) {
            return Ok(());
        }
        let mut problems = Problems::new();
        let repository = job.image.split([':', '@']).next().unwrap_or_default();
        let name = repository.rsplit('/').next().unwrap_or_default();
        if !name.contains("maskmaker") && name != BUILT_IN_NAME {
            problems.push(format!(
                "the image is {}, which is not this program's; run it with --docker",
                job.image
            ));
        }
        if let Some(program) = job.entrypoint.first()
            && Path::new(program).file_name() != Some("maskmaker".as_ref())
        {
            problems.push(format!(
                "ContainerEntrypoint is {program}, which is not maskmaker; run it with --docker"
            ));
        }
        problems.into_result()
    }

    /// Runs a job until it ends. Each line that it prints goes to the log and to `on_line`. Once
    /// `should_stop` returns true it is asked to end, and killed if it does not end in time.
    pub(super) fn run(
        &self,
        container: &Container<'_>,
        should_stop: &dyn Fn() -> bool,
        on_line: &mut dyn FnMut(&str),
    ) -> Result<ExitStatus> {
        let command = match self {
            Self::Process => process_command(container),
            Self::Docker { .. } => docker_command(container, self.image(container.job)),
        };
        let mut log = File::options();
        let log = log.append(true).create(true).open(&container.log);
        let log = log.with_path("write", &container.log)?;
        let process = LoggedProcess::start(command, log).map_err(|cause| match self {
            Self::Process => Error::internal(format!("the program cannot be started: {cause}")),
            Self::Docker { .. } => docker_error(&cause),
        })?;
        let status = process
            .wait(should_stop, on_line)
            .map_err(|cause| Error::internal(format!("a job: {cause}")));
        if matches!(self, Self::Docker { .. }) && should_stop() {
            remove_container(&container.name);
        }
        status
    }
}

/// Returns the digest of this program.
pub(super) fn own_program_digest() -> Result<String> {
    Ok(to_hex(&digest_file(Path::new(OWN_PROGRAM))?))
}

/// Returns a digest of the weights that `train` would begin with: those of the variable, else those
/// beside the program.
fn digest_pretrained() -> Result<String> {
    let given = env::var_os("MASKMAKER_PRETRAINED").map(PathBuf::from);
    let beside = env::current_exe()
        .ok()
        .and_then(|program| Some(program.parent()?.parent()?.join("pretrained")));
    let mut digest = String::new();
    for place in [given, beside].into_iter().flatten() {
        let files = list_files(&place)?;
        digest.push_str(&digest_files(&files)?);
        if files.is_empty() {
            // A place in S3, or one that is not there, which the job tells.
            digest.push_str(&place.to_string_lossy());
        }
    }
    Ok(digest)
}

/// Returns the command of this program for a job. It dies with this process, so that the next run
/// does not meet it at work in the same folder.
fn process_command(container: &Container<'_>) -> Command {
    let job = container.job;
    let mut arguments = job.arguments.clone();
    if let Some((_, first)) = job.entrypoint.split_first() {
        arguments = [first, &arguments].concat();
    }
    let mut command = Command::new(OWN_PROGRAM);
    command.arg0("maskmaker");
    command.arg("--parent-process").arg(std::process::id().to_string());
    for argument in &arguments {
        command.arg(with_folder(argument, &container.ml));
    }
    for (name, value) in &job.environment {
        command.env(name, with_folder(value, &container.ml));
    }
    command.env(ML_ROOT_VARIABLE, &container.ml).env(REGISTRY_VARIABLE, &container.registry);
    command
}

/// Puts a folder in the place of `/opt/ml` in an argument such as `/opt/ml/model` or
/// `--output=/opt/ml/output`.
fn with_folder(text: &str, ml: &Path) -> OsString {
    let (start, path) = match text.split_once('=') {
        Some((name, value)) if value.starts_with(DEFAULT_ML_ROOT) => (Some(name), value),
        _ => (None, text),
    };
    let below = path.strip_prefix(DEFAULT_ML_ROOT).filter(|below| {
        // /opt/mlops is another folder.
        below.is_empty() || below.starts_with('/')
    });
    let Some(below) = below else { return text.into() };
    let mut moved = OsString::new();
    if let Some(name) = start {
        moved.push(name);
        moved.push("=");
    }
    moved.push(ml);
    moved.push(below);
    moved
}

/// Returns why a job failed: what it left for the service, or how it ended. The words complete a
/// sentence whose subject is the job.
pub(super) fn failure_reason(ml: &Path, status: ExitStatus, executor: &Executor) -> String {
    for name in ["output/failure", "output/message"] {
        if let Ok(text) = fs::read_to_string(ml.join(name))
            && !text.trim().is_empty()
        {
            return text.trim().to_owned();
        }
    }
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("it was ended by signal {signal}"),
        (None, Some(code @ 125..=127)) if matches!(executor, Executor::Docker { .. }) => {
            format!("docker could not start the container (exit code {code})")
        }
        (None, Some(STOPPED_EXIT_CODE)) => "it was asked to stop, by something else".to_owned(),
        (None, code) => format!("it ended with exit code {}", code.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_of_the_contract_is_moved_in_arguments_and_nothing_else() {
        let moved = |text: &str| with_folder(text, Path::new("/run/ml")).into_string().unwrap();
        assert_eq!(moved("/opt/ml/processing/input"), "/run/ml/processing/input");
        assert_eq!(moved("--output=/opt/ml"), "--output=/run/ml");
        assert_eq!(moved("/opt/mlops/x"), "/opt/mlops/x");
        assert_eq!(moved("--name=a=b"), "--name=a=b");
        assert_eq!(moved("0.6"), "0.6");
    }
}
