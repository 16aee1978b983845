//! Label Studio's exports and storages.

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;

use image::GrayImage;
use serde_json::{Value, json};

use maskmaker::data::synthetic::SampleData;
use maskmaker::imaging::{DecodeLimits, decode_mask};

use super::{Folders, LABELS, boxes, compose, files, fixture, read, region, task};
use crate::job::{Run, maskmaker};

#[test]
fn an_export_of_sample_data_gives_exactly_the_classes_that_were_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let path = |below: &str| data.join(below).to_str().unwrap().to_owned();
    let mut command = maskmaker();
    command.args(["sample-data", &path(""), "--annotations", "--images", "8", "--size", "96"]);
    let made = Run::new(&command.args(["--seed", "5"]).output().unwrap());
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let output = folder.path().join("channels");
    let mut command = maskmaker();
    command.args([
        "preprocess",
        "--annotations",
        &path("annotations"),
        "--images",
        &path("images"),
    ]);
    command.args(["--label-config", &path("label_config.xml"), "--output"]).arg(&output);
    let run = Run::new(&command.output().unwrap());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let options = SampleData { images: 8, size: 96, seed: 5 };
    for index in 0..8 {
        let scene = options.draw_scene(index);
        let name = format!("{}.png", scene.name);
        let channels = ["train_annotation", "validation_annotation"];
        let mask = channels.map(|channel| output.join(channel).join(&name));
        let mask = fs::read(mask.iter().find(|path| path.exists()).unwrap()).unwrap();
        let mask = decode_mask(&mask, DecodeLimits::default()).unwrap();
        assert!(mask == scene.classes, "{name}");
        let image = data.join("images").join(format!("{}.jpg", scene.name));
        assert!(fs::read(image).unwrap() == scene.jpeg, "{name}");
    }
    // The images are those of the channels that sample-data writes without the flag.
    let channels = folder.path().join("other");
    options.write(&channels).unwrap();
    let first = options.draw_scene(0);
    assert!(fs::read(channels.join("train/scene_0001.jpg")).unwrap() == first.jpeg);
    // Another data set in the same place would leave images without annotations.
    let again =
        maskmaker().args(["sample-data", &path(""), "--annotations", "--images", "4"]).output();
    let again = Run::new(&again.unwrap());
    assert_eq!(again.code, Some(3));
    assert!(again.stderr.contains("which this data set would not write"), "{}", again.stderr);
}

/// The names of the images whose annotations are drawn.
const DRAWN: [&str; 6] =
    ["astronaut", "coffee", "coins_gray", "exif_rotated", "odd size ünïcode", "rocket"];

/// What the fixtures' regions give, painted here from the masks that they were encoded from.
fn expected() -> BTreeMap<String, GrayImage> {
    let polygon = |name: &str| format!("masks/geometry/{name}_polygonlabels.png");
    let brush = |name: &str| format!("exports/seg_BRUSH_TO_PNG/{name}-0.png");
    let astronaut = compose(&[
        (1, "masks/task0_road_ellipse.png"),
        (2, "masks/task0_car_rect.png"),
        (3, &polygon("seg_task1_ann1_region2")),
        (3, "masks/task0_tree_ring.png"),
    ]);
    let coffee = compose(&[
        (4, "masks/task1_person_a.png"),
        (4, "masks/task1_person_b.png"),
        (1, &polygon("seg_task2_ann2_region2")),
    ]);
    let exif = compose(&[(1, "masks/task5_exif.png"), (2, &polygon("seg_task6_ann7_region1"))]);
    let odd = compose(&[
        (1, "masks/task6_noise.png"),
        // The region has the labels car and person/rider: the last is on top.
        (4, &brush("task-7-annotation-8-by-1-brush-car-person-rider")),
    ]);
    let rocket = compose(&[(2, "masks/task3_1_rocket.png")]);
    let masks = [astronaut, coffee, GrayImage::new(192, 152), exif, odd, rocket];
    DRAWN.map(str::to_owned).into_iter().zip(masks).collect()
}

