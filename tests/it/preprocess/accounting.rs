//! Every image and every region that comes in is written, or told of in `report.json`.

use std::collections::BTreeSet;

use image::GrayImage;
use maskmaker::annotations::brush_rle::encode_brush_rle;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::ground_truth::{line, manifest, paint};
use super::{Folders, boxes, region};

/// Width and height of the images, in pixels.
const SIZE: (u32, u32) = (24, 16);

/// Labels of the configuration, class 1 first.
const LABELS: [&str; 3] = ["road", "car", "árvore 树"];

/// Shape of a generated region, in pixels. Coordinates are quarters off whole pixels, so that few
/// outlines go through the center of a pixel.
#[derive(Debug, Clone)]
enum Drawing {
    Rectangle {
        x: f64,
        y: f64,
        width: f64,
        height: f64,
    },
    Ellipse {
        x: f64,
        y: f64,
        radius_x: f64,
        radius_y: f64,
    },
    Polygon(Vec<[f64; 2]>),
    /// Boxes of a brush: left, top, right and bottom.
    Brush(Vec<[u32; 4]>),
    KeyPoint,
}

#[derive(Debug, Clone)]
struct Drawn {
    /// Index in [`LABELS`]; none is a region without label.
    label: Option<usize>,
    drawing: Drawing,
}

/// Fate that the generator has in mind for a task.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Written,
    /// The folder of images lacks the image.
    MissingImage,
    /// The annotation was drawn on an image of another size.
    OtherSize,
    Cancelled,
}

#[derive(Debug, Clone)]
struct Task {
    fate: Fate,
    regions: Vec<Drawn>,
    /// Regions of an older annotation of the same task.
    older: Option<Vec<Drawn>>,
}

fn coordinate(side: u32) -> impl Strategy<Value = f64> {
    (-4..side as i32 + 4).prop_map(|whole| f64::from(whole) + 0.25)
}

fn length() -> impl Strategy<Value = f64> {
    prop_oneof![1 => Just(0.0), 6 => (0..9_u32).prop_map(|whole| f64::from(whole) + 0.5)]
}

fn drawing() -> impl Strategy<Value = Drawing> {
    let point = (coordinate(SIZE.0), coordinate(SIZE.1)).prop_map(|(x, y)| [x, y]);
    let brush_box = (0..SIZE.0, 0..SIZE.1, 0..9_u32, 0..9_u32)
        .prop_map(|(x, y, w, h)| [x, y, (x + w).min(SIZE.0), (y + h).min(SIZE.1)]);
    prop_oneof![
        (coordinate(SIZE.0), coordinate(SIZE.1), length(), length())
            .prop_map(|(x, y, width, height)| Drawing::Rectangle { x, y, width, height }),
        (coordinate(SIZE.0), coordinate(SIZE.1), length(), length())
            .prop_map(|(x, y, radius_x, radius_y)| Drawing::Ellipse { x, y, radius_x, radius_y }),
        vec(point, 0..6).prop_map(Drawing::Polygon),
        vec(brush_box, 0..3).prop_map(Drawing::Brush),
        Just(Drawing::KeyPoint),
    ]
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let label = prop_oneof![1 => Just(None), 9 => (0..LABELS.len()).prop_map(Some)];
    (label, drawing()).prop_map(|(label, drawing)| Drawn { label, drawing })
}

fn task() -> impl Strategy<Value = Task> {
    let fate = prop_oneof![
        6 => Just(Fate::Written),
        1 => Just(Fate::MissingImage),
        1 => Just(Fate::OtherSize),
        1 => Just(Fate::Cancelled),
    ];
    (fate, vec(drawn(), 0..6), proptest::option::of(vec(drawn(), 0..3)))
        .prop_map(|(fate, regions, older)| Task { fate, regions, older })
}

impl Drawing {
    /// Returns whether the center of a pixel is inside, or none if it lies on the outline.
    fn covers(&self, column: u32, row: u32) -> Option<bool> {
        let (px, py) = (f64::from(column) + 0.5, f64::from(row) + 0.5);
        match self {
            Self::KeyPoint => Some(false),
            Self::Brush(boxes) => Some(boxes.iter().any(|&[left, top, right, bottom]| {
                (left..right).contains(&column) && (top..bottom).contains(&row)
            })),
            &Self::Rectangle { x, y, width, height } => {
                decide((px - x).min(x + width - px).min(py - y).min(y + height - py))
            }
            &Self::Ellipse { x, y, radius_x, radius_y } => {
                if radius_x == 0.0 || radius_y == 0.0 {
                    return Some(false);
                }
                decide(1.0 - ((px - x) / radius_x).powi(2) - ((py - y) / radius_y).powi(2))
            }
            Self::Polygon(points) => winds_around(points, px, py).map(|winding| winding != 0),
        }
    }

