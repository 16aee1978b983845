//! Loads a model and segments images with it.

use std::path::Path;

use image::RgbImage;
use tch::{Device, Tensor};

use super::fused_network::FusedNetwork;
use super::postprocess::postprocess_logits;
use super::predictor::{Backend, Predictor};
use super::segment::{ModelInfo, OutputDetail, Segment, SegmentOptions, Segmentation};
use super::settings::{EngineOptions, choose_precision, set_threads};
use super::torchscript::TorchScriptNetwork;
use crate::colors::class_color;
use crate::error::{Error, ErrorContext, Result};
use crate::model::ModelConfig;
use crate::model::artifact::{
    CONFIG_FILE, LABELS_FILE, StoredModel, TORCHSCRIPT_FILE, WEIGHTS_FILE, no_model_error,
};
use crate::model::labels::read_labels;
use crate::model::precision::ComputePrecision;
use crate::model::size::restore_mask_size;
use crate::torch::{default_device, float_slice, release_memory};

/// Bytes of memory that a model takes, about, for each byte of its file: the weights as they were
/// read, or in one or two layouts.
const MEMORY_PER_FILE_BYTE: u64 = 2;

/// A network that segments images.
#[derive(Debug)]
pub struct Engine {
    predictor: Predictor,
    info: ModelInfo,
    // Fields are dropped in their order, so the memory is released after the weights.
    _release_memory: ReleaseMemoryOnDrop,
}

/// Returns freed memory to the system when it is dropped, so that the next engine finds it.
#[derive(Debug)]
struct ReleaseMemoryOnDrop;

impl Drop for ReleaseMemoryOnDrop {
    fn drop(&mut self) {
        release_memory();
    }
}

impl Engine {
    /// Loads the model in `folder`: an artifact of `train` (`config.json` and `model.safetensors`),
    /// or the TorchScript file `model.pt` alone, with classes named by `labels.json` if that
    /// exists.
    pub fn load(folder: &Path, options: EngineOptions) -> Result<Self> {
        set_threads(options.threads);
        // Memory that loading freed is kept for the first images.
        tch::no_grad(|| {
            if is_torchscript_only(folder) {
                load_torchscript(folder, options)
            } else {
                load_artifact(folder, options)
            }
        })
    }

    /// Returns the bytes of memory that loading the model in `folder` takes, about.
    pub fn memory_to_load(folder: &Path) -> Result<u64> {
        let name = match (is_torchscript_only(folder), folder.join(CONFIG_FILE).is_file()) {
            (true, _) => TORCHSCRIPT_FILE,
            (false, true) => WEIGHTS_FILE,
            (false, false) => return Err(no_model_error(folder)),
        };
        let path = folder.join(name);
        let metadata = std::fs::metadata(&path)
            .map_err(|cause| Error::input(format!("cannot read {}: {cause}", path.display())))?;
        Ok(MEMORY_PER_FILE_BYTE * metadata.len())
    }
}

fn is_torchscript_only(folder: &Path) -> bool {
    !folder.join(CONFIG_FILE).is_file() && folder.join(TORCHSCRIPT_FILE).is_file()
}

fn load_artifact(folder: &Path, options: EngineOptions) -> Result<Engine> {
    let device = default_device();
    let stored = StoredModel::open(folder)?;
    let precision = choose_precision(options.precision, device, stored.config.bf16.as_ref());
    let network = FusedNetwork::new(&stored.graph, device, precision, |module, leaf| {
        Ok(stored.tensor(module, leaf)?.f_to_device(device)?)
    })?;
    let backend = Backend::Fused(network);
    let ModelConfig { class_names, num_classes, .. } = stored.config;
    let labels = read_labels(&folder.join(LABELS_FILE), num_classes);
    let colors = labels.unwrap_or_default().into_iter().map(|label| label.color).collect();
    Engine::new(backend, class_names, colors, precision.name(), options)
}

fn load_torchscript(folder: &Path, options: EngineOptions) -> Result<Engine> {
    let device = default_device();
    let path = folder.join(TORCHSCRIPT_FILE);
    let precision = choose_precision(options.precision, device, None);
    let network =
        TorchScriptNetwork::load(&path, device, precision).error_context(path.display())?;
    let classes = network.num_classes as usize;
    let path = folder.join(LABELS_FILE);
    let (names, colors) = if path.is_file() {
        let labels = read_labels(&path, classes).error_context(path.display())?;
        labels.into_iter().map(|label| (label.name, label.color)).unzip()
    } else {
        (ModelConfig::default_class_names(classes), Vec::new())
    };
    Engine::new(Backend::TorchScript(network), names, colors, precision.name(), options)
}

