//! The command line: subcommands, flags, their variables and the exit codes.

// Comments on flags are the help that people read, without Markdown.
#![allow(clippy::doc_markdown)]

use std::env;
use std::ffi::OsString;
use std::net::IpAddr;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::annotations::split::Split;
use crate::commands::augment_preview::Wanted;
use crate::commands::{self, export};
use crate::console::{note, say};
use crate::data::synthetic::SampleData;
use crate::error::{Error, Result};
use crate::imaging::Limits;
use crate::inference::{Options, Precision};
use crate::model::size::MAX_SIDE;
use crate::preprocess::{self, Format as AnnotationFormat, Several};
use crate::sagemaker::{MlRoot, failure, hyperparameters};
use crate::serve::Settings;

/// The version and the git revision that the program was built from.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("MASKMAKER_REVISION"), ")");

/// Train, evaluate and serve semantic-segmentation models by SageMaker's container contract.
#[derive(Debug, Parser)]
#[command(name = "maskmaker", version = VERSION, arg_required_else_help = true)]
struct Cli {
    /// The folder that SageMaker calls /opt/ml
    #[arg(
        long,
        global = true,
        env = "MASKMAKER_ML_ROOT",
        default_value = "/opt/ml",
        value_name = "DIR"
    )]
    ml_root: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train on the channels under the root and write the model
    Train(Train),
    /// Serve the model under the root: GET /ping, POST /invocations
    Serve(Serve),
    /// Write masks and overlays of images
    Predict(Predict),
    /// Make masks of annotations, and channels to train on
    Preprocess(Preprocess),
    /// Draw what the network will see of the training images
    AugmentPreview(AugmentPreview),
    /// Write a model as TorchScript or ONNX, for other programs
    Export(Export),
    /// Write a small data set for trying things
    SampleData(Sample),
    /// Print every hyperparameter of train with its range and default
    Hyperparameters {
        /// A page for people, or a JSON schema for editors and checkers
        #[arg(long, default_value = "markdown")]
        format: Format,
    },
}

#[derive(Debug, Args)]
struct Train {
    /// Weights for use_pretrained_model, before the channel `pretrained` and those of the image: a
    /// .pth or .safetensors file, or a folder with one named after the backbone; a path, or
    /// s3://BUCKET/KEY, s3://BUCKET/PREFIX/
    #[arg(long, env = "MASKMAKER_PRETRAINED", value_name = "PATH")]
    pretrained: Option<OsString>,
    /// Longest time that a channel in Pipe mode may bring nothing
    #[arg(long, env = "MASKMAKER_PIPE_TIMEOUT", default_value_t = 600, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=432_000))]
    pipe_timeout: u64,
    /// Space for objects that a manifest names by s3:// URIs; those without room are fetched anew in
    /// each epoch [default: all of the temporary folder's disk but 4 GiB]
    #[arg(long, env = "MASKMAKER_S3_CACHE_SIZE", value_name = "MB",
          value_parser = clap::value_parser!(u64).range(0..=1_000_000_000))]
    s3_cache_size: Option<u64>,
    /// Longest time that S3 may bring nothing, after which it is asked again
    #[arg(long, env = "MASKMAKER_S3_TIMEOUT", default_value_t = 60, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    s3_timeout: u64,
}

impl Train {
    fn options(self) -> commands::train::Options {
        commands::train::Options {
            // An empty variable is as good as none.
            pretrained: self.pretrained.filter(|path| !path.is_empty()).map(PathBuf::from),
            pipe_timeout: Duration::from_secs(self.pipe_timeout),
            s3_cache_size: self.s3_cache_size.map(|megabytes| megabytes << 20),
            s3_timeout: Duration::from_secs(self.s3_timeout),
        }
    }
}

/// How hyperparameters are described.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Markdown,
    Schema,
}

