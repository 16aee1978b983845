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
    FILTER, INPUT, OUTPUT, Share, transform_filters, transform_inputs, transform_outputs,
};
use super::convolution::{Geometry, PackedConvolution};
use super::memory::{floats, floats_mut};
use super::parallel::for_each;
use crate::error::Result;

/// Tiles that are multiplied at a time; some of them may be empty. Always as many: oneDNN may want the filters in another
/// layout for other numbers, which would be kept beside this one, and the sums of more would not stay in the processor's
/// caches.
const TOGETHER: usize = 128;

/// Time to transform one channel of one pixel, in multiplications of the matrix products.
/// `make bench-kernels` prints the value that fits a processor. This is a constant, and not measured
/// when a model is loaded, because the two algorithms differ by rounding: the same image must give
/// the same mask on every start.
const SUMMING: i64 = 450;

/// Outputs of a batch below which the filters, which are larger than the weight, are brought from memory for too little
/// work: about four images of 160x120. `make bench-kernels` times inputs on both sides of it.
const LEAST_PIXELS: i64 = 1024;

/// What a sum is multiplied by: for all its tiles a convolution of 1x1. libtorch's own matrix product is MKL's, which is slow on
/// processors that are not Intel's.
const POINTWISE: Geometry = Geometry { padding: 0, stride: 1, dilation: 1 };

/// A convolution with stride 1 that is padded by its dilation, so that its output is as large as its input.
#[derive(Debug)]
pub(super) struct Winograd {
    /// One for each of the 16 sums.
    filters: Vec<PackedConvolution>,
    /// Sides of the weight.
    outputs: usize,
    channels: usize,
    dilation: i64,
}

/// How tiles of two by two outputs lie on a batch of images.
#[derive(Debug, Clone, Copy)]
struct Grid {
    height: usize,
    width: usize,
    dilation: usize,
}

