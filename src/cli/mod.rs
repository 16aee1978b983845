//! The command line: subcommands, flags, their environment variables and the exit codes.

// clap prints the comments on flags as help texts, so they hold no Markdown.
#![allow(clippy::doc_markdown)]

mod evaluate;
mod fetch;
mod label_studio;
mod pipeline;
mod preprocess;
mod registry;
mod search;
mod serve;
mod settings_table;
mod variables;

use std::env;
use std::ffi::{OsStr, OsString};
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use self::evaluate::EvaluateArgs;
use self::fetch::FetchArgs;
use self::label_studio::LabelStudioCommand;
use self::pipeline::PipelineCommand;
use self::preprocess::PreprocessArgs;
use self::registry::RegistryCommand;
use self::search::SearchArgs;
use self::serve::ServeArgs;
pub use self::settings_table::settings_markdown;
use self::variables::{CommandLine, parse_command_line};
use crate::commands::augment_preview::PreviewOptions;
use crate::commands::{self, export};
use crate::console::{print_stderr, print_stdout};
use crate::data::synthetic::SampleData;
use crate::error::{Error, Result};
use crate::imaging::DecodeLimits;
use crate::inference::{EngineOptions, InferencePrecision};
use crate::parent_process::end_with_parent;
use crate::sagemaker::{MlRoot, StopSignal, failure};
use crate::settings::{self, IntegerSetting, VERSION};
use crate::torch::{self, DeviceChoice};
use crate::train::hyperparameters;

/// Exit code of clap for flags that cannot be used, which stands for variables as well.
const USAGE_EXIT_CODE: u8 = 2;

/// Exit code by which the parent of a worker knows that no other worker's end is the reason.
const PANIC_EXIT_CODE: u8 = 101;

/// Train, evaluate and serve semantic-segmentation models by SageMaker's container contract.
#[derive(Debug, Parser)]
#[command(name = "maskmaker", version = VERSION, arg_required_else_help = true)]
struct Cli {
    /// The folder that SageMaker calls /opt/ml
    #[arg(
        long,
        global = true,
        env = "MASKMAKER_ML_ROOT",
        default_value = settings::DEFAULT_ML_ROOT,
        value_name = "DIR"
    )]
    ml_root: PathBuf,
    /// Process that started this one, with which it ends; `pipeline run` gives it
    #[arg(long, hide = true, value_name = "PID")]
    parent_process: Option<i32>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train on the channels under the root and write the model
    Train(TrainArgs),
    /// Serve the model under the root: a page at /, POST /invocations, GET /ping
    Serve(ServeArgs),
    /// Write masks and overlays of images
    Predict(PredictArgs),
    /// Fetch annotations and images of Label Studio, S3 and the web, for preprocess
    Fetch(FetchArgs),
    /// Make masks of annotations, and channels to train on
    Preprocess(PreprocessArgs),
    /// Score a model on a test set, compare it with another, and decide if it may go live
    Evaluate(EvaluateArgs),
    /// Search for good hyperparameters by training with many of them
    Search(SearchArgs),
    /// Check, render, show and run definitions of pipelines
    #[command(subcommand)]
    Pipeline(PipelineCommand),
    /// Give annotators a model's predictions in Label Studio
    #[command(subcommand)]
    LabelStudio(LabelStudioCommand),
    /// List, show, approve and reject models in a registry
    #[command(subcommand)]
    Registry(RegistryCommand),
    /// Draw what the network will see of the training images
    AugmentPreview(AugmentPreviewArgs),
    /// Write a model as TorchScript or ONNX, for other programs
    Export(ExportArgs),
    /// Write a small data set for trying things
    SampleData(SampleDataArgs),
    /// Look at GPUs, libraries, folders, hosts and credentials, and say what to mend
    Doctor(DoctorArgs),
    /// Print every hyperparameter of train with its range and default
    Hyperparameters {
        /// A page for people, or a JSON schema for editors and checkers
        #[arg(long, default_value = "markdown")]
        format: HyperparametersFormat,
    },
}

impl Command {
    /// Returns the file to which the reason of a failure is written; only `train` has one.
    fn failure_file(&self, root: &MlRoot) -> Option<PathBuf> {
        match self {
            Self::Train(train) => {
                Some(commands::train::failure_file(root, train.worker.as_deref()))
            }
            _ => None,
        }
    }
}

