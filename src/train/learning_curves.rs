//! `learning-curves.png`: the history of a training run as a picture.

use std::path::{Path, PathBuf};

use super::history::EpochMetrics;
use super::observer::{EpochEvent, TrainObserver};
use crate::error::Result;
use crate::files::write_atomically;
use crate::imaging::encode_png;
use crate::render::{Panel, Series, draw_chart};

/// Name of the picture in `output/data`.
const CURVES_FILE: &str = "learning-curves.png";

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
fn write_learning_curves(folder: &Path, history: &[EpochMetrics]) -> Result<()> {
    let series = |name: &str, get_value: fn(&EpochMetrics) -> Option<f64>| Series {
        name: name.to_owned(),
        points: history.iter().map(|epoch| (epoch.epoch as f64, get_value(epoch))).collect(),
    };
    let panels = [
        Panel {
            title: "loss".to_owned(),
            range: None,
            series: vec![series("training loss", |epoch| Some(epoch.train_loss))],
        },
        Panel {
            title: "validation scores".to_owned(),
            range: Some((0.0, 1.0)),
            series: vec![
                series("mIOU", |epoch| epoch.validation_miou),
                series("pixel accuracy", |epoch| epoch.validation_pixel_accuracy),
            ],
        },
        Panel {
            title: "learning rate".to_owned(),
            range: None,
            series: vec![series("rate of the epoch's last step", |epoch| {
                Some(epoch.learning_rate)
            })],
        },
    ];
    write_atomically(&folder.join(CURVES_FILE), &encode_png(&draw_chart("epoch", &panels)))
}
