//! Convolutions of 3x3 with fewer multiplications: Winograd's F(2x2, 3x3), 16 for every four outputs instead of 36 (Lavin
//! and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015, arXiv 1509.09308, section 4.1).
//!
//! Four by four inputs become 16 sums, each of which is multiplied for all channels and tiles at once, and the products
//! become two by two outputs. A dilated convolution is as many interleaved ones that are not. The result differs from a
//! direct sum by rounding alone.

use tch::{Device, Kind, Tensor};

use super::convolution::{Geometry, PackedConvolution};
use crate::error::{Error, Result};

/// Values of sums that are in memory at a time, so that they stay in the processor's caches.
const AT_ONCE: i64 = 8 << 20;

/// What making the sums of one channel of one pixel costs, in multiplications of the matrix products: about, as timed by
/// hand on two cores with AVX-512.
const SUMMING: i64 = 450;

/// Outputs of an image below which the large filters are brought from memory for too little work. A batch of small images
/// keeps to the small weights too: what it would save is not worth holding the filters for.
const LEAST_PIXELS: i64 = 1024;

/// Rows G of the paper: filters are transformed by it from both sides.
const FILTER: [[f32; 3]; 4] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];

/// Tiles are multiplied in multiples of so many, the last of which may be empty: so that few sizes are ever asked for, each
/// of which may want the filters in another layout.
const TOGETHER: i64 = 64;

/// What a sum is multiplied by: for all its tiles a convolution of 1x1. libtorch's own matrix product is MKL's, which is slow on
/// processors that are not Intel's.
const POINTWISE: Geometry = Geometry { padding: 0, stride: 1, dilation: 1 };

/// A convolution with stride 1 that is padded by its dilation, so that its output is as large as its input.
#[derive(Debug)]
pub(super) struct Winograd {
    /// One for each of the 16 sums.
    filters: Vec<PackedConvolution>,
    /// Sides of the weight.
    outputs: i64,
    channels: i64,
    dilation: i64,
}

/// Tiles of two by two outputs that cover `side` outputs, for each of the interleaved convolutions.
fn tiles(side: i64, dilation: i64) -> i64 {
    (side + 2 * dilation - 1) / (2 * dilation)
}

/// How long the parts of a length are, if none may be longer than `most` and all are about as long.
fn even(length: i64, most: i64) -> i64 {
    let parts = (length + most.max(1) - 1) / most.max(1);
    ((length + parts - 1) / parts.max(1)).max(1)
}

/// The parts of a length: where each begins, and how long it is.
fn parts(length: i64, part: i64) -> impl Iterator<Item = (i64, i64)> {
    (0..length).step_by(part as usize).map(move |at| (at, part.min(length - at)))
}

/// Whether it takes clearly less time than multiplying everything, for an input of these sides.
pub(super) fn pays([batch, input, height, width]: [i64; 4], output: i64, dilation: i64) -> bool {
    let covered = |side| tiles(side, dilation) * 2 * dilation;
    let direct = 9 * input * output * batch * height * width;
    let sums = SUMMING * (input + output);
    let ours = (4 * input * output + sums) * batch * covered(height) * covered(width);
    height * width >= LEAST_PIXELS && 23 * (ours / 20) < direct
}

