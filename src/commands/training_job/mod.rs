//! Steps that the commands on a training job have in common: `train` and `augment-preview`.

pub(super) mod console_listener;
pub(super) mod initial_weights;
pub(super) mod s3;

use std::path::PathBuf;

use crate::data::augment::Transforms;
use crate::data::class_names::count_named_classes;
use crate::error::Result;
use crate::sagemaker::{LabelMapChannel, MlRoot};
use crate::train::Hyperparameters;

/// Hyperparameters of a job, and where the number of its classes was found.
#[derive(Debug)]
pub(super) struct JobHyperparameters {
    pub(super) hyperparameters: Hyperparameters,
    /// `labels.json` of channel `label_map`, if its classes were counted because the job gives no
    /// `num_classes`.
    pub(super) counted_labels: Option<PathBuf>,
}

/// Reads and checks the hyperparameters of a job. Without `num_classes` the classes of `labels.json`
/// in channel `label_map` are counted.
pub(super) fn read_hyperparameters(root: &MlRoot) -> Result<JobHyperparameters> {
    let mut counted_labels = None;
    let hyperparameters = Hyperparameters::read(&root.hyperparameters_file(), || {
        counted_labels = LabelMapChannel::find_labels(root);
        counted_labels.as_deref().map(count_named_classes).transpose()
    })?;
    Ok(JobHyperparameters { hyperparameters, counted_labels })
}

/// Returns the transforms of the training images.
pub(super) fn training_transforms(hyperparameters: &Hyperparameters) -> Transforms {
    let Hyperparameters { base_size, crop_size, augmentations, .. } = *hyperparameters;
    Transforms { base_size, crop_size, augmentations }
}
