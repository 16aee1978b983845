//! Counted randomness: every draw belongs to a named purpose, an epoch and a sample, so that it
//! depends on neither thread count nor where a run was resumed (design: 4).

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// What numbers are drawn for; draws for different purposes are unrelated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The order of samples in an epoch.
    Order,
    /// Scale, crop and flip of a sample.
    Augmentation,
    /// Dropout masks of a sample.
    Dropout,
}

/// The generator for one purpose, epoch and sample: ChaCha's seed holds the four numbers as they
/// are, so no two generators share a stream.
pub fn generator(seed: u64, purpose: Purpose, epoch: u64, sample: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (slot, number) in key.chunks_exact_mut(8).zip([seed, purpose as u64, epoch, sample]) {
        slot.copy_from_slice(&number.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}
