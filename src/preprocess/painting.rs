//! Painting of an image's regions into one mask, and what became of each region.

use image::GrayImage;

use super::classes::Classes;
use crate::annotations::runs::Runs;
use crate::error::Error;

/// Class of a region with its place in the painting order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RegionClass {
    /// Rank of the label; regions of higher rank cover the others.
    pub rank: usize,
    pub id: u8,
}

/// Region whose pixels are known.
#[derive(Debug)]
pub(super) struct DrawnRegion {
    /// Name of the region in messages, such as `region ab12 (car)`.
    pub name: String,
    pub class: RegionClass,
    pub runs: Runs,
    /// Number of the group within which the file keeps the order of regions; `None` if it keeps
    /// the order of all regions.
    pub order_group: Option<u32>,
}

/// Regions of one image by what became of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RegionOutcomes {
    /// Number of regions that cover at least one pixel of the image.
    pub drawn: usize,
    /// Regions that are not in the mask, one text each: the region and the reason.
    pub left_out: Vec<String>,
    /// Drawn regions of which no pixel of their class is left, because later regions cover them.
    pub hidden: Vec<String>,
    /// Pairs of overlapping regions whose order the file does not hold, one text each.
    pub unordered: Vec<String>,
}

/// Mask with the outcome of each region.
#[derive(Debug)]
pub(super) struct PaintedRegions {
    /// Class id of each pixel.
    pub class_ids: GrayImage,
    pub outcomes: RegionOutcomes,
    /// Regions that have a pixel of their class in the mask.
    pub visible: Vec<DrawnRegion>,
}

impl RegionOutcomes {
    /// Adds the outcomes of another annotation of the same image.
    pub(super) fn append(&mut self, mut other: Self) {
        self.drawn += other.drawn;
        self.left_out.append(&mut other.left_out);
        self.hidden.append(&mut other.hidden);
        self.unordered.append(&mut other.unordered);
    }
}

/// Paints regions in ascending rank, and regions of equal rank in their order, so that later ones
/// cover earlier ones. `size` is the image's (width, height) in pixels.
///
/// Every region must cover a pixel; `left_out` names those that do not, and becomes part of the
/// outcomes.
pub(super) fn paint_regions(
    mut regions: Vec<DrawnRegion>,
    left_out: Vec<String>,
    size: (u32, u32),
) -> PaintedRegions {
    let unordered = find_unordered_overlaps(&regions);
    regions.sort_by_key(|region| region.class.rank);
    let mut class_ids = GrayImage::new(size.0, size.1);
    for region in &regions {
        region.runs.paint(&mut class_ids, region.class.id);
    }
    let drawn = regions.len();
    let mut hidden = Vec::new();
    let mut visible = Vec::new();
    for region in regions {
        if region.runs.contains_class(&class_ids, region.class.id) {
            visible.push(region);
        } else {
            hidden.push(format!("{} is covered by later regions", region.name));
        }
    }
    let outcomes = RegionOutcomes { drawn, left_out, hidden, unordered };
    PaintedRegions { class_ids, outcomes, visible }
}

/// Regions of one class whose order among each other the file holds.
struct OrderedBucket<'a> {
    order_group: u32,
    class: RegionClass,
    name: &'a str,
    runs: Runs,
}

/// Returns a text for each pair of classes whose regions overlap although the file does not hold
/// which of them is on top. Regions of one class, and of different ranks, need no order.
fn find_unordered_overlaps(regions: &[DrawnRegion]) -> Vec<String> {
    let mut buckets: Vec<OrderedBucket<'_>> = Vec::new();
    for region in regions {
        let Some(order_group) = region.order_group else { continue };
        let bucket = buckets
            .iter_mut()
            .find(|bucket| bucket.order_group == order_group && bucket.class == region.class);
        match bucket {
            Some(bucket) => bucket.runs = bucket.runs.union(&region.runs),
            None => buckets.push(OrderedBucket {
                order_group,
                class: region.class,
                name: &region.name,
                runs: region.runs.clone(),
            }),
        }
    }
    let mut overlaps = Vec::new();
    for (index, upper) in buckets.iter().enumerate() {
        for lower in &buckets[..index] {
            let is_decided = upper.order_group == lower.order_group
                || upper.class.id == lower.class.id
                || upper.class.rank != lower.class.rank;
            if !is_decided && upper.runs.intersects(&lower.runs) {
                overlaps.push(format!("{} over {}", upper.name, lower.name));
            }
        }
    }
    overlaps
}

