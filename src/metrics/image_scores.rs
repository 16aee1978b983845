//! What each image adds to the scores of a set, and the scores of any selection of images.

use super::boundary::BoundaryScore;
use super::calibration::Calibration;
use super::confusion_matrix::{ClassScores, ConfusionMatrix, divide_or_none, mean_of_present};
use super::object_sizes::{ObjectCounts, ObjectSize};

/// Counts of one class in one image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassCounts {
    pub class: u8,
    /// Pixels of the class that are predicted as such.
    pub true_positives: u64,
    /// Pixels of the class in the truth.
    pub truth: u64,
    /// Counted pixels that are predicted as the class.
    pub predicted: u64,
    /// Agreement of the borders, 0 to 1; none where the truth has no border of the class.
    pub boundary_f1: Option<f64>,
}

/// What one image adds to the scores of a set.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ImageScores {
    /// Classes that the truth or the prediction has, by class.
    pub classes: Vec<ClassCounts>,
    /// Probabilities of the predicted classes, if they were asked for.
    pub calibration: Option<Box<Calibration>>,
    /// Objects by size, in the order of [`OBJECT_SIZES`](super::OBJECT_SIZES).
    pub objects: [ObjectCounts; 3],
}

/// Sums over images, some of which may count several times.
#[derive(Debug, Clone, PartialEq)]
pub struct Totals {
    classes: Vec<ClassTotals>,
    calibration: Calibration,
    objects: [ObjectCounts; 3],
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct ClassTotals {
    true_positives: u64,
    truth: u64,
    predicted: u64,
    boundary_f1_sum: f64,
    /// Number of images that the sum is of.
    boundary_images: u64,
    /// Number of images whose truth has the class.
    images: u64,
}

impl ImageScores {
    /// Takes the counts of an image's own confusion matrix, and what is known of its borders.
    pub fn new(
        matrix: &ConfusionMatrix,
        boundaries: &[BoundaryScore],
        calibration: Option<Box<Calibration>>,
    ) -> Self {
        let mut classes = Vec::new();
        for (class, [true_positives, truth, predicted]) in (0..).zip(matrix.class_counts()) {
            if truth > 0 || predicted > 0 {
                let boundary = boundaries.iter().find(|score| score.class == class);
                let boundary_f1 = boundary.map(|score| score.f1);
                classes.push(ClassCounts { class, true_positives, truth, predicted, boundary_f1 });
            }
        }
        Self { classes, calibration, objects: Default::default() }
    }
}

impl Totals {
    /// Returns the sums of no image, of a network with so many classes.
    pub fn new(classes: usize) -> Self {
        Self {
            classes: vec![ClassTotals::default(); classes],
            calibration: Calibration::default(),
            objects: Default::default(),
        }
    }

    /// Adds an image that counts `times` times.
    pub fn add(&mut self, image: &ImageScores, times: u64) {
        for counts in &image.classes {
            let Some(totals) = self.classes.get_mut(usize::from(counts.class)) else { continue };
            totals.true_positives += times * counts.true_positives;
            totals.truth += times * counts.truth;
            totals.predicted += times * counts.predicted;
            totals.images += if counts.truth > 0 { times } else { 0 };
            if let Some(f1) = counts.boundary_f1 {
                totals.boundary_f1_sum += times as f64 * f1;
                totals.boundary_images += times;
            }
        }
        if let Some(calibration) = &image.calibration {
            self.calibration.add(calibration, times);
        }
        for (totals, counts) in self.objects.iter_mut().zip(&image.objects) {
            totals.objects += times * counts.objects;
            totals.pixels += times * counts.pixels;
            totals.true_positives += times * counts.true_positives;
        }
    }

    /// Returns the scores of a class.
    pub fn class_scores(&self, class: usize) -> ClassScores {
        let totals = &self.classes[class];
        ClassScores::from_counts(totals.true_positives, totals.truth, totals.predicted)
    }

    /// Returns the mean of the classes' IoU, 0 to 1, as [`ConfusionMatrix::mean_iou`].
    pub fn mean_iou(&self) -> Option<f64> {
        mean_of_present((0..self.classes.len()).map(|class| self.class_scores(class).iou))
    }

