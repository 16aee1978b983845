use std::sync::Arc;
use std::time::Duration;

use image::{GrayImage, Luma};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::annotations::label_config::ImageTag;
use crate::annotations::label_studio::read_regions;
use crate::annotations::shapes::FillRule;
use crate::preannotation::ModelVersion;

const EXACT: RegionOptions = RegionOptions { max_regions: 100, min_area_px: 0, tolerance_px: 0.0 };

fn plan(kind: RegionKind) -> ControlPlan {
    ControlPlan {
        kind,
        from_name: "tag".to_owned(),
        to_name: "img".to_owned(),
        image_tag: ImageTag { name: "img".to_owned(), value: "$image".to_owned(), is_list: false },
        labels: vec![None, Some("car".to_owned()), Some("árvore".to_owned())],
    }
}

fn mask(ids: GrayImage, pixel_entropy: Option<Vec<f32>>) -> PredictedMask {
    let model = Arc::new(ModelVersion { name: "v1".to_owned(), class_names: Vec::new() });
    PredictedMask { ids, pixel_entropy, model, compute_time: Duration::ZERO, queue_place: None }
}

fn results(prediction: &Prediction) -> Vec<Value> {
    prediction.result.iter().map(|region| serde_json::from_str(region.get()).unwrap()).collect()
}

/// Paints the regions of a prediction that an annotator accepted as they are, as `preprocess` does.
fn paint_accepted(prediction: &Prediction, width: u32, height: u32) -> GrayImage {
    let task = json!({"id": 1, "data": {"image": "a.png"}, "annotations": [{"id": 2, "result": results(prediction)}]});
    let read = read_regions(task.to_string().as_bytes(), 0).unwrap();
    assert_eq!(read.skipped_reasons, [""; 0]);
    let mut ids = GrayImage::new(width, height);
    for region in &read.regions {
        let class = if region.labels == ["car"] { 1 } else { 2 };
        region.rasterize(width, height, FillRule::NonZero).unwrap().paint(&mut ids, class);
    }
    ids
}

/// Returns masks of three classes with parts in each other's holes, stripes and single pixels.
fn any_ids() -> impl Strategy<Value = GrayImage> {
    let square = (0..30_u32, 0..30_u32, 1..20_u32, 1..20_u32, 0..3_u8);
    (1..33_u32, 1..33_u32, proptest::collection::vec(square, 0..9)).prop_map(
        |(width, height, squares)| {
            let mut ids = GrayImage::new(width, height);
            for (left, top, wide, high, class) in squares {
                for y in top..(top + high).min(height) {
                    for x in left..(left + wide).min(width) {
                        ids.put_pixel(x, y, Luma([class]));
                    }
                }
            }
            ids
        },
    )
}

proptest! {
    #[test]
    fn accepted_predictions_are_the_mask_again(ids in any_ids()) {
        let (width, height) = ids.dimensions();
        let mask = mask(ids, None);
        for kind in [RegionKind::Brush, RegionKind::Bitmask, RegionKind::Polygon] {
            let prediction = build_prediction(&mask, &plan(kind), &RegionOptions { max_regions: 10_000, ..EXACT }).unwrap();
            prop_assert_eq!(prediction.dropped_regions, 0);
            prop_assert_eq!(&paint_accepted(&prediction, width, height), &mask.ids);
        }
    }
}

#[test]
fn a_region_is_what_label_studio_stores() {
    let ids = GrayImage::from_raw(2, 1, vec![0, 2]).unwrap();
    let mask = mask(ids, Some(vec![0.5, 0.25]));
    let brush = build_prediction(&mask, &plan(RegionKind::Brush), &EXACT).unwrap();
    let rle = brush_rle::encode_brush_rle(&Runs::from_class(&mask.ids, 2));
    assert_eq!(brush.score, Some(0.625));
    let expected = json!({
        "id": "c002r00000", "type": "brushlabels", "from_name": "tag", "to_name": "img",
        "original_width": 2, "original_height": 1, "image_rotation": 0, "score": 0.75,
        "value": {"format": "rle", "rle": rle, "brushlabels": ["árvore"]},
    });
    assert_eq!(results(&brush), [expected]);
    let polygon = build_prediction(&mask, &plan(RegionKind::Polygon), &EXACT).unwrap();
    let points = json!([[50.0, 0.0], [100.0, 0.0], [100.0, 100.0], [50.0, 100.0]]);
    let value = json!({"points": points, "closed": true, "polygonlabels": ["árvore"]});
    assert_eq!(results(&polygon)[0]["value"], value);
    let bitmask = build_prediction(&mask, &plan(RegionKind::Bitmask), &EXACT).unwrap();
    assert_eq!(results(&bitmask)[0]["value"]["bitmasklabels"], json!(["árvore"]));
}

#[test]
fn the_largest_regions_are_kept_and_the_others_counted() {
    // Parts of 1, 4, 2 and 3 pixels.
    let row = [1, 0, 1, 1, 1, 1, 0, 1, 1, 0, 1, 1, 1];
    let mask = mask(GrayImage::from_raw(13, 1, row.to_vec()).unwrap(), None);
    let plan = plan(RegionKind::Polygon);
    let widths = |options: &RegionOptions| {
        let prediction = build_prediction(&mask, &plan, options).unwrap();
        let mut widths = Vec::new();
        for region in results(&prediction) {
            let left = region["value"]["points"][0][0].as_f64().unwrap();
            let right = region["value"]["points"][1][0].as_f64().unwrap();
            widths.push(((right - left) * 0.13).round() as u32);
        }
        (widths, prediction.dropped_regions)
    };
    assert_eq!(widths(&EXACT), (vec![1, 4, 2, 3], 0));
    assert_eq!(widths(&RegionOptions { max_regions: 2, ..EXACT }), (vec![4, 3], 2));
    assert_eq!(widths(&RegionOptions { min_area_px: 2, ..EXACT }), (vec![4, 2, 3], 1));
}

#[test]
fn a_mask_without_classes_that_have_labels_is_an_empty_prediction() {
    let mask = mask(GrayImage::new(3, 3), Some(vec![0.0; 9]));
    for kind in [RegionKind::Brush, RegionKind::Bitmask, RegionKind::Polygon] {
        let prediction = build_prediction(&mask, &plan(kind), &EXACT).unwrap();
        assert!(prediction.result.is_empty());
        assert_eq!(prediction.score, Some(1.0));
    }
}
