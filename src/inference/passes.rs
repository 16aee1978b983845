//! One image, looked at as asked: as it is or scaled down, in tiles, mirrored, at several sizes. Whatever the way, the
//! result is logits on the network's grid.

use std::borrow::Cow;

use image::RgbImage;
use image::imageops::flip_horizontal;
use tch::{Device, Kind, Tensor};

use super::prepared::Prepared;
use super::readout::Grid;
use super::scripted::Scripted;
use super::segment::{About, View};
use super::tiles;
use crate::error::{Error, Result};
use crate::imaging::{Region, resize_image};
use crate::model::network::{DEVIATION, MEAN};
use crate::model::size::shrink;
use crate::torch::filled;

/// What answers logits on a grid.
#[derive(Debug)]
pub(super) enum Core {
    Prepared(Prepared),
    Scripted(Scripted),
}

/// A core with what its images are normalised by, on the same device.
#[derive(Debug)]
pub(super) struct Passes {
    core: Core,
    values: [[f32; 256]; 3],
    mean: Tensor,
    deviation: Tensor,
}

/// Logits of images of one size: `[batch, classes, rows, columns]`, and how they lie on the pixels.
#[derive(Debug)]
pub(super) struct Scores {
    pub(super) logits: Tensor,
    pub(super) grid: Grid,
    /// The size that the grid was made for: the image's own, or that of the image scaled down.
    pub(super) size: (u32, u32),
}

impl Passes {
    pub(super) fn new(core: Core) -> Result<Self> {
        let device = core.device();
        let on_device = |values: &[f32]| Tensor::f_from_slice(values)?.f_to_device(device);
        let (mean, deviation) = (on_device(&MEAN)?, on_device(&DEVIATION)?);
        Ok(Self { core, values: normalised_bytes(), mean, deviation })
    }

    /// The scores of images of one size, all looked at in the same way.
    pub(super) fn scores(
        &self,
        images: &[&RgbImage],
        view: &View,
        about: &About,
    ) -> Result<Scores> {
        let scales: &[f32] = if view.scales.is_empty() { &[1.0] } else { &view.scales };
        if scales == [1.0] && !view.flip {
            return self.pass(images, view.tile, about);
        }
        let mut sum: Option<Scores> = None;
        let mut passes = 0.0;
        for &scale in scales {
            let scaled: Vec<Cow<'_, RgbImage>> =
                images.iter().map(|image| at_scale(image, scale)).collect();
            for mirror in [false, true].iter().take(if view.flip { 2 } else { 1 }) {
                let seen: Vec<Cow<'_, RgbImage>> = scaled
                    .iter()
                    .map(|image| {
                        if *mirror {
                            Cow::Owned(flip_horizontal(&**image))
                        } else {
                            Cow::Borrowed(&**image)
                        }
                    })
                    .collect();
                let seen: Vec<&RgbImage> = seen.iter().map(|image| &**image).collect();
                let scores = self.pass(&seen, view.tile, about)?;
                // Cells of a tiled grid may reach over the image's edge, which mirroring would move.
                let logits = covering(&scores)?;
                let logits = if *mirror { logits.f_flip([3])? } else { logits };
                let probabilities = logits.f_softmax(1, Kind::Float)?;
                passes += 1.0;
                match &mut sum {
                    None => {
                        let size = images.first().map_or((0, 0), |image| image.dimensions());
                        let size = if view.tile { size } else { scores.size };
                        sum = Some(Scores { logits: probabilities, grid: Grid::Covers, size });
                    }
                    Some(sum) => {
                        let cells = sum.logits.size();
                        let same = probabilities.f_upsample_bilinear2d(
                            [cells[2], cells[3]],
                            false,
                            None,
                            None,
                        )?;
                        let _ = sum.logits.f_add_(&same)?;
                    }
                }
            }
        }
        let mut sum = sum.ok_or_else(|| Error::internal("no pass was asked for"))?;
        // Logits whose softmax is the mean of the probabilities.
        sum.logits = sum.logits.f_div_scalar(passes)?.f_clamp_min(1e-12)?.f_log()?;
        Ok(sum)
    }