    fn label_key(&self) -> &'static str {
        match self {
            Self::Rectangle { .. } => "rectanglelabels",
            Self::Ellipse { .. } => "ellipselabels",
            Self::Polygon(_) => "polygonlabels",
            Self::Brush(_) => "brushlabels",
            Self::KeyPoint => "keypointlabels",
        }
    }

    fn value(&self) -> Value {
        let x = |x: f64| 100.0 * x / f64::from(SIZE.0);
        let y = |y: f64| 100.0 * y / f64::from(SIZE.1);
        match self {
            Self::Rectangle { x: left, y: top, width, height } => json!({
                "x": x(*left), "y": y(*top), "width": x(*width), "height": y(*height), "rotation": 0,
            }),
            Self::Ellipse { x: cx, y: cy, radius_x, radius_y } => json!({
                "x": x(*cx), "y": y(*cy), "radiusX": x(*radius_x), "radiusY": y(*radius_y),
                "rotation": 0,
            }),
            Self::Polygon(points) => {
                let points: Vec<_> = points.iter().map(|[px, py]| [x(*px), y(*py)]).collect();
                json!({"points": points, "closed": true})
            }
            Self::Brush(list) => {
                let layers: Vec<_> = list.iter().map(|sides| (1, *sides)).collect();
                let runs =
                    maskmaker::annotations::Runs::from_class(&boxes(SIZE.0, SIZE.1, &layers), 1);
                json!({"format": "rle", "rle": encode_brush_rle(&runs)})
            }
            Self::KeyPoint => json!({"x": 50, "y": 50, "width": 0.5}),
        }
    }
}

/// Returns whether a signed distance is inside, or none if it is too small to tell.
fn decide(distance: f64) -> Option<bool> {
    (distance.abs() > 1e-9).then_some(distance > 0.0)
}

/// Returns how often a polygon winds around a point, or none if the point lies on a side.
fn winds_around(points: &[[f64; 2]], px: f64, py: f64) -> Option<i32> {
    let mut winding = 0;
    for (index, [x1, y1]) in points.iter().enumerate() {
        let [x2, y2] = points[(index + 1) % points.len()];
        let side = (x2 - x1) * (py - y1) - (px - x1) * (y2 - y1);
        let is_beside = py >= y1.min(y2) && py <= y1.max(y2);
        if is_beside && side.abs() < 1e-9 && px >= x1.min(x2) && px <= x1.max(x2) {
            return None;
        }
        if *y1 <= py && y2 > py && side > 0.0 {
            winding += 1;
        } else if *y1 > py && y2 <= py && side < 0.0 {
            winding -= 1;
        }
    }
    Some(winding)
}

/// Returns the result of Label Studio for a region.
fn result(id: &str, drawn: &Drawn, (width, height): (u32, u32)) -> Value {
    let key = drawn.drawing.label_key();
    let mut value = drawn.drawing.value();
    let mut result_type = key.strip_suffix("labels").unwrap();
    if let Some(label) = drawn.label {
        value[key] = json!([LABELS[label]]);
        result_type = key;
    }
    json!({
        "id": id, "type": result_type, "from_name": "tag", "to_name": "image", "value": value,
        "original_width": width, "original_height": height, "image_rotation": 0,
    })
}

fn results(prefix: &str, list: &[Drawn], size: (u32, u32)) -> Vec<Value> {
    let mut results = Vec::new();
    for (index, drawn) in list.iter().enumerate() {
        results.push(result(&format!("{prefix}_{index}"), drawn, size));
    }
    results
}

/// Returns the ids that texts of the report name, such as `region t0_1 (car) covers no pixel`.
fn named_ids(texts: &Value) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for text in texts.as_array().into_iter().flatten() {
        let text = text.as_str().unwrap();
        ids.insert(text.split_whitespace().nth(1).unwrap().to_owned());
    }
    ids
}

