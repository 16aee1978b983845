//! Winograd's convolution F(2x2, 3x3): 16 multiplications for four outputs of a 3x3 kernel, where a
//! direct convolution takes 36. Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural
//! Networks", 2015, arXiv 1509.09308, section 4.1. Names are the paper's.
//!
//! # Transforms
//!
//! For a tile `d` of 4x4 inputs and a filter `g` of 3x3, per channel:
//!
//! | step | formula | shape | here |
//! |---|---|---|---|
//! | filter transform | `U = G g G^T` | 4x4 | [`transform_filters`], once per weight |
//! | input transform | `V = B^T d B` | 4x4 | [`transform_inputs`] |
//! | products | `M = U V`, summed over input channels | 4x4 | [`multiply_row`] |
//! | output transform | `Y = A^T M A` | 2x2 | [`transform_outputs`] |
//!
//! `M = U V` is element by element in the 4x4 places, and a matrix product over channels and tiles
//! in each place: 16 products `[tiles, input channels] x [input channels, output channels]`.
//! Rounding alone makes the result differ from that of a direct convolution.
//!
//! # Tiles
//!
//! Each tile has 2x2 outputs, which lie at its inner inputs: F(2x2, 3x3) and its matrices fix this
//! number. Larger tiles, such as those of F(4x4, 3x3), need other matrices; no trial of them is
//! recorded. Neighboring tiles share two rows or columns of inputs. Along a row of the image, with
//! `i` for an input and `o` for an input with an output at its place:
//!
//! ```text
//! column   -1   0   1   2   3   4   5   6          dilation 1
//! tile 0    i   o   o   i
//! tile 1            i   o   o   i
//! tile 2                    i   o   o   i
//! ```
//!
//! Inputs outside of the image are zeros, and outputs there are dropped. A convolution with
//! dilation `d` is `d * d` interleaved convolutions without one. Their tiles have the same shape,
//! with inputs that lie `d` apart, and alternate along the row:
//!
//! ```text
//! column   -2  -1   0   1   2   3   4   5   6   7   8   9          dilation 2
//! tile 0    i       o       o       i
//! tile 1        i       o       o       i
//! tile 2                    i       o       o       i
//! tile 3                        i       o       o       i
//! ```
//!
//! # Order of the work
//!
//! One row of the 4x4 places is worked on at a time, for all tiles, in batches of
//! [`TILES_PER_BATCH`]: the transformed filters `U` of four places then stay in the processor's
//! caches. Each row of `M` is added to the outputs at once.
//!
//! # Tried and dropped
//!
//! - libtorch's own matrix product, which is MKL's: slow on processors that are not Intel's. The
//!   products are 1x1 convolutions by oneDNN instead.
//! - All 16 places at a time, and copies of the input with a border of zeros: more memory at the
//!   peak.
//! - More tiles at a time where there are enough: oneDNN wants another layout of the filters for
//!   another number, and both would be kept.

mod tiles;
mod transform;

use std::array::from_fn;

use tch::{Device, Kind, Tensor};

pub(super) use self::tiles::TileGrid;
use self::tiles::{Tile, TileInput};
use self::transform::{
    FILTER_TRANSFORM, INPUT_TRANSFORM, OUTPUT_TRANSFORM, OutputContribution, transform_filters,
    transform_inputs, transform_outputs,
};
use super::packed::PackedConvolution;
use super::tuning::TILES_PER_BATCH;
use crate::error::Result;
use crate::torch::{Geometry, float_slice, float_slice_mut, parallel_for_each};

/// Geometry of the products: in each of the 16 places they are a 1x1 convolution of the tiles.
const POINTWISE: Geometry = Geometry { padding: 0, stride: 1, dilation: 1 };

/// Place of the product that carries the bias, row 1 and column 1: the output transform adds it to
/// each of the four outputs once.
const BIAS_PLACE: usize = 5;

/// A 3x3 convolution with stride 1 and a padding equal to its dilation, so that its output is as
/// large as its input.
#[derive(Debug)]
pub(super) struct WinogradConvolution {
    /// Transformed filters `U`: a matrix for each of the 16 places, row by row.
    transformed_filters: Vec<PackedConvolution>,
    out_channels: usize,
    in_channels: usize,
    dilation: i64,
}