    /// One pass over images of one size.
    fn pass(&self, images: &[&RgbImage], tile: bool, about: &About) -> Result<Scores> {
        let Some(first) = images.first() else {
            return Err(Error::internal("no image was given"));
        };
        let size = first.dimensions();
        if size.0.max(size.1) <= about.max_side {
            let logits = self.logits(images)?;
            return Ok(Scores { logits, grid: Grid::Covers, size });
        }
        if tile {
            let parts: Result<Vec<Tensor>> = images
                .iter()
                .map(|image| tiles::logits(image, about, |tile| self.logits(&[tile])))
                .collect();
            let parts = parts?;
            let cell = tiles::CELL;
            return Ok(Scores { logits: Tensor::f_cat(&parts, 0)?, grid: Grid::Cell(cell), size });
        }
        let small: Vec<Cow<'_, RgbImage>> =
            images.iter().map(|image| shrink(image, about.max_side)).collect();
        let small: Vec<&RgbImage> = small.iter().map(|image| &**image).collect();
        let size = small.first().map_or(size, |image| image.dimensions());
        Ok(Scores { logits: self.logits(&small)?, grid: Grid::Covers, size })
    }

    fn logits(&self, images: &[&RgbImage]) -> Result<Tensor> {
        let input = self.normalised(images)?;
        match &self.core {
            Core::Prepared(prepared) => prepared.logits(&input),
            Core::Scripted(scripted) => scripted.logits(&input),
        }
    }

    /// `[batch, 3, height, width]` in channels-last memory; to a GPU the bytes cross as they are
    /// (`docs/architecture.md#bytes-to-the-device`).
    fn normalised(&self, images: &[&RgbImage]) -> Result<Tensor> {
        let (width, height) = images.first().map_or((0, 0), |image| image.dimensions());
        let size = [images.len() as i64, i64::from(height), i64::from(width), 3];
        let device = self.core.device();
        let normalised = if device == Device::Cpu {
            filled(&size, |normalised| {
                let pixels = images.iter().flat_map(|image| image.as_raw().as_chunks::<3>().0);
                for (to, pixel) in normalised.as_chunks_mut::<3>().0.iter_mut().zip(pixels) {
                    for channel in 0..3 {
                        to[channel] = self.values[channel][usize::from(pixel[channel])];
                    }
                }
            })?
        } else {
            let bytes: Vec<u8> = images.iter().flat_map(|image| image.as_raw()).copied().collect();
            let pixels = Tensor::f_from_data_size(&bytes, &size, Kind::Uint8)?;
            let mut pixels = pixels.f_to_device(device)?.f_to_kind(Kind::Float)?;
            let mut scaled = pixels.f_div_scalar_(255.0)?;
            let mut centred = scaled.f_sub_(&self.mean)?;
            centred.f_div_(&self.deviation)?
        };
        Ok(normalised.f_permute([0, 3, 1, 2])?)
    }
}

/// Of each channel: what each byte becomes.
fn normalised_bytes() -> [[f32; 256]; 3] {
    std::array::from_fn(|channel| {
        std::array::from_fn(|byte| (byte as f32 / 255.0 - MEAN[channel]) / DEVIATION[channel])
    })
}

impl Core {
    pub(super) fn device(&self) -> Device {
        match self {
            Self::Prepared(prepared) => prepared.device(),
            Self::Scripted(scripted) => scripted.device(),
        }
    }
}

/// The logits on a grid that covers the image exactly.
fn covering(scores: &Scores) -> Result<Tensor> {
    let Grid::Cell(cell) = scores.grid else { return Ok(scores.logits.shallow_clone()) };
    let (width, height) = (i64::from(scores.size.0), i64::from(scores.size.1));
    if width % cell == 0 && height % cell == 0 {
        return Ok(scores.logits.shallow_clone());
    }
    // Sampled anew at as many cells, each a little smaller than before.
    let size = scores.logits.size();
    let part = |full: i64, side: i64| side as f64 / (full * cell) as f64;
    let (down, across) = (part(size[2], height), part(size[3], width));
    let theta = [across, 0.0, across - 1.0, 0.0, down, down - 1.0].map(|value| value as f32);
    let theta = Tensor::f_from_slice(&theta)?.f_reshape([1, 2, 3])?;
    let theta = theta.f_to_device(scores.logits.device())?.f_expand([size[0], 2, 3], false)?;
    let at = Tensor::f_affine_grid_generator(&theta, &size[..], false)?;
    // Bilinear (0), the border goes on (1).
    Ok(scores.logits.f_grid_sampler(&at, 0, 1, false)?)
}

fn at_scale(image: &RgbImage, scale: f32) -> Cow<'_, RgbImage> {
    let (width, height) = image.dimensions();
    let scaled = |side: u32| ((f64::from(side) * f64::from(scale)).round() as u32).max(1);
    let size = (scaled(width), scaled(height));
    if size == (width, height) {
        return Cow::Borrowed(image);
    }
    Cow::Owned(resize_image(image, Region::whole(width, height), size.0, size.1))
}
