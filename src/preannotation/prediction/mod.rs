//! From a mask to the regions and the score of a prediction.

use serde_json::value::RawValue;

use super::control::{ControlPlan, RegionKind};
use super::segmenter::PredictedMask;
use crate::annotations::contours::{Outline, trace_outlines};
use crate::annotations::label_studio::{PredictedGeometry, PredictedRegion};
use crate::annotations::{Runs, bitmask, brush_rle};
use crate::error::{Error, Result};

/// Limits of the regions of a prediction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RegionOptions {
    /// Largest number of regions of a task, of which the largest are kept: many regions of a brush freeze
    /// Label Studio's editor.
    pub max_regions: usize,
    /// Smallest region, in pixels.
    pub min_area_px: u64,
    /// Error allowed in the outline of a polygon, in pixels; 0 is exact.
    pub tolerance_px: f64,
}

/// Prediction for a task, without its id.
#[derive(Debug)]
pub struct Prediction {
    /// Regions in Label Studio's JSON, none if nothing was found.
    pub result: Vec<Box<RawValue>>,
    /// Confidence, 0 to 1, by which Label Studio chooses the next task: 1 less the mean normalized entropy
    /// of all pixels. None if the model does not tell its probabilities.
    pub score: Option<f64>,
    /// Regions that were left out, because they are too small or too many.
    pub dropped_regions: usize,
}

/// Pixels that become a region.
struct RegionPixels<'a> {
    class: usize,
    label: &'a str,
    area: u64,
    shape: RegionShape,
}

enum RegionShape {
    /// All pixels of a class.
    Mask(Runs),
    /// Outline of a part of a class, simplified, and the pixels within the exact one.
    Part(Outline, Runs),
}

/// Makes the regions of a mask: one per class for brushes and bitmasks, one per part of a class for
/// polygons, whose holes are cut open.
pub fn build_prediction(
    mask: &PredictedMask,
    plan: &ControlPlan,
    options: &RegionOptions,
) -> Result<Prediction> {
    let mut regions = Vec::new();
    for (class, label) in plan.labels.iter().enumerate() {
        let (Some(label), Ok(id)) = (label, u8::try_from(class)) else { continue };
        let runs = Runs::from_class(&mask.ids, id);
        if runs.is_empty() {
            continue;
        }
        if plan.kind == RegionKind::Polygon {
            add_parts(&runs, class, label, options, &mut regions)?;
        } else {
            let area = runs.area();
            regions.push(RegionPixels { class, label, area, shape: RegionShape::Mask(runs) });
        }
    }
    let found = regions.len();
    keep_largest(&mut regions, options);
    let dropped_regions = found - regions.len();
    let entropies = mask.pixel_entropy.as_deref();
    let mut result = Vec::with_capacity(regions.len());
    for (number, region) in regions.iter().enumerate() {
        result.push(write_region(region, number, mask.ids.dimensions(), plan, entropies)?);
    }
    let whole = 0..mask.ids.as_raw().len() as u32;
    let score = entropies.and_then(|entropies| confidence(entropies, [whole].into_iter()));
    Ok(Prediction { result, score, dropped_regions })
}

/// Writes pixels of a class as regions in Label Studio's JSON, with this label: one region, or for polygons
/// one per part. `number` is that of the first region within its prediction.
pub(super) fn encode_region(
    pixels: &Runs,
    class: u8,
    label: &str,
    number: usize,
    mask: &PredictedMask,
    plan: &ControlPlan,
    options: &RegionOptions,
) -> Vec<Box<RawValue>> {
    let class = usize::from(class);
    let mut regions = Vec::new();
    if plan.kind == RegionKind::Polygon {
        // Outlines of pixels within the image can be filled.
        if add_parts(pixels, class, label, options, &mut regions).is_err() {
            return Vec::new();
        }
        keep_largest(&mut regions, options);
    } else {
        let shape = RegionShape::Mask(pixels.clone());
        regions.push(RegionPixels { class, label, area: pixels.area(), shape });
    }
    let (size, entropies) = (mask.ids.dimensions(), mask.pixel_entropy.as_deref());
    let mut written = Vec::new();
    for (index, region) in regions.iter().enumerate() {
        written.extend(write_region(region, number + index, size, plan, entropies));
    }
    written
}

/// Adds the parts of a class whose pixels are connected by their sides.
fn add_parts<'a>(
    runs: &Runs,
    class: usize,
    label: &'a str,
    options: &RegionOptions,
    regions: &mut Vec<RegionPixels<'a>>,
) -> Result<()> {
    let simplified = trace_outlines(runs, options.tolerance_px);
    let exact =
        if options.tolerance_px > 0.0 { trace_outlines(runs, 0.0) } else { simplified.clone() };
    for (outline, exact) in simplified.into_iter().zip(exact) {
        let pixels = exact
            .rasterize(runs.width(), runs.height())
            .map_err(|cause| Error::internal(format!("an outline {cause}")))?;
        let area = pixels.area();
        regions.push(RegionPixels {
            class,
            label,
            area,
            shape: RegionShape::Part(outline, pixels),
        });
    }
    Ok(())
}

/// Keeps the largest regions that are large enough, in their order.
fn keep_largest(regions: &mut Vec<RegionPixels<'_>>, options: &RegionOptions) {
    regions.retain(|region| region.area >= options.min_area_px);
    if regions.len() <= options.max_regions {
        return;
    }
    let mut order: Vec<usize> = (0..regions.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(regions[index].area));
    let mut is_kept = vec![false; regions.len()];
    for &index in order.iter().take(options.max_regions) {
        is_kept[index] = true;
    }
    let mut kept = is_kept.iter();
    regions.retain(|_| kept.next() == Some(&true));
}

/// Writes a region in Label Studio's JSON. `number` tells it from the others of the prediction.
fn write_region(
    region: &RegionPixels<'_>,
    number: usize,
    size: (u32, u32),
    plan: &ControlPlan,
    entropies: Option<&[f32]>,
) -> Result<Box<RawValue>> {
    let (geometry, pixels) = match (&region.shape, plan.kind) {
        (RegionShape::Part(outline, pixels), _) => {
            (PredictedGeometry::Polygon(outline.cut_open()), pixels)
        }
        (RegionShape::Mask(runs), RegionKind::Bitmask) => {
            (PredictedGeometry::Bitmask(bitmask::encode_bitmask(runs)), runs)
        }
        (RegionShape::Mask(runs), _) => {
            (PredictedGeometry::Brush(brush_rle::encode_brush_rle(runs)), runs)
        }
    };
    let region = PredictedRegion {
        id: &format!("c{:03}r{number:05}", region.class),
        from_name: &plan.from_name,
        to_name: &plan.to_name,
        label: region.label,
        size,
        score: entropies.and_then(|entropies| confidence(entropies, pixels.iter())),
        geometry,
    };
    serde_json::value::to_raw_value(&region)
        .map_err(|cause| Error::internal(format!("a region cannot be written: {cause}")))
}

/// Returns 1 less the mean entropy over ranges of pixels, 0 to 1, and none if there are no pixels.
fn confidence(
    entropies: &[f32],
    ranges: impl Iterator<Item = std::ops::Range<u32>>,
) -> Option<f64> {
    let mut sum = 0.0;
    let mut count = 0;
    for range in ranges {
        let pixels = entropies.get(range.start as usize..range.end as usize)?;
        let mut part = 0.0;
        for &entropy in pixels {
            part += f64::from(entropy);
        }
        sum += part;
        count += pixels.len();
    }
    if count == 0 {
        return None;
    }
    Some((1.0 - sum / count as f64).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests;