/// Checks the regions of one written image against its mask and its entry in the report.
fn check_regions(entry: &Value, mask: &GrayImage, prefix: &str, regions: &[Drawn]) {
    let (left_out, hidden) = (named_ids(&entry["left_out"]), named_ids(&entry["hidden"]));
    for (index, drawn) in regions.iter().enumerate() {
        let id = format!("{prefix}_{index}");
        let (mut covered, mut is_certain, mut is_seen) = (false, true, false);
        for (x, y, class) in mask.enumerate_pixels() {
            match drawn.drawing.covers(x, y) {
                Some(true) => {
                    covered = true;
                    is_seen |=
                        drawn.label.is_some_and(|label| label + 1 == usize::from(class.0[0]));
                }
                Some(false) => {}
                None => is_certain = false,
            }
        }
        let is_drawn = covered && drawn.label.is_some();
        if is_certain {
            assert_eq!(!is_drawn, left_out.contains(&id), "{id} {drawn:?}: {entry}");
        }
        if is_drawn {
            assert!(is_seen || hidden.contains(&id) || !is_certain, "{id} {drawn:?}: {entry}");
        }
    }
}

/// Returns a number of the report's totals.
fn total(report: &Value, of: &str, what: &str) -> u64 {
    report["totals"][of][what].as_u64().unwrap_or_else(|| panic!("{of}.{what}: {report}"))
}

