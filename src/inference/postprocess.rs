//! Turns logits on the network's grid into answers at the image's size.

use image::GrayImage;
use tch::{Kind, Tensor};

use super::argmax::{self, LogitsSlice};
use super::segment::{OutputDetail, SegmentOptions, Segmentation};
use crate::error::{Error, Result};
use crate::torch::float_slice;

/// Largest number of logits that are resized at a time, so that memory does not grow with classes
/// times pixels.
const MAX_RESIZED_LOGITS: i64 = 32 << 20;

/// Position of the grid on the pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GridAlignment {
    /// The grid covers the image exactly, whatever the size of its cells (PyTorch's `interpolate`
    /// to a size).
    FitsImage,
    /// A cell has this side in pixels; what reaches over the image's right and lower edge is cut
    /// off.
    CellSide(i64),
}

/// Computes the answer at `width` x `height` pixels from one image's logits `[classes, rows,
/// columns]`, which are on the processor.
pub(super) fn postprocess_logits(
    logits: &Tensor,
    alignment: GridAlignment,
    (width, height): (u32, u32),
    options: &SegmentOptions,
) -> Result<Segmentation> {
    let detail = options.detail;
    let size = logits.size();
    let (classes, rows, columns) = (size[0], size[1], size[2]);
    let (width, height) = (i64::from(width), i64::from(height));
    let full_size = match alignment {
        GridAlignment::FitsImage => (width, height),
        GridAlignment::CellSide(side) => (side * columns, side * rows),
    };
    let ids = find_classes(logits, full_size, (width, height))?;
    let mut builder = SegmentationBuilder::new(classes as usize, ids, detail);
    if options.pixel_entropy {
        builder.pixel_entropy.reserve_exact((width * height) as usize);
    }
    let rows_at_once = (MAX_RESIZED_LOGITS / (classes * width).max(1)).clamp(1, height.max(1));
    let needs_logits = detail > OutputDetail::Classes || options.pixel_entropy;
    let mut first_row = if needs_logits { 0 } else { height };
    while first_row < height {
        let rows = rows_at_once.min(height - first_row);
        let strip = upsample_rows(logits, full_size, (width, height), (first_row, rows))?;
        if detail > OutputDetail::Classes {
            builder.add_strip(&strip, (first_row * width) as usize, detail)?;
        }
        if options.pixel_entropy {
            builder.pixel_entropy.extend_from_slice(float_slice(&entropy_share(&strip)?)?);
        }
        first_row += rows;
    }
    let mut confidence = Vec::with_capacity(builder.probability_sums.len());
    for (&sum, &count) in builder.probability_sums.iter().zip(&builder.pixel_counts) {
        confidence.push(if count == 0 { 0.0 } else { (sum / count as f64) as f32 });
    }
    let SegmentationBuilder { ids, pixel_confidence, probabilities, pixel_entropy, .. } = builder;
    let ids = GrayImage::from_raw(width as u32, height as u32, ids);
    let ids = ids.ok_or_else(|| Error::internal("a mask has another size than its image"))?;
    Ok(Segmentation { ids, confidence, pixel_confidence, probabilities, pixel_entropy })
}

/// Returns the class of every pixel, row by row, from logits `[classes, rows, columns]` that cover
/// `full_size` pixels. Both sizes are (width, height).
fn find_classes(logits: &Tensor, full_size: (i64, i64), size: (i64, i64)) -> Result<Vec<u8>> {
    let shape = logits.size();
    let grid_size = (shape[1] as usize, shape[2] as usize);
    let full_size = (full_size.0 as usize, full_size.1 as usize);
    let size = (size.0 as usize, size.1 as usize);
    let channels_last = logits.f_permute([1, 2, 0])?;
    if channels_last.is_contiguous() {
        let logits = LogitsSlice::from_channels_last(float_slice(&channels_last)?, grid_size);
        return Ok(argmax::argmax_classes(&logits, full_size, size));
    }
    let planes = logits.f_contiguous()?;
    let logits = LogitsSlice::from_planes(float_slice(&planes)?, grid_size);
    Ok(argmax::argmax_classes(&logits, full_size, size))
}

/// Resizes logits to `width` x `height` pixels and returns the rows from `first_row` on, `[classes,
/// rows, width]`: bilinear with `align_corners=False`, as PyTorch's `interpolate`.
fn upsample_rows(
    logits: &Tensor,
    (full_width, full_height): (i64, i64),
    (width, height): (i64, i64),
    (first_row, rows): (i64, i64),
) -> Result<Tensor> {
    let size = logits.size();
    let (classes, grid_rows, grid_columns) = (size[0], size[1], size[2]);
    let planes = logits.f_contiguous()?;
    let planes = if (first_row, rows, full_height) == (0, height, height) {
        // The whole image is resized by PyTorch's own kernel.
        planes.f_unsqueeze(0)?.f_upsample_bilinear2d(
            [full_height, full_width],
            false,
            None,
            None,
        )?
    } else {
        // PyTorch's kernel cannot begin in the middle, so the columns are resized by a matrix
        // product.
        let row_weights = interpolation_matrix(grid_rows, full_height, (first_row, rows))?;
        let strip = row_weights.f_matmul(&planes)?;
        let strip = strip.f_reshape([1, classes, rows, grid_columns])?;
        strip.f_upsample_bilinear2d([rows, full_width], false, None, None)?
    };
    let planes = planes.f_squeeze_dim(0)?;
    Ok(if full_width == width { planes } else { planes.f_narrow(2, 0, width)?.f_contiguous()? })
}

