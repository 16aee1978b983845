//! The answer in JSON: area, confidence, outlines and run lengths of each class. For example, of an
//! image of 6 x 4 pixels with the options `rle=both,tolerance=0`:
//!
//! ```json
//! {
//!   "width": 6,
//!   "height": 4,
//!   "classes": [
//!     {"id": 0, "name": "background", "color": "#000000", "pixels": 16,
//!      "share": 0.6666666666666666, "confidence": 0.25},
//!     {"id": 2, "name": "road", "color": "#ffff00", "pixels": 8,
//!      "share": 0.3333333333333333, "confidence": 0.25,
//!      "polygons": [{"outer": [[1, 1], [4, 1], [4, 4], [1, 4]],
//!                    "holes": [[[2, 2], [2, 3], [3, 3], [3, 2]]]}],
//!      "rle": {"size": [4, 6], "counts": "531N00027"},
//!      "brush_rle": [0, 0, 0, 96, 57, 27, 254, 27, 0, 183, 255, 108, 2, 63, 248, 192, 35, 255,
//!      182, 1, 111, 254, 112, 0]}
//!   ]
//! }
//! ```
//!
//! - `width` and `height` are those of the upright image, in pixels.
//! - `classes` holds the classes that occur, by id. `pixels` is the area of the class, and `share`
//!   the area divided by that of the image, 0 to 1.
//! - `confidence` is the mean probability, 0 to 1, over the pixels of the class; null if it is no
//!   number.
//! - `polygons` are the parts of the class. Pixels of one part are joined by their sides, and parts
//!   come in the order of their first pixels. Points are `[x, y]` in pixels: corners of pixels
//!   from `[0, 0]`, the upper left corner of the image, to `[width, height]`; the last point is
//!   joined to the first. A part covers the inside of `outer` (clockwise as seen) without its `holes`. For
//!   Label Studio multiply x by 100 / `width` and y by 100 / `height`; a `segmentation` of COCO is
//!   `outer` as one flat list. The options `tolerance` and `min_area` reduce points and parts.
//! - `rle` is COCO's compressed form, which pycocotools reads as it is.
//! - `brush_rle` is Label Studio's: the `rle` of a `brushlabels` region with `"format": "rle"`,
//!   whose `original_width` and `original_height` are `width` and `height`.
//!
//! Class 0 is the background or unlabeled, and has outlines and run lengths only if the option
//! `background` asks for them. A value that an option leaves out has no key.

use std::borrow::Cow;

use serde::Serialize;

use super::model_class_color;
use crate::annotations::contours::{Outline, trace_outlines};
use crate::annotations::{Runs, brush_rle, coco_rle};
use crate::inference::{ModelInfo, Segmentation};
use crate::serve::api_error::{ApiError, ErrorType};
use crate::serve::request::options::JsonOptions;

/// Most runs of equal ids in a row of pixels, over all classes whose geometry is encoded. Noise has
/// one run per pixel, and an answer of gigabytes is of no use; masks of photographs of 64
/// megapixels stay far below.
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
    name: Cow<'a, str>,
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
    /// Rows and columns, in the order of pycocotools.
    size: [u32; 2],
    counts: String,
}

/// Encodes the answer as one object.
pub(super) fn encode_json(
    segmentation: &Segmentation,
    info: &ModelInfo,
    options: &JsonOptions,
) -> Result<Vec<u8>, ApiError> {
    let (width, height) = segmentation.ids.dimensions();
    let counts = count_classes(&segmentation.ids);
    check_run_count(&counts, options)?;
    let mut classes = Vec::new();
    for (id, count) in (0..=u8::MAX).zip(counts) {
        if count.pixels > 0 {
            classes.push(build_class(segmentation, info, options, id, count.pixels));
        }
    }
    let answer = JsonAnswer { width, height, classes };
    serde_json::to_vec(&answer).map_err(|error| {
        ApiError::new(
            ErrorType::InferenceFailed,
            format!("the answer could not be written: {error}"),
        )
    })
}

