//! Defaults and ranges of the settings on the command line: flags of `train`, `serve`, `predict`,
//! `preprocess` and `evaluate`, and their environment variables.
//!
//! Each number stands here and nowhere else. `src/cli/` gives it to clap, rooms take their defaults
//! from here and check their settings against the ranges, and the tables in `docs/` are made of
//! what clap was given (`src/cli/settings_table.rs`). Names of flags and variables and help texts
//! stand in `src/cli/`. Hyperparameters have a table of their own:
//! `src/train/hyperparameters/specs.rs`.

use std::net::{IpAddr, Ipv4Addr};

/// A setting whose value is a whole number from `min` to `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IntegerSetting {
    /// Name of the setting in messages, and clap's id of the flag.
    pub name: &'static str,
    /// Unit in help texts, or the flag's own name where there is no unit.
    pub unit: &'static str,
    /// Least allowed value.
    pub min: u32,
    /// Largest allowed value.
    pub max: u32,
}

/// Every setting with a range.
pub const INTEGER_SETTINGS: [IntegerSetting; 37] = [
    PIPE_TIMEOUT,
    S3_CACHE_SIZE,
    S3_TIMEOUT,
    WORKERS,
    RENDEZVOUS_PORT,
    RENDEZVOUS_TIMEOUT,
    STALL_TIMEOUT,
    MAX_SIDE,
    TILE_SIDE,
    THREADS,
    MAX_PIXELS,
    MAX_BODY_MB,
    MAX_REPLY_MB,
    MAX_SECONDS,
    MAX_WAIT,
    QUEUE_DEPTH,
    MAX_BATCH,
    MODELS_MB,
    DRAIN_TIMEOUT,
    BOOTSTRAP_DRAWS,
    ROBUSTNESS_IMAGES,
    EXPLAIN,
    OCCLUSION_GRID,
    STATUS_INTERVAL,
    TRIALS,
    PARALLEL_TRIALS,
    REDUCTION_FACTOR,
    MIN_EPOCHS,
    PARALLEL_FILES,
    MAX_FILE_MB,
    MAX_REGIONS,
    MIN_AREA,
    MAX_IMAGE_MB,
    BATCH_TASKS,
    PARALLEL_IMAGES,
    MAX_ROUND,
    KEPT_MB,
];

// All subcommands.

/// Version of the program, with git's revision that it was built from.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("MASKMAKER_REVISION"), ")");

/// Folder of SageMaker's contract, if `--ml-root` does not move it.
pub const DEFAULT_ML_ROOT: &str = "/opt/ml";

/// Exit code of a training job of a local pipeline run that was asked to stop, so that its model so
/// far does not pass for the whole one. SageMaker's jobs end with 0 then.
pub const STOPPED_EXIT_CODE: i32 = 143;

/// Folder of local executions of pipelines.
pub const DEFAULT_LOCAL_ROOT: &str = "maskmaker-local";

/// Folder of the model registry that local executions fill, in [`DEFAULT_LOCAL_ROOT`].
pub const DEFAULT_REGISTRY: &str = "maskmaker-local/registry";

// `pipeline` in SageMaker.

/// Name of a pipeline whose definition is `pipeline.json`.
pub const DEFAULT_PIPELINE: &str = "pipeline";

/// Time between two looks at an execution that is followed.
pub const STATUS_INTERVAL: IntegerSetting =
    IntegerSetting { name: "interval", unit: "SECONDS", min: 1, max: 3600 };
pub const DEFAULT_STATUS_INTERVAL_S: u64 = 10;

// `search`.

/// Trials of a search in all.
pub const TRIALS: IntegerSetting =
    IntegerSetting { name: "trials", unit: "TRIALS", min: 1, max: 9999 };
pub const DEFAULT_TRIALS: u64 = 20;

/// Trials of a search side by side.
pub const PARALLEL_TRIALS: IntegerSetting =
    IntegerSetting { name: "parallel", unit: "TRIALS", min: 1, max: 256 };

/// Metric that is the score of a search.
pub const DEFAULT_SEARCH_METRIC: &str = "validation:mIOU";

/// Inverse of the share of trials that go on at each comparison.
pub const REDUCTION_FACTOR: IntegerSetting =
    IntegerSetting { name: "reduction_factor", unit: "FACTOR", min: 2, max: 100 };
pub const DEFAULT_REDUCTION_FACTOR: u64 = 3;

/// Epochs before the first comparison of trials.
pub const MIN_EPOCHS: IntegerSetting =
    IntegerSetting { name: "min_epochs", unit: "EPOCHS", min: 1, max: 1_000_000 };
pub const DEFAULT_MIN_EPOCHS: u64 = 1;

// `fetch`.

/// Environment variable with the user's token for Label Studio, as its own SDK names it.
pub const LABEL_STUDIO_TOKEN_VARIABLE: &str = "LABEL_STUDIO_API_KEY";