/// Makes the matrix `[rows, cells]` that interpolates `rows` rows from `first_row` on, of
/// `full_rows` in all.
fn interpolation_matrix(
    cells: i64,
    full_rows: i64,
    (first_row, rows): (i64, i64),
) -> Result<Tensor> {
    let mut matrix = vec![0.0f32; (rows * cells) as usize];
    let scale = cells as f32 / full_rows as f32;
    for (row, weights) in matrix.chunks_exact_mut(cells as usize).enumerate() {
        let position = ((first_row as f32 + row as f32 + 0.5) * scale - 0.5).max(0.0);
        let above = (position as usize).min(cells as usize - 1);
        let below = (above + 1).min(cells as usize - 1);
        let fraction = position - above as f32;
        weights[above] += 1.0 - fraction;
        weights[below] += fraction;
    }
    Ok(Tensor::f_from_slice(&matrix)?.f_reshape([rows, cells])?)
}

/// Answer that grows strip by strip.
struct SegmentationBuilder {
    ids: Vec<u8>,
    probability_sums: Vec<f64>,
    pixel_counts: Vec<u64>,
    pixel_confidence: Vec<f32>,
    probabilities: Vec<f32>,
    /// Entropies of the strips so far.
    pixel_entropy: Vec<f32>,
}

/// Returns the entropy of each pixel's probabilities `[rows, width]` from logits `[classes, rows, width]`,
/// divided by the logarithm of the number of classes, which is the largest one. A single class leaves no
/// doubt.
fn entropy_share(logits: &Tensor) -> Result<Tensor> {
    let classes = logits.size()[0];
    let log_probabilities = logits.f_log_softmax(0, Kind::Float)?;
    // The logarithms are finite, as logits are, so that no product is infinity times 0.
    let mut products = log_probabilities.f_exp()?;
    let products = products.f_mul_(&log_probabilities)?;
    let entropy = products.f_sum_dim_intlist([0i64].as_slice(), false, Kind::Float)?.f_neg()?;
    let largest = (classes.max(2) as f64).ln();
    Ok(entropy.f_div_scalar(largest)?.f_clamp(0.0, 1.0)?.f_contiguous()?)
}

impl SegmentationBuilder {
    fn new(classes: usize, ids: Vec<u8>, detail: OutputDetail) -> Self {
        let confidence_classes = if detail >= OutputDetail::Confidence { classes } else { 0 };
        let probability_classes = if detail >= OutputDetail::Probabilities { classes } else { 0 };
        let pixels = ids.len();
        let confidence_pixels = if detail >= OutputDetail::PixelConfidence { pixels } else { 0 };
        Self {
            ids,
            probability_sums: vec![0.0; confidence_classes],
            pixel_counts: vec![0; confidence_classes],
            pixel_confidence: vec![0.0; confidence_pixels],
            probabilities: vec![0.0; probability_classes * pixels],
            pixel_entropy: Vec::new(),
        }
    }

