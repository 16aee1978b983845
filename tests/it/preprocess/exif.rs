//! Images with an EXIF orientation, in formats that do not say what their annotators saw.

use std::fs;
use std::path::Path;

use image::GrayImage;
use maskmaker::imaging::{encode_mask, encode_png};
use serde_json::json;

use crate::mask_orientation::with_orientation;

use super::{Folders, boxes, region, task};

/// Reads a picture of the fixtures with the EXIF orientation `exif`.
fn oriented(exif: u8) -> Vec<u8> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/images"));
    fs::read(folder.join(format!("orientation_{exif}.jpg"))).unwrap()
}

/// Returns width and height of the picture as it is stored, in pixels.
fn stored_size(bytes: &[u8]) -> (u32, u32) {
    let decoder = image::ImageReader::new(std::io::Cursor::new(bytes)).with_guessed_format();
    decoder.unwrap().into_dimensions().unwrap()
}

/// Writes a COCO file with one object, in the upper left corner of the picture that was annotated.
fn coco_corner(folders: &Folders, images: &[(&str, (u32, u32))]) {
    let (mut listed, mut annotations) = (Vec::new(), Vec::new());
    for (id, (name, (width, height))) in images.iter().enumerate() {
        listed.push(json!({"id": id, "file_name": name, "width": width, "height": height}));
        annotations.push(json!({
            "id": id, "image_id": id, "category_id": 1,
            "segmentation": [[0, 0, 3, 0, 3, 2, 0, 2]],
        }));
    }
    let document = json!({
        "images": listed, "annotations": annotations, "categories": [{"id": 1, "name": "road"}],
    });
    folders.annotation("coco.json", document.to_string());
}

fn warning_of_orientation(folders: &Folders) -> Option<String> {
    folders.warnings().into_iter().find(|warning| warning.contains("EXIF orientation"))
}

#[test]
fn half_turns_and_mirrors_are_named_and_the_flag_decides() {
    for exif in [2, 3, 4] {
        let folders = Folders::new();
        let bytes = oriented(exif);
        let (width, height) = stored_size(&bytes);
        folders.image("turned.jpg", &bytes);
        folders.noise("plain.png", 9, 9);
        coco_corner(&folders, &[("turned.jpg", (width, height)), ("plain.png", (9, 9))]);
        let corner = boxes(width, height, &[(1, [0, 0, 3, 2])]);

        folders.done(&[]);
        let warning = warning_of_orientation(&folders).unwrap();
        assert!(warning.contains("turned.jpg") && !warning.contains("plain.png"), "{warning}");
        assert!(warning.contains("--annotated-as"), "{warning}");
        assert!(folders.mask("turned") == corner);

        folders.done(&["--annotated-as", "upright"]);
        assert_eq!(warning_of_orientation(&folders), None);
        assert!(folders.mask("turned") == corner);

        folders.done(&["--annotated-as", "stored"]);
        assert_eq!(warning_of_orientation(&folders), None);
        let expected = match exif {
            2 => image::imageops::flip_horizontal(&corner),
            3 => image::imageops::rotate180(&corner),
            _ => image::imageops::flip_vertical(&corner),
        };
        assert!(folders.mask("turned") == expected, "orientation {exif}");
        assert!(folders.mask("plain") == boxes(9, 9, &[(1, [0, 0, 3, 2])]));
    }
}

#[test]
fn masks_of_stored_pictures_are_turned_by_a_quarter() {
    let folders = Folders::new();
    let bytes = oriented(6);
    let (width, height) = stored_size(&bytes);
    folders.image("turned.jpg", &bytes);
    let stored = boxes(width, height, &[(1, [0, 0, 5, 2]), (2, [1, 1, 2, 4])]);
    folders.annotation("turned.png", encode_mask(&stored));
    let refused = folders.refused(&[]);
    assert!(refused.contains("--annotated-as stored"), "{refused}");
    folders.done(&["--annotated-as", "stored"]);
    assert!(folders.mask("turned") == image::imageops::rotate90(&stored));
}

#[test]
fn a_mask_with_an_orientation_needs_an_image_with_the_same() {
    let folders = Folders::new();
    let upright = GrayImage::from_fn(9, 5, |x, _| image::Luma([u8::from(x < 3)]));
    let mask = with_orientation(&encode_mask(&upright), 3);
    let photograph = encode_png(&super::noise(9, 5));
    folders.image("same.png", with_orientation(&photograph, 3));
    folders.image("other.png", photograph);
    folders.annotation("same.png", &mask);
    folders.annotation("other.png", &mask);
    let run = folders.done(&[]);
    assert!(run.stderr.contains("orientation is 3, and the image's is 1"), "{}", run.stderr);
    assert_eq!(warning_of_orientation(&folders), None);
    assert!(folders.mask("same") == image::imageops::rotate180(&upright));
    assert_eq!(folders.masks().len(), 1);

    // Then no mask is left.
    let stored = folders.refused(&["--annotated-as", "stored"]);
    assert!(stored.contains("save it without an orientation"), "{stored}");
}

#[test]
fn background_and_label_studio_need_no_decision() {
    let folders = Folders::new();
    let bytes = oriented(3);
    let size = stored_size(&bytes);
    folders.image("turned.jpg", &bytes);
    folders.annotation("turned.png", encode_mask(&GrayImage::new(size.0, size.1)));
    folders.done(&[]);
    assert_eq!(warning_of_orientation(&folders), None);

    let folders = Folders::new();
    folders.image("turned.jpg", &bytes);
    let corner = region("road", size, [0, 0, 3, 2]);
    folders.annotation("export.json", json!([task(1, "turned.jpg", &[corner])]).to_string());
    // Label Studio shows pictures upright, whatever the flag says of other formats.
    for arguments in [&[][..], &["--annotated-as", "stored"]] {
        folders.done(arguments);
        assert_eq!(warning_of_orientation(&folders), None);
        assert!(folders.mask("turned") == boxes(size.0, size.1, &[(1, [0, 0, 3, 2])]));
    }
}

#[test]
fn annotations_that_state_no_size_are_named_whatever_the_orientation() {
    let folders = Folders::new();
    folders.image("turned.jpg", oriented(6));
    let document = json!({
        "images": [{"id": 1, "file_name": "turned.jpg"}],
        "annotations": [{
            "id": 1.0, "image_id": 1, "category_id": 1,
            "segmentation": [[0, 0, 3, 0, 3, 2, 0, 2]],
        }],
        "categories": [{"id": 1, "name": "road"}],
    });
    folders.annotation("coco.json", document.to_string());
    folders.done(&[]);
    let warning = warning_of_orientation(&folders).unwrap();
    assert!(warning.contains("turned.jpg"), "{warning}");
}
