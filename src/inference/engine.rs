//! The engine: a model artifact made ready to segment images.

use std::path::Path;

use image::{GrayImage, RgbImage};

use super::Segment;
use crate::error::{Error, Result};
use crate::model::size::{restore, shrink};
use crate::model::{Artifact, Config, Network};

/// The arithmetic of inference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Precision {
    /// 32-bit floating point, the only one in this version.
    Fp32,
}

/// How an engine computes; the same for predict and serve, so that both give the same masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The arithmetic.
    pub precision: Precision,
    /// Pixels; an image whose longer side is more is scaled down to it and its mask scaled back.
    pub max_side: u32,
}

/// A network that segments images, one at a time.
#[derive(Debug)]
pub struct Engine {
    network: Network,
    config: Config,
    options: Options,
}

impl Engine {
    /// Loads the artifact in `folder`.
    pub fn load(folder: &Path, options: Options) -> Result<Self> {
        let Precision::Fp32 = options.precision;
        let Artifact { config, network } = Artifact::read(folder, tch::Device::Cpu)?;
        Ok(Self { network, config, options })
    }

    /// What the model's `config.json` says.
    pub fn config(&self) -> &Config {
        &self.config
    }
}

impl Segment for Engine {
    fn segment(&mut self, image: &RgbImage) -> Result<GrayImage> {
        let small = shrink(image, self.options.max_side);
        let advice = ": send a smaller image, or lower --max-side (MASKMAKER_MAX_SIDE)";
        let ids = self.network.classes(&[&small]);
        let ids = ids.map_err(|error| error.when_out_of_memory(advice))?.pop();
        let ids = ids.ok_or_else(|| Error::internal("the network answered nothing"))?;
        Ok(restore(ids, image.dimensions()))
    }
}