    /// Adds a strip of logits `[classes, rows, width]` that begins at this pixel of the image.
    fn add_strip(
        &mut self,
        logits: &Tensor,
        first_pixel: usize,
        detail: OutputDetail,
    ) -> Result<()> {
        let scores = logits.f_softmax(0, Kind::Float)?;
        let scores = scores.f_contiguous()?;
        let scores = float_slice(&scores)?;
        let classes = logits.size()[0] as usize;
        let pixels = scores.len() / classes.max(1);
        for (pixel, &id) in self.ids[first_pixel..first_pixel + pixels].iter().enumerate() {
            let class = usize::from(id);
            let probability = scores[class * pixels + pixel];
            self.probability_sums[class] += f64::from(probability);
            self.pixel_counts[class] += 1;
            if detail >= OutputDetail::PixelConfidence {
                self.pixel_confidence[first_pixel + pixel] = probability;
            }
        }
        if detail >= OutputDetail::Probabilities {
            let image_pixels = self.ids.len();
            for (class, plane) in scores.chunks_exact(pixels.max(1)).enumerate() {
                let start = class * image_pixels + first_pixel;
                self.probabilities[start..start + pixels].copy_from_slice(plane);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    fn logits(classes: i64, rows: i64, columns: i64) -> Tensor {
        let count = classes * rows * columns;
        let numbers = Tensor::arange(count, (Kind::Float, Device::Cpu));
        // No two values are equal, and they are in no order.
        ((numbers * 12.9898).sin() * 3.0).reshape([classes, rows, columns])
    }

    fn with_detail(detail: OutputDetail) -> SegmentOptions {
        SegmentOptions { detail, ..SegmentOptions::default() }
    }

    #[test]
    fn entropy_is_that_of_the_formula_in_strips_and_at_its_ends() {
        let answer = |logits: &Tensor, size| {
            let options = SegmentOptions { pixel_entropy: true, ..SegmentOptions::default() };
            postprocess_logits(logits, GridAlignment::FitsImage, size, &options).unwrap()
        };
        let logits = logits(5, 6, 7);
        let found = answer(&logits, (50, 41));
        assert!(found.confidence.is_empty() && found.pixel_entropy.len() == 50 * 41);
        let detail = with_detail(OutputDetail::Probabilities);
        let full =
            postprocess_logits(&logits, GridAlignment::FitsImage, (50, 41), &detail).unwrap();
        for (pixel, &entropy) in found.pixel_entropy.iter().enumerate() {
            let mut expected = 0.0;
            for class in 0..5 {
                let probability = f64::from(full.probabilities[class * 50 * 41 + pixel]);
                expected -= probability * probability.ln() / 5f64.ln();
            }
            assert!((f64::from(entropy) - expected).abs() < 1e-5, "{entropy} {expected}");
        }
        let cpu = (Kind::Float, Device::Cpu);
        assert!(
            answer(&Tensor::zeros([3, 2, 2], cpu), (2, 2))
                .pixel_entropy
                .iter()
                .all(|e| (e - 1.0).abs() < 1e-6)
        );
        // Far from each other, so that a probability is 0 in 32 bits.
        let certain = Tensor::from_slice(&[0.0f32, 400.0]).reshape([2, 1, 1]);
        assert_eq!(answer(&certain, (1, 1)).pixel_entropy, [0.0]);
        assert_eq!(answer(&Tensor::zeros([1, 2, 2], cpu), (2, 2)).pixel_entropy, [0.0; 4]);
    }

    #[test]
    fn classes_are_libtorchs_argmax_and_confidence_the_mean_of_their_probabilities() {
        let logits = logits(5, 6, 7);
        let answer = postprocess_logits(
            &logits,
            GridAlignment::FitsImage,
            (50, 41),
            &with_detail(OutputDetail::Probabilities),
        )
        .unwrap();
        let full =
            logits.unsqueeze(0).upsample_bilinear2d([41, 50], false, None, None).squeeze_dim(0);
        let expected = full.argmax(0, false).to_kind(Kind::Uint8).reshape([-1]);
        let expected: Vec<u8> = expected.try_into().unwrap();
        assert_eq!(answer.ids.as_raw(), &expected);
        let probabilities = full.softmax(0, Kind::Float).contiguous();
        assert_eq!(answer.probabilities, float_slice(&probabilities).unwrap());
        for class in 0..5 {
            let of_class: Vec<f32> = (0..expected.len())
                .filter(|&pixel| expected[pixel] == class as u8)
                .map(|pixel| answer.probabilities[class * expected.len() + pixel])
                .collect();
            let mean = of_class.iter().sum::<f32>() / of_class.len().max(1) as f32;
            assert!((answer.confidence[class] - mean).abs() < 1e-4);
        }
    }

    #[test]
    fn strips_of_rows_are_what_the_whole_is() {
        let logits = logits(3, 9, 4);
        for (full, size) in [((30, 70), (30, 70)), ((32, 72), (29, 67))] {
            let (width, height) = size;
            let strips: Vec<Tensor> = [(0, 20), (20, 33), (53, height - 53)]
                .map(|rows| upsample_rows(&logits, full, size, rows).unwrap())
                .into();
            let strips = Tensor::cat(&strips, 1);
            assert_eq!(strips.size(), [3, height, width]);
            let whole =
                logits.unsqueeze(0).upsample_bilinear2d([full.1, full.0], false, None, None);
            let expected = whole.squeeze_dim(0).narrow(1, 0, height).narrow(2, 0, width);
            assert!((strips - expected).abs().max().double_value(&[]) < 1e-5);
        }
    }

    #[test]
    fn what_was_not_asked_for_is_not_made() {
        let answer = postprocess_logits(
            &logits(3, 2, 2),
            GridAlignment::FitsImage,
            (4, 4),
            &with_detail(OutputDetail::Classes),
        )
        .unwrap();
        assert!(answer.confidence.is_empty() && answer.probabilities.is_empty());
        let answer = postprocess_logits(
            &logits(3, 2, 2),
            GridAlignment::FitsImage,
            (4, 4),
            &with_detail(OutputDetail::Confidence),
        )
        .unwrap();
        assert!(answer.confidence.len() == 3 && answer.pixel_confidence.is_empty());
        let answer = postprocess_logits(
            &logits(3, 2, 2),
            GridAlignment::FitsImage,
            (4, 4),
            &with_detail(OutputDetail::Probabilities),
        )
        .unwrap();
        for (pixel, (id, confidence)) in
            answer.ids.as_raw().iter().zip(&answer.pixel_confidence).enumerate()
        {
            let probability = |class: usize| answer.probabilities[class * 16 + pixel];
            let highest = (0..3).map(probability).fold(0.0, f32::max);
            assert_eq!(confidence.to_bits(), highest.to_bits());
            assert_eq!(probability(usize::from(*id)).to_bits(), highest.to_bits());
        }
    }
}