/// Returns the bytes of so many MB of 2^20 bytes.
fn megabytes_to_bytes(megabytes: u64) -> u64 {
    megabytes << 20
}

/// Returns a parser of whole numbers in the setting's range.
fn integer_parser<T>(
    setting: IntegerSetting,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: TryFrom<i64> + Clone + Send + Sync + 'static,
{
    move |text: &str| {
        let (min, max) = (i64::from(setting.min), i64::from(setting.max));
        let number: Option<i64> = text.parse().ok().filter(|number| (min..=max).contains(number));
        let value = number.and_then(|number| T::try_from(number).ok());
        value.ok_or_else(|| format!("give a whole number, {min} to {max}"))
    }
}

/// The device to compute on.
#[derive(Debug, Clone, Copy, Args)]
struct DeviceArgs {
    /// auto: GPUs where they can be used; cpu: the processor; cuda: GPUs or an error; cuda:N: GPU N of
    /// those that CUDA_VISIBLE_DEVICES shows, from 0. train uses all GPUs, the others one
    #[arg(long, env = "MASKMAKER_DEVICE", default_value_t, value_name = "DEVICE")]
    device: DeviceChoice,
}

/// Where the hosts of a job find each other.
#[derive(Debug, Clone, Copy, Args)]
struct RendezvousArgs {
    /// Port on the first host by which the hosts of a job find each other
    #[arg(long, env = "MASKMAKER_RENDEZVOUS_PORT",
          default_value_t = settings::DEFAULT_RENDEZVOUS_PORT,
          value_name = settings::RENDEZVOUS_PORT.unit,
          value_parser = integer_parser::<u16>(settings::RENDEZVOUS_PORT))]
    rendezvous_port: u16,
}

#[derive(Debug, Args)]
struct TrainArgs {
    /// Weights for use_pretrained_model, before the channel `pretrained` and those of the image: a
    /// .pth or .safetensors file, or a folder with one named after the backbone; a path, or
    /// s3://BUCKET/KEY, s3://BUCKET/PREFIX/
    #[arg(long, env = "MASKMAKER_PRETRAINED", value_name = "PATH")]
    pretrained: Option<PathBuf>,
    /// Longest time that a channel in Pipe mode may bring nothing
    #[arg(long, env = "MASKMAKER_PIPE_TIMEOUT", default_value_t = settings::DEFAULT_PIPE_TIMEOUT_S,
          value_name = settings::PIPE_TIMEOUT.unit,
          value_parser = integer_parser::<u64>(settings::PIPE_TIMEOUT))]
    pipe_timeout: u64,
    /// Space for objects that a manifest names by s3:// URIs; those without room are fetched anew
    /// in each epoch [default: all of the temporary folder's disk but 4 GiB]
    #[arg(long, env = "MASKMAKER_S3_CACHE_SIZE", value_name = settings::S3_CACHE_SIZE.unit,
          value_parser = integer_parser::<u64>(settings::S3_CACHE_SIZE))]
    s3_cache_size: Option<u64>,
    /// Longest time that S3 may bring nothing, after which it is asked again
    #[arg(long, env = "MASKMAKER_S3_TIMEOUT", default_value_t = settings::DEFAULT_S3_TIMEOUT_S,
          value_name = settings::S3_TIMEOUT.unit,
          value_parser = integer_parser::<u64>(settings::S3_TIMEOUT))]
    s3_timeout: u64,
    #[command(flatten)]
    device: DeviceArgs,
    /// Worker processes on a host without GPUs, which share each batch
    #[arg(long, env = "MASKMAKER_WORKERS", default_value_t = 1,
          value_name = settings::WORKERS.unit,
          value_parser = integer_parser::<u16>(settings::WORKERS))]
    workers: u16,
    #[command(flatten)]
    rendezvous: RendezvousArgs,
    /// Longest time until all hosts of a job are there
    #[arg(long, env = "MASKMAKER_RENDEZVOUS_TIMEOUT",
          default_value_t = settings::DEFAULT_RENDEZVOUS_TIMEOUT_S,
          value_name = settings::RENDEZVOUS_TIMEOUT.unit,
          value_parser = integer_parser::<u64>(settings::RENDEZVOUS_TIMEOUT))]
    rendezvous_timeout: u64,
    /// Longest time in which no worker of a job makes a step, after which the job is given up
    #[arg(long, env = "MASKMAKER_STALL_TIMEOUT",
          default_value_t = settings::DEFAULT_STALL_TIMEOUT_S,
          value_name = settings::STALL_TIMEOUT.unit,
          value_parser = integer_parser::<u64>(settings::STALL_TIMEOUT))]
    stall_timeout: u64,
    /// File that makes this process one of the workers of a job; the parent process gives it
    #[arg(long, hide = true, value_name = "FILE")]
    worker: Option<PathBuf>,
}