/// How images are computed, alike in predict and serve.
#[derive(Debug, Args)]
struct Inference {
    /// Arithmetic of the network
    #[arg(long, env = "MASKMAKER_PRECISION", default_value = "fp32")]
    precision: Precision,
    /// Scale images with a longer side down to this many pixels, and their masks back
    #[arg(long, env = "MASKMAKER_MAX_SIDE", default_value_t = MAX_SIDE, value_name = "PIXELS",
          value_parser = clap::value_parser!(u32).range(32..=16384))]
    max_side: u32,
    /// Refuse images with more pixels
    #[arg(long, env = "MASKMAKER_MAX_PIXELS", default_value_t = 64_000_000, value_name = "PIXELS",
          value_parser = clap::value_parser!(u64).range(1..=4_000_000_000))]
    max_pixels: u64,
}

impl Inference {
    fn options(&self) -> Options {
        Options { precision: self.precision, max_side: self.max_side }
    }
}

#[derive(Debug, Args)]
struct Serve {
    /// Address to listen on
    #[arg(long, env = "MASKMAKER_HOST", default_value = "0.0.0.0")]
    host: IpAddr,
    /// Port to listen on, 0 for any free one [default: SAGEMAKER_BIND_TO_PORT, else 8080]
    #[arg(long, env = "MASKMAKER_PORT")]
    port: Option<u16>,
    #[arg(long, env = "SAGEMAKER_BIND_TO_PORT", hide = true, id = "bind-to-port")]
    bind_to_port: Option<u16>,
    #[arg(long, env = "SAGEMAKER_MULTI_MODEL", hide = true)]
    multi_model: Option<String>,
    /// Largest request body
    #[arg(long, env = "MASKMAKER_MAX_BODY_MB", default_value_t = 100, value_name = "MB",
          value_parser = clap::value_parser!(u32).range(1..=2048))]
    max_body_mb: u32,
    /// Requests that are worked on or wait; further ones are answered 503
    #[arg(long, env = "MASKMAKER_QUEUE_DEPTH", default_value_t = 64, value_name = "REQUESTS",
          value_parser = clap::value_parser!(u32).range(1..=65536))]
    queue_depth: u32,
    /// Seconds that requests in flight may take after SIGTERM
    #[arg(long, env = "MASKMAKER_DRAIN_TIMEOUT", default_value_t = 25, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    drain_timeout: u64,
    #[command(flatten)]
    inference: Inference,
}

impl Serve {
    /// The image's label lets SageMaker start multi-model endpoints; better told here than by a
    /// `/ping` that waits for a model in the wrong folder.
    fn check(&self) -> Result<()> {
        match &self.multi_model {
            Some(value) if value.eq_ignore_ascii_case("true") => Err(Error::input(
                "SAGEMAKER_MULTI_MODEL is true, but this version serves one model per endpoint; \
                 create the SageMaker model with Mode SingleModel",
            )),
            _ => Ok(()),
        }
    }

    fn settings(&self) -> Settings {
        let defaults = Settings::default();
        Settings {
            host: self.host,
            port: self.port.or(self.bind_to_port).unwrap_or(defaults.port),
            max_body_bytes: (self.max_body_mb as usize) << 20,
            max_pixels: self.inference.max_pixels,
            queue_depth: self.queue_depth as usize,
            drain_timeout: Duration::from_secs(self.drain_timeout),
            ..defaults
        }
    }
}

#[derive(Debug, Args)]
struct Predict {
    /// Folder of the model: model.safetensors and config.json
    model: PathBuf,
    /// JPEG or PNG files
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// Folder for NAME.mask.png and NAME.overlay.png [default: beside each image]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    #[command(flatten)]
    inference: Inference,
}

