//! Computes the class of every pixel from logits on a coarser grid.
//!
//! Validation takes libtorch's `argmax` of full-size logits instead (`Network::predict_classes` in
//! src/model/network.rs), because it runs on the device of the training. The function here needs no
//! memory for full-size logits. Both interpolate alike, and may differ where two classes are equal
//! up to rounding.

use std::ops::Range;

/// Pixels that are compared at a time, in vector registers.
const LANES: usize = 16;

/// Logits of one image on its grid, in either memory format.
pub(super) struct LogitsSlice<'a> {
    values: &'a [f32],
    classes: usize,
    /// Distance in memory, in values, between neighboring classes of a cell, and between
    /// neighboring cells of a class.
    strides: (usize, usize),
    rows: usize,
    columns: usize,
}

impl<'a> LogitsSlice<'a> {
    /// Reads planes `[classes, rows, columns]`.
    pub(super) fn from_planes(values: &'a [f32], (rows, columns): (usize, usize)) -> Self {
        let cells = rows * columns;
        let classes = values.len().checked_div(cells).unwrap_or(0);
        Self { values, classes, strides: (cells, 1), rows, columns }
    }

    /// Reads cells `[rows, columns, classes]`, which is channels-last memory.
    pub(super) fn from_channels_last(values: &'a [f32], (rows, columns): (usize, usize)) -> Self {
        let classes = values.len().checked_div(rows * columns).unwrap_or(0);
        Self { values, classes, strides: (1, classes), rows, columns }
    }

    fn logit(&self, class: usize, cell: usize) -> f32 {
        self.values[class * self.strides.0 + cell * self.strides.1]
    }
}

/// Neighboring pixels of a row (or column) that lie between the centers of the same two cells.
#[derive(Debug, PartialEq)]
struct PixelSpan {
    pixels: Range<usize>,
    before: usize,
    after: usize,
}

/// Positions of the pixels between the cells along one side of the image.
struct AxisInterpolation {
    spans: Vec<PixelSpan>,
    /// Weight of the cell after each pixel, 0 to 1. The cell before has the rest.
    weights: Vec<f32>,
}

impl AxisInterpolation {
    /// Places the first `pixels` of the `full_pixels` that the cells cover, center to center, as
    /// PyTorch's `interpolate` with `align_corners=False`.
    fn new(cells: usize, full_pixels: usize, pixels: usize) -> Self {
        let scale = cells as f32 / full_pixels as f32;
        let mut axis = Self { spans: Vec::new(), weights: Vec::with_capacity(pixels) };
        for pixel in 0..pixels {
            let position = ((pixel as f32 + 0.5) * scale - 0.5).max(0.0);
            let before = (position as usize).min(cells - 1);
            axis.weights.push((position - before as f32).min(1.0));
            match axis.spans.last_mut() {
                Some(span) if span.before == before => span.pixels.end = pixel + 1,
                _ => {
                    let after = (before + 1).min(cells - 1);
                    axis.spans.push(PixelSpan { pixels: pixel..pixel + 1, before, after });
                }
            }
        }
        axis
    }
}

/// Returns the class with the highest bilinearly interpolated logit at every pixel; the lowest
/// class wins among equals. The interpolated logits are never all in memory.
///
/// `logits` cover `full_size` pixels (width, height); the result holds the first `(width, height)`
/// of them. An interpolated value lies between the values at the four corners. A class whose
/// highest corner is below the lowest corner of another therefore cannot win between them. In most
/// places one class is left, and nothing is interpolated there.
pub(super) fn argmax_classes(
    logits: &LogitsSlice<'_>,
    full_size: (usize, usize),
    (width, height): (usize, usize),
) -> Vec<u8> {
    let mut ids = vec![0; width * height];
    let (rows, columns) = (logits.rows, logits.columns);
    if rows == 0 || columns == 0 {
        return ids;
    }
    if (columns, rows) == full_size {
        argmax_same_size(logits, width, &mut ids);
        return ids;
    }
    let (x_axis, y_axis) = (
        AxisInterpolation::new(columns, full_size.0, width),
        AxisInterpolation::new(rows, full_size.1, height),
    );
    let mut best = Vec::new();
    let mut candidates: Vec<(u8, [f32; 4])> = Vec::with_capacity(logits.classes);
    for ys in &y_axis.spans {
        for xs in &x_axis.spans {
            find_candidates(logits, xs, ys, &mut candidates);
            if let [(class, _)] = candidates[..] {
                for y in ys.pixels.clone() {
                    ids[y * width..][xs.pixels.clone()].fill(class);
                }
                continue;
            }
            let column_weights = &x_axis.weights[xs.pixels.clone()];
            for y in ys.pixels.clone() {
                let row_weight = y_axis.weights[y];
                let ids = &mut ids[y * width..][xs.pixels.clone()];
                best.clear();
                best.resize(ids.len(), f32::NEG_INFINITY);
                for &(class, [a, b, c, d]) in &candidates {
                    let (left, right) = (
                        interpolate_linear(a, c, row_weight),
                        interpolate_linear(b, d, row_weight),
                    );
                    let scores = column_weights
                        .iter()
                        .map(|&weight| interpolate_linear(left, right, weight));
                    update_argmax(class, scores, &mut best, ids);
                }
            }
        }
    }
    ids
}

