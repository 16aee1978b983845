//! The flags of `pipeline`.

// clap prints the comments on flags as help texts, so they hold no Markdown.
#![allow(clippy::doc_markdown)]

use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Subcommand};

use super::{Cli, integer_parser};
use crate::aws::S3Uri;
use crate::commands::pipeline::{self, GraphFormat, LocalRunSettings, PipelineInput};
use crate::commands::remote_pipeline;
use crate::error::{Error, Result};
use crate::pipeline::{
    ExecutionChoice, Executor, LogsOptions, PlaceMap, RegistryPlace, StartOptions, StatusOptions,
    UNKNOWN_ARGUMENT, UpsertOptions,
};
use crate::settings;

#[derive(Debug, Subcommand)]
pub(super) enum PipelineCommand {
    /// Find everything that is wrong with a definition before a run costs money
    Check(PipelineArgs),
    /// Print what a run would ask the service for
    Render(PipelineArgs),
    /// Run the steps on this machine, from the first to the registered model
    Run(RunArgs),
    /// Make the pipeline in SageMaker, or bring it up to date; doing so twice changes nothing
    Upsert(UpsertArgs),
    /// Start an execution in SageMaker, with the revision of its data
    Start(StartArgs),
    /// Print how far an execution in SageMaker is
    Status {
        #[command(flatten)]
        execution: ExecutionArgs,
        #[command(flatten)]
        follow: FollowArgs,
    },
    /// Stop an execution in SageMaker
    Stop(ExecutionArgs),
    /// Print the log of a step's job in SageMaker
    Logs {
        /// Name of the step
        step: String,
        #[command(flatten)]
        execution: ExecutionArgs,
        #[command(flatten)]
        follow: FollowArgs,
    },
    /// Print the graph of the steps
    Show {
        /// File with the definition, such as pipeline.json
        file: PathBuf,
        /// Lines for a terminal, or a picture
        #[arg(long, value_enum, default_value_t)]
        format: GraphFormat,
    },
}

#[derive(Debug, Args)]
pub(super) struct PipelineArgs {
    /// File with the definition, such as pipeline.json
    file: PathBuf,
    /// Value of a parameter, in place of its default; the flag may be repeated
    #[arg(long = "parameter", value_name = "NAME=VALUE", value_parser = parse_parameter)]
    parameters: Vec<(String, String)>,
    /// best-hyperparameters.json of a search, as values of the parameters from which training steps
    /// take them; --parameter goes before
    #[arg(long, value_name = "FILE")]
    best_hyperparameters: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Run on this machine; pipeline start runs it in SageMaker
    #[arg(long, required = true)]
    local: bool,
    /// Folder of local executions, of places that are not mapped, and of the registry
    #[arg(long, env = "MASKMAKER_LOCAL_ROOT", default_value = settings::DEFAULT_LOCAL_ROOT,
          value_name = "DIR")]
    root: PathBuf,
    /// Folder with the data of a place in S3, or for it; the flag may be repeated
    #[arg(long = "map", value_name = "s3://BUCKET/PREFIX=DIR", value_parser = PlaceMap::parse)]
    maps: Vec<PlaceMap>,
    /// Folder of the model registry [default: registry in the root]
    #[arg(long, env = "MASKMAKER_REGISTRY", value_name = "DIR")]
    registry: Option<PathBuf>,
    /// Run each job in a container of its image by docker run, and not as a process of this program
    #[arg(long)]
    docker: bool,
    /// Image of all containers, in place of those in the definition
    #[arg(long, value_name = "IMAGE", requires = "docker")]
    image: Option<String>,
    /// Begin a new execution and run every job, whatever is known of earlier ones
    #[arg(long)]
    no_cache: bool,
}

#[derive(Debug, Args)]
pub(super) struct UpsertArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Name of the pipeline [default: that of the file]
    #[arg(long, env = "MASKMAKER_PIPELINE", value_name = "NAME")]
    name: Option<String>,
    /// Role of the pipeline [default: the value of its parameter RoleArn]
    #[arg(long, value_name = "ARN")]
    role_arn: Option<String>,
    /// Description of the pipeline
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Tag of the pipeline beside the version and the revision; the flag may be repeated
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = parse_tag)]
    tags: Vec<(String, String)>,
    /// Folder of definitions from 100 KB [default: definitions below the parameter OutputRoot]
    #[arg(long, value_name = "s3://BUCKET/PREFIX/", value_parser = parse_folder)]
    definitions: Option<S3Uri>,
    /// Replace a definition that another program wrote or a person changed
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
pub(super) struct StartArgs {
    /// Name or ARN of the pipeline
    #[arg(long, env = "MASKMAKER_PIPELINE", default_value = settings::DEFAULT_PIPELINE)]
    name: String,
    /// Value of a parameter, in place of its default; the flag may be repeated
    #[arg(long = "parameter", value_name = "NAME=VALUE", value_parser = parse_parameter)]
    parameters: Vec<(String, String)>,
    /// Text of 32 to 128 characters for which one execution begins, however often it is started
    /// [default: another one each time]
    #[arg(long, value_parser = StartOptions::parse_token)]
    token: Option<String>,
    /// Description of the execution
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    #[command(flatten)]
    follow: FollowArgs,
}

