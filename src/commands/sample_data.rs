//! `maskmaker sample-data` writes a small synthetic data set: channels to train on, or images with
//! an export of Label Studio.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use rayon::prelude::*;
use serde_json::{Value, json};

use crate::annotations::Runs;
use crate::annotations::brush_rle::encode_brush_rle;
use crate::colors::class_color;
use crate::console::print_stdout;
use crate::data::synthetic::{CLASS_NAMES, SampleData, SampleScene};
use crate::error::{Error, Result};
use crate::files::{PathContext, create_folder, write_atomically, write_atomically_with};

/// Place in S3 where the export says that the images are: that of `pipeline.json`'s defaults.
const IMAGES_URI: &str = "s3://amzn-s3-demo-bucket/images";

/// Scenes that are in memory at once.
const SCENES_AT_ONCE: u32 = 64;

/// Time that the export gives for all annotations, so that equal options give equal bytes.
const ANNOTATED_AT: &str = "2026-01-01T00:00:00.000000Z";

/// Writes the data set into `folder` and prints the number of images of each split.
pub fn write_sample_data(folder: &Path, options: &SampleData) -> Result<()> {
    let summary = options.write(folder)?;
    print_stdout(format_args!(
        "{} images to train on, {} to validate on, in {}",
        summary.train,
        summary.validation,
        folder.display()
    ));
    Ok(())
}

/// Writes `images/`, an export of Label Studio with a brush region per class and image in
/// `annotations/`, and the labeling configuration. A folder `images` that has other files is an
/// error: they would be images without annotations.
pub fn write_sample_annotations(folder: &Path, options: &SampleData) -> Result<()> {
    options.check_options()?;
    let images = folder.join("images");
    create_folder(&images)?;
    check_no_other_images(&images, options)?;
    let export = folder.join("annotations/export.json");
    write_atomically_with(&export, |partial| {
        let file = File::create(partial).with_path("write", &export)?;
        let mut writer = BufWriter::new(file);
        let mut separator = "[\n";
        for first in (0..options.images).step_by(SCENES_AT_ONCE as usize) {
            let end = options.images.min(first + SCENES_AT_ONCE);
            let tasks: Result<Vec<Value>> = (first..end)
                .into_par_iter()
                .map(|index| {
                    let scene = options.draw_scene(index);
                    let path = images.join(format!("{}.jpg", scene.name));
                    write_atomically(&path, &scene.jpeg)?;
                    Ok(describe_task(index, &scene))
                })
                .collect();
            for task in tasks? {
                write!(writer, "{separator}{task}").with_path("write", &export)?;
                separator = ",\n";
            }
        }
        writer.write_all(b"\n]\n").and_then(|()| writer.flush()).with_path("write", &export)
    })?;
    write_atomically(&folder.join("label_config.xml"), label_config().as_bytes())?;
    print_stdout(format_args!(
        "{} images with annotations of Label Studio in {}",
        options.images,
        folder.display()
    ));
    Ok(())
}

fn check_no_other_images(folder: &Path, options: &SampleData) -> Result<()> {
    let own: Vec<String> =
        (0..options.images).map(|index| format!("{}.jpg", SampleData::scene_name(index))).collect();
    for entry in fs::read_dir(folder).with_path("read the folder", folder)? {
        let name = entry.with_path("read the folder", folder)?.file_name();
        if !own.iter().any(|own| name == **own) {
            return Err(Error::input(format!(
                "{} holds {}, which this data set would not write; choose an empty folder",
                folder.display(),
                name.display()
            )));
        }
    }
    Ok(())
}

/// Returns a task of Label Studio's JSON export (Label Studio 1.13, `tests/fixtures/annotations/`).
fn describe_task(index: u32, scene: &SampleScene) -> Value {
    let (width, height) = scene.classes.dimensions();
    let id = index + 1;
    let mut regions = Vec::new();
    for (class, name) in CLASS_NAMES.iter().enumerate().skip(1) {
        let runs = Runs::from_class(&scene.classes, class as u8);
        if runs.is_empty() {
            continue;
        }
        regions.push(json!({
            "id": format!("{}-{name}", scene.name),
            "type": "brushlabels",
            "from_name": "brush",
            "to_name": "image",
            "origin": "manual",
            "image_rotation": 0,
            "original_width": width,
            "original_height": height,
            "value": {"format": "rle", "rle": encode_brush_rle(&runs), "brushlabels": [name]},
        }));
    }
    json!({
        "id": id,
        "data": {"image": format!("{IMAGES_URI}/{}.jpg", scene.name)},
        "annotations": [{
            "id": id,
            "result": regions,
            "was_cancelled": false,
            "ground_truth": false,
            "created_at": ANNOTATED_AT,
            "updated_at": ANNOTATED_AT,
        }],
        "predictions": [],
        "created_at": ANNOTATED_AT,
        "updated_at": ANNOTATED_AT,
    })
}

/// Returns the labeling configuration of a project with these labels.
fn label_config() -> String {
    use std::fmt::Write as _;
    let mut text = String::from("<View>\n  <Image name=\"image\" value=\"$image\"/>\n");
    text.push_str("  <BrushLabels name=\"brush\" toName=\"image\">\n");
    for (class, name) in CLASS_NAMES.iter().enumerate().skip(1) {
        let [red, green, blue] = class_color(class as u8);
        let _ = writeln!(
            text,
            "    <Label value=\"{name}\" background=\"#{red:02x}{green:02x}{blue:02x}\"/>"
        );
    }
    text.push_str("  </BrushLabels>\n</View>\n");
    text
}