impl Engine {
    fn new(
        backend: Backend,
        class_names: Vec<String>,
        mut colors: Vec<[u8; 3]>,
        precision: &'static str,
        options: EngineOptions,
    ) -> Result<Self> {
        let device = match backend.device() {
            Device::Cuda(index) => format!("cuda:{index}"),
            _ => "cpu".to_owned(),
        };
        for id in colors.len()..class_names.len() {
            colors.push(class_color(id as u8));
        }
        let EngineOptions { max_side, tile_side, .. } = options;
        let tile_side = tile_side.min(max_side) / 8 * 8;
        let tile_overlap = tile_side / 8 / 8 * 8;
        let info =
            ModelInfo { class_names, colors, precision, device, max_side, tile_side, tile_overlap };
        Ok(Self { predictor: Predictor::new(backend)?, info, _release_memory: ReleaseMemoryOnDrop })
    }

    fn segment_batch(
        &self,
        images: &[&RgbImage],
        options: &SegmentOptions,
    ) -> Result<Vec<Segmentation>> {
        let predicted = self.predictor.predict(images, options, &self.info)?;
        let size = predicted.size;
        // One copy for all images. The rest is done on the processor, because the grid is smaller
        // than what follows from it.
        let batch_logits = predicted.logits.f_to_device(Device::Cpu)?;
        check_finite(&batch_logits, self.info.precision)?;
        let mut segmentations = Vec::with_capacity(images.len());
        for (index, image) in images.iter().enumerate() {
            let logits = batch_logits.f_get(index as i64)?;
            let segmentation = postprocess_logits(&logits, predicted.alignment, size, options)?;
            let segmentation =
                resize_segmentation(segmentation, size, image.dimensions(), options.detail)?;
            segmentations.push(segmentation);
        }
        Ok(segmentations)
    }
}

impl Segment for Engine {
    fn segment(
        &mut self,
        images: &[&RgbImage],
        options: &SegmentOptions,
    ) -> Result<Vec<Segmentation>> {
        let oom_hint = ": send a smaller image, or lower --max-side (MASKMAKER_MAX_SIDE)";
        tch::no_grad(|| self.segment_batch(images, options)).memory_advice(oom_hint)
    }

    fn info(&self) -> &ModelInfo {
        &self.info
    }
}

/// Checks that a network's answer is made of numbers, of which alone the most likely class can be
/// told. Half precision ends at 65,504, so activations that are fine in other formats may exceed it.
fn check_finite(logits: &Tensor, precision: &str) -> Result<()> {
    if logits.f_isfinite()?.f_all()?.f_int64_value(&[])? == 1 {
        return Ok(());
    }
    let advice = if precision == ComputePrecision::Fp32.name() {
        "the weights are damaged, or training diverged"
    } else {
        "choose --precision fp32 (MASKMAKER_PRECISION)"
    };
    Err(Error::input(format!(
        "the network's answer in {precision} holds numbers that are not finite: {advice}"
    )))
}

/// Resizes the answer about an image that was scaled down to the image's own size.
fn resize_segmentation(
    segmentation: Segmentation,
    from_size: (u32, u32),
    to_size: (u32, u32),
    detail: OutputDetail,
) -> Result<Segmentation> {
    if from_size == to_size {
        return Ok(segmentation);
    }
    let Segmentation {
        ids,
        confidence,
        mut pixel_confidence,
        mut probabilities,
        mut pixel_entropy,
    } = segmentation;
    if detail >= OutputDetail::PixelConfidence {
        pixel_confidence = resize_planes(&pixel_confidence, from_size, to_size)?;
    }
    if detail >= OutputDetail::Probabilities {
        probabilities = resize_planes(&probabilities, from_size, to_size)?;
    }
    if !pixel_entropy.is_empty() {
        pixel_entropy = resize_planes(&pixel_entropy, from_size, to_size)?;
    }
    let ids = restore_mask_size(ids, to_size);
    Ok(Segmentation { ids, confidence, pixel_confidence, probabilities, pixel_entropy })
}

/// Resizes planes of `from_size` pixels to `to_size`, bilinearly.
fn resize_planes(planes: &[f32], from_size: (u32, u32), to_size: (u32, u32)) -> Result<Vec<f32>> {
    let pixels = (from_size.0 as usize * from_size.1 as usize).max(1);
    let classes = (planes.len() / pixels) as i64;
    let size = [1, classes, i64::from(from_size.1), i64::from(from_size.0)];
    let tensor = Tensor::f_from_slice(planes)?.f_reshape(size)?;
    let size = [i64::from(to_size.1), i64::from(to_size.0)];
    let resized = tensor.f_upsample_bilinear2d(size, false, None, None)?.f_contiguous()?;
    Ok(float_slice(&resized)?.to_vec())
}

#[cfg(test)]
mod tests;