#[derive(Debug, Args)]
struct Preprocess {
    /// Folder of annotations: Label Studio's objects and exports, COCO, Ground Truth's manifests and
    /// masks, or masks [default: processing/input/annotations below the root]
    #[arg(long, value_name = "DIR")]
    annotations: Option<PathBuf>,
    /// Folder of images [default: processing/input/images below the root]
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// Folder that gets train, train_annotation, validation, validation_annotation, label_map and the
    /// report [default: processing/output below the root]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// The labelling configuration (XML), a project's JSON that holds it, or a labels.json: which
    /// class has which number
    #[arg(long, value_name = "FILE")]
    label_config: Option<PathBuf>,
    /// Percent of the images for validation; which ones is decided by their names
    #[arg(long, default_value = "20", value_name = "PERCENT", value_parser = commands::preprocess::percent)]
    train_test_split_ratio: f64,
    /// Percent of the images to keep for a test, in test and test_annotation
    #[arg(long, default_value = "0", value_name = "PERCENT", value_parser = commands::preprocess::percent)]
    test_ratio: f64,
    /// Another seed gives another split
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// What to do with several annotations of one image
    #[arg(long, default_value = "ground-truth")]
    several: Several,
    /// Leave out images on which nothing was drawn; else they are background
    #[arg(long)]
    skip_empty: bool,
    /// Labels that are painted over all others, the topmost first; else later regions cover earlier ones
    #[arg(long, value_delimiter = ',', value_name = "LABELS")]
    priority: Vec<String>,
    /// Labels whose regions are ignored (255)
    #[arg(long, value_delimiter = ',', value_name = "LABELS")]
    ignore: Vec<String>,
    /// Take only annotations of this format [default: the one that is there]
    #[arg(long)]
    format: Option<AnnotationFormat>,
    /// The attribute of Ground Truth's manifests with the masks, where a line has several
    #[arg(long, value_name = "NAME")]
    attribute: Option<String>,
    /// Fail if anything cannot be used, instead of leaving it out and reporting it
    #[arg(long)]
    strict: bool,
    /// Copy images also where a hard link would do
    #[arg(long)]
    copy: bool,
    /// Refuse images with more pixels
    #[arg(long, default_value_t = 64_000_000, value_name = "PIXELS",
          value_parser = clap::value_parser!(u64).range(1..=4_000_000_000))]
    max_pixels: u64,
}

impl Preprocess {
    fn settings(self, root: &MlRoot) -> preprocess::Settings {
        preprocess::Settings {
            annotations: self.annotations.unwrap_or_else(|| root.processing_input("annotations")),
            images: self.images.unwrap_or_else(|| root.processing_input("images")),
            output: self.output.unwrap_or_else(|| root.processing_output()),
            label_config: self.label_config,
            format: self.format,
            attribute: self.attribute,
            split: Split {
                validation: self.train_test_split_ratio,
                test: self.test_ratio,
                seed: self.seed,
            },
            several: self.several,
            skip_empty: self.skip_empty,
            ignore: self.ignore,
            priority: self.priority,
            strict: self.strict,
            copy: self.copy,
            limits: Limits { max_pixels: self.max_pixels },
            host: None,
        }
    }
}