/// Steps that follow the convolution.
#[derive(Debug, Clone, Copy)]
struct Epilogue {
    /// Adds the convolution to the output's memory, instead of overwriting it.
    accumulate: bool,
    /// Applies ReLU last.
    relu: bool,
}

impl WinogradConvolution {
    /// Transforms a weight `[output channels, input channels, 3, 3]` of 32-bit floats.
    pub(super) fn new(weight: &Tensor, bias: Option<&Tensor>, dilation: i64) -> Result<Self> {
        let (out_channels, in_channels, ..) = weight.size4()?;
        let weight = weight.f_contiguous()?;
        let mut transformed_filters = Vec::with_capacity(16);
        for row_coefficients in FILTER_TRANSFORM {
            // One row is made and packed at a time: all 16 filters would be in memory twice.
            for filter in transform_filter_row(&weight, row_coefficients)? {
                let has_bias = transformed_filters.len() == BIAS_PLACE;
                let bias = if has_bias { bias.map(Tensor::shallow_clone) } else { None };
                let packed_filter = PackedConvolution::new(&filter, bias, POINTWISE)?;
                packed_filter.choose_layout([1, in_channels, TILES_PER_BATCH as i64, 1])?;
                transformed_filters.push(packed_filter);
            }
        }
        let (out_channels, in_channels) = (out_channels as usize, in_channels as usize);
        Ok(Self { transformed_filters, out_channels, in_channels, dilation })
    }

    /// Returns the convolution of an input `[batch, input channels, height, width]` in
    /// channels-last memory. Adds `addend` if there is one, which is overwritten and shares its
    /// memory with the returned tensor. Applies ReLU last if `relu` is set.
    pub(super) fn forward(
        &self,
        input: &Tensor,
        relu: bool,
        addend: Option<&Tensor>,
    ) -> Result<Tensor> {
        let (batch, _, height, width) = input.size4()?;
        let (options, out_channels) = ((Kind::Float, Device::Cpu), self.out_channels as i64);
        let epilogue = Epilogue { accumulate: addend.is_some(), relu };
        let input = input.f_permute([0, 2, 3, 1])?.f_contiguous()?;
        let mut result = match addend {
            Some(addend) => addend.f_permute([0, 2, 3, 1])?,
            None => Tensor::f_empty([batch, height, width, out_channels], options)?,
        };
        let grid = TileGrid::new(height, width, self.dilation);
        let outputs = float_slice_mut(&mut result)?;
        let mut tiles = grid.tiles(batch as usize, outputs, self.out_channels);
        let mut transformed_input = self.allocate_transformed_input(tiles.len())?;
        let pixels = float_slice(&input)?;
        for (row, filters) in self.transformed_filters.chunks(4).enumerate() {
            for tiles in tiles.chunks_mut(TILES_PER_BATCH) {
                let transformed = float_slice_mut(&mut transformed_input)?;
                self.transform_input_row(pixels, grid, row, tiles, transformed)?;
                let products = multiply_row(filters, &transformed_input)?;
                if let [a, b, c, d] = &products[..] {
                    let products =
                        [float_slice(a)?, float_slice(b)?, float_slice(c)?, float_slice(d)?];
                    self.transform_output_row(products, row, tiles, epilogue)?;
                }
            }
        }
        Ok(result.f_permute([0, 3, 1, 2])?)
    }

    /// Allocates a row of `V` for a batch of tiles: `[4, tiles, input channels]`.
    fn allocate_transformed_input(&self, tile_count: usize) -> Result<Tensor> {
        let (tiles_per_batch, in_channels) = (TILES_PER_BATCH as i64, self.in_channels as i64);
        let size = [4, tiles_per_batch, in_channels];
        let transformed_input = Tensor::f_empty(size, (Kind::Float, Device::Cpu))?;
        // Places that no tile fills hold zeros; their products are not used.
        let used = tiles_per_batch.min(tile_count as i64);
        let mut unused = transformed_input.f_narrow(1, used, tiles_per_batch - used)?;
        let _ = unused.f_zero_()?;
        Ok(transformed_input)
    }

