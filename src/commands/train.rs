//! `maskmaker train`: channels in, model artifact out, by the container contract.

pub(super) mod inputs;
pub(super) mod s3;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tch::Device;

use self::inputs::Inputs;
use crate::console::{note, say};
use crate::data::Sample;
use crate::data::audit::Audit;
use crate::data::augment::Recipe;
use crate::data::class_names::class_names;
use crate::data::color_map::Known;
use crate::data::fifo::Patience;
use crate::data::loader::Plan;
use crate::data::objects::{self, Connect, Objects, Room};
use crate::error::{Error, Problems, Result};
use crate::files::write_atomically;
use crate::model::initial::{Initial, Places, Wanted};
use crate::model::network::graph;
use crate::model::precision::Compute;
use crate::model::{Config, artifact};
use crate::sagemaker::cluster::Cluster;
use crate::sagemaker::{Channels, Hyperparameters, MlRoot, Stop, failure};
use crate::torch;
use crate::train::card::{Card, Split};
use crate::train::checkpoint::{Checkpoints, Restored};
use crate::train::early_stopping::EarlyStopping;
use crate::train::fingerprint::Fingerprint;
use crate::train::history::Metrics;
use crate::train::schedule::Schedule;
use crate::train::{Board, End, Learning, Settings, State, Stepper, Trainer};

/// What the command line says.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where weights for a pretrained backbone lie: a path or an S3 URI.
    pub pretrained: Option<PathBuf>,
    /// The longest time that a stream may bring nothing.
    pub pipe_timeout: Duration,
    /// Bytes that objects of S3 may take on disk, unless the disk is the limit.
    pub s3_cache_size: Option<u64>,
    /// The longest time that S3 may bring nothing.
    pub s3_timeout: Duration,
}

/// Trains by what lies under `root`. A failure is also written to `output/failure`.
pub fn run(root: &MlRoot, options: &Options) -> Result<()> {
    if !root.path().is_dir() {
        // A mistyped root gets no folders of ours.
        return Err(Error::input(format!(
            "there is no folder {}; --ml-root (MASKMAKER_ML_ROOT) names the one that SageMaker \
             calls /opt/ml",
            root.path().display()
        )));
    }
    let result = train(root, options);
    if let Err(error) = &result
        && let Err(unwritten) = failure::write(root, error)
    {
        note(format_args!("warning: {unwritten}"));
    }
    result
}

