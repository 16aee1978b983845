//! `metrics.json`: the history of a training run by epoch, and the scores of the model that it
//! kept.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files::read_file;
use crate::metrics::{ClassScores, ConfusionMatrix};

/// Formats a score with so many decimals, or writes `absent` if there is none.
pub(super) fn format_score(score: Option<f64>, decimals: usize, absent: &str) -> String {
    match score {
        Some(score) => format!("{score:.decimals$}"),
        None => absent.to_owned(),
    }
}

/// Loss, scores and throughput of an epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochMetrics {
    /// Number of the epoch, from 1.
    pub epoch: usize,
    /// Mean of the steps' losses.
    pub train_loss: f64,
    /// Images per second while training.
    pub train_throughput: f64,
    /// Mean IoU on the validation images; absent when no validation pixel is counted.
    #[serde(rename = "validation_mIOU")]
    pub validation_miou: Option<f64>,
    /// Share of the counted validation pixels whose class is right, 0 to 1.
    pub validation_pixel_accuracy: Option<f64>,
    /// Images per second while validating.
    pub validation_throughput: f64,
    /// Learning rate of the last step.
    pub learning_rate: f64,
}

impl EpochMetrics {
    /// Formats the lines that the built-in's metric regexes match: each number stands bare before a
    /// space or the line's end.
    pub fn metric_lines(&self, total_epochs: usize) -> String {
        let epoch = self.epoch;
        format!(
            "epoch {epoch}/{total_epochs} train loss: {:.6} train throughput: {:.2} learning rate {:.3e}\n\
             epoch {epoch}/{total_epochs} validation mIOU: {} validation pixel_accuracy: {} validation \
             throughput: {:.2}",
            self.train_loss,
            self.train_throughput,
            self.learning_rate,
            format_score(self.validation_miou, 6, "nan"),
            format_score(self.validation_pixel_accuracy, 6, "nan"),
            self.validation_throughput
        )
    }
}

/// Scores of one class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassMetrics {
    pub id: usize,
    pub name: String,
    #[serde(flatten)]
    pub scores: ClassScores,
}

/// Content of `metrics.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelMetrics {
    /// Number of the epoch whose weights were scored, from 1.
    pub best_epoch: usize,
    /// Mean IoU on the validation images.
    #[serde(rename = "mIOU")]
    pub miou: Option<f64>,
    /// Pixel accuracy on the validation images.
    pub pixel_accuracy: Option<f64>,
    pub classes: Vec<ClassMetrics>,
    /// Pixels by true class (row) and predicted class (column).
    pub confusion_matrix: Vec<Vec<u64>>,
    /// History of all epochs so far.
    pub epochs: Vec<EpochMetrics>,
}

impl ModelMetrics {
    /// Computes the scores that follow from a confusion matrix.
    pub fn new(best_epoch: usize, matrix: &ConfusionMatrix, class_names: &[String]) -> Self {
        let mut classes = Vec::new();
        for (id, name) in class_names.iter().enumerate() {
            let (name, scores) = (name.clone(), matrix.class_scores(id));
            classes.push(ClassMetrics { id, name, scores });
        }
        Self {
            best_epoch,
            miou: matrix.mean_iou(),
            pixel_accuracy: matrix.pixel_accuracy(),
            classes,
            confusion_matrix: matrix.rows().map(<[u64]>::to_vec).collect(),
            epochs: Vec::new(),
        }
    }

    /// Reads `metrics.json`; `None` if there is no such file.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let parsed = serde_json::from_slice(&read_file(path)?);
        parsed.map(Some).map_err(|e| Error::input(format!("{}: {e}", path.display())))
    }

    /// Formats a table of the IoU of each class, with the mean below.
    pub fn iou_table(&self) -> String {
        let width = self.classes.iter().map(|class| class.name.chars().count()).max().unwrap_or(0);
        let width = width.max("class".len());
        let mut lines = vec![format!("{:>3}  {:width$}  {:>6}", "id", "class", "IoU")];
        for ClassMetrics { id, name, scores } in &self.classes {
            let iou = format_score(scores.iou, 4, "absent");
            lines.push(format!("{id:>3}  {name:width$}  {iou:>6}"));
        }
        let mean = format_score(self.miou, 4, "absent");
        lines.push(format!("{:>3}  {:width$}  {mean:>6}", "", "mean"));
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_every_class_and_the_mean_over_present_ones() {
        let mut matrix = ConfusionMatrix::new(3);
        matrix.update(&[0, 0, 1, 1], &[0, 0, 1, 0]);
        let names: Vec<String> = ["background", "road", "sky"].map(str::to_owned).to_vec();
        let table = ModelMetrics::new(2, &matrix, &names).iou_table();
        assert_eq!(
            table,
            " id  class          IoU\n  0  background  0.6667\n  1  road        0.5000\n  2  sky         absent\n     mean        0.5833"
        );
    }
}
