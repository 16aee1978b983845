//! Constants that decide between algorithms and layouts, and the rule that uses them.
//!
//! `make bench-kernels` times both algorithms at shapes of fcn, psp and deeplab, on both sides of
//! [`MIN_OUTPUT_PIXELS`], and prints [`TRANSFORM_COST`] as it fits the processor at hand. Nothing
//! is measured when a model is loaded, because the two algorithms differ by rounding: the same
//! image must give the same mask on every start.

use super::layouts::InputClass;
use super::winograd::TileGrid;

/// Largest number of classes of inputs whose layout is remembered per weight.
pub(super) const MAX_INPUT_CLASSES: usize = 4096;

/// Pixels of a batch from which on all inputs of a kernel larger than 1x1 share one layout: oneDNN
/// was seen to prefer another for smaller inputs only (libtorch 2.10.0, AVX-512 with and without
/// bfloat16).
const MIN_LARGE_PIXELS: i64 = 128;

/// Tiles that are multiplied at a time; a last batch of fewer is filled up. The number never
/// varies, because oneDNN may prefer another layout of the filters for another number of tiles, and
/// that layout would be kept beside the first. The transformed input of more tiles would not stay
/// in the processor's caches.
pub(super) const TILES_PER_BATCH: usize = 128;

/// Time to transform one channel of one pixel, in multiplications of the matrix products. `make
/// bench-kernels` prints the value that fits a processor.
const TRANSFORM_COST: i64 = 450;

/// Smallest number of pixels of a batch for which the transformed filters, which are larger than
/// the weight, are worth reading from memory: about four images of 160x120, whose feature maps are
/// 20x15. `make bench-kernels` times inputs on both sides of it.
const MIN_OUTPUT_PIXELS: i64 = 1024;

/// Gain that Winograd's algorithm must promise, as a fraction: its expected time, times this, must
/// be below the time of the direct convolution.
const REQUIRED_GAIN: (i64, i64) = (23, 20);

/// Returns the class of inputs that share a layout with an input `[batch, channels, height,
/// width]`. Kernels of 1x1 (`is_pointwise`) and small inputs get a layout for each shape.
pub(super) fn classify_input(input_shape: [i64; 4], is_pointwise: bool) -> InputClass {
    let [batch, _, height, width] = input_shape;
    let is_large = batch * height * width >= MIN_LARGE_PIXELS;
    if is_large && !is_pointwise { None } else { Some(input_shape) }
}

/// Work of Winograd's algorithm and of a direct convolution for the same input.
#[derive(Debug, Clone, Copy)]
pub struct WinogradCost {
    /// Multiplications of the products `M` of Winograd's algorithm.
    pub product_multiplications: i64,
    /// Work of the transforms: the sum of input and output channels, times the outputs of all
    /// tiles.
    pub transformed_values: i64,
    /// Multiplications of the direct convolution.
    pub direct_multiplications: i64,
}

impl WinogradCost {
    /// Counts the work for an input `[batch, channels, height, width]`.
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

    /// Returns the time that Winograd's algorithm is expected to take, in multiplications.
    fn expected_time(self) -> i64 {
        self.product_multiplications + TRANSFORM_COST * self.transformed_values
    }

    /// Returns the expected time of Winograd's algorithm, divided by that of the direct
    /// convolution.
    pub fn expected_ratio(self) -> f64 {
        self.expected_time() as f64 / self.direct_multiplications as f64
    }
}

/// Returns true if Winograd's algorithm is expected to take clearly less time than a direct
/// convolution of an input `[batch, channels, height, width]`.
pub(super) fn is_winograd_faster(input_shape: [i64; 4], out_channels: i64, dilation: i64) -> bool {
    let cost = WinogradCost::new(input_shape, out_channels, dilation);
    let [batch, _, height, width] = input_shape;
    let (numerator, denominator) = REQUIRED_GAIN;
    batch * height * width >= MIN_OUTPUT_PIXELS
        && numerator * (cost.expected_time() / denominator) < cost.direct_multiplications
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn winograd_is_chosen_for_many_channels_and_pixels_only() {
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
