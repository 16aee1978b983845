//! The end of training: files that are made of the best weights once, and the scores.

use std::path::Path;
use std::time::Instant;

use crate::console::print_stdout;
use crate::data::audit::Audit;
use crate::error::Result;
use crate::files::write_atomically;
use crate::imaging::encode_png;
use crate::model::artifact;
use crate::render::{Bar, BarChart, class_label, draw_bar_chart, draw_confusion_matrix, rasterize};
use crate::train::history::{ClassMetrics, ModelMetrics};
use crate::train::model_card::{ModelCard, SplitSummary};
use crate::train::{Hyperparameters, TrainOutcome, TrainerSettings, write_learning_curves};

/// Adds TorchScript and the model card with its pictures to the best weights. They take time and are
/// not needed to resume a job, so they are not written after every epoch.
pub(super) fn write_torchscript_and_card(
    settings: &TrainerSettings,
    hyperparameters: &Hyperparameters,
    [training, validation]: &[Audit; 2],
) -> Result<()> {
    let started = Instant::now();
    let TrainerSettings { model_folder, config, loader_config, .. } = settings;
    artifact::add_torchscript(model_folder)?;
    let metrics = ModelMetrics::read(&model_folder.join(artifact::METRICS_FILE))?;
    let splits = [
        SplitSummary { images: loader_config.total_samples(), audit: training },
        SplitSummary { images: settings.validation_images, audit: validation },
    ];
    if let Some(metrics) = &metrics {
        write_pictures(model_folder, metrics, &config.class_names)?;
    }
    let card = ModelCard::new(config, metrics.as_ref(), splits, hyperparameters)?;
    write_atomically(&model_folder.join(artifact::MODEL_CARD_FILE), card.to_markdown().as_bytes())?;
    print_stdout(format_args!(
        "{} and {} written in {:.1} s",
        artifact::TORCHSCRIPT_FILE,
        artifact::MODEL_CARD_FILE,
        started.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// Writes the pictures of the model card.
fn write_pictures(folder: &Path, metrics: &ModelMetrics, class_names: &[String]) -> Result<()> {
    write_learning_curves(folder, &metrics.epochs)?;
    let mut bars = Vec::new();
    for ClassMetrics { id, scores, .. } in &metrics.classes {
        let name = class_label(*id, class_names);
        bars.push(Bar { name, value: scores.iou, interval: None });
    }
    let title = "IoU of each class on the validation images".to_owned();
    for (file, scene) in [
        (artifact::CLASS_IOU_FILE, draw_bar_chart(&BarChart { title, bars })),
        (
            artifact::CONFUSION_MATRIX_FILE,
            draw_confusion_matrix(&metrics.confusion_matrix, class_names),
        ),
    ] {
        write_atomically(&folder.join(file), &encode_png(&rasterize(&scene)))?;
    }
    Ok(())
}

/// Prints the scores of the epoch whose weights are kept, unless the job was stopped before its
/// end.
pub(super) fn print_outcome(outcome: &TrainOutcome, model_folder: &Path) {
    let TrainOutcome::Finished(metrics) = outcome else { return };
    print_stdout(format_args!("scores of epoch {}, whose weights are kept:", metrics.best_epoch));
    print_stdout(format_args!("{}", metrics.iou_table()));
    print_stdout(format_args!("model written to {}", model_folder.display()));
}
