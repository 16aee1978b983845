//! Masks whose values or colors may mean something else than class ids.

use image::GrayImage;
use maskmaker::imaging::{encode_jpeg, encode_mask};

use super::{Folders, boxes, files, noise};

const SIZE: (u32, u32) = (20, 10);
const BLACK: [u8; 3] = [0; 3];
/// The colors of the labeling configuration's labels, class 1 first.
const LABEL_COLORS: [[u8; 3]; 4] = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 165, 0]];

/// Images of the names, without annotations.
fn images(names: &[&str]) -> Folders {
    let folders = Folders::new();
    for name in names {
        folders.noise(name, SIZE.0, SIZE.1);
    }
    folders
}

/// A mask with a box of each of the values, on 0.
fn mask_of(values: &[u8]) -> GrayImage {
    let mut layers = vec![(0, [0, 0, 20, 10])];
    for (value, left) in values.iter().zip((0..20).step_by(4)) {
        layers.push((*value, [left, 1, left + 3, 9]));
    }
    boxes(SIZE.0, SIZE.1, &layers)
}

/// A gray PNG, as most tools write.
fn gray(mask: &GrayImage) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    mask.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// A palette PNG in which class `order[index]` has the index, in the labels' colors.
fn repainted(mask: &GrayImage, order: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, mask.width(), mask.height());
    encoder.set_color(png::ColorType::Indexed);
    let color =
        |class: &u8| if *class == 0 { BLACK } else { LABEL_COLORS[usize::from(*class) - 1] };
    encoder.set_palette(order.iter().flat_map(color).collect::<Vec<u8>>());
    let index = |class: &u8| order.iter().position(|known| known == class).unwrap() as u8;
    let indices: Vec<u8> = mask.iter().map(index).collect();
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&indices).unwrap();
    writer.finish().unwrap();
    bytes
}

fn has(texts: &[String], parts: &[&str]) -> bool {
    texts.iter().any(|text| parts.iter().all(|part| text.contains(part)))
}

#[test]
fn palettes_that_were_numbered_anew_are_read_by_their_colors() {
    let folders = images(&["a.png", "b.png", "c.png"]);
    let masks = [mask_of(&[1, 4, 3]), mask_of(&[2, 1]), mask_of(&[])];
    folders.annotation("a.png", repainted(&masks[0], &[4, 0, 3, 1]));
    folders.annotation("b.png", repainted(&masks[1], &[0, 1, 2]));
    folders.annotation("c.png", repainted(&masks[2], &[3, 0]));
    folders.done(&["--strict"]);
    for (name, mask) in ["a", "b", "c"].iter().zip(&masks) {
        assert!(folders.mask(name) == *mask, "{name}");
    }
    let warnings = folders.warnings();
    assert!(has(&warnings, &["are read by these colors", ": a.png, c.png"]), "{warnings:?}");
}

#[test]
fn masks_that_preprocess_wrote_are_read_as_they_are() {
    let folders = images(&["a.png", "b.png"]);
    let masks = [mask_of(&[1, 4, 255]), mask_of(&[2, 3])];
    folders.annotation("a.png", encode_mask(&masks[0]));
    folders.annotation("b.png", encode_mask(&masks[1]));
    folders.done(&["--train-test-split-ratio", "0"]);
    let written = files(&folders.output("train_annotation"));
    let again = images(&["a.png", "b.png"]);
    for (name, bytes) in &written {
        again.annotation(name, bytes);
    }
    again.done(&["--train-test-split-ratio", "0", "--strict"]);
    assert!(files(&again.output("train_annotation")) == written);
    assert!(
        !again.warnings().iter().any(|text| text.contains("read by")),
        "{:?}",
        again.warnings()
    );
}

#[test]
fn grays_of_the_labels_are_classes_and_foreign_ones_are_refused() {
    let folders = images(&["a.png", "b.png", "c.png"]);
    let config = r#"{"1": {"name": "rust", "color": [128, 128, 128]}, "2": {"name": "crack", "color": [255, 255, 255]}}"#;
    folders.put("config.xml", config);
    folders.annotation("a.png", gray(&mask_of(&[128, 255])));
    folders.annotation("b.png", gray(&mask_of(&[255])));
    folders.annotation("c.png", gray(&mask_of(&[128, 60])));
    folders.done(&[]);
    assert!(folders.mask("a") == mask_of(&[1, 2]) && folders.mask("b") == mask_of(&[2]));
    let faults = folders.faults();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(has(&faults, &["c.png", "60 is no class by its value and no label by"]), "{faults:?}");
}