impl Winograd {
    /// Of a weight `[output, input, 3, 3]` of 32-bit floats.
    pub(super) fn new(weight: &Tensor, bias: Option<&Tensor>, dilation: i64) -> Result<Self> {
        let (outputs, channels, ..) = weight.size4()?;
        let transform: Vec<f32> = (0..16 * 9)
            .map(|at| FILTER[at / 9 / 4][at % 9 / 3] * FILTER[at / 9 % 4][at % 3])
            .collect();
        let transform = Tensor::f_from_slice(&transform)?.f_reshape([16, 9])?;
        let options = (Kind::Float, Device::Cpu);
        let filters: Vec<Tensor> = (0..16)
            .map(|_| Tensor::f_empty([outputs, channels, 1, 1], options))
            .collect::<Result<_, _>>()?;
        // A few at a time: all 16 of all outputs would be in memory twice.
        for (output, outputs) in parts(outputs, 32) {
            let nine = weight.f_narrow(0, output, outputs)?.f_reshape([-1, 9])?;
            let sixteen = transform.f_matmul(&nine.f_transpose(0, 1)?)?;
            for (filter, index) in filters.iter().zip(0..) {
                let part = sixteen.f_select(0, index)?.f_reshape([outputs, channels, 1, 1])?;
                filter.f_narrow(0, output, outputs)?.f_copy_(&part)?;
            }
        }
        let packed = |(index, filter): (usize, &Tensor)| {
            // This sum goes into each of the four outputs once.
            let bias = bias.filter(|_| index == 5).map(Tensor::shallow_clone);
            PackedConvolution::new(filter, bias, POINTWISE)
        };
        let filters: Result<_> = filters.iter().enumerate().map(packed).collect();
        Ok(Self { filters: filters?, outputs, channels, dilation })
    }

    /// The convolution of `[batch, input, height, width]`, in channels-last memory; plus `sum`, which is written over
    /// and is what is given back; with `relu` the positive part.
    pub(super) fn forward(
        &self,
        input: &Tensor,
        relu: bool,
        sum: Option<&Tensor>,
    ) -> Result<Tensor> {
        let (batch, channels, height, width) = input.size4()?;
        let (step, outputs) = (self.dilation, self.outputs);
        let (down, across) = (tiles(height, step), tiles(width, step));
        let input = input.f_permute([0, 2, 3, 1])?;
        let result = match sum {
            Some(sum) => sum.f_permute([0, 2, 3, 1])?,
            None => Tensor::f_empty([batch, height, width, outputs], (Kind::Float, Device::Cpu))?,
        };
        let a_row = step * across * step;
        let rows_at_once = AT_ONCE / (16 * a_row * channels.max(outputs)).max(1);
        let rows = even(down, rows_at_once);
        let images = if rows == down { even(batch, rows_at_once / down) } else { 1 };
        let length = (images * rows * a_row + TOGETHER - 1) / TOGETHER * TOGETHER;
        for (image, images) in parts(batch, images) {
            for (row, rows) in parts(down, rows) {
                // The pixels of these rows of tiles, and around them.
                let side = 2 * step;
                let (top, bottom) = (side * row, height.min(side * (row + rows)));
                let (first, last) = ((top - step).max(0), height.min(bottom + step));
                let input = input.f_narrow(0, image, images)?.f_narrow(1, first, last - first)?;
                let above = first - (top - step);
                let below = side * (rows + 1) - above - (last - first);
                let right = side * (across + 1) - step - width;
                // Rows (and columns) by pair of tile rows, row of the pair, and interleaved convolution.
                let padded = input
                    .f_constant_pad_nd([0, 0, step, right, above, below])?
                    .f_reshape([images, rows + 1, 2, step, across + 1, 2, step, channels])?;
                let part = self.part(&padded, length)?;
                let part = part.f_reshape([images, side * rows, side * across, outputs])?;
                let part = part.f_narrow(1, 0, bottom - top)?.f_narrow(2, 0, width)?;
                let mut out = result.f_narrow(0, image, images)?.f_narrow(1, top, bottom - top)?;
                match sum {
                    Some(_) => out = out.f_add_(&part)?,
                    None => out.f_copy_(&part)?,
                }
                if relu {
                    let _ = out.f_relu_()?;
                }
            }
        }
        Ok(result.f_permute([0, 3, 1, 2])?)
    }

