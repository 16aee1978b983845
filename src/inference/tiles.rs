//! Computes large images in overlapping tiles. Where tiles overlap, their logits are averaged with
//! weights that fall toward a tile's edge, because the network knows nothing of the image beyond
//! the edge.

use image::RgbImage;
use image::imageops::crop_imm;
use tch::{Kind, Tensor};

use super::segment::{ModelInfo, count_tiles};
use crate::error::{Error, Result};

/// Side of a cell, in pixels: the stride of the networks' grid. Tiles begin at multiples of it.
pub(super) const CELL_SIDE: i64 = 8;

/// Computes logits `[1, classes, rows, columns]` of an image in cells of [`CELL_SIDE`] pixels.
/// `compute_logits` computes those of one tile.
pub(super) fn compute_tiled_logits(
    image: &RgbImage,
    info: &ModelInfo,
    compute_logits: impl Fn(&RgbImage) -> Result<Tensor>,
) -> Result<Tensor> {
    let (width, height) = image.dimensions();
    let (rows, columns) = (count_cells(height), count_cells(width));
    let overlap = i64::from(info.tile_overlap) / CELL_SIDE;
    let mut canvas = None;
    for y in tile_starts(height, info) {
        for x in tile_starts(width, info) {
            let side = info.tile_side;
            let tile = crop_imm(image, x, y, side.min(width - x), side.min(height - y)).to_image();
            let logits = pool_to_cells(&compute_logits(&tile)?, tile.dimensions())?;
            if canvas.is_none() {
                canvas = Some(Canvas::new(&logits, rows, columns)?);
            }
            let Some(canvas) = &canvas else { break };
            let (first_row, first_column) = (i64::from(y) / CELL_SIDE, i64::from(x) / CELL_SIDE);
            canvas.add_tile(&logits, first_row, first_column, overlap)?;
        }
    }
    let Some(Canvas { logit_sum, weight_sum }) = canvas else {
        return Err(Error::internal("an image without tiles"));
    };
    Ok(logit_sum.f_div(&weight_sum)?)
}

/// Weighted sums over the tiles that cover each cell of an image.
struct Canvas {
    /// Weighted logits, `[1, classes, rows, columns]`.
    logit_sum: Tensor,
    /// Weights, `[1, 1, rows, columns]`.
    weight_sum: Tensor,
}

impl Canvas {
    /// Makes an empty canvas for tiles with logits of this kind, `[1, classes, ...]`.
    fn new(logits: &Tensor, rows: i64, columns: i64) -> Result<Self> {
        let options = (Kind::Float, logits.device());
        let logit_sum = Tensor::f_zeros([1, logits.size()[1], rows, columns], options)?;
        Ok(Self { logit_sum, weight_sum: Tensor::f_zeros([1, 1, rows, columns], options)? })
    }

    /// Adds the logits `[1, classes, rows, columns]` of a tile that begins at this cell. `overlap`
    /// is the number of cells that neighboring tiles share.
    fn add_tile(
        &self,
        logits: &Tensor,
        first_row: i64,
        first_column: i64,
        overlap: i64,
    ) -> Result<()> {
        let size = logits.size();
        let (rows, columns) = (size[2], size[3]);
        let weights = blend_ramp(rows, overlap)?.f_reshape([1, 1, -1, 1])?;
        let weights = weights.f_mul(&blend_ramp(columns, overlap)?.f_reshape([1, 1, 1, -1])?)?;
        let weights = weights.f_to_device(logits.device())?;
        for (sum, addend) in
            [(&self.logit_sum, &logits.f_mul(&weights)?), (&self.weight_sum, &weights)]
        {
            let sum_rows = sum.f_narrow(2, first_row, rows)?;
            let _ = sum_rows.f_narrow(3, first_column, columns)?.f_add_(addend)?;
        }
        Ok(())
    }
}

/// Returns the number of cells that cover a side of so many pixels.
fn count_cells(side: u32) -> i64 {
    (i64::from(side) + CELL_SIDE - 1) / CELL_SIDE
}

