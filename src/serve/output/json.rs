//! What was found, in JSON: area, confidence, outlines and run lengths of each class. Of an image of 6 x 4 pixels, with
//! the options `rle=both,tolerance=0`:
//!
//! ```json
//! {
//!   "width": 6,
//!   "height": 4,
//!   "classes": [
//!     {"id": 0, "name": "background", "color": "#000000", "pixels": 16, "share": 0.6666666666666666,
//!      "confidence": 0.25},
//!     {"id": 2, "name": "road", "color": "#ffff00", "pixels": 8, "share": 0.3333333333333333,
//!      "confidence": 0.25,
//!      "polygons": [{"outer": [[1, 1], [4, 1], [4, 4], [1, 4]], "holes": [[[2, 2], [2, 3], [3, 3], [3, 2]]]}],
//!      "rle": {"size": [4, 6], "counts": "531N00027"},
//!      "brush_rle": [0, 0, 0, 96, 57, 27, 254, 27, 0, 183, 255, 108, 2, 63, 248, 192, 35, 255, 182, 1, 111,
//!      254, 112, 0]}
//!   ]
//! }
//! ```
//!
//! - `width` and `height` are those of the upright image, in pixels.
//! - `classes` holds those that occur, by id. `pixels` is their area; `share` is it as a part of the image, 0 to 1.
//! - `confidence` is the mean probability, 0 to 1, over the pixels of the class; null if that is no number.
//! - `polygons` are the parts of the class: joined by the sides of their pixels, in the order of their first pixels.
//!   Points are `[x, y]` in pixels, corners of pixels from `[0, 0]`, the upper left one of the image, to
//!   `[width, height]`; the last is joined to the first. Covered is what is inside of `outer` (clockwise as seen) and of
//!   none of its `holes`. For Label Studio multiply x by 100 / `width` and y by 100 / `height`; a `segmentation` of COCO
//!   is `outer` as one flat list. The options `tolerance` and `min_area` make them fewer and simpler.
//! - `rle` is COCO's, compressed: pycocotools takes it as it is.
//! - `brush_rle` is Label Studio's: the `rle` of a `brushlabels` region with `"format": "rle"`, whose `original_width`
//!   and `original_height` are `width` and `height`.
//!
//! Class 0 is the background (or what nobody labeled), and its outlines and run lengths are only told where the option
//! `background` asks for them. What an option leaves out has no key.

use serde::Serialize;

use super::super::options::JsonOptions;
use super::super::reply::{ApiError, ErrorType};
use super::model_class_color;
use crate::annotations::contours::{Outline, trace_outlines};
use crate::annotations::{Runs, brush_rle, coco_rle};
use crate::inference::{ModelInfo, Segmentation};

/// Stretches of equal ids in a row, of all classes whose geometry is told. Noise has one for every pixel, and an answer
/// of gigabytes would help nobody; masks of photographs at 64 megapixels stay far below.
const MAX_RUNS: u64 = 1 << 20;

#[derive(Serialize)]
struct JsonAnswer<'a> {
    width: u32,
    height: u32,
    classes: Vec<JsonClass<'a>>,
}

#[derive(Serialize)]
struct JsonClass<'a> {
    id: u8,
    name: std::borrow::Cow<'a, str>,
    color: String,
    pixels: u64,
    share: f64,
    confidence: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    polygons: Option<Vec<JsonPolygon>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rle: Option<JsonRle>,
    #[serde(skip_serializing_if = "Option::is_none")]
    brush_rle: Option<Vec<u8>>,
}

#[derive(Serialize)]
struct JsonPolygon {
    outer: Vec<[u32; 2]>,
    holes: Vec<Vec<[u32; 2]>>,
}

#[derive(Serialize)]
struct JsonRle {
    /// Rows and columns, as pycocotools has them.
    size: [u32; 2],
    counts: String,
}

