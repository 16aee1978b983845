//! The weights that a job starts from: those of the `model` channel, pretrained ones, or random ones.

mod archive;
mod model_channel;
mod search;
mod weight_mapping;

pub use search::{PretrainedLocations, pick_weights_file};

use std::path::Path;

use tch::Device;

use super::network::build_graph;
use super::state_dict::StateDict;
use super::tensor_file::parse_safetensors;
use super::{ModelConfig, Network};
use crate::error::{Error, Result};
use crate::sagemaker::hyperparameters::{Algorithm, Backbone};
use model_channel::ChannelModel;
use weight_mapping::WeightMapping;

/// Larger files are not read into memory: the weights of a ResNet-101 with any head take 0.3 GB, with
/// an optimizer's state beside them 1 GB.
pub const MAX_WEIGHTS_BYTES: u64 = 2 << 30;

/// What a job asks for.
#[derive(Debug, Clone, Copy)]
pub struct InitialWeightsRequest<'a> {
    /// The network.
    pub kind: (Algorithm, Backbone),
    /// Its classes, background included.
    pub classes: usize,
    /// Whether its backbone starts from pretrained weights.
    pub pretrained: bool,
    /// The folder of the `model` channel, which wins over pretrained weights.
    pub model_channel: Option<&'a Path>,
    /// Where pretrained weights may lie.
    pub locations: &'a PretrainedLocations,
}

/// Weights that were found and fit the network by their names and shapes.
#[derive(Debug)]
pub struct InitialWeights {
    kind: (Algorithm, Backbone),
    classes: usize,
    source: WeightsSource,
}

#[derive(Debug)]
enum WeightsSource {
    Random,
    /// `name` is their path or URI.
    Pretrained {
        name: String,
        bytes: Vec<u8>,
    },
    Model(ChannelModel),
}

impl InitialWeights {
    /// Finds and checks them. What does not fit is named, all of it.
    pub fn find(request: &InitialWeightsRequest<'_>) -> Result<Self> {
        let InitialWeightsRequest { kind, classes, .. } = *request;
        let source = if let Some(folder) = request.model_channel {
            WeightsSource::Model(ChannelModel::read(folder, kind, classes)?)
        } else if request.pretrained {
            let path = search::find_pretrained_file(request.locations, kind.1)?;
            let bytes = read_weights_file(&path)?;
            let remote_uri = request.locations.fetched_from.clone();
            let name = remote_uri.unwrap_or_else(|| path.display().to_string());
            StateDict::open(&bytes)
                .and_then(|file| WeightMapping::new(kind, classes, &file).map(drop))
                .map_err(|error| error.with_context(&name))?;
            WeightsSource::Pretrained { name, bytes }
        } else {
            WeightsSource::Random
        };
        Ok(Self { kind, classes, source })
    }

    /// What tells these weights from others; none for random ones, which the seed decides.
    pub fn checksum(&self) -> Option<String> {
        let (origin, bytes) = match &self.source {
            WeightsSource::Random => return None,
            WeightsSource::Pretrained { bytes, .. } => ("pretrained", bytes),
            WeightsSource::Model(model) => ("model channel", &model.weights),
        };
        Some(format!("{origin} (checksum {:08x})", crc32fast::hash(bytes)))
    }

    /// The classes' names of the model that training goes on from.
    pub fn class_names(&self) -> Option<&[String]> {
        match &self.source {
            WeightsSource::Model(model) => Some(&model.config.class_names),
            _ => None,
        }
    }

    /// The network with these weights, and a sentence on where they come from. What the file does not
    /// hold is random, fixed by `seed`.
    pub fn into_network(self, seed: u64, device: Device) -> Result<(Network, String)> {
        let (kind, classes) = (self.kind, self.classes);
        let random = || Network::random(kind, classes, seed, device);
        match self.source {
            WeightsSource::Random => Ok((random()?, "starting from random weights".to_owned())),
            WeightsSource::Pretrained { name, bytes } => {
                let with_file_name = |error: Error| error.with_context(&name);
                let file = StateDict::open(&bytes).map_err(with_file_name)?;
                let mapping = WeightMapping::new(kind, classes, &file).map_err(with_file_name)?;
                let mut network = random()?;
                mapping.copy_into(&file, &mut network.weights).map_err(with_file_name)?;
                Ok((network, format!("starting from {name}: {}", mapping.describe())))
            }
            WeightsSource::Model(model) => {
                let ModelConfig { num_classes, .. } = model.config;
                let network = parse_safetensors(&model.weights)
                    .and_then(|file| Network::from_tensors(&model.config, &file, "", device))
                    .map_err(|error| error.with_context(&model.location))?;
                let specs = build_graph(kind.0, kind.1, num_classes).parameters().len();
                Ok((network, format!("starting from {}: all {specs} tensors", model.location)))
            }
        }
    }
}

/// Reads a whole file of weights. What is not a regular file might never end.
fn read_weights_file(path: &Path) -> Result<Vec<u8>> {
    let metadata = std::fs::metadata(path).map_err(|cause| Error::io("read", path, &cause))?;
    if !metadata.is_file() {
        return Err(Error::input(format!("{} is not a regular file", path.display())));
    }
    if metadata.len() > MAX_WEIGHTS_BYTES {
        return Err(Error::input(format!(
            "{} has {} bytes; weights have up to {MAX_WEIGHTS_BYTES}: save the weights alone",
            path.display(),
            metadata.len()
        )));
    }
    crate::files::read_file(path)
}

#[cfg(test)]
mod tests;
