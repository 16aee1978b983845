//! `maskmaker train`: channels in, model artifact out, by the container contract.

pub(super) mod inputs;
pub(super) mod s3;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tch::Device;

use self::inputs::TrainingData;
use crate::console::{print_stderr, print_stdout};
use crate::data::Sample;
use crate::data::audit::Audit;
use crate::data::augment::Transforms;
use crate::data::class_names::read_class_names;
use crate::data::color_map::RequiredClassNames;
use crate::data::fifo::WaitLimits;
use crate::data::loader::DataLoaderConfig;
use crate::data::objects::{self, ConnectStore, DiskBudget, ObjectCache};
use crate::error::{Error, Problems, Result};
use crate::files::write_atomically;
use crate::model::initial::{InitialWeights, InitialWeightsRequest, PretrainedLocations};
use crate::model::network::build_graph;
use crate::model::precision::ComputePrecision;
use crate::model::{Architecture, ModelConfig, artifact};
use crate::sagemaker::cluster::Cluster;
use crate::sagemaker::{Channels, MlRoot, StopSignal, failure};
use crate::torch;
use crate::train::checkpoint::{Checkpoints, RestoredCheckpoint};
use crate::train::early_stopping::EarlyStopping;
use crate::train::fingerprint::Fingerprint;
use crate::train::history::ModelMetrics;
use crate::train::model_card::{ModelCard, SplitSummary};
use crate::train::observer::{Console, MetricsFile};
use crate::train::schedule::LrSchedule;
use crate::train::{
    Hyperparameters, LearningCurves, SummaryWriter, TrainConfig, TrainOutcome, TrainState,
    TrainStep, Trainer, TrainerSettings,
};

/// What the command line says.
#[derive(Debug, Clone, Default)]
pub struct TrainOptions {
    /// Where weights for a pretrained backbone lie: a path or an S3 URI.
    pub pretrained: Option<PathBuf>,
    /// The longest time that a stream may bring nothing.
    pub pipe_timeout: Duration,
    /// Bytes that objects of S3 may take on disk, unless the disk is the limit.
    pub s3_cache_bytes: Option<u64>,
    /// The longest time that S3 may bring nothing.
    pub s3_timeout: Duration,
}

/// Trains by what lies under `root`. A failure is also written to `output/failure`.
pub fn run_train(root: &MlRoot, options: &TrainOptions) -> Result<()> {
    if !root.path().is_dir() {
        // A mistyped root gets no folders of ours.
        return Err(Error::input(format!(
            "there is no folder {}; --ml-root (MASKMAKER_ML_ROOT) names the one that SageMaker \
             calls /opt/ml",
            root.path().display()
        )));
    }
    let result = train_model(root, options);
    if let Err(error) = &result
        && let Err(write_error) = failure::write_failure_reason(root, error)
    {
        print_stderr(format_args!("warning: {write_error}"));
    }
    result
}

