//! The flags of `label-studio`.

// clap prints the comments on flags as help texts, so they hold no Markdown.
#![allow(clippy::doc_markdown)]

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::{InferenceArgs, integer_parser, megabytes_to_bytes};
use crate::commands::label_studio::{
    BackendCommand, LabelStudioConnection, PushCommand, run_label_studio_backend, run_push,
};
use crate::error::Result;
use crate::preannotation::{BackendSettings, PushOptions, RegionOptions};
use crate::sagemaker::MlRoot;
use crate::settings;
use crate::torch;
use crate::web_client::Url;

#[derive(Debug, Subcommand)]
pub(super) enum LabelStudioCommand {
    /// Answer Label Studio's requests for predictions: an ML backend
    Backend(BackendArgs),
    /// Store a model's predictions for the tasks of a project, the least certain first
    Push(PushArgs),
}

/// Where Label Studio is.
#[derive(Debug, Args)]
struct ConnectionArgs {
    /// Address of Label Studio; the token is in LABEL_STUDIO_API_KEY or in --token-secret
    #[arg(long, env = "LABEL_STUDIO_URL", value_name = "URL")]
    label_studio: Url,
    /// Name or ARN of the secret in AWS Secrets Manager that holds the token for Label Studio
    #[arg(long, env = "MASKMAKER_TOKEN_SECRET", value_name = "NAME")]
    token_secret: Option<String>,
    /// Ask servers with private addresses for images, too; Label Studio itself may always have one
    #[arg(long, env = "MASKMAKER_ALLOW_PRIVATE_ADDRESSES")]
    allow_private_addresses: bool,
}

impl ConnectionArgs {
    fn into_connection(self) -> LabelStudioConnection {
        LabelStudioConnection {
            server: self.label_studio,
            token_secret: self.token_secret,
            allow_private: self.allow_private_addresses,
        }
    }
}

/// Which regions predictions have.
#[derive(Debug, Args)]
struct RegionArgs {
    /// Name of the control tag that gets the predictions [default: the one with the most labels that are
    /// classes of the model]
    #[arg(long, value_name = "NAME")]
    control: Option<String>,
    /// Error allowed in the outlines of polygons, in pixels; 0 is exact
    #[arg(long, default_value_t = settings::DEFAULT_POLYGON_TOLERANCE_PX, value_name = "PIXELS",
          value_parser = parse_tolerance)]
    tolerance: f64,
    /// Smallest region
    #[arg(long, default_value_t = settings::DEFAULT_MIN_AREA_PX, value_name = settings::MIN_AREA.unit,
          value_parser = integer_parser::<u64>(settings::MIN_AREA))]
    min_area: u64,
    /// Regions of a task, of which the largest are kept: many regions of a brush freeze the editor
    #[arg(long, default_value_t = settings::DEFAULT_MAX_REGIONS, value_name = settings::MAX_REGIONS.unit,
          value_parser = integer_parser::<usize>(settings::MAX_REGIONS))]
    max_regions: usize,
    /// Largest image that is read
    #[arg(long, default_value_t = settings::DEFAULT_MAX_IMAGE_MB, value_name = settings::MAX_IMAGE_MB.unit,
          value_parser = integer_parser::<u64>(settings::MAX_IMAGE_MB))]
    max_image_mb: u64,
}

impl RegionArgs {
    fn to_options(&self) -> RegionOptions {
        RegionOptions {
            max_regions: self.max_regions,
            min_area_px: self.min_area,
            tolerance_px: self.tolerance,
        }
    }
}

#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct PushArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    /// Number of the project whose tasks get predictions
    #[arg(long, value_name = "ID")]
    project: i64,
    /// Folder of the model, or model.tar.gz, or a folder that holds it [default: model below the root]
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,
    /// Predict tasks that somebody has annotated, too
    #[arg(long)]
    all_tasks: bool,
    #[command(flatten)]
    regions: RegionArgs,
    /// Tasks that are computed before the least certain of them is stored
    #[arg(long, default_value_t = settings::DEFAULT_BATCH_TASKS, value_name = settings::BATCH_TASKS.unit,
          value_parser = integer_parser::<usize>(settings::BATCH_TASKS))]
    batch_tasks: usize,
    /// Images that are read and computed at one time
    #[arg(long, default_value_t = settings::DEFAULT_PARALLEL_IMAGES,
          value_name = settings::PARALLEL_IMAGES.unit,
          value_parser = integer_parser::<usize>(settings::PARALLEL_IMAGES))]
    parallel_images: usize,
    /// Folder for predictions that are computed and not stored yet, so that an interrupted push does not
    /// compute them again
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    #[command(flatten)]
    inference: InferenceArgs,
}