impl TrainArgs {
    /// Returns the device of this process. A worker sees the GPU alone that its parent gives it.
    fn device(&self) -> DeviceChoice {
        match self.device.device {
            DeviceChoice::Cuda(Some(_)) if self.worker.is_some() => DeviceChoice::Cuda(None),
            choice => choice,
        }
    }

    fn into_options(self) -> commands::train::TrainOptions {
        commands::train::TrainOptions {
            device: self.device(),
            cluster: commands::train::ClusterOptions {
                workers: usize::from(self.workers),
                rendezvous_port: self.rendezvous.rendezvous_port,
                rendezvous_timeout: Duration::from_secs(self.rendezvous_timeout),
                stall_timeout: Duration::from_secs(self.stall_timeout),
            },
            pretrained: self.pretrained,
            worker: self.worker,
            pipe_timeout: Duration::from_secs(self.pipe_timeout),
            s3_cache_bytes: self.s3_cache_size.map(megabytes_to_bytes),
            s3_timeout: Duration::from_secs(self.s3_timeout),
        }
    }
}

/// Form of the description of hyperparameters.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum HyperparametersFormat {
    Markdown,
    Schema,
}

/// Flags of the network's computation, the same in predict, serve and evaluate.
#[derive(Debug, Args)]
struct NetworkArgs {
    #[command(flatten)]
    device: DeviceArgs,
    /// Arithmetic of the network
    #[arg(long, env = "MASKMAKER_PRECISION", value_enum, default_value_t)]
    precision: InferencePrecision,
    /// Scale images with a longer side down to this many pixels, and their masks back
    #[arg(long, env = "MASKMAKER_MAX_SIDE", default_value_t = settings::DEFAULT_MAX_SIDE_PX,
          value_name = settings::MAX_SIDE.unit,
          value_parser = integer_parser::<u32>(settings::MAX_SIDE))]
    max_side: u32,
    /// Threads of the network's layers [default: one per core]
    #[arg(long, env = "MASKMAKER_THREADS", value_name = settings::THREADS.unit,
          value_parser = integer_parser::<u16>(settings::THREADS))]
    threads: Option<u16>,
}

/// Flags of the network's computation on images that users send, the same in predict and serve.
#[derive(Debug, Args)]
struct InferenceArgs {
    #[command(flatten)]
    network: NetworkArgs,
    /// Side of the tiles that larger images are computed in where that is asked for
    #[arg(long, env = "MASKMAKER_TILE_SIDE", default_value_t = settings::DEFAULT_TILE_SIDE_PX,
          value_name = settings::TILE_SIDE.unit,
          value_parser = integer_parser::<u32>(settings::TILE_SIDE))]
    tile_side: u32,
    /// Refuse images with more pixels
    #[arg(long, env = "MASKMAKER_MAX_PIXELS", default_value_t = settings::DEFAULT_MAX_PIXELS,
          value_name = settings::MAX_PIXELS.unit,
          value_parser = integer_parser::<u64>(settings::MAX_PIXELS))]
    max_pixels: u64,
}

impl NetworkArgs {
    fn to_options(&self) -> EngineOptions {
        EngineOptions {
            precision: self.precision,
            max_side: self.max_side,
            tile_side: settings::DEFAULT_TILE_SIDE_PX,
            threads: self.threads.map(usize::from),
        }
    }
}

impl InferenceArgs {
    fn to_options(&self) -> EngineOptions {
        EngineOptions { tile_side: self.tile_side, ..self.network.to_options() }
    }
}

#[derive(Debug, Args)]
struct PredictArgs {
    /// Folder of the model: model.safetensors and config.json
    model: PathBuf,
    /// JPEG, PNG, WebP, TIFF or BMP files
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// Folder for NAME.mask.png and NAME.overlay.png [default: beside each image]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    #[command(flatten)]
    inference: InferenceArgs,
}

