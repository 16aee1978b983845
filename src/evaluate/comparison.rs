//! The difference between two models on the same images.

use serde::Serialize;

use super::Candidate;
use super::document::Score;
use super::leaks::Leaks;
use crate::error::{Problems, join_examples};
use crate::metrics::{Bootstrap, ImageScores, PairedDifference, Totals};

/// How a model differs from another one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Path of the other model.
    pub other_model: String,
    /// mIoU of the other model on the same images.
    pub other_miou: Score,
    /// Test images that the other model has seen.
    pub other_leaks: Leaks,
    pub miou: Difference,
    /// Differences of the classes' IoU, class 0 first.
    pub classes: Vec<ClassDifference>,
}

/// Difference of a score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// Score of the model less that of the other one.
    pub difference: Score,
    /// Share of the draws in which the model is better, 0 to 1; equal scores count half.
    pub probability_better: Option<f64>,
}

/// Difference of a class' IoU.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassDifference {
    pub id: usize,
    pub name: String,
    pub iou: Difference,
}

impl From<PairedDifference> for Difference {
    fn from(paired: PairedDifference) -> Self {
        Self { difference: paired.difference.into(), probability_better: paired.probability_better }
    }
}

/// Checks that both models have the same classes.
pub(super) fn check_same_classes<'a>(
    model: &Candidate<'a>,
    other: &Candidate<'a>,
    problems: &mut Problems,
) {
    let names = [&model.engine.info().class_names, &other.engine.info().class_names];
    if names[0] != names[1] {
        let [own, others] = names.map(|names| join_examples(names.iter().cloned()));
        problems.push(format!(
            "the models have other classes: {} has {} ({own}), {} has {} ({others}); compare models \
             of the same classes, in the same order",
            model.path.display(),
            names[0].len(),
            other.path.display(),
            names[1].len()
        ));
    }
}

/// Compares two models by their scores on each image: those of the other model come first.
pub(super) fn compare_models(
    bootstrap: &Bootstrap,
    other_model: &str,
    other_leaks: Leaks,
    [other, own]: [&[ImageScores]; 2],
    class_names: &[String],
) -> Comparison {
    let classes = class_names.len();
    let list = |totals: &Totals| {
        let mut scores = vec![totals.mean_iou()];
        for class in 0..classes {
            scores.push(totals.class_scores(class).iou);
        }
        scores
    };
    let other_miou = bootstrap.estimate(other, classes, |totals| vec![totals.mean_iou()])[0];
    let mut differences =
        bootstrap.compare([other, own], classes, list).into_iter().map(Difference::from);
    let miou = differences.next().unwrap_or(PairedDifference::default().into());
    let mut class_differences = Vec::with_capacity(classes);
    for ((id, name), iou) in class_names.iter().enumerate().zip(differences) {
        class_differences.push(ClassDifference { id, name: name.clone(), iou });
    }
    Comparison {
        other_model: other_model.to_owned(),
        other_miou: other_miou.into(),
        other_leaks,
        miou,
        classes: class_differences,
    }
}
