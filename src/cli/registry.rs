//! The flags of `registry`.

// clap prints the comments on flags as help texts, so they hold no Markdown.
#![allow(clippy::doc_markdown)]

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::commands::registry;
use crate::error::Result;
use crate::pipeline::{ApprovalStatus, RegistryPlace};
use crate::settings;

#[derive(Debug, Subcommand)]
pub(super) enum RegistryCommand {
    /// List groups and their versions, or the versions of a group
    List {
        #[command(flatten)]
        registry: RegistryArgs,
        /// Model package group
        group: Option<String>,
    },
    /// Print the description of a version as JSON
    Show(VersionArgs),
    /// Allow a version to be used; this deploys nothing
    Approve(DecisionArgs),
    /// Forbid the use of a version
    Reject(DecisionArgs),
}

#[derive(Debug, Args)]
pub(super) struct RegistryArgs {
    /// Folder of the registry, or sagemaker for that of the account
    #[arg(long, env = "MASKMAKER_REGISTRY", default_value = settings::DEFAULT_REGISTRY,
          value_name = "DIR")]
    registry: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct VersionArgs {
    #[command(flatten)]
    registry: RegistryArgs,
    /// Model package group
    group: String,
    /// Version, from 1
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    version: u32,
}

#[derive(Debug, Args)]
pub(super) struct DecisionArgs {
    #[command(flatten)]
    version: VersionArgs,
    /// Reason, which is kept with the version
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

impl RegistryArgs {
    fn place(self) -> RegistryPlace {
        RegistryPlace::new(self.registry)
    }
}

impl RegistryCommand {
    /// Runs the command.
    pub(super) fn run(self) -> Result<()> {
        match self {
            Self::List { registry, group } => {
                registry::list_packages(registry.place(), group.as_deref())
            }
            Self::Show(VersionArgs { registry, group, version }) => {
                registry::show_package(registry.place(), &group, version)
            }
            Self::Approve(decision) => decision.decide(ApprovalStatus::Approved),
            Self::Reject(decision) => decision.decide(ApprovalStatus::Rejected),
        }
    }
}

impl DecisionArgs {
    fn decide(self, status: ApprovalStatus) -> Result<()> {
        let VersionArgs { registry, group, version } = self.version;
        let description = self.description.as_deref();
        registry::decide(registry.place(), &group, version, status, description)
    }
}
