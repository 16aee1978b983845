//! Label Studio's brush RLE: the list of bytes of a `brushlabels` region.
//!
//! The format is that of the npm package `@thi.ng/rle-pack`, in which Label Studio packs the pixels
//! of a canvas. The bytes are one stream of bits, the most significant first:
//!
//! - 32 bits: the number of values, 4 per pixel (red, green, blue, alpha; pixels row by row).
//! - 5 bits: the bits of a value, less 1. Canvases have 8-bit values.
//! - 4 times 4 bits: four sizes of counts, in bits, less 1. Usual sizes are 3, 4, 8 and 16.
//! - Packets until all values are there: 1 bit for the kind, 2 bits for the index of a size, and a
//!   count less 1 of that size. A packet of kind 1 has one value that is repeated, one of kind 0 as
//!   many values as the count says.
//! - Zeros up to a whole byte. The decoder ignores all bytes after the last packet.
//!
//! A pixel is covered if its alpha is not 0, as in Label Studio's own editor and COCO converter:
//! strokes have soft edges (`docs/architecture.md#class-ids`).

use super::error::{Error, Result};
use super::runs::{Runs, checked_pixel_count};

/// Bits before the first packet.
const HEADER_BITS: usize = 32 + 5 + 4 * 4;

/// Values per pixel: red, green, blue and alpha.
const CHANNELS: u64 = 4;

/// Returns the pixels that a region's bytes cover in an image of `width` x `height` pixels.
///
/// The number of bytes bounds time and memory, whatever the size: a packet adds at most one run per
/// value or repeat that it stores. A last packet with more values than are left is cut, as Label
/// Studio does. Bytes are an error if their header is of another size, or if they end before all
/// values are there.
pub fn decode_brush_rle(rle: &[u8], width: u32, height: u32) -> Result<Runs> {
    let pixel_count = checked_pixel_count(width, height)?;
    let stream = BitStream(rle);
    let header = Header::read(stream)?;
    let total_values = CHANNELS * u64::from(pixel_count);
    if header.value_count != total_values {
        return Err(Error::WrongSize(format!(
            "has brush RLE of {} values, but {width} x {height} pixels make {total_values} (4 per \
             pixel); the region was drawn on an image of another size, or its bytes are damaged",
            header.value_count
        )));
    }
    let mut runs = Runs::new(width, height);
    let (mut value_index, mut bit_index) = (0, HEADER_BITS);
    while value_index < total_values {
        let window = stream.peek_bits(bit_index);
        let is_repeated = window >> 63 == 1;
        let count_bits = header.count_sizes[(window >> 61 & 3) as usize];
        let count = (window << 3 >> (64 - count_bits)) + 1;
        let value_end = total_values.min(value_index + count);
        let first_value_bit = bit_index + 3 + count_bits as usize;
        // Bits past the end read as zeros, so the end is checked before any value is used.
        let stored_values = if is_repeated { 1 } else { value_end - value_index };
        bit_index = first_value_bit + 8 * stored_values as usize;
        if bit_index > stream.len() {
            return Err(Error::Truncated(format!(
                "has brush RLE that is cut off: its {} bytes end after {value_index} of \
                 {total_values} values",
                rle.len()
            )));
        }
        // The alpha of pixel i is value 4 i + 3, so v / 4 alphas come before value v.
        let pixel_range = value_index / CHANNELS..value_end / CHANNELS;
        if !is_repeated {
            for pixel in pixel_range {
                let alpha_offset = CHANNELS * pixel + (CHANNELS - 1) - value_index;
                if stream.peek_byte(first_value_bit + 8 * alpha_offset as usize) != 0 {
                    runs.push(pixel as u32..pixel as u32 + 1);
                }
            }
        } else if window << (3 + count_bits) >> 56 != 0 {
            runs.push(pixel_range.start as u32..pixel_range.end as u32);
        }
        value_index = value_end;
    }
    Ok(runs)
}

/// Header of the stream.
struct Header {
    value_count: u64,
    /// Sizes of the four kinds of counts, in bits, each 1 to 16.
    count_sizes: [u32; 4],
}

impl Header {
    fn read(bits: BitStream<'_>) -> Result<Self> {
        if bits.len() < HEADER_BITS {
            let length = bits.0.len();
            return Err(Error::Truncated(format!(
                "has brush RLE of {length} bytes, which are too few for its header of 7"
            )));
        }
        let window = bits.peek_bits(0);
        let value_bits = (window >> 27 & 31) + 1;
        if value_bits != 8 {
            return Err(Error::Unsupported(format!(
                "has brush RLE with values of {value_bits} bits; allowed: 8, as in every canvas"
            )));
        }
        let count_size_at = |index: usize| (window >> (23 - 4 * index) & 15) as u32 + 1;
        Ok(Self { value_count: window >> 32, count_sizes: std::array::from_fn(count_size_at) })
    }
}

