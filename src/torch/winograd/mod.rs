//! Convolutions of 3x3 with fewer multiplications: Winograd's F(2x2, 3x3), 16 for every four outputs instead of 36 (Lavin
//! and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015, arXiv 1509.09308, section 4.1).
//!
//! Four by four inputs, a tile, become 16 sums, each of which is multiplied for all channels of some hundred tiles at once,
//! and the products become two by two outputs. It is done four sums at a time, a row of the 16. A dilated convolution is as
//! many interleaved ones that are not. The result differs from a direct sum by rounding alone.

mod transform;

use std::array::from_fn;

use tch::{Device, Kind, Tensor};

use self::transform::{
    FILTER_TRANSFORM, INPUT_TRANSFORM, OUTPUT_TRANSFORM, OutputContribution, transform_filters,
    transform_inputs, transform_outputs,
};
use super::convolution::{Geometry, PackedConvolution};
use super::memory::{float_slice, float_slice_mut};
use super::parallel::parallel_for_each;
use crate::error::Result;

/// Tiles that are multiplied at a time; some of them may be empty. Always as many: oneDNN may want the filters in another
/// layout for other numbers, which would be kept beside this one, and the sums of more would not stay in the processor's
/// caches.
const TILES_PER_BATCH: usize = 128;

/// Time to transform one channel of one pixel, in multiplications of the matrix products.
/// `make bench-kernels` prints the value that fits a processor. This is a constant, and not measured
/// when a model is loaded, because the two algorithms differ by rounding: the same image must give
/// the same mask on every start.
const TRANSFORM_COST: i64 = 450;

/// Outputs of a batch below which the filters, which are larger than the weight, are brought from memory for too little
/// work: about four images of 160x120. `make bench-kernels` times inputs on both sides of it.
const MIN_OUTPUT_PIXELS: i64 = 1024;

/// What a sum is multiplied by: for all its tiles a convolution of 1x1. libtorch's own matrix product is MKL's, which is slow on
/// processors that are not Intel's.
const POINTWISE: Geometry = Geometry { padding: 0, stride: 1, dilation: 1 };

/// A convolution with stride 1 that is padded by its dilation, so that its output is as large as its input.
#[derive(Debug)]
pub(super) struct WinogradConvolution {
    /// One for each of the 16 sums.
    transformed_filters: Vec<PackedConvolution>,
    /// Sides of the weight.
    out_channels: usize,
    in_channels: usize,
    dilation: i64,
}

/// How tiles of two by two outputs lie on a batch of images.
#[derive(Debug, Clone, Copy)]
struct TileGrid {
    height: usize,
    width: usize,
    dilation: usize,
}