    /// The outputs `[images, rows, 2, dilation, across, 2, dilation, output]` of some rows of tiles of some images:
    /// `padded` has one row and one column of tiles more. With what is empty, `length` tiles are multiplied.
    fn part(&self, padded: &Tensor, length: i64) -> Result<Tensor> {
        let cpu = (Kind::Float, Device::Cpu);
        let &[images, more_rows, _, step, more_across, ..] = padded.size().as_slice() else {
            return Err(Error::internal("pixels by tiles have eight sides"));
        };
        let (rows, across) = (more_rows - 1, more_across - 1);
        let &Self { outputs, channels, .. } = self;
        let count = images * rows * step * across * step;
        let sums = Tensor::f_empty([16, length, channels], cpu)?;
        let _ = sums.f_narrow(1, count, length - count)?.f_zero_()?;
        // The matrix B of the paper: of four neighbours along a side the differences and sums.
        let half = Tensor::f_empty([images, rows, step, across + 1, 2, step, channels], cpu)?;
        let tiles = |of: &Tensor, values: i64| {
            of.f_narrow(0, 0, count)?.f_view([images, rows, step, across, step, values])
        };
        let neighbours = |of: &Tensor, side: i64, count: i64| -> Result<[Tensor; 4]> {
            let at = |tile, row| of.f_narrow(side, tile, count)?.f_select(side + 1, row);
            Ok([at(0, 0)?, at(0, 1)?, at(1, 0)?, at(1, 1)?])
        };
        let turned = |[a, b, c, d]: &[Tensor; 4], index: i64, out: &Tensor| -> Result<()> {
            let _ = match index {
                0 => a.f_sub_out(out, c)?,
                1 => b.f_add_out(out, c)?,
                2 => c.f_sub_out(out, b)?,
                _ => b.f_sub_out(out, d)?,
            };
            Ok(())
        };
        let lines = neighbours(padded, 1, rows)?;
        for down in 0..4 {
            turned(&lines, down, &half)?;
            let columns = neighbours(&half, 3, across)?;
            for right in 0..4 {
                let sums = sums.f_select(0, 4 * down + right)?;
                turned(&columns, right, &tiles(&sums, channels)?)?;
            }
        }
        drop(half);
        let product = |(filter, index): (&PackedConvolution, i64)| -> Result<Tensor> {
            let pixels = sums.f_select(0, index)?.f_view([1, length, 1, channels])?;
            let product = filter.forward(&pixels.f_permute([0, 3, 1, 2])?, false)?;
            Ok(tiles(&product.f_permute([0, 2, 3, 1])?.f_reshape([length, outputs])?, outputs)?)
        };
        let products: Result<Vec<Tensor>> = self.filters.iter().zip(0..).map(product).collect();
        let products = products?;
        drop(sums);
        // The matrix A of the paper.
        let folded = |of: [&Tensor; 4], index: i64, out: &Tensor| -> Result<()> {
            let [a, b, c, d] = of;
            if index == 0 {
                let _ = a.f_add_out(out, b)?.f_add_(c)?;
            } else {
                let _ = b.f_sub_out(out, c)?.f_sub_(d)?;
            }
            Ok(())
        };
        let output = Tensor::f_empty([images, rows, 2, step, across, 2, step, outputs], cpu)?;
        let line = Tensor::f_empty([4, images, rows, step, across, step, outputs], cpu)?;
        let line = [0, 1, 2, 3].map(|right| line.select(0, right));
        for down in 0..2 {
            for (right, line) in line.iter().enumerate() {
                let at = |row: usize| &products[4 * row + right];
                folded([0, 1, 2, 3].map(at), down, line)?;
            }
            for right in 0..2 {
                let out = output.f_select(2, down)?.f_select(4, right)?;
                folded(line.each_ref(), right, &out)?;
            }
        }
        Ok(output)
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
    fn parts_are_about_as_long_as_one_another() {
        for (length, most, expected) in
            [(30, 12, 10), (30, 30, 30), (7, 0, 1), (5, 99, 5), (0, 4, 1)]
        {
            assert_eq!(even(length, most), expected, "{length} by {most}");
        }
    }

    #[test]
    fn it_pays_for_many_channels_and_pixels_only() {
        assert!(pays([1, 2048, 60, 60], 512, 1));
        assert!(pays([1, 512, 60, 60], 512, 4));
        assert!(!pays([1, 64, 120, 120], 64, 1), "sums would take longer than products");
        assert!(!pays([1, 2048, 15, 20], 512, 1), "a small image");
        assert!(!pays([8, 2048, 15, 20], 512, 1), "eight of them");
        assert!(!pays([1, 512, 1, 4000], 512, 16), "most tiles reach over the edge");
    }
}
