//! Chance that a seed repeats.

/// `SplitMix64`: <https://prng.di.unimi.it/splitmix64.c>.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `most` - 1.
    pub(crate) fn below(&mut self, most: usize) -> usize {
        (self.next() % most as u64) as usize
    }

    /// One of them, each as often as its weight says.
    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T], weight: fn(&T) -> usize) -> &'a T {
        let mut left = self.below(items.iter().map(weight).sum());
        items
            .iter()
            .find(|item| {
                let weight = weight(item);
                let is_it = left < weight;
                left = left.saturating_sub(weight);
                is_it
            })
            .expect("the weights' sum is more than what is left")
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}
