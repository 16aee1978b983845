//! Label Studio's brush RLE: the list of bytes of a `brushlabels` region.
//!
//! The format is that of the npm package `@thi.ng/rle-pack`, in which Label Studio packs the pixels of a canvas. The
//! bytes are one stream of bits, the most significant first:
//!
//! - 32 bits: how many values follow, 4 per pixel (red, green, blue, alpha; pixels by rows).
//! - 5 bits: bits of a value less 1. Canvases have 8.
//! - 4 times 4 bits: four sizes of counts, in bits, less 1. Usual are 3, 4, 8 and 16.
//! - Packets until all values are there: 1 bit kind, 2 bits which size, a count less 1 of that size. Kind 1 has one
//!   value that is repeated, kind 0 as many values as are counted.
//! - Zeros up to a whole byte; what follows is not looked at.
//!
//! A pixel is covered if its alpha is not 0, as in Label Studio's own editor and COCO converter: strokes have soft
//! edges.

use super::runs::{Runs, pixels_of};

/// Bits before the first packet.
const HEADER: usize = 32 + 5 + 4 * 4;

/// Values per pixel.
const CHANNELS: u64 = 4;

/// The pixels that a region's bytes cover, of an image of `width` x `height` pixels.
///
/// Time and memory are bounded by the number of bytes, not by the size: a run is only kept where the bytes begin one.
/// A last packet that has more values than are left is cut, as Label Studio does.
///
/// # Errors
/// Bytes whose header is of another size, or that end before all values are there.
pub fn decode(rle: &[u8], width: u32, height: u32) -> Result<Runs, String> {
    let pixels = pixels_of(width, height)?;
    let bits = Bits(rle);
    let header = Header::read(bits)?;
    let total = CHANNELS * u64::from(pixels);
    if header.values != total {
        return Err(format!(
            "has brush RLE of {} values, but {width} x {height} pixels make {total} (4 per pixel); the region was \
             drawn on an image of another size, or its bytes are damaged",
            header.values
        ));
    }
    let mut runs = Runs::new(width, height);
    let (mut at, mut bit) = (0, HEADER);
    while at < total {
        let window = bits.window(bit);
        let is_repeated = window >> 63 == 1;
        let size = header.sizes[(window >> 61 & 3) as usize];
        let count = (window << 3 >> (64 - size)) + 1;
        let end = total.min(at + count);
        let values = bit + 3 + size as usize;
        // The stream's end is checked before what was read beyond it counts.
        let words = if is_repeated { 1 } else { end - at };
        bit = values + 8 * words as usize;
        if bit > bits.len() {
            return Err(format!(
                "has brush RLE that is cut off: its {} bytes end after {at} of {total} values",
                rle.len()
            ));
        }
        // The alpha of pixel i is value 4 i + 3, so that before value v there are v / 4 of them.
        let alphas = at / CHANNELS..end / CHANNELS;
        if !is_repeated {
            for pixel in alphas {
                let alpha = CHANNELS * pixel + (CHANNELS - 1) - at;
                if bits.byte(values + 8 * alpha as usize) != 0 {
                    runs.push(pixel as u32..pixel as u32 + 1);
                }
            }
        } else if window << (3 + size) >> 56 != 0 {
            runs.push(alphas.start as u32..alphas.end as u32);
        }
        at = end;
    }
    Ok(runs)
}

/// What stands before the packets.
struct Header {
    values: u64,
    /// Bits of the four counts, each 1 to 16.
    sizes: [u32; 4],
}

impl Header {
    fn read(bits: Bits<'_>) -> Result<Self, String> {
        if bits.len() < HEADER {
            let length = bits.0.len();
            return Err(format!(
                "has brush RLE of {length} bytes, which are too few for its header of 7"
            ));
        }
        let window = bits.window(0);
        let word = (window >> 27 & 31) + 1;
        if word != 8 {
            return Err(format!(
                "has brush RLE with values of {word} bits; allowed: 8, as in every canvas"
            ));
        }
        let size = |at: usize| (window >> (23 - 4 * at) & 15) as u32 + 1;
        Ok(Self { values: window >> 32, sizes: std::array::from_fn(size) })
    }
}

/// A stream of bits, the most significant of each byte first.
#[derive(Clone, Copy)]
struct Bits<'a>(&'a [u8]);

impl Bits<'_> {
    /// How many there are.
    fn len(self) -> usize {
        8 * self.0.len()
    }

    /// The bits from number `bit` on, the first in the highest place: at least 57 of them, zeros past the end.
    #[inline]
    fn window(self, bit: usize) -> u64 {
        let rest = self.0.get(bit / 8..).unwrap_or_default();
        let bytes = rest.first_chunk().copied().unwrap_or_else(|| {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            last
        });
        u64::from_be_bytes(bytes) << (bit % 8)
    }

    /// The 8 bits from number `bit` on.
    #[inline]
    fn byte(self, bit: usize) -> u8 {
        let at = |index| self.0.get(index).copied().unwrap_or(0);
        let pair = u16::from_be_bytes([at(bit / 8), at(bit / 8 + 1)]);
        (pair << (bit % 8) >> 8) as u8
    }
}

/// The bytes of a region whose covered pixels are opaque white and all others transparent black.
///
/// Packets are chosen as by Label Studio's Python encoder (`encode_rle` of its converter), byte for byte: only
/// repeats, in the smallest count that holds them, cut after 65,536 values.
pub fn encode(runs: &Runs) -> Vec<u8> {
    let mut stream = Writer::default();
    stream.put(CHANNELS as u32 * runs.pixels(), 32);
    stream.put(8 - 1, 5);
    for size in [3, 4, 8, 16] {
        stream.put(size - 1, 4);
    }
    let mut at = 0;
    for run in runs.iter() {
        stream.repeat(0, run.start - at);
        stream.repeat(u8::MAX, run.end - run.start);
        at = run.end;
    }
    stream.repeat(0, runs.pixels() - at);
    stream.finish()
}

/// Writes bits, the most significant first.
#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
    /// Those that are no whole byte yet, fewer than 8, in the lowest places.
    pending: u64,
    count: u32,
}

impl Writer {
    /// The lowest `count` (up to 32) bits of a number that has no others.
    fn put(&mut self, value: u32, count: u32) {
        self.pending = self.pending << count | u64::from(value);
        self.count += count;
        while self.count >= 8 {
            self.count -= 8;
            self.bytes.push((self.pending >> self.count) as u8);
            self.pending &= (1 << self.count) - 1;
        }
    }

    /// Packets for `pixels` pixels with one value in all channels.
    fn repeat(&mut self, value: u8, pixels: u32) {
        let count = CHANNELS as u32 * pixels;
        let (size, bits) = match count {
            0..=8 => (0, 3),
            9..=16 => (1, 4),
            17..=256 => (2, 8),
            _ => (3, 16),
        };
        let mut left = count;
        while left > 0 {
            let part = left.min(1 << bits);
            self.put(0b100 | size, 3);
            self.put(part - 1, bits);
            self.put(u32::from(value), 8);
            left -= part;
        }
    }

    /// A whole byte of zeros if there is nothing to fill up, as the Python encoder has it.
    fn finish(mut self) -> Vec<u8> {
        self.put(0, 8 - self.count);
        self.bytes
    }
}

#[cfg(test)]
mod tests;
