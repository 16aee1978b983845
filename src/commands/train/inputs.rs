//! The inputs of a training job: initial weights, class names, and the samples of both splits.

use crate::commands::train::TrainOptions;
use crate::commands::train::settings::JobSettings;
use crate::commands::training_job::console_listener::ConsoleListener;
use crate::commands::training_job::initial_weights::{find_initial_weights, model_class_names};
use crate::commands::training_job::s3::lazy_s3_connection;
use crate::console::print_stderr;
use crate::data::class_names::{ClassNames, GivenClassNames};
use crate::data::dataset::{AuditedDataset, AuditedSplit, DatasetReader, Spool};
use crate::data::fifo::WaitLimits;
use crate::data::objects::{self, DiskBudget, ObjectCache};
use crate::error::{Problems, Result};
use crate::model::Architecture;
use crate::model::initial::InitialWeights;
use crate::model::network::build_graph;
use crate::sagemaker::channels::SplitSource;
use crate::sagemaker::{MlRoot, StopSignal};
use crate::train::Hyperparameters;

/// Inputs of a job without problems.
#[derive(Debug)]
pub(super) struct Inputs {
    pub(super) initial: InitialWeights,
    pub(super) training: AuditedSplit,
    pub(super) validation: AuditedSplit,
    /// One name per class, class 0 first, if any source has names.
    pub(super) class_names: Option<Vec<String>>,
    /// Files of streams and objects, which lie on disk until this is dropped.
    pub(super) spool: Spool,
}

impl Inputs {
    /// Reads and checks all inputs. Returns nothing if the job was asked to stop meanwhile.
    pub(super) fn read(
        root: &MlRoot,
        options: &TrainOptions,
        job: &JobSettings,
        stop: &StopSignal,
    ) -> Result<Option<Self>> {
        let JobSettings { hyperparameters, channels, .. } = job;
        let connect = lazy_s3_connection(options.s3_timeout, stop);
        let mut problems = Problems::new();
        let pretrained = options.pretrained.as_deref();
        let initial =
            problems.check(find_initial_weights(hyperparameters, channels, pretrained, &connect));
        let class_names = read_class_names(job, initial.as_ref().ok(), &mut problems);
        let reader = DatasetReader {
            root: root.path(),
            channels,
            num_classes: hyperparameters.num_classes,
            required_names: class_names.required(),
            objects: &ObjectCache::new(
                connect,
                DiskBudget {
                    max_bytes: options.s3_cache_bytes,
                    reserved_bytes: objects::RESERVED_DISK_BYTES,
                },
            ),
            wait_limits: WaitLimits { idle_timeout: options.pipe_timeout, stop },
            listener: &ConsoleListener::default(),
        };
        let streamed = reader.list(&mut problems).read_streams(&mut problems);
        let training_images = streamed.training_images();
        let dataset = streamed.prepare(&mut problems);
        if problems.is_empty() {
            warn_of_missing_images(job, training_images);
        }
        check_batch_norm(hyperparameters, training_images, &mut problems);
        // A request to stop comes first: a stream or a fetch that was given up looks like a
        // problem.
        if stop.is_requested() {
            return Ok(None);
        }
        let (initial, dataset) = problems.finish_with((initial, dataset))?;
        let AuditedDataset { training, validation, class_names: mask_names, spool } = dataset;
        let class_names = class_names.choose(mask_names);
        Ok(Some(Self { initial, training, validation, class_names, spool }))
    }
}

/// Reads class names from all sources but the masks. A model that is trained on keeps its classes'
/// names unless the job gives others.
fn read_class_names(
    job: &JobSettings,
    initial: Option<&InitialWeights>,
    problems: &mut Problems,
) -> ClassNames {
    let num_classes = job.hyperparameters.num_classes;
    let given = GivenClassNames::read(
        job.hyperparameters.class_names.as_deref(),
        job.channels.label_map.labels.as_deref(),
        num_classes,
    );
    ClassNames {
        given: problems.record_err(given).flatten(),
        model: initial.and_then(|initial| model_class_names(initial, num_classes)),
    }
}

/// Warns if a stream brought another number of images than the job says.
fn warn_of_missing_images(job: &JobSettings, training_images: usize) {
    if let (SplitSource::Pipe { fifo, .. }, Some(expected)) =
        (&job.channels.train, job.hyperparameters.num_training_samples)
        && expected != training_images
    {
        print_stderr(format_args!(
            "warning: num_training_samples is {expected}, and {} brought {training_images} images; \
             was the manifest read to its end?",
            fifo.display()
        ));
    }
}

/// Checks that `BatchNorm` sees more than one value per channel.
fn check_batch_norm(
    hyperparameters: &Hyperparameters,
    training_images: usize,
    problems: &mut Problems,
) {
    let Hyperparameters { algorithm, backbone, num_classes, .. } = *hyperparameters;
    if training_images == 1
        && build_graph(Architecture { algorithm, backbone }, num_classes).pools_to_1x1()
    {
        problems.push(format!(
            "channel train holds 1 image, but algorithm {} pools an image to a single value per \
             channel, over which BatchNorm needs at least 2 images; add images, or set algorithm \
             to fcn",
            algorithm.name()
        ));
    }
}
