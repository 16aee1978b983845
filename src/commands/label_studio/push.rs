//! `maskmaker label-studio push`: predictions for the tasks of a project, without a backend.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::connection::{LabelStudioConnection, connect_images};
use super::local_model::LocalModel;
use crate::commands::device::check_inference_device;
use crate::commands::open_model::make_temporary_folder;
use crate::console::{print_stderr, print_stdout};
use crate::error::{Error, Problems, Result, pluralize};
use crate::http::build_runtime;
use crate::inference::EngineOptions;
use crate::preannotation::{
    PushOptions, PushSummary, Pusher, RegionOptions, StageTimes, TaskImages, TaskPredictor,
};
use crate::sagemaker::StopSignal;

/// Largest number of failed tasks that are told one by one.
const MAX_TOLD: usize = 20;

/// Longest time between a request to stop and the end of the command.
const STOP_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Project, model and limits of a push.
#[derive(Debug, Clone)]
pub struct PushCommand {
    pub connection: LabelStudioConnection,
    /// Folder of the model, or its `model.tar.gz`, or a folder that holds this archive.
    pub model: PathBuf,
    pub engine: EngineOptions,
    pub options: PushOptions,
    pub regions: RegionOptions,
    /// Folder for predictions that are computed and not stored yet; without it they are computed again
    /// after an interruption.
    pub state: Option<PathBuf>,
    /// Largest image, in bytes and in pixels.
    pub max_image_bytes: u64,
    pub max_pixels: u64,
}

/// Runs the command.
pub fn run_push(command: &PushCommand) -> Result<()> {
    let stop = StopSignal::listen()?;
    check_inference_device()?;
    let images = connect_images(&command.connection, command.max_image_bytes, &stop)?;
    let temporary = if command.state.is_none() { Some(make_temporary_folder()?) } else { None };
    let state = match (&command.state, &temporary) {
        (Some(folder), _) => folder.as_path(),
        (None, Some(folder)) => folder.path(),
        (None, None) => Path::new("."),
    };
    let runtime = build_runtime()?;
    let pushed = runtime.block_on(async {
        tokio::select! {
            pushed = push(command, images, state) => pushed,
            () = wait_for_stop(&stop) => {
                Err(Error::input("the push was stopped; the same command goes on"))
            }
        }
    });
    // A decoder may still work on an image that nobody waits for.
    runtime.shutdown_background();
    report(&pushed?)
}

async fn push(command: &PushCommand, images: TaskImages, state: &Path) -> Result<PushSummary> {
    let model = LocalModel::load(&command.model, command.engine, command.max_pixels).await?;
    let predictor = TaskPredictor { images, segmenter: Arc::new(model), regions: command.regions };
    let tell = |note: &str| print_stderr(note);
    Pusher { predictor: &predictor, options: &command.options, state, tell }.push().await
}

async fn wait_for_stop(stop: &StopSignal) {
    while !stop.is_requested() {
        tokio::time::sleep(STOP_POLL_INTERVAL).await;
    }
}

/// Tells what was stored, and fails if tasks got no prediction.
fn report(summary: &PushSummary) -> Result<()> {
    let PushSummary { stored, empty, dropped_regions, failed, times } = summary;
    let empty_note = if *empty > 0 { format!(", {empty} of them empty") } else { String::new() };
    let dropped_note = match dropped_regions {
        0 => String::new(),
        count => format!("; {} left out", pluralize(*count, "region")),
    };
    print_stdout(format_args!(
        "{} stored{empty_note}{dropped_note}, {} failed",
        pluralize(*stored, "prediction"),
        failed.len()
    ));
    let StageTimes { fetch, model, encode } = times;
    print_stderr(format_args!(
        "time of all tasks: {:.1} s to fetch images, {:.1} s to compute masks, {:.1} s to make regions",
        fetch.as_secs_f64(),
        model.as_secs_f64(),
        encode.as_secs_f64()
    ));
    let mut problems = Problems::new();
    for reason in failed.iter().take(MAX_TOLD) {
        problems.push(reason.clone());
    }
    if !failed.is_empty() {
        problems.push(format!(
            "{} got no prediction; the same command tries again",
            pluralize(failed.len(), "task")
        ));
    }
    problems.into_result()
}
