//! Folders of masks: class ids, or the colors of a labeling configuration.

use maskmaker::imaging::{encode_jpeg, encode_mask, encode_png};
use serde_json::Value;

use super::{Folders, boxes};

const SIZE: (u32, u32) = (20, 10);

fn images() -> Folders {
    let folders = Folders::new();
    for name in ["a.jpg", "sub/b.jpg", "c.png"] {
        folders.noise(name, SIZE.0, SIZE.1);
    }
    folders
}

#[test]
fn masks_of_class_ids_belong_to_the_images_of_their_names() {
    let folders = images();
    let masks = [
        boxes(SIZE.0, SIZE.1, &[(1, [0, 0, 5, 5]), (4, [5, 5, 9, 9]), (255, [0, 9, 20, 10])]),
        boxes(SIZE.0, SIZE.1, &[(3, [1, 1, 2, 2])]),
    ];
    folders.annotation("a.png", encode_mask(&masks[0]));
    folders.annotation("sub/b.png", encode_mask(&masks[1]));
    folders.done(&["--strict"]);
    assert_eq!(folders.masks().keys().collect::<Vec<_>>(), ["a", "b"]);
    assert!(folders.mask("a") == masks[0] && folders.mask("b") == masks[1]);

    // Without a configuration classes have no names, and there are as many as occur.
    folders.done_without_config(&[]);
    assert!(folders.mask("a") == masks[0]);
    let labels = std::fs::read(folders.output("label_map/labels.json")).unwrap();
    let labels: Value = serde_json::from_slice(&labels).unwrap();
    assert_eq!(labels.as_object().unwrap().len(), 5);
    assert_eq!(labels["4"]["name"], "class 4");
}

#[test]
fn masks_that_fit_nothing_are_told() {
    let folders = images();
    let good = boxes(SIZE.0, SIZE.1, &[(1, [0, 0, 5, 5])]);
    folders.annotation("a.png", encode_mask(&good));
    folders.annotation("sub/b.png", encode_mask(&boxes(SIZE.0, SIZE.1, &[(5, [0, 0, 5, 5])])));
    folders.annotation("c.png", encode_mask(&boxes(10, 20, &[])));
    folders.annotation("gone.png", encode_mask(&good));
    folders.annotation("task-1-annotation-1-by-1-brush-car-0.png", encode_mask(&good));
    folders.annotation("cut.png", &encode_mask(&good)[..40]);
    folders.done(&[]);
    assert_eq!(folders.masks().keys().collect::<Vec<_>>(), ["a"]);
    let faults = folders.faults();
    let has = |parts: &[&str]| faults.iter().any(|f| parts.iter().all(|part| f.contains(part)));
    assert!(
        has(&["sub/b.jpg: ", "values up to 5; with 5 classes allowed are 0 to 4"]),
        "{faults:?}"
    );
    assert!(has(&["c.png: ", "was drawn on 10 x 20", "EXIF"]), "{faults:?}");
    assert!(has(&["gone: no such image below"]), "{faults:?}");
    assert!(has(&["task-1-annotation", "BRUSH_TO_PNG"]), "{faults:?}");
    assert!(has(&["cut: no such image below"]), "{faults:?}");
    assert_eq!(faults.len(), 5);
}

#[test]
fn masks_in_the_colors_of_the_labels_are_read() {
    let folders = images();
    let mask = boxes(SIZE.0, SIZE.1, &[(1, [0, 0, 9, 9]), (4, [5, 5, 20, 10]), (3, [0, 0, 2, 2])]);
    let colors = [[0; 3], [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 165, 0]];
    let paint = |strange: Option<[u8; 3]>| {
        let mut painted = image::RgbImage::from_fn(SIZE.0, SIZE.1, |x, y| {
            image::Rgb(colors[usize::from(mask.get_pixel(x, y).0[0])])
        });
        if let Some(strange) = strange {
            painted.put_pixel(19, 0, image::Rgb(strange));
        }
        encode_png(&painted)
    };
    folders.annotation("a.png", paint(None));
    folders.annotation("c.png", paint(Some([90, 20, 130])));
    folders.done(&[]);
    assert_eq!(folders.masks().keys().collect::<Vec<_>>(), ["a"]);
    assert!(folders.mask("a") == mask);
    let faults = folders.faults();
    assert!(faults.len() == 1 && faults[0].contains("c.png: has #5a1482 in 1 pixel"), "{faults:?}");
    // Several labels may be ignored, and each has its color.
    folders.done(&["--ignore", "road,person/rider"]);
    let ids = [0, 255, 1, 2, 255];
    let expected = mask.iter().map(|class| ids[usize::from(*class)]).collect::<Vec<u8>>();
    assert!(folders.mask("a").into_raw() == expected);

    let said = folders.refused_without_config(&[]);
    assert!(said.contains("masks by color need a labeling configuration"), "{said}");
    let config = std::fs::read_to_string(folders.config()).unwrap();
    folders.put("config.xml", config.replace("#ffa500", "#ff0000"));
    let said = folders.refused(&[]);
    assert!(said.contains("the labels road and person/rider have the same color"), "{said}");
}

#[test]
fn masks_beside_documents_are_not_looked_at_unless_asked_for() {
    let folders = images();
    let mask = boxes(SIZE.0, SIZE.1, &[(1, [0, 0, 5, 5])]);
    folders.annotation("a.png", encode_mask(&mask));
    folders.annotation("1", super::object(1, "c.png", &[]).to_string());
    let run = folders.done(&[]);
    assert!(run.stderr.contains("1 PNG files beside the annotations"), "{}", run.stderr);
    assert_eq!(folders.masks().keys().collect::<Vec<_>>(), ["c"]);
    folders.done(&["--format", "masks"]);
    assert!(folders.masks().keys().eq(["a"]) && folders.mask("a") == mask);
}

#[test]
fn photos_beside_documents_are_no_faults_and_among_masks_they_are() {
    let folders = images();
    let mask = boxes(SIZE.0, SIZE.1, &[(1, [0, 0, 5, 5])]);
    folders.annotation("1", super::object(1, "c.png", &[]).to_string());
    for name in ["a.jpg", "sub/b.jpg"] {
        folders.annotation(name, encode_jpeg(&super::noise(SIZE.0, SIZE.1), 90));
    }
    let run = folders.done(&["--strict"]);
    assert!(run.stderr.contains("2 image files beside the annotations"), "{}", run.stderr);
    assert!(!run.stderr.contains("--format masks"), "{}", run.stderr);
    folders.annotation("a.png", encode_mask(&mask));
    let run = folders.done(&["--strict"]);
    assert!(run.stderr.contains("3 image files beside the annotations"), "{}", run.stderr);
    assert!(run.stderr.contains("--format masks takes the PNG files instead"), "{}", run.stderr);
    folders.done(&["--format", "label-studio", "--strict"]);

    folders.done(&["--format", "masks"]);
    let faults = folders.faults();
    let photos = faults.iter().filter(|fault| fault.contains("is a JPEG, which cannot be a mask"));
    assert_eq!(photos.count(), 2, "{faults:?}");
}
