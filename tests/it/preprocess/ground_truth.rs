//! Ground Truth's manifests, whose masks are PNGs in colors below the folder of annotations.

use image::GrayImage;
use maskmaker::imaging::encode_mask;
use serde_json::{Value, json};

use super::{Folders, boxes};

const SIZE: (u32, u32) = (20, 10);

/// A mask in colors: as RGB, or with a palette.
pub(super) fn paint(mask: &GrayImage, colors: &[[u8; 3]], with_palette: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, mask.width(), mask.height());
    let samples: Vec<u8> = if with_palette {
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_palette(colors.concat());
        mask.as_raw().clone()
    } else {
        encoder.set_color(png::ColorType::Rgb);
        mask.iter().flat_map(|class| colors[usize::from(*class)]).collect()
    };
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&samples).unwrap();
    writer.finish().unwrap();
    bytes
}

pub(super) fn line(image: &str, mask: &str, names: &[&str], colors: &[[u8; 3]]) -> Value {
    let map: serde_json::Map<String, Value> = names
        .iter()
        .zip(colors)
        .enumerate()
        .map(|(key, (name, [r, g, b]))| {
            let entry = json!({"class-name": name, "hex-color": format!("#{r:02x}{g:02x}{b:02x}")});
            (key.to_string(), entry)
        })
        .collect();
    json!({
        "source-ref": image, "seg-ref": mask,
        "seg-ref-metadata": {"internal-color-map": map, "type": "groundtruth/semantic-segmentation"},
    })
}

pub(super) fn manifest(lines: &[Value]) -> String {
    lines.iter().map(Value::to_string).collect::<Vec<_>>().join("\n") + "\n"
}

/// Two labeled images and one that is not, with other colors on every line.
fn labeled() -> (Folders, Vec<Value>, [GrayImage; 2]) {
    let folders = Folders::new();
    let masks = [
        boxes(SIZE.0, SIZE.1, &[(1, [0, 0, 9, 9]), (2, [5, 5, 20, 10])]),
        boxes(SIZE.0, SIZE.1, &[(2, [0, 0, 9, 9])]),
    ];
    let colors = [[255; 3], [44, 160, 44], [31, 119, 180]];
    let others = [[255; 3], [31, 119, 180], [44, 160, 44]];
    for name in ["a.png", "b.png", "c.png"] {
        folders.noise(name, SIZE.0, SIZE.1);
    }
    let place = "annotations/consolidated-annotation/output";
    folders.annotation(&format!("job/{place}/0_2026.png"), paint(&masks[0], &colors, true));
    folders.annotation(&format!("job/{place}/1_2026.png"), paint(&masks[1], &others, false));
    let names = ["BACKGROUND", "road", "car"];
    let mask = |number: u32| format!("s3://bucket/out/job/{place}/{number}_2026.png");
    let lines = vec![
        line("s3://bucket/images/a.png", &mask(0), &names, &colors),
        line("s3://bucket/images/b.png", &mask(1), &names, &others),
        json!({"source-ref": "s3://bucket/images/c.png"}),
    ];
    (folders, lines, masks)
}

#[test]
fn masks_are_found_by_their_addresses_and_colors_by_their_names() {
    let (folders, lines, masks) = labeled();
    folders.annotation("job/manifests/output/output.manifest", manifest(&lines));
    let run = folders.done(&["--strict"]);
    assert_eq!(folders.masks().keys().collect::<Vec<_>>(), ["a", "b"]);
    assert!(folders.mask("a") == masks[0] && folders.mask("b") == masks[1]);
    assert!(run.stdout.contains("1 not labeled yet"), "{}", run.stdout);

    // Without a configuration names are sorted, and the priority of labels is nothing that painted
    // masks have.
    folders.done_without_config(&[]);
    let swapped = |mask: &GrayImage| {
        GrayImage::from_fn(SIZE.0, SIZE.1, |x, y| {
            image::Luma([[0, 2, 1][usize::from(mask.get_pixel(x, y).0[0])]])
        })
    };
    assert!(folders.mask("a") == swapped(&masks[0]) && folders.mask("b") == swapped(&masks[1]));
    folders.done(&["--ignore", "car"]);
    let ignored = folders.mask("b");
    assert!(
        ignored
            .iter()
            .zip(masks[1].iter())
            .all(|(got, was)| *got == [0, 1, 255][usize::from(*was)])
    );
}

#[test]
fn unknown_colors_missing_masks_and_broken_lines_are_told() {
    let (folders, mut lines, masks) = labeled();
    // Its colors stand for nothing now.
    lines[1]["seg-ref-metadata"]["internal-color-map"]["2"]["hex-color"] = json!("#ff00ff");
    lines[2]["seg-ref"] = json!("s3://bucket/gone.png");
    let text = format!("{}{{\"source-ref\": \n", manifest(&lines));
    folders.annotation("output.manifest", text);
    folders.done(&[]);
    assert!(folders.mask("a") == masks[0]);
    let faults = folders.faults();
    let has = |parts: &[&str]| faults.iter().any(|f| parts.iter().all(|part| f.contains(part)));
    assert_eq!(faults.len(), 3, "{faults:?}");
    assert!(has(&["b.png: line 2 of ", "1_2026.png", "#2ca02c"]), "{faults:?}");
    assert!(has(&["line 3 of ", "gone.png, which is not in the folder"]), "{faults:?}");
    assert!(has(&["line 4 of ", "is no JSON object"]), "{faults:?}");
}

