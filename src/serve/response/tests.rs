use std::fs;
use std::path::Path;

use image::{GrayImage, Luma, RgbImage};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::annotations::contours::Outline;
use crate::annotations::{Runs, brush_rle, coco_rle};
use crate::imaging::{DecodeLimits, decode_mask, decode_upright};
use crate::inference::{OutputDetail, Segmentation};
use crate::serve::api_error::{ApiError, ErrorType};
use crate::serve::request::options::{JsonOptions, RequestOptions};
use crate::serve::request::{BodyKind, RecordsStyle};
use crate::serve::response::format::ResponseFormat;

fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/serve").join(name)).unwrap()
}

fn model_info() -> ModelInfo {
    ModelInfo {
        class_names: ["background", "car", "road"].map(str::to_owned).into(),
        colors: vec![[0, 0, 0], [10, 200, 30], [255, 255, 0]],
        precision: "fp32",
        device: "cpu".into(),
        max_side: 2048,
        tile_side: 1024,
        tile_overlap: 128,
    }
}

/// Makes the segmentation of `make_fixtures.py`.
fn test_segmentation() -> Segmentation {
    Segmentation {
        ids: GrayImage::from_fn(5, 4, |x, y| Luma([((5 * y + x) % 3) as u8])),
        confidence: vec![0.5, 0.75, 1.0],
        pixel_confidence: vec![],
        probabilities: (0..60).map(|at| at as f32 / 64.0).collect(),
        pixel_entropy: Vec::new(),
    }
}

fn negotiated_format(accept: &str, attributes: &str) -> ResponseFormat {
    let mut headers = axum::http::HeaderMap::new();
    headers.insert("accept", accept.parse().unwrap());
    headers.insert("x-amzn-sagemaker-custom-attributes", attributes.parse().unwrap());
    let options = RequestOptions::parse(&headers).unwrap();
    ResponseFormat::negotiate(&headers, BodyKind::Image, &options).unwrap()
}

fn encode_for_accept(accept: &str) -> Vec<u8> {
    negotiated_format(accept, "")
        .encode(&RgbImage::new(5, 4), &test_segmentation(), &model_info())
        .unwrap()
}

fn in_json(ids: &GrayImage, options: &JsonOptions) -> Value {
    let answer = Segmentation {
        ids: ids.clone(),
        confidence: vec![0.25; 3],
        pixel_confidence: vec![],
        probabilities: vec![],
        pixel_entropy: Vec::new(),
    };
    serde_json::from_slice(&json::encode_json(&answer, &model_info(), options).unwrap()).unwrap()
}

#[test]
fn a_mask_holds_ids_and_the_colors_of_the_classes() {
    let png = encode_for_accept("image/png");
    assert_eq!(decode_mask(&png, DecodeLimits::default()).unwrap(), test_segmentation().ids);
    let shown = decode_upright(&png, DecodeLimits::default()).unwrap();
    assert_eq!(shown.get_pixel(1, 0).0, [10, 200, 30]);
    assert_eq!(shown.get_pixel(2, 0).0, [255, 255, 0]);
    // An id without a color in the model has one all the same.
    assert_eq!(model_class_color(&model_info(), 3), class_color(3));
}

#[test]
fn an_overlay_shows_image_mask_and_legend() {
    let image = RgbImage::from_pixel(60, 40, image::Rgb([100; 3]));
    let ids = GrayImage::from_fn(60, 40, |x, _| Luma([u8::from(x >= 30)]));
    let answer = Segmentation {
        ids,
        confidence: vec![],
        pixel_confidence: vec![],
        probabilities: vec![],
        pixel_entropy: vec![],
    };
    let reply = negotiated_format("image/png;overlay=true", "");
    let png = reply.encode(&image, &answer, &model_info()).unwrap();
    let shown = decode_upright(&png, DecodeLimits::default()).unwrap();
    // Enlarged eight times, with the legend beside it.
    assert!(shown.width() > 480 && shown.height() == 320);
    assert_eq!(shown.get_pixel(40, 40).0, [100; 3]);
    assert_eq!(shown.get_pixel(400, 40).0, [55, 150, 65]);
}

#[test]
fn arrays_are_byte_for_byte_what_numpy_writes() {
    assert_eq!(encode_for_accept("application/x-npy"), fixture("answer_ids.npy"));
    let probabilities = encode_for_accept("application/x-npy;probabilities=true");
    assert_eq!(probabilities, fixture("answer_probabilities.npy"));
}

