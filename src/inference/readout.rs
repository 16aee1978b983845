//! From logits on the network's grid to answers at the image's size.

use image::GrayImage;
use tch::{Device, Kind, Tensor};

use super::argmax::{self, Logits};
use super::segment::{Detail, Segmentation};
use crate::error::{Error, Result};
use crate::torch::floats;

/// Logits that are resized at a time, so that memory does not follow from classes times pixels.
const AT_ONCE: i64 = 32 << 20;

/// How the grid lies on the pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grid {
    /// It covers the image exactly, whatever its cells' size (PyTorch's `interpolate` to a size).
    Covers,
    /// A cell is this many pixels; what goes beyond the image is cut off.
    Cell(i64),
}

/// Reads one image's logits `[classes, rows, columns]` at `width` x `height` pixels.
pub(super) fn read(
    logits: &Tensor,
    grid: Grid,
    (width, height): (u32, u32),
    detail: Detail,
) -> Result<Segmentation> {
    let size = logits.size();
    let (classes, rows, columns) = (size[0], size[1], size[2]);
    let (width, height) = (i64::from(width), i64::from(height));
    let full = match grid {
        Grid::Covers => (width, height),
        Grid::Cell(side) => (side * columns, side * rows),
    };
    let coarse = logits.f_to_device(Device::Cpu)?;
    let cells = coarse.f_permute([1, 2, 0])?;
    let pair = |(width, height): (i64, i64)| (width as usize, height as usize);
    let ids = if cells.is_contiguous() {
        let logits = Logits::cells(floats(&cells)?, pair((rows, columns)));
        argmax::classes(&logits, pair(full), pair((width, height)))
    } else {
        let planes = coarse.f_contiguous()?;
        let logits = Logits::planes(floats(&planes)?, pair((rows, columns)));
        argmax::classes(&logits, pair(full), pair((width, height)))
    };
    let mut read = Reading::new(classes as usize, ids, detail);
    let rows_at_once = (AT_ONCE / (classes * width).max(1)).clamp(1, height.max(1));
    let mut first = if detail == Detail::Classes { height } else { 0 };
    while first < height {
        let rows = rows_at_once.min(height - first);
        let strip = enlarged(logits, full, (width, height), (first, rows))?;
        read.strip(&strip, (first * width) as usize, detail)?;
        first += rows;
    }
    let ids = GrayImage::from_raw(width as u32, height as u32, read.ids);
    let ids = ids.ok_or_else(|| Error::internal("a mask has another size than its image"))?;
    let confidence = (read.sums.iter().zip(&read.counts))
        .map(|(&sum, &count)| if count == 0 { 0.0 } else { (sum / count as f64) as f32 })
        .collect();
    Ok(Segmentation { ids, confidence, probabilities: read.probabilities })
}

/// Rows `first..first + rows` of the logits at `width` x `height` pixels, `[classes, rows, width]`: bilinear, corners
/// not aligned, as PyTorch's `interpolate`.
fn enlarged(
    logits: &Tensor,
    (full_width, full_height): (i64, i64),
    (width, height): (i64, i64),
    (first, rows): (i64, i64),
) -> Result<Tensor> {
    let size = logits.size();
    let (classes, grid_rows, grid_columns) = (size[0], size[1], size[2]);
    let planes = logits.f_contiguous()?;
    let planes = if (first, rows, full_height) == (0, height, height) {
        // In one go, by PyTorch's own kernel.
        planes.f_unsqueeze(0)?.f_upsample_bilinear2d(
            [full_height, full_width],
            false,
            None,
            None,
        )?
    } else {
        // Down the columns by hand, because PyTorch's kernel cannot begin in the middle.
        let down = weights(grid_rows, full_height, (first, rows))?.f_to_device(logits.device())?;
        let strip = down.f_matmul(&planes)?;
        let strip = strip.f_reshape([1, classes, rows, grid_columns])?;
        strip.f_upsample_bilinear2d([rows, full_width], false, None, None)?
    };
    let planes = planes.f_squeeze_dim(0)?;
    Ok(if full_width == width { planes } else { planes.f_narrow(2, 0, width)?.f_contiguous()? })
}

