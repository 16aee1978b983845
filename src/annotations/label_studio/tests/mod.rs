mod captured;
mod targets;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::annotations::json_objects::JsonObjects;
use crate::annotations::region::Shape;
use crate::annotations::shapes::FillRule;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/annotations/");

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{FIXTURES}{name}")).unwrap()
}

fn elements(name: &str) -> Vec<Vec<u8>> {
    let bytes = fixture(&format!("labelstudio/{name}"));
    JsonObjects::new(&bytes[..], 1 << 20).map(|element| element.unwrap().bytes).collect()
}

fn bytes(value: &serde_json::Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

/// Returns an annotation as a target storage writes it.
fn annotation(result: &serde_json::Value) -> Vec<u8> {
    bytes(&json!({"id": 7, "result": result}))
}

fn drawn(result: &serde_json::Value) -> AnnotationRegions {
    read_regions(&annotation(result), 0).unwrap()
}

fn regions_error(result: &serde_json::Value) -> String {
    read_regions(&annotation(result), 0).unwrap_err().to_string()
}

fn names(labels: &[&str]) -> BTreeSet<String> {
    labels.iter().map(|&label| label.to_owned()).collect()
}

#[test]
fn fields_beyond_result_task_and_label_may_be_missing_or_null() {
    let bare = bytes(&json!({"result": [
        {"type": "brushlabels", "value": {"rle": [1, 2], "brushlabels": ["a"]}},
        {"type": null, "id": null, "value": {"points": [[1, 2]], "closed": null,
         "polygonlabels": ["b"]}, "to_name": null, "original_width": null, "image_rotation": null},
    ]}));
    let entry = read_task_summary(&bare).unwrap();
    assert_eq!((entry.task_id, entry.annotation_count, entry.data.len()), (None, None, 0));
    assert_eq!((entry.annotations[0].id, entry.annotations[0].drawn_count()), (None, 2));
    let drawn = read_regions(&bare, 0).unwrap();
    assert_eq!(drawn.regions[0].shape, Shape::Brush { rle: vec![1, 2] });
    assert_eq!((drawn.regions[0].image_size, drawn.regions[0].id.as_str()), (None, ""));
    assert_eq!(drawn.regions[1].labels, ["b"]);
    for empty in [
        json!({"result": null, "task": null, "id": null}),
        json!({"result": [], "task": 5}),
        json!({"id": 3, "data": {"image": "a.png", "n": 3}, "annotations": null}),
        json!({"id": 3, "data": {"image": "a.png"}}),
        json!({"id": 3, "data": null, "annotations": [{}]}),
        json!({"id": "3", "annotation_id": "9", "image": "a.png", "n": null, "list": ["x", 1, []]}),
    ] {
        let entry = read_task_summary(&bytes(&empty)).unwrap();
        assert!(entry.annotations.iter().all(|one| one.drawn_count() == 0), "{empty}");
        for number in 0..entry.annotations.len() {
            let nothing = AnnotationRegions { regions: vec![], skipped_reasons: vec![] };
            assert_eq!(read_regions(&bytes(&empty), number).unwrap(), nothing);
        }
        assert!(read_regions(&bytes(&empty), entry.annotations.len()).is_err());
    }
}

#[test]
fn drafts_and_predictions_are_not_annotations() {
    let region = json!({"type": "polygonlabels", "value": {"points": [], "polygonlabels": ["x"]}});
    let task = json!({
        "id": 1, "data": {}, "annotations": [],
        "drafts": [{"result": [region]}], "predictions": [{"result": [region]}, 7],
    });
    assert_eq!(read_task_summary(&bytes(&task)).unwrap().annotations, []);
    assert!(read_regions(&bytes(&task), 0).is_err());
}

#[test]
fn rectangles_ellipses_and_bitmasks_are_read_by_their_keys() {
    let drawn = drawn(&json!([
        {"type": "rectanglelabels", "original_width": 100, "original_height": 50.0, "value":
            {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0, "rectanglelabels": ["r"]}},
        {"type": "ellipselabels", "value":
            {"x": 50, "y": 50, "radiusX": 10, "radiusY": 20, "ellipselabels": ["e"]}},
        {"type": "bitmasklabels", "value":
            {"imageDataURL": "data:image/png;base64,AAAA", "bitmasklabels": ["b"]}},
    ]));
    let [rectangle, ellipse, bitmask] = &drawn.regions[..] else { panic!("{drawn:?}") };
    assert_eq!(rectangle.image_size, Some((100, 50)));
    // 10..40 percent of 100 columns, 20..60 percent of 50 rows.
    let runs = rectangle.rasterize(100, 50, FillRule::default()).unwrap();
    let rows: Vec<_> = runs.iter().collect();
    assert_eq!((rows.len(), rows[0].clone(), runs.area()), (20, 1010..1040, 600));
    let turned = rectangle.rasterize(50, 100, FillRule::default()).unwrap_err().to_string();
    assert_eq!(
        turned,
        "was drawn on an image of 100 x 50 pixels, but the image has 50 x 100 (its EXIF orientation \
         may have been lost or added); use the image that was annotated"
    );
    let expected =
        Shape::Ellipse { x: 50.0, y: 50.0, radius_x: 10.0, radius_y: 20.0, rotation: 0.0 };
    assert_eq!(ellipse.shape, expected);
    let area = ellipse.rasterize(100, 100, FillRule::default()).unwrap().area() as f64;
    assert!((area - 200.0 * std::f64::consts::PI).abs() < 20.0, "{area}");
    assert!(matches!(bitmask.shape, Shape::Bitmask { .. }));
    assert!(bitmask.rasterize(2, 2, FillRule::default()).is_err());
}

#[test]
fn a_bitmask_covers_what_is_not_transparent() {
    use base64::Engine as _;
    let mut png = std::io::Cursor::new(Vec::new());
    let image =
        image::RgbaImage::from_fn(3, 2, |x, _| image::Rgba([0, 0, 0, 255 * u8::from(x == 1)]));
    image.write_to(&mut png, image::ImageFormat::Png).unwrap();
    let text = base64::engine::general_purpose::STANDARD.encode(png.into_inner());
    let value = json!({"imageDataURL": format!("data:image/png;base64,{text}"), "labels": ["a"]});
    let drawn = drawn(&json!([{"type": "labels", "value": value}]));
    let runs = drawn.regions[0].rasterize(3, 2, FillRule::default()).unwrap();
    assert_eq!(runs.iter().collect::<Vec<_>>(), [1..2, 4..5]);
}

#[test]
fn the_bare_twin_of_a_labeled_result_is_skipped() {
    let brush = json!({"rle": [1], "format": "rle"});
    let with = |labels: serde_json::Value| {
        let mut value = brush.clone();
        value["labels"] = labels;
        value
    };
    let result = json!([
        {"id": "one", "type": "brush", "value": brush},
        {"id": "one", "type": "labels", "value": with(json!(["A", "B"]))},
        {"id": "one", "type": "choices", "value": {"rle": [1], "choices": ["wet"]}},
        {"id": "two", "type": "labels", "value": {"x": 1, "y": 1, "width": 2, "height": 2,
            "rotation": 0, "labels": ["C"]}},
        {"id": "two", "type": "rectangle", "value": {"x": 1, "y": 1, "width": 2, "height": 2}},
    ]);
    let found = drawn(&result);
    assert_eq!(found.skipped_reasons, [""; 0]);
    let labels: Vec<_> = found.regions.iter().map(|region| &region.labels[..]).collect();
    assert_eq!(labels, [&["A".to_owned(), "B".to_owned()][..], &["C".to_owned()][..]]);
    let summary = &read_task_summary(&annotation(&result)).unwrap().annotations[0];
    assert_eq!((summary.drawn_count(), &summary.labels), (2, &names(&["A", "B", "C"])));
}

#[test]
fn what_has_no_label_or_no_area_is_left_out_with_a_reason() {
    let result = json!([
        {"id": "k", "type": "keypointlabels",
         "value": {"x": 1, "y": 2, "width": 3, "height": 3, "keypointlabels": ["p"]}},
        {"id": "b", "type": "brushlabels", "value": {"rle": [1]}},
        {"id": "e", "type": "polygonlabels", "value": {"points": [], "polygonlabels": []}},
        {"id": "t", "type": "labels", "value": {"start": 1, "end": 2, "labels": ["word"]}},
        {"id": "w", "type": "brushlabels", "value": {"rle": [1], "polygonlabels": ["other"]}},
        {"type": "choices", "value": {"choices": ["x"]}},
        {"from_id": "k", "to_id": "b", "type": "relation", "direction": "right"},
    ]);
    let found = drawn(&result);
    assert_eq!(found.regions, []);
    assert_eq!(
        found.skipped_reasons,
        [
            "region k (keypointlabels) has no area",
            "region b (brushlabels) has no label",
            "region e (polygonlabels) has no label",
            "region t (labels) has no area",
            "region w (brushlabels) has no label",
        ]
    );
    assert_eq!(read_task_summary(&annotation(&result)).unwrap().annotations[0].drawn_count(), 5);
}

#[test]
fn turned_images_and_further_pages_are_refused() {
    let with = |key: &str, number: serde_json::Value| {
        let mut region = json!({"id": "r", "type": "polygonlabels",
            "value": {"points": [[1, 1]], "polygonlabels": ["a"]}});
        region[key] = number;
        json!([region])
    };
    let turned = regions_error(&with("image_rotation", json!(90)));
    assert!(turned.starts_with("region r (polygonlabels) was drawn on the image turned by 90"));
    assert_eq!(drawn(&with("image_rotation", json!(-360))).regions.len(), 1);
    assert!(regions_error(&with("item_index", json!(2))).contains("(item_index 2)"));
    assert_eq!(drawn(&with("item_index", json!(0))).regions.len(), 1);
}

#[test]
fn a_wrong_value_is_told_with_its_key_what_was_found_and_what_is_allowed() {
    let brush =
        |value: serde_json::Value| json!([{"id": "r", "type": "brushlabels", "value": value}]);
    let expectations = [
        (
            brush(json!({"rle": [1, 300]})),
            "result[0].value.rle[1]: invalid value: integer `300`, \
             expected a whole number from 0 to 255",
        ),
        (
            brush(json!({"rle": [-1]})),
            "result[0].value.rle[0]: invalid type: integer `-1`, expected \
             a whole number from 0 to 255",
        ),
        (
            brush(json!({"rle": [1.5]})),
            "result[0].value.rle[0]: invalid type: floating point `1.5`, \
             expected a whole number from 0 to 255",
        ),
        (
            brush(json!({"rle": "AAE="})),
            "result[0].value.rle: invalid type: string \"AAE=\", \
             expected a list of numbers from 0 to 255",
        ),
        (
            brush(json!({"brushlabels": [5]})),
            "result[0].value.brushlabels[0]: invalid type: integer \
             `5`, expected a string",
        ),
        (
            brush(json!({"brushlabels": "a"})),
            "result[0].value.brushlabels: invalid type: string \
             \"a\", expected a list of label names",
        ),
        (
            brush(json!({"brushlabels": ["a"]})),
            "region r (brushlabels) has no rle; it needs rle in \
             its value",
        ),
        (
            json!([{"type": "ellipselabels", "value": {"x": 1, "y": 1, "radiusX": 2, "ellipselabels":
             ["a"]}}]),
            "a region (ellipselabels) has no radiusY; it needs x, y, radiusX and radiusY \
             in its value",
        ),
        (json!([{"value": {"points": [[1, 2, 3]]}}]), "result[0].value.points[0]"),
        (
            json!([{"value": {"x": "1"}}]),
            "result[0].value.x: invalid type: string \"1\", expected a \
             number",
        ),
        (
            json!([{"original_width": 0}]),
            "result[0].original_width: invalid value: integer `0`, \
             expected a whole number of pixels from 1 to 4294967295",
        ),
        (
            json!([{"original_width": 5.5}]),
            "result[0].original_width: invalid value: floating point",
        ),
        (json!([{"type": 3}]), "result[0].type: invalid type: integer `3`, expected a string"),
        (json!(["x"]), "result[0]: invalid type: string \"x\", expected a result, an object"),
        (json!({}), "result: invalid type: map, expected a sequence"),
    ];
    for (result, expected) in expectations {
        let text = regions_error(&result);
        assert!(text.starts_with(expected), "{text}\n{expected}");
    }
    let task = json!({"data": {}, "annotations": [{}, {"result": [{"value": {"rle": [999]}}]}]});
    let text = read_regions(&bytes(&task), 1).unwrap_err().to_string();
    assert!(text.starts_with("annotations[1].result[0].value.rle[0]: invalid value"), "{text}");
    let text =
        read_task_summary(&bytes(&json!({"data": [], "annotations": []}))).unwrap_err().to_string();
    let expected = "data: invalid type: sequence, expected an object with the data of a task";
    assert_eq!(text, expected);
    let long = regions_error(&brush(json!({"rle": "A".repeat(1 << 20)})));
    assert!(long.len() < 400 && long.ends_with("..., expected a list of numbers from 0 to 255"));
}

#[test]
fn drawings_are_not_looked_at_for_the_index() {
    let result = json!([{"type": "brushlabels", "value": {"rle": [999], "brushlabels": ["a"]}}]);
    assert_eq!(read_task_summary(&annotation(&result)).unwrap().annotations[0].drawn_count(), 1);
    assert!(read_regions(&annotation(&result), 0).is_err());
}

#[test]
fn keys_that_come_twice_are_told() {
    for (text, key) in [
        (r#"{"result": [], "result": []}"#, "result"),
        (r#"{"data": {"image": "a", "image": "b"}, "annotations": []}"#, "image"),
        (r#"{"result": [{"value": {"brushlabels": [], "brushlabels": ["a"]}}]}"#, "brushlabels"),
        (r#"{"annotation_id": 1, "image": "a", "image": "b"}"#, "image"),
        (r#"{"annotation_id": 1, "annotation_id": null}"#, "annotation_id"),
    ] {
        let told = read_task_summary(text.as_bytes()).unwrap_err().to_string();
        assert!(told.ends_with(&format!("duplicate field `{key}`")), "{told}");
    }
    let twice = br#"{"result": [{"value": {"rle": [], "rle": [1]}}]}"#;
    assert!(read_regions(twice, 0).unwrap_err().to_string().ends_with("duplicate field `rle`"));
}

#[test]
fn other_documents_are_told_apart() {
    let coco = br#"{"images": [], "annotations": [], "categories": []}"#;
    assert_eq!(
        read_task_summary(coco).unwrap_err().to_string(),
        "is a COCO document, no task of Label Studio"
    );
    let project = fixture("labelstudio/project_create_response.json");
    let told = read_task_summary(&project).unwrap_err().to_string();
    assert!(told.contains("its keys are id, title, description, label_config"), "{told}");
    assert!(read_task_summary(b"{}").unwrap_err().to_string().contains("its keys are none"));
    assert!(
        read_task_summary(b"[]").is_err()
            && read_task_summary(b"").is_err()
            && read_task_summary(b"{\"result\": [}").is_err()
    );
}

#[test]
fn huge_numbers_and_nesting_bombs_are_errors() {
    let huge = format!("{{\"result\": [{{\"value\": {{\"x\": 1{}}}}}]}}", "0".repeat(400));
    assert!(
        read_regions(huge.as_bytes(), 0).unwrap_err().to_string().contains("number out of range")
    );
    let id = br#"{"id": 99999999999999999999, "result": []}"#;
    assert!(
        read_task_summary(id)
            .unwrap_err()
            .to_string()
            .starts_with("id: invalid type: floating point")
    );
    let written_by_pandas = br#"{"id": 7.0, "result": []}"#;
    assert_eq!(read_task_summary(written_by_pandas).unwrap().annotations[0].id, Some(7));
    let bomb = |key: &str| {
        let (open, close) = ("{\"task\":".repeat(100_000), "}".repeat(100_000));
        format!("{{\"result\": [], {key:?}: {open}1{close}}}")
    };
    for key in ["task", "other"] {
        assert!(
            read_task_summary(bomb(key).as_bytes())
                .unwrap_err()
                .to_string()
                .contains("nested deeper than 128")
        );
    }
}

/// A strategy for documents with some bytes changed, cut out or repeated.
fn damaged(names: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), any::<u8>(), 0..4_u8);
    (0..names.len(), prop::collection::vec(change, 1..8)).prop_map(move |(which, changes)| {
        let mut bytes = fixture(&format!("labelstudio/{}", names[which]));
        for (place, byte, how) in changes {
            let at = place.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes[at] = b"{}[]\",:0e-\\n"[usize::from(byte) % 12],
                2 => drop(bytes.drain(at..(at + usize::from(byte)).min(bytes.len()))),
                _ => {
                    let part = bytes[at..(at + usize::from(byte)).min(bytes.len())].to_vec();
                    bytes.splice(at..at, part);
                }
            }
            if bytes.is_empty() {
                bytes.push(byte);
            }
        }
        bytes
    })
}

fn read_all(document: &[u8]) {
    for element in JsonObjects::new(document, 1 << 20) {
        let Ok(element) = element else { return };
        let Ok(entry) = read_task_summary(&element.bytes) else { continue };
        for (number, summary) in entry.annotations.iter().enumerate() {
            if let Ok(drawn) = read_regions(&element.bytes, number) {
                let drawn_count = drawn.regions.len() + drawn.skipped_reasons.len();
                assert_eq!(drawn_count, summary.drawn_count());
                for region in drawn.regions {
                    assert!(!region.labels.is_empty());
                    if let Some((width, height)) =
                        region.image_size.filter(|&(w, h)| w < 999 && h < 999)
                    {
                        let _ = region.rasterize(width, height, FillRule::default());
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let _ = read_task_summary(&bytes);
        let _ = read_regions(&bytes, 0);
        read_all(&bytes);
    }

    #[test]
    fn damaged_documents_are_read_or_refused(
        bytes in damaged(&[
            "seg_JSON.json", "seg_JSON_MIN.json", "target_object_labels__22", "project_export.json",
            "target_object_FUTURE_SAVE_TASK__labels__15.json",
        ])
    ) {
        read_all(&bytes);
    }
}