/// Returns where tiles begin along a side, in pixels: multiples of [`CELL_SIDE`], evenly spread.
fn tile_starts(length: u32, info: &ModelInfo) -> Vec<u32> {
    let (side, overlap) = (u64::from(info.tile_side), u64::from(info.tile_overlap));
    let count = count_tiles(length.into(), side, overlap);
    let (cell, length) = (CELL_SIDE as u64, u64::from(length));
    // The last tile ends with the side. Because it begins at a cell, it may be a little smaller.
    let last_start = length.saturating_sub(side).div_ceil(cell) * cell;
    let mut starts = Vec::with_capacity(count as usize);
    for tile in 0..count {
        starts.push((last_start * tile / (count - 1).max(1) / cell * cell) as u32);
    }
    starts
}

/// Returns a tile's logits in cells of [`CELL_SIDE`] pixels, averaged if the network's grid is
/// finer.
fn pool_to_cells(logits: &Tensor, (width, height): (u32, u32)) -> Result<Tensor> {
    let cells = [count_cells(height), count_cells(width)];
    let size = logits.size();
    if size[2..] == cells {
        return Ok(logits.shallow_clone());
    }
    Ok(logits.f_adaptive_avg_pool2d(cells)?)
}

/// Returns the weights along a side of `cells`: rising over the overlap, then 1, then falling.
fn blend_ramp(cells: i64, overlap: i64) -> Result<Tensor> {
    let ramp_length = (overlap + 1) as f32;
    let mut weights = Vec::with_capacity(cells as usize);
    for cell in 0..cells {
        weights.push(((cell + 1).min(cells - cell) as f32 / ramp_length).min(1.0));
    }
    Ok(Tensor::f_from_slice(&weights)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn model_info(tile_side: u32, tile_overlap: u32) -> ModelInfo {
        ModelInfo {
            class_names: Vec::new(),
            colors: Vec::new(),
            precision: "fp32",
            device: "cpu".into(),
            max_side: 32,
            tile_side,
            tile_overlap,
        }
    }

    /// Computes each cell's mean brightness, as a network whose cells see nothing of their
    /// neighbors.
    fn mean_brightness(tile: &RgbImage) -> Result<Tensor> {
        let (width, height) = (i64::from(tile.width()), i64::from(tile.height()));
        let pixels = Tensor::f_from_data_size(tile.as_raw(), &[1, height, width, 3], Kind::Uint8)?;
        let planes = pixels.f_permute([0, 3, 1, 2])?.f_to_kind(Kind::Float)?;
        Ok(planes.f_adaptive_avg_pool2d([(height + 7) / 8, (width + 7) / 8])?)
    }

    #[test]
    fn tiles_cover_every_pixel_and_begin_at_cells() {
        for length in 1..300 {
            let info = model_info(64, 16);
            let starts = tile_starts(length, &info);
            assert_eq!(starts[0], 0);
            assert!(starts.iter().all(|start| start % 8 == 0));
            assert!(starts.windows(2).all(|pair| pair[0] < pair[1] && pair[1] <= pair[0] + 64));
            assert!(starts[starts.len() - 1] + 64 >= length, "{length}: {starts:?}");
            assert!(starts[starts.len() - 1] < length);
        }
    }

    #[test]
    fn where_a_network_sees_no_further_than_a_cell_tiles_change_nothing() {
        for (width, height) in [(200, 136), (203, 40), (65, 64)] {
            let image = RgbImage::from_fn(width, height, |x, y| {
                image::Rgb([x as u8, y as u8, (x * y) as u8])
            });
            let whole_cells = width % 8 == 0 && height % 8 == 0;
            let tiled = compute_tiled_logits(&image, &model_info(64, 16), mean_brightness).unwrap();
            assert_eq!(
                tiled.size()[2..],
                [(i64::from(height) + 7) / 8, (i64::from(width) + 7) / 8]
            );
            if whole_cells {
                let difference = tiled - mean_brightness(&image).unwrap();
                assert!(difference.abs().max().double_value(&[]) < 1e-3);
            }
        }
    }

    #[test]
    fn a_grid_finer_than_the_cells_is_averaged() {
        let fine = Tensor::ones([1, 2, 64, 40], (Kind::Float, Device::Cpu));
        assert_eq!(pool_to_cells(&fine, (40, 64)).unwrap().size(), [1, 2, 8, 5]);
    }
}