    /// Computes one row of `V` for these tiles: `transformed_input` `[4, tiles, input channels]`.
    fn transform_input_row(
        &self,
        pixels: &[f32],
        grid: TileGrid,
        row: usize,
        tiles: &[Tile<'_>],
        transformed_input: &mut [f32],
    ) -> Result<()> {
        let in_channels = self.in_channels.max(1);
        let mut planes = transformed_input.chunks_mut(TILES_PER_BATCH * in_channels);
        let mut planes: [_; 4] =
            from_fn(|_| planes.next().unwrap_or_default().chunks_mut(in_channels));
        let mut tile_inputs: Vec<(usize, [&mut [f32]; 4])> = Vec::with_capacity(tiles.len());
        for tile in tiles {
            let transformed = planes.each_mut().map(|plane| plane.next().unwrap_or_default());
            tile_inputs.push((tile.index, transformed));
        }
        let (first, second, sign) = INPUT_TRANSFORM[row];
        let zeros = vec![0.0; in_channels];
        parallel_for_each(&mut tile_inputs, |(tile, transformed)| {
            let inputs = [first, second].map(|row| {
                from_fn(|column| match grid.pixel(*tile, TileInput { row, column }) {
                    Some(pixel) => &pixels[pixel * in_channels..][..in_channels],
                    None => &zeros[..],
                })
            });
            transform_inputs(inputs, sign, transformed);
        })
    }

    /// Adds to the outputs of these tiles the share of one row of `M`.
    fn transform_output_row(
        &self,
        products: [&[f32]; 4],
        product_row: usize,
        tiles: &mut [Tile<'_>],
        epilogue: Epilogue,
    ) -> Result<()> {
        let out_channels = self.out_channels;
        let first_tile = tiles.first().map_or(0, |tile| tile.index);
        parallel_for_each(tiles, |Tile { index, output_pixels: output_rows }| {
            let products = products
                .map(|product| &product[(*index - first_tile) * out_channels..][..out_channels]);
            for (output_row, row_transform) in output_rows.iter_mut().zip(OUTPUT_TRANSFORM) {
                let is_first = product_row == row_transform.first;
                if !is_first && !row_transform.others.contains(&product_row) {
                    continue;
                }
                let sign = if is_first { 1.0 } else { row_transform.sign };
                // The first share overwrites the output, and ReLU follows the last.
                let accumulate = epilogue.accumulate || !is_first;
                let relu = epilogue.relu && product_row == row_transform.others[1];
                for (out, column) in output_row.iter_mut().zip(OUTPUT_TRANSFORM) {
                    if let Some(out) = out {
                        let contribution = OutputContribution { column, sign, accumulate, relu };
                        transform_outputs(products, contribution, out);
                    }
                }
            }
        })
    }
}

/// Makes a row of `U`, four filters `[output channels, input channels, 1, 1]`, from a contiguous
/// weight and the row of `G` with these coefficients.
fn transform_filter_row(weight: &Tensor, row_coefficients: [f32; 3]) -> Result<Vec<Tensor>> {
    let (out_channels, in_channels, ..) = weight.size4()?;
    let filter_shape = [out_channels, in_channels, 1, 1];
    let mut filters = Vec::with_capacity(4);
    for _ in 0..4 {
        filters.push(Tensor::f_empty(filter_shape, (Kind::Float, Device::Cpu))?);
    }
    if let [a, b, c, d] = &mut filters[..] {
        let in_channels = in_channels as usize;
        let a = float_slice_mut(a)?.chunks_mut(in_channels);
        let b = float_slice_mut(b)?.chunks_mut(in_channels);
        let c = float_slice_mut(c)?.chunks_mut(in_channels);
        let d = float_slice_mut(d)?.chunks_mut(in_channels);
        let kernels = float_slice(weight)?.chunks(9 * in_channels);
        // One item per output channel: its kernels, and its channels in each of the four filters.
        let mut items: Vec<_> = kernels.zip(a.zip(b).zip(c.zip(d))).collect();
        parallel_for_each(&mut items, |(kernels, ((a, b), (c, d)))| {
            transform_filters(kernels, row_coefficients, [a, b, c, d]);
        })?;
    }
    Ok(filters)
}

/// Computes a row of `M`, four products `[1, tiles, 1, output channels]`, from a row of `U` and a
/// row of `V`.
fn multiply_row(filters: &[PackedConvolution], transformed_input: &Tensor) -> Result<Vec<Tensor>> {
    let mut products = Vec::with_capacity(4);
    for (filter, index) in filters.iter().zip(0..) {
        let plane = transformed_input.f_narrow(0, index, 1)?.f_unsqueeze(2)?;
        let product = filter.forward(&plane.f_permute([0, 3, 1, 2])?, false)?;
        products.push(product.f_permute([0, 2, 3, 1])?.f_contiguous()?);
    }
    Ok(products)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sine_tensor(size: &[i64]) -> Tensor {
        let count = size.iter().product::<i64>();
        (Tensor::arange(count, (Kind::Double, Device::Cpu)) * 12.9898).sin().reshape(size)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn it_is_the_convolution_at_every_size_and_dilation(
            (batch, input, output) in (1i64..4, 1i64..6, 1i64..6),
            (height, width) in (1i64..40, 1i64..40),
            dilation in 1i64..5,
            relu in any::<bool>(),
            biased in any::<bool>(),
        ) {
            let weight = sine_tensor(&[output, input, 3, 3]);
            let bias = biased.then(|| sine_tensor(&[output]));
            let images = sine_tensor(&[batch, input, height, width]);
            let pair = [dilation; 2];
            let expected = images.conv2d(&weight, bias.as_ref(), [1; 2], pair, pair, 1);
            let expected = if relu { expected.relu() } else { expected };
            let single = |tensor: &Tensor| tensor.to_kind(Kind::Float);
            let winograd = WinogradConvolution::new(&single(&weight), bias.as_ref().map(single).as_ref(), dilation).unwrap();
            let images = single(&images).permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]);
            let found = winograd.forward(&images, relu, None).unwrap();
            prop_assert_eq!(found.size(), expected.size());
            prop_assert!(found.permute([0, 2, 3, 1]).is_contiguous());
            let error = (found.to_kind(Kind::Double) - expected).abs().max().double_value(&[]);
            prop_assert!(error < 1e-5, "{}", error);
        }
    }

