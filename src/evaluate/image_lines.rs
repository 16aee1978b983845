//! `images.jsonl`: a line of JSON about each image, in the order of the test set.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::scoring::{Confusion, Scored};
use crate::error::Result;
use crate::files::{PathContext, write_atomically_with};
use crate::metrics::{ImageScores, Totals};

/// Writes the file.
pub(super) fn write_image_lines(
    path: &Path,
    scored: &Scored,
    class_names: &[String],
) -> Result<()> {
    write_atomically_with(path, |partial| {
        let file = File::create(partial).with_path("write", partial)?;
        let mut writer = BufWriter::new(file);
        for (image, scores) in scored.images.iter().zip(&scored.models[0].images) {
            let mut line = describe_scores(scores, class_names);
            line.insert("file".to_owned(), image.file.clone().into());
            line.insert("width".to_owned(), image.width.into());
            line.insert("height".to_owned(), image.height.into());
            let confusion = image.worst_confusion.map(|confusion| {
                let Confusion { truth, predicted, pixels } = confusion;
                json!({
                    "truth": class_names[truth],
                    "predicted": class_names[predicted],
                    "pixels": pixels,
                })
            });
            line.insert("worst_confusion".to_owned(), confusion.into());
            writeln!(writer, "{}", Value::from(line)).with_path("write", partial)?;
        }
        writer.flush().with_path("write", partial)
    })
}

/// Describes the scores of one image: those of classes that neither its mask nor the prediction has
/// are left out.
fn describe_scores(scores: &ImageScores, class_names: &[String]) -> Map<String, Value> {
    let mut totals = Totals::new(class_names.len());
    totals.add(scores, 1);
    let (mut iou, mut pixels) = (Map::new(), 0);
    for (id, name) in class_names.iter().enumerate() {
        let class = totals.class_scores(id);
        pixels += class.pixels;
        if let Some(score) = class.iou {
            iou.insert(name.clone(), score.into());
        }
    }
    let mut line = Map::new();
    line.insert("miou".to_owned(), json!(totals.mean_iou()));
    line.insert("pixel_accuracy".to_owned(), json!(totals.pixel_accuracy()));
    line.insert("boundary_f1".to_owned(), json!(totals.mean_boundary_f1()));
    line.insert("iou".to_owned(), iou.into());
    line.insert("pixels".to_owned(), pixels.into());
    line
}
