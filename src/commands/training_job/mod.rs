//! Steps that the commands on a training job have in common: `train` and `augment-preview`.

pub(super) mod console_listener;
pub(super) mod initial_weights;
pub(super) mod s3;

use crate::data::augment::Transforms;
use crate::train::Hyperparameters;

/// Returns the transforms of the training images.
pub(super) fn training_transforms(hyperparameters: &Hyperparameters) -> Transforms {
    let Hyperparameters { base_size, crop_size, augmentations, .. } = *hyperparameters;
    Transforms { base_size, crop_size, augmentations }
}
