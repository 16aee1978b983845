//! Agreement of borders: the boundary F1 score of Csurka, Larlus and Perronnin, "What is a good
//! evaluation measure for semantic segmentation?" (BMVC 2013).

use super::IGNORE_INDEX;

/// Default tolerance, relative to the image's diagonal: that of the paper, and of MATLAB's `bfscore`.
pub const DEFAULT_BOUNDARY_TOLERANCE: f64 = 0.0075;

/// Agreement of a class' borders in one image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BoundaryScore {
    pub class: u8,
    /// Harmonic mean of two shares, 0 to 1: of the predicted border pixels that lie within the
    /// tolerance of a true one, and of the true ones that lie within it of a predicted one.
    pub f1: f64,
}

/// A pixel's column and row.
type Position = (u32, u32);

/// Scores the borders of every class that has some in the truth, by class. Where the truth has none,
/// no share of its border pixels can be said: such are classes that fill the image, and those around
/// which the mask ignores a rim.
///
/// A border pixel of a class has a pixel of another class above, below, left or right of it. The
/// edge of the image and what the truth ignores are no other class. Both masks have `width` columns
/// and as many pixels. `tolerance` is relative to the image's diagonal: pixels whose centers are at
/// most that far apart agree.
pub fn score_boundaries(
    truth: &[u8],
    predicted: &[u8],
    width: u32,
    tolerance: f64,
) -> Vec<BoundaryScore> {
    let height = (truth.len() as u64 / u64::from(width.max(1))) as u32;
    let diagonal = f64::from(width).hypot(f64::from(height));
    let disk = Disk::new(tolerance * diagonal);
    let true_borders = find_borders(truth, truth, (width, height));
    let predicted_borders = find_borders(predicted, truth, (width, height));
    let mut scores = Vec::new();
    let mut coverage = Coverage::default();
    for class in 0..IGNORE_INDEX {
        let (of_truth, of_prediction) =
            (&true_borders[usize::from(class)], &predicted_borders[usize::from(class)]);
        if of_truth.is_empty() {
            continue;
        }
        let precision = coverage.covered_share(of_prediction, of_truth, &disk, (width, height));
        let recall = coverage.covered_share(of_truth, of_prediction, &disk, (width, height));
        let sum = precision + recall;
        let f1 = if sum > 0.0 { 2.0 * precision * recall / sum } else { 0.0 };
        scores.push(BoundaryScore { class, f1 });
    }
    scores
}

/// Lists the border pixels of each class of `ids`, row by row. Pixels that `truth` ignores belong to
/// no class.
fn find_borders(ids: &[u8], truth: &[u8], (width, height): (u32, u32)) -> Vec<Vec<Position>> {
    let mut borders = vec![Vec::new(); 256];
    let columns = width as usize;
    for y in 0..height {
        for x in 0..width {
            let index = y as usize * columns + x as usize;
            if truth[index] == IGNORE_INDEX {
                continue;
            }
            let id = ids[index];
            let differs = |other: usize| truth[other] != IGNORE_INDEX && ids[other] != id;
            if x > 0 && differs(index - 1)
                || x + 1 < width && differs(index + 1)
                || y > 0 && differs(index - columns)
                || y + 1 < height && differs(index + columns)
            {
                borders[usize::from(id)].push((x, y));
            }
        }
    }
    borders
}

/// The pixels within a distance of a pixel.
struct Disk {
    /// Half the width of each row, in pixels, from the row of the center downwards.
    half_widths: Vec<u32>,
}

impl Disk {
    fn new(radius: f64) -> Self {
        let radius = if radius.is_finite() { radius.max(0.0) } else { 0.0 };
        let mut half_widths = Vec::new();
        for row in 0..=(radius + 1e-9) as u32 {
            let row = f64::from(row);
            // A tolerance for rounding: 3, 4 and 5 make a right triangle.
            half_widths.push((radius * radius - row * row + 1e-9).max(0.0).sqrt() as u32);
        }
        Self { half_widths }
    }

