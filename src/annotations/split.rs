//! Stable split of images into training, validation and test sets by each image's own key.
//!
//! The first 64 bits of the key's SHA-256, as a fraction from 0 to 1, decide the split. So an image
//! keeps its split when other images come or go, in every retraining and on every instance of a
//! job. In Python, the fraction is:
//!
//! ```python
//! int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
//! ```

use std::fmt;

use sha2::{Digest, Sha256};

/// Set to which the split assigns an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DatasetSplit {
    /// Images from which the network learns.
    Train,
    /// Images whose score decides which weights are best.
    Validation,
    /// Images that neither training nor the choice of weights uses.
    Test,
}

impl DatasetSplit {
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// Returns the name of the channel with the split's images.
    pub fn channel(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }

    /// Returns the name of the channel with the split's masks.
    pub fn annotation_channel(self) -> &'static str {
        match self {
            Self::Train => "train_annotation",
            Self::Validation => "validation_annotation",
            Self::Test => "test_annotation",
        }
    }
}

impl fmt::Display for DatasetSplit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.channel())
    }
}

/// Shares of the sets, and the seed of the split.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SplitConfig {
    /// Share of the validation set, in percent of the images, 0 to 100.
    pub validation_percent: f64,
    /// Share of the test set, in percent of the images. Both shares together are at most 100.
    pub test_percent: f64,
    /// Seed of the split; 0 hashes the key alone.
    pub seed: u64,
}

impl SplitConfig {
    /// Returns the fraction of an image, at least 0 and less than 1. A seed other than 0 hashes
    /// `SEED/KEY` instead of `KEY`.
    pub fn hash_fraction(&self, key: &str) -> f64 {
        let mut hasher = Sha256::new();
        if self.seed != 0 {
            hasher.update(format!("{}/", self.seed));
        }
        hasher.update(key);
        let digest: [u8; 32] = hasher.finalize().into();
        let high_bits = digest[..8].iter().fold(0_u64, |bits, &byte| bits << 8 | u64::from(byte));
        // A double holds 53 of the 64 bits. The other 11 are dropped, because rounding could give
        // 1.
        (high_bits >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Returns the split of an image. Low fractions are validation and high ones are the test, so
    /// that a test set that is added later moves no image into or out of validation.
    pub fn assign_split(&self, key: &str) -> DatasetSplit {
        let percent = 100.0 * self.hash_fraction(key);
        if percent < self.validation_percent {
            DatasetSplit::Validation
        } else if percent >= 100.0 - self.test_percent {
            DatasetSplit::Test
        } else {
            DatasetSplit::Train
        }
    }

    /// Returns the smallest whole percentage of validation with which the image is in validation.
    pub fn min_validation_percent(&self, key: &str) -> u32 {
        (100.0 * self.hash_fraction(key)).floor() as u32 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(validation: f64, test: f64) -> SplitConfig {
        SplitConfig { validation_percent: validation, test_percent: test, seed: 0 }
    }

    #[test]
    fn the_number_is_that_of_the_documented_formula() {
        // Printed by the module's line of Python.
        for (key, number) in NUMBERS {
            let got = split(20.0, 0.0).hash_fraction(key);
            assert!((got - number).abs() < 1e-12, "{key}: {got}");
        }
        let seeded = SplitConfig { seed: 7, ..split(20.0, 0.0) };
        let plain = split(0.0, 0.0).hash_fraction("7/a");
        assert!((seeded.hash_fraction("a") - plain).abs() < 1e-15);
    }

    const NUMBERS: [(&str, f64); 3] = [
        ("a", 0.791_374_270_522_381_6),
        ("images/astronaut.jpg", 0.904_952_591_323_411_7),
        ("odd size ünïcode.png", 0.305_551_954_454_077_3),
    ];

    #[test]
    fn shares_are_within_three_standard_deviations_for_names_that_are_numbered() {
        for (validation, test) in [(20.0, 0.0), (10.0, 10.0), (50.0, 25.0), (1.0, 1.0)] {
            let split = split(validation, test);
            let count = 20_000;
            let sides: Vec<DatasetSplit> =
                (0..count).map(|n| split.assign_split(&format!("frame_{n:06}.jpg"))).collect();
            for (side, percent) in
                [(DatasetSplit::Validation, validation), (DatasetSplit::Test, test)]
            {
                let share = percent / 100.0;
                let found = sides.iter().filter(|s| **s == side).count() as f64;
                let std_dev = (f64::from(count) * share * (1.0 - share)).sqrt();
                assert!(
                    (found - f64::from(count) * share).abs() <= 3.0 * std_dev,
                    "{side}: {found}"
                );
            }
        }
    }

    #[test]
    fn ends_of_the_range_are_all_or_nothing() {
        for n in 0..500 {
            let key = format!("{n}");
            assert_eq!(split(0.0, 0.0).assign_split(&key), DatasetSplit::Train);
            assert_eq!(split(100.0, 0.0).assign_split(&key), DatasetSplit::Validation);
            assert_eq!(split(0.0, 100.0).assign_split(&key), DatasetSplit::Test);
        }
    }

    proptest::proptest! {
        #[test]
        fn a_larger_share_takes_images_and_gives_none_back(key in ".{0,30}", validation in 0_u32..=100, more in 0_u32..=100, test in 0_u32..=100) {
            let (validation, test) = (validation.min(100 - test), f64::from(test));
            let more = validation.max(more.min(100 - test as u32));
            let (small, large) = (split(f64::from(validation), test), split(f64::from(more), test));
            if small.assign_split(&key) == DatasetSplit::Validation {
                proptest::prop_assert_eq!(large.assign_split(&key), DatasetSplit::Validation);
            }
            // Setting a test aside takes from training only.
            let without = split(f64::from(validation), 0.0);
            proptest::prop_assert_eq!(without.assign_split(&key) == DatasetSplit::Validation, small.assign_split(&key) == DatasetSplit::Validation);
            let enough = f64::from(small.min_validation_percent(&key));
            proptest::prop_assert_eq!(split(enough, 0.0).assign_split(&key), DatasetSplit::Validation);
            proptest::prop_assert!(enough < 2.0 || split(enough - 1.0, 0.0).assign_split(&key) == DatasetSplit::Train);
        }
    }
}