/// Returns the class of a region with these labels. A region with several labels gets the label
/// that would be painted last.
///
/// # Errors
/// No label, or one that the labeling configuration lacks. The text follows "has the ".
pub(super) fn find_top_class(labels: &[String], classes: &Classes) -> Result<RegionClass, String> {
    let mut top: Option<RegionClass> = None;
    for label in labels {
        let class = find_region_class(label, classes).map_err(|error| error.to_string())?;
        if top.is_none_or(|top| class.rank >= top.rank) {
            top = Some(class);
        }
    }
    top.ok_or_else(|| "no label".to_owned())
}

/// Returns the class of a label and its rank, or an error that names the labels there are.
pub(super) fn find_region_class(label: &str, classes: &Classes) -> Result<RegionClass, Error> {
    Ok(RegionClass { rank: classes.rank(label), id: classes.class_id(label)? })
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;

    fn region(
        name: &str,
        (rank, id): (usize, u8),
        pixels: Range<u32>,
        order_group: Option<u32>,
    ) -> DrawnRegion {
        let runs = Runs::from_sorted(8, 1, std::iter::once(pixels));
        DrawnRegion { name: name.to_owned(), class: RegionClass { rank, id }, runs, order_group }
    }

    #[test]
    fn a_region_without_a_pixel_of_its_class_is_told_as_hidden() {
        let regions = vec![
            region("below", (0, 1), 1..3, None),
            region("same class", (0, 2), 2..3, None),
            region("above", (0, 2), 0..4, None),
        ];
        let painted = paint_regions(regions, vec!["region x".to_owned()], (8, 1));
        assert_eq!(painted.class_ids.as_raw(), &[2, 2, 2, 2, 0, 0, 0, 0]);
        assert_eq!(
            painted.outcomes,
            RegionOutcomes {
                drawn: 3,
                left_out: vec!["region x".to_owned()],
                hidden: vec!["below is covered by later regions".to_owned()],
                unordered: Vec::new(),
            }
        );
    }

    #[test]
    fn a_higher_rank_is_painted_over_a_later_region() {
        let regions = vec![region("car", (1, 1), 0..2, None), region("road", (0, 2), 0..4, None)];
        let painted = paint_regions(regions, Vec::new(), (8, 1));
        assert_eq!(painted.class_ids.as_raw()[..5], [1, 1, 2, 2, 0]);
        assert!(painted.outcomes.hidden.is_empty());
    }

    #[test]
    fn overlaps_whose_order_is_lost_are_told() {
        let polygon = |id, pixels| region("polygon", (0, id), pixels, Some(0));
        let brush = |rank, id, pixels| region("brush", (rank, id), pixels, Some(1));
        for (second, expected) in [
            (brush(0, 2, 3..5), vec!["brush over polygon"]),
            // Another part of the image, the same class, and a priority need no order.
            (brush(0, 2, 5..7), vec![]),
            (brush(0, 1, 3..5), vec![]),
            (brush(1, 2, 3..5), vec![]),
            (region("other", (0, 2), 3..5, Some(0)), vec![]),
            (region("other", (0, 2), 3..5, None), vec![]),
        ] {
            let regions = vec![polygon(1, 0..1), polygon(1, 2..4), second];
            assert_eq!(paint_regions(regions, Vec::new(), (8, 1)).outcomes.unordered, expected);
        }
    }
}