fn train(root: &MlRoot, options: &Options) -> Result<()> {
    let stop = Stop::listen()?;
    // Before anything else of libtorch.
    let device = torch::device();
    let connect = s3::connect(options.s3_timeout, &stop);
    // Everything that can be known to be wrong before the data are read, at once.
    let mut problems = Problems::new();
    problems.check(failure::clear(root));
    let hyperparameters = problems.check(Hyperparameters::read(&root.hyperparameters()));
    let channels = problems.check(Channels::read(root));
    problems.check(Cluster::read(root));
    problems.check(check_writable(&root.model(), "model"));
    problems.check(check_writable(&root.checkpoints(), "checkpoints"));
    problems.check(check_writable(&root.output_data(), "output/data"));
    problems.into_result()?;
    let (Some(hyperparameters), Some(channels)) = (hyperparameters, channels) else {
        return Err(Error::internal("a check failed without a problem"));
    };

    let classes = hyperparameters.num_classes;
    let Hyperparameters { algorithm, backbone, seed, .. } = hyperparameters;
    let mut problems = Problems::new();
    let initial = problems.check(initial_weights(&hyperparameters, &channels, options, &connect));
    let given = hyperparameters.class_names.as_deref();
    let labels = channels.label_map.labels.as_deref();
    let names = problems.check(class_names(given, labels, classes)).flatten();
    let known = known_names(names.as_deref(), given.is_some(), initial.as_ref(), classes);
    let patience = Patience { idle: options.pipe_timeout, stop: &stop };
    let room = Room { limit: options.s3_cache_size, reserve: objects::RESERVE };
    let objects = Objects::new(connect, room);
    let places = (root.path(), &objects);
    let inputs = Inputs::read(places, &channels, &hyperparameters, known, patience, &mut problems);
    // The spool lives as long as the training.
    let Inputs { training, validation, class_names: found, audits, _spool } = inputs;
    if training.len() == 1 && graph(algorithm, backbone, classes).pools_to_one() {
        problems.push(format!(
            "channel train holds 1 image, but algorithm {} pools an image to a single value per \
             channel, over which BatchNorm needs at least 2 images; add images, or set algorithm \
             to fcn",
            algorithm.name()
        ));
    }
    // First: what was being read was given up, which looks like a problem.
    if stop.is_requested() {
        say("asked to stop before the first step: nothing is written");
        return Ok(());
    }
    problems.into_result()?;
    let (Some(initial), Some(audits)) = (initial, audits) else {
        return Err(Error::internal("a check failed without a problem"));
    };
    let mut fingerprint = Fingerprint::of(&hyperparameters, &training, &validation)?;
    if let Some(checksum) = initial.checksum() {
        fingerprint = fingerprint.starting_from(checksum);
    }
    let interval = Duration::from_secs(hyperparameters.checkpoint_interval);
    let mut checkpoints = Checkpoints::open(&root.checkpoints(), interval, fingerprint)?;
    let mut settings = settings(root, &hyperparameters, training, validation);
    // A model that is trained on keeps its classes' names unless the job gives others.
    let names = names.or(found).or_else(|| initial.class_names().map(<[_]>::to_vec));
    if let Some(names) = names {
        settings.config.class_names = names;
    }
    let learning = Learning::of(&hyperparameters, &audits[0].pixels[..classes], device);
    announce(&hyperparameters, device, learning.compute, &settings.plan);
    let restored = checkpoints.restore(&settings.config, &learning, device)?;
    let (stepper, state) = if let Some(restored) = restored {
        // As large as the model itself, and not needed.
        drop(initial);
        go_on(restored, &settings)?
    } else {
        let (network, from) = initial.network(seed, device)?;
        say(from);
        (Stepper::new(network, learning)?, State::new(settings.early_stopping.clone()))
    };
    say(format_args!(
        "training {} with {} in {} on {} images ({} steps of {} per epoch), validating on {}",
        algorithm.name(),
        backbone.name(),
        stepper.network.compute.name(),
        settings.plan.samples.len(),
        settings.plan.batches(),
        settings.plan.batch_size.min(settings.plan.samples.len()),
        settings.validation.len()
    ));
    let trainer = Trainer {
        board: Board::open(&root.tensorboard(), &hyperparameters, state.steps),
        stepper,
        state,
        settings: &settings,
        checkpoints: &mut checkpoints,
        stop: &stop,
    };
    let end = trainer.run()?;
    complete(&settings, &hyperparameters, &audits)?;
    let End::Finished(metrics) = end else { return Ok(()) };
    say(format_args!("scores of epoch {}, whose weights are kept:", metrics.best_epoch));
    say(format_args!("{}", metrics.table()));
    say(format_args!("model written to {}", root.model().display()));
    Ok(())
}

/// Says what the job computes on, and what of its settings has no good effect there.
fn announce(hyperparameters: &Hyperparameters, device: Device, compute: Compute, plan: &Plan) {
    if let (Device::Cuda(number), Some((major, minor))) = (device, torch::compute_capability()) {
        say(format_args!("training on GPU {number} (compute capability {major}.{minor})"));
    }
    if hyperparameters.syncbn {
        note("syncbn is True: without effect, because this job trains on one device");
    }
    let images = plan.samples.len();
    let used = plan.batches() * plan.batch_size.min(images);
    if used * 10 < images * 9 {
        note(format_args!(
            "warning: each epoch leaves out {} of {images} images, which do not fill a batch of {}: \
             lower mini_batch_size or gradient_accumulation_steps",
            images - used,
            plan.batch_size
        ));
    }
    if compute == Compute::Fp16 && device == Device::Cpu {
        note(
            "warning: precision fp16 is slow on processors, which have no convolutions for it; bf16 \
             or auto is faster",
        );
    }
}

