//! Large images in overlapping tiles: each is computed by itself, and where tiles overlap their logits are blended,
//! each tile's counting the less the nearer its edge is, because a network knows nothing of what lies beyond it.

use image::RgbImage;
use image::imageops::crop_imm;
use tch::{Kind, Tensor};

use super::segment::{About, tiles};
use crate::error::{Error, Result};

/// Pixels: tiles begin at multiples of this, the stride of the networks' grid, and so do their grids' cells.
pub(super) const CELL: i64 = 8;

/// Logits `[1, classes, rows, columns]` of an image in cells of [`CELL`] pixels; `compute` answers about one tile.
pub(super) fn logits(
    image: &RgbImage,
    about: &About,
    compute: impl Fn(&RgbImage) -> Result<Tensor>,
) -> Result<Tensor> {
    let (width, height) = image.dimensions();
    let cells = |side: u32| (i64::from(side) + CELL - 1) / CELL;
    let (rows, columns) = (cells(height), cells(width));
    let mut blend: Option<(Tensor, Tensor)> = None;
    for y in starts(height, about) {
        for x in starts(width, about) {
            let side = about.tile_side;
            let tile = crop_imm(image, x, y, side.min(width - x), side.min(height - y)).to_image();
            let logits = on_cells(&compute(&tile)?, tile.dimensions())?;
            let size = logits.size();
            let (classes, tile_rows, tile_columns) = (size[1], size[2], size[3]);
            let options = (Kind::Float, logits.device());
            if blend.is_none() {
                let sum = Tensor::f_zeros([1, classes, rows, columns], options)?;
                blend = Some((sum, Tensor::f_zeros([1, 1, rows, columns], options)?));
            }
            let Some((sum, weight)) = &blend else { break };
            let overlap = i64::from(about.tile_overlap) / CELL;
            let own = ramp(tile_rows, overlap)?.f_reshape([1, 1, -1, 1])?;
            let own = own.f_mul(&ramp(tile_columns, overlap)?.f_reshape([1, 1, 1, -1])?)?;
            let own = own.f_to_device(logits.device())?;
            let (down, across) = (i64::from(y) / CELL, i64::from(x) / CELL);
            let place = |whole: &Tensor| -> Result<Tensor> {
                Ok(whole.f_narrow(2, down, tile_rows)?.f_narrow(3, across, tile_columns)?)
            };
            let _ = place(sum)?.f_add_(&logits.f_mul(&own)?)?;
            let _ = place(weight)?.f_add_(&own)?;
        }
    }
    let (sum, weight) = blend.ok_or_else(|| Error::internal("an image without tiles"))?;
    Ok(sum.f_div(&weight)?)
}

/// Where tiles begin along a side, in pixels: multiples of [`CELL`], evenly spread.
fn starts(length: u32, about: &About) -> Vec<u32> {
    let (side, overlap) = (u64::from(about.tile_side), u64::from(about.tile_overlap));
    let count = tiles(length.into(), side, overlap);
    let (cell, length) = (CELL as u64, u64::from(length));
    // The last one reaches to the end or, because it begins at a cell, a little less far into the others.
    let last = length.saturating_sub(side).div_ceil(cell) * cell;
    (0..count).map(|tile| (last * tile / (count - 1).max(1) / cell * cell) as u32).collect()
}

/// A tile's logits in cells of [`CELL`] pixels, whatever grid the network answers on.
fn on_cells(logits: &Tensor, (width, height): (u32, u32)) -> Result<Tensor> {
    let cells = [height, width].map(|side| (i64::from(side) + CELL - 1) / CELL);
    let size = logits.size();
    if size[2..] == cells {
        return Ok(logits.shallow_clone());
    }
    Ok(logits.f_adaptive_avg_pool2d(cells)?)
}

/// Weights along a side of `cells`: rising over the overlap, then 1, then falling.
fn ramp(cells: i64, overlap: i64) -> Result<Tensor> {
    let rise = (overlap + 1) as f32;
    let weight = |cell: i64| ((cell + 1).min(cells - cell) as f32 / rise).min(1.0);
    let weights: Vec<f32> = (0..cells).map(weight).collect();
    Ok(Tensor::f_from_slice(&weights)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn about(tile_side: u32, tile_overlap: u32) -> About {
        About {
            class_names: Vec::new(),
            colours: Vec::new(),
            precision: "fp32",
            device: "cpu".into(),
            max_side: 32,
            tile_side,
            tile_overlap,
        }
    }

    /// A network that answers each cell's mean brightness, and knows nothing of its neighbours.
    fn mean(tile: &RgbImage) -> Result<Tensor> {
        let (width, height) = (i64::from(tile.width()), i64::from(tile.height()));
        let pixels = Tensor::f_from_data_size(tile.as_raw(), &[1, height, width, 3], Kind::Uint8)?;
        let planes = pixels.f_permute([0, 3, 1, 2])?.f_to_kind(Kind::Float)?;
        Ok(planes.f_adaptive_avg_pool2d([(height + 7) / 8, (width + 7) / 8])?)
    }

    #[test]
    fn tiles_cover_every_pixel_and_begin_at_cells() {
        for length in 1..300 {
            let about = about(64, 16);
            let starts = starts(length, &about);
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
            let tiled = logits(&image, &about(64, 16), mean).unwrap();
            assert_eq!(
                tiled.size()[2..],
                [(i64::from(height) + 7) / 8, (i64::from(width) + 7) / 8]
            );
            if whole_cells {
                let difference = tiled - mean(&image).unwrap();
                assert!(difference.abs().max().double_value(&[]) < 1e-3);
            }
        }
    }

    #[test]
    fn a_grid_finer_than_the_cells_is_averaged() {
        let fine = Tensor::ones([1, 2, 64, 40], (Kind::Float, Device::Cpu));
        assert_eq!(on_cells(&fine, (40, 64)).unwrap().size(), [1, 2, 8, 5]);
    }
}