#[test]
fn an_export_gives_exactly_the_masks_that_it_was_made_from() {
    let folders = Folders::of("labelstudio/seg_JSON.json");
    let run = folders.done(&[]);
    assert!(folders.masks() == expected());
    assert!(run.stdout.contains("6 images"), "{}", run.stdout);
    assert!(run.stdout.contains("1 skipped by annotators"), "{}", run.stdout);

    // The palette is the labels' colors.
    let masks = ["train_annotation", "validation_annotation"].map(|c| files(&folders.output(c)));
    for bytes in masks.iter().flat_map(BTreeMap::values) {
        let reader = png::Decoder::new(Cursor::new(bytes)).read_info().unwrap();
        let palette = reader.info().palette.as_ref().unwrap();
        assert_eq!(reader.info().color_type, png::ColorType::Indexed);
        let expected = [0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 165, 0];
        assert_eq!(palette[..15], expected);
    }

    // Images are what they were, and every one has its mask.
    for (side, masks) in ["train", "validation"].into_iter().zip(&masks) {
        let images = files(&folders.output(side));
        let stems = |names: Vec<&String>| -> Vec<String> {
            names.iter().map(|name| name.rsplit_once('.').unwrap().0.to_owned()).collect()
        };
        assert_eq!(stems(images.keys().collect()), stems(masks.keys().collect()));
        assert!(!images.is_empty());
        for (name, bytes) in images {
            assert!(bytes == read(&format!("labelstudio/images/{name}")), "{name}");
        }
    }
    assert!(fs::read(folders.output("contact-sheet.png")).unwrap().starts_with(b"\x89PNG"));
}

