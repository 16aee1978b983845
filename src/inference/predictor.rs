//! One image, looked at as asked: as it is or scaled down, in tiles, mirrored, at several sizes. Whatever the way, the
//! result is logits on the network's grid.

use std::borrow::Cow;

use image::RgbImage;
use image::imageops::flip_horizontal;
use tch::{Device, Kind, Tensor};

use super::fused_network::FusedNetwork;
use super::postprocess::GridAlignment;
use super::segment::{ModelInfo, TestTimeAugmentation};
use super::tiles;
use super::torchscript::TorchScriptNetwork;
use crate::error::{Error, Result};
use crate::imaging::{Region, resize_image};
use crate::model::network::{IMAGENET_MEAN, IMAGENET_STD};
use crate::model::size::shrink_image;
use crate::torch::build_float_tensor;

/// What answers logits on a grid.
#[derive(Debug)]
pub(super) enum Backend {
    Fused(FusedNetwork),
    TorchScript(TorchScriptNetwork),
}

/// A core with what its images are normalized by, on the same device.
#[derive(Debug)]
pub(super) struct Predictor {
    backend: Backend,
    normalized_bytes: [[f32; 256]; 3],
    mean: Tensor,
    std: Tensor,
}

/// Logits of images of one size: `[batch, classes, rows, columns]`, and how they lie on the pixels.
#[derive(Debug)]
pub(super) struct GridLogits {
    pub(super) logits: Tensor,
    pub(super) alignment: GridAlignment,
    /// The size that the grid was made for: the image's own, or that of the image scaled down.
    pub(super) size: (u32, u32),
}

impl Predictor {
    pub(super) fn new(backend: Backend) -> Result<Self> {
        let device = backend.device();
        let to_device = |values: &[f32]| Tensor::f_from_slice(values)?.f_to_device(device);
        let (mean, std) = (to_device(&IMAGENET_MEAN)?, to_device(&IMAGENET_STD)?);
        Ok(Self { backend, normalized_bytes: normalization_table(), mean, std })
    }

    /// The scores of images of one size, all looked at in the same way.
    pub(super) fn predict(
        &self,
        images: &[&RgbImage],
        tta: &TestTimeAugmentation,
        info: &ModelInfo,
    ) -> Result<GridLogits> {
        let scales: &[f32] = if tta.scales.is_empty() { &[1.0] } else { &tta.scales };
        if scales == [1.0] && !tta.flip {
            return self.predict_once(images, tta.tile, info);
        }
        let mut sum: Option<GridLogits> = None;
        let mut pass_count = 0.0;
        for &scale in scales {
            let scaled: Vec<Cow<'_, RgbImage>> =
                images.iter().map(|image| resize_by_scale(image, scale)).collect();
            for flipped in [false, true].iter().take(if tta.flip { 2 } else { 1 }) {
                let inputs: Vec<Cow<'_, RgbImage>> = scaled
                    .iter()
                    .map(|image| {
                        if *flipped {
                            Cow::Owned(flip_horizontal(&**image))
                        } else {
                            Cow::Borrowed(&**image)
                        }
                    })
                    .collect();
                let inputs: Vec<&RgbImage> = inputs.iter().map(|image| &**image).collect();
                let predicted = self.predict_once(&inputs, tta.tile, info)?;
                // Cells of a tiled grid may reach over the image's edge, which mirroring would move.
                let logits = resample_to_image(&predicted)?;
                let logits = if *flipped { logits.f_flip([3])? } else { logits };
                let probabilities = logits.f_softmax(1, Kind::Float)?;
                pass_count += 1.0;
                match &mut sum {
                    None => {
                        let size = images.first().map_or((0, 0), |image| image.dimensions());
                        let size = if tta.tile { size } else { predicted.size };
                        sum = Some(GridLogits {
                            logits: probabilities,
                            alignment: GridAlignment::FitsImage,
                            size,
                        });
                    }
                    Some(sum) => {
                        let cells = sum.logits.size();
                        let resized = probabilities.f_upsample_bilinear2d(
                            [cells[2], cells[3]],
                            false,
                            None,
                            None,
                        )?;
                        let _ = sum.logits.f_add_(&resized)?;
                    }
                }
            }
        }
        let mut sum = sum.ok_or_else(|| Error::internal("no pass was asked for"))?;
        // Logits whose softmax is the mean of the probabilities.
        sum.logits = sum.logits.f_div_scalar(pass_count)?.f_clamp_min(1e-12)?.f_log()?;
        Ok(sum)
    }