/// Checks that the totals add up to the images and regions that came in.
fn check_totals(report: &Value, images: usize, regions: usize) {
    let sum = |of, parts: &[&str]| parts.iter().map(|what| total(report, of, what)).sum::<u64>();
    assert_eq!(total(report, "images", "annotated"), images as u64, "{report}");
    assert_eq!(sum("images", &["written", "skipped", "elsewhere"]), images as u64, "{report}");
    assert_eq!(total(report, "regions", "read"), regions as u64, "{report}");
    let fates = ["drawn", "left_out", "superseded", "skipped", "elsewhere"];
    assert_eq!(sum("regions", &fates), regions as u64, "{report}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_region_of_label_studio_is_drawn_or_told(tasks in vec(task(), 1..5)) {
        let folders = Folders::new();
        let mut export = Vec::new();
        let mut region_count = 0;
        for (index, task) in tasks.iter().enumerate() {
            let name = format!("i{index}.png");
            if task.fate != Fate::MissingImage {
                folders.noise(&name, SIZE.0, SIZE.1);
            }
            let size = if task.fate == Fate::OtherSize { (SIZE.0 + 1, SIZE.1) } else { SIZE };
            let is_cancelled = task.fate == Fate::Cancelled;
            let mut annotations = vec![json!({
                "id": 100 + index, "updated_at": "2026-02-01T00:00:00Z", "was_cancelled": is_cancelled,
                "result": results(&format!("t{index}"), &task.regions, size),
            })];
            region_count += task.regions.len();
            if let Some(older) = &task.older {
                annotations.push(json!({
                    "id": 50 + index, "updated_at": "2026-01-01T00:00:00Z", "was_cancelled": is_cancelled,
                    "result": results(&format!("o{index}"), older, size),
                }));
                region_count += older.len();
            }
            export.push(json!({"id": index, "data": {"image": name}, "annotations": annotations}));
        }
        // One task that is always fine, so that something is written.
        folders.noise("fine.png", SIZE.0, SIZE.1);
        export.push(super::task(99, "fine.png", &[region("road", SIZE, [2, 2, 9, 9])]));
        folders.annotation("export.json", json!(export).to_string());
        folders.done(&["--train-test-split-ratio", "0"]);

        let report = folders.report();
        check_totals(&report, tasks.len() + 1, region_count + 1);
        let masks = folders.masks();
        for (index, task) in tasks.iter().enumerate() {
            let name = format!("i{index}");
            let image = format!("{name}.png");
            let entries = report["masks"].as_array().unwrap();
            let entry = entries.iter().find(|entry| entry["image"] == image.as_str());
            // Regions of another size fail the image; an annotation without regions has no size.
            let is_refused = task.fate == Fate::OtherSize
                && task.regions.iter().any(|drawn| {
                    drawn.label.is_some() && !matches!(drawn.drawing, Drawing::KeyPoint)
                });
            if matches!(task.fate, Fate::MissingImage | Fate::Cancelled) || is_refused {
                prop_assert!(entry.is_none());
                let told = report["skipped"].as_array().unwrap().iter().any(|skipped| {
                    skipped["what"].as_str().unwrap().contains(&image)
                });
                prop_assert!(told, "{} {}", image, report);
                continue;
            }
            check_regions(entry.unwrap(), &masks[&name], &format!("t{index}"), &task.regions);
        }
    }

    #[test]
    fn every_annotation_of_coco_is_drawn_or_told(images in vec(vec(coco_annotation(), 0..6), 1..4)) {
        let folders = Folders::new();
        let (mut listed, mut annotations) = (Vec::new(), Vec::new());
        for (index, list) in images.iter().enumerate() {
            let name = format!("i{index}.png");
            folders.noise(&name, SIZE.0, SIZE.1);
            listed.push(json!({"id": index, "file_name": name, "width": SIZE.0, "height": SIZE.1}));
            for (number, drawn) in list.iter().enumerate() {
                annotations.push(coco_entry(&format!("t{index}_{number}"), index, drawn));
            }
        }
        folders.noise("fine.png", SIZE.0, SIZE.1);
        listed.push(json!({"id": 99, "file_name": "fine.png"}));
        annotations.push(json!({
            "id": "fine", "image_id": 99, "category_id": 0, "bbox": [2, 2, 7, 7],
            "segmentation": [[2, 2, 9, 2, 9, 9, 2, 9]],
        }));
        let annotation_count = annotations.len();
        let categories: Vec<_> = LABELS.iter().enumerate()
            .map(|(id, name)| json!({"id": id, "name": name})).collect();
        folders.annotation("coco.json", json!({
            "images": listed, "annotations": annotations, "categories": categories,
        }).to_string());
        folders.done(&["--train-test-split-ratio", "0"]);

        let report = folders.report();
        check_totals(&report, images.len() + 1, annotation_count);
        let masks = folders.masks();
        for (index, list) in images.iter().enumerate() {
            let image = format!("i{index}.png");
            let entries = report["masks"].as_array().unwrap();
            let Some(entry) = entries.iter().find(|entry| entry["image"] == image.as_str()) else {
                // An image whose annotations are all boxes is no background.
                prop_assert!(!list.is_empty());
                prop_assert!(list.iter().all(|drawn| matches!(drawn.drawing, Drawing::KeyPoint)));
                prop_assert!(report["skipped"].to_string().contains(&image));
                continue;
            };
            check_regions(entry, &masks[&format!("i{index}")], &format!("t{index}"), list);
        }
    }

    #[test]
    fn every_pixel_of_a_mask_is_written_or_its_file_told(
        masks in vec((mask_pixels(), any::<bool>()), 1..4),
    ) {
        let folders = Folders::new();
        for (index, (pixels, is_fitting)) in masks.iter().enumerate() {
            let width = if *is_fitting { SIZE.0 } else { SIZE.0 + 1 };
            folders.noise(&format!("i{index}.png"), width, SIZE.1);
            let mask = GrayImage::from_raw(SIZE.0, SIZE.1, pixels.clone()).unwrap();
            folders.annotation(&format!("i{index}.png"), maskmaker::imaging::encode_mask(&mask));
        }
        folders.noise("fine.png", 3, 3);
        folders.annotation("fine.png", maskmaker::imaging::encode_mask(&GrayImage::new(3, 3)));
        folders.done(&["--train-test-split-ratio", "0", "--format", "masks"]);

        let report = folders.report();
        check_totals(&report, masks.len() + 1, masks.len() + 1);
        let written = folders.masks();
        for (index, (pixels, is_fitting)) in masks.iter().enumerate() {
            let name = format!("i{index}");
            if let Some(mask) = written.get(&name) {
                prop_assert_eq!(mask.as_raw(), pixels);
            } else {
                prop_assert!(!is_fitting);
                prop_assert!(report["skipped"].to_string().contains(&(name + ".png")));
            }
        }
    }

    #[test]
    fn every_pixel_of_ground_truth_is_written_or_its_image_told(
        masks in vec((mask_pixels(), any::<bool>(), any::<bool>()), 1..4),
    ) {
        let folders = Folders::new();
        let names = ["BACKGROUND", "road", "car", "árvore 树"];
        let mut lines = vec![fine_line(&folders, &names)];
        for (index, (pixels, is_fitting, has_image)) in masks.iter().enumerate() {
            let (image, mask_name) = (format!("i{index}.png"), format!("{index}_2026.png"));
            if *has_image {
                let width = if *is_fitting { SIZE.0 } else { SIZE.0 + 1 };
                folders.noise(&image, width, SIZE.1);
            }
            let mask = GrayImage::from_raw(SIZE.0, SIZE.1, pixels.clone()).unwrap();
            folders.annotation(&mask_name, paint(&mask, &COLORS, index % 2 == 0));
            lines.push(line(&format!("s3://b/{image}"), &format!("s3://b/{mask_name}"), &names, &COLORS));
        }
        folders.annotation("output.manifest", manifest(&lines));
        folders.done(&["--train-test-split-ratio", "0"]);

        let report = folders.report();
        check_totals(&report, masks.len() + 1, masks.len() + 1);
        let written = folders.masks();
        for (index, (pixels, is_fitting, has_image)) in masks.iter().enumerate() {
            let name = format!("i{index}");
            if let Some(mask) = written.get(&name) {
                prop_assert_eq!(mask.as_raw(), pixels);
            } else {
                prop_assert!(!is_fitting || !has_image);
                prop_assert!(report["skipped"].to_string().contains(&(name + ".png")));
            }
        }
    }
}