#[test]
fn binary_masks_of_0_and_255_are_refused_with_a_way_out_that_works() {
    let folders = images(&["a.png", "b.png"]);
    folders.annotation("a.png", gray(&mask_of(&[255])));
    folders.annotation("b.png", gray(&mask_of(&[])));
    let said = folders.refused_without_config(&[]);
    assert!(said.contains("only the values 0 and 255"), "{said}");
    assert!(said.contains("255 means \"ignored\""), "{said}");
    assert!(folders.is_marked());
    folders.put("config.xml", r#"["background", "crack"]"#);
    let said = folders.refused(&[]);
    assert!(said.contains("write it as 1 (crack)") && !said.contains("label some"), "{said}");
    // The message shows this configuration.
    let (_, rest) = said.split_once("{\"1\"").unwrap();
    let (shown, _) = rest.split_once("}}").unwrap();
    folders.put("config.xml", format!("{{\"1\"{shown}}}}}"));
    folders.done(&[]);
    assert!(folders.mask("a") == mask_of(&[1]) && folders.mask("b") == mask_of(&[]));
}

#[test]
fn single_masks_of_0_and_255_among_others_are_told() {
    let folders = images(&["a.png", "b.png"]);
    folders.put("config.xml", r#"["background", "crack", "rust"]"#);
    folders.annotation("a.png", gray(&mask_of(&[1])));
    folders.annotation("b.png", gray(&mask_of(&[255])));
    folders.done(&["--train-test-split-ratio", "0"]);
    let warnings = folders.warnings();
    assert!(has(&warnings, &["in 1 of 2 masks 255 is the only value", ": b.png"]), "{warnings:?}");
    assert!(has(&warnings, &["class 2 (rust) is in no image: it may be"]), "{warnings:?}");
    assert!(!has(&warnings, &["label some"]), "{warnings:?}");
}

#[test]
fn stretched_values_of_unnamed_classes_are_refused_with_the_fix() {
    for (values, expected) in [
        (&[127, 254][..], "the values 0, 127, 254 look like the class ids 0, 1, 2, stretched"),
        (&[85, 170, 255], "(255 counts as ignored): divide them by 85, rounded down"),
    ] {
        let folders = images(&["a.png"]);
        folders.annotation("a.png", gray(&mask_of(values)));
        let said = folders.refused_without_config(&[]);
        assert!(said.contains(expected), "{said}");
        assert!(said.contains("name every class with --label-config"), "{said}");
    }
}

#[test]
fn gaps_in_unnamed_classes_are_one_sentence() {
    let folders = images(&["a.png"]);
    folders.annotation("a.png", gray(&mask_of(&[3, 200])));
    let run = folders.done_without_config(&["--train-test-split-ratio", "0"]);
    let warnings = folders.warnings();
    let told = "the masks hold the values 3, 200, so there are 201 classes, and 198 of them";
    assert!(warnings.len() == 1 && has(&warnings, &[told]), "{warnings:?}");
    assert!(run.stdout.contains("198 more in no image"), "{}", run.stdout);
    let folders = images(&["a.png"]);
    folders.annotation("a.png", gray(&mask_of(&[1, 2, 3, 255])));
    folders.done_without_config(&["--train-test-split-ratio", "0"]);
    assert_eq!(folders.warnings(), [""; 0]);
}

#[test]
fn a_folder_that_gives_nothing_is_told_with_the_reasons() {
    let folders = images(&["a.png", "b.png"]);
    folders.annotation("a.jpg", encode_jpeg(&noise(20, 10), 90));
    folders.annotation("b.jpg", encode_jpeg(&noise(20, 10), 90));
    folders.annotation("tasks.json", b"\xff\xfe[\0]\0");
    folders.annotation("c.tif", b"II*\0\x08\0\0\0");
    for arguments in [&[][..], &["--format", "masks"]] {
        let said = folders.refused(arguments);
        assert!(said.contains("2 files, each of which is a JPEG, which cannot be"), "{said}");
        assert!(said.contains("1 file is text in UTF-16; save it as UTF-8"), "{said}");
        assert!(said.contains("1 file is a TIFF image; masks are read as PNG"), "{said}");
    }
    // Beside masks that can be used, each is reported.
    folders.annotation("b.png", gray(&mask_of(&[1])));
    folders.done(&[]);
    let faults = folders.faults();
    assert!(has(&faults, &["a.jpg: is a JPEG", "lossy"]) && faults.len() == 4, "{faults:?}");
    let said = folders.refused(&["--format", "coco"]);
    assert!(said.contains("there are masks ("), "{said}");
}
