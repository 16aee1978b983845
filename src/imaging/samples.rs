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

/// Divides colors by the alpha that they were multiplied with, in 8-bit samples of pixels with
/// `channels` channels, of which the one at `alpha` is alpha. Colors of transparent pixels become 0,
/// as in PIL.
pub(super) fn divide_by_alpha(samples: &mut [u8], channels: usize, alpha: usize) {
    for pixel in samples.chunks_exact_mut(channels) {
        let divisor = u16::from(pixel[alpha]);
        for color in &mut pixel[..alpha] {
            let undivided = u16::from(*color) * u16::from(u8::MAX);
            *color = undivided.checked_div(divisor).map_or(0, |value| value.min(255) as u8);
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

/// Converts cyan, magenta, yellow and black (0 is no ink) to red, green, blue with PIL's formula.
pub(super) fn cmyk_to_rgb(inks: [u8; 4]) -> [u8; 3] {
    let white = u16::from(u8::MAX - inks[3]);
    std::array::from_fn(|c| ((u16::from(u8::MAX - inks[c]) * white + 127) / 255) as u8)
}
