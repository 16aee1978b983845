//! Ground Truth's manifests, whose masks tell the classes by color.

use std::fs;
use std::path::Path;

use image::GrayImage;
use maskmaker::imaging::{DecodeLimits, decode_mask, encode_mask};
use serde_json::{Map, Value, json};

use crate::job::{Job, Run, names};

/// The names of the classes 1 to 3; class 0 is the background.
const NAMES: [&str; 3] = ["bush", "car", "road"];

/// The color of a class on the line `number`: no two lines agree.
fn color(class: u8, number: usize) -> [u8; 3] {
    match class {
        0 => [255; 3],
        class => [90 * (class - 1), 40 + 50 * ((number as u8 + class) % 3), 200 - 60 * class],
    }
}

/// Returns a line's color map as Ground Truth writes it. Its keys are in another order than the
/// classes.
fn metadata(number: usize) -> Value {
    let name = |class: u8| match class {
        0 => "BACKGROUND",
        class => NAMES[usize::from(class) - 1],
    };
    let entry = |class: u8| {
        let [r, g, b] = color(class, number);
        json!({"class-name": name(class), "hex-color": format!("#{r:02x}{g:02x}{b:02x}"), "confidence": 0.9})
    };
    // Some jobs have no entry for the background.
    let classes = (u8::from(number.is_multiple_of(2))..4).rev();
    let map: Map<String, Value> =
        classes.enumerate().map(|(key, class)| (key.to_string(), entry(class))).collect();
    json!({"internal-color-map": map, "type": "groundtruth/semantic-segmentation"})
}

/// A mask in the colors of its line: as a palette, RGB or RGBA.
fn paint(mask: &GrayImage, number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, mask.width(), mask.height());
    let colors = mask.iter().map(|&class| (class, color(class, number)));
    let samples: Vec<u8> = match number % 3 {
        0 => {
            encoder.set_color(png::ColorType::Indexed);
            // The index says nothing.
            encoder.set_palette(
                (0..4).rev().flat_map(|class| color(class, number)).collect::<Vec<_>>(),
            );
            mask.iter().map(|class| 3 - class).collect()
        }
        1 => {
            encoder.set_color(png::ColorType::Rgb);
            colors.flat_map(|(_, color)| color).collect()
        }
        _ => {
            encoder.set_color(png::ColorType::Rgba);
            // Pixels without a label are transparent.
            colors
                .flat_map(|(class, [r, g, b])| [r, g, b, if class == 0 { 0 } else { 255 }])
                .collect()
        }
    };
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&samples).unwrap();
    writer.finish().unwrap();
    bytes
}

/// A job whose masks hold no 255, which no color stands for.
pub(crate) fn folders() -> Job {
    let job = Job::new();
    for split in ["train", "validation"] {
        let folder = job.path("input/data").join(format!("{split}_annotation"));
        for name in names(&folder) {
            let mut mask = read(&folder.join(&name));
            mask.iter_mut().filter(|id| **id == 255).for_each(|id| *id = 0);
            fs::write(folder.join(name), encode_mask(&mask)).unwrap();
        }
    }
    job
}

fn read(mask: &Path) -> GrayImage {
    decode_mask(&fs::read(mask).unwrap(), DecodeLimits::default()).unwrap()
}

/// The same job with a manifest of painted masks for each split.
pub(crate) fn painted() -> Job {
    let job = folders();
    let mut number = 0;
    for split in ["train", "validation"] {
        let data = job.path("input/data");
        let (images, masks) = (data.join(split), data.join(format!("{split}_annotation")));
        let mut lines = String::new();
        for (image, mask) in names(&images).into_iter().zip(names(&masks)) {
            fs::write(images.join(&mask), paint(&read(&masks.join(&mask)), number)).unwrap();
            let line = json!({"source-ref": image, "labels-ref": mask, "labels-ref-metadata": metadata(number)});
            lines += &line.to_string();
            lines.push('\n');
            number += 1;
        }
        fs::write(images.join("output.manifest"), lines).unwrap();
        fs::remove_dir_all(masks).unwrap();
    }
    job
}

fn weights(job: &Job) -> Vec<u8> {
    fs::read(job.path("model/model.safetensors")).unwrap()
}

fn class_names(job: &Job) -> Value {
    let config = fs::read(job.path("model/config.json")).unwrap();
    serde_json::from_slice::<Value>(&config).unwrap()["class_names"].clone()
}

/// Changes the lines of a split's manifest; the number is from 1.
fn edit(job: &Job, split: &str, change: impl Fn(usize, &mut Value)) {
    let file = job.file(split, "output.manifest");
    let text = fs::read_to_string(&file).unwrap();
    let line = |(number, line): (usize, &str)| {
        let mut line = serde_json::from_str(line).unwrap();
        change(number + 1, &mut line);
        format!("{line}\n")
    };
    fs::write(file, text.lines().enumerate().map(line).collect::<String>()).unwrap();
}

