//! The flags of `pipeline`.

// clap prints the comments on flags as help texts, so they hold no Markdown.
#![allow(clippy::doc_markdown)]

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Subcommand};

use super::Cli;
use crate::commands::pipeline::{self, GraphFormat, PipelineInput};
use crate::error::Result;
use crate::pipeline::UNKNOWN_ARGUMENT;

#[derive(Debug, Subcommand)]
pub(super) enum PipelineCommand {
    /// Find everything that is wrong with a definition before a run costs money
    Check(PipelineArgs),
    /// Print what a run would ask the service for
    Render(PipelineArgs),
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
