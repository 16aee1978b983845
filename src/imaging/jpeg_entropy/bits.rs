//! The bits of a scan's data, the codes in them, and the bytes that are left over.

use std::ops::Range;

use super::super::jpeg_markers::find_marker;
use super::{Result, WalkError, damaged};

/// Largest number of left-over bytes in one place that may be anything. Cameras leave a few; more
/// are padding only if they are all the same.
const MAX_STRANGE_BYTES: usize = 32;
/// Largest number of left-over bytes behind an unfinished byte whose last bits are not ones, as
/// encoders fill them.
const MAX_BYTES_BEHIND_ODD_BITS: usize = 32;
/// Codes of a Huffman table by their lengths.
#[derive(Debug, Clone)]
pub(super) struct HuffmanTable {
    /// The first code of each length 1 to 16.
    first_codes: [u32; 17],
    /// Number of codes of each length.
    counts: [u32; 17],
    /// Index in `symbols` of the first code's symbol of each length.
    first_symbols: [usize; 17],
    symbols: Vec<u8>,
}

impl HuffmanTable {
    /// Reads a table: 16 counts, then the symbols. Returns it with the number of its bytes.
    pub(super) fn read(content: &[u8]) -> Option<(Self, usize)> {
        let lengths: &[u8; 16] = content.first_chunk()?;
        let (mut first_codes, mut counts) = ([0; 17], [0; 17]);
        let mut first_symbols = [0; 17];
        let (mut code, mut symbol_count) = (0_u32, 0_usize);
        for (length, &count) in (1..).zip(lengths) {
            code <<= 1;
            (first_codes[length], counts[length]) = (code, count.into());
            first_symbols[length] = symbol_count;
            code += u32::from(count);
            symbol_count += usize::from(count);
        }
        let symbols = content.get(16..16 + symbol_count)?.to_vec();
        Some((Self { first_codes, counts, first_symbols, symbols }, 16 + symbol_count))
    }

    /// Decodes the next symbol.
    pub(super) fn decode(&self, bits: &mut ScanBits<'_>) -> Result<u8> {
        let mut code = 0;
        for length in 1..=16 {
            code = code << 1 | bits.read(1)?;
            let index = code.wrapping_sub(self.first_codes[length]);
            if index < self.counts[length] {
                let symbol = self.symbols.get(self.first_symbols[length] + index as usize);
                return symbol.copied().ok_or_else(|| damaged("bad Huffman code"));
            }
        }
        Err(damaged("bad Huffman code"))
    }
}

/// Problem of data that end before their last coefficient.
const PREMATURE_END: &str = "premature end of data segment";

/// The bits of a scan's data up to the next marker.
pub(super) struct ScanBits<'a> {
    bytes: &'a [u8],
    /// Offset of the next byte.
    offset: usize,
    /// Byte that is read in part.
    byte: u8,
    /// Number of its bits that are not read yet.
    unread_bits: u32,
}

impl<'a> ScanBits<'a> {
    pub(super) fn new(bytes: &'a [u8], offset: usize) -> Self {
        Self { bytes, offset, byte: 0, unread_bits: 0 }
    }

    /// Reads up to 16 bits, the highest first.
    pub(super) fn read(&mut self, count: u32) -> Result<u32> {
        let mut value = 0;
        let mut missing = count;
        while missing > 0 {
            if self.unread_bits == 0 {
                self.read_byte()?;
            }
            let taken = missing.min(self.unread_bits);
            self.unread_bits -= taken;
            missing -= taken;
            let taken_bits = u32::from(self.byte) >> self.unread_bits & ((1 << taken) - 1);
            value = value << taken | taken_bits;
        }
        Ok(value)
    }

    fn read_byte(&mut self) -> Result<()> {
        let Some(&byte) = self.bytes.get(self.offset) else { return Err(damaged(PREMATURE_END)) };
        if byte == 0xff {
            // A zero follows a byte of data; anything else is a marker.
            if self.bytes.get(self.offset + 1) != Some(&0) {
                return Err(damaged(PREMATURE_END));
            }
            self.offset += 1;
        }
        self.offset += 1;
        (self.byte, self.unread_bits) = (byte, 8);
        Ok(())
    }

    /// Passes over what is left before the next marker, and returns the range of left-over bytes
    /// with the marker's code.
    pub(super) fn skip_to_marker(&mut self) -> Result<(Range<usize>, u8)> {
        let start = self.offset;
        let Some(code) = find_marker(self.bytes, start) else {
            return Err(damaged("its end-of-image marker is missing"));
        };
        // Fill bytes before the marker are no data.
        let left_over = &self.bytes[start..code];
        let length = left_over.iter().rposition(|&byte| byte != 0xff).map_or(0, |last| last + 1);
        let end = start + length;
        let filler_mask = (1_u16 << self.unread_bits) - 1;
        let has_odd_bits = u16::from(self.byte) & filler_mask != filler_mask;
        check_padding(&self.bytes[start..end], has_odd_bits)?;
        (self.unread_bits, self.offset) = (0, code + 1);
        Ok((start..end, self.bytes[code]))
    }
}

/// Checks that left-over bytes are padding and no data.
fn check_padding(left_over: &[u8], has_odd_bits: bool) -> Result<()> {
    let is_uniform = left_over.iter().all(|byte| *byte == left_over[0]);
    let limit = match (is_uniform, has_odd_bits) {
        (true, false) => usize::MAX,
        (true, true) if left_over.first() == Some(&0) => MAX_BYTES_BEHIND_ODD_BITS,
        (_, true) => 0,
        (false, false) => MAX_STRANGE_BYTES,
    };
    if left_over.len() > limit {
        return Err(WalkError::Damaged(format!(
            "{} bytes of the picture's data are left over where all of it should be decoded",
            left_over.len()
        )));
    }
    Ok(())
}