#[test]
fn a_fault_of_a_mask_without_a_color_map_names_its_file() {
    let folders = Folders::new();
    let masks = [boxes(SIZE.0, SIZE.1, &[(7, [0, 0, 9, 9])]), boxes(5, 4, &[])];
    let mut lines = Vec::new();
    for (name, mask) in ["a", "b"].iter().zip(&masks) {
        folders.noise(&format!("{name}.png"), SIZE.0, SIZE.1);
        folders.annotation(&format!("out/mask-{name}.png"), encode_mask(mask));
        lines.push(json!({
            "source-ref": format!("s3://bucket/{name}.png"),
            "seg-ref": format!("s3://bucket/out/mask-{name}.png"),
        }));
    }
    folders.annotation("output.manifest", manifest(&lines));
    folders.refused(&[]);
    let faults = folders.faults();
    let has = |part: &str| faults.iter().any(|fault| fault.contains(part));
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(has("out/mask-a.png has values up to 7"), "{faults:?}");
    assert!(has("out/mask-b.png was drawn on 5 x 4 pixels"), "{faults:?}");
}

#[test]
fn an_image_is_counted_once_whatever_the_number_of_its_lines() {
    let (folders, lines, masks) = labeled();
    let without_mask = |line: &Value, name: &str| {
        let mut line = line.clone();
        line["seg-ref"] = json!(format!("s3://bucket/{name}"));
        line
    };
    // One line of three can be used of the first image, and none of the second.
    let all = [
        without_mask(&lines[0], "gone-1.png"),
        lines[0].clone(),
        without_mask(&lines[0], "gone-2.png"),
        without_mask(&lines[1], "gone-3.png"),
        without_mask(&lines[1], "gone-4.png"),
    ];
    folders.annotation("output.manifest", manifest(&all));
    folders.done(&[]);
    assert!(folders.mask("a") == masks[0]);
    let totals = folders.report()["totals"].clone();
    let images = &totals["images"];
    assert_eq!(
        (&images["annotated"], &images["written"], &images["skipped"]),
        (&json!(2), &json!(1), &json!(1)),
        "{totals}"
    );
    assert_eq!(totals["regions"]["read"], json!(5), "{totals}");
    assert_eq!(totals["regions"]["skipped"], json!(4), "{totals}");
    assert_eq!(folders.faults().len(), 4);
}

#[test]
fn of_several_attributes_one_must_be_named() {
    let (folders, mut lines, masks) = labeled();
    let other = lines[1].clone();
    lines[0]["second-ref"] = other["seg-ref"].clone();
    lines[0]["second-ref-metadata"] = other["seg-ref-metadata"].clone();
    folders.annotation("output.manifest", manifest(&lines[..1]));
    let said = folders.refused(&[]);
    assert!(said.contains("several annotations, second-ref and seg-ref"), "{said}");
    assert!(said.contains("--attribute"), "{said}");
    for (attribute, mask) in [("seg-ref", &masks[0]), ("second-ref", &masks[1])] {
        folders.done(&["--attribute", attribute]);
        assert!(folders.mask("a") == *mask);
    }
}

#[test]
fn a_class_that_the_configuration_lacks_is_named_and_colors_that_moved_are_counted() {
    let folders = Folders::new();
    for name in ["a.png", "b.png", "c.png"] {
        folders.noise(name, SIZE.0, SIZE.1);
    }
    folders.put("config.xml", r#"["road", "car"]"#);
    let mask = boxes(SIZE.0, SIZE.1, &[(1, [0, 0, 9, 9]), (2, [10, 0, 20, 10])]);
    let colors = [[255; 3], [44, 160, 44], [31, 119, 180]];
    let moved = [[248, 252, 248], [40, 160, 40], [24, 116, 176]];
    folders.annotation("m/0.png", paint(&mask, &colors, false));
    folders.annotation("m/1.png", paint(&mask, &colors, true));
    folders.annotation("m/2.png", paint(&mask, &moved, true));
    let line = |image, mask, names: [&str; 3]| line(image, mask, &names, &colors);
    let lines = [
        line("a.png", "m/0.png", ["BACKGROUND", "road", "cart"]),
        line("b.png", "m/1.png", ["BACKGROUND", "truck", "car"]),
        line("c.png", "m/2.png", ["BACKGROUND", "road", "car"]),
    ];
    folders.annotation("output.manifest", manifest(&lines));
    folders.done(&["--train-test-split-ratio", "0"]);
    assert!(folders.masks().keys().eq(["c"]) && folders.mask("c") == mask);
    let faults = folders.faults();
    let has = |parts: &[&str]| faults.iter().any(|f| parts.iter().all(|part| f.contains(part)));
    assert!(has(&["a.png: ", "has cart (#1f77b4)", "in 100 pixels", "mean \"car\""]), "{faults:?}");
    assert!(has(&["b.png: ", "has truck (#2ca02c)", "unknown label \"truck\""]), "{faults:?}");
    let warnings = folders.warnings();
    let told = "masks: 200 pixels in 1 mask have a color that is near one of their classes and not";
    assert!(warnings.iter().any(|warning| warning.starts_with(told)), "{warnings:?}");
}

#[test]
fn masks_of_ids_without_color_maps_have_unnamed_classes() {
    let folders = Folders::new();
    folders.noise("a.png", SIZE.0, SIZE.1);
    let mask = boxes(SIZE.0, SIZE.1, &[(1, [0, 0, 9, 9]), (2, [10, 0, 20, 10])]);
    folders.annotation("m/0.png", maskmaker::imaging::encode_mask(&mask));
    let lines = [json!({"source-ref": "a.png", "seg-ref": "m/0.png"})];
    folders.annotation("output.manifest", manifest(&lines));
    folders.done_without_config(&["--train-test-split-ratio", "0"]);
    assert!(folders.mask("a") == mask);
    let labels = std::fs::read(folders.output("label_map/labels.json")).unwrap();
    let labels: Value = serde_json::from_slice(&labels).unwrap();
    assert_eq!(labels["2"]["name"], "class 2");
}
