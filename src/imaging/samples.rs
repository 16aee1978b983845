//! Conversion of samples with any number of channels or bits to 8-bit ones.

/// Converts 8-bit samples of pixels with `channels` channels to red, green, blue. One channel is
/// gray, two are gray and alpha, and of more than two the first three are red, green, blue. The
/// others are dropped.
pub(super) fn to_rgb(samples: Vec<u8>, channels: usize) -> Vec<u8> {
    match channels {
        3 => samples,
        1 | 2 => samples.chunks_exact(channels).flat_map(|pixel| [pixel[0]; 3]).collect(),
        _ => {
            let pixels = samples.chunks_exact(channels.max(3));
            pixels.flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect()
        }
    }
}

/// Unpacks samples of 1, 2 or 4 `bits`, the leftmost in the high bits, to bytes: the first `width`
/// samples of each row.
pub(super) fn unpack_bits<'a>(
    rows: impl Iterator<Item = &'a [u8]>,
    width: usize,
    bits: usize,
) -> Vec<u8> {
    let sample = |row: &[u8], x: usize| {
        let shift = 8 - bits - x * bits % 8;
        (row[x * bits / 8] >> shift) & ((1 << bits) - 1)
    };
    rows.flat_map(|row| (0..width).map(move |x| sample(row, x))).collect()
}
