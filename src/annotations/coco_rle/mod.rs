//! COCO's RLE: the `segmentation` of an annotation as `counts`, a list of numbers or a compressed
//! text.
//!
//! Pixels are numbered down the columns (column * height + row). The counts are the lengths of runs
//! that are in turn not covered and covered, beginning with not covered, which may be 0. The text
//! is that of pycocotools' `maskApi.c` (`rleToString`). From the fourth count on, it stores the
//! difference to the count two before. Each number is split into groups of 5 bits, the lowest
//! first; a group is one character from `0` (48) on, with 32 added if more groups follow; the
//! highest bit of the last group is the sign.

use super::error::{Error, Result};
use super::runs::{Runs, checked_pixel_count};

/// Largest number of groups of 5 bits that a number between -2^32 and 2^32 can need.
const MAX_GROUPS: u32 = 7;

/// Returns the pixels that counts cover in an image of `width` x `height` pixels.
///
/// A few counts can cover every other column, which gives a run for every other pixel. So the
/// caller passes the size of an image that is known to be affordable, and not the size that the
/// annotation claims. Counts whose sum is not the number of pixels are an error.
pub fn decode_counts(counts: &[u32], width: u32, height: u32) -> Result<Runs> {
    let pixel_count = checked_pixel_count(width, height)?;
    let sum: u64 = counts.iter().copied().map(u64::from).sum();
    if sum != u64::from(pixel_count) {
        return Err(Error::WrongSize(format!(
            "has COCO RLE whose counts add up to {sum}, but {width} x {height} pixels are \
             {pixel_count}; it was made for an image of another size, or it is damaged"
        )));
    }
    let mut next_pixel = 0;
    // Counts down the columns are runs of the image with rows and columns exchanged.
    let mut transposed = Runs::new(height, width);
    for pair in counts.chunks(2) {
        let start = next_pixel + pair[0];
        next_pixel = start + pair.get(1).copied().unwrap_or(0);
        transposed.push(start..next_pixel);
    }
    Ok(transposed.transposed())
}

/// Returns the pixels that pycocotools' compressed text covers in an image of `width` x `height`
/// pixels.
///
/// Characters that such a text cannot have, a text that is cut off, and everything that
/// [`decode_counts`] refuses are errors.
pub fn decode_compressed(text: &str, width: u32, height: u32) -> Result<Runs> {
    decode_counts(&parse_compressed_counts(text)?, width, height)
}

/// Parses the counts of a compressed text.
fn parse_compressed_counts(text: &str) -> Result<Vec<u32>> {
    // A count takes at least one character.
    let mut counts: Vec<u32> = Vec::with_capacity(text.len());
    let (mut value, mut groups) = (0_i64, 0);
    for (position, &character) in text.as_bytes().iter().enumerate() {
        let group = character.wrapping_sub(b'0');
        if group >= 64 || groups == MAX_GROUPS {
            let rest = text.get(position..).unwrap_or_default();
            return Err(Error::syntax(format!(
                "has COCO RLE whose character {} is no part of it (found {:?}); allowed: the \
                 characters from '0' to 'o', at most {MAX_GROUPS} for a count",
                position + 1,
                rest.chars().next().unwrap_or(character.into()),
            )));
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
        let Ok(count) = u32::try_from(value) else {
            return Err(Error::InvalidValue(format!(
                "has COCO RLE whose count {} is {value}; allowed: 0 to {}",
                counts.len() + 1,
                u32::MAX
            )));
        };
        counts.push(count);
        (value, groups) = (0, 0);
    }
    if groups > 0 {
        let length = text.len();
        return Err(Error::Truncated(format!(
            "has COCO RLE that is cut off: its {length} characters end inside a count"
        )));
    }
    Ok(counts)
}

/// Returns the counts of the covered pixels as pycocotools' `encode` makes them: only the first
/// count may be 0.
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

/// Returns the covered pixels as pycocotools' compressed text, byte for byte.
pub fn encode_compressed(runs: &Runs) -> String {
    let counts = encode_counts(runs);
    let mut text = String::with_capacity(2 * counts.len());
    for (index, &count) in counts.iter().enumerate() {
        let reference = if index > 2 { counts[index - 2] } else { 0 };
        let mut value = i64::from(count) - i64::from(reference);
        loop {
            let group = (value & 31) as u8;
            value >>= 5;
            // The last group is reached when only the sign is left and equals the group's highest
            // bit.
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
