//! The flags of `search`.

// clap prints the comments on flags as help texts, so they hold no Markdown.
#![allow(clippy::doc_markdown)]

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{DeviceArgs, integer_parser};
use crate::commands::search::{SearchOptions, search_hyperparameters};
use crate::error::Result;
use crate::sagemaker::MlRoot;
use crate::search::{Objective, SamplerKind};
use crate::settings;
use crate::torch;

#[derive(Debug, Args)]
pub(super) struct SearchArgs {
    /// JSON file with the ranges in the form of SageMaker's ParameterRanges; all other hyperparameters
    /// are those of input/config/hyperparameters.json below the root
    ranges: PathBuf,
    /// Folder of the search; the same command goes on with what lies there
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Trials in all; a search that has ended may go on with more
    #[arg(long, default_value_t = settings::DEFAULT_TRIALS, value_name = settings::TRIALS.unit,
          value_parser = integer_parser::<u64>(settings::TRIALS))]
    trials: u64,
    /// Trials side by side [default: one on each GPU, or one on the processor]
    #[arg(long, value_name = settings::PARALLEL_TRIALS.unit,
          value_parser = integer_parser::<usize>(settings::PARALLEL_TRIALS))]
    parallel: Option<usize>,
    /// How the values of a trial are chosen: tpe learns from finished trials, random does not
    #[arg(long, value_enum, default_value_t = Sampler::Tpe)]
    sampler: Sampler,
    /// Another seed tries other values
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Metric that is the score, by its name in hyperparameters/metric-definitions.json; a trial's
    /// score is the best that its job reported
    #[arg(long, default_value = settings::DEFAULT_SEARCH_METRIC, value_name = "NAME")]
    metric: String,
    /// Smaller scores are better, as of train:loss
    #[arg(long)]
    minimize: bool,
    /// Which trials stop early: with halving those that are not among the best third of all that came
    /// as far, after 1, 3, 9 ... epochs
    #[arg(long, value_enum, default_value_t = EarlyStopping::Halving)]
    early_stopping: EarlyStopping,
    /// Inverse of the share of trials that go on
    #[arg(long, default_value_t = settings::DEFAULT_REDUCTION_FACTOR,
          value_name = settings::REDUCTION_FACTOR.unit,
          value_parser = integer_parser::<u64>(settings::REDUCTION_FACTOR))]
    reduction_factor: u64,
    /// Epochs before trials are compared for the first time
    #[arg(long, default_value_t = settings::DEFAULT_MIN_EPOCHS, value_name = settings::MIN_EPOCHS.unit,
          value_parser = integer_parser::<u64>(settings::MIN_EPOCHS))]
    min_epochs: u64,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Method by which values are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sampler {
    Random,
    Tpe,
}

/// Rule by which trials stop early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum EarlyStopping {
    None,
    Halving,
}

impl SearchArgs {
    /// Runs the command.
    pub(super) fn run(self, root: &MlRoot) -> Result<()> {
        torch::choose_device(self.device.device)?;
        let sampler = match self.sampler {
            Sampler::Random => SamplerKind::Random,
            Sampler::Tpe => SamplerKind::Tpe,
        };
        let early_stopping = match self.early_stopping {
            EarlyStopping::None => None,
            EarlyStopping::Halving => Some((self.reduction_factor, self.min_epochs)),
        };
        search_hyperparameters(
            root,
            &SearchOptions {
                ranges: self.ranges,
                output: self.output,
                trials: self.trials,
                parallel: self.parallel,
                sampler,
                seed: self.seed,
                metric: self.metric,
                objective: if self.minimize { Objective::Minimize } else { Objective::Maximize },
                early_stopping,
                device: self.device.device,
            },
        )
    }
}