/// Fills in the classes where every cell is a pixel, of which the first `width` of each row are
/// wanted.
fn argmax_same_size(logits: &LogitsSlice<'_>, width: usize, ids: &mut [u8]) {
    for (row, ids) in ids.chunks_exact_mut(width.max(1)).enumerate() {
        let first = row * logits.columns;
        if logits.strides.0 == 1 {
            let cells = logits.values.chunks_exact(logits.classes.max(1)).skip(first);
            ids.iter_mut().zip(cells).for_each(|(id, cell)| *id = argmax_cell(cell));
        } else {
            for (group, ids) in ids.chunks_mut(LANES).enumerate() {
                argmax_planes(logits, first + group * LANES, ids);
            }
        }
    }
}

/// Returns the class of one cell.
fn argmax_cell(scores: &[f32]) -> u8 {
    let (mut best, mut winner) = (f32::NEG_INFINITY, 0);
    for (class, &score) in scores.iter().enumerate() {
        let better = score > best;
        best = if better { score } else { best };
        winner = if better { class as u8 } else { winner };
    }
    winner
}

/// Writes the classes of up to [`LANES`] cells from `first` on, from planes.
fn argmax_planes(logits: &LogitsSlice<'_>, first: usize, ids: &mut [u8]) {
    let mut best = [f32::NEG_INFINITY; LANES];
    // The winners are as wide as the scores, so that one kind of vector instruction compares both.
    let mut winners = [0u32; LANES];
    let planes = logits.values.chunks_exact(logits.strides.0);
    for (class, plane) in planes.enumerate() {
        let plane_scores = &plane[first..][..ids.len()];
        let scores = <[f32; LANES]>::try_from(plane_scores).unwrap_or_else(|_| {
            let mut scores = [f32::NEG_INFINITY; LANES];
            scores[..plane_scores.len()].copy_from_slice(plane_scores);
            scores
        });
        for lane in 0..LANES {
            let better = scores[lane] > best[lane];
            best[lane] = if better { scores[lane] } else { best[lane] };
            winners[lane] = if better { class as u32 } else { winners[lane] };
        }
    }
    ids.iter_mut().zip(winners).for_each(|(id, winner)| *id = winner as u8);
}

/// Makes `class` the best where it scores higher than the best so far.
fn update_argmax(class: u8, scores: impl Iterator<Item = f32>, best: &mut [f32], ids: &mut [u8]) {
    for ((best, id), score) in best.iter_mut().zip(ids).zip(scores) {
        let better = score > *best;
        *best = if better { score } else { *best };
        *id = if better { class } else { *id };
    }
}

fn interpolate_linear(before: f32, after: f32, weight: f32) -> f32 {
    (1.0 - weight) * before + weight * after
}

