//! A graph with its weights, which turns 8-bit images into logits or class ids.

use std::path::Path;

use image::{GrayImage, RgbImage};
use tch::{Device, Kind, Tensor};

use super::forward::{ForwardMode, Logits, forward};
use super::graph::Graph;
use super::precision::ComputePrecision;
use super::tensor_file::TensorSource;
use super::weights::Weights;
use super::{Architecture, ModelConfig, heads, onnx, torchscript};
use crate::error::{Error, Result};

/// Mean of red, green and blue over ImageNet, as shares of full scale (torchvision).
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Standard deviation of red, green and blue over ImageNet, as shares of full scale (torchvision).
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// A network on a device.
#[derive(Debug)]
pub struct Network {
    graph: Graph,
    pub weights: Weights,
    /// Number format of activations and convolutions.
    pub precision: ComputePrecision,
    device: Device,
    mean: Tensor,
    std: Tensor,
}

/// Builds the layers of an architecture.
pub fn build_graph(architecture: Architecture, classes: usize) -> Graph {
    heads::build_network(architecture, classes as i64)
}

impl Network {
    /// Makes a network with random weights, which `seed` decides.
    pub fn random(
        architecture: Architecture,
        classes: usize,
        seed: u64,
        device: Device,
    ) -> Result<Self> {
        let graph = build_graph(architecture, classes);
        let weights = Weights::random(graph.parameters(), seed, device)?;
        Self::new(graph, weights, device)
    }

    /// Makes a network with those tensors of a file whose names start with `prefix`.
    pub fn from_tensors(
        config: &ModelConfig,
        tensors: &dyn TensorSource,
        prefix: &str,
        device: Device,
    ) -> Result<Self> {
        let graph = build_graph(config.architecture(), config.num_classes);
        let weights = Weights::from_tensors(tensors, prefix, graph.parameters(), device)?;
        Self::new(graph, weights, device)
    }

    fn new(graph: Graph, weights: Weights, device: Device) -> Result<Self> {
        let mean = Tensor::f_from_slice(&IMAGENET_MEAN)?.f_to_device(device)?;
        let std = Tensor::f_from_slice(&IMAGENET_STD)?.f_to_device(device)?;
        Ok(Self { graph, weights, precision: ComputePrecision::default(), device, mean, std })
    }

    /// Copies the network with weights in 32 bits that share no memory and require no gradient.
    pub fn copy(&self) -> Result<Self> {
        let weights = self.weights.copy(Kind::Float, &[])?;
        Ok(Self {
            precision: self.precision,
            ..Self::new(self.graph.clone(), weights, self.device)?
        })
    }

    /// Copies the network for many images in one number format. The convolutions' weights are
    /// converted once and not for each image.
    pub fn frozen_copy(&self, precision: ComputePrecision) -> Result<Self> {
        let fp32_modules: Vec<&str> =
            self.graph.classifier_layers().map(|conv| conv.name.as_str()).collect();
        let weights = self.weights.copy(precision.kind(), &fp32_modules)?;
        Ok(Self { precision, ..Self::new(self.graph.clone(), weights, self.device)? })
    }

    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    pub fn device(&self) -> Device {
        self.device
    }

    /// Returns the number format of the logits: at least 32 bits, whatever the precision.
    pub fn logit_kind(&self) -> Kind {
        if self.precision == ComputePrecision::Fp64 { Kind::Double } else { Kind::Float }
    }

    /// Computes the logits of u8 images `[batch, height, width, 3]`.
    pub fn logits(&self, images: &Tensor, mode: ForwardMode<'_>) -> Result<Logits> {
        forward(&self.graph, &self.weights, &self.normalize(images)?, mode)
    }

    /// Normalizes u8 images `[batch, height, width, 3]` to the first layer's input `[batch, 3,
    /// height, width]`. The bytes cross to the device as they are and are normalized there
    /// (`docs/architecture.md#bytes-to-the-device`). The permutation leaves channels-last memory in
    /// NCHW order, the fastest layout for convolutions on CPU and GPU alike.
    pub fn normalize(&self, images: &Tensor) -> Result<Tensor> {
        // `Predictor::normalize_images` of src/inference computes the same values, up to rounding,
        // by a table on a processor. This function also serves training, whose batches are tensors.
        // Batches of training are on the device already; images to predict are not.
        let images = if images.device() == self.device {
            images.shallow_clone()
        } else {
            images.f_to_device(self.device)?
        };
        let mut images = images.f_to_kind(Kind::Float)?;
        let mut scaled = images.f_div_scalar_(255.0)?;
        let mut centered = scaled.f_sub_(&self.mean)?;
        let images = centered.f_div_(&self.std)?.f_permute([0, 3, 1, 2])?;
        Ok(images.f_to_kind(self.precision.kind())?)
    }

    /// Writes the network as TorchScript, for `torch.jit.load`. The file is whole or absent.
    pub fn write_torchscript(&self, path: &Path) -> Result<()> {
        torchscript::export_torchscript(path, &self.graph, &self.weights)
    }

    /// Writes the network as ONNX. The file is whole or absent. `metadata` are names and texts that
    /// the file carries.
    pub fn write_onnx(&self, path: &Path, metadata: &[(&str, String)]) -> Result<()> {
        onnx::write_onnx(path, &self.graph, &self.weights, metadata)
    }

    /// Predicts the most likely class of each pixel of images that all have the same size.
    pub fn predict_classes(&self, images: &[&RgbImage]) -> Result<Vec<GrayImage>> {
        let Some(first) = images.first() else { return Ok(Vec::new()) };
        let (width, height) = first.dimensions();
        let mut bytes = Vec::with_capacity(images.len() * first.as_raw().len());
        for image in images {
            bytes.extend_from_slice(image.as_raw());
        }
        let size = [images.len() as i64, i64::from(height), i64::from(width), 3];
        let class_ids = tch::no_grad(|| -> Result<Tensor> {
            let pixels = Tensor::f_from_data_size(&bytes, &size, Kind::Uint8)?;
            let logits = self.logits(&pixels, ForwardMode::Eval { aux: false })?;
            // Serving avoids full-size logits (`argmax_classes` of src/inference). Here they stay
            // on the device that trains, and only the classes are copied to the processor.
            let classes = logits.out.f_argmax(1, false)?.f_to_kind(Kind::Uint8)?;
            Ok(classes.f_to_device(Device::Cpu)?.f_contiguous()?)
        })?;
        let mut ids = vec![0; class_ids.numel()];
        class_ids.f_copy_data_u8(&mut ids, class_ids.numel())?;
        let mut masks = Vec::with_capacity(images.len());
        for ids in ids.chunks_exact((width as usize * height as usize).max(1)) {
            let Some(mask) = GrayImage::from_raw(width, height, ids.to_vec()) else {
                return Err(Error::internal("a mask has another size than its image"));
            };
            masks.push(mask);
        }
        Ok(masks)
    }
}
