//! The confusion matrix, and the scores that follow from it.

use serde::{Deserialize, Serialize};

/// Mask value that no score counts.
pub const IGNORE_INDEX: u8 = 255;

/// Counts of pixels by true class (row) and predicted class (column).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfusionMatrix {
    classes: usize,
    counts: Vec<u64>,
}

/// Scores of one class, each 0 to 1. A score whose denominator is zero is `None`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassScores {
    /// Intersection over union: `TP / (TP + FP + FN)`.
    pub iou: Option<f64>,
    /// `TP / (TP + FP)`.
    pub precision: Option<f64>,
    /// `TP / (TP + FN)`.
    pub recall: Option<f64>,
    /// `2 TP / (2 TP + FP + FN)`.
    pub f1: Option<f64>,
    /// Pixels of this class in the truth.
    pub pixels: u64,
}

impl ConfusionMatrix {
    /// Makes a matrix of `classes` x `classes` zeros.
    pub fn new(classes: usize) -> Self {
        Self { classes, counts: vec![0; classes * classes] }
    }

    /// Makes a matrix of counts by row: true class times `classes` plus predicted class. There are
    /// `classes` x `classes` of them.
    pub fn from_counts(classes: usize, counts: Vec<u64>) -> Self {
        debug_assert_eq!(counts.len(), classes * classes);
        Self { classes, counts }
    }

    /// Counts pixels pairwise. Pixels whose truth is [`IGNORE_INDEX`] are not counted; nor is any
    /// other value outside the classes, which the audit has ruled out.
    pub fn update(&mut self, truth: &[u8], predicted: &[u8]) {
        for (&truth, &predicted) in truth.iter().zip(predicted) {
            let (truth, predicted) = (usize::from(truth), usize::from(predicted));
            if truth < self.classes && predicted < self.classes {
                self.counts[truth * self.classes + predicted] += 1;
            }
        }
    }

    /// Returns the rows of counts: row = true class, column = predicted class.
    pub fn rows(&self) -> impl Iterator<Item = &[u64]> {
        self.counts.chunks_exact(self.classes.max(1))
    }

    /// Returns the share of counted pixels that are right, 0 to 1; `None` if no pixel was counted.
    pub fn pixel_accuracy(&self) -> Option<f64> {
        let mut correct = 0;
        for class in 0..self.classes {
            correct += self.true_positives(class);
        }
        divide_or_none(correct, self.counts.iter().sum())
    }

    /// Returns the mean of the classes' IoU, 0 to 1. Classes that are absent from truth and
    /// prediction do not count. `None` if no pixel was counted.
    pub fn mean_iou(&self) -> Option<f64> {
        mean_of_present((0..self.classes).map(|class| self.class_scores(class).iou))
    }

    pub fn class_scores(&self, class: usize) -> ClassScores {
        let truth_pixels: u64 =
            self.counts.iter().skip(class * self.classes).take(self.classes).sum();
        let predicted_pixels: u64 = self.counts.iter().skip(class).step_by(self.classes).sum();
        ClassScores::from_counts(self.true_positives(class), truth_pixels, predicted_pixels)
    }

    /// Returns for each class the pixels that are right, those in the truth, and those predicted.
    pub fn class_counts(&self) -> Vec<[u64; 3]> {
        let mut class_counts = vec![[0; 3]; self.classes];
        for (truth, row) in self.rows().enumerate() {
            for (predicted, &count) in row.iter().enumerate() {
                class_counts[truth][1] += count;
                class_counts[predicted][2] += count;
            }
            class_counts[truth][0] = row[truth];
        }
        class_counts
    }

    /// Adds the counts of another matrix of as many classes.
    pub fn add(&mut self, other: &Self) {
        debug_assert_eq!(self.classes, other.classes);
        for (count, other) in self.counts.iter_mut().zip(&other.counts) {
            *count += other;
        }
    }

    fn true_positives(&self, class: usize) -> u64 {
        self.counts[class * self.classes + class]
    }
}

impl ClassScores {
    /// Computes the scores of a class from its pixels that are right, those in the truth, and those
    /// predicted.
    pub(super) fn from_counts(true_positives: u64, truth: u64, predicted: u64) -> Self {
        Self {
            iou: divide_or_none(true_positives, truth + predicted - true_positives),
            precision: divide_or_none(true_positives, predicted),
            recall: divide_or_none(true_positives, truth),
            f1: divide_or_none(2 * true_positives, truth + predicted),
            pixels: truth,
        }
    }
}

/// Returns the mean of the scores that are defined; `None` if none is.
pub(super) fn mean_of_present(scores: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0);
    for score in scores.flatten() {
        sum += score;
        count += 1;
    }
    (count > 0).then(|| sum / f64::from(count))
}

pub(super) fn divide_or_none(numerator: u64, denominator: u64) -> Option<f64> {
    if denominator == 0 { None } else { Some(numerator as f64 / denominator as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_close(actual: Option<f64>, expected: f64) {
        assert!((actual.unwrap() - expected).abs() < 1e-12, "{actual:?} is not {expected}");
    }

    #[test]
    fn scores_follow_their_formulas() {
        let mut matrix = ConfusionMatrix::new(3);
        matrix.update(&[0, 0, 0, 1, 1, 2], &[0, 0, 1, 1, 1, 0]);
        assert_close(matrix.class_scores(0).iou, 2.0 / 4.0);
        assert_close(matrix.class_scores(1).iou, 2.0 / 3.0);
        assert_close(matrix.class_scores(2).iou, 0.0);
        assert_close(matrix.mean_iou(), (0.5 + 2.0 / 3.0) / 3.0);
        assert_close(matrix.pixel_accuracy(), 4.0 / 6.0);
        assert_close(matrix.class_scores(1).precision, 2.0 / 3.0);
        assert_close(matrix.class_scores(1).recall, 1.0);
        assert_close(matrix.class_scores(1).f1, 0.8);
        assert_eq!(matrix.class_scores(2).precision, None);
    }

    #[test]
    fn ignored_pixels_and_absent_classes_do_not_count() {
        let mut matrix = ConfusionMatrix::new(4);
        matrix.update(&[0, 1, IGNORE_INDEX, IGNORE_INDEX], &[0, 1, 2, 0]);
        assert_close(matrix.mean_iou(), 1.0);
        assert_eq!(matrix.class_scores(2).iou, None);
    }

    #[test]
    fn nothing_counted_means_no_score() {
        let mut matrix = ConfusionMatrix::new(2);
        matrix.update(&[IGNORE_INDEX], &[0]);
        assert_eq!((matrix.mean_iou(), matrix.pixel_accuracy()), (None, None));
    }
}