/// The answer as one object.
pub(in super::super) fn encode_json(
    segmentation: &Segmentation,
    info: &ModelInfo,
    options: &JsonOptions,
) -> Result<Vec<u8>, ApiError> {
    let (width, height) = segmentation.ids.dimensions();
    let counts = count_classes(&segmentation.ids);
    let includes_geometry = |id: u8| id > 0 || options.background;
    if options.polygons || options.coco_rle || options.brush_rle {
        check_run_count(&counts, includes_geometry)?;
    }
    let total_pixels = u64::from(width) * u64::from(height);
    let present_classes = (0..=u8::MAX).zip(&counts).filter(|(_, count)| count.pixels > 0);
    let classes = present_classes.map(|(id, &ClassCounts { pixels, .. })| {
        let has_geometry =
            includes_geometry(id) && (options.polygons || options.coco_rle || options.brush_rle);
        let runs = has_geometry.then(|| Runs::from_class(&segmentation.ids, id));
        let runs = runs.as_ref();
        let [red, green, blue] = model_class_color(info, id);
        let name = info.class_names.get(usize::from(id)).map(String::as_str);
        let confidence = segmentation.confidence.get(usize::from(id)).copied();
        JsonClass {
            id,
            name: name.map_or_else(|| format!("class {id}").into(), Into::into),
            color: format!("#{red:02x}{green:02x}{blue:02x}"),
            pixels,
            share: pixels as f64 / total_pixels as f64,
            confidence: confidence.filter(|confidence| confidence.is_finite()),
            polygons: runs.filter(|_| options.polygons).map(|runs| build_polygons(runs, options)),
            rle: runs.filter(|_| options.coco_rle).map(|runs| JsonRle {
                size: [height, width],
                counts: coco_rle::encode_compressed(runs),
            }),
            brush_rle: runs.filter(|_| options.brush_rle).map(brush_rle::encode_brush_rle),
        }
    });
    let answer = JsonAnswer { width, height, classes: classes.collect() };
    serde_json::to_vec(&answer).map_err(|error| {
        ApiError::new(
            ErrorType::InferenceFailed,
            format!("the answer could not be written: {error}"),
        )
    })
}

/// How much there is of a class.
#[derive(Clone, Copy, Default)]
struct ClassCounts {
    pixels: u64,
    /// Stretches of its id.
    runs: u64,
}

fn count_classes(ids: &image::GrayImage) -> Vec<ClassCounts> {
    let mut counts = vec![ClassCounts::default(); 256];
    for run in ids.as_raw().chunk_by(|a, b| a == b) {
        let count = &mut counts[usize::from(run[0])];
        count.pixels += run.len() as u64;
        count.runs += 1;
    }
    counts
}

fn check_run_count(
    counts: &[ClassCounts],
    includes_geometry: impl Fn(u8) -> bool,
) -> Result<(), ApiError> {
    let included = (0..=u8::MAX).zip(counts).filter(|(id, _)| includes_geometry(*id));
    let runs: u64 = included.map(|(_, count)| count.runs).sum();
    if runs <= MAX_RUNS {
        return Ok(());
    }
    Err(ApiError::new(
        ErrorType::ReplyTooLarge,
        format!(
            "the mask is torn into {runs} stretches, and outlines and run lengths are told of up to {MAX_RUNS}; ask \
             for image/png, or set polygons=false,rle=none in X-Amzn-SageMaker-Custom-Attributes"
        ),
    ))
}

fn build_polygons(runs: &Runs, options: &JsonOptions) -> Vec<JsonPolygon> {
    let mut parts = trace_outlines(runs, options.tolerance_px);
    if options.min_area_px > 1 {
        // Simplified outlines have other areas; the exact ones are in the same order.
        let exact =
            if options.tolerance_px > 0.0 { trace_outlines(runs, 0.0) } else { parts.clone() };
        let mut areas = exact.iter().map(outline_area);
        parts.retain(|_| areas.next().is_none_or(|area| area >= options.min_area_px as f64));
    }
    parts.into_iter().map(to_json_polygon).collect()
}

/// What an outline with corners of pixels covers, in pixels.
fn outline_area(outline: &Outline) -> f64 {
    let ring_area = |ring: &Vec<[f64; 2]>| {
        let next = ring.iter().cycle().skip(1);
        let doubled_area: f64 = ring.iter().zip(next).map(|(a, b)| a[0] * b[1] - b[0] * a[1]).sum();
        doubled_area.abs() / 2.0
    };
    ring_area(&outline.outer) - outline.holes.iter().map(ring_area).sum::<f64>()
}

/// Corners are whole numbers, and are written as such.
fn to_json_polygon(outline: Outline) -> JsonPolygon {
    let to_integers = |ring: Vec<[f64; 2]>| {
        ring.into_iter().map(|point| point.map(|coordinate| coordinate as u32)).collect()
    };
    JsonPolygon {
        outer: to_integers(outline.outer),
        holes: outline.holes.into_iter().map(to_integers).collect(),
    }
}
