//! Which images train, which validate, and which are kept for a test: decided by each image's own key.
//!
//! The key's SHA-256 gives a number from 0 to 1, and the number the side. So an image stays on its side whatever
//! other images come or go, in every retraining and on every instance of a job. In Python:
//!
//! ```python
//! int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
//! ```

use std::fmt;

use sha2::{Digest, Sha256};

/// A side of the split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// What the network learns from.
    Train,
    /// What decides which weights are best.
    Validation,
    /// What nobody looks at before the end.
    Test,
}

impl Side {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// The channel of its images.
    pub fn channel(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }

    /// The channel of its masks.
    pub fn annotation_channel(self) -> &'static str {
        match self {
            Self::Train => "train_annotation",
            Self::Validation => "validation_annotation",
            Self::Test => "test_annotation",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.channel())
    }
}

/// How images are shared out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Split {
    /// Percent of the images for validation, 0 to 100.
    pub validation: f64,
    /// Percent of the images for the test; both together at most 100.
    pub test: f64,
    /// Another seed gives another split.
    pub seed: u64,
}

impl Split {
    /// The number of an image, at least 0 and less than 1. With a seed other than 0 that of `SEED/KEY`.
    pub fn number(&self, key: &str) -> f64 {
        let mut hash = Sha256::new();
        if self.seed != 0 {
            hash.update(format!("{}/", self.seed));
        }
        hash.update(key);
        let digest: [u8; 32] = hash.finalize().into();
        let number = digest[..8].iter().fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte));
        // Of 64 bits a double keeps 53; rounding must not make 1 of what is less.
        (number >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The side of an image: validation at the low numbers, the test at the high ones, so that setting a test
    /// aside moves no image into validation or out of it.
    pub fn side(&self, key: &str) -> Side {
        let percent = 100.0 * self.number(key);
        if percent < self.validation {
            Side::Validation
        } else if percent >= 100.0 - self.test {
            Side::Test
        } else {
            Side::Train
        }
    }

    /// The whole percentage of validation with which this image would be there.
    pub fn validation_with(&self, key: &str) -> u32 {
        (100.0 * self.number(key)).floor() as u32 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(validation: f64, test: f64) -> Split {
        Split { validation, test, seed: 0 }
    }

    #[test]
    fn the_number_is_that_of_the_documented_formula() {
        // Printed by the module's line of Python.
        for (key, number) in NUMBERS {
            let got = split(20.0, 0.0).number(key);
            assert!((got - number).abs() < 1e-12, "{key}: {got}");
        }
        let seeded = Split { seed: 7, ..split(20.0, 0.0) };
        let plain = split(0.0, 0.0).number("7/a");
        assert!((seeded.number("a") - plain).abs() < 1e-15);
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
            let sides: Vec<Side> =
                (0..count).map(|n| split.side(&format!("frame_{n:06}.jpg"))).collect();
            for (side, percent) in [(Side::Validation, validation), (Side::Test, test)] {
                let share = percent / 100.0;
                let found = sides.iter().filter(|s| **s == side).count() as f64;
                let deviation = (f64::from(count) * share * (1.0 - share)).sqrt();
                assert!(
                    (found - f64::from(count) * share).abs() <= 3.0 * deviation,
                    "{side}: {found}"
                );
            }
        }
    }

    #[test]
    fn ends_of_the_range_are_all_or_nothing() {
        for n in 0..500 {
            let key = format!("{n}");
            assert_eq!(split(0.0, 0.0).side(&key), Side::Train);
            assert_eq!(split(100.0, 0.0).side(&key), Side::Validation);
            assert_eq!(split(0.0, 100.0).side(&key), Side::Test);
        }
    }

    proptest::proptest! {
        #[test]
        fn a_larger_share_takes_images_and_gives_none_back(key in ".{0,30}", validation in 0_u32..=100, more in 0_u32..=100, test in 0_u32..=100) {
            let (validation, test) = (validation.min(100 - test), f64::from(test));
            let more = validation.max(more.min(100 - test as u32));
            let (small, large) = (split(f64::from(validation), test), split(f64::from(more), test));
            if small.side(&key) == Side::Validation {
                proptest::prop_assert_eq!(large.side(&key), Side::Validation);
            }
            // Setting a test aside takes from training only.
            let without = split(f64::from(validation), 0.0);
            proptest::prop_assert_eq!(without.side(&key) == Side::Validation, small.side(&key) == Side::Validation);
            let enough = f64::from(small.validation_with(&key));
            proptest::prop_assert_eq!(split(enough, 0.0).side(&key), Side::Validation);
            proptest::prop_assert!(enough < 2.0 || split(enough - 1.0, 0.0).side(&key) == Side::Train);
        }
    }
}
