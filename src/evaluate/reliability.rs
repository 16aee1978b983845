//! Which scores are too uncertain to rely on: those of few images. Their intervals are too narrow,
//! too: `benches/bootstrap_coverage.rs` counts how many hold the true score
//! (`docs/evaluate.md#how-sure-is-a-score`).

use crate::error::pluralize;

/// Least number of images of a test set whose scores are relied on.
const MIN_IMAGES: usize = 50;

/// Least number of images with a class whose scores are relied on.
const MIN_IMAGES_WITH_CLASS: u64 = 10;

/// Returns why the scores of a test set of so many images are not to be relied on, if so.
pub(super) fn doubt_set(images: usize) -> Option<String> {
    (images < MIN_IMAGES)
        .then(|| format!("{} of at least {MIN_IMAGES}", pluralize(images, "test image")))
}

/// Returns why the scores of a class that so many images have are not to be relied on, if so.
pub(super) fn doubt_class(images_with_class: u64, images: usize) -> Option<String> {
    if images_with_class < MIN_IMAGES_WITH_CLASS {
        let count = pluralize(images_with_class as usize, "test image");
        return Some(format!("the class is in {count} of at least {MIN_IMAGES_WITH_CLASS}"));
    }
    doubt_set(images)
}