    /// One pass over images of one size.
    fn predict_once(
        &self,
        images: &[&RgbImage],
        tile: bool,
        info: &ModelInfo,
    ) -> Result<GridLogits> {
        let Some(first) = images.first() else {
            return Err(Error::internal("no image was given"));
        };
        let size = first.dimensions();
        if size.0.max(size.1) <= info.max_side {
            let logits = self.forward(images)?;
            return Ok(GridLogits { logits, alignment: GridAlignment::FitsImage, size });
        }
        if tile {
            let image_logits: Result<Vec<Tensor>> = images
                .iter()
                .map(|image| tiles::compute_tiled_logits(image, info, |tile| self.forward(&[tile])))
                .collect();
            let image_logits = image_logits?;
            let cell_side = tiles::CELL_SIDE;
            return Ok(GridLogits {
                logits: Tensor::f_cat(&image_logits, 0)?,
                alignment: GridAlignment::CellSide(cell_side),
                size,
            });
        }
        let shrunk: Vec<Cow<'_, RgbImage>> =
            images.iter().map(|image| shrink_image(image, info.max_side)).collect();
        let shrunk: Vec<&RgbImage> = shrunk.iter().map(|image| &**image).collect();
        let size = shrunk.first().map_or(size, |image| image.dimensions());
        Ok(GridLogits { logits: self.forward(&shrunk)?, alignment: GridAlignment::FitsImage, size })
    }

    fn forward(&self, images: &[&RgbImage]) -> Result<Tensor> {
        let input = self.normalize_images(images)?;
        match &self.backend {
            Backend::Fused(network) => network.logits(&input),
            Backend::TorchScript(network) => network.logits(&input),
        }
    }

    /// `[batch, 3, height, width]` in channels-last memory; to a GPU the bytes cross as they are
    /// (`docs/architecture.md#bytes-to-the-device`).
    fn normalize_images(&self, images: &[&RgbImage]) -> Result<Tensor> {
        let (width, height) = images.first().map_or((0, 0), |image| image.dimensions());
        let size = [images.len() as i64, i64::from(height), i64::from(width), 3];
        let device = self.backend.device();
        let normalized = if device == Device::Cpu {
            build_float_tensor(&size, |elements| {
                let pixels = images.iter().flat_map(|image| image.as_raw().as_chunks::<3>().0);
                for (output, pixel) in elements.as_chunks_mut::<3>().0.iter_mut().zip(pixels) {
                    for channel in 0..3 {
                        output[channel] =
                            self.normalized_bytes[channel][usize::from(pixel[channel])];
                    }
                }
            })?
        } else {
            let bytes: Vec<u8> = images.iter().flat_map(|image| image.as_raw()).copied().collect();
            let pixels = Tensor::f_from_data_size(&bytes, &size, Kind::Uint8)?;
            let mut pixels = pixels.f_to_device(device)?.f_to_kind(Kind::Float)?;
            let mut scaled = pixels.f_div_scalar_(255.0)?;
            let mut centered = scaled.f_sub_(&self.mean)?;
            centered.f_div_(&self.std)?
        };
        Ok(normalized.f_permute([0, 3, 1, 2])?)
    }
}

/// Of each channel: what each byte becomes.
fn normalization_table() -> [[f32; 256]; 3] {
    std::array::from_fn(|channel| {
        std::array::from_fn(|byte| {
            (byte as f32 / 255.0 - IMAGENET_MEAN[channel]) / IMAGENET_STD[channel]
        })
    })
}

impl Backend {
    pub(super) fn device(&self) -> Device {
        match self {
            Self::Fused(network) => network.device(),
            Self::TorchScript(network) => network.device(),
        }
    }
}

/// The logits on a grid that covers the image exactly.
fn resample_to_image(predicted: &GridLogits) -> Result<Tensor> {
    let GridAlignment::CellSide(cell_side) = predicted.alignment else {
        return Ok(predicted.logits.shallow_clone());
    };
    let (width, height) = (i64::from(predicted.size.0), i64::from(predicted.size.1));
    if width % cell_side == 0 && height % cell_side == 0 {
        return Ok(predicted.logits.shallow_clone());
    }
    // Sampled anew at as many cells, each a little smaller than before.
    let size = predicted.logits.size();
    let covered_share = |full: i64, side: i64| side as f64 / (full * cell_side) as f64;
    let (height_share, width_share) =
        (covered_share(size[2], height), covered_share(size[3], width));
    let theta = [width_share, 0.0, width_share - 1.0, 0.0, height_share, height_share - 1.0]
        .map(|value| value as f32);
    let theta = Tensor::f_from_slice(&theta)?.f_reshape([1, 2, 3])?;
    let theta = theta.f_to_device(predicted.logits.device())?.f_expand([size[0], 2, 3], false)?;
    let sampling_grid = Tensor::f_affine_grid_generator(&theta, &size[..], false)?;
    // Bilinear (0), the border goes on (1).
    Ok(predicted.logits.f_grid_sampler(&sampling_grid, 0, 1, false)?)
}

fn resize_by_scale(image: &RgbImage, scale: f32) -> Cow<'_, RgbImage> {
    let (width, height) = image.dimensions();
    let scale_side = |side: u32| ((f64::from(side) * f64::from(scale)).round() as u32).max(1);
    let size = (scale_side(width), scale_side(height));
    if size == (width, height) {
        return Cow::Borrowed(image);
    }
    Cow::Owned(resize_image(image, Region::whole(width, height), size.0, size.1))
}