/// Colors of the classes in masks of Ground Truth, class 0 first.
const COLORS: [[u8; 3]; 4] = [[255; 3], [44, 160, 44], [31, 119, 180], [214, 39, 40]];

/// Writes an image with a mask of background, and returns its line of a manifest.
fn fine_line(folders: &Folders, names: &[&str]) -> Value {
    folders.noise("fine.png", 3, 3);
    folders.annotation("fine_2026.png", paint(&GrayImage::new(3, 3), &COLORS, true));
    line("s3://b/fine.png", "s3://b/fine_2026.png", names, &COLORS)
}

/// Polygons and run lengths; key points stand for annotations without segmentation.
fn coco_annotation() -> impl Strategy<Value = Drawn> {
    let point = (coordinate(SIZE.0), coordinate(SIZE.1)).prop_map(|(x, y)| [x, y]);
    let brush_box = (0..SIZE.0, 0..SIZE.1, 0..9_u32, 0..9_u32)
        .prop_map(|(x, y, w, h)| [x, y, (x + w).min(SIZE.0), (y + h).min(SIZE.1)]);
    // Triangles at most: larger polygons may cross themselves, where COCO's rule is another one.
    let drawing = prop_oneof![
        4 => vec(point, 1..4).prop_map(Drawing::Polygon),
        2 => vec(brush_box, 0..3).prop_map(Drawing::Brush),
        1 => Just(Drawing::KeyPoint),
    ];
    (0..LABELS.len(), drawing).prop_map(|(label, drawing)| Drawn { label: Some(label), drawing })
}

fn coco_entry(id: &str, image: usize, drawn: &Drawn) -> Value {
    let mut entry = json!({"id": id, "image_id": image, "category_id": drawn.label});
    match &drawn.drawing {
        Drawing::Polygon(points) => entry["segmentation"] = json!([points.concat()]),
        Drawing::Brush(list) => {
            let layers: Vec<_> = list.iter().map(|sides| (1, *sides)).collect();
            let mask = boxes(SIZE.0, SIZE.1, &layers);
            let (mut counts, mut last) = (vec![0_u32], 0);
            for x in 0..SIZE.0 {
                for y in 0..SIZE.1 {
                    let value = mask.get_pixel(x, y).0[0];
                    if value != last {
                        counts.push(0);
                        last = value;
                    }
                    *counts.last_mut().unwrap() += 1;
                }
            }
            entry["segmentation"] = json!({"counts": counts, "size": [SIZE.1, SIZE.0]});
        }
        _ => entry["bbox"] = json!([1, 1, 5, 5]),
    }
    entry
}

/// Ids of classes of the configuration, in boxes, so that masks look like masks.
fn mask_pixels() -> impl Strategy<Value = Vec<u8>> {
    let layer = (1..=3_u8, 0..SIZE.0, 0..SIZE.1, 1..9_u32, 1..9_u32)
        .prop_map(|(class, x, y, w, h)| (class, [x, y, x + w, y + h]));
    vec(layer, 0..4).prop_map(|layers| boxes(SIZE.0, SIZE.1, &layers).into_raw())
}