#[test]
fn probabilities_are_byte_for_byte_what_googles_protobuf_writes() {
    for name in ["application/x-recordio-protobuf", "application/x-protobuf"] {
        assert_eq!(encode_for_accept(name), fixture("answer.recordio"), "{name}");
    }
}

#[test]
fn a_record_too_long_for_its_frame_is_refused() {
    assert!(protobuf::check_message_size((4096, 4096), 7).is_ok());
    let refusal = protobuf::check_message_size((4096, 4096), 8).unwrap_err();
    assert_eq!(refusal.error_type(), ErrorType::ReplyTooLarge);
    let words = refusal.to_json().to_string();
    assert!(words.contains("8 classes in 4096 x 4096 pixels make 5368709"), "{words}");
}

#[test]
fn sizes_that_are_told_before_are_those_of_the_answer() {
    for accept in [
        "application/x-npy",
        "application/x-npy;probabilities=true",
        "application/x-protobuf",
        "application/x-recordio-protobuf",
    ] {
        for (width, height, classes) in
            [(1, 1, 1), (5, 4, 3), (64, 1, 2), (1, 65_535, 1), (300, 200, 21)]
        {
            let pixels = (width * height) as usize;
            let answer = Segmentation {
                ids: GrayImage::new(width, height),
                confidence: vec![],
                pixel_confidence: vec![],
                probabilities: vec![0.5; pixels * classes],
                pixel_entropy: Vec::new(),
            };
            let reply = negotiated_format(accept, "");
            let told = reply.exact_bytes((width, height), classes).unwrap();
            let bytes = reply.encode(&RgbImage::new(1, 1), &answer, &model_info()).unwrap();
            assert_eq!(told, bytes.len() as u64, "{accept} {width}x{height}");
        }
    }
    assert_eq!(negotiated_format("application/json", "").exact_bytes((5, 4), 3), None);
    assert_eq!(negotiated_format("image/png", "").exact_bytes((5, 4), 3), None);
}

#[test]
fn no_more_is_asked_of_the_engine_than_the_form_needs() {
    for (accept, detail, name) in [
        ("image/png", OutputDetail::Classes, "image/png"),
        ("image/png;overlay=true", OutputDetail::Classes, "image/png"),
        ("application/x-npy", OutputDetail::Classes, "application/x-npy"),
        ("application/json", OutputDetail::Confidence, "application/json"),
        ("application/jsonlines", OutputDetail::Confidence, "application/jsonlines"),
        ("application/x-npy;probabilities=true", OutputDetail::Probabilities, "application/x-npy"),
        ("application/x-protobuf", OutputDetail::Probabilities, "application/x-protobuf"),
    ] {
        let reply = negotiated_format(accept, "");
        assert_eq!((reply.output_detail(), reply.content_type().to_str().unwrap()), (detail, name));
    }
}

/// Makes the mask of the documentation's example: six columns and four rows, with a frame of class
/// 2 around one pixel.
fn frame_mask() -> GrayImage {
    GrayImage::from_fn(6, 4, |x, y| {
        let is_frame = (1..4).contains(&x) && (1..4).contains(&y) && (x, y) != (2, 2);
        Luma([if is_frame { 2 } else { 0 }])
    })
}

#[test]
fn json_tells_area_confidence_outlines_and_run_lengths() {
    let all = JsonOptions { brush_rle: true, tolerance_px: 0.0, ..JsonOptions::default() };
    let told = in_json(&frame_mask(), &all);
    let runs = Runs::from_class(&frame_mask(), 2);
    let expected = json!({
        "width": 6, "height": 4,
        "classes": [
            { "id": 0, "name": "background", "color": "#000000", "pixels": 16, "share": 16.0 / 24.0, "confidence": 0.25 },
            {
                "id": 2, "name": "road", "color": "#ffff00", "pixels": 8, "share": 8.0 / 24.0, "confidence": 0.25,
                "polygons": [{
                    "outer": [[1, 1], [4, 1], [4, 4], [1, 4]],
                    "holes": [[[2, 2], [2, 3], [3, 3], [3, 2]]],
                }],
                "rle": { "size": [4, 6], "counts": coco_rle::encode_compressed(&runs) },
                "brush_rle": brush_rle::encode_brush_rle(&runs),
            },
        ],
    });
    assert_eq!(told, expected);
    let counts = told["classes"][1]["rle"]["counts"].as_str().unwrap();
    assert_eq!(coco_rle::decode_compressed(counts, 6, 4).unwrap(), runs);
}

