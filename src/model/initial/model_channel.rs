//! The `model` channel: a model that training continues from. SageMaker hands over the artifact of
//! an earlier job there (incremental training).

use std::path::Path;

use crate::error::{Error, ErrorContext, Problems, Result};
use crate::files::PathContext;
use crate::model::Architecture;
use crate::model::archive::{self, ARCHIVE_FILE};
use crate::model::artifact::{
    CONFIG_FILE, ModelConfig, WEIGHTS_FILE, check_num_classes, is_built_in_model_file,
};
use crate::model::tensor_file::parse_safetensors;

#[derive(Debug)]
pub(super) struct ChannelModel {
    pub(super) config: ModelConfig,
    /// Bytes of `model.safetensors`.
    pub(super) weights: Vec<u8>,
    /// Path of the archive or folder, for messages.
    pub(super) location: String,
}

/// The files of a model that were found in an archive or a folder.
#[derive(Debug, Default)]
pub(super) struct FoundFiles {
    /// Bytes of `config.json`.
    pub(super) config: Option<Vec<u8>>,
    /// Bytes of `model.safetensors`.
    pub(super) weights: Option<Vec<u8>>,
    /// Names of all files; of a large archive only the first ones.
    pub(super) names: Vec<String>,
}

impl ChannelModel {
    /// Reads the folder of the channel, which holds the archive or its contents, and checks that
    /// the model is one of this network.
    pub(super) fn read(folder: &Path, architecture: Architecture, classes: usize) -> Result<Self> {
        let archive = folder.join(ARCHIVE_FILE);
        let (found, location) = if archive.is_file() {
            if folder.join(CONFIG_FILE).exists() || folder.join(WEIGHTS_FILE).exists() {
                return Err(Error::input(format!(
                    "channel model holds {ARCHIVE_FILE} and an unpacked model beside it, and they \
                     may differ; remove one of them"
                )));
            }
            (read_model_archive(&archive).error_context(archive.display())?, archive)
        } else {
            (read_model_folder(folder)?, folder.to_owned())
        };
        let location = location.display().to_string();
        let FoundFiles { config: Some(config), weights: Some(weights), .. } = found else {
            return Err(no_channel_model_error(&location, &found.names));
        };
        let config =
            ModelConfig::parse(&config).error_context(format!("{location}: {CONFIG_FILE}"))?;
        check_same_network(&config, architecture, classes)
            .error_context(format!("channel model: {location}"))?;
        check_weights(&config, &weights).error_context(format!("{location}: {WEIGHTS_FILE}"))?;
        Ok(Self { config, weights, location })
    }
}

fn read_model_archive(path: &Path) -> Result<FoundFiles> {
    let mut content = archive::read_archive(path, &[archive::CONFIG, archive::WEIGHTS])?;
    Ok(FoundFiles {
        config: content.files.remove(CONFIG_FILE),
        weights: content.files.remove(WEIGHTS_FILE),
        names: content.names,
    })
}

fn read_model_folder(folder: &Path) -> Result<FoundFiles> {
    let mut found = FoundFiles { names: list_names(folder)?, ..FoundFiles::default() };
    found.names.sort();
    found.config = read_if_exists(&folder.join(CONFIG_FILE))?;
    found.weights = read_if_exists(&folder.join(WEIGHTS_FILE))?;
    Ok(found)
}

fn list_names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).with_path("list", folder)? {
        let entry = entry.with_path("list", folder)?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

fn read_if_exists(path: &Path) -> Result<Option<Vec<u8>>> {
    if path.exists() { Ok(Some(super::read_weights_file(path)?)) } else { Ok(None) }
}

/// Checks that the weights are a safetensors file for the configuration's classes.
fn check_weights(config: &ModelConfig, weights: &[u8]) -> Result<()> {
    check_num_classes(config, &parse_safetensors(weights)?)
}

/// Checks that the model is of the job's network. The number of classes must agree too, because the
/// model's head is kept.
fn check_same_network(
    config: &ModelConfig,
    architecture: Architecture,
    classes: usize,
) -> Result<()> {
    let Architecture { algorithm, backbone } = architecture;
    let mut problems = Problems::new();
    let compared = [
        ("algorithm", config.algorithm.name().to_owned(), algorithm.name().to_owned()),
        ("backbone", config.backbone.name().to_owned(), backbone.name().to_owned()),
        ("num_classes", config.num_classes.to_string(), classes.to_string()),
    ];
    for (name, model_value, job_value) in compared {
        if model_value != job_value {
            problems.push(format!(
                "the model has {name} {model_value}, the job's {name} is {job_value}; set {name} \
                 to {model_value} to go on from this model, or remove the channel"
            ));
        }
    }
    problems.into_result()
}

fn no_channel_model_error(location: &str, names: &[String]) -> Error {
    if let Some(built_in_file) = names.iter().find(|name| is_built_in_model_file(name)) {
        return Error::input(format!(
            "channel model: {location} is a model of Amazon's built-in algorithm \
             ({built_in_file}), whose weights only MXNet can read; remove the channel and train \
             with use_pretrained_model, which starts from ImageNet's weights, and from then on \
             give the models that maskmaker writes"
        ));
    }
    let shown_names = &names[..names.len().min(10)];
    let found = if shown_names.is_empty() { "nothing".to_owned() } else { shown_names.join(", ") };
    Error::input(format!(
        "channel model: {location} holds no model of maskmaker, which is {ARCHIVE_FILE} or what is \
         in it: {CONFIG_FILE} and {WEIGHTS_FILE} (found: {found}); point the channel at the \
         {ARCHIVE_FILE} of a training job, or remove it"
    ))
}