#[test]
fn classes_and_what_became_of_everything_is_told() {
    let folders = Folders::of("labelstudio/seg_JSON.json");
    folders.done(&[]);
    let labels = fs::read(folders.output("label_map/labels.json")).unwrap();
    let labels: Value = serde_json::from_slice(&labels).unwrap();
    let expected = json!({
        "0": {"name": "background", "color": [0, 0, 0]},
        "1": {"name": LABELS[0], "color": [255, 0, 0]},
        "2": {"name": LABELS[1], "color": [0, 255, 0]},
        "3": {"name": LABELS[2], "color": [0, 0, 255]},
        "4": {"name": LABELS[3], "color": [255, 165, 0]},
    });
    assert_eq!(labels, expected);

    let report = folders.report();
    let tally = json!({
        "used": 6, "superseded": 1, "cancelled": 1, "stale": 0, "not_labelled": 0, "elsewhere": 0,
    });
    assert_eq!(report["annotations"], tally);
    let skipped = json!([{
        "what": "chelsea.jpg", "reason": "every annotation was skipped by its annotator", "fault": false,
    }]);
    assert_eq!(report["skipped"], skipped);
    let sides: Vec<&str> =
        report["masks"].as_array().unwrap().iter().map(|m| m["split"].as_str().unwrap()).collect();
    let count = |side: &str| sides.iter().filter(|s| **s == side).count() as u64;
    assert_eq!(report["images"]["train"].as_u64(), Some(count("train")));
    assert_eq!(report["images"]["validation"].as_u64(), Some(count("validation")));
    let masks = self::expected();
    for (id, class) in report["classes"].as_array().unwrap().iter().enumerate() {
        let pixels: u64 =
            class["pixels"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
        let drawn = masks.values().flat_map(|mask| mask.iter()).filter(|&&c| usize::from(c) == id);
        assert_eq!(pixels, drawn.count() as u64, "{id}");
    }
}

#[test]
fn the_smaller_export_gives_the_same_masks() {
    let folders = Folders::of("labelstudio/seg_JSON_MIN.json");
    folders.done(&[]);
    let mut expected = expected();
    // Which annotation is ground truth is not in it: the newest counts, here the same.
    assert!(folders.masks() == expected);
    folders.done(&["--several", "first"]);
    expected.insert("rocket".to_owned(), compose(&[(2, "masks/task3_0_rocket.png")]));
    assert!(folders.masks() == expected);
}

#[test]
fn the_rule_decides_which_of_several_annotations_counts() {
    let folders = Folders::of("labelstudio/seg_JSON.json");
    let first = compose(&[(2, "masks/task3_0_rocket.png")]);
    let truth = compose(&[(2, "masks/task3_1_rocket.png")]);
    assert!(first != truth);
    let mut both = first.clone();
    for (pixel, other) in both.iter_mut().zip(truth.iter()) {
        *pixel = if *pixel == *other { *pixel } else { 255 };
    }
    for (several, mask) in
        [("ground-truth", &truth), ("newest", &truth), ("first", &first), ("majority", &both)]
    {
        folders.done(&["--several", several]);
        assert!(folders.mask("rocket") == *mask, "{several}");
    }
    // The truth is taken also where another annotation is newer.
    let mut export: Value = serde_json::from_slice(&read("labelstudio/seg_JSON.json")).unwrap();
    export[3]["annotations"][0]["updated_at"] = json!("2026-11-21T00:00:00.000000Z");
    folders.annotation("seg_JSON.json", export.to_string());
    for (several, mask) in [("ground-truth", &truth), ("newest", &first)] {
        folders.done(&["--several", several]);
        assert!(folders.mask("rocket") == *mask, "{several}");
    }
}

#[test]
fn an_empty_annotation_is_background_or_left_out() {
    let folders = Folders::of("labelstudio/seg_JSON.json");
    folders.done(&["--skip-empty"]);
    let mut expected = expected();
    expected.remove("coins_gray");
    assert!(folders.masks() == expected);
    let report = folders.report().to_string();
    assert!(report.contains("nothing was drawn on it (--skip-empty)"), "{report}");
    assert!(folders.faults().is_empty());
}

#[test]
fn objects_of_a_storage_and_files_of_tasks_are_read() {
    let folders = Folders::new();
    folders.images_of_fixtures();
    for entry in fs::read_dir(fixture("labelstudio")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if let Some(key) = name.strip_prefix("target_object_") {
            let key = key.replace("__", "/");
            folders.annotation(&key, read(&format!("labelstudio/{name}")));
        }
    }
    folders.done(&[]);
    let masks = folders.masks();
    // The coffee was skipped; of the astronaut's annotations the newer holds the road alone.
    assert_eq!(masks.keys().collect::<Vec<_>>(), ["astronaut", "rocket"]);
    let counts =
        |name: &str, class: u8| masks[name].pixels().filter(|pixel| pixel.0 == [class]).count();
    assert!(counts("astronaut", 1) > 0 && counts("astronaut", 2) == 0);
    // The pixels whose centers lie in the triangle (21.3, 14.2), (42.6, 14.2), (42.6, 28.4).
    assert_eq!(counts("rocket", 2), 161);
    folders.done(&["--several", "first"]);
    assert!(folders.mask("astronaut").as_raw().contains(&2));
    assert!(folders.faults().is_empty());
}

#[test]
fn what_is_on_top_is_a_matter_of_order_or_of_priority() {
    let folders = Folders::new();
    folders.noise("a.png", 20, 10);
    let size = (20, 10);
    let regions = [region("car", size, [0, 0, 10, 10]), region("road", size, [5, 0, 15, 10])];
    folders.annotation("export.json", json!([task(1, "s3://b/a.png", &regions)]).to_string());
    folders.done(&[]);
    let car = (2, [0, 0, 10, 10]);
    let road = (1, [5, 0, 15, 10]);
    assert!(folders.mask("a") == boxes(20, 10, &[car, road]));
    folders.done(&["--priority", "car,road"]);
    assert!(folders.mask("a") == boxes(20, 10, &[road, car]));
    // Later classes move up, and what is under the ignored region is not seen.
    folders.done(&["--ignore", "road"]);
    assert!(folders.mask("a") == boxes(20, 10, &[(1, car.1), (255, road.1)]));
    let labels = fs::read_to_string(folders.output("label_map/labels.json")).unwrap();
    assert!(!labels.contains("road") && labels.contains("car"), "{labels}");
    let said = folders.refused(&["--priority", "caar"]);
    assert!(said.contains("--priority names \"caar\" (did you mean \"car\"?)"), "{said}");
}

#[test]
fn labels_without_a_configuration_are_sorted_and_that_is_told() {
    let folders = Folders::of("labelstudio/seg_JSON.json");
    let run = folders.done_without_config(&[]);
    let told = "no labeling configuration: the classes are the labels' names in the order of the alphabet \
                (0 background, 1 car, 2 person/rider, 3 road, 4 árvore 树)";
    assert!(run.stderr.contains(told), "{}", run.stderr);
    let order = [0, 3, 1, 4, 2];
    let mut expected = expected();
    expected.values_mut().flat_map(|m| m.iter_mut()).for_each(|c| *c = order[usize::from(*c)]);
    assert!(folders.masks() == expected);
}

#[test]
fn folders_may_be_named_and_need_no_opt_ml() {
    let folders = Folders::of("labelstudio/seg_JSON.json");
    let below = |name: &str| folders.path(name).to_str().unwrap().to_owned();
    let output = crate::job::maskmaker()
        .args(["preprocess", "--annotations", &below("processing/input/annotations")])
        .args(["--images", &below("processing/input/images"), "--output", &below("else/where")])
        .args(["--label-config", &below("config.xml"), "--copy"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let channels = crate::job::names(&folders.path("else/where"));
    let expected = [
        "contact-sheet.png",
        "label_map",
        "report.json",
        "train",
        "train_annotation",
        "validation",
        "validation_annotation",
    ];
    assert_eq!(channels, expected);
    assert!(!folders.path("processing/output").exists());
}
