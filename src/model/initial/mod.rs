//! The weights that a job starts from: those of the `model` channel, pretrained ones, or random
//! ones.

mod backbone_file;
mod misfits;
mod model_channel;
mod search;
mod weight_mapping;

pub use search::{PretrainedLocations, pick_weights_file};

use std::path::{Path, PathBuf};

use tch::Device;

use super::network::build_graph;
use super::state_dict::StateDict;
use super::tensor_file::parse_safetensors;
use super::{Architecture, Network};
use crate::error::{Error, ErrorContext, Result};
use crate::files::PathContext;
use model_channel::ChannelModel;
use weight_mapping::WeightMapping;

/// Largest file of weights that is read into memory, in bytes. The weights of a ResNet-101 with any
/// head take 0.3 GB, with an optimizer's state beside them 1 GB.
pub const MAX_WEIGHTS_BYTES: u64 = 2 << 30;

/// The settings of a job that decide its initial weights.
#[derive(Debug, Clone, Copy)]
pub struct InitialWeightsRequest<'a> {
    pub architecture: Architecture,
    /// Number of classes, background included.
    pub classes: usize,
    /// True if the backbone starts from pretrained weights.
    pub pretrained: bool,
    /// Folder of the `model` channel, which takes precedence over pretrained weights.
    pub model_channel: Option<&'a Path>,
    /// Places where pretrained weights may lie.
    pub locations: &'a PretrainedLocations,
}

/// The place of the weights that a job asks for.
enum WeightsPlace<'a> {
    Random,
    /// A file, and its path or the URI that it is a copy of.
    PretrainedFile {
        path: PathBuf,
        name: String,
    },
    /// The folder of the `model` channel.
    ModelChannel(&'a Path),
}

impl<'a> WeightsPlace<'a> {
    /// Finds the place without reading any weights.
    fn find(request: &InitialWeightsRequest<'a>) -> Result<Self> {
        if let Some(folder) = request.model_channel {
            return Ok(Self::ModelChannel(folder));
        }
        if !request.pretrained {
            return Ok(Self::Random);
        }
        let path = search::find_pretrained_file(request.locations, request.architecture.backbone)?;
        let name = match &request.locations.fetched_from {
            Some(uri) => uri.clone(),
            None => path.display().to_string(),
        };
        Ok(Self::PretrainedFile { path, name })
    }
}

/// Weights that were found, and that fit the network by their names and shapes.
#[derive(Debug)]
pub struct InitialWeights {
    architecture: Architecture,
    classes: usize,
    source: WeightsSource,
}

#[derive(Debug)]
enum WeightsSource {
    Random,
    /// Pretrained weights; `name` is their path or URI.
    Pretrained {
        name: String,
        bytes: Vec<u8>,
    },
    Model(ChannelModel),
}

impl WeightsSource {
    /// Reads the weights, and checks that they fit the network.
    fn read(place: WeightsPlace<'_>, architecture: Architecture, classes: usize) -> Result<Self> {
        match place {
            WeightsPlace::Random => Ok(Self::Random),
            WeightsPlace::PretrainedFile { path, name } => {
                let bytes = read_weights_file(&path)?;
                let file = StateDict::open(&bytes).error_context(&name)?;
                WeightMapping::new(architecture, classes, &file).error_context(&name)?;
                Ok(Self::Pretrained { name, bytes })
            }
            WeightsPlace::ModelChannel(folder) => {
                Ok(Self::Model(ChannelModel::read(folder, architecture, classes)?))
            }
        }
    }
}

impl InitialWeights {
    /// Finds, reads and checks the weights. The error names every tensor that does not fit.
    pub fn find(request: &InitialWeightsRequest<'_>) -> Result<Self> {
        let InitialWeightsRequest { architecture, classes, .. } = *request;
        let place = WeightsPlace::find(request)?;
        let source = WeightsSource::read(place, architecture, classes)?;
        Ok(Self { architecture, classes, source })
    }

    /// Returns a text that identifies these weights, or `None` for random ones, which the seed
    /// decides.
    pub fn checksum(&self) -> Option<String> {
        let (origin, bytes) = match &self.source {
            WeightsSource::Random => return None,
            WeightsSource::Pretrained { bytes, .. } => ("pretrained", bytes),
            WeightsSource::Model(model) => ("model channel", &model.weights),
        };
        Some(format!("{origin} (checksum {:08x})", crc32fast::hash(bytes)))
    }

    /// Returns the class names of the model in the `model` channel.
    pub fn class_names(&self) -> Option<&[String]> {
        match &self.source {
            WeightsSource::Model(model) => Some(&model.config.class_names),
            _ => None,
        }
    }

    /// Makes the network with these weights, and a sentence about their origin. Tensors that the
    /// file does not hold are random, fixed by `seed`.
    pub fn into_network(self, seed: u64, device: Device) -> Result<(Network, String)> {
        let (architecture, classes) = (self.architecture, self.classes);
        match self.source {
            WeightsSource::Random => {
                let network = Network::random(architecture, classes, seed, device)?;
                Ok((network, "starting from random weights".to_owned()))
            }
            WeightsSource::Pretrained { name, bytes } => {
                let file = StateDict::open(&bytes).error_context(&name)?;
                let mapping =
                    WeightMapping::new(architecture, classes, &file).error_context(&name)?;
                let mut network = Network::random(architecture, classes, seed, device)?;
                mapping.copy_into(&file, &mut network.weights).error_context(&name)?;
                Ok((network, format!("starting from {name}: {}", mapping.describe())))
            }
            WeightsSource::Model(ChannelModel { config, weights, location }) => {
                let file = parse_safetensors(&weights).error_context(&location)?;
                let network =
                    Network::from_tensors(&config, &file, "", device).error_context(&location)?;
                let graph = build_graph(architecture, config.num_classes);
                let count = graph.parameters().len();
                Ok((network, format!("starting from {location}: all {count} tensors")))
            }
        }
    }
}

/// Reads a whole file of weights. Reading anything but a regular file might never end.
fn read_weights_file(path: &Path) -> Result<Vec<u8>> {
    let metadata = std::fs::metadata(path).with_path("read", path)?;
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
