//! The settings of a training job, checked together before any data are read.

use std::path::Path;
use std::sync::Arc;

use crate::commands::training_job::{
    JobHyperparameters, read_hyperparameters, training_transforms,
};
use crate::console::print_stderr;
use crate::data::Sample;
use crate::data::batch_parts::RankShare;
use crate::data::loader::DataLoaderConfig;
use crate::data::shards::Shards;
use crate::error::{Problems, Result};
use crate::files;
use crate::model::{Architecture, ModelConfig};
use crate::sagemaker::cluster::Cluster;
use crate::sagemaker::{Channels, MlRoot, OutputFolders, failure};
use crate::train::early_stopping::EarlyStopping;
use crate::train::schedule::LrSchedule;
use crate::train::{Hyperparameters, TrainerSettings};

/// Settings of a job whose output folders can be written to.
#[derive(Debug)]
pub(super) struct JobSettings {
    pub(super) hyperparameters: Hyperparameters,
    pub(super) channels: Channels,
    /// Folders that SageMaker copies to S3 while the job runs.
    pub(super) output_folders: OutputFolders,
    pub(super) cluster: Cluster,
}

/// Place of a process among those of its job, and the samples of the other hosts.
#[derive(Debug, Clone)]
pub(super) struct ProcessPlace {
    /// Part of each batch that the process computes.
    pub(super) share: RankShare,
    /// Training samples of all hosts, if each host has a part of them.
    pub(super) shards: Option<Shards>,
    /// Part of this host's validation samples that the process scores.
    pub(super) validation_share: RankShare,
    /// Number of validation samples of all hosts.
    pub(super) validation_images: usize,
}

impl JobSettings {
    /// Reads and checks everything that can be known to be wrong before the data are read.
    pub(super) fn read(root: &MlRoot) -> Result<Self> {
        let mut problems = Problems::new();
        problems.record_err(failure::clear_failure_reason(root));
        let hyperparameters = problems.check(read_hyperparameters(root));
        let channels = problems.check(Channels::read(root));
        let cluster = problems.check(Cluster::read(root));
        problems.record_err(check_writable(&root.model_folder(), "model"));
        let output_folders = OutputFolders::read(root);
        for line in output_folders.describe() {
            print_stderr(line);
        }
        let checkpoints = &output_folders.checkpoints;
        let name = match checkpoints.config_file {
            Some(file) => format!("checkpoints (LocalPath of {file})"),
            None => "checkpoints".to_owned(),
        };
        problems.record_err(check_writable(&checkpoints.path, &name));
        problems.record_err(check_writable(&root.output_data_folder(), "output/data"));
        let (hyperparameters, channels, cluster) =
            problems.finish_with((hyperparameters, channels, cluster))?;
        let JobHyperparameters { hyperparameters, counted_labels } = hyperparameters;
        if let Some(labels) = counted_labels {
            print_stderr(format_args!(
                "num_classes is {}, the number of classes in {}",
                hyperparameters.num_classes,
                labels.display()
            ));
        }
        Ok(Self { hyperparameters, channels, output_folders, cluster })
    }

    /// Reads in a worker what its parent has checked.
    pub(super) fn read_checked(root: &MlRoot) -> Result<Self> {
        Ok(Self {
            hyperparameters: read_hyperparameters(root)?.hyperparameters,
            channels: Channels::read(root)?,
            output_folders: OutputFolders::read(root),
            cluster: Cluster::read(root)?,
        })
    }

    /// Makes the settings of the training loop of a process. Classes without names get numbers.
    pub(super) fn trainer_settings(
        &self,
        root: &MlRoot,
        place: ProcessPlace,
        training: Vec<Sample>,
        validation: Vec<Sample>,
        class_names: Option<Vec<String>>,
    ) -> TrainerSettings {
        let params = &self.hyperparameters;
        let loader_config = DataLoaderConfig {
            samples: Arc::new(training),
            transforms: training_transforms(params),
            batch_size: params.mini_batch_size * params.gradient_accumulation_steps,
            micro_batch_size: params.mini_batch_size,
            share: place.share,
            shards: place.shards,
            seed: params.seed,
        };
        let architecture = Architecture { algorithm: params.algorithm, backbone: params.backbone };
        TrainerSettings {
            epochs: params.epochs,
            lr_schedule: LrSchedule::from_hyperparameters(
                params,
                loader_config.batches_per_epoch(),
            ),
            loader_config,
            validation_samples: validation,
            validation_share: place.validation_share,
            validation_images: place.validation_images,
            validation_batch_size: params.validation_mini_batch_size,
            early_stopping: early_stopping(params),
            config: ModelConfig::new(architecture, params.num_classes, class_names),
            model_folder: root.model_folder(),
        }
    }
}

/// Returns the rule that may end the training early, if the job asks for one.
fn early_stopping(params: &Hyperparameters) -> Option<EarlyStopping> {
    if !params.early_stopping {
        return None;
    }
    Some(EarlyStopping::new(
        params.early_stopping_min_epochs,
        params.early_stopping_patience,
        params.early_stopping_tolerance,
    ))
}

/// Checks that files can be written to a folder, before hours are spent on their content.
fn check_writable(folder: &Path, name: &str) -> Result<()> {
    files::check_writable(folder)
        .map_err(|error| error.with_context(format!("the {name} folder must be writable")))
}