    fn rows(&self) -> u32 {
        self.half_widths.len() as u32 - 1
    }
}

/// How many disks cover each pixel of a part of the image; kept to be used again.
#[derive(Default)]
struct Coverage {
    /// Differences between neighbors of a row, one more than there are columns.
    differences: Vec<i32>,
}

impl Coverage {
    /// Returns the share of `pixels` that a disk around one of `centers` covers, 0 if there are no
    /// pixels.
    fn covered_share(
        &mut self,
        pixels: &[Position],
        centers: &[Position],
        disk: &Disk,
        (width, height): (u32, u32),
    ) -> f64 {
        if pixels.is_empty() || centers.is_empty() {
            return 0.0;
        }
        // The rows that disks reach; positions are listed row by row.
        let first_row = centers[0].1.saturating_sub(disk.rows());
        let last_row = (centers[centers.len() - 1].1 + disk.rows()).min(height - 1);
        let row_length = width as usize + 1;
        self.differences.clear();
        self.differences.resize((last_row - first_row + 1) as usize * row_length, 0);
        for &(x, y) in centers {
            for (distance, &half_width) in (0..).zip(&disk.half_widths) {
                let from = x.saturating_sub(half_width) as usize;
                let to = (x + half_width + 1).min(width) as usize;
                if y >= distance {
                    self.add_span(y - distance - first_row, from, to, row_length);
                }
                if distance > 0 && y + distance < height {
                    self.add_span(y + distance - first_row, from, to, row_length);
                }
            }
        }
        let (mut covered, mut row, mut column, mut depth) = (0, u32::MAX, 0, 0);
        for &(x, y) in pixels {
            if y < first_row || y > last_row {
                continue;
            }
            if y != row {
                (row, column, depth) = (y, 0, 0);
            }
            let start = (y - first_row) as usize * row_length;
            while column <= x as usize {
                depth += self.differences[start + column];
                column += 1;
            }
            covered += u64::from(depth > 0);
        }
        covered as f64 / pixels.len() as f64
    }

