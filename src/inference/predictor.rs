//! Runs a network over images as a request asks: as they are or scaled down, in tiles, mirrored, at
//! several sizes. The result is always logits on a grid.

use std::borrow::Cow;

use image::RgbImage;
use image::imageops::flip_horizontal;
use tch::{Device, Kind, Tensor};

use super::fused_network::FusedNetwork;
use super::postprocess::GridAlignment;
use super::segment::{ModelInfo, SegmentOptions, scale_side};
use super::tiles;
use super::torchscript::TorchScriptNetwork;
use crate::error::{Error, Result};
use crate::imaging::{Region, resize_image};
use crate::model::network::{IMAGENET_MEAN, IMAGENET_STD};
use crate::model::size::shrink_image;
use crate::torch::{UploadStream, build_float_tensor};

/// The network behind an engine.
#[derive(Debug)]
pub(super) enum Backend {
    Fused(FusedNetwork),
    TorchScript(TorchScriptNetwork),
}

/// A network and the constants that normalize its images, on the same device.
#[derive(Debug)]
pub(super) struct Predictor {
    backend: Backend,
    normalized_bytes: [[f32; 256]; 3],
    mean: Tensor,
    std: Tensor,
    upload_stream: UploadStream,
}

/// Logits `[batch, classes, rows, columns]` of images of one size, and their position on the
/// pixels.
#[derive(Debug)]
pub(super) struct GridLogits {
    pub(super) logits: Tensor,
    pub(super) alignment: GridAlignment,
    /// Width and height that the grid was made for, in pixels: the image's own, or those of the
    /// image scaled down.
    pub(super) size: (u32, u32),
}

impl Predictor {
    pub(super) fn new(backend: Backend) -> Result<Self> {
        let device = backend.device();
        let mean = Tensor::f_from_slice(&IMAGENET_MEAN)?.f_to_device(device)?;
        let std = Tensor::f_from_slice(&IMAGENET_STD)?.f_to_device(device)?;
        let upload_stream = UploadStream::new(device)?;
        Ok(Self { backend, normalized_bytes: normalization_table(), mean, std, upload_stream })
    }

    /// Returns the logits of images of one size. With several passes these are logarithms of the
    /// mean probabilities.
    pub(super) fn predict(
        &self,
        images: &[&RgbImage],
        options: &SegmentOptions,
        info: &ModelInfo,
    ) -> Result<GridLogits> {
        let SegmentOptions { tile, tta, .. } = options;
        if tta.scales() == [1.0] && !tta.flip {
            return self.predict_once(images, *tile, info);
        }
        let flips: &[bool] = if tta.flip { &[false, true] } else { &[false] };
        let mut sum: Option<GridLogits> = None;
        let mut pass_count = 0.0;
        for &scale in tta.scales() {
            let mut scaled = Vec::with_capacity(images.len());
            for image in images {
                scaled.push(resize_by_scale(image, scale));
            }
            for &is_flipped in flips {
                let pass = self.predict_probabilities(&scaled, is_flipped, *tile, info)?;
                pass_count += 1.0;
                let Some(sum) = &mut sum else {
                    let size = images.first().map_or((0, 0), |image| image.dimensions());
                    sum = Some(GridLogits { size: if *tile { size } else { pass.size }, ..pass });
                    continue;
                };
                let cells = sum.logits.size();
                let cells = [cells[2], cells[3]];
                let resized = pass.logits.f_upsample_bilinear2d(cells, false, None, None)?;
                let _ = sum.logits.f_add_(&resized)?;
            }
        }
        let mut sum = sum.ok_or_else(|| Error::internal("no pass was asked for"))?;
        // The softmax of these logarithms is the mean of the probabilities.
        sum.logits = sum.logits.f_div_scalar(pass_count)?.f_clamp_min(1e-12)?.f_log()?;
        Ok(sum)
    }