    #[test]
    fn parts_of_images_and_several_at_once_are_what_one_image_is() {
        let weight = sine_tensor(&[4, 2048, 3, 3]).to_kind(Kind::Float);
        let winograd = WinogradConvolution::new(&weight, None, 2).unwrap();
        for side in [12, 40] {
            let images = sine_tensor(&[3, 2048, side, side]).to_kind(Kind::Float);
            let batched = winograd.forward(&images, false, None).unwrap();
            for image in 0..3 {
                let one = winograd.forward(&images.narrow(0, image, 1), false, None).unwrap();
                let difference = (batched.narrow(0, image, 1) - one).abs().max();
                assert!(difference.double_value(&[]) < 1e-3, "{difference:?}");
            }
            let expected = images.conv2d::<Tensor>(&weight, None, [1; 2], [2; 2], [2; 2], 1);
            assert!((batched - expected).abs().max().double_value(&[]) < 1e-3);
        }
    }

    #[test]
    fn filters_are_in_memory_once_whatever_number_of_tiles_came() {
        let weight = sine_tensor(&[512, 512, 3, 3]).to_kind(Kind::Float);
        let winograd = WinogradConvolution::new(&weight, None, 1).unwrap();
        for side in [2, 16, 24, 40] {
            let images = sine_tensor(&[1, 512, side, side]).to_kind(Kind::Float);
            let _ = winograd.forward(&images, false, None).unwrap();
        }
        let layouts: Vec<_> =
            winograd.transformed_filters.iter().map(PackedConvolution::layout_count).collect();
        assert_eq!(layouts, [1; 16]);
    }
}