#[derive(Debug, Args)]
pub(super) struct ExecutionArgs {
    /// Name or ARN of the pipeline
    #[arg(long, env = "MASKMAKER_PIPELINE", default_value = settings::DEFAULT_PIPELINE)]
    name: String,
    /// ARN or identifier of the execution [default: the last one]
    #[arg(long, value_name = "ARN")]
    execution: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct FollowArgs {
    /// Go on until the execution, or the step of a log, has ended
    #[arg(long)]
    follow: bool,
    /// Seconds between two looks
    #[arg(long, default_value_t = settings::DEFAULT_STATUS_INTERVAL_S,
          value_name = settings::STATUS_INTERVAL.unit,
          value_parser = integer_parser::<u64>(settings::STATUS_INTERVAL))]
    interval: u64,
}

impl FollowArgs {
    fn interval(&self) -> Option<Duration> {
        self.follow.then(|| Duration::from_secs(self.interval))
    }
}

impl ExecutionArgs {
    fn into_choice(self) -> ExecutionChoice {
        ExecutionChoice { pipeline: self.name, execution: self.execution }
    }
}

impl UpsertArgs {
    fn run(self) -> Result<()> {
        let input = self.pipeline.into_input();
        let options = UpsertOptions {
            name: self.name.unwrap_or_else(|| pipeline::name_pipeline(&input.file)),
            role_arn: self.role_arn,
            description: self.description,
            tags: self.tags,
            definitions_folder: self.definitions,
            replaces_others: self.force,
        };
        remote_pipeline::run_upsert(&input, &options, &check_arguments)
    }
}

impl StartArgs {
    fn run(self) -> Result<()> {
        let follow_interval = self.follow.interval();
        let options = StartOptions {
            pipeline: self.name,
            parameters: self.parameters,
            token: self.token,
            description: self.description,
        };
        remote_pipeline::run_start(&options, follow_interval)
    }
}

impl RunArgs {
    fn run(self) -> Result<()> {
        let executor =
            if self.docker { Executor::Docker { image: self.image } } else { Executor::Process };
        if self.registry.as_deref().map(RegistryPlace::new) == Some(RegistryPlace::SageMaker) {
            return Err(Error::input(
                "a local run registers its model in a folder, and --registry or MASKMAKER_REGISTRY \
                 names that of the account; give --registry DIR",
            ));
        }
        let settings = LocalRunSettings {
            root: self.root,
            maps: self.maps,
            registry: self.registry,
            executor,
            uses_cache: !self.no_cache,
        };
        pipeline::run_local(&self.pipeline.into_input(), settings, &check_arguments)
    }
}

impl PipelineArgs {
    fn into_input(self) -> PipelineInput {
        PipelineInput {
            file: self.file,
            parameters: self.parameters,
            best_hyperparameters: self.best_hyperparameters,
        }
    }
}

impl PipelineCommand {
    /// Runs the command.
    pub(super) fn run(self) -> Result<()> {
        match self {
            Self::Check(args) => pipeline::run_check(&args.into_input(), &check_arguments),
            Self::Render(args) => pipeline::run_render(&args.into_input()),
            Self::Run(args) => args.run(),
            Self::Upsert(args) => args.run(),
            Self::Start(args) => args.run(),
            Self::Status { execution, follow } => remote_pipeline::run_status(&StatusOptions {
                execution: execution.into_choice(),
                follow_interval: follow.interval(),
            }),
            Self::Stop(execution) => remote_pipeline::run_stop(&execution.into_choice()),
            Self::Logs { step, execution, follow } => remote_pipeline::run_logs(&LogsOptions {
                execution: execution.into_choice(),
                step,
                follow_interval: follow.interval(),
            }),
            Self::Show { file, format } => pipeline::run_show(&file, format),
        }
    }
}

/// Parses the value of `--parameter`.
fn parse_parameter(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("give NAME=VALUE".to_owned()),
    }
}

/// Parses the value of `--tag`.
fn parse_tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("give KEY=VALUE".to_owned()),
    }
}

/// Parses a folder in S3.
fn parse_folder(text: &str) -> Result<S3Uri, String> {
    let text = if text.ends_with('/') { text.to_owned() } else { format!("{text}/") };
    text.parse().map_err(|problem| format!("{text} {problem}"))
}

/// Checks that this program takes a step's arguments.
fn check_arguments(arguments: &[String]) -> Result<(), String> {
    let words = std::iter::once("maskmaker").chain(arguments.iter().map(String::as_str));
    let command = without_variables(Cli::command());
    let Err(error) = command.try_get_matches_from(words) else { return Ok(()) };
    let shown = arguments.join(" ");
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return Err(format!("is {shown}, which prints a text and does nothing"));
    }
    let message = error.to_string();
    // Only the run knows this value, so the flag may take it.
    if message.contains(UNKNOWN_ARGUMENT) {
        return Ok(());
    }
    let first_part: Vec<&str> =
        message.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    let problem = first_part.join(" ");
    let problem = problem.strip_prefix("error: ").unwrap_or(&problem);
    Err(format!("is {shown}, which maskmaker does not take: {problem}"))
}

/// Returns a command that does not read the variables of this process: a step runs elsewhere.
fn without_variables(command: clap::Command) -> clap::Command {
    command.mut_args(|flag| flag.env(None::<&str>)).mut_subcommands(without_variables)
}