#[derive(Debug, Args)]
struct AugmentPreviewArgs {
    /// The PNG to write [default: output/data/augment-preview.png below the root]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Training images, spread over all of them
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=20))]
    samples: u32,
    /// Crops of each: those of the first epochs
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=10))]
    epochs: u32,
    /// In place of the hyperparameter, to try others
    #[arg(long, value_name = "LIST")]
    augmentations: Option<String>,
    /// Leave out the classes that are painted over the pictures
    #[arg(long)]
    plain: bool,
}

#[derive(Debug, Args)]
struct ExportArgs {
    /// Folder of the model: model.safetensors and config.json
    model: PathBuf,
    /// What to write
    #[arg(long)]
    format: export::ExportFormat,
    /// The file to write [default: model.pt or model.onnx in the model's folder]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct DoctorArgs {
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    rendezvous: RendezvousArgs,
    /// Print the findings as JSON, for programs
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct SampleDataArgs {
    /// Folder that gets train, train_annotation, validation and validation_annotation, or with
    /// --annotations images, annotations and label_config.xml
    folder: PathBuf,
    /// Images all in all; a quarter of them is validation, except with --annotations
    #[arg(long, default_value_t = 200)]
    images: u32,
    /// Pixels of the longer side
    #[arg(long, default_value_t = 256)]
    size: u32,
    /// Another seed gives other images
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Write images and an export of Label Studio, for preprocess and pipeline.json, and no channels
    #[arg(long)]
    annotations: bool,
}

/// Runs the program and ends the process with an exit code of `docs/architecture.md#exit-codes`.
/// The process ends without the destructors of libtorch.
pub fn main() -> ! {
    // This comes first: it may start the program again.
    torch::use_newer_driver_libraries();
    torch::set_library_variables();
    let arguments = arguments_with_subcommand(env::args_os());
    let CommandLine { cli, problems } = match parse_command_line(&arguments) {
        Ok(command_line) => command_line,
        Err(error) => error.exit(),
    };
    let root = MlRoot::new(&cli.ml_root);
    let failure_file = cli.command.failure_file(&root);
    let is_worker = matches!(&cli.command, Command::Train(train) if train.worker.is_some());
    let panic_message = record_panics();
    if let Err(error) = problems.into_result() {
        if let Some(file) = &failure_file {
            // The command, which would write the failure file, does not begin.
            let _ = failure::write_failure_reason(file, &error);
        }
        print_stderr(format_args!("error: {error}"));
        torch::exit_process(USAGE_EXIT_CODE);
    }
    // Workers have the arguments of their parent, and watch it themselves.
    let parent_process = cli.parent_process.filter(|_| !is_worker);
    let is_training = matches!(cli.command, Command::Train(_));
    let result = panic::catch_unwind(panic::AssertUnwindSafe(|| {
        let Some(parent) = parent_process else { return run_command(cli.command, &root) };
        end_with_parent(parent)?;
        let stop = if is_training { StopSignal::listen()? } else { StopSignal::default() };
        run_command(cli.command, &root)?;
        if stop.is_requested() {
            // A stopped training leaves a model, which is not the one that the pipeline asked for.
            torch::exit_process(settings::STOPPED_EXIT_CODE as u8);
        }
        Ok(())
    }));
    let has_panicked = result.is_err();
    let error = match result {
        Ok(Ok(())) => torch::exit_process(0),
        Ok(Err(error)) => error,
        Err(_) => {
            let error = Error::internal(read_message(&panic_message));
            if let Some(file) = &failure_file {
                // The panic ended the command before the command could write the failure file.
                let _ = failure::write_failure_reason(file, &error);
            }
            error
        }
    };
    if is_worker {
        // The parent tells the error, with rank and host.
        torch::exit_process(if has_panicked { PANIC_EXIT_CODE } else { error.exit_code() });
    }
    print_stderr(format_args!("error: {error}"));
    torch::exit_process(error.exit_code())
}

/// Returns the arguments with the program's name as the subcommand if that name is `train` or
/// `serve`. The image holds links of these names, for jobs that set an entry point of their own.
fn arguments_with_subcommand(raw_arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<_> = raw_arguments.collect();
    let Some(program) = arguments.first() else { return arguments };
    for subcommand in ["train", "serve"] {
        if Path::new(program).file_name() == Some(OsStr::new(subcommand)) {
            arguments.splice(..1, ["maskmaker".into(), subcommand.into()]);
            break;
        }
    }
    arguments
}

/// Installs a panic hook that stores the place and message of the last panic, and returns the
/// store. A panic is a bug of this program: `main` makes it an error like any other, and prints no
/// backtrace. The hook also prints a panic of another thread at once, because the owner of that
/// thread may only see that the thread ended.
fn record_panics() -> Arc<Mutex<String>> {
    let last_message = Arc::new(Mutex::new(String::new()));
    let hook_message = last_message.clone();
    panic::set_hook(Box::new(move |panic_info| {
        let message = format!("a bug in maskmaker, please report it: {panic_info}");
        if std::thread::current().name() != Some("main") {
            print_stderr(&message);
        }
        if let Ok(mut stored) = hook_message.lock() {
            *stored = message;
        }
    }));
    last_message
}

/// Returns the message of the last panic, or an empty text if a panic ended the store itself.
fn read_message(stored: &Mutex<String>) -> String {
    match stored.lock() {
        Ok(message) => message.clone(),
        Err(_) => String::new(),
    }
}

fn run_command(command: Command, root: &MlRoot) -> Result<()> {
    match command {
        Command::Train(train) => commands::train::run_train(root, &train.into_options()),
        Command::Serve(serve) => {
            torch::choose_device(serve.inference.network.device.device)?;
            let options = serve.inference.to_options();
            commands::serve::run_serve(
                &serve.to_settings(root),
                options,
                serve.allows_s3_references(),
            )
        }
        Command::Predict(predict) => {
            let PredictArgs { model, images, output, inference } = predict;
            torch::choose_device(inference.network.device.device)?;
            let limits = DecodeLimits { max_pixels: inference.max_pixels };
            commands::predict::run_predict(
                &model,
                &images,
                output.as_deref(),
                limits,
                inference.to_options(),
            )
        }
        Command::Fetch(fetch) => fetch.run(root),
        Command::Preprocess(preprocess) => {
            let settings = preprocess.into_settings(root);
            commands::preprocess::check_split_shares(settings.split)?;
            commands::preprocess::run_preprocess(root, settings)
        }
        Command::Evaluate(evaluate) => {
            torch::choose_device(evaluate.network.device.device)?;
            commands::evaluate::run_evaluate(root, &evaluate.into_options(root))
        }
        Command::Pipeline(command) => command.run(),
        Command::LabelStudio(command) => command.run(root),
        Command::Registry(command) => command.run(),
        Command::Search(search) => search.run(root),
        Command::AugmentPreview(preview) => {
            let AugmentPreviewArgs { output, samples, epochs, augmentations, plain } = preview;
            let options = PreviewOptions {
                samples: samples as usize,
                epochs,
                augmentations,
                without_classes: plain,
            };
            commands::augment_preview::run_augment_preview(root, output, &options)
        }
        Command::Export(ExportArgs { model, format, output }) => {
            export::run_export(&model, format, output.as_deref())
        }
        Command::SampleData(SampleDataArgs { folder, images, size, seed, annotations }) => {
            let data = SampleData { images, size, seed };
            if annotations {
                commands::sample_data::write_sample_annotations(&folder, &data)
            } else {
                commands::sample_data::write_sample_data(&folder, &data)
            }
        }
        Command::Doctor(DoctorArgs { device, rendezvous, json }) => {
            torch::choose_device(device.device)?;
            commands::doctor::run_doctor(root, rendezvous.rendezvous_port, json)
        }
        Command::Hyperparameters { format } => {
            let render_help = match format {
                HyperparametersFormat::Markdown => hyperparameters::hyperparameters_markdown,
                HyperparametersFormat::Schema => hyperparameters::hyperparameters_schema,
            };
            print_stdout(render_help().trim_end());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_name_of_a_link_is_the_subcommand() {
        let parsed = |words: &[&str]| {
            let raw_arguments = words.iter().map(OsString::from);
            Cli::parse_from(arguments_with_subcommand(raw_arguments)).command
        };
        assert!(matches!(parsed(&["/usr/local/bin/train"]), Command::Train(_)));
        assert!(matches!(parsed(&["serve", "--port", "0"]), Command::Serve(_)));
        assert!(matches!(parsed(&["/usr/local/bin/maskmaker", "train"]), Command::Train(_)));
    }
}