#[test]
fn what_covers_no_pixel_is_told_with_its_reason() {
    let folders = Folders::new();
    folders.noise("a.png", SIZE.0, SIZE.1);
    let drawn = |label, drawing| Drawn { label: Some(label), drawing };
    let regions = [
        drawn(0, Drawing::Polygon(vec![[1.0, 1.0], [9.0, 1.0], [9.0, 9.0], [1.0, 9.0]])),
        drawn(1, Drawing::Polygon(vec![[3.0, 3.0]])),
        drawn(1, Drawing::Polygon(vec![[3.0, 3.0], [8.0, 8.0]])),
        drawn(1, Drawing::Rectangle { x: 3.0, y: 3.0, width: 0.0, height: 5.0 }),
        drawn(1, Drawing::Ellipse { x: -30.0, y: 3.0, radius_x: 2.0, radius_y: 5.0 }),
        drawn(1, Drawing::Brush(Vec::new())),
    ];
    folders.annotation(
        "export.json",
        json!([super::task(1, "a.png", &results("r", &regions, SIZE))]).to_string(),
    );
    let run = folders.done(&[]);
    let report = folders.report();
    let left_out = report["masks"][0]["left_out"].as_array().unwrap();
    for (text, expected) in left_out.iter().zip([
        "region r_1 (car) covers no pixel: it has 1 point, and an area needs 3",
        "region r_2 (car) covers no pixel: it has 2 different points, and an area needs 3",
        "region r_3 (car) covers no pixel: its width is 0",
        "region r_4 (car) covers no pixel: it lies outside of the image",
        "region r_5 (car) covers no pixel: all of its strokes are erased",
    ]) {
        assert_eq!(text, expected);
    }
    assert_eq!(left_out.len(), 5);
    assert!(
        run.stderr.contains("regions were left out in 1 image: a.png: region r_1"),
        "{}",
        run.stderr
    );
    assert_eq!(folders.mask("a"), boxes(SIZE.0, SIZE.1, &[(1, [1, 1, 9, 9])]));
}

#[test]
fn a_region_under_others_is_told_and_priority_brings_it_up() {
    let folders = Folders::new();
    folders.noise("a.png", SIZE.0, SIZE.1);
    let task = super::task(
        1,
        "a.png",
        &[region("car", SIZE, [3, 3, 5, 5]), region("road", SIZE, [1, 1, 9, 9])],
    );
    folders.annotation("export.json", json!([task]).to_string());
    folders.done(&[]);
    let hidden = folders.report()["masks"][0]["hidden"].clone();
    assert_eq!(hidden, json!(["region r3_3 (car) is covered by later regions"]));
    folders.done(&["--priority", "car"]);
    assert_eq!(folders.report()["masks"][0]["hidden"], Value::Null);
}

#[test]
fn regions_that_lose_against_other_annotations_are_told() {
    let folders = Folders::new();
    folders.noise("a.png", SIZE.0, SIZE.1);
    let annotation = |id: u32, regions: &[Value]| {
        json!({
            "id": id, "result": regions, "was_cancelled": false,
            "updated_at": format!("2026-01-{id:02}T00:00:00Z"),
        })
    };
    let car = region("car", SIZE, [3, 3, 5, 5]);
    let road = region("road", SIZE, [1, 1, 9, 9]);
    let annotations = [annotation(1, &[car]), annotation(2, &[road])];
    let task = json!({"id": 1, "data": {"image": "a.png"}, "annotations": annotations});
    folders.annotation("export.json", json!([task]).to_string());
    folders.done(&["--several", "union"]);
    let report = folders.report();
    let hidden = "region r3_3 (car) is covered or outvoted by another annotation";
    assert_eq!(report["masks"][0]["hidden"], json!([hidden]));
    assert_eq!(total(&report, "regions", "drawn"), 2);
}

#[test]
fn images_left_out_for_being_empty_tell_the_regions_that_could_not_be_drawn() {
    let folders = Folders::new();
    folders.noise("a.png", SIZE.0, SIZE.1);
    folders.noise("b.png", SIZE.0, SIZE.1);
    folders.noise("fine.png", SIZE.0, SIZE.1);
    let unlabeled = Drawn {
        label: None,
        drawing: Drawing::Rectangle { x: 1.0, y: 1.0, width: 5.0, height: 5.0 },
    };
    let export = json!([
        super::task(1, "a.png", &results("r", &[unlabeled], SIZE)),
        super::task(2, "b.png", &[]),
        super::task(3, "fine.png", &[region("road", SIZE, [2, 2, 9, 9])]),
    ]);
    folders.annotation("export.json", export.to_string());
    folders.done(&["--skip-empty"]);
    let faults = folders.faults();
    assert_eq!(
        faults,
        ["a.png: its mask is empty (--skip-empty): region r_0 (rectangle) has no label"]
    );
    check_totals(&folders.report(), 3, 2);
}