/// A tile, by its index in a batch, and its outputs where the image has them.
struct Tile<'a> {
    index: usize,
    outputs: [[Option<&'a mut [f32]>; 2]; 2],
}

/// Counts the work of Winograd's algorithm and of a direct convolution of the same input.
#[derive(Debug, Clone, Copy)]
pub struct WinogradCost {
    /// Multiplications of Winograd's matrix products.
    pub products: i64,
    /// Values, in and out, of Winograd's transformations.
    pub transformed: i64,
    /// Multiplications of the direct convolution.
    pub direct: i64,
}

impl WinogradCost {
    /// Counts for an input `[batch, channels, height, width]`.
    pub fn new(input: [i64; 4], outputs: i64, dilation: i64) -> Self {
        let [batch, channels, height, width] = input;
        let (rows, columns) = Grid::new(height, width, dilation).tiles();
        let covered = (4 * batch as usize * rows * columns).next_multiple_of(4 * TOGETHER) as i64;
        Self {
            products: 4 * channels * outputs * covered,
            transformed: (channels + outputs) * covered,
            direct: 9 * channels * outputs * batch * height * width,
        }
    }

    /// The time that Winograd's algorithm is expected to take, in multiplications.
    fn time(self) -> i64 {
        self.products + SUMMING * self.transformed
    }

    /// That time as a part of the direct convolution's.
    pub fn expected_ratio(self) -> f64 {
        self.time() as f64 / self.direct as f64
    }
}

/// Returns true if Winograd's algorithm is expected to take clearly less time than a direct
/// convolution of an input `[batch, channels, height, width]`.
pub(super) fn pays(input: [i64; 4], outputs: i64, dilation: i64) -> bool {
    let cost = WinogradCost::new(input, outputs, dilation);
    let [batch, _, height, width] = input;
    batch * height * width >= LEAST_PIXELS && 23 * (cost.time() / 20) < cost.direct
}

impl Grid {
    fn new(height: i64, width: i64, dilation: i64) -> Self {
        let [height, width, dilation] = [height, width, dilation].map(|side| side as usize);
        Self { height, width, dilation }
    }

    /// Tiles of an image: rows and columns of them.
    fn tiles(self) -> (usize, usize) {
        let tiles = |side: usize| side.div_ceil(2 * self.dilation) * self.dilation;
        (tiles(self.height), tiles(self.width))
    }

    /// Which pixel among all rows and columns of a batch one of a tile's four by four inputs is, if it is there. The second
    /// and third of each side are where its outputs are.
    fn pixel(self, tile: usize, (down, across): (usize, usize)) -> Option<usize> {
        let (rows, columns) = self.tiles();
        let (image, row, column) = (tile / columns / rows, tile / columns % rows, tile % columns);
        let at = |index: usize, input: usize, side: usize| {
            let first = index / self.dilation * 2 * self.dilation + index % self.dilation;
            let at = (first + input * self.dilation).checked_sub(self.dilation);
            at.filter(|at| *at < side)
        };
        let (y, x) = (at(row, down, self.height)?, at(column, across, self.width)?);
        Some((image * self.height + y) * self.width + x)
    }
}

impl Winograd {
    /// Of a weight `[output, input, 3, 3]` of 32-bit floats.
    pub(super) fn new(weight: &Tensor, bias: Option<&Tensor>, dilation: i64) -> Result<Self> {
        let (outputs, channels, ..) = weight.size4()?;
        let weight = weight.f_contiguous()?;
        let weights = floats(&weight)?;
        let (size, options) = ([outputs, channels, 1, 1], (Kind::Float, Device::Cpu));
        let (outputs, channels) = (outputs as usize, channels as usize);
        let mut filters = Vec::with_capacity(16);
        for down in FILTER {
            // Four at a time: all 16 would be in memory twice.
            let mut four = Vec::with_capacity(4);
            for _ in 0..4 {
                four.push(Tensor::f_empty(size, options)?);
            }
            if let [a, b, c, d] = &mut four[..] {
                let [a, b, c, d] = [floats_mut(a)?, floats_mut(b)?, floats_mut(c)?, floats_mut(d)?];
                let (ab, cd) = (
                    a.chunks_mut(channels).zip(b.chunks_mut(channels)),
                    c.chunks_mut(channels).zip(d.chunks_mut(channels)),
                );
                let mut rows: Vec<_> = weights.chunks(9 * channels).zip(ab.zip(cd)).collect();
                for_each(&mut rows, |(weights, ((a, b), (c, d)))| {
                    transform_filters(weights, down, [a, b, c, d]);
                })?;
            }
            for filter in four {
                // This sum goes into each of the four outputs once.
                let bias = bias.filter(|_| filters.len() == 5).map(Tensor::shallow_clone);
                let filter = PackedConvolution::new(&filter, bias, POINTWISE)?;
                filter.lay_out([1, channels as i64, TOGETHER as i64, 1])?;
                filters.push(filter);
            }
        }
        Ok(Self { filters, outputs, channels, dilation })
    }

    /// The convolution of `[batch, input, height, width]`, in channels-last memory; plus `sum`, which is written over
    /// and is what is given back; with `relu` the positive part.
    pub(super) fn forward(
        &self,
        input: &Tensor,
        relu: bool,
        sum: Option<&Tensor>,
    ) -> Result<Tensor> {
        let (batch, _, height, width) = input.size4()?;
        let (options, outputs) = ((Kind::Float, Device::Cpu), self.outputs as i64);
        let input = input.f_permute([0, 2, 3, 1])?.f_contiguous()?;
        let mut result = match sum {
            Some(sum) => sum.f_permute([0, 2, 3, 1])?,
            None => Tensor::f_empty([batch, height, width, outputs], options)?,
        };
        let grid = Grid::new(height, width, self.dilation);
        let mut tiles = self.tiles(grid, batch as usize, floats_mut(&mut result)?);
        let (together, channels) = (TOGETHER as i64, self.channels as i64);
        let mut sums = Tensor::f_empty([4, together, channels], options)?;
        // What comes of the empty ones is not used.
        let some = together.min(tiles.len() as i64);
        let _ = sums.f_narrow(1, some, together - some)?.f_zero_()?;
        let pixels = floats(&input)?;
        for (down, filters) in self.filters.chunks(4).enumerate() {
            // Four filters stay in the processor's caches while all tiles are multiplied by them.
            for tiles in tiles.chunks_mut(TOGETHER) {
                self.sum(pixels, grid, down, tiles, floats_mut(&mut sums)?)?;
                let mut products = Vec::with_capacity(4);
                for (filter, index) in filters.iter().zip(0..) {
                    let pixels = sums.f_narrow(0, index, 1)?.f_unsqueeze(2)?;
                    let product = filter.forward(&pixels.f_permute([0, 3, 1, 2])?, false)?;
                    products.push(product.f_permute([0, 2, 3, 1])?.f_contiguous()?);
                }
                if let [a, b, c, d] = &products[..] {
                    let products = [floats(a)?, floats(b)?, floats(c)?, floats(d)?];
                    self.fold(products, down, tiles, (relu, sum.is_some()))?;
                }
            }
        }
        Ok(result.f_permute([0, 3, 1, 2])?)
    }

    /// All tiles of a batch, with what they write of its `pixels`.
    fn tiles<'a>(&self, grid: Grid, batch: usize, pixels: &'a mut [f32]) -> Vec<Tile<'a>> {
        let mut pixels: Vec<_> = pixels.chunks_mut(self.outputs.max(1)).map(Some).collect();
        let mut taken = |pixel: Option<usize>| pixels.get_mut(pixel?)?.take();
        let (rows, columns) = grid.tiles();
        (0..batch * rows * columns)
            .map(|index| {
                let mut output = |down, across| taken(grid.pixel(index, (down, across)));
                Tile {
                    index,
                    outputs: [1, 2].map(|down| [1, 2].map(|across| output(down, across))),
                }
            })
            .collect()
    }

    /// Of one row of the 16 sums the four of each of these tiles.
    fn sum(
        &self,
        pixels: &[f32],
        grid: Grid,
        down: usize,
        tiles: &[Tile<'_>],
        sums: &mut [f32],
    ) -> Result<()> {
        let channels = self.channels.max(1);
        let mut planes = sums.chunks_mut(TOGETHER * channels);
        let mut planes: [_; 4] =
            from_fn(|_| planes.next().unwrap_or_default().chunks_mut(channels));
        let mut summed: Vec<(usize, [&mut [f32]; 4])> = tiles
            .iter()
            .map(|tile| {
                (tile.index, planes.each_mut().map(|plane| plane.next().unwrap_or_default()))
            })
            .collect();
        let (first, second, sign) = INPUT[down];
        let outside = vec![0.0; channels];
        for_each(&mut summed, |(tile, sums)| {
            let inputs = [first, second].map(|down| {
                from_fn(|across| match grid.pixel(*tile, (down, across)) {
                    Some(pixel) => &pixels[pixel * channels..][..channels],
                    None => &outside[..],
                })
            });
            transform_inputs(inputs, sign, sums);
        })
    }

    /// Adds to the outputs of these tiles what one row of the 16 products is to them.
    fn fold(
        &self,
        products: [&[f32]; 4],
        down: usize,
        tiles: &mut [Tile<'_>],
        (relu, onto): (bool, bool),
    ) -> Result<()> {
        let outputs = self.outputs;
        let first = tiles.first().map_or(0, |tile| tile.index);
        for_each(tiles, |Tile { index, outputs: rows }| {
            let products = products.map(|of| &of[(*index - first) * outputs..][..outputs]);
            for (row, of) in rows.iter_mut().zip(OUTPUT) {
                if down != of.first && !of.others.contains(&down) {
                    continue;
                }
                let sign = if down == of.first { 1.0 } else { of.sign };
                let (onto, relu) = (onto || down != of.first, relu && down == of.others[1]);
                for (out, across) in row.iter_mut().zip(OUTPUT) {
                    if let Some(out) = out {
                        transform_outputs(products, Share { across, sign, onto, relu }, out);
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

    fn waves(size: &[i64]) -> Tensor {
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
            let weight = waves(&[output, input, 3, 3]);
            let bias = biased.then(|| waves(&[output]));
            let images = waves(&[batch, input, height, width]);
            let pair = [dilation; 2];
            let expected = images.conv2d(&weight, bias.as_ref(), [1; 2], pair, pair, 1);
            let expected = if relu { expected.relu() } else { expected };
            let single = |tensor: &Tensor| tensor.to_kind(Kind::Float);
            let winograd = Winograd::new(&single(&weight), bias.as_ref().map(single).as_ref(), dilation).unwrap();
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
        let weight = waves(&[4, 2048, 3, 3]).to_kind(Kind::Float);
        let winograd = Winograd::new(&weight, None, 2).unwrap();
        for side in [12, 40] {
            let images = waves(&[3, 2048, side, side]).to_kind(Kind::Float);
            let together = winograd.forward(&images, false, None).unwrap();
            for image in 0..3 {
                let one = winograd.forward(&images.narrow(0, image, 1), false, None).unwrap();
                let difference = (together.narrow(0, image, 1) - one).abs().max();
                assert!(difference.double_value(&[]) < 1e-3, "{difference:?}");
            }
            let expected = images.conv2d::<Tensor>(&weight, None, [1; 2], [2; 2], [2; 2], 1);
            assert!((together - expected).abs().max().double_value(&[]) < 1e-3);
        }
    }

    #[test]
    fn filters_are_in_memory_once_whatever_number_of_tiles_came() {
        let weight = waves(&[512, 512, 3, 3]).to_kind(Kind::Float);
        let winograd = Winograd::new(&weight, None, 1).unwrap();
        for side in [2, 16, 24, 40] {
            let images = waves(&[1, 512, side, side]).to_kind(Kind::Float);
            let _ = winograd.forward(&images, false, None).unwrap();
        }
        let layouts: Vec<_> = winograd.filters.iter().map(PackedConvolution::layouts).collect();
        assert_eq!(layouts, [1; 16]);
    }

    #[test]
    fn it_pays_for_many_channels_and_pixels_only() {
        assert!(pays([1, 2048, 60, 60], 512, 1));
        assert!(pays([1, 512, 60, 60], 512, 4));
        assert!(!pays([1, 64, 120, 120], 64, 1), "sums would take longer than products");
        assert!(!pays([1, 2048, 15, 20], 512, 1), "a small image");
        assert!(!pays([3, 2048, 15, 20], 512, 1), "three of them");
        assert!(pays([4, 2048, 15, 20], 512, 1), "enough of them");
        assert!(!pays([1, 512, 1, 4000], 512, 16), "most tiles reach over the edge");
    }
}