    /// Runs one pass over images of one size, mirrored if `is_flipped` is set, and returns the
    /// probabilities of the images as they were, on a grid that covers them exactly.
    fn predict_probabilities(
        &self,
        images: &[Cow<'_, RgbImage>],
        is_flipped: bool,
        tile: bool,
        info: &ModelInfo,
    ) -> Result<GridLogits> {
        let mut inputs = Vec::with_capacity(images.len());
        for image in images {
            let image: &RgbImage = image;
            inputs.push(if is_flipped {
                Cow::Owned(flip_horizontal(image))
            } else {
                Cow::Borrowed(image)
            });
        }
        let predicted = self.predict_once(&borrow_images(&inputs), tile, info)?;
        // Mirroring would move the cells of a tiled grid that reach over the image's edge, so the
        // grid is resampled to end with the image first.
        let mut logits = resample_to_image(&predicted)?;
        if is_flipped {
            logits = logits.f_flip([3])?;
        }
        let logits = logits.f_softmax(1, Kind::Float)?;
        Ok(GridLogits { logits, alignment: GridAlignment::FitsImage, size: predicted.size })
    }

    /// Runs one pass over images of one size.
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
            let mut image_logits = Vec::with_capacity(images.len());
            for image in images {
                let logits =
                    tiles::compute_tiled_logits(image, info, |tile| self.forward(&[tile]))?;
                image_logits.push(logits);
            }
            let logits = Tensor::f_cat(&image_logits, 0)?;
            let alignment = GridAlignment::CellSide(tiles::CELL_SIDE);
            return Ok(GridLogits { logits, alignment, size });
        }
        let mut shrunk = Vec::with_capacity(images.len());
        for image in images {
            shrunk.push(shrink_image(image, info.max_side));
        }
        let shrunk = borrow_images(&shrunk);
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

    /// Returns normalized images `[batch, 3, height, width]` in channels-last memory. A GPU
    /// receives the bytes as they are and normalizes them
    /// (`docs/architecture.md#bytes-to-the-device`); on a processor each byte is looked up in a
    /// table and written straight into the float tensor, without tensors in between.
    /// `Network::normalize` in src/model/network.rs computes the same values, up to rounding, by
    /// tensor operations on both, because it also serves training, whose batches are tensors
    /// already.
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
            let bytes = join_pixels(images);
            let upload = self.upload_stream.start_upload(&bytes, &size)?;
            let mut pixels = upload.tensor()?.f_to_kind(Kind::Float)?;
            let mut scaled = pixels.f_div_scalar_(255.0)?;
            let mut centered = scaled.f_sub_(&self.mean)?;
            centered.f_div_(&self.std)?
        };
        Ok(normalized.f_permute([0, 3, 1, 2])?)
    }
}

/// Returns the normalized value of each byte, by channel.
fn normalization_table() -> [[f32; 256]; 3] {
    std::array::from_fn(|channel| {
        std::array::from_fn(|byte| {
            (byte as f32 / 255.0 - IMAGENET_MEAN[channel]) / IMAGENET_STD[channel]
        })
    })
}

/// Returns the bytes of all images, one after the other, without a copy if there is one image.
fn join_pixels<'a>(images: &[&'a RgbImage]) -> Cow<'a, [u8]> {
    if let [image] = images {
        return Cow::Borrowed(image.as_raw());
    }
    let mut bytes = Vec::new();
    for image in images {
        bytes.extend_from_slice(image.as_raw());
    }
    Cow::Owned(bytes)
}

fn borrow_images<'a>(images: &'a [Cow<'_, RgbImage>]) -> Vec<&'a RgbImage> {
    images.iter().map(|image| &**image).collect()
}

impl Backend {
    pub(super) fn device(&self) -> Device {
        match self {
            Self::Fused(network) => network.device(),
            Self::TorchScript(network) => network.device(),
        }
    }
}

/// Returns the logits on a grid that covers the image exactly.
fn resample_to_image(predicted: &GridLogits) -> Result<Tensor> {
    let GridAlignment::CellSide(cell_side) = predicted.alignment else {
        return Ok(predicted.logits.shallow_clone());
    };
    let (width, height) = (i64::from(predicted.size.0), i64::from(predicted.size.1));
    if width % cell_side == 0 && height % cell_side == 0 {
        return Ok(predicted.logits.shallow_clone());
    }
    // The logits are resampled at as many cells, each a little smaller than before.
    let size = predicted.logits.size();
    let height_share = height as f64 / (size[2] * cell_side) as f64;
    let width_share = width as f64 / (size[3] * cell_side) as f64;
    let theta = [width_share, 0.0, width_share - 1.0, 0.0, height_share, height_share - 1.0]
        .map(|value| value as f32);
    let theta = Tensor::f_from_slice(&theta)?.f_reshape([1, 2, 3])?;
    let theta = theta.f_to_device(predicted.logits.device())?.f_expand([size[0], 2, 3], false)?;
    let sampling_grid = Tensor::f_affine_grid_generator(&theta, &size[..], false)?;
    // 0 is bilinear interpolation, and 1 repeats the border outside the grid.
    Ok(predicted.logits.f_grid_sampler(&sampling_grid, 0, 1, false)?)
}

fn resize_by_scale(image: &RgbImage, scale: f32) -> Cow<'_, RgbImage> {
    let (width, height) = image.dimensions();
    let size = (scale_side(width, scale), scale_side(height, scale));
    if size == (width, height) {
        return Cow::Borrowed(image);
    }
    Cow::Owned(resize_image(image, Region::whole(width, height), size.0, size.1))
}