/// A stream of bits, the most significant of each byte first.
#[derive(Clone, Copy)]
struct BitStream<'a>(&'a [u8]);

impl BitStream<'_> {
    /// Returns the number of bits.
    fn len(self) -> usize {
        8 * self.0.len()
    }

    /// Returns the bits from `bit_index` on, the first in the highest place: at least 57 valid
    /// bits, with zeros past the end of the stream.
    #[inline]
    fn peek_bits(self, bit_index: usize) -> u64 {
        let tail = self.0.get(bit_index / 8..).unwrap_or_default();
        let bytes = tail.first_chunk().copied().unwrap_or_else(|| {
            let mut padded = [0; 8];
            padded[..tail.len()].copy_from_slice(tail);
            padded
        });
        u64::from_be_bytes(bytes) << (bit_index % 8)
    }

    /// Returns the 8 bits from `bit_index` on.
    #[inline]
    fn peek_byte(self, bit_index: usize) -> u8 {
        let pair = [self.byte_at(bit_index / 8), self.byte_at(bit_index / 8 + 1)];
        (u16::from_be_bytes(pair) << (bit_index % 8) >> 8) as u8
    }

    /// Returns a byte, or 0 past the end.
    #[inline]
    fn byte_at(self, index: usize) -> u8 {
        self.0.get(index).copied().unwrap_or(0)
    }
}

/// Returns the bytes of a region whose covered pixels are opaque white and all others transparent
/// black.
///
/// The packets are, byte for byte, those of Label Studio's Python encoder (`encode_rle` of its
/// converter): only repeats, each with the smallest count that holds it, and at most 65,536 values
/// per packet.
pub fn encode_brush_rle(runs: &Runs) -> Vec<u8> {
    let mut writer = BitWriter::default();
    writer.put_bits(CHANNELS as u32 * runs.pixel_count(), 32);
    writer.put_bits(8 - 1, 5);
    for count_bits in [3, 4, 8, 16] {
        writer.put_bits(count_bits - 1, 4);
    }
    let mut next_pixel = 0;
    for run in runs.iter() {
        writer.put_repeated(0, run.start - next_pixel);
        writer.put_repeated(u8::MAX, run.end - run.start);
        next_pixel = run.end;
    }
    writer.put_repeated(0, runs.pixel_count() - next_pixel);
    writer.finish()
}

/// Writer of bits, the most significant first.
#[derive(Default)]
struct BitWriter {
    bytes: Vec<u8>,
    /// Bits that form no whole byte yet, fewer than 8, in the lowest places.
    pending: u64,
    pending_bits: u32,
}

impl BitWriter {
    /// Writes the lowest `bit_count` (up to 32) bits of `value`, whose higher bits must be 0.
    fn put_bits(&mut self, value: u32, bit_count: u32) {
        self.pending = self.pending << bit_count | u64::from(value);
        self.pending_bits += bit_count;
        while self.pending_bits >= 8 {
            self.pending_bits -= 8;
            self.bytes.push((self.pending >> self.pending_bits) as u8);
            self.pending &= (1 << self.pending_bits) - 1;
        }
    }

    /// Writes the packets of `pixel_count` pixels that have `value` in all channels.
    fn put_repeated(&mut self, value: u8, pixel_count: u32) {
        let value_count = CHANNELS as u32 * pixel_count;
        let (size_index, count_bits) = match value_count {
            0..=8 => (0, 3),
            9..=16 => (1, 4),
            17..=256 => (2, 8),
            _ => (3, 16),
        };
        let mut remaining = value_count;
        while remaining > 0 {
            let repeats = remaining.min(1 << count_bits);
            self.put_bits(0b100 | size_index, 3);
            self.put_bits(repeats - 1, count_bits);
            self.put_bits(u32::from(value), 8);
            remaining -= repeats;
        }
    }

    /// Fills the last byte with zeros. Appends a whole zero byte if nothing is to fill, as the
    /// Python encoder does.
    fn finish(mut self) -> Vec<u8> {
        self.put_bits(0, 8 - self.pending_bits);
        self.bytes
    }
}

#[cfg(test)]
mod tests;
