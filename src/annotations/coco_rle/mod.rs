//! COCO's RLE: the `segmentation` of an annotation as `counts`, a list of numbers or a compressed text.
//!
//! Pixels are numbered down the columns (column * height + row). The counts say in turn how many of them are not
//! covered and how many are, beginning with not, which may be 0. The text is that of pycocotools' `maskApi.c`
//! (`rleToString`): every count from the fourth on less the one two before, in groups of 5 bits, the lowest first, each
//! a character from `0` (48) on, with 32 added if more follow; the highest bit of the last is the sign.

use super::runs::{Runs, checked_pixel_count};

/// Groups of 5 bits that a number between -2^32 and 2^32 can need.
const MAX_GROUPS: u32 = 7;

/// The pixels that counts cover, of an image of `width` x `height` pixels.
///
/// A few counts can cover every other column, which is a run for every other pixel: so the size must be that of an
/// image which is known to be affordable, and not one that the annotation claims.
///
/// # Errors
/// Counts whose sum is not the number of pixels.
pub fn decode_counts(counts: &[u32], width: u32, height: u32) -> Result<Runs, String> {
    let pixel_count = checked_pixel_count(width, height)?;
    let sum: u64 = counts.iter().copied().map(u64::from).sum();
    if sum != u64::from(pixel_count) {
        return Err(format!(
            "has COCO RLE whose counts add up to {sum}, but {width} x {height} pixels are {pixel_count}; it was made for \
             an image of another size, or it is damaged"
        ));
    }
    let mut next_pixel = 0;
    // What is seen down the columns is the image with rows and columns exchanged.
    let columns = counts.chunks(2).map(|pair| {
        let start = next_pixel + pair[0];
        next_pixel = start + pair.get(1).copied().unwrap_or(0);
        start..next_pixel
    });
    Ok(Runs::from_sorted(height, width, columns).transposed())
}

/// The pixels that pycocotools' compressed text covers, of an image of `width` x `height` pixels.
///
/// # Errors
/// Characters that cannot be part of such a text, a text that is cut off, and as [`decode_counts`].
pub fn decode_compressed(text: &str, width: u32, height: u32) -> Result<Runs, String> {
    decode_counts(&parse_compressed_counts(text)?, width, height)
}

/// The counts that a text stands for.
fn parse_compressed_counts(text: &str) -> Result<Vec<u32>, String> {
    // A count takes a character at least.
    let mut counts: Vec<u32> = Vec::with_capacity(text.len());
    let (mut value, mut groups) = (0_i64, 0);
    for (position, &character) in text.as_bytes().iter().enumerate() {
        let group = character.wrapping_sub(b'0');
        if group >= 64 || groups == MAX_GROUPS {
            return Err(format!(
                "has COCO RLE whose character {} is no part of it (found {:?}); allowed: the characters from '0' to \
                 'o', at most {MAX_GROUPS} for a count",
                position + 1,
                text.get(position..)
                    .and_then(|rest| rest.chars().next())
                    .unwrap_or(character.into()),
            ));
        }
        value |= i64::from(group & 31) << (5 * groups);
        groups += 1;
        if group & 32 != 0 {
            continue;
        }
        if group & 16 != 0 {
            value |= -1 << (5 * groups);
        }
        if counts.len() > 2 {
            value += i64::from(counts[counts.len() - 2]);
        }
        let count = u32::try_from(value).map_err(|_| {
            format!(
                "has COCO RLE whose count {} is {value}; allowed: 0 to {}",
                counts.len() + 1,
                u32::MAX
            )
        })?;
        counts.push(count);
        (value, groups) = (0, 0);
    }
    if groups > 0 {
        let length = text.len();
        return Err(format!(
            "has COCO RLE that is cut off: its {length} characters end inside a count"
        ));
    }
    Ok(counts)
}

/// The counts of the covered pixels, as pycocotools' `encode` makes them: the first one and no other may be 0.
pub fn encode_counts(runs: &Runs) -> Vec<u32> {
    let transposed = runs.transposed();
    let mut counts = Vec::with_capacity(2 * transposed.iter().len() + 1);
    let mut next_pixel = 0;
    for run in transposed.iter() {
        counts.extend([run.start - next_pixel, run.end - run.start]);
        next_pixel = run.end;
    }
    let rest = transposed.pixel_count() - next_pixel;
    if rest > 0 || counts.is_empty() {
        counts.push(rest);
    }
    counts
}

/// The covered pixels as pycocotools' compressed text, byte for byte.
pub fn encode_compressed(runs: &Runs) -> String {
    let counts = encode_counts(runs);
    let mut text = String::with_capacity(2 * counts.len());
    for (index, &count) in counts.iter().enumerate() {
        let reference = if index > 2 { counts[index - 2] } else { 0 };
        let mut value = i64::from(count) - i64::from(reference);
        loop {
            let group = (value & 31) as u8;
            value >>= 5;
            // Done when the sign, which is that of the group's highest bit, is all that is left.
            let is_last = value == if group & 16 == 0 { 0 } else { -1 };
            text.push(char::from(b'0' + group + if is_last { 0 } else { 32 }));
            if is_last {
                break;
            }
        }
    }
    text
}

#[cfg(test)]
mod tests;
