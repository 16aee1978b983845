//! The history of a training as a picture.

use std::path::Path;

use super::history::EpochMetrics;
use crate::error::Result;
use crate::files::write_atomically;
use crate::imaging::encode_png;
use crate::render::{Panel, Series, draw_chart};

/// The picture's name in `output/data`.
const CURVES_FILE: &str = "learning-curves.png";

/// Draws loss, scores and learning rate against epochs and writes the picture into `folder`.
pub(super) fn write_learning_curves(folder: &Path, history: &[EpochMetrics]) -> Result<()> {
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
