//! The weights that a job starts from: those of the `model` channel, pretrained ones, or random ones.

mod archive;
mod fit;
mod model_channel;
mod search;

pub use search::{Places, pick};

use std::path::Path;

use tch::Device;

use super::network::graph;
use super::state_dict::StateDict;
use super::tensor_file::open;
use super::{Config, Network};
use crate::error::{Error, Result};
use crate::sagemaker::hyperparameters::{Algorithm, Backbone};
use fit::Plan;
use model_channel::GivenModel;

/// Larger files are not read into memory: the weights of a ResNet-101 with any head take 0.3 GB, with
/// an optimizer's state beside them 1 GB.
pub const MAX_BYTES: u64 = 2 << 30;

/// What a job asks for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The network.
    pub kind: (Algorithm, Backbone),
    /// Its classes, background included.
    pub classes: usize,
    /// Whether its backbone starts from pretrained weights.
    pub pretrained: bool,
    /// The folder of the `model` channel, which wins over pretrained weights.
    pub model_channel: Option<&'a Path>,
    /// Where pretrained weights may lie.
    pub places: &'a Places,
}

/// Weights that were found and fit the network by their names and shapes.
#[derive(Debug)]
pub struct Initial {
    kind: (Algorithm, Backbone),
    classes: usize,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Random,
    /// `name` is their path or URI.
    Pretrained {
        name: String,
        bytes: Vec<u8>,
    },
    Model(GivenModel),
}

impl Initial {
    /// Finds and checks them. What does not fit is named, all of it.
    pub fn find(wanted: &Wanted<'_>) -> Result<Self> {
        let Wanted { kind, classes, .. } = *wanted;
        let source = if let Some(folder) = wanted.model_channel {
            Source::Model(GivenModel::read(folder, kind, classes)?)
        } else if wanted.pretrained {
            let path = search::find(wanted.places, kind.1)?;
            let bytes = read(&path)?;
            let fetched = wanted.places.fetched_from.clone();
            let name = fetched.unwrap_or_else(|| path.display().to_string());
            StateDict::open(&bytes)
                .and_then(|file| Plan::new(kind, classes, &file).map(drop))
                .map_err(|error| error.within(&name))?;
            Source::Pretrained { name, bytes }
        } else {
            Source::Random
        };
        Ok(Self { kind, classes, source })
    }

    /// What tells these weights from others; none for random ones, which the seed decides.
    pub fn checksum(&self) -> Option<String> {
        let (from, bytes) = match &self.source {
            Source::Random => return None,
            Source::Pretrained { bytes, .. } => ("pretrained", bytes),
            Source::Model(model) => ("model channel", &model.weights),
        };
        Some(format!("{from} (checksum {:08x})", crc32fast::hash(bytes)))
    }

    /// The classes' names of the model that training goes on from.
    pub fn class_names(&self) -> Option<&[String]> {
        match &self.source {
            Source::Model(model) => Some(&model.config.class_names),
            _ => None,
        }
    }

    /// The network with these weights, and a sentence on where they come from. What the file does not
    /// hold is random, fixed by `seed`.
    pub fn network(self, seed: u64, device: Device) -> Result<(Network, String)> {
        let (kind, classes) = (self.kind, self.classes);
        let random = || Network::random(kind, classes, seed, device);
        match self.source {
            Source::Random => Ok((random()?, "starting from random weights".to_owned())),
            Source::Pretrained { name, bytes } => {
                let named = |error: Error| error.within(&name);
                let file = StateDict::open(&bytes).map_err(named)?;
                let plan = Plan::new(kind, classes, &file).map_err(named)?;
                let mut network = random()?;
                plan.load(&file, &mut network.weights).map_err(named)?;
                Ok((network, format!("starting from {name}: {}", plan.describe())))
            }
            Source::Model(model) => {
                let Config { num_classes, .. } = model.config;
                let network = open(&model.weights)
                    .and_then(|file| Network::from_tensors(&model.config, &file, "", device))
                    .map_err(|error| error.within(&model.place))?;
                let specs = graph(kind.0, kind.1, num_classes).parameters().len();
                Ok((network, format!("starting from {}: all {specs} tensors", model.place)))
            }
        }
    }
}

/// Reads a whole file of weights. What is not a regular file might never end.
fn read(path: &Path) -> Result<Vec<u8>> {
    let about = std::fs::metadata(path).map_err(|cause| Error::io("read", path, &cause))?;
    if !about.is_file() {
        return Err(Error::input(format!("{} is not a regular file", path.display())));
    }
    if about.len() > MAX_BYTES {
        return Err(Error::input(format!(
            "{} has {} bytes; weights have up to {MAX_BYTES}: save the weights alone",
            path.display(),
            about.len()
        )));
    }
    crate::files::read(path)
}

#[cfg(test)]
mod tests;