/// Files that are fetched at one time.
pub const PARALLEL_FILES: IntegerSetting =
    IntegerSetting { name: "parallel_files", unit: "FILES", min: 1, max: 256 };
pub const DEFAULT_PARALLEL_FILES: usize = 16;

/// Largest file that is fetched, archives included.
pub const MAX_FILE_MB: IntegerSetting =
    IntegerSetting { name: "max_file_mb", unit: "MB", min: 1, max: 10_000_000 };
pub const DEFAULT_MAX_FILE_MB: u64 = 100_000;

// `label-studio`.

/// Regions of a prediction.
pub const MAX_REGIONS: IntegerSetting =
    IntegerSetting { name: "max_regions", unit: "REGIONS", min: 1, max: 10_000 };
pub const DEFAULT_MAX_REGIONS: usize = 100;

/// Smallest region of a prediction.
pub const MIN_AREA: IntegerSetting =
    IntegerSetting { name: "min_area", unit: "PIXELS", min: 0, max: 1_000_000_000 };
pub const DEFAULT_MIN_AREA_PX: u64 = 0;

/// Error allowed in the outlines of polygons, in pixels.
pub const DEFAULT_POLYGON_TOLERANCE_PX: f64 = 1.0;

/// Largest image of a task.
pub const MAX_IMAGE_MB: IntegerSetting =
    IntegerSetting { name: "max_image_mb", unit: "MB", min: 1, max: 1024 };
pub const DEFAULT_MAX_IMAGE_MB: u64 = 200;

/// Tasks that are computed before the first of them is stored.
pub const BATCH_TASKS: IntegerSetting =
    IntegerSetting { name: "batch_tasks", unit: "TASKS", min: 1, max: 1_000_000 };
pub const DEFAULT_BATCH_TASKS: usize = 500;

/// Images of tasks that are read and computed at one time.
pub const PARALLEL_IMAGES: IntegerSetting =
    IntegerSetting { name: "parallel_images", unit: "IMAGES", min: 1, max: 256 };
pub const DEFAULT_PARALLEL_IMAGES: usize = 8;

/// Port of the ML backend, that of Label Studio's own examples.
pub const DEFAULT_BACKEND_PORT: u16 = 9090;

/// Environment variables with the name and the password that requests to the ML backend must have, as Label
/// Studio's own library names them.
pub const BASIC_AUTH_USER_VARIABLE: &str = "BASIC_AUTH_USER";
pub const BASIC_AUTH_PASSWORD_VARIABLE: &str = "BASIC_AUTH_PASS";

/// Longest time for a round of tasks.
pub const MAX_ROUND: IntegerSetting =
    IntegerSetting { name: "max_round", unit: "SECONDS", min: 1, max: 3600 };
pub const DEFAULT_MAX_ROUND_S: u64 = 60;

/// Predictions that the ML backend keeps.
pub const KEPT_MB: IntegerSetting =
    IntegerSetting { name: "kept_mb", unit: "MB", min: 1, max: 1_000_000 };
pub const DEFAULT_KEPT_MB: u64 = 256;

/// Largest request to the ML backend.
pub const DEFAULT_BACKEND_BODY_MB: u64 = 256;

// `train`.

/// Longest time without a byte from a channel in Pipe mode.
pub const PIPE_TIMEOUT: IntegerSetting =
    IntegerSetting { name: "pipe_timeout", unit: "SECONDS", min: 1, max: 432_000 };
pub const DEFAULT_PIPE_TIMEOUT_S: u64 = 600;

/// Disk space for objects of S3; the default depends on the disk. A MB is 2^20 bytes.
pub const S3_CACHE_SIZE: IntegerSetting =
    IntegerSetting { name: "s3_cache_size", unit: "MB", min: 0, max: 1_000_000_000 };

/// Longest time without a byte from S3.
pub const S3_TIMEOUT: IntegerSetting =
    IntegerSetting { name: "s3_timeout", unit: "SECONDS", min: 1, max: 3600 };
pub const DEFAULT_S3_TIMEOUT_S: u64 = 60;

/// Worker processes of a host without GPUs.
pub const WORKERS: IntegerSetting =
    IntegerSetting { name: "workers", unit: "PROCESSES", min: 1, max: 256 };

/// Port of the store by which several hosts find each other; that of PyTorch's launcher.
pub const RENDEZVOUS_PORT: IntegerSetting =
    IntegerSetting { name: "rendezvous_port", unit: "PORT", min: 1, max: 65_535 };
pub const DEFAULT_RENDEZVOUS_PORT: u16 = 29_400;

/// Longest time until all hosts of a job are there.
pub const RENDEZVOUS_TIMEOUT: IntegerSetting =
    IntegerSetting { name: "rendezvous_timeout", unit: "SECONDS", min: 1, max: 86_400 };
pub const DEFAULT_RENDEZVOUS_TIMEOUT_S: u64 = 900;