#[test]
fn the_documented_example_is_what_is_told() {
    let source = include_str!("json.rs");
    let example = source.split("```json").nth(1).unwrap().split("```").next().unwrap();
    let example: String = example.lines().filter_map(|line| line.strip_prefix("//!")).collect();
    let example: Value = serde_json::from_str(&example).unwrap();
    let all = JsonOptions { brush_rle: true, tolerance_px: 0.0, ..JsonOptions::default() };
    assert_eq!(in_json(&frame_mask(), &all), example);
}

#[test]
fn options_leave_out_what_is_not_wanted() {
    let none = JsonOptions { polygons: false, coco_rle: false, ..JsonOptions::default() };
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let plain = ["color", "confidence", "id", "name", "pixels", "share"];
    assert_eq!(keys(&in_json(&frame_mask(), &none)["classes"][1]), plain);
    let background = JsonOptions { background: true, ..JsonOptions::default() };
    let told = in_json(&frame_mask(), &background);
    assert!(told["classes"][0]["rle"].is_object() && told["classes"][0]["polygons"].is_array());
    let large = JsonOptions { min_area_px: 9, ..JsonOptions::default() };
    assert_eq!(in_json(&frame_mask(), &large)["classes"][1]["polygons"], json!([]));
    assert_eq!(in_json(&frame_mask(), &large)["classes"][1]["pixels"], 8);
    let exactly = JsonOptions { min_area_px: 8, ..JsonOptions::default() };
    assert_eq!(
        in_json(&frame_mask(), &exactly)["classes"][1]["polygons"].as_array().unwrap().len(),
        1
    );
}

#[test]
fn what_is_no_number_is_null_and_unknown_classes_have_names() {
    let answer = Segmentation {
        ids: GrayImage::from_fn(3, 1, |x, _| Luma([[0, 1, 9][x as usize]])),
        confidence: vec![f32::NAN, f32::INFINITY],
        pixel_confidence: vec![],
        probabilities: vec![],
        pixel_entropy: Vec::new(),
    };
    let bytes = json::encode_json(&answer, &model_info(), &JsonOptions::default()).unwrap();
    let told: Value = serde_json::from_slice(&bytes).unwrap();
    for class in told["classes"].as_array().unwrap() {
        assert_eq!(class["confidence"], Value::Null);
    }
    assert_eq!(told["classes"][2]["name"], "class 9");
}

#[test]
fn noise_is_refused_before_its_outlines_are_drawn() {
    let ids = GrayImage::from_fn(2000, 1100, |x, y| Luma([((x + y) % 2) as u8]));
    let answer = Segmentation {
        ids,
        confidence: vec![],
        pixel_confidence: vec![],
        probabilities: vec![],
        pixel_entropy: vec![],
    };
    let refusal = json::encode_json(&answer, &model_info(), &JsonOptions::default()).unwrap_err();
    assert_eq!(refusal.error_type(), ErrorType::ReplyTooLarge);
    assert!(refusal.to_json().to_string().contains("torn into 109"));
    let areas = JsonOptions { polygons: false, coco_rle: false, ..JsonOptions::default() };
    let bytes = json::encode_json(&answer, &model_info(), &areas).unwrap();
    assert!(bytes.len() < 500);
}

fn api_error(error_type: ErrorType) -> ApiError {
    ApiError::new(error_type, "why")
}

#[test]
fn answers_to_records_stand_in_order_with_ids_and_reasons() {
    let object = || br#"{"width":1}"#.to_vec();
    let answers = || {
        vec![
            (Some(r#""a\"b""#.to_owned()), Ok(object())),
            (Some("7".to_owned()), Err(api_error(ErrorType::InvalidJson))),
            (None, Ok(object())),
        ]
    };
    let expected = json!([
        { "id": "a\"b", "width": 1 },
        { "id": 7, "error": "why", "error_type": "InvalidJson" },
        { "width": 1 },
    ]);
    let body = negotiated_format("application/json", "")
        .join_records(RecordsStyle::Instances, answers())
        .unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body, json!({ "predictions": expected }));
    let reply = negotiated_format("application/jsonlines", "");
    let lines =
        String::from_utf8(reply.join_records(RecordsStyle::JsonLines, answers()).unwrap()).unwrap();
    assert!(lines.ends_with('\n'));
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(json!(lines), expected);
}

#[test]
fn lines_are_whole_lines_as_they_are_encoded_and_joined() {
    let reply = negotiated_format("application/jsonlines", "");
    let line = reply.encode(&RgbImage::new(5, 4), &test_segmentation(), &model_info()).unwrap();
    assert_eq!(line.split(|&byte| byte == b'\n').count(), 2);
    let answers = vec![(None, Ok(line.clone())), (Some("1".to_owned()), Ok(line))];
    let body = reply.join_records(RecordsStyle::JsonLines, answers).unwrap();
    let lines: Vec<_> = body.split_inclusive(|&byte| byte == b'\n').collect();
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|line| serde_json::from_slice::<Value>(line).is_ok()));
}