/// The matrix `[rows, cells]` that interpolates rows `first..` of `full` from `cells`.
fn weights(cells: i64, full: i64, (first, rows): (i64, i64)) -> Result<Tensor> {
    let mut matrix = vec![0.0f32; (rows * cells) as usize];
    let scale = cells as f32 / full as f32;
    for (row, weights) in matrix.chunks_exact_mut(cells as usize).enumerate() {
        let at = ((first as f32 + row as f32 + 0.5) * scale - 0.5).max(0.0);
        let above = (at as usize).min(cells as usize - 1);
        let below = (above + 1).min(cells as usize - 1);
        let share = at - above as f32;
        weights[above] += 1.0 - share;
        weights[below] += share;
    }
    Ok(Tensor::f_from_data_size(as_bytes(&matrix).as_slice(), &[rows, cells], Kind::Float)?)
}

fn as_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_ne_bytes()).collect()
}

/// What has been read so far.
struct Reading {
    ids: Vec<u8>,
    sums: Vec<f64>,
    counts: Vec<u64>,
    probabilities: Vec<f32>,
}

impl Reading {
    fn new(classes: usize, ids: Vec<u8>, detail: Detail) -> Self {
        let asked = |least, count| if detail >= least { count } else { 0 };
        let pixels = ids.len();
        Self {
            ids,
            sums: vec![0.0; asked(Detail::Confidence, classes)],
            counts: vec![0; asked(Detail::Confidence, classes)],
            probabilities: vec![0.0; asked(Detail::Probabilities, classes * pixels)],
        }
    }

    /// Takes logits `[classes, rows, width]` whose first pixel is number `first` of the image.
    fn strip(&mut self, logits: &Tensor, first: usize, detail: Detail) -> Result<()> {
        let scores = logits.f_softmax(0, Kind::Float)?;
        let scores = scores.f_to_device(Device::Cpu)?.f_contiguous()?;
        let scores = floats(&scores)?;
        let classes = logits.size()[0] as usize;
        let pixels = scores.len() / classes.max(1);
        for (pixel, &id) in self.ids[first..first + pixels].iter().enumerate() {
            let class = usize::from(id);
            self.sums[class] += f64::from(scores[class * pixels + pixel]);
            self.counts[class] += 1;
        }
        if detail >= Detail::Probabilities {
            let all = self.ids.len();
            for (class, plane) in scores.chunks_exact(pixels.max(1)).enumerate() {
                let start = class * all + first;
                self.probabilities[start..start + pixels].copy_from_slice(plane);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits(classes: i64, rows: i64, columns: i64) -> Tensor {
        let count = classes * rows * columns;
        let numbers = Tensor::arange(count, (Kind::Float, Device::Cpu));
        // No two alike, in no order.
        ((numbers * 12.9898).sin() * 3.0).reshape([classes, rows, columns])
    }

    #[test]
    fn classes_are_libtorchs_argmax_and_confidence_the_mean_of_their_probabilities() {
        let logits = logits(5, 6, 7);
        let answer = read(&logits, Grid::Covers, (50, 41), Detail::Probabilities).unwrap();
        let full =
            logits.unsqueeze(0).upsample_bilinear2d([41, 50], false, None, None).squeeze_dim(0);
        let expected = full.argmax(0, false).to_kind(Kind::Uint8).reshape([-1]);
        let expected: Vec<u8> = expected.try_into().unwrap();
        assert_eq!(answer.ids.as_raw(), &expected);
        let probabilities = full.softmax(0, Kind::Float).contiguous();
        assert_eq!(answer.probabilities, floats(&probabilities).unwrap());
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
                .map(|rows| enlarged(&logits, full, size, rows).unwrap())
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
        let answer = read(&logits(3, 2, 2), Grid::Covers, (4, 4), Detail::Classes).unwrap();
        assert!(answer.confidence.is_empty() && answer.probabilities.is_empty());
        let answer = read(&logits(3, 2, 2), Grid::Covers, (4, 4), Detail::Confidence).unwrap();
        assert!(answer.confidence.len() == 3 && answer.probabilities.is_empty());
    }
}