/// Adds to the best weights what is not needed to go on, and thus not written after every epoch: the
/// network for other programs, and the model card.
fn complete(
    settings: &Settings,
    hyperparameters: &Hyperparameters,
    [training, validation]: &[Audit; 2],
) -> Result<()> {
    let began = Instant::now();
    let Settings { model_folder, config, plan, .. } = settings;
    artifact::add_torchscript(model_folder)?;
    let metrics = Metrics::read(&model_folder.join(artifact::METRICS))?;
    let splits = [
        Split { images: plan.samples.len(), audit: training },
        Split { images: settings.validation.len(), audit: validation },
    ];
    let card = Card::new(config, metrics.as_ref(), splits, hyperparameters)?;
    write_atomically(&model_folder.join(artifact::CARD), card.markdown().as_bytes())?;
    say(format_args!(
        "{} and {} written in {:.1} s",
        artifact::TORCHSCRIPT,
        artifact::CARD,
        began.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// The names that colour maps must keep to: those that the job gives, else those of the model that it goes on
/// from, whose classes keep their ids.
pub(super) fn known_names<'a>(
    names: Option<&'a [String]>,
    by_hyperparameter: bool,
    initial: Option<&'a Initial>,
    classes: usize,
) -> Option<Known<'a>> {
    if let Some(names) = names {
        let source = if by_hyperparameter { "class_names" } else { "labels.json" };
        return Some(Known { names, source });
    }
    let names = initial?.class_names()?;
    // A model that was trained without names has made-up ones.
    let is_named = names != Config::nameless(classes);
    is_named.then_some(Known { names, source: "the model in channel model" })
}

/// Finds the weights to start from: the `model` channel's, pretrained ones, or random ones.
pub(super) fn initial_weights(
    hyperparameters: &Hyperparameters,
    channels: &Channels,
    options: &Options,
    connect: &Connect,
) -> Result<Initial> {
    // Where the image keeps them, seen from the program itself: ../pretrained.
    let program = std::env::current_exe().ok();
    let image = program.as_deref().and_then(|program| program.parent()?.parent());
    let image = image.map(|folder| folder.join("pretrained"));
    let mut places = Places {
        given: options.pretrained.clone(),
        channel: channels.pretrained.clone(),
        image,
        fetched_from: None,
    };
    let Hyperparameters { algorithm, backbone, num_classes, use_pretrained_model, .. } =
        *hyperparameters;
    if channels.model.is_some() && use_pretrained_model {
        note("the model channel wins: use_pretrained_model is True, but without effect");
    }
    // Deleted again as soon as the weights were read.
    let mut _fetched = None;
    if let Some(uri) = places.given.as_deref().and_then(s3::uri)
        && use_pretrained_model
        && channels.model.is_none()
    {
        let fetched = s3::weights(uri, backbone, connect)
            .map_err(|error| error.within("MASKMAKER_PRETRAINED"))?;
        places.given = Some(fetched.path.to_path_buf());
        places.fetched_from = Some(fetched.uri.to_string());
        _fetched = Some(fetched);
    }
    Initial::find(&Wanted {
        kind: (algorithm, backbone),
        classes: num_classes,
        pretrained: use_pretrained_model,
        model_channel: channels.model.as_deref(),
        places: &places,
    })
}

/// Puts back what a job like this one left: where it was, and the best model so far, because the model
/// folder does not outlive an interruption.
fn go_on(restored: Restored, settings: &Settings) -> Result<(Stepper, State)> {
    let Restored { stepper, state, best } = restored;
    if let (Some(metrics), Some(weights)) = (&state.best, best) {
        let folder = &settings.model_folder;
        artifact::write_again(folder, &settings.config, &weights)?;
        artifact::write_json(&folder.join(artifact::METRICS), metrics)?;
    }
    if state.is_finished(settings.epochs) {
        say(format_args!(
            "the job was finished after epoch {}; its model is put back",
            state.epoch
        ));
    } else {
        let (epoch, step) = (state.epoch + 1, state.step);
        say(format_args!(
            "going on from the checkpoint at step {} (epoch {epoch} step {step})",
            state.steps
        ));
    }
    Ok((stepper, state))
}

fn settings(
    root: &MlRoot,
    hyperparameters: &Hyperparameters,
    training: Vec<Sample>,
    validation: Vec<Sample>,
) -> Settings {
    let h = hyperparameters;
    let plan = Plan {
        samples: Arc::new(training),
        recipe: recipe(h),
        batch_size: h.mini_batch_size * h.gradient_accumulation_steps,
        seed: h.seed,
    };
    Settings {
        epochs: h.epochs,
        schedule: Schedule::of(h, plan.samples.len(), plan.batches()),
        plan,
        validation,
        validation_batch_size: h.validation_mini_batch_size,
        early_stopping: h.early_stopping.then(|| {
            EarlyStopping::new(
                h.early_stopping_min_epochs,
                h.early_stopping_patience,
                h.early_stopping_tolerance,
            )
        }),
        config: Config::new((h.algorithm, h.backbone), h.num_classes, None),
        model_folder: root.model(),
        output_folder: root.output_data(),
    }
}

/// What is done to the training images.
pub(super) fn recipe(hyperparameters: &Hyperparameters) -> Recipe {
    let Hyperparameters { base_size, crop_size, augmentations, .. } = *hyperparameters;
    Recipe { base_size, crop_size, augmentations }
}

/// Whether a folder can be written into, asked before hours are spent on what goes there.
fn check_writable(folder: &Path, name: &str) -> Result<()> {
    let failed = |cause: &std::io::Error| {
        let context = format!("the {name} folder must be writable");
        Error::io("write", folder, cause).within(context)
    };
    std::fs::create_dir_all(folder).map_err(|e| failed(&e))?;
    tempfile::NamedTempFile::new_in(folder).map_err(|e| failed(&e))?;
    Ok(())
}