impl LabelStudioCommand {
    /// Runs the command.
    pub(super) fn run(self, root: &MlRoot) -> Result<()> {
        match self {
            Self::Backend(backend) => {
                torch::choose_device(backend.inference.network.device.device)?;
                run_label_studio_backend(&backend.into_command(root))
            }
            Self::Push(push) => {
                torch::choose_device(push.inference.network.device.device)?;
                run_push(&push.into_command(root))
            }
        }
    }
}

#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct BackendArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    /// Address to listen on
    #[arg(long, env = "MASKMAKER_HOST", default_value_t = settings::DEFAULT_HOST)]
    host: IpAddr,
    /// Port to listen on, 0 for any free one
    #[arg(long, env = "MASKMAKER_PORT", default_value_t = settings::DEFAULT_BACKEND_PORT)]
    port: u16,
    /// Folder of the model, or model.tar.gz, or a folder that holds it; another model that takes its place
    /// is taken up [default: model below the root]
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,
    #[command(flatten)]
    regions: RegionArgs,
    /// Longest time for a round of tasks, after which its predictions are stored by Label Studio's API
    #[arg(long, default_value_t = settings::DEFAULT_MAX_ROUND_S, value_name = settings::MAX_ROUND.unit,
          value_parser = integer_parser::<u64>(settings::MAX_ROUND))]
    max_round: u64,
    /// Images that are read and computed at one time
    #[arg(long, default_value_t = settings::DEFAULT_PARALLEL_IMAGES,
          value_name = settings::PARALLEL_IMAGES.unit,
          value_parser = integer_parser::<usize>(settings::PARALLEL_IMAGES))]
    parallel_images: usize,
    /// Predictions that are kept, so that no task is computed twice
    #[arg(long, default_value_t = settings::DEFAULT_KEPT_MB, value_name = settings::KEPT_MB.unit,
          value_parser = integer_parser::<u64>(settings::KEPT_MB))]
    kept_mb: u64,
    /// Largest request: Label Studio sends tasks with all their annotations and predictions
    #[arg(long, default_value_t = settings::DEFAULT_BACKEND_BODY_MB,
          value_name = settings::MAX_BODY_MB.unit,
          value_parser = integer_parser::<u64>(settings::MAX_BODY_MB))]
    max_body_mb: u64,
    /// Address that gets a POST when somebody presses "Start training" in Label Studio
    #[arg(long, env = "MASKMAKER_RETRAIN_URL", value_name = "URL")]
    retrain_url: Option<Url>,
    /// Leave out the line that is logged for every request
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    inference: InferenceArgs,
}

impl BackendArgs {
    fn into_command(self, root: &MlRoot) -> BackendCommand {
        BackendCommand {
            connection: self.connection.into_connection(),
            model: self.model.unwrap_or_else(|| root.model_folder()),
            engine: self.inference.to_options(),
            regions: self.regions.to_options(),
            max_image_bytes: megabytes_to_bytes(self.regions.max_image_mb),
            max_pixels: self.inference.max_pixels,
            settings: BackendSettings {
                host: self.host,
                port: self.port,
                auth: None,
                control: self.regions.control,
                max_round: Duration::from_secs(self.max_round),
                parallel_images: self.parallel_images,
                max_body_bytes: megabytes_to_bytes(self.max_body_mb) as usize,
                max_kept_bytes: megabytes_to_bytes(self.kept_mb) as usize,
                drain_timeout: Duration::from_secs(settings::DEFAULT_DRAIN_TIMEOUT_S),
                retrain_url: self.retrain_url,
                log_requests: !self.quiet,
            },
        }
    }
}

impl PushArgs {
    fn into_command(self, root: &MlRoot) -> PushCommand {
        PushCommand {
            connection: self.connection.into_connection(),
            model: self.model.unwrap_or_else(|| root.model_folder()),
            engine: self.inference.to_options(),
            regions: self.regions.to_options(),
            max_image_bytes: megabytes_to_bytes(self.regions.max_image_mb),
            max_pixels: self.inference.max_pixels,
            options: PushOptions {
                project_id: self.project,
                all_tasks: self.all_tasks,
                control: self.regions.control,
                batch_tasks: self.batch_tasks,
                parallel_images: self.parallel_images,
            },
            state: self.state,
        }
    }
}

fn parse_tolerance(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(pixels) if (0.0..=100.0).contains(&pixels) => Ok(pixels),
        _ => Err("give pixels, 0 to 100".to_owned()),
    }
}