#[derive(Debug, Args)]
struct AugmentPreview {
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
struct Export {
    /// Folder of the model: model.safetensors and config.json
    model: PathBuf,
    /// What to write
    #[arg(long)]
    format: export::Format,
    /// The file to write [default: model.pt or model.onnx in the model's folder]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Sample {
    /// Folder that gets train, train_annotation, validation and validation_annotation
    folder: PathBuf,
    /// Images all in all; a quarter of them is validation
    #[arg(long, default_value_t = 200)]
    images: u32,
    /// Pixels of the longer side
    #[arg(long, default_value_t = 256)]
    size: u32,
    /// Another seed gives other images
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Runs the program; the exit code says whose fault a failure is (design: 18).
pub fn main() -> ExitCode {
    let cli = Cli::parse_from(arguments(env::args_os()));
    let root = MlRoot::new(&cli.ml_root);
    let is_training = matches!(cli.command, Command::Train(_));
    let bug = note_panics();
    let result = panic::catch_unwind(panic::AssertUnwindSafe(|| dispatch(cli.command, &root)));
    let result = result.unwrap_or_else(|_| {
        let error = Error::internal(bug.lock().map(|text| text.clone()).unwrap_or_default());
        if is_training {
            // The command itself could not write it any more.
            let _ = failure::write(&root, &error);
        }
        Err(error)
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(format_args!("error: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

/// Called as `train` or `serve` (links in the image, for jobs that name no other entry point), the
/// name is the subcommand.
fn arguments(given: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<_> = given.collect();
    let name = arguments.first().and_then(|program| Path::new(program).file_name());
    if let Some(name) = name.filter(|name| *name == "train" || *name == "serve") {
        let subcommand = name.to_owned();
        arguments.splice(..1, ["maskmaker".into(), subcommand]);
    }
    arguments
}

/// A panic is a bug of ours. Its place and message become an error like any other, and no backtrace
/// reaches a user. One on another thread is also said at once, because that thread's owner may only
/// learn that it ended.
fn note_panics() -> Arc<Mutex<String>> {
    let noted = Arc::new(Mutex::new(String::new()));
    let last = noted.clone();
    panic::set_hook(Box::new(move |info| {
        let text = format!("a bug in maskmaker, please report it: {info}");
        if std::thread::current().name() != Some("main") {
            note(&text);
        }
        if let Ok(mut last) = last.lock() {
            *last = text;
        }
    }));
    noted
}

fn dispatch(command: Command, root: &MlRoot) -> Result<()> {
    match command {
        Command::Train(train) => commands::train::run(root, &train.options()),
        Command::Serve(serve) => {
            serve.check()?;
            commands::serve::run(root, &serve.settings(), serve.inference.options())
        }
        Command::Predict(predict) => {
            let Predict { model, images, output, inference } = predict;
            let limits = Limits { max_pixels: inference.max_pixels };
            commands::predict::run(&model, &images, output.as_deref(), limits, inference.options())
        }
        Command::Preprocess(preprocess) => {
            let settings = commands::preprocess::check(preprocess.settings(root))?;
            commands::preprocess::run(root, settings)
        }
        Command::AugmentPreview(preview) => {
            let AugmentPreview { output, samples, epochs, augmentations, plain } = preview;
            let wanted = Wanted { samples: samples as usize, epochs, augmentations, plain };
            commands::augment_preview::run(root, output, &wanted)
        }
        Command::Export(Export { model, format, output }) => {
            export::run(&model, format, output.as_deref())
        }
        Command::SampleData(Sample { folder, images, size, seed }) => {
            commands::sample_data::run(&folder, &SampleData { images, size, seed })
        }
        Command::Hyperparameters { format } => {
            let describe = match format {
                Format::Markdown => hyperparameters::markdown,
                Format::Schema => hyperparameters::schema,
            };
            say(describe().trim_end());
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
            let given = words.iter().map(OsString::from);
            Cli::parse_from(arguments(given)).command
        };
        assert!(matches!(parsed(&["/usr/local/bin/train"]), Command::Train(_)));
        assert!(matches!(parsed(&["serve", "--port", "0"]), Command::Serve(_)));
        assert!(matches!(parsed(&["/usr/local/bin/maskmaker", "train"]), Command::Train(_)));
    }

    #[test]
    fn the_port_is_ours_then_sagemakers_then_8080() {
        let port = |arguments: &[&str]| match Cli::parse_from(arguments).command {
            Command::Serve(serve) => serve.settings().port,
            other => panic!("{other:?}"),
        };
        assert_eq!(port(&["maskmaker", "serve"]), 8080);
        assert_eq!(port(&["maskmaker", "serve", "--bind-to-port", "9000"]), 9000);
        assert_eq!(port(&["maskmaker", "serve", "--bind-to-port", "9000", "--port", "0"]), 0);
    }
}