/// Makes the entry of a class that covers `pixels` pixels.
fn build_class<'a>(
    segmentation: &Segmentation,
    info: &'a ModelInfo,
    options: &JsonOptions,
    id: u8,
    pixels: u64,
) -> JsonClass<'a> {
    let (width, height) = segmentation.ids.dimensions();
    let total_pixels = u64::from(width) * u64::from(height);
    let [red, green, blue] = model_class_color(info, id);
    let name = match info.class_names.get(usize::from(id)) {
        Some(name) => Cow::Borrowed(name.as_str()),
        None => Cow::Owned(format!("class {id}")),
    };
    let confidence = segmentation.confidence.get(usize::from(id)).copied();
    let mut class = JsonClass {
        id,
        name,
        color: format!("#{red:02x}{green:02x}{blue:02x}"),
        pixels,
        share: pixels as f64 / total_pixels as f64,
        confidence: confidence.filter(|confidence| confidence.is_finite()),
        polygons: None,
        rle: None,
        brush_rle: None,
    };
    if options.encodes_geometry(id) {
        let runs = Runs::from_class(&segmentation.ids, id);
        if options.polygons {
            class.polygons = Some(build_polygons(&runs, options));
        }
        if options.coco_rle {
            let counts = coco_rle::encode_compressed(&runs);
            class.rle = Some(JsonRle { size: [height, width], counts });
        }
        if options.brush_rle {
            class.brush_rle = Some(brush_rle::encode_brush_rle(&runs));
        }
    }
    class
}

/// The size of a class.
#[derive(Clone, Copy, Default)]
struct ClassCounts {
    pixels: u64,
    /// Runs of the class's id.
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

/// Refuses a mask with more runs than an answer may hold.
fn check_run_count(counts: &[ClassCounts], options: &JsonOptions) -> Result<(), ApiError> {
    let mut runs = 0;
    for (id, count) in (0..=u8::MAX).zip(counts) {
        if options.encodes_geometry(id) {
            runs += count.runs;
        }
    }
    if runs <= MAX_RUNS {
        return Ok(());
    }
    Err(ApiError::new(
        ErrorType::ReplyTooLarge,
        format!(
            "the mask is torn into {runs} stretches, and outlines and run lengths are told of up \
             to {MAX_RUNS}; ask \
             for image/png, or set polygons=false,rle=none in X-Amzn-SageMaker-Custom-Attributes"
        ),
    ))
}

fn build_polygons(runs: &Runs, options: &JsonOptions) -> Vec<JsonPolygon> {
    let parts = trace_outlines(runs, options.tolerance_px);
    if options.min_area_px <= 1 {
        return parts.into_iter().map(to_json_polygon).collect();
    }
    // Simplified outlines have other areas; the exact outlines come in the same order.
    let exact_parts =
        if options.tolerance_px > 0.0 { trace_outlines(runs, 0.0) } else { parts.clone() };
    let min_area = options.min_area_px as f64;
    let mut polygons = Vec::new();
    for (index, part) in parts.into_iter().enumerate() {
        if exact_parts.get(index).is_none_or(|exact| outline_area(exact) >= min_area) {
            polygons.push(to_json_polygon(part));
        }
    }
    polygons
}

/// Returns the area of an outline whose points are corners of pixels, in pixels.
fn outline_area(outline: &Outline) -> f64 {
    let mut hole_area = 0.0;
    for hole in &outline.holes {
        hole_area += ring_area(hole);
    }
    ring_area(&outline.outer) - hole_area
}

/// Returns the area within a ring by the shoelace formula.
fn ring_area(ring: &[[f64; 2]]) -> f64 {
    let mut doubled_area = 0.0;
    for (index, a) in ring.iter().enumerate() {
        let b = ring[(index + 1) % ring.len()];
        doubled_area += a[0] * b[1] - b[0] * a[1];
    }
    doubled_area.abs() / 2.0
}

fn to_json_polygon(outline: Outline) -> JsonPolygon {
    JsonPolygon {
        outer: to_corners(outline.outer),
        holes: outline.holes.into_iter().map(to_corners).collect(),
    }
}

/// Converts corners of pixels, which are whole numbers, to integers.
fn to_corners(ring: Vec<[f64; 2]>) -> Vec<[u32; 2]> {
    ring.into_iter().map(|[x, y]| [x as u32, y as u32]).collect()
}
