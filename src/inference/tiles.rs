//! Large images in overlapping tiles: each is computed by itself, and where tiles overlap their logits are blended,
//! each tile's counting the less the nearer its edge is, because a network knows nothing of what lies beyond it.

use image::RgbImage;
use image::imageops::crop_imm;
use tch::{Kind, Tensor};

use super::segment::{ModelInfo, count_tiles};
use crate::error::{Error, Result};

/// Pixels: tiles begin at multiples of this, the stride of the networks' grid, and so do their grids' cells.
pub(super) const CELL_SIDE: i64 = 8;

/// Logits `[1, classes, rows, columns]` of an image in cells of [`CELL`] pixels; `compute` answers about one tile.
pub(super) fn compute_tiled_logits(
    image: &RgbImage,
    info: &ModelInfo,
    compute_logits: impl Fn(&RgbImage) -> Result<Tensor>,
) -> Result<Tensor> {
    let (width, height) = image.dimensions();
    let cells_along = |side: u32| (i64::from(side) + CELL_SIDE - 1) / CELL_SIDE;
    let (rows, columns) = (cells_along(height), cells_along(width));
    let mut weighted_sums: Option<(Tensor, Tensor)> = None;
    for y in tile_starts(height, info) {
        for x in tile_starts(width, info) {
            let side = info.tile_side;
            let tile = crop_imm(image, x, y, side.min(width - x), side.min(height - y)).to_image();
            let logits = pool_to_cells(&compute_logits(&tile)?, tile.dimensions())?;
            let size = logits.size();
            let (classes, tile_rows, tile_columns) = (size[1], size[2], size[3]);
            let options = (Kind::Float, logits.device());
            if weighted_sums.is_none() {
                let sum = Tensor::f_zeros([1, classes, rows, columns], options)?;
                weighted_sums = Some((sum, Tensor::f_zeros([1, 1, rows, columns], options)?));
            }
            let Some((logit_sum, weight_sum)) = &weighted_sums else { break };
            let overlap = i64::from(info.tile_overlap) / CELL_SIDE;
            let tile_weights = blend_ramp(tile_rows, overlap)?.f_reshape([1, 1, -1, 1])?;
            let tile_weights = tile_weights
                .f_mul(&blend_ramp(tile_columns, overlap)?.f_reshape([1, 1, 1, -1])?)?;
            let tile_weights = tile_weights.f_to_device(logits.device())?;
            let (first_row, first_column) = (i64::from(y) / CELL_SIDE, i64::from(x) / CELL_SIDE);
            let tile_region = |canvas: &Tensor| -> Result<Tensor> {
                Ok(canvas.f_narrow(2, first_row, tile_rows)?.f_narrow(
                    3,
                    first_column,
                    tile_columns,
                )?)
            };
            let _ = tile_region(logit_sum)?.f_add_(&logits.f_mul(&tile_weights)?)?;
            let _ = tile_region(weight_sum)?.f_add_(&tile_weights)?;
        }
    }
    let (sum, weight) = weighted_sums.ok_or_else(|| Error::internal("an image without tiles"))?;
    Ok(sum.f_div(&weight)?)
}

/// Where tiles begin along a side, in pixels: multiples of [`CELL`], evenly spread.
fn tile_starts(length: u32, info: &ModelInfo) -> Vec<u32> {
    let (side, overlap) = (u64::from(info.tile_side), u64::from(info.tile_overlap));
    let count = count_tiles(length.into(), side, overlap);
    let (cell, length) = (CELL_SIDE as u64, u64::from(length));
    // The last one reaches to the end or, because it begins at a cell, a little less far into the others.
    let last_start = length.saturating_sub(side).div_ceil(cell) * cell;
    (0..count).map(|tile| (last_start * tile / (count - 1).max(1) / cell * cell) as u32).collect()
}

/// A tile's logits in cells of [`CELL`] pixels, whatever grid the network answers on.
fn pool_to_cells(logits: &Tensor, (width, height): (u32, u32)) -> Result<Tensor> {
    let cells = [height, width].map(|side| (i64::from(side) + CELL_SIDE - 1) / CELL_SIDE);
    let size = logits.size();
    if size[2..] == cells {
        return Ok(logits.shallow_clone());
    }
    Ok(logits.f_adaptive_avg_pool2d(cells)?)
}

/// Weights along a side of `cells`: rising over the overlap, then 1, then falling.
fn blend_ramp(cells: i64, overlap: i64) -> Result<Tensor> {
    let ramp_length = (overlap + 1) as f32;
    let weight_at = |cell: i64| ((cell + 1).min(cells - cell) as f32 / ramp_length).min(1.0);
    let weights: Vec<f32> = (0..cells).map(weight_at).collect();
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

    /// A network that answers each cell's mean brightness, and knows nothing of its neighbors.
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
