//! The `model` channel: a model that training goes on from, as SageMaker hands over the artifact of an
//! earlier job (incremental training).

use std::path::Path;

use super::archive;
use crate::error::{Error, Problems, Result};
use crate::model::artifact::{CONFIG_FILE, ModelConfig, WEIGHTS_FILE, check_num_classes};
use crate::model::tensor_file::parse_safetensors;
use crate::sagemaker::hyperparameters::{Algorithm, Backbone};

/// What SageMaker calls an artifact.
const ARCHIVE_FILE: &str = "model.tar.gz";

/// What the built-in algorithm's artifact holds.
const BUILT_IN_MODEL_FILES: [&str; 3] = ["model_algo-1", "model_best.params", "hyperparams.json"];

/// A model of an earlier job.
#[derive(Debug)]
pub(super) struct ChannelModel {
    pub(super) config: ModelConfig,
    /// The bytes of `model.safetensors`.
    pub(super) weights: Vec<u8>,
    /// Where it was found, for people.
    pub(super) location: String,
}

/// What of a model was found, wherever it lay.
#[derive(Debug, Default)]
pub(super) struct FoundFiles {
    /// The bytes of `config.json` and `model.safetensors`.
    pub(super) contents: [Option<Vec<u8>>; 2],
    /// The names of everything, cut where there are many.
    pub(super) names: Vec<String>,
}

/// The files of [`Found`], with the most bytes they may have.
pub(super) const MODEL_FILES: [(&str, u64); 2] = [(CONFIG_FILE, 1 << 20), (WEIGHTS_FILE, 1 << 30)];

impl ChannelModel {
    /// Reads the folder of the channel, which holds the archive or its contents, and checks that the
    /// model is one of this network.
    pub(super) fn read(folder: &Path, kind: (Algorithm, Backbone), classes: usize) -> Result<Self> {
        let archive = folder.join(ARCHIVE_FILE);
        let (found, location) = if archive.is_file() {
            if folder.join(CONFIG_FILE).exists() || folder.join(WEIGHTS_FILE).exists() {
                return Err(Error::input(format!(
                    "channel model holds {ARCHIVE_FILE} and an unpacked model beside it, and they may \
                     differ; remove one of them"
                )));
            }
            (
                archive::read_archive(&archive).map_err(|e| e.with_context(archive.display()))?,
                archive,
            )
        } else {
            (read_model_folder(folder)?, folder.to_owned())
        };
        let location = location.display().to_string();
        let FoundFiles { contents: [Some(config), Some(weights)], .. } = found else {
            return Err(no_channel_model_error(&location, &found));
        };
        let config = ModelConfig::parse(&config)
            .map_err(|e| e.with_context(format!("{location}: {CONFIG_FILE}")))?;
        check_same_network(&config, kind, classes)
            .map_err(|e| e.with_context(format!("channel model: {location}")))?;
        parse_safetensors(&weights)
            .and_then(|file| check_num_classes(&config, &file))
            .map_err(|e| e.with_context(format!("{location}: {WEIGHTS_FILE}")))?;
        Ok(Self { config, weights, location })
    }
}

fn read_model_folder(folder: &Path) -> Result<FoundFiles> {
    let list_error = |cause: &std::io::Error| Error::io("list", folder, cause);
    let mut found = FoundFiles::default();
    for entry in std::fs::read_dir(folder).map_err(|e| list_error(&e))? {
        let name = entry.map_err(|e| list_error(&e))?.file_name().to_string_lossy().into_owned();
        found.names.push(name);
    }
    found.names.sort();
    for ((name, _), bytes) in MODEL_FILES.iter().zip(&mut found.contents) {
        let path = folder.join(name);
        if path.exists() {
            *bytes = Some(super::read_weights_file(&path)?);
        }
    }
    Ok(found)
}

/// The model must be of the job's network; class counts included, because its head is kept.
fn check_same_network(
    config: &ModelConfig,
    (algorithm, backbone): (Algorithm, Backbone),
    classes: usize,
) -> Result<()> {
    let mut problems = Problems::new();
    let compared = [
        ("algorithm", config.algorithm.name().to_owned(), algorithm.name().to_owned()),
        ("backbone", config.backbone.name().to_owned(), backbone.name().to_owned()),
        ("num_classes", config.num_classes.to_string(), classes.to_string()),
    ];
    for (name, model_value, job_value) in compared {
        if model_value != job_value {
            problems.push(format!(
                "the model has {name} {model_value}, the job's {name} is {job_value}; set {name} to {model_value} to go \
                 on from this model, or remove the channel"
            ));
        }
    }
    problems.into_result()
}

fn no_channel_model_error(location: &str, found: &FoundFiles) -> Error {
    let names = &found.names;
    let is_built_in_file = |name: &&String| {
        let name = name.rsplit('/').next().unwrap_or(name);
        BUILT_IN_MODEL_FILES.contains(&name) || name.starts_with("model_algo-")
    };
    if let Some(built_in_file) = names.iter().find(is_built_in_file) {
        return Error::input(format!(
            "channel model: {location} is a model of Amazon's built-in algorithm ({built_in_file}), whose weights \
             only MXNet can read; remove the channel and train with use_pretrained_model, which \
             starts from ImageNet's weights, and from then on give the models that maskmaker writes"
        ));
    }
    let shown_names: Vec<&str> = names.iter().take(10).map(String::as_str).collect();
    let found_text =
        if shown_names.is_empty() { "nothing".to_owned() } else { shown_names.join(", ") };
    Error::input(format!(
        "channel model: {location} holds no model of maskmaker, which is {ARCHIVE_FILE} or what is in it: \
         {CONFIG_FILE} and {WEIGHTS_FILE} (found: {found_text}); point the channel at the {ARCHIVE_FILE} of a training \
         job, or remove it"
    ))
}
