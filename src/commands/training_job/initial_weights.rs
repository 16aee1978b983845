//! The weights that a job starts from, which may lie in S3.

use std::path::Path;

use super::s3;
use crate::console::print_stderr;
use crate::data::class_names::ModelClassNames;
use crate::data::objects::ConnectStore;
use crate::error::{ErrorContext, Result};
use crate::model::initial::{InitialWeights, InitialWeightsRequest, PretrainedLocations};
use crate::model::{Architecture, ModelConfig};
use crate::sagemaker::Channels;
use crate::train::Hyperparameters;

/// Finds the weights to start from: the `model` channel's, pretrained ones, or random ones.
/// `pretrained` is a path or an S3 URI from the command line.
pub(in crate::commands) fn find_initial_weights(
    hyperparameters: &Hyperparameters,
    channels: &Channels,
    pretrained: Option<&Path>,
    connect: &ConnectStore,
) -> Result<InitialWeights> {
    // The image keeps its weights in ../pretrained, seen from the program.
    let executable = std::env::current_exe().ok();
    let image_root = executable.as_deref().and_then(|program| program.parent()?.parent());
    let image_weights = image_root.map(|folder| folder.join("pretrained"));
    let mut search_paths = PretrainedLocations {
        explicit: pretrained.map(Path::to_path_buf),
        channel: channels.pretrained.clone(),
        image_folder: image_weights,
        fetched_from: None,
    };
    let Hyperparameters { algorithm, backbone, num_classes, use_pretrained_model, .. } =
        *hyperparameters;
    if channels.model.is_some() && use_pretrained_model {
        print_stderr("the model channel wins: use_pretrained_model is True, but without effect");
    }
    // The file is deleted once the weights are read.
    let mut _fetched_guard = None;
    if let Some(uri) = pretrained.and_then(s3::as_s3_uri)
        && use_pretrained_model
        && channels.model.is_none()
    {
        let fetched =
            s3::fetch_weights(uri, backbone, connect).error_context("MASKMAKER_PRETRAINED")?;
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

/// Returns the class names of a model that training goes on from, if it has any.
pub(in crate::commands) fn model_class_names(
    initial: &InitialWeights,
    num_classes: usize,
) -> Option<ModelClassNames> {
    let names = initial.class_names()?.to_vec();
    // A model that was trained without names has made-up ones.
    let are_made_up = names == ModelConfig::default_class_names(num_classes);
    Some(ModelClassNames { names, are_made_up })
}