    fn add_span(&mut self, row: u32, from: usize, to: usize, row_length: usize) {
        let start = row as usize * row_length;
        self.differences[start + from] += 1;
        self.differences[start + to] -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Scores borders as their definition says, pixel by pixel.
    fn score_by_definition(
        truth: &[u8],
        predicted: &[u8],
        width: usize,
        tolerance: f64,
    ) -> Vec<BoundaryScore> {
        let height = truth.len() / width;
        let radius = tolerance * (width as f64).hypot(height as f64);
        let neighbors = |x: usize, y: usize| {
            let mut neighbors = Vec::new();
            for (dx, dy) in [(-1, 0), (1, 0), (0, -1), (0, 1)] {
                let (x, y) = (x as i64 + dx, y as i64 + dy);
                if (0..width as i64).contains(&x) && (0..height as i64).contains(&y) {
                    neighbors.push(y as usize * width + x as usize);
                }
            }
            neighbors
        };
        let borders = |ids: &[u8], class: u8| {
            let mut borders = Vec::new();
            for y in 0..height {
                for x in 0..width {
                    let is_other = |n: &usize| truth[*n] != IGNORE_INDEX && ids[*n] != class;
                    let index = y * width + x;
                    if truth[index] != IGNORE_INDEX
                        && ids[index] == class
                        && neighbors(x, y).iter().any(is_other)
                    {
                        borders.push((x as f64, y as f64));
                    }
                }
            }
            borders
        };
        let share = |pixels: &[(f64, f64)], others: &[(f64, f64)]| {
            let is_near = |a: &&(f64, f64)| {
                others.iter().any(|b| (a.0 - b.0).hypot(a.1 - b.1) <= radius + 1e-9)
            };
            let near = pixels.iter().filter(is_near).count();
            if pixels.is_empty() { 0.0 } else { near as f64 / pixels.len() as f64 }
        };
        let mut scores = Vec::new();
        for class in 0..IGNORE_INDEX {
            let (a, b) = (borders(truth, class), borders(predicted, class));
            if a.is_empty() {
                continue;
            }
            let (precision, recall) = (share(&b, &a), share(&a, &b));
            let sum = precision + recall;
            let f1 = if sum > 0.0 { 2.0 * precision * recall / sum } else { 0.0 };
            scores.push(BoundaryScore { class, f1 });
        }
        scores
    }

    #[test]
    fn a_border_that_is_moved_within_the_tolerance_agrees() {
        let mask = |edge: u32| -> Vec<u8> {
            (0..100 * 100).map(|index| u8::from(index % 100 >= edge)).collect()
        };
        // The diagonal has 141.4 pixels, so 0.0075 of it is 1.06.
        let score =
            |edge| score_boundaries(&mask(50), &mask(edge), 100, DEFAULT_BOUNDARY_TOLERANCE);
        let all = |f1| vec![BoundaryScore { class: 0, f1 }, BoundaryScore { class: 1, f1 }];
        assert_eq!(score(50), all(1.0));
        assert_eq!(score(51), all(1.0));
        assert_eq!(score(52), all(0.0));
    }

    #[test]
    fn the_tolerance_is_the_same_in_all_directions() {
        // 0.014 of a diagonal of 500 is 6.999... in binary numbers, and 7 is meant.
        let (width, height) = (400_u32, 300_u32);
        let mask = |is_second: &dyn Fn(u32, u32) -> bool| -> Vec<u8> {
            let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
            pixels.map(|(x, y)| u8::from(is_second(x, y))).collect()
        };
        let score = |truth: Vec<u8>, predicted: Vec<u8>| {
            score_boundaries(&truth, &predicted, width, 0.014)[0].f1
        };
        for (moved, expected) in [(7, 1.0), (8, 0.0)] {
            let sideways = score(mask(&|x, _| x >= 100), mask(&|x, _| x >= 100 + moved));
            let upwards = score(mask(&|_, y| y >= 100), mask(&|_, y| y >= 100 + moved));
            assert!((sideways - expected).abs() < 1e-12, "{moved} sideways: {sideways}");
            assert!((upwards - expected).abs() < 1e-12, "{moved} upwards: {upwards}");
        }
    }

    #[test]
    fn what_is_ignored_and_the_images_edge_are_no_border() {
        let truth = [0, 0, 255, 1, 1];
        assert_eq!(score_boundaries(&truth, &[0, 0, 0, 1, 1], 5, 0.0), []);
        // Whatever is predicted, the truth has no border that could be found.
        assert_eq!(score_boundaries(&[0, 0, 0, 0], &[0, 0, 1, 1], 4, 0.0), []);
        let scores = score_boundaries(&[0, 0, 1, 1], &[0, 0, 0, 0], 4, 0.0);
        let missed = |class| BoundaryScore { class, f1: 0.0 };
        assert_eq!(scores, [missed(0), missed(1)]);
        assert_eq!(score_boundaries(&[], &[], 0, 0.01), []);
    }

    proptest! {
        #[test]
        fn scores_are_those_of_the_definition(
            (width, truth, predicted) in (1_usize..14, 1_usize..14).prop_flat_map(|(width, height)| {
                let id = prop_oneof![4 => 0_u8..3, 1 => Just(IGNORE_INDEX)];
                let mask = prop::collection::vec(id, width * height);
                (Just(width), mask, prop::collection::vec(0_u8..3, width * height))
            }),
            tolerance in 0.0..0.5,
        ) {
            let scores = score_boundaries(&truth, &predicted, width as u32, tolerance);
            let expected = score_by_definition(&truth, &predicted, width, tolerance);
            prop_assert_eq!(scores.len(), expected.len());
            for (score, expected) in scores.iter().zip(expected) {
                prop_assert_eq!(score.class, expected.class);
                prop_assert!((score.f1 - expected.f1).abs() < 1e-12, "{:?} {:?}", score, expected);
            }
        }
    }
}
