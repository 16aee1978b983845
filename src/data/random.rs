//! Counted randomness: every draw belongs to a named purpose, an epoch and a sample, so that it
//! depends on neither thread count nor where a run was resumed
//! (`docs/architecture.md#counted-randomness`).

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// Purposes of random numbers; draws for different purposes are independent. The values are part of
/// the meaning of a seed, and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Order of samples in an epoch.
    Shuffle = 0,
    /// Scale, crop and mirroring of a sample.
    Augmentation = 1,
    /// Dropout masks of a sample.
    Dropout = 2,
    /// Vertical flip of a sample.
    Vflip = 16,
    /// Rotation of a sample.
    Rotate = 17,
    /// Perspective of a sample.
    Perspective = 18,
    /// Color jitter of a sample.
    ColorJitter = 19,
    /// Blur of a sample.
    Blur = 20,
    /// Noise of a sample.
    Noise = 21,
    /// JPEG compression of a sample.
    Jpeg = 22,
    /// Cutout of a sample.
    Cutout = 23,
    /// Choice of the images of a test of robustness.
    RobustnessImages = 32,
    /// Noise of a test of robustness.
    RobustnessNoise = 33,
    /// Choice of the images on which explanations are checked.
    DeletionImages = 34,
    /// Random order of the patches of an image that are covered in that check.
    DeletionOrder = 35,
    /// Random values of a hyperparameter; the epoch is the trial's number, the sample the place of
    /// the hyperparameter in its search space.
    SearchRandom = 48,
    /// Candidates for a hyperparameter in the tree-structured Parzen estimator, counted likewise.
    SearchTpe = 49,
}

/// Key of all random draws for one sample in one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RngKey {
    /// Seed of the job; another one gives other draws.
    pub seed: u64,
    /// Epoch, from 0.
    pub epoch: u64,
    /// Index of the sample in the fixed order, from 0.
    pub sample_index: u64,
}

impl RngKey {
    /// Returns the generator for one purpose.
    pub fn generator(self, purpose: Purpose) -> ChaCha8Rng {
        generator(self.seed, purpose, self.epoch, self.sample_index)
    }
}

/// Returns true with this probability: never at 0, always at 1.
pub fn bernoulli(probability: f64, rng: &mut impl Rng) -> bool {
    f64::from(rng.next_u32()) / 4_294_967_296.0 >= 1.0 - probability
}

/// Returns the generator for one purpose, epoch and sample. ChaCha's seed holds the four numbers as
/// they are, so no two generators share a stream.
pub fn generator(seed: u64, purpose: Purpose, epoch: u64, sample_index: u64) -> ChaCha8Rng {
    let mut seed_bytes = [0; 32];
    for (field, number) in
        seed_bytes.chunks_exact_mut(8).zip([seed, purpose as u64, epoch, sample_index])
    {
        field.copy_from_slice(&number.to_le_bytes());
    }
    ChaCha8Rng::from_seed(seed_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    #[test]
    fn a_probability_of_a_half_is_the_draw_of_a_boolean_and_0_and_1_are_certain() {
        let random = |sample| generator(7, Purpose::Augmentation, 0, sample);
        for sample in 0..200 {
            assert_eq!(bernoulli(0.5, &mut random(sample)), random(sample).random::<bool>());
            assert!(!bernoulli(0.0, &mut random(sample)));
            assert!(bernoulli(1.0, &mut random(sample)));
        }
        let often = (0..1000).filter(|&sample| bernoulli(0.2, &mut random(sample))).count();
        assert!((150..250).contains(&often), "{often}");
    }
}