/// A tile, by its index in a batch, and its outputs where the image has them.
struct Tile<'a> {
    index: usize,
    output_pixels: [[Option<&'a mut [f32]>; 2]; 2],
}

/// Counts the work of Winograd's algorithm and of a direct convolution of the same input.
#[derive(Debug, Clone, Copy)]
pub struct WinogradCost {
    /// Multiplications of Winograd's matrix products.
    pub product_multiplications: i64,
    /// Values, in and out, of Winograd's transformations.
    pub transformed_values: i64,
    /// Multiplications of the direct convolution.
    pub direct_multiplications: i64,
}

impl WinogradCost {
    /// Counts for an input `[batch, channels, height, width]`.
    pub fn new(input_shape: [i64; 4], out_channels: i64, dilation: i64) -> Self {
        let [batch, in_channels, height, width] = input_shape;
        let (rows, columns) = TileGrid::new(height, width, dilation).tile_counts();
        let tile_outputs =
            (4 * batch as usize * rows * columns).next_multiple_of(4 * TILES_PER_BATCH) as i64;
        Self {
            product_multiplications: 4 * in_channels * out_channels * tile_outputs,
            transformed_values: (in_channels + out_channels) * tile_outputs,
            direct_multiplications: 9 * in_channels * out_channels * batch * height * width,
        }
    }

    /// The time that Winograd's algorithm is expected to take, in multiplications.
    fn expected_time(self) -> i64 {
        self.product_multiplications + TRANSFORM_COST * self.transformed_values
    }

    /// That time as a part of the direct convolution's.
    pub fn expected_ratio(self) -> f64 {
        self.expected_time() as f64 / self.direct_multiplications as f64
    }
}

/// Returns true if Winograd's algorithm is expected to take clearly less time than a direct
/// convolution of an input `[batch, channels, height, width]`.
pub(super) fn is_winograd_faster(input_shape: [i64; 4], out_channels: i64, dilation: i64) -> bool {
    let cost = WinogradCost::new(input_shape, out_channels, dilation);
    let [batch, _, height, width] = input_shape;
    batch * height * width >= MIN_OUTPUT_PIXELS
        && 23 * (cost.expected_time() / 20) < cost.direct_multiplications
}

impl TileGrid {
    fn new(height: i64, width: i64, dilation: i64) -> Self {
        let [height, width, dilation] = [height, width, dilation].map(|side| side as usize);
        Self { height, width, dilation }
    }

    /// Tiles of an image: rows and columns of them.
    fn tile_counts(self) -> (usize, usize) {
        let count_tiles = |side: usize| side.div_ceil(2 * self.dilation) * self.dilation;
        (count_tiles(self.height), count_tiles(self.width))
    }

    /// Which pixel among all rows and columns of a batch one of a tile's four by four inputs is, if it is there. The second
    /// and third of each side are where its outputs are.
    fn input_pixel(self, tile: usize, (input_row, input_column): (usize, usize)) -> Option<usize> {
        let (rows, columns) = self.tile_counts();
        let (image, tile_row, tile_column) =
            (tile / columns / rows, tile / columns % rows, tile % columns);
        let coordinate = |tile_index: usize, input: usize, side: usize| {
            let first = tile_index / self.dilation * 2 * self.dilation + tile_index % self.dilation;
            let position = (first + input * self.dilation).checked_sub(self.dilation);
            position.filter(|position| *position < side)
        };
        let (y, x) = (
            coordinate(tile_row, input_row, self.height)?,
            coordinate(tile_column, input_column, self.width)?,
        );
        Some((image * self.height + y) * self.width + x)
    }
}

impl WinogradConvolution {
    /// Of a weight `[output, input, 3, 3]` of 32-bit floats.
    pub(super) fn new(weight: &Tensor, bias: Option<&Tensor>, dilation: i64) -> Result<Self> {
        let (out_channels, in_channels, ..) = weight.size4()?;
        let weight = weight.f_contiguous()?;
        let weights = float_slice(&weight)?;
        let (filter_shape, options) =
            ([out_channels, in_channels, 1, 1], (Kind::Float, Device::Cpu));
        let (out_channels, in_channels) = (out_channels as usize, in_channels as usize);
        let mut transformed_filters = Vec::with_capacity(16);
        for row_coefficients in FILTER_TRANSFORM {
            // Four at a time: all 16 would be in memory twice.
            let mut row_filters = Vec::with_capacity(4);
            for _ in 0..4 {
                row_filters.push(Tensor::f_empty(filter_shape, options)?);
            }
            if let [a, b, c, d] = &mut row_filters[..] {
                let [a, b, c, d] = [
                    float_slice_mut(a)?,
                    float_slice_mut(b)?,
                    float_slice_mut(c)?,
                    float_slice_mut(d)?,
                ];
                let (ab, cd) = (
                    a.chunks_mut(in_channels).zip(b.chunks_mut(in_channels)),
                    c.chunks_mut(in_channels).zip(d.chunks_mut(in_channels)),
                );
                let mut channel_filters: Vec<_> =
                    weights.chunks(9 * in_channels).zip(ab.zip(cd)).collect();
                parallel_for_each(&mut channel_filters, |(weights, ((a, b), (c, d)))| {
                    transform_filters(weights, row_coefficients, [a, b, c, d]);
                })?;
            }
            for transformed_filter in row_filters {
                // This sum goes into each of the four outputs once.
                let bias =
                    bias.filter(|_| transformed_filters.len() == 5).map(Tensor::shallow_clone);
                let packed_filter = PackedConvolution::new(&transformed_filter, bias, POINTWISE)?;
                packed_filter.choose_layout([1, in_channels as i64, TILES_PER_BATCH as i64, 1])?;
                transformed_filters.push(packed_filter);
            }
        }
        Ok(Self { transformed_filters, out_channels, in_channels, dilation })
    }

    /// The convolution of `[batch, input, height, width]`, in channels-last memory; plus `sum`, which is written over
    /// and is what is given back; with `relu` the positive part.
    pub(super) fn forward(
        &self,
        input: &Tensor,
        relu: bool,
        addend: Option<&Tensor>,
    ) -> Result<Tensor> {
        let (batch, _, height, width) = input.size4()?;
        let (options, out_channels) = ((Kind::Float, Device::Cpu), self.out_channels as i64);
        let input = input.f_permute([0, 2, 3, 1])?.f_contiguous()?;
        let mut result = match addend {
            Some(sum) => sum.f_permute([0, 2, 3, 1])?,
            None => Tensor::f_empty([batch, height, width, out_channels], options)?,
        };
        let grid = TileGrid::new(height, width, self.dilation);
        let mut tiles = self.output_tiles(grid, batch as usize, float_slice_mut(&mut result)?);
        let (tiles_per_batch, in_channels) = (TILES_PER_BATCH as i64, self.in_channels as i64);
        let mut transformed_input = Tensor::f_empty([4, tiles_per_batch, in_channels], options)?;
        // What comes of the empty ones is not used.
        let tile_count = tiles_per_batch.min(tiles.len() as i64);
        let _ =
            transformed_input.f_narrow(1, tile_count, tiles_per_batch - tile_count)?.f_zero_()?;
        let pixels = float_slice(&input)?;
        for (row, filters) in self.transformed_filters.chunks(4).enumerate() {
            // Four filters stay in the processor's caches while all tiles are multiplied by them.
            for tiles in tiles.chunks_mut(TILES_PER_BATCH) {
                self.transform_input_row(
                    pixels,
                    grid,
                    row,
                    tiles,
                    float_slice_mut(&mut transformed_input)?,
                )?;
                let mut products = Vec::with_capacity(4);
                for (filter, index) in filters.iter().zip(0..) {
                    let transformed_plane =
                        transformed_input.f_narrow(0, index, 1)?.f_unsqueeze(2)?;
                    let product =
                        filter.forward(&transformed_plane.f_permute([0, 3, 1, 2])?, false)?;
                    products.push(product.f_permute([0, 2, 3, 1])?.f_contiguous()?);
                }
                if let [a, b, c, d] = &products[..] {
                    let products =
                        [float_slice(a)?, float_slice(b)?, float_slice(c)?, float_slice(d)?];
                    self.transform_output_row(products, row, tiles, (relu, addend.is_some()))?;
                }
            }
        }
        Ok(result.f_permute([0, 3, 1, 2])?)
    }

    /// All tiles of a batch, with what they write of its `pixels`.
    fn output_tiles<'a>(
        &self,
        grid: TileGrid,
        batch: usize,
        pixels: &'a mut [f32],
    ) -> Vec<Tile<'a>> {
        let mut pixels: Vec<_> = pixels.chunks_mut(self.out_channels.max(1)).map(Some).collect();
        let mut take_pixel = |pixel: Option<usize>| pixels.get_mut(pixel?)?.take();
        let (rows, columns) = grid.tile_counts();
        (0..batch * rows * columns)
            .map(|index| {
                let mut output_pixel =
                    |row, column| take_pixel(grid.input_pixel(index, (row, column)));
                Tile {
                    index,
                    output_pixels: [1, 2].map(|row| [1, 2].map(|column| output_pixel(row, column))),
                }
            })
            .collect()
    }

    /// Of one row of the 16 sums the four of each of these tiles.
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
        let mut tile_inputs: Vec<(usize, [&mut [f32]; 4])> = tiles
            .iter()
            .map(|tile| {
                (tile.index, planes.each_mut().map(|plane| plane.next().unwrap_or_default()))
            })
            .collect();
        let (first, second, sign) = INPUT_TRANSFORM[row];
        let zeros = vec![0.0; in_channels];
        parallel_for_each(&mut tile_inputs, |(tile, transformed)| {
            let inputs = [first, second].map(|input_row| {
                from_fn(|input_column| match grid.input_pixel(*tile, (input_row, input_column)) {
                    Some(pixel) => &pixels[pixel * in_channels..][..in_channels],
                    None => &zeros[..],
                })
            });
            transform_inputs(inputs, sign, transformed);
        })
    }

    /// Adds to the outputs of these tiles what one row of the 16 products is to them.
    fn transform_output_row(
        &self,
        products: [&[f32]; 4],
        product_row: usize,
        tiles: &mut [Tile<'_>],
        (relu, accumulate): (bool, bool),
    ) -> Result<()> {
        let out_channels = self.out_channels;
        let first_tile = tiles.first().map_or(0, |tile| tile.index);
        parallel_for_each(tiles, |Tile { index, output_pixels: output_rows }| {
            let products = products
                .map(|product| &product[(*index - first_tile) * out_channels..][..out_channels]);
            for (output_row, row_transform) in output_rows.iter_mut().zip(OUTPUT_TRANSFORM) {
                if product_row != row_transform.first
                    && !row_transform.others.contains(&product_row)
                {
                    continue;
                }
                let sign =
                    if product_row == row_transform.first { 1.0 } else { row_transform.sign };
                let (accumulate, relu) = (
                    accumulate || product_row != row_transform.first,
                    relu && product_row == row_transform.others[1],
                );
                for (out, column) in output_row.iter_mut().zip(OUTPUT_TRANSFORM) {
                    if let Some(out) = out {
                        transform_outputs(
                            products,
                            OutputContribution { column, sign, accumulate, relu },
                            out,
                        );
                    }
                }
            }
        })
    }
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

    #[test]
    fn it_pays_for_many_channels_and_pixels_only() {
        assert!(is_winograd_faster([1, 2048, 60, 60], 512, 1));
        assert!(is_winograd_faster([1, 512, 60, 60], 512, 4));
        assert!(
            !is_winograd_faster([1, 64, 120, 120], 64, 1),
            "sums would take longer than products"
        );
        assert!(!is_winograd_faster([1, 2048, 15, 20], 512, 1), "a small image");
        assert!(!is_winograd_faster([3, 2048, 15, 20], 512, 1), "three of them");
        assert!(is_winograd_faster([4, 2048, 15, 20], 512, 1), "enough of them");
        assert!(!is_winograd_faster([1, 512, 1, 4000], 512, 16), "most tiles reach over the edge");
    }
}