#[test]
fn masks_in_colors_train_to_the_weights_of_class_ids_and_name_the_classes() {
    let ids = folders();
    ids.train();
    let colors = painted();
    let Run { stdout, stderr, .. } = colors.train();
    assert!(weights(&colors) == weights(&ids), "the weights are the same bit for bit");
    let order = "classes by color (sorted by name; class_names would fix the order): 0 background, \
                 1 bush, 2 car, 3 road";
    assert!(stdout.contains(order), "{stdout}");
    assert!(!stderr.contains("near"), "{stderr}");
    assert_eq!(class_names(&colors), json!(["background", "bush", "car", "road"]));
    // Other maps make it another job.
    edit(&colors, "validation", |_, line| line["labels-ref-metadata"] = metadata(1));
    let reason = colors.failure();
    assert!(reason.contains("colors without a class"), "{reason}");
}

#[test]
fn names_that_are_given_fix_the_order_of_the_classes() {
    let job = painted().with("class_names", "Background, road, bush, car");
    let stdout = job.train().stdout;
    let order = "classes by color (class_names): 0 Background, 1 road, 2 bush, 3 car";
    assert!(stdout.contains(order), "{stdout}");
    assert_eq!(class_names(&job), json!(["Background", "road", "bush", "car"]));
    let pixels = |run: &str| {
        let line = run.lines().find(|line| line.starts_with("train: ")).unwrap();
        line.split_once("per class: ").unwrap().1.to_owned()
    };
    let sorted = pixels(&painted().train().stdout);
    let count = |of: &str, class: u8| {
        let entry = of.split(", ").find(|entry| entry.starts_with(&format!("{class}: ")));
        entry.unwrap().split_once(": ").unwrap().1.to_owned()
    };
    assert_eq!(count(&pixels(&stdout), 1), count(&sorted, 3), "road");
    assert_eq!(count(&pixels(&stdout), 2), count(&sorted, 1), "bush");

    // A model that is trained on has the names, and classes keep their ids.
    let again = painted().with("epochs", "1");
    fs::create_dir_all(again.path("input/data/model")).unwrap();
    for name in names(&job.path("model")) {
        fs::copy(job.path("model").join(&name), again.file("model", &name)).unwrap();
    }
    let stdout = again.train().stdout;
    let order = "(the model in channel model): 0 Background, 1 road, 2 bush, 3 car";
    assert!(stdout.contains(order), "{stdout}");
    assert_eq!(class_names(&again), class_names(&job));
}

#[test]
fn near_colors_are_counted_and_lines_that_are_wrong_are_told_by_number() {
    let job = painted();
    edit(&job, "train", |number, line| {
        if number == 2 {
            // An RGB mask whose road is a little lighter than its map says.
            let map = line["labels-ref-metadata"]["internal-color-map"].as_object_mut().unwrap();
            let road = map.values_mut().find(|entry| entry["class-name"] == "road").unwrap();
            let [r, g, b] = color(3, 1);
            road["hex-color"] = json!(format!("#{:02x}{g:02x}{b:02x}", r - 3));
        }
    });
    let stderr = job.train().stderr;
    assert!(
        stderr.contains("warning: channel train, labels-ref in output.manifest: ")
            && stderr.contains("pixels in 1 mask have a color that is near one of their"),
        "{stderr}"
    );

    let job = painted();
    edit(&job, "train", |number, line| match number {
        1 => line["labels-ref-metadata"]["internal-color-map"]["0"]["hex-color"] = json!("red"),
        4 => line["labels-ref-metadata"]["internal-color-map"]["1"]["class-name"] = json!("road"),
        _ => {}
    });
    edit(&job, "validation", |number, line| {
        if number == 2 {
            line.as_object_mut().unwrap().remove("labels-ref-metadata");
        }
    });
    let reason = job.failure();
    assert!(reason.contains("output.manifest: 2 lines cannot be used: line 1 has an"), "{reason}");
    assert!(reason.contains("(road) has hex-color \"red\"; allowed: # and six"), "{reason}");
    assert!(
        reason.contains("line 4 has an internal-color-map in which the class-name road comes 2")
    );

    let job = painted().with("num_classes", "5");
    edit(&job, "validation", |number, line| {
        if number == 2 {
            line.as_object_mut().unwrap().remove("labels-ref-metadata");
        }
    });
    fs::create_dir_all(job.path("input/data/label_map")).unwrap();
    fs::write(job.file("label_map", "train_label_map.json"), r#"{"scale": 2}"#).unwrap();
    let reason = job.failure();
    for part in [
        "channel validation: 1 line without an internal-color-map, while 1 has one",
        "line 2 (",
        "channel label_map has a map for train",
        "num_classes is 5, but with the background, which is always class 0, the",
        "name 4 classes: background, bush, car, road; set num_classes to 4",
    ] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
}
