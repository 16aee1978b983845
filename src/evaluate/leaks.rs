//! Test images that a model was trained or validated on, whose scores are too good.

use std::collections::HashSet;

use serde::Serialize;

use super::scoring::ScoredImage;
use crate::data::image_hashes::SeenImages;
use crate::error::{join_examples, pluralize};

/// Largest number of files of a kind that are listed.
const MAX_LISTED: usize = 20;

/// Test images that a model has seen, and those that count twice. Images are the same if their
/// files' bytes are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leaks {
    /// Test images that the model was trained on. Null if its artifact does not tell its images.
    pub in_train: Option<FoundImages>,
    /// Test images by which the model's best epoch was chosen; null likewise.
    pub in_validation: Option<FoundImages>,
    /// Test images that are an earlier one once more.
    pub repeated: FoundImages,
}

/// Test images of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct FoundImages {
    pub images: usize,
    /// The first 20 files.
    pub files: Vec<String>,
}

impl FoundImages {
    fn add(&mut self, image: &ScoredImage) {
        self.images += 1;
        if self.files.len() < MAX_LISTED {
            self.files.push(image.file.clone());
        }
    }

    fn find_in(images: &[ScoredImage], hashes: &HashSet<u64>) -> Self {
        let mut found = Self::default();
        for image in images {
            if hashes.contains(&image.hash) {
                found.add(image);
            }
        }
        found
    }
}

impl Leaks {
    pub(super) fn find(images: &[ScoredImage], seen: Option<&SeenImages>) -> Self {
        let mut earlier = HashSet::new();
        let mut repeated = FoundImages::default();
        for image in images {
            if !earlier.insert(image.hash) {
                repeated.add(image);
            }
        }
        Self {
            in_train: seen.map(|seen| FoundImages::find_in(images, &seen.train)),
            in_validation: seen.map(|seen| FoundImages::find_in(images, &seen.validation)),
            repeated,
        }
    }

    /// Returns what a person must know before they believe the scores of `model`.
    pub(super) fn describe_seen(&self, model: &str) -> Vec<String> {
        let (Some(in_train), Some(in_validation)) = (&self.in_train, &self.in_validation) else {
            return vec![format!(
                "whether test images were in training or validation of {model} cannot be known: it \
                 has no data.json, which train writes"
            )];
        };
        let mut warnings = Vec::new();
        for (found, split) in [(in_train, "training"), (in_validation, "validation")] {
            if found.images > 0 {
                let was = if found.images == 1 { "was" } else { "were" };
                warnings.push(format!(
                    "{} {was} in {split} of {model}, so that its scores are too good: {}",
                    pluralize(found.images, "test image"),
                    join_examples(found.files.iter().cloned())
                ));
            }
        }
        warnings
    }

    /// Returns what a person must know about images that are there more than once.
    pub(super) fn describe_repeated(&self) -> Option<String> {
        let FoundImages { images, files } = &self.repeated;
        (*images > 0).then(|| {
            format!(
                "images that are in the test set more than once count more than once, and make \
                 intervals too narrow ({}): {}",
                pluralize(*images, "repetition"),
                join_examples(files.iter().cloned())
            )
        })
    }
}
