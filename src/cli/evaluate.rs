//! The flags of `evaluate`.

// clap prints the comments on flags as help texts, so they hold no Markdown.
#![allow(clippy::doc_markdown)]

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{NetworkArgs, integer_parser};
use crate::commands::evaluate::{EvaluateOptions, OtherModel};
use crate::evaluate::{EvaluateSettings, ExplainSettings, GateRules};
use crate::metrics::{Bootstrap, DEFAULT_BOUNDARY_TOLERANCE};
use crate::sagemaker::MlRoot;
use crate::settings;

/// Probability that --must-improve asks for by default.
const DEFAULT_IMPROVEMENT_PROBABILITY: f64 = 0.95;

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag that stands alone")]
pub(super) struct EvaluateArgs {
    /// Folder of the model, or model.tar.gz, or a folder that holds it [default: processing/model
    /// below the root]
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,
    /// Folder with test and test_annotation, and label_map if the masks need one; or a manifest, or a
    /// folder that holds it [default: processing/input below the root]
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Folder that gets evaluation.json and the files beside it [default: processing/output below
    /// the root]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Another model, evaluated on the same images and compared; an empty folder means that there is
    /// none yet. registry:GROUP is the last approved version of a group of the registry, if one is
    /// approved
    #[arg(long, value_name = "PATH")]
    compare: Option<PathBuf>,
    /// Folder of the local registry, or sagemaker for that of the account
    #[arg(long, env = "MASKMAKER_REGISTRY", default_value = settings::DEFAULT_REGISTRY,
          value_name = "DIR")]
    registry: PathBuf,
    /// The gate fails below this mIoU, 0 to 1
    #[arg(long, value_name = "MIOU", value_parser = parse_share)]
    min_miou: Option<f64>,
    /// The gate fails if the mIoU is by more than this below that of --compare, 0 to 1
    #[arg(long, value_name = "MIOU", requires = "compare", value_parser = parse_share)]
    max_drop: Option<f64>,
    /// The gate fails unless the mIoU is higher than that of --compare with enough probability; it
    /// passes where there is no other model yet
    #[arg(long, requires = "compare")]
    must_improve: bool,
    /// Probability that --must-improve asks for, 0 to 1
    #[arg(long, default_value_t = DEFAULT_IMPROVEMENT_PROBABILITY, value_name = "PROBABILITY",
          requires = "must_improve", value_parser = parse_share)]
    improvement_probability: f64,
    /// End with exit code 4 if the gate fails
    #[arg(long)]
    fail: bool,
    /// Score the model on disturbed images, too: noise, blur, JPEG, brightness, contrast, haze, rotation
    /// and scale at five strengths each
    #[arg(long)]
    robustness: bool,
    /// Images that are disturbed, chosen at random
    #[arg(long, default_value_t = settings::DEFAULT_ROBUSTNESS_IMAGES, requires = "robustness",
          value_name = settings::ROBUSTNESS_IMAGES.unit,
          value_parser = integer_parser::<u32>(settings::ROBUSTNESS_IMAGES))]
    robustness_images: u32,
    /// Show where the model looks in so many of the worst, of typical and of the best images
    #[arg(long, value_name = settings::EXPLAIN.unit,
          value_parser = integer_parser::<u32>(settings::EXPLAIN))]
    explain: Option<u32>,
    /// Patches along each side of an image, which are covered in turn to explain it
    #[arg(long, default_value_t = settings::DEFAULT_OCCLUSION_GRID, requires = "explain",
          value_name = settings::OCCLUSION_GRID.unit,
          value_parser = integer_parser::<u32>(settings::OCCLUSION_GRID))]
    occlusion_grid: u32,
    /// Folder that gets an event file of TensorBoard with the scores
    #[arg(long, value_name = "DIR")]
    tensorboard: Option<PathBuf>,
    /// Attribute of the manifest, such as camera or meta.camera, by whose values scores are given too
    #[arg(long, value_name = "KEY")]
    group: Option<String>,
    /// Write the model's masks into the folder masks of the output
    #[arg(long)]
    save_masks: bool,
    /// Fail if a sample cannot be read, instead of leaving it out and reporting it
    #[arg(long)]
    strict: bool,
    /// Distance within which borders agree, in percent of the image's diagonal
    #[arg(long, default_value_t = 100.0 * DEFAULT_BOUNDARY_TOLERANCE, value_name = "PERCENT",
          value_parser = parse_tolerance)]
    boundary_tolerance: f64,
    /// Draws of the bootstrap that gives the intervals
    #[arg(long, default_value_t = settings::DEFAULT_BOOTSTRAP_DRAWS,
          value_name = settings::BOOTSTRAP_DRAWS.unit,
          value_parser = integer_parser::<u32>(settings::BOOTSTRAP_DRAWS))]
    bootstrap_draws: u32,
    /// Another seed gives other draws, and chooses other images and noise for --robustness and
    /// --explain
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Longest time that S3 may bring nothing, after which it is asked again
    #[arg(long, env = "MASKMAKER_S3_TIMEOUT", default_value_t = settings::DEFAULT_S3_TIMEOUT_S,
          value_name = settings::S3_TIMEOUT.unit,
          value_parser = integer_parser::<u64>(settings::S3_TIMEOUT))]
    s3_timeout: u64,
    #[command(flatten)]
    pub(super) network: NetworkArgs,
}

