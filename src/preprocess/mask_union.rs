//! Combination of the masks of several annotations of one image, and what is lost by it.

use image::GrayImage;

use super::classes::Classes;
use super::painting::{DrawnRegion, RegionClass};
use super::select::AnnotationPolicy;
use crate::annotations::runs::Runs;
use crate::metrics::IGNORE_INDEX;

/// Combines masks of equal size as the policy says: painted one after another, or by a vote. `None`
/// without masks.
pub(super) fn combine_masks(
    masks: Vec<GrayImage>,
    policy: AnnotationPolicy,
    classes: &Classes,
) -> Option<GrayImage> {
    if policy != AnnotationPolicy::Union {
        return majority_vote(masks);
    }
    let mut ranks = [0_usize; 256];
    for (id, rank) in (0..=u8::MAX).zip(&mut ranks) {
        *rank = classes.id_rank(id);
    }
    unite_masks(masks, &ranks)
}

/// Paints masks over each other, the later on top. Background covers nothing, and a class is not
/// covered by one of lower rank; `ranks` are by class id.
fn unite_masks(masks: Vec<GrayImage>, ranks: &[usize; 256]) -> Option<GrayImage> {
    let mut masks = masks.into_iter();
    let mut united = masks.next()?;
    for mask in masks {
        for (pixel, &id) in united.iter_mut().zip(mask.iter()) {
            if id != 0 && (*pixel == 0 || ranks[usize::from(id)] >= ranks[usize::from(*pixel)]) {
                *pixel = id;
            }
        }
    }
    Some(united)
}

/// Returns for each pixel the class with the most votes among `masks`, or 255 for a tie. `None`
/// without masks.
fn majority_vote(mut masks: Vec<GrayImage>) -> Option<GrayImage> {
    if masks.len() < 2 {
        return masks.pop();
    }
    let (width, height) = masks[0].dimensions();
    let mut votes = [0_u32; 256];
    Some(GrayImage::from_fn(width, height, |x, y| {
        for mask in &masks {
            votes[usize::from(mask.get_pixel(x, y).0[0])] += 1;
        }
        let (mut most_votes, mut winner) = (0, IGNORE_INDEX);
        for mask in &masks {
            let class_id = mask.get_pixel(x, y).0[0];
            // Resets the count, so that each class is compared once and the table is zero for the
            // next pixel.
            let vote_count = std::mem::take(&mut votes[usize::from(class_id)]);
            if vote_count > most_votes {
                (most_votes, winner) = (vote_count, class_id);
            } else if vote_count == most_votes && vote_count > 0 {
                winner = IGNORE_INDEX;
            }
        }
        image::Luma([winner])
    }))
}

/// Returns a region for each class of a mask file, which has no regions of its own.
pub(super) fn list_mask_classes(
    class_ids: &GrayImage,
    location: &str,
    classes: &Classes,
) -> Vec<DrawnRegion> {
    let mut occurs = [false; 256];
    for &id in class_ids.as_raw() {
        occurs[usize::from(id)] = true;
    }
    let mut regions = Vec::new();
    for id in 1..=u8::MAX {
        if !occurs[usize::from(id)] {
            continue;
        }
        let class_name = match classes.names().get(usize::from(id)) {
            Some(name) => name.clone(),
            None => id.to_string(),
        };
        regions.push(DrawnRegion {
            name: format!("class {class_name} of {location}"),
            class: RegionClass { rank: 0, id },
            runs: Runs::from_class(class_ids, id),
            order_group: None,
        });
    }
    regions
}

/// Returns a text for each region of several annotations that has no pixel of its class in their
/// combined mask.
pub(super) fn find_lost_regions(visible: &[DrawnRegion], combined: &GrayImage) -> Vec<String> {
    let mut lost = Vec::new();
    for region in visible {
        if !region.runs.contains_class(combined, region.class.id) {
            lost.push(format!("{} is covered or outvoted by another annotation", region.name));
        }
    }
    lost
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawing(ids: [u8; 4]) -> GrayImage {
        GrayImage::from_raw(4, 1, ids.to_vec()).unwrap()
    }

    #[test]
    fn the_majority_decides_and_ties_are_ignored() {
        let drawing = |ids: [u8; 4]| GrayImage::from_raw(4, 1, ids.to_vec()).unwrap();
        let masks = vec![drawing([1, 1, 1, 0]), drawing([1, 2, 2, 0]), drawing([3, 2, 3, 0])];
        assert_eq!(majority_vote(masks).unwrap().into_raw(), [1, 2, 255, 0]);
        let tied = vec![drawing([1, 1, 0, 0]), drawing([1, 2, 2, 0])];
        assert_eq!(majority_vote(tied).unwrap().into_raw(), [1, 255, 255, 0]);
        assert_eq!(majority_vote(vec![drawing([7, 0, 0, 0])]).unwrap().into_raw(), [7, 0, 0, 0]);
        // Three classes, of which two lead.
        let votes =
            [[1], [1], [2], [2], [3]].map(|ids| GrayImage::from_raw(1, 1, ids.to_vec()).unwrap());
        assert_eq!(majority_vote(votes.to_vec()).unwrap().into_raw(), [255]);
        assert_eq!(majority_vote(Vec::new()), None);
    }

    #[test]
    fn the_later_mask_is_on_top_where_it_is_not_background() {
        let masks = vec![drawing([1, 1, 0, 0]), drawing([0, 2, 2, 0]), drawing([0, 0, 255, 0])];
        assert_eq!(unite_masks(masks, &[0; 256]).unwrap().into_raw(), [1, 2, 255, 0]);
        assert_eq!(unite_masks(Vec::new(), &[0; 256]), None);
    }

    #[test]
    fn a_class_with_priority_stays_on_top() {
        let mut ranks = [0; 256];
        ranks[1] = 1;
        let masks = vec![drawing([1, 1, 0, 2]), drawing([2, 0, 2, 1])];
        assert_eq!(unite_masks(masks, &ranks).unwrap().into_raw(), [1, 1, 2, 1]);
    }
}