    /// Returns the mean of the classes' IoU, 0 to 1, weighted by their pixels in the truth.
    pub fn frequency_weighted_iou(&self) -> Option<f64> {
        let (mut sum, mut pixels) = (0.0, 0);
        for class in 0..self.classes.len() {
            let scores = self.class_scores(class);
            sum += scores.pixels as f64 * scores.iou.unwrap_or_default();
            pixels += scores.pixels;
        }
        (pixels > 0).then(|| sum / pixels as f64)
    }

    /// Returns the share of counted pixels that are right, 0 to 1.
    pub fn pixel_accuracy(&self) -> Option<f64> {
        let right = self.classes.iter().map(|totals| totals.true_positives).sum();
        divide_or_none(right, self.classes.iter().map(|totals| totals.truth).sum())
    }

    /// Returns the mean boundary F1 of a class, 0 to 1, over the images that have its borders.
    pub fn boundary_f1(&self, class: usize) -> Option<f64> {
        let totals = &self.classes[class];
        (totals.boundary_images > 0).then(|| totals.boundary_f1_sum / totals.boundary_images as f64)
    }

    /// Returns the mean of the classes' boundary F1, 0 to 1.
    pub fn mean_boundary_f1(&self) -> Option<f64> {
        mean_of_present((0..self.classes.len()).map(|class| self.boundary_f1(class)))
    }

    /// Returns the number of images whose truth has a class.
    pub fn images_with_class(&self, class: usize) -> u64 {
        self.classes[class].images
    }

    /// Returns the counts of the objects of a size.
    pub fn objects(&self, size: ObjectSize) -> ObjectCounts {
        self.objects[size as usize]
    }

    /// Returns the share of the pixels of objects of a size that are predicted as their class, 0 to
    /// 1.
    pub fn object_recall(&self, size: ObjectSize) -> Option<f64> {
        let ObjectCounts { pixels, true_positives, .. } = self.objects(size);
        divide_or_none(true_positives, pixels)
    }

    pub fn calibration(&self) -> &Calibration {
        &self.calibration
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn image(truth: &[u8], predicted: &[u8]) -> (ConfusionMatrix, ImageScores) {
        let mut matrix = ConfusionMatrix::new(4);
        matrix.update(truth, predicted);
        let scores = ImageScores::new(&matrix, &[], None);
        (matrix, scores)
    }

    #[test]
    fn borders_count_by_image_and_class() {
        let (matrix, _) = image(&[0, 0, 1, 1], &[0, 1, 1, 2]);
        let boundary = |class, f1| BoundaryScore { class, f1 };
        let first = ImageScores::new(&matrix, &[boundary(0, 0.5), boundary(1, 1.0)], None);
        let second = ImageScores::new(&matrix, &[boundary(1, 0.25)], None);
        let mut totals = Totals::new(4);
        totals.add(&first, 1);
        totals.add(&second, 2);
        assert_eq!(totals.boundary_f1(0), Some(0.5));
        assert_eq!(totals.boundary_f1(1), Some(0.5));
        assert_eq!((totals.boundary_f1(2), totals.mean_boundary_f1()), (None, Some(0.5)));
        assert_eq!((totals.images_with_class(1), totals.images_with_class(2)), (3, 0));
    }

    #[test]
    fn no_image_has_no_scores() {
        let totals = Totals::new(3);
        assert_eq!((totals.mean_iou(), totals.pixel_accuracy()), (None, None));
        assert_eq!((totals.frequency_weighted_iou(), totals.mean_boundary_f1()), (None, None));
        assert_eq!(totals.calibration().expected_error(), None);
    }

    proptest! {
        #[test]
        fn sums_over_images_have_the_scores_of_one_matrix(
            images in prop::collection::vec(
                prop::collection::vec((prop_oneof![0_u8..4, Just(255)], 0_u8..4), 1..40),
                1..6,
            ),
        ) {
            let mut all = ConfusionMatrix::new(4);
            let mut totals = Totals::new(4);
            for pixels in images {
                let (truth, predicted): (Vec<u8>, Vec<u8>) = pixels.into_iter().unzip();
                let (matrix, scores) = image(&truth, &predicted);
                all.add(&matrix);
                totals.add(&scores, 1);
            }
            prop_assert_eq!(totals.mean_iou(), all.mean_iou());
            prop_assert_eq!(totals.pixel_accuracy(), all.pixel_accuracy());
            for class in 0..4 {
                prop_assert_eq!(totals.class_scores(class), all.class_scores(class));
            }
        }
    }
}