#[test]
fn where_all_records_are_refused_the_first_reason_is_that_of_the_whole() {
    let reply = negotiated_format("application/json", "");
    let answers = || {
        let reasons = [ErrorType::UndecodableImage, ErrorType::InvalidJson];
        reasons.map(|error_type| (None, Err(api_error(error_type)))).into()
    };
    for style in [RecordsStyle::Instances, RecordsStyle::JsonLines, RecordsStyle::Single] {
        let whole = reply.join_records(style, answers()).unwrap_err();
        assert_eq!(whole.error_type(), ErrorType::UndecodableImage);
    }
    assert!(reply.join_records(RecordsStyle::Instances, Vec::new()).is_err());
}

#[test]
fn a_lone_record_is_answered_in_any_form() {
    let one = |bytes: &[u8]| vec![(Some("3".to_owned()), Ok(bytes.to_vec()))];
    let json = negotiated_format("application/json", "")
        .join_records(RecordsStyle::Single, one(b"{\"width\":1}"));
    assert_eq!(json.unwrap(), b"{\"id\":3,\"width\":1}");
    let png =
        negotiated_format("image/png", "").join_records(RecordsStyle::Single, one(b"\x89PNG"));
    assert_eq!(png.unwrap(), b"\x89PNG");
}

fn ids() -> impl Strategy<Value = GrayImage> {
    (1_u32..12, 1_u32..12).prop_flat_map(|(width, height)| {
        let ids = proptest::collection::vec(0_u8..3, (width * height) as usize);
        ids.prop_map(move |ids| GrayImage::from_raw(width, height, ids).unwrap())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_mask_is_had_back_from_json(ids in ids()) {
        let options = JsonOptions { tolerance_px: 0.0, brush_rle: true, background: true, ..JsonOptions::default() };
        let told = in_json(&ids, &options);
        let (width, height) = ids.dimensions();
        let mut pixels = 0;
        for class in told["classes"].as_array().unwrap() {
            let id = class["id"].as_u64().unwrap() as u8;
            let runs = Runs::from_class(&ids, id);
            pixels += class["pixels"].as_u64().unwrap();
            prop_assert_eq!(class["pixels"].as_u64().unwrap(), runs.area());
            let counts = class["rle"]["counts"].as_str().unwrap();
            prop_assert_eq!(&coco_rle::decode_compressed(counts, width, height).unwrap(), &runs);
            let brush: Vec<u8> = serde_json::from_value(class["brush_rle"].clone()).unwrap();
            prop_assert_eq!(&brush_rle::decode_brush_rle(&brush, width, height).unwrap(), &runs);
            let mut drawn = Runs::new(width, height);
            for polygon in class["polygons"].as_array().unwrap() {
                let outline = Outline {
                    outer: serde_json::from_value(polygon["outer"].clone()).unwrap(),
                    holes: serde_json::from_value(polygon["holes"].clone()).unwrap(),
                };
                drawn = drawn.union(&outline.rasterize(width, height).unwrap());
            }
            prop_assert_eq!(&drawn, &runs);
        }
        prop_assert_eq!(pixels, u64::from(width * height));
    }

    #[test]
    fn smaller_parts_than_asked_for_have_no_outline(ids in ids(), min_area in 0_u64..8) {
        let exact = JsonOptions { tolerance_px: 0.0, ..JsonOptions::default() };
        let all = in_json(&ids, &exact);
        let some = in_json(&ids, &JsonOptions { min_area_px: min_area, ..exact.clone() });
        let simple = in_json(&ids, &JsonOptions { min_area_px: min_area, ..JsonOptions::default() });
        for (at, class) in all["classes"].as_array().unwrap().iter().enumerate() {
            let Some(polygons) = class["polygons"].as_array() else { continue };
            let area = |polygon: &&Value| {
                let outline = Outline {
                    outer: serde_json::from_value(polygon["outer"].clone()).unwrap(),
                    holes: serde_json::from_value(polygon["holes"].clone()).unwrap(),
                };
                outline.rasterize(ids.width(), ids.height()).unwrap().area() >= min_area
            };
            let expected: Vec<_> = polygons.iter().filter(area).cloned().collect();
            let simple = simple["classes"][at]["polygons"].as_array().unwrap().len();
            prop_assert_eq!(simple, expected.len());
            prop_assert_eq!(&some["classes"][at]["polygons"], &json!(expected));
        }
    }
}
