//! Regions for the prompt of an annotator: what the model sees at a point or within an area.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::annotations::Runs;
use crate::annotations::contours::trace_outlines;
use crate::annotations::label_studio::read_regions;
use crate::annotations::shapes::FillRule;
use crate::preannotation::control::ControlPlan;
use crate::preannotation::prediction::{RegionOptions, encode_region};
use crate::preannotation::segmenter::PredictedMask;

/// A region that an annotator drew for the model.
#[derive(Debug, Deserialize)]
struct PromptRegion {
    #[serde(rename = "type", default)]
    region_type: String,
    #[serde(default)]
    value: PromptValue,
}

/// The value of such a region: of a point its place in percent, and the label under the region's type.
#[derive(Debug, Default, Deserialize)]
struct PromptValue {
    x: Option<f64>,
    y: Option<f64>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

impl PromptRegion {
    fn label(&self) -> Option<&str> {
        for key in [self.region_type.as_str(), "labels"] {
            if let Some(label) = self.value.others.get(key).and_then(|labels| labels[0].as_str()) {
                return Some(label);
            }
        }
        None
    }

    fn is_point(&self) -> bool {
        matches!(self.region_type.as_str(), "keypointlabels" | "keypoint")
    }
}

/// Returns the regions of a mask for a prompt, in Label Studio's JSON. A point asks for the connected part
/// of its label's class under it; an area for the pixels of that class within it. Without a label that is a
/// class of the model, the predicted class counts: the one under the point, or the most frequent one of the
/// area that is not the background. Nothing there is no region.
pub(super) fn answer_prompt(
    prompt: &Value,
    mask: &PredictedMask,
    plan: &ControlPlan,
    options: &RegionOptions,
) -> Vec<Box<RawValue>> {
    let mut regions = Vec::new();
    for result in prompt["result"].as_array().into_iter().flatten() {
        let Ok(region) = PromptRegion::deserialize(result) else { continue };
        let wanted_class = region.label().and_then(|label| find_class(plan, label));
        let found = if region.is_point() {
            find_under_point(&region, wanted_class, mask)
        } else {
            find_within_area(result, wanted_class, mask)
        };
        let Some((class, pixels)) = found else { continue };
        let own_label = plan.labels.get(usize::from(class)).and_then(Option::as_deref);
        let Some(label) = region.label().filter(|label| is_label(plan, label)).or(own_label) else {
            continue;
        };
        let number = regions.len();
        regions.extend(encode_region(&pixels, class, label, number, mask, plan, options));
    }
    regions
}

fn find_class(plan: &ControlPlan, label: &str) -> Option<u8> {
    let index = plan.labels.iter().position(|known| known.as_deref() == Some(label))?;
    u8::try_from(index).ok()
}

/// Returns true if regions of the control may have a label.
fn is_label(plan: &ControlPlan, label: &str) -> bool {
    plan.labels.iter().any(|known| known.as_deref() == Some(label))
}

/// Returns the class under a point, and the connected pixels of that class around it.
fn find_under_point(
    region: &PromptRegion,
    wanted_class: Option<u8>,
    mask: &PredictedMask,
) -> Option<(u8, Runs)> {
    let (width, height) = mask.ids.dimensions();
    let to_pixel = |percent: f64, side: u32| {
        let position = (percent / 100.0 * f64::from(side)).floor();
        (0.0..=f64::from(side))
            .contains(&position)
            .then(|| (position as u32).min(side.saturating_sub(1)))
    };
    let x = to_pixel(region.value.x?, width)?;
    let y = to_pixel(region.value.y?, height)?;
    let class = mask.ids.get_pixel_checked(x, y)?.0[0];
    if wanted_class.is_some_and(|wanted| wanted != class) {
        return None;
    }
    let of_class = Runs::from_class(&mask.ids, class);
    let point = y * width + x;
    for outline in trace_outlines(&of_class, 0.0) {
        let part = outline.rasterize(width, height).ok()?;
        if part.iter().any(|range| range.contains(&point)) {
            return Some((class, part));
        }
    }
    None
}

/// Returns the class within an area, and its pixels there.
fn find_within_area(
    result: &Value,
    wanted_class: Option<u8>,
    mask: &PredictedMask,
) -> Option<(u8, Runs)> {
    let (width, height) = mask.ids.dimensions();
    // The reader takes annotations, of which the prompt is one.
    let task = json!({ "id": 0, "data": {}, "annotations": [{ "id": 0, "result": [result] }] });
    let read = read_regions(task.to_string().as_bytes(), 0).ok()?;
    let area = read.regions.first()?.rasterize(width, height, FillRule::NonZero).ok()?;
    let ids = mask.ids.as_raw();
    let mut counts = [0_u64; 256];
    for range in area.iter() {
        for &id in &ids[range.start as usize..range.end as usize] {
            counts[usize::from(id)] += 1;
        }
    }
    let class = match wanted_class {
        Some(class) => class,
        None => (1..=u8::MAX).max_by_key(|&id| (counts[usize::from(id)], std::cmp::Reverse(id)))?,
    };
    if counts[usize::from(class)] == 0 {
        return None;
    }
    let mut ranges = Vec::new();
    for range in area.iter() {
        for pixel in range {
            if ids[pixel as usize] == class {
                ranges.push(pixel..pixel + 1);
            }
        }
    }
    Some((class, Runs::from_sorted(width, height, ranges)))
}