/// Lists the classes that can win between four cells, with their logits at the corners: above left,
/// above right, below left, below right.
fn find_candidates(
    logits: &LogitsSlice<'_>,
    xs: &PixelSpan,
    ys: &PixelSpan,
    candidates: &mut Vec<(u8, [f32; 4])>,
) {
    let corner_cells = [
        (ys.before, xs.before),
        (ys.before, xs.after),
        (ys.after, xs.before),
        (ys.after, xs.after),
    ]
    .map(|(row, column)| row * logits.columns + column);
    candidates.clear();
    let mut best_minimum = f32::NEG_INFINITY;
    for class in 0..logits.classes {
        let corners = corner_cells.map(|cell| logits.logit(class, cell));
        let [a, b, c, d] = corners;
        if a.max(b).max(c.max(d)) < best_minimum {
            continue;
        }
        best_minimum = best_minimum.max(a.min(b).min(c.min(d)));
        candidates.push((class as u8, corners));
    }
    candidates.retain(|(_, [a, b, c, d])| a.max(*b).max(c.max(*d)) >= best_minimum);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tch::{Kind, Tensor};

    use super::*;

    /// Interpolates logits by PyTorch and returns `[classes, height, width]`. Sizes of grids are
    /// (rows, columns), those of images (width, height).
    fn upsample_by_torch(logits: &[f32], grid: (usize, usize), full: (usize, usize)) -> Tensor {
        let classes = (logits.len() / (grid.0 * grid.1)) as i64;
        let tensor = Tensor::from_slice(logits).reshape([1, classes, grid.0 as i64, grid.1 as i64]);
        let full = [full.1 as i64, full.0 as i64];
        tensor.upsample_bilinear2d(full, false, None, None).squeeze_dim(0)
    }

    /// Returns the classes of logits `[classes, rows, columns]`, after checking that both memory
    /// formats give the same.
    fn argmax_of_planes(
        values: &[f32],
        grid: (usize, usize),
        full: (usize, usize),
        size: (usize, usize),
    ) -> Vec<u8> {
        let ids = argmax_classes(&LogitsSlice::from_planes(values, grid), full, size);
        let cells = grid.0 * grid.1;
        let turned: Vec<f32> =
            (0..cells).flat_map(|cell| values.iter().skip(cell).step_by(cells).copied()).collect();
        assert_eq!(
            argmax_classes(&LogitsSlice::from_channels_last(&turned, grid), full, size),
            ids,
            "channels last"
        );
        ids
    }

    #[test]
    fn pixels_lie_between_the_centers_of_cells() {
        let side = AxisInterpolation::new(2, 8, 7);
        let span = |pixels, before, after| PixelSpan { pixels, before, after };
        assert_eq!(side.spans, [span(0..6, 0, 1), span(6..7, 1, 1)]);
        assert_eq!(side.weights, [0.0, 0.0, 0.125, 0.375, 0.625, 0.875, 0.125]);
    }

    #[test]
    fn among_equals_the_lowest_class_wins_and_what_is_no_number_never_does() {
        assert_eq!(argmax_of_planes(&[1.0, 1.0], (1, 1), (2, 2), (2, 2)), [0; 4]);
        for full in [(1, 1), (2, 2)] {
            assert_eq!(argmax_of_planes(&[f32::NAN, 0.0], (1, 1), full, (1, 1)), [1]);
            assert_eq!(argmax_of_planes(&[f32::NAN, f32::NAN], (1, 1), full, (1, 1)), [0]);
        }
    }

    #[test]
    fn cells_that_are_pixels_are_read_as_they_are() {
        let logits = [0.0, 5.0, 1.0, 1.0, 9.0, 2.0, 1.0, 4.0, 1.0, 2.0, 8.0, 3.0];
        assert_eq!(argmax_of_planes(&logits, (2, 3), (3, 2), (3, 2)), [1, 0, 0, 1, 0, 1]);
        assert_eq!(argmax_of_planes(&logits, (2, 3), (3, 2), (2, 1)), [1, 0]);
        assert_eq!(argmax_of_planes(&[], (0, 0), (1, 1), (1, 1)), [0]);
    }

    #[test]
    fn the_last_pixels_of_a_row_are_compared_like_the_first() {
        let (classes, rows, columns) = (7, 3, 2 * LANES + 5);
        let logits: Vec<f32> =
            (0..classes * rows * columns).map(|n| (n as f32 * 12.9898).sin()).collect();
        let width = columns - 2;
        let ids = argmax_of_planes(&logits, (rows, columns), (columns, rows), (width, rows));
        let scores = upsample_by_torch(&logits, (rows, columns), (columns, rows)).argmax(0, false);
        let expected = scores.narrow(1, 0, width as i64).to_kind(Kind::Uint8).reshape([-1]);
        assert_eq!(ids, Vec::<u8>::try_from(expected).unwrap());
    }

    proptest! {
        #[test]
        fn every_pixel_gets_a_class_that_pytorchs_interpolation_finds_the_highest(
            count in 1usize..6,
            grid in (1usize..7, 1usize..7),
            full in (1usize..40, 1usize..40),
            cut in (0usize..8, 0usize..8),
            seed in any::<u32>(),
        ) {
            let numbers = count * grid.0 * grid.1;
            let logits: Vec<f32> =
                (0..numbers).map(|n| ((n as f32 + seed as f32 / 1e5) * 12.9898).sin() * 3.0).collect();
            let size = (full.0.saturating_sub(cut.0).max(1), full.1.saturating_sub(cut.1).max(1));
            let ids = argmax_of_planes(&logits, grid, full, size);
            let scores = upsample_by_torch(&logits, grid, full).to_kind(Kind::Double);
            for (pixel, &id) in ids.iter().enumerate() {
                let (x, y) = ((pixel % size.0) as i64, (pixel / size.0) as i64);
                let column: Vec<f64> = (0..count as i64).map(|class| scores.double_value(&[class, y, x])).collect();
                let highest = column.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                prop_assert!(column[usize::from(id)] > highest - 1e-5, "{column:?} at {x}, {y}: {id}");
            }
        }
    }
}
