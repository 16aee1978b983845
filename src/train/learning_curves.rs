//! `learning-curves.png`: the history of a training run as a picture.

use std::path::{Path, PathBuf};

use super::history::EpochMetrics;
use super::observer::{EpochEvent, TrainObserver};
use super::trainer::is_better_score;
use crate::error::Result;
use crate::files::write_atomically;
use crate::imaging::encode_png;
use crate::model::artifact::LEARNING_CURVES_FILE;
use crate::render::{
    LineChart, Mark, Panel, PanelHeight, Series, XAxis, draw_line_chart, rasterize,
};

/// Draws the learning curves anew after each epoch.
#[derive(Debug)]
pub struct LearningCurves {
    folder: PathBuf,
}

impl LearningCurves {
    /// Returns an observer that writes into `folder`.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }
}

impl TrainObserver for LearningCurves {
    fn on_validation_epoch_end(&mut self, event: &EpochEvent<'_>) -> Result<()> {
        write_learning_curves(&self.folder, event.history)
    }
}

/// Draws loss, scores and learning rate against epochs and writes the picture into `folder`.
pub fn write_learning_curves(folder: &Path, history: &[EpochMetrics]) -> Result<()> {
    let chart = rasterize(&draw_line_chart(&describe_learning_curves(history)));
    write_atomically(&folder.join(LEARNING_CURVES_FILE), &encode_png(&chart))
}

/// Describes loss, scores and learning rate against epochs, and the best epoch.
pub fn describe_learning_curves(history: &[EpochMetrics]) -> LineChart {
    let series = |name: &str, get_value: fn(&EpochMetrics) -> Option<f64>| Series {
        name: name.to_owned(),
        points: history.iter().map(|epoch| (epoch.epoch as f64, get_value(epoch))).collect(),
        is_reference: false,
    };
    let training = Panel {
        title: "Training".to_owned(),
        series: vec![series("loss", |epoch| Some(epoch.train_loss))],
        ..Panel::default()
    };
    let validation = Panel {
        title: "Validation".to_owned(),
        range: Some((0.0, 1.0)),
        series: vec![
            series("mIoU", |epoch| epoch.validation_miou),
            series("pixel accuracy", |epoch| epoch.validation_pixel_accuracy),
        ],
        marks: mark_best_epoch(history).into_iter().collect(),
        ..Panel::default()
    };
    let learning_rate = Panel {
        title: "Learning rate".to_owned(),
        height: PanelHeight::Small,
        series: vec![series("at the epoch's last step", |epoch| Some(epoch.learning_rate))],
        ..Panel::default()
    };
    LineChart {
        x_axis: XAxis { label: "epoch".to_owned(), range: None },
        panels: vec![training, validation, learning_rate],
    }
}

/// Marks the epoch with the best mean IoU, whose weights are the model.
fn mark_best_epoch(history: &[EpochMetrics]) -> Option<Mark> {
    let (mut best_epoch, mut best_score) = (0, None);
    for epoch in history {
        if is_better_score(epoch.validation_miou, best_score) {
            (best_epoch, best_score) = (epoch.epoch, epoch.validation_miou);
        }
    }
    let label = format!("best: epoch {best_epoch}, mIoU {:.3}", best_score?);
    Some(Mark { x: best_epoch as f64, label })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(epoch: usize, validation_miou: Option<f64>) -> EpochMetrics {
        EpochMetrics {
            epoch,
            train_loss: 1.0,
            train_throughput: 1.0,
            validation_miou,
            validation_pixel_accuracy: validation_miou,
            validation_throughput: 1.0,
            learning_rate: 1e-3,
        }
    }

    #[test]
    fn the_first_of_the_best_epochs_is_marked() {
        let history =
            [epoch(1, None), epoch(2, Some(0.5)), epoch(3, Some(0.7)), epoch(4, Some(0.7))];
        let mark = mark_best_epoch(&history).unwrap();
        assert_eq!((mark.x, &*mark.label), (3.0, "best: epoch 3, mIoU 0.700"));
        assert_eq!(mark_best_epoch(&history[..1]), None);
        let scene = draw_line_chart(&describe_learning_curves(&history));
        assert!(scene.texts().any(|text| text.text == mark.label));
    }
}
