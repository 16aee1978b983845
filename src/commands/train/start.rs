//! The start of training: from initial weights, or from the checkpoint of a job like this one.

use std::time::Duration;

use tch::Device;

use super::settings::JobSettings;
use crate::console::{print_stderr, print_stdout};
use crate::data::absent_classes::absent_classes_warning;
use crate::data::audit::Audit;
use crate::data::batch_parts::RankShare;
use crate::data::dataset::AuditedSplit;
use crate::data::shards::Shards;
use crate::error::{Result, pluralize};
use crate::files::write_json;
use crate::model::artifact;
use crate::model::initial::InitialWeights;
use crate::model::precision::ComputePrecision;
use crate::torch;
use crate::train::checkpoint::{Checkpoints, RestoredCheckpoint};
use crate::train::data_record::DataRecord;
use crate::train::fingerprint::Fingerprint;
use crate::train::schedule::LrSchedule;
use crate::train::{Hyperparameters, TrainConfig, TrainState, TrainStep, TrainerSettings};

/// Opens the checkpoints of jobs with these settings, samples and initial weights. `data` describes
/// the samples of all hosts.
pub(super) fn open_checkpoints(
    job: &JobSettings,
    [training, validation]: [&AuditedSplit; 2],
    data: DataRecord,
    initial: &InitialWeights,
) -> Result<Checkpoints> {
    let mut fingerprint =
        Fingerprint::new(&job.hyperparameters, &training.samples, &validation.samples)?
            .with_data(data);
    if let Some(checksum) = initial.checksum() {
        fingerprint = fingerprint.starting_from(checksum);
    }
    let interval = Duration::from_secs(job.hyperparameters.checkpoint_interval);
    Checkpoints::open(&job.output_folders.checkpoints.path, interval, fingerprint)
}

/// Returns the state of a checkpoint if there is one, else the state before the first step.
pub(super) fn start(
    restored: Option<RestoredCheckpoint>,
    initial: InitialWeights,
    train_config: TrainConfig,
    settings: &TrainerSettings,
    device: Device,
) -> Result<(TrainStep, TrainState)> {
    if let Some(restored) = restored {
        // The initial weights are as large as the model itself, and no longer needed.
        drop(initial);
        return resume_training(restored, settings);
    }
    let (network, weights_source) = initial.into_network(settings.loader_config.seed, device)?;
    print_stdout(weights_source);
    Ok((TrainStep::new(network, train_config)?, TrainState::new(settings.early_stopping.clone())))
}

/// Restores what a job like this one left: its state, and the best model so far, because the model
/// folder does not outlive an interruption.
fn resume_training(
    restored: RestoredCheckpoint,
    settings: &TrainerSettings,
) -> Result<(TrainStep, TrainState)> {
    let RestoredCheckpoint { train_step, state, best_weights, .. } = restored;
    if let (Some(metrics), Some(weights)) = (&state.best, best_weights) {
        let folder = &settings.model_folder;
        artifact::write_model_bytes(folder, &settings.config, &weights)?;
        write_json(&folder.join(artifact::METRICS_FILE), metrics)?;
    }
    if state.is_finished(settings.epochs) {
        print_stdout(format_args!(
            "the job was finished after epoch {}; its model is put back",
            state.epoch
        ));
    } else {
        let (epoch, step) = (state.epoch + 1, state.step);
        print_stdout(format_args!(
            "going on from the checkpoint at step {} (epoch {epoch} step {step})",
            state.steps
        ));
    }
    Ok((train_step, state))
}

/// Begins an epoch anew if its samples lie on other hosts than before.
pub(super) fn move_to_hosts(state: &mut TrainState, settings: &TrainerSettings) {
    let shards = settings.loader_config.shards.as_ref();
    let samples_by_host = shards.map(Shards::samples_by_host).unwrap_or_default();
    if let Some(batches) = state.move_to_hosts(samples_by_host) {
        print_stdout(format_args!(
            "epoch {} begins anew after {}: the images lie on other hosts than before",
            state.epoch + 1,
            pluralize(batches, "step")
        ));
    }
}

/// Prints the device, and warns of settings that have no good effect on it.
pub(super) fn print_device_and_warnings(
    job: &JobSettings,
    train_config: &TrainConfig,
    settings: &TrainerSettings,
    device: Device,
) {
    if let (Device::Cuda(number), Some((major, minor))) = (device, torch::compute_capability()) {
        print_stdout(format_args!("training on GPU {number} (compute capability {major}.{minor})"));
    }
    let loader_config = &settings.loader_config;
    if job.hyperparameters.syncbn && loader_config.share.world_size == 1 {
        print_stderr("syncbn is True: without effect, because this job trains on one device");
    }
    let averages_by_the_clock = loader_config.share.world_size > 1 && !job.hyperparameters.syncbn;
    if train_config.gpu_math.deterministic && averages_by_the_clock {
        print_stderr(
            "warning: deterministic is True, and several GPUs average BatchNorm's running statistics at \
             each checkpoint, which comes by the clock: set syncbn to True, or checkpoint_interval to \
             more seconds than the job takes, for the same bytes each time",
        );
    }
    let image_count = loader_config.total_samples();
    if let Some(warning) = LrSchedule::short_schedule_warning(&job.hyperparameters, image_count) {
        print_stderr(warning);
    }
    let used_images = loader_config.batches_per_epoch() * loader_config.images_per_batch();
    if used_images * 10 < image_count * 9 {
        print_stderr(format_args!(
            "warning: each epoch leaves out {} of {image_count} images, which do not fill a batch of {}: \
             lower mini_batch_size or gradient_accumulation_steps",
            image_count - used_images,
            loader_config.batch_size
        ));
    }
    if train_config.compute == ComputePrecision::Fp16 && device == Device::Cpu {
        print_stderr(
            "warning: precision fp16 is slow on processors, which have no convolutions for it; bf16 \
             or auto is faster",
        );
    }
}

/// Warns of classes that cannot be learned or scored, because no mask has a pixel of them.
pub(super) fn warn_of_absent_classes(
    [training, validation]: &[Audit; 2],
    settings: &TrainerSettings,
) {
    let names = &settings.config.class_names;
    if let Some(warning) = absent_classes_warning(&training.histogram, &validation.histogram, names)
    {
        print_stderr(format_args!("warning: {warning}"));
    }
}

/// Prints the network, the precision, and the sizes of the data set and of an epoch.
pub(super) fn print_plan(job: &JobSettings, train_step: &TrainStep, settings: &TrainerSettings) {
    let Hyperparameters { algorithm, backbone, .. } = &job.hyperparameters;
    let loader_config = &settings.loader_config;
    print_stdout(format_args!(
        "training {} with {} in {} on {} images ({} steps of {} per epoch), validating on {}",
        algorithm.name(),
        backbone.name(),
        train_step.network.precision.name(),
        loader_config.total_samples(),
        loader_config.batches_per_epoch(),
        loader_config.images_per_batch(),
        settings.validation_images
    ));
    let RankShare { world_size, .. } = loader_config.share;
    if world_size > 1 {
        let mut counts = Vec::new();
        for rank in 0..world_size {
            let mut images = 0;
            for part in loader_config.parts_of_batch() {
                images += RankShare { rank, world_size }.range(part.len()).len();
            }
            counts.push(images.to_string());
        }
        counts.dedup();
        print_stdout(format_args!(
            "each of {world_size} workers computes {} images of a step",
            counts.join(" or ")
        ));
    }
}