/// Longest time without a step of any worker.
pub const STALL_TIMEOUT: IntegerSetting =
    IntegerSetting { name: "stall_timeout", unit: "SECONDS", min: 1, max: 86_400 };
pub const DEFAULT_STALL_TIMEOUT_S: u64 = 600;

// `serve` and `predict`.

/// Longest side of an image at which the network sees it; larger images are scaled down or tiled.
pub const MAX_SIDE: IntegerSetting =
    IntegerSetting { name: "max_side", unit: "PIXELS", min: 32, max: 16_384 };
pub const DEFAULT_MAX_SIDE_PX: u32 = 2048;

/// Side of a tile.
pub const TILE_SIDE: IntegerSetting =
    IntegerSetting { name: "tile_side", unit: "PIXELS", min: 32, max: 16_384 };
pub const DEFAULT_TILE_SIDE_PX: u32 = 1024;

/// Threads of libtorch; the default depends on the machine.
pub const THREADS: IntegerSetting =
    IntegerSetting { name: "threads", unit: "THREADS", min: 1, max: 1024 };

// `serve`, `predict` and `preprocess`.

/// Largest image, in width x height (`docs/architecture.md#limits-on-images`).
pub const MAX_PIXELS: IntegerSetting =
    IntegerSetting { name: "max_pixels", unit: "PIXELS", min: 1, max: 4_000_000_000 };
pub const DEFAULT_MAX_PIXELS: u64 = 64_000_000;

// `serve`. The defaults of the first three depend on the kind of endpoint
// (`src/serve/endpoint.rs`). A MB is 2^20 bytes.

/// Largest body of a request.
pub const MAX_BODY_MB: IntegerSetting =
    IntegerSetting { name: "max_body_mb", unit: "MB", min: 1, max: 2048 };

/// Largest body of an answer.
pub const MAX_REPLY_MB: IntegerSetting =
    IntegerSetting { name: "max_reply_mb", unit: "MB", min: 1, max: 2048 };

/// Longest time to compute one request.
pub const MAX_SECONDS: IntegerSetting =
    IntegerSetting { name: "max_seconds", unit: "SECONDS", min: 1, max: 3600 };

/// Most computing time that may wait.
pub const MAX_WAIT: IntegerSetting =
    IntegerSetting { name: "max_wait", unit: "SECONDS", min: 1, max: 3600 };
pub const DEFAULT_MAX_WAIT_S: u64 = 20;

/// Most requests that are in progress or wait.
pub const QUEUE_DEPTH: IntegerSetting =
    IntegerSetting { name: "queue_depth", unit: "REQUESTS", min: 1, max: 65_536 };
pub const DEFAULT_QUEUE_DEPTH: u32 = 1024;

/// Most images in a batch.
pub const MAX_BATCH: IntegerSetting =
    IntegerSetting { name: "max_batch", unit: "IMAGES", min: 1, max: 256 };
pub const DEFAULT_MAX_BATCH: u16 = 8;

/// Memory of all models of a multi-model endpoint; the default depends on the machine.
pub const MODELS_MB: IntegerSetting =
    IntegerSetting { name: "models_mb", unit: "MB", min: 1, max: 16_777_216 };

/// Longest time for requests in progress after SIGTERM.
pub const DRAIN_TIMEOUT: IntegerSetting =
    IntegerSetting { name: "drain_timeout", unit: "SECONDS", min: 1, max: 3600 };
pub const DEFAULT_DRAIN_TIMEOUT_S: u64 = 25;

/// Every interface, as SageMaker needs.
pub const DEFAULT_HOST: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
/// SageMaker's port.
pub const DEFAULT_PORT: u16 = 8080;

// `evaluate`.

/// Draws of the bootstrap. With fewer than 100 the ends of an interval are those of single draws.
pub const BOOTSTRAP_DRAWS: IntegerSetting =
    IntegerSetting { name: "bootstrap_draws", unit: "DRAWS", min: 100, max: 100_000 };
pub const DEFAULT_BOOTSTRAP_DRAWS: u32 = 1000;

/// Images that are disturbed, each in 40 ways.
pub const ROBUSTNESS_IMAGES: IntegerSetting =
    IntegerSetting { name: "robustness_images", unit: "IMAGES", min: 1, max: 100_000 };
pub const DEFAULT_ROBUSTNESS_IMAGES: u32 = 200;

/// Images of each kind (worst, typical, best) that are explained.
pub const EXPLAIN: IntegerSetting =
    IntegerSetting { name: "explain", unit: "IMAGES", min: 1, max: 8 };

/// Patches along each side of an image that are covered in turn.
pub const OCCLUSION_GRID: IntegerSetting =
    IntegerSetting { name: "occlusion_grid", unit: "PATCHES", min: 3, max: 32 };
pub const DEFAULT_OCCLUSION_GRID: u32 = 8;