#[expect(clippy::too_many_lines)]
fn train_model(root: &MlRoot, options: &TrainOptions) -> Result<()> {
    let stop = StopSignal::listen()?;
    // Before anything else of libtorch.
    let device = torch::default_device();
    let connect = s3::lazy_s3_connection(options.s3_timeout, &stop);
    // Everything that can be known to be wrong before the data are read, at once.
    let mut problems = Problems::new();
    problems.record_err(failure::clear_failure_reason(root));
    let hyperparameters = problems.record_err(Hyperparameters::read(&root.hyperparameters_file()));
    let channels = problems.record_err(Channels::read(root));
    problems.record_err(Cluster::read(root));
    problems.record_err(check_writable(&root.model_folder(), "model"));
    problems.record_err(check_writable(&root.checkpoints_folder(), "checkpoints"));
    problems.record_err(check_writable(&root.output_data_folder(), "output/data"));
    problems.into_result()?;
    let (Some(hyperparameters), Some(channels)) = (hyperparameters, channels) else {
        return Err(Error::internal("a check failed without a problem"));
    };

    let num_classes = hyperparameters.num_classes;
    let Hyperparameters { algorithm, backbone, seed, .. } = hyperparameters;
    let mut problems = Problems::new();
    let initial =
        problems.record_err(find_initial_weights(&hyperparameters, &channels, options, &connect));
    let configured_names = hyperparameters.class_names.as_deref();
    let label_map_names = channels.label_map.labels.as_deref();
    let names = problems
        .record_err(read_class_names(configured_names, label_map_names, num_classes))
        .flatten();
    let required_names = required_class_names(
        names.as_deref(),
        configured_names.is_some(),
        initial.as_ref(),
        num_classes,
    );
    let wait_limits = WaitLimits { idle_timeout: options.pipe_timeout, stop: &stop };
    let disk_budget = DiskBudget {
        max_bytes: options.s3_cache_bytes,
        reserved_bytes: objects::RESERVED_DISK_BYTES,
    };
    let objects = ObjectCache::new(connect, disk_budget);
    let root_and_objects = (root.path(), &objects);
    let training_data = TrainingData::read_and_audit(
        root_and_objects,
        &channels,
        &hyperparameters,
        required_names,
        wait_limits,
        &mut problems,
    );
    // The spool lives as long as the training.
    let TrainingData {
        training,
        validation,
        class_names: mask_class_names,
        audits,
        _temp_dir: _spool,
    } = training_data;
    if training.len() == 1
        && build_graph(Architecture { algorithm, backbone }, num_classes).pools_to_1x1()
    {
        problems.push(format!(
            "channel train holds 1 image, but algorithm {} pools an image to a single value per \
             channel, over which BatchNorm needs at least 2 images; add images, or set algorithm \
             to fcn",
            algorithm.name()
        ));
    }
    // First: what was being read was given up, which looks like a problem.
    if stop.is_requested() {
        print_stdout("asked to stop before the first step: nothing is written");
        return Ok(());
    }
    problems.into_result()?;
    let (Some(initial), Some(audits)) = (initial, audits) else {
        return Err(Error::internal("a check failed without a problem"));
    };
    let mut fingerprint = Fingerprint::new(&hyperparameters, &training, &validation)?;
    if let Some(checksum) = initial.checksum() {
        fingerprint = fingerprint.starting_from(checksum);
    }
    let interval = Duration::from_secs(hyperparameters.checkpoint_interval);
    let mut checkpoints = Checkpoints::open(&root.checkpoints_folder(), interval, fingerprint)?;
    let mut settings = trainer_settings(root, &hyperparameters, training, validation);
    // A model that is trained on keeps its classes' names unless the job gives others.
    let names = names.or(mask_class_names).or_else(|| initial.class_names().map(<[_]>::to_vec));
    if let Some(names) = names {
        settings.config.class_names = names;
    }
    let train_config = TrainConfig::from_hyperparameters(
        &hyperparameters,
        &audits[0].histogram[..num_classes],
        device,
    );
    print_device_and_warnings(
        &hyperparameters,
        device,
        train_config.compute,
        &settings.loader_config,
    );
    let restored = checkpoints.restore(&settings.config, &train_config, device)?;
    let (train_step, state) = if let Some(restored) = restored {
        // As large as the model itself, and not needed.
        drop(initial);
        resume_training(restored, &settings)?
    } else {
        let (network, weights_source) = initial.into_network(seed, device)?;
        print_stdout(weights_source);
        (TrainStep::new(network, train_config)?, TrainState::new(settings.early_stopping.clone()))
    };
    print_stdout(format_args!(
        "training {} with {} in {} on {} images ({} steps of {} per epoch), validating on {}",
        algorithm.name(),
        backbone.name(),
        train_step.network.precision.name(),
        settings.loader_config.samples.len(),
        settings.loader_config.batches_per_epoch(),
        settings.loader_config.batch_size.min(settings.loader_config.samples.len()),
        settings.validation_samples.len()
    ));
    let writer = SummaryWriter::open(&root.tensorboard_folder(), &hyperparameters, state.steps);
    let trainer = Trainer {
        // In the order in which their lines and files appear.
        observers: vec![
            Box::new(Console),
            Box::new(writer),
            Box::new(LearningCurves::new(root.output_data_folder())),
            Box::new(MetricsFile::new(root.model_folder())),
        ],
        train_step,
        state,
        settings: &settings,
        checkpoints: &mut checkpoints,
        stop_signal: &stop,
    };
    let outcome = trainer.run()?;
    write_torchscript_and_card(&settings, &hyperparameters, &audits)?;
    let TrainOutcome::Finished(metrics) = outcome else { return Ok(()) };
    print_stdout(format_args!("scores of epoch {}, whose weights are kept:", metrics.best_epoch));
    print_stdout(format_args!("{}", metrics.iou_table()));
    print_stdout(format_args!("model written to {}", root.model_folder().display()));
    Ok(())
}

