//! The flags of `pipeline`.

// clap prints the comments on flags as help texts, so they hold no Markdown.
#![allow(clippy::doc_markdown)]

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Subcommand};

use super::Cli;
use crate::commands::pipeline::{self, GraphFormat, LocalRunSettings, PipelineInput};
use crate::error::Result;
use crate::pipeline::{Executor, PlaceMap, UNKNOWN_ARGUMENT};
use crate::settings;

#[derive(Debug, Subcommand)]
pub(super) enum PipelineCommand {
    /// Find everything that is wrong with a definition before a run costs money
    Check(PipelineArgs),
    /// Print what a run would ask the service for
    Render(PipelineArgs),
    /// Run the steps on this machine, from the first to the registered model
    Run(RunArgs),
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
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Run on this machine; the only place so far
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

impl RunArgs {
    fn run(self) -> Result<()> {
        let executor =
            if self.docker { Executor::Docker { image: self.image } } else { Executor::Process };
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
        PipelineInput { file: self.file, parameters: self.parameters }
    }
}

impl PipelineCommand {
    /// Runs the command.
    pub(super) fn run(self) -> Result<()> {
        match self {
            Self::Check(args) => pipeline::run_check(&args.into_input(), &check_arguments),
            Self::Render(args) => pipeline::run_render(&args.into_input()),
            Self::Run(args) => args.run(),
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
