//! The `model` channel: a model that training goes on from, as SageMaker hands over the artifact of an
//! earlier job (incremental training).

use std::path::Path;

use super::archive;
use crate::error::{Error, Problems, Result};
use crate::model::artifact::{CONFIG, Config, WEIGHTS, check_classes};
use crate::model::tensor_file::open;
use crate::sagemaker::hyperparameters::{Algorithm, Backbone};

/// What SageMaker calls an artifact.
const ARCHIVE: &str = "model.tar.gz";

/// What the built-in algorithm's artifact holds.
const BUILT_IN: [&str; 3] = ["model_algo-1", "model_best.params", "hyperparams.json"];

/// A model of an earlier job.
#[derive(Debug)]
pub(super) struct GivenModel {
    pub(super) config: Config,
    /// The bytes of `model.safetensors`.
    pub(super) weights: Vec<u8>,
    /// Where it was found, for people.
    pub(super) place: String,
}

/// What of a model was found, wherever it lay.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The bytes of `config.json` and `model.safetensors`.
    pub(super) wanted: [Option<Vec<u8>>; 2],
    /// The names of everything, cut where there are many.
    pub(super) names: Vec<String>,
}

/// The files of [`Found`], with the most bytes they may have.
pub(super) const WANTED: [(&str, u64); 2] = [(CONFIG, 1 << 20), (WEIGHTS, 1 << 30)];

impl GivenModel {
    /// Reads the folder of the channel, which holds the archive or its contents, and checks that the
    /// model is one of this network.
    pub(super) fn read(folder: &Path, kind: (Algorithm, Backbone), classes: usize) -> Result<Self> {
        let archive = folder.join(ARCHIVE);
        let (found, place) = if archive.is_file() {
            if folder.join(CONFIG).exists() || folder.join(WEIGHTS).exists() {
                return Err(Error::input(format!(
                    "channel model holds {ARCHIVE} and an unpacked model beside it, and they may \
                     differ; remove one of them"
                )));
            }
            (archive::read(&archive).map_err(|e| e.within(archive.display()))?, archive)
        } else {
            (read_folder(folder)?, folder.to_owned())
        };
        let place = place.display().to_string();
        let Found { wanted: [Some(config), Some(weights)], .. } = found else {
            return Err(no_model(&place, &found));
        };
        let config = Config::parse(&config).map_err(|e| e.within(format!("{place}: {CONFIG}")))?;
        check_same(&config, kind, classes)
            .map_err(|e| e.within(format!("channel model: {place}")))?;
        open(&weights)
            .and_then(|file| check_classes(&config, &file))
            .map_err(|e| e.within(format!("{place}: {WEIGHTS}")))?;
        Ok(Self { config, weights, place })
    }
}

fn read_folder(folder: &Path) -> Result<Found> {
    let failed = |cause: &std::io::Error| Error::io("list", folder, cause);
    let mut found = Found::default();
    for entry in std::fs::read_dir(folder).map_err(|e| failed(&e))? {
        let name = entry.map_err(|e| failed(&e))?.file_name().to_string_lossy().into_owned();
        found.names.push(name);
    }
    found.names.sort();
    for ((name, _), bytes) in WANTED.iter().zip(&mut found.wanted) {
        let path = folder.join(name);
        if path.exists() {
            *bytes = Some(super::read(&path)?);
        }
    }
    Ok(found)
}

/// The model must be of the job's network; class counts included, because its head is kept.
fn check_same(
    config: &Config,
    (algorithm, backbone): (Algorithm, Backbone),
    classes: usize,
) -> Result<()> {
    let mut problems = Problems::new();
    let sides = [
        ("algorithm", config.algorithm.name().to_owned(), algorithm.name().to_owned()),
        ("backbone", config.backbone.name().to_owned(), backbone.name().to_owned()),
        ("num_classes", config.num_classes.to_string(), classes.to_string()),
    ];
    for (name, held, asked) in sides {
        if held != asked {
            problems.push(format!(
                "the model has {name} {held}, the job's {name} is {asked}; set {name} to {held} to go \
                 on from this model, or remove the channel"
            ));
        }
    }
    problems.into_result()
}

fn no_model(place: &str, found: &Found) -> Error {
    let names = &found.names;
    let own = |name: &&String| {
        let name = name.rsplit('/').next().unwrap_or(name);
        BUILT_IN.contains(&name) || name.starts_with("model_algo-")
    };
    if let Some(own) = names.iter().find(own) {
        return Error::input(format!(
            "channel model: {place} is a model of Amazon's built-in algorithm ({own}), whose weights \
             only MXNet can read; remove the channel and train with use_pretrained_model, which \
             starts from ImageNet's weights, and from then on give the models that maskmaker writes"
        ));
    }
    let lists: Vec<&str> = names.iter().take(10).map(String::as_str).collect();
    let lists = if lists.is_empty() { "nothing".to_owned() } else { lists.join(", ") };
    Error::input(format!(
        "channel model: {place} holds no model of maskmaker, which is {ARCHIVE} or what is in it: \
         {CONFIG} and {WEIGHTS} (found: {lists}); point the channel at the {ARCHIVE} of a training \
         job, or remove it"
    ))
}
