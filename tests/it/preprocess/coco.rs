//! COCO: polygons, masks as runs, and crowds.

use std::collections::BTreeMap;

use image::GrayImage;
use maskmaker::annotations::coco_rle;
use maskmaker::annotations::runs::Runs;
use serde_json::{Value, json};

use super::{Folders, boxes, compose};

const SIZE: (u32, u32) = (20, 10);

fn category(id: i64, name: &str) -> Value {
    json!({"id": id, "name": name, "supercategory": ""})
}

fn annotation(id: i64, category: i64, segmentation: impl Into<Value>) -> Value {
    let segmentation = segmentation.into();
    json!({"id": id, "image_id": 7, "category_id": category, "segmentation": segmentation,
           "area": 1, "bbox": [0, 0, 1, 1], "iscrowd": u8::from(segmentation.is_object())})
}

/// A file with one image and two categories.
fn file(annotations: &[Value]) -> Folders {
    let folders = Folders::new();
    folders.noise("a.png", SIZE.0, SIZE.1);
    let file = json!({
        "info": {"description": "x"},
        "images": [{"id": 7, "file_name": "some/where/a.png", "width": SIZE.0, "height": SIZE.1}],
        "annotations": annotations,
        // Ids are neither from 1 nor in the order of anything.
        "categories": [category(90, "car"), category(3, "road")],
    });
    folders.annotation("instances.json", file.to_string());
    folders
}

fn runs(mask: &GrayImage) -> Runs {
    Runs::from_class(mask, 1)
}

#[test]
fn polygons_runs_and_crowds_become_one_mask() {
    let (one, two, three) = ([0, 0, 12, 6], [6, 2, 18, 9], [0, 8, 4, 10]);
    let size = json!([SIZE.1, SIZE.0]);
    let masks = [two, three].map(|place| boxes(SIZE.0, SIZE.1, &[(1, place)]));
    let folders = file(&[
        annotation(1, 3, json!([[0, 0, 12, 0, 12, 6, 0, 6]])),
        annotation(
            2,
            90,
            json!({"counts": coco_rle::encode_counts(&runs(&masks[0])), "size": size}),
        ),
        annotation(
            3,
            3,
            json!({"counts": coco_rle::encode_compressed(&runs(&masks[1])), "size": size}),
        ),
    ]);
    folders.done(&["--strict"]);
    let expected = boxes(SIZE.0, SIZE.1, &[(1, one), (2, two), (1, three)]);
    assert!(folders.mask("a") == expected);
    folders.done(&["--priority", "road"]);
    let expected = boxes(SIZE.0, SIZE.1, &[(2, two), (1, one), (1, three)]);
    assert!(folders.mask("a") == expected);
    folders.done(&["--ignore", "car"]);
    let expected = boxes(SIZE.0, SIZE.1, &[(1, one), (255, two), (1, three)]);
    assert!(folders.mask("a") == expected);
    // Without a configuration the names' order counts, and not the ids'.
    let run = folders.done_without_config(&[]);
    assert!(run.stderr.contains("(0 background, 1 car, 2 road)"), "{}", run.stderr);
    let expected = boxes(SIZE.0, SIZE.1, &[(2, one), (1, two), (2, three)]);
    assert!(folders.mask("a") == expected);
}

#[test]
fn annotations_that_are_wrong_are_told_with_their_image() {
    let size = json!([SIZE.1, SIZE.0]);
    for (bad, said) in [
        (annotation(1, 55, json!([[0, 0, 1, 0, 1, 1]])), "category 55"),
        (annotation(1, 3, json!({"counts": [10, 5], "size": size})), "200"),
        (annotation(1, 3, json!({"counts": "0000", "size": size})), "road"),
        (annotation(1, 3, json!({"counts": [4_000_000_000_u32, 5], "size": size})), "200"),
        (annotation(1, 3, json!({"counts": [9], "size": [3, 3]})), "20 x 10"),
        (annotation(1, 3, json!({"counts": [9], "size": [4_000_000_000_u32, 3]})), "20 x 10"),
        (annotation(1, 3, json!("x")), "segmentation"),
    ] {
        let refused = file(&[bad]).refused(&[]);
        assert!(
            refused.contains("no image could be used: 1 skipped: a.png: image 7 in "),
            "{refused}"
        );
        assert!(refused.contains(said), "{said}: {refused}");
    }
    // A box alone is no area; what else is there counts.
    let folders =
        file(&[annotation(1, 3, json!([])), annotation(2, 3, json!([[0, 0, 5, 0, 5, 5, 0, 5]]))]);
    let run = folders.done(&[]);
    assert!(run.stderr.contains("has a box (bbox) and no segmentation"), "{}", run.stderr);
    assert!(folders.mask("a") == boxes(SIZE.0, SIZE.1, &[(1, [0, 0, 5, 5])]));

    let mut other = annotation(1, 3, json!([[0, 0, 5, 0, 5, 5, 0, 5]]));
    other["image_id"] = json!(8);
    let folders = file(&[other]);
    folders.done(&[]);
    let faults = folders.faults();
    assert!(faults.len() == 1 && faults[0].starts_with("1 annotations in "), "{faults:?}");

    for (file, said) in [
        ("{\"images\": [", "x.json"),
        (
            "{\"images\": [{\"id\": 1, \"file_name\": \"a\"}, {\"id\": 1, \"file_name\": \"b\"}]}",
            "id 1",
        ),
    ] {
        let folders = Folders::new();
        folders.noise("a.png", 3, 3);
        folders.annotation("x.json", file);
        let refused = folders.refused(&[]);
        assert!(refused.contains(said), "{refused}");
    }
}

#[test]
fn the_exports_of_label_studio_are_read() {
    // Polygons alone; the size of the turned image is that of its stored pixels.
    let folders = Folders::of("labelstudio/result.json");
    folders.done(&[]);
    let masks = folders.masks();
    let polygon = |name: &str| format!("masks/geometry/{name}_polygonlabels.png");
    let mut expected = BTreeMap::new();
    expected.insert("astronaut", compose(&[(3, &polygon("seg_task1_ann1_region2"))]));
    expected.insert("coffee", compose(&[(1, &polygon("seg_task2_ann2_region2"))]));
    for (name, expected) in expected {
        assert!(masks[name] == expected, "{name}");
    }
    assert!(masks["rocket"].iter().chain(masks["coins_gray"].iter()).all(|class| *class == 0));
    let faults = folders.faults();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(
        faults[0].starts_with("exif_rotated.jpg: ") && faults[0].contains("EXIF"),
        "{faults:?}"
    );

    // Brushes as polygons around them: nearly the masks of the other exports.
    let folders = Folders::of("labelstudio/result_coco.json");
    folders.done(&[]);
    let exact = Folders::of("labelstudio/seg_JSON.json");
    exact.done(&[]);
    let (masks, exact) = (folders.masks(), exact.masks());
    // The converter fills the hole of the astronaut's ring.
    for (name, share) in [("astronaut", 30), ("coffee", 500), ("exif_rotated", 100)] {
        let differ = masks[name].iter().zip(exact[name].iter()).filter(|(a, b)| a != b).count();
        let all = exact[name].len();
        assert!(differ * share < all, "{name}: {differ} of {all}");
    }
}
