//! Scores of the whole test set, each with its uncertainty.

use crate::metrics::{Bootstrap, ClassScores, Estimate, ImageScores, OBJECT_SIZES, Totals};

/// Number of scores of each class.
const SCORES_PER_CLASS: usize = 5;

/// Scores of a model on a test set.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ScoreEstimates {
    pub(super) miou: Estimate,
    pub(super) frequency_weighted_iou: Estimate,
    pub(super) pixel_accuracy: Estimate,
    pub(super) boundary_f1: Estimate,
    pub(super) expected_calibration_error: Estimate,
    pub(super) weighted: WeightedScores<Estimate>,
    /// The same of a classifier that says the most frequent class everywhere.
    pub(super) best_constant: WeightedScores<Estimate>,
    /// Share of the pixels of objects that are right, in the order of [`OBJECT_SIZES`].
    pub(super) object_recalls: [Estimate; 3],
    /// Scores of each class.
    pub(super) classes: Vec<ClassEstimates>,
    /// Sums over all images.
    pub(super) totals: Totals,
}

/// Scores of one class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ClassEstimates {
    pub(super) iou: Estimate,
    pub(super) precision: Estimate,
    pub(super) recall: Estimate,
    pub(super) f1: Estimate,
    pub(super) boundary_f1: Estimate,
}

/// Means of the classes' scores, weighted by their pixels in the truth, as `average="weighted"` of
/// scikit-learn; a score without a denominator counts as 0.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct WeightedScores<T> {
    pub(super) recall: T,
    pub(super) precision: T,
    pub(super) f0_5: T,
    pub(super) f1: T,
    pub(super) f2: T,
}

/// Estimates all scores of the images of a network with `classes` classes.
pub(super) fn estimate_scores(
    bootstrap: &Bootstrap,
    images: &[ImageScores],
    classes: usize,
) -> ScoreEstimates {
    let list = |totals: &Totals| list_scores(totals, classes);
    let mut estimates = bootstrap.estimate(images, classes, list).into_iter();
    // The order is that of list_scores.
    let mut next = || estimates.next().unwrap_or_default();
    let mut totals = Totals::new(classes);
    for image in images {
        totals.add(image, 1);
    }
    let [miou, frequency_weighted_iou, pixel_accuracy] = [next(), next(), next()];
    let [boundary_f1, expected_calibration_error] = [next(), next()];
    let mut next_weighted = || WeightedScores {
        recall: next(),
        precision: next(),
        f0_5: next(),
        f1: next(),
        f2: next(),
    };
    let (weighted, best_constant) = (next_weighted(), next_weighted());
    let object_recalls = OBJECT_SIZES.map(|_| next());
    let mut class_estimates = Vec::with_capacity(classes);
    for _ in 0..classes {
        class_estimates.push(ClassEstimates {
            iou: next(),
            precision: next(),
            recall: next(),
            f1: next(),
            boundary_f1: next(),
        });
    }
    ScoreEstimates {
        miou,
        frequency_weighted_iou,
        pixel_accuracy,
        boundary_f1,
        expected_calibration_error,
        weighted,
        best_constant,
        object_recalls,
        classes: class_estimates,
        totals,
    }
}

fn list_scores(totals: &Totals, classes: usize) -> Vec<Option<f64>> {
    let mut by_class = Vec::with_capacity(classes);
    for class in 0..classes {
        by_class.push(totals.class_scores(class));
    }
    let mut scores = vec![
        totals.mean_iou(),
        totals.frequency_weighted_iou(),
        totals.pixel_accuracy(),
        totals.mean_boundary_f1(),
        totals.calibration().expected_error(),
    ];
    for weighted in [weight_scores(&by_class), weight_best_constant(&by_class)] {
        let WeightedScores { recall, precision, f0_5, f1, f2 } = weighted;
        scores.extend([recall, precision, f0_5, f1, f2]);
    }
    for size in OBJECT_SIZES {
        scores.push(totals.object_recall(size));
    }
    scores.reserve(classes * SCORES_PER_CLASS);
    for (class, ClassScores { iou, precision, recall, f1, .. }) in by_class.into_iter().enumerate()
    {
        scores.extend([iou, precision, recall, f1, totals.boundary_f1(class)]);
    }
    scores
}

/// Returns the F score that counts recall `beta` times as much as precision, 0 to 1; 0 if both are.
fn f_score(precision: f64, recall: f64, beta: f64) -> f64 {
    let weight = beta * beta;
    let denominator = weight * precision + recall;
    if denominator > 0.0 { (1.0 + weight) * precision * recall / denominator } else { 0.0 }
}

fn weight_scores(classes: &[ClassScores]) -> WeightedScores<Option<f64>> {
    let pixels: u64 = classes.iter().map(|class| class.pixels).sum();
    if pixels == 0 {
        return WeightedScores::default();
    }
    let mut sums = WeightedScores::<f64>::default();
    for class in classes {
        let share = class.pixels as f64 / pixels as f64;
        let precision = class.precision.unwrap_or_default();
        let recall = class.recall.unwrap_or_default();
        sums.recall += share * recall;
        sums.precision += share * precision;
        sums.f0_5 += share * f_score(precision, recall, 0.5);
        sums.f1 += share * f_score(precision, recall, 1.0);
        sums.f2 += share * f_score(precision, recall, 2.0);
    }
    sums.defined()
}

/// Scores the classifier that says the most frequent class everywhere: its recall is 1 and its
/// precision the class' share of the pixels, and all other classes have 0.
fn weight_best_constant(classes: &[ClassScores]) -> WeightedScores<Option<f64>> {
    let pixels: u64 = classes.iter().map(|class| class.pixels).sum();
    let most = classes.iter().map(|class| class.pixels).max().unwrap_or_default();
    if pixels == 0 {
        return WeightedScores::default();
    }
    let share = most as f64 / pixels as f64;
    let weighted = |beta| share * f_score(share, 1.0, beta);
    WeightedScores {
        recall: share,
        precision: share * share,
        f0_5: weighted(0.5),
        f1: weighted(1.0),
        f2: weighted(2.0),
    }
    .defined()
}

impl WeightedScores<f64> {
    fn defined(self) -> WeightedScores<Option<f64>> {
        let Self { recall, precision, f0_5, f1, f2 } = self;
        WeightedScores {
            recall: Some(recall),
            precision: Some(precision),
            f0_5: Some(f0_5),
            f1: Some(f1),
            f2: Some(f2),
        }
    }
}
