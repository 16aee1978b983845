//! Polygons that cross themselves: Label Studio's as its editor fills them, COCO's even-odd.

use image::GrayImage;
use serde_json::{Value, json};

use super::{Folders, boxes, task};

const SIZE: (u32, u32) = (20, 10);

/// Two loops in one outline, in percent: the inner one runs the same way around as the outer one.
const TWO_LOOPS: [[u32; 2]; 10] = [
    [0, 0],
    [100, 0],
    [100, 100],
    [0, 100],
    [0, 0],
    [20, 30],
    [60, 30],
    [60, 70],
    [20, 70],
    [20, 30],
];

/// Everything is road.
fn filled() -> GrayImage {
    boxes(SIZE.0, SIZE.1, &[(1, [0, 0, 20, 10])])
}

/// The inner loop is a hole.
fn with_hole() -> GrayImage {
    boxes(SIZE.0, SIZE.1, &[(1, [0, 0, 20, 10]), (0, [4, 3, 12, 7])])
}

fn polygon(points: impl Into<Value>) -> Value {
    json!({
        "id": "two_loops", "type": "polygonlabels", "from_name": "poly", "to_name": "image",
        "original_width": SIZE.0, "original_height": SIZE.1, "image_rotation": 0,
        "value": {"points": points.into(), "closed": true, "polygonlabels": ["road"]},
    })
}

fn export(points: impl Into<Value>) -> Folders {
    let folders = Folders::new();
    folders.noise("a.png", SIZE.0, SIZE.1);
    folders.annotation("export.json", json!([task(1, "a.png", &[polygon(points)])]).to_string());
    folders
}

#[test]
fn polygons_of_label_studio_are_filled_as_its_editor_does_unless_told_otherwise() {
    let folders = export(json!(TWO_LOOPS));
    folders.done(&[]);
    assert_eq!(folders.mask("a"), filled());
    assert_eq!(folders.report()["settings"]["polygon_rule"], "nonzero");
    folders.done(&["--polygon-rule", "nonzero"]);
    assert_eq!(folders.mask("a"), filled());
    folders.done(&["--polygon-rule", "evenodd"]);
    assert_eq!(folders.mask("a"), with_hole());
    assert_eq!(folders.report()["settings"]["polygon_rule"], "evenodd");
}

#[test]
fn an_inner_loop_in_reverse_is_a_hole_by_both_rules() {
    let mut points = TWO_LOOPS;
    points[5..].reverse();
    let folders = export(json!(points));
    for rule in ["nonzero", "evenodd"] {
        folders.done(&["--polygon-rule", rule]);
        assert_eq!(folders.mask("a"), with_hole(), "{rule}");
    }
}

#[test]
fn polygons_of_coco_are_even_odd_whatever_the_rule() {
    let mut polygon = Vec::new();
    for [x, y] in TWO_LOOPS {
        polygon.extend([x * SIZE.0 / 100, y * SIZE.1 / 100]);
    }
    let folders = Folders::new();
    folders.noise("a.png", SIZE.0, SIZE.1);
    let document = json!({
        "images": [{"id": 1, "file_name": "a.png", "width": SIZE.0, "height": SIZE.1}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [polygon]}],
        "categories": [{"id": 1, "name": "road"}],
    });
    folders.annotation("instances.json", document.to_string());
    for rule in ["nonzero", "evenodd"] {
        folders.done(&["--polygon-rule", rule]);
        assert_eq!(folders.mask("a"), with_hole(), "{rule}");
    }
}

#[test]
fn a_rule_that_is_none_is_refused_with_those_that_are() {
    let run = export(json!(TWO_LOOPS)).run(&["--polygon-rule", "winding"]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("nonzero") && run.stderr.contains("evenodd"), "{}", run.stderr);
}
