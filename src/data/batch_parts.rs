//! The parts of a batch: those that are computed one after the other, and of each part the images
//! that one rank computes.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// One of the processes that train together, each on its part of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RankShare {
    /// Number of the process, from 0.
    pub rank: usize,
    /// Number of processes, at least 1.
    pub world_size: usize,
}

impl Default for RankShare {
    /// Returns the only process of a job.
    fn default() -> Self {
        Self { rank: 0, world_size: 1 }
    }
}

impl RankShare {
    /// Returns this rank's part of `count` items: neighbors, and the same number for each rank, or
    /// one more for the first ranks.
    pub fn range(&self, count: usize) -> Range<usize> {
        let (each, rest) = (count / self.world_size, count % self.world_size);
        let start = self.rank * each + self.rank.min(rest);
        start..start + each + usize::from(self.rank < rest)
    }
}

/// Splits `images` images into ranges of at most `max_images`, which are computed one after the
/// other. Short last ranges are added to the range before: one of a single image, because
/// `BatchNorm` over maps of 1x1 needs two images, and one that has not an image for each of
/// `world_size` ranks.
pub fn split_into_micro_batches(
    images: usize,
    max_images: usize,
    world_size: usize,
) -> Vec<Range<usize>> {
    let max_images = max_images.clamp(1, images.max(1));
    let min_images = world_size.max(2).min(max_images);
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let mut start = 0;
    while start < images {
        let end = images.min(start + max_images);
        match ranges.last_mut() {
            Some(last) if end - start < min_images => last.end = end,
            _ => ranges.push(start..end),
        }
        start = end;
    }
    ranges
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    #[allow(clippy::single_range_in_vec_init)]
    fn parts_cover_a_batch_and_none_is_a_single_image_unless_all_are() {
        assert_eq!(split_into_micro_batches(4, 2, 1), [0..2, 2..4]);
        assert_eq!(split_into_micro_batches(5, 2, 1), [0..2, 2..5]);
        assert_eq!(split_into_micro_batches(3, 1, 1), [0..1, 1..2, 2..3]);
        assert_eq!(split_into_micro_batches(1, 2, 1), [0..1]);
        assert_eq!(split_into_micro_batches(7, usize::MAX, 1), [0..7]);
        assert!(split_into_micro_batches(0, 2, 1).is_empty());
    }

    #[test]
    fn a_part_with_fewer_images_than_ranks_joins_the_one_before() {
        assert_eq!(split_into_micro_batches(8, 3, 3), [0..3, 3..8]);
        assert_eq!(split_into_micro_batches(9, 3, 3), [0..3, 3..6, 6..9]);
        assert_eq!(split_into_micro_batches(9, 4, 1), [0..4, 4..9]);
        assert_eq!(split_into_micro_batches(10, 4, 3), [0..4, 4..10]);
    }

    proptest! {
        #[test]
        fn ranks_share_every_part_without_gaps_and_almost_evenly(
            images in 0usize..200,
            max_images in 1usize..50,
            world_size in 1usize..10,
        ) {
            let mut next_image = 0;
            for part in split_into_micro_batches(images, max_images, world_size) {
                prop_assert_eq!(part.start, next_image);
                next_image = part.end;
                let mut next = 0;
                for rank in 0..world_size {
                    let share = RankShare { rank, world_size }.range(part.len());
                    prop_assert_eq!(share.start, next);
                    prop_assert!(share.len().abs_diff(part.len() / world_size) <= 1);
                    next = share.end;
                }
                prop_assert_eq!(next, part.len());
            }
            prop_assert_eq!(next_image, images);
        }
    }
}
