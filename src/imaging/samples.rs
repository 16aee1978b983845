//! Samples of any number of channels to red, green, blue.

/// `samples` of pixels with `channels` channels, 8 bits each: one or two are grayscale, without and with alpha; of
/// more the first three are red, green, blue. What follows those is dropped.
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

/// Samples of `bits` (1, 2 or 4) bits, the leftmost in the high bits, as numbers: `width` of each of `rows`.
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