/// Says what the job computes on, and what of its settings has no good effect there.
fn print_device_and_warnings(
    hyperparameters: &Hyperparameters,
    device: Device,
    compute: ComputePrecision,
    plan: &DataLoaderConfig,
) {
    if let (Device::Cuda(number), Some((major, minor))) = (device, torch::compute_capability()) {
        print_stdout(format_args!("training on GPU {number} (compute capability {major}.{minor})"));
    }
    if hyperparameters.syncbn {
        print_stderr("syncbn is True: without effect, because this job trains on one device");
    }
    let image_count = plan.samples.len();
    let used_images = plan.batches_per_epoch() * plan.batch_size.min(image_count);
    if used_images * 10 < image_count * 9 {
        print_stderr(format_args!(
            "warning: each epoch leaves out {} of {image_count} images, which do not fill a batch of {}: \
             lower mini_batch_size or gradient_accumulation_steps",
            image_count - used_images,
            plan.batch_size
        ));
    }
    if compute == ComputePrecision::Fp16 && device == Device::Cpu {
        print_stderr(
            "warning: precision fp16 is slow on processors, which have no convolutions for it; bf16 \
             or auto is faster",
        );
    }
}

/// Adds to the best weights what is not needed to go on, and thus not written after every epoch: the
/// network for other programs, and the model card.
fn write_torchscript_and_card(
    settings: &TrainerSettings,
    hyperparameters: &Hyperparameters,
    [training, validation]: &[Audit; 2],
) -> Result<()> {
    let started = Instant::now();
    let TrainerSettings { model_folder, config, loader_config: plan, .. } = settings;
    artifact::add_torchscript(model_folder)?;
    let metrics = ModelMetrics::read(&model_folder.join(artifact::METRICS_FILE))?;
    let splits = [
        SplitSummary { images: plan.samples.len(), audit: training },
        SplitSummary { images: settings.validation_samples.len(), audit: validation },
    ];
    let card = ModelCard::new(config, metrics.as_ref(), splits, hyperparameters)?;
    write_atomically(&model_folder.join(artifact::MODEL_CARD_FILE), card.to_markdown().as_bytes())?;
    print_stdout(format_args!(
        "{} and {} written in {:.1} s",
        artifact::TORCHSCRIPT_FILE,
        artifact::MODEL_CARD_FILE,
        started.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// The names that color maps must keep to: those that the job gives, else those of the model that it goes on
/// from, whose classes keep their ids.
pub(super) fn required_class_names<'a>(
    names: Option<&'a [String]>,
    from_hyperparameter: bool,
    initial: Option<&'a InitialWeights>,
    num_classes: usize,
) -> Option<RequiredClassNames<'a>> {
    if let Some(names) = names {
        let source = if from_hyperparameter { "class_names" } else { "labels.json" };
        return Some(RequiredClassNames { names, source });
    }
    let names = initial?.class_names()?;
    // A model that was trained without names has made-up ones.
    let is_named = names != ModelConfig::default_class_names(num_classes);
    is_named.then_some(RequiredClassNames { names, source: "the model in channel model" })
}

/// Finds the weights to start from: the `model` channel's, pretrained ones, or random ones.
pub(super) fn find_initial_weights(
    hyperparameters: &Hyperparameters,
    channels: &Channels,
    options: &TrainOptions,
    connect: &ConnectStore,
) -> Result<InitialWeights> {
    // Where the image keeps them, seen from the program itself: ../pretrained.
    let executable = std::env::current_exe().ok();
    let image_root = executable.as_deref().and_then(|program| program.parent()?.parent());
    let image_weights = image_root.map(|folder| folder.join("pretrained"));
    let mut search_paths = PretrainedLocations {
        explicit: options.pretrained.clone(),
        channel: channels.pretrained.clone(),
        image_folder: image_weights,
        fetched_from: None,
    };
    let Hyperparameters { algorithm, backbone, num_classes, use_pretrained_model, .. } =
        *hyperparameters;
    if channels.model.is_some() && use_pretrained_model {
        print_stderr("the model channel wins: use_pretrained_model is True, but without effect");
    }
    // Deleted again as soon as the weights were read.
    let mut _fetched_guard = None;
    if let Some(uri) = search_paths.explicit.as_deref().and_then(s3::as_s3_uri)
        && use_pretrained_model
        && channels.model.is_none()
    {
        let fetched = s3::fetch_weights(uri, backbone, connect)
            .map_err(|error| error.with_context("MASKMAKER_PRETRAINED"))?;
        search_paths.explicit = Some(fetched.path.to_path_buf());
        search_paths.fetched_from = Some(fetched.uri.to_string());
        _fetched_guard = Some(fetched);
    }
    InitialWeights::find(&InitialWeightsRequest {
        architecture: Architecture { algorithm, backbone },
        classes: num_classes,
        pretrained: use_pretrained_model,
        model_channel: channels.model.as_deref(),
        locations: &search_paths,
    })
}

/// Puts back what a job like this one left: where it was, and the best model so far, because the model
/// folder does not outlive an interruption.
fn resume_training(
    restored: RestoredCheckpoint,
    settings: &TrainerSettings,
) -> Result<(TrainStep, TrainState)> {
    let RestoredCheckpoint { train_step: stepper, state, best_weights: best } = restored;
    if let (Some(metrics), Some(weights)) = (&state.best, best) {
        let folder = &settings.model_folder;
        artifact::write_model_bytes(folder, &settings.config, &weights)?;
        artifact::write_json(&folder.join(artifact::METRICS_FILE), metrics)?;
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
    Ok((stepper, state))
}

fn trainer_settings(
    root: &MlRoot,
    hyperparameters: &Hyperparameters,
    training: Vec<Sample>,
    validation: Vec<Sample>,
) -> TrainerSettings {
    let params = hyperparameters;
    let plan = DataLoaderConfig {
        samples: Arc::new(training),
        transforms: training_transforms(params),
        batch_size: params.mini_batch_size * params.gradient_accumulation_steps,
        seed: params.seed,
    };
    if let Some(warning) = LrSchedule::short_schedule_warning(params, plan.samples.len()) {
        print_stderr(warning);
    }
    TrainerSettings {
        epochs: params.epochs,
        lr_schedule: LrSchedule::from_hyperparameters(params, plan.batches_per_epoch()),
        loader_config: plan,
        validation_samples: validation,
        validation_batch_size: params.validation_mini_batch_size,
        early_stopping: params.early_stopping.then(|| {
            EarlyStopping::new(
                params.early_stopping_min_epochs,
                params.early_stopping_patience,
                params.early_stopping_tolerance,
            )
        }),
        config: ModelConfig::new(
            Architecture { algorithm: params.algorithm, backbone: params.backbone },
            params.num_classes,
            None,
        ),
        model_folder: root.model_folder(),
    }
}

/// What is done to the training images.
pub(super) fn training_transforms(hyperparameters: &Hyperparameters) -> Transforms {
    let Hyperparameters { base_size, crop_size, augmentations, .. } = *hyperparameters;
    Transforms { base_size, crop_size, augmentations }
}

/// Whether a folder can be written into, asked before hours are spent on what goes there.
fn check_writable(folder: &Path, name: &str) -> Result<()> {
    let write_error = |cause: &std::io::Error| {
        let context = format!("the {name} folder must be writable");
        Error::io("write", folder, cause).with_context(context)
    };
    std::fs::create_dir_all(folder).map_err(|e| write_error(&e))?;
    tempfile::NamedTempFile::new_in(folder).map_err(|e| write_error(&e))?;
    Ok(())
}
