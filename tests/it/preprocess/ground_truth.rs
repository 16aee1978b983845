//! Ground Truth's manifests, whose masks are PNGs in colors below the folder of annotations.

use image::GrayImage;
use serde_json::{Value, json};

use super::{Folders, boxes};

const SIZE: (u32, u32) = (20, 10);

/// A mask in colors: as RGB, or with a palette.
fn paint(mask: &GrayImage, colors: &[[u8; 3]], with_palette: bool) -> Vec<u8> {
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

fn line(image: &str, mask: &str, names: &[&str], colors: &[[u8; 3]]) -> Value {
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

fn manifest(lines: &[Value]) -> String {
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