impl EvaluateArgs {
    pub(super) fn into_options(self, root: &MlRoot) -> EvaluateOptions {
        EvaluateOptions {
            model: self.model.unwrap_or_else(|| root.processing_model_folder()),
            other: self.compare.map(|path| OtherModel::parse(path, self.registry)),
            settings: EvaluateSettings {
                data: self.data.unwrap_or_else(|| root.processing_inputs_folder()),
                output: self.output.unwrap_or_else(|| root.processing_output_folder()),
                gate: GateRules {
                    min_miou: self.min_miou,
                    max_drop: self.max_drop,
                    must_improve: self.must_improve.then_some(self.improvement_probability),
                },
                boundary_tolerance: self.boundary_tolerance / 100.0,
                bootstrap: Bootstrap { draws: self.bootstrap_draws as usize, seed: self.seed },
                robustness_images: self.robustness.then_some(self.robustness_images as usize),
                explain: self.explain.map(|images| ExplainSettings {
                    images: images as usize,
                    grid: self.occlusion_grid,
                }),
                group: self.group,
                save_masks: self.save_masks,
                strict: self.strict,
            },
            engine: self.network.to_options(),
            tensorboard: self.tensorboard,
            s3_timeout: Duration::from_secs(self.s3_timeout),
            fail: self.fail,
        }
    }
}

/// Parses a number from 0 to 1.
fn parse_share(text: &str) -> Result<f64, String> {
    // Not a number is in no range.
    let share = text.parse().unwrap_or(f64::NAN);
    if (0.0..=1.0).contains(&share) {
        return Ok(share);
    }
    let hint = match share {
        percent if (1.0..=100.0).contains(&percent) => {
            format!("; for {percent} percent write {}", percent / 100.0)
        }
        _ => String::new(),
    };
    Err(format!("allowed is a number from 0 to 1{hint}"))
}

/// Parses a distance in percent of the image's diagonal.
fn parse_tolerance(text: &str) -> Result<f64, String> {
    let percent = text.trim().trim_end_matches('%').trim_end().parse().unwrap_or(f64::NAN);
    if (0.0..=10.0).contains(&percent) {
        Ok(percent)
    } else {
        Err("allowed is a percentage of the image's diagonal from 0 to 10".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_tolerances_have_ranges() {
        assert_eq!(parse_share("0.75"), Ok(0.75));
        assert!(parse_share("75").unwrap_err().contains("for 75 percent write 0.75"));
        for text in ["-0.1", "NaN", "x", "101"] {
            assert!(parse_share(text).is_err(), "{text}");
        }
        assert_eq!(parse_tolerance("0.75 %"), Ok(0.75));
        assert!(parse_tolerance("11").is_err() && parse_tolerance("x").is_err());
    }
}
