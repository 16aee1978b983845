//! The first directory of a TIFF: its tags, and their values, which lie in the file.

use std::ops::Range;

/// Numbers of the tags that are read.
pub(super) mod tag {
    pub(in super::super) const WIDTH: u16 = 256;
    pub(in super::super) const HEIGHT: u16 = 257;
    pub(in super::super) const BITS_PER_SAMPLE: u16 = 258;
    pub(in super::super) const COMPRESSION: u16 = 259;
    pub(in super::super) const PHOTOMETRIC: u16 = 262;
    pub(in super::super) const FILL_ORDER: u16 = 266;
    pub(in super::super) const STRIP_OFFSETS: u16 = 273;
    pub(in super::super) const ORIENTATION: u16 = 274;
    pub(in super::super) const SAMPLES_PER_PIXEL: u16 = 277;
    pub(in super::super) const ROWS_PER_STRIP: u16 = 278;
    pub(in super::super) const STRIP_BYTE_COUNTS: u16 = 279;
    pub(in super::super) const PLANAR_CONFIGURATION: u16 = 284;
    pub(in super::super) const PREDICTOR: u16 = 317;
    pub(in super::super) const COLOR_MAP: u16 = 320;
    pub(in super::super) const TILE_WIDTH: u16 = 322;
    pub(in super::super) const TILE_HEIGHT: u16 = 323;
    pub(in super::super) const TILE_OFFSETS: u16 = 324;
    pub(in super::super) const TILE_BYTE_COUNTS: u16 = 325;
    pub(in super::super) const INK_SET: u16 = 332;
    pub(in super::super) const EXTRA_SAMPLES: u16 = 338;
    pub(in super::super) const SAMPLE_FORMAT: u16 = 339;
}

/// Largest number of tags in a directory; cameras write a few dozen.
const MAX_ENTRIES: u64 = 4096;

/// The problem of a file that is too short, completing "a TIFF ...".
const TRUNCATED: &str = "that is cut off";

/// A directory, whose entries' values all lie in the file.
pub(super) struct Directory<'a> {
    file: TiffFile<'a>,
    entries: Vec<DirectoryEntry>,
}

struct DirectoryEntry {
    tag: u16,
    /// Size of one value in bytes; 0 if the values are not integers.
    value_bytes: usize,
    /// Bytes of the file that hold the values.
    value_range: Range<usize>,
}

#[derive(Clone, Copy)]
struct TiffFile<'a> {
    bytes: &'a [u8],
    is_big_endian: bool,
    /// True for `BigTIFF`, whose offsets have 64 bits.
    is_bigtiff: bool,
}

impl TiffFile<'_> {
    /// Reads the unsigned number of `byte_count` bytes at `offset`.
    fn read_uint(&self, offset: usize, byte_count: usize) -> Option<u64> {
        let bytes = self.bytes.get(offset..offset.checked_add(byte_count)?)?;
        let mut number = 0;
        for index in 0..bytes.len() {
            let index = if self.is_big_endian { index } else { bytes.len() - 1 - index };
            number = number << 8 | u64::from(bytes[index]);
        }
        Some(number)
    }

    fn read_offset(&self, position: usize, byte_count: usize) -> Result<usize, String> {
        let offset = self.read_uint(position, byte_count).ok_or(TRUNCATED)?;
        if offset > self.bytes.len() as u64 {
            return Err(TRUNCATED.to_owned());
        }
        Ok(offset as usize)
    }

    /// Reads the entry at `position`: a tag, a type, a count, and the values or their offset.
    fn read_entry(&self, position: usize, offset_bytes: usize) -> Result<DirectoryEntry, String> {
        let tag = self.read_uint(position, 2).ok_or(TRUNCATED)?;
        let field_type = self.read_uint(position + 2, 2).ok_or(TRUNCATED)?;
        let count = self.read_uint(position + 4, offset_bytes).ok_or(TRUNCATED)?;
        let (size, is_integer) = match field_type {
            // A negative number is read as an unsigned one, and is too large then.
            1 | 6 => (1, true),
            3 | 8 => (2, true),
            4 | 9 | 13 => (4, true),
            16..=18 => (8, true),
            2 | 7 => (1, false),
            11 => (4, false),
            5 | 10 | 12 => (8, false),
            // Unknown types are skipped, as TIFF 6.0 demands of readers.
            _ => (0, false),
        };
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let length = count.checked_mul(size).ok_or(TRUNCATED)?;
        let inline_position = position + 4 + offset_bytes;
        let start = if length <= offset_bytes {
            inline_position
        } else {
            self.read_offset(inline_position, offset_bytes)?
        };
        let end = start.saturating_add(length);
        if end > self.bytes.len() {
            return Err(TRUNCATED.to_owned());
        }
        Ok(DirectoryEntry {
            tag: tag as u16,
            value_bytes: if is_integer { size } else { 0 },
            value_range: start..end,
        })
    }
}

impl<'a> Directory<'a> {
    /// Reads the first directory. The error completes "a TIFF ...".
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let mut file =
            TiffFile { bytes, is_big_endian: bytes.starts_with(b"MM"), is_bigtiff: false };
        file.is_bigtiff = file.read_uint(2, 2) == Some(43);
        // These are the sizes in bytes of an offset, of the number of entries, and of an entry.
        let (offset_bytes, count_bytes, entry_bytes) =
            if file.is_bigtiff { (8, 8, 20) } else { (4, 2, 12) };
        let start = file.read_offset(offset_bytes, offset_bytes)?;
        let entry_count = file.read_uint(start, count_bytes).ok_or(TRUNCATED)?;
        if entry_count > MAX_ENTRIES {
            return Err(format!(
                "whose directory has {entry_count} entries; allowed: up to {MAX_ENTRIES}"
            ));
        }
        let first_entry = start + count_bytes;
        let mut entries = Vec::new();
        for index in 0..entry_count as usize {
            entries.push(file.read_entry(first_entry + index * entry_bytes, offset_bytes)?);
        }
        let mut tags: Vec<u16> = entries.iter().map(|entry| entry.tag).collect();
        tags.sort_unstable();
        for [tag, next] in tags.array_windows() {
            if tag == next {
                // This file checks one of the entries, and the decoder might use the other.
                return Err(format!("whose directory has tag {tag} twice"));
            }
        }
        // The offset of the next directory follows, which is 0 if there is none.
        file.read_uint(first_entry + entries.len() * entry_bytes, offset_bytes).ok_or(TRUNCATED)?;
        Ok(Self { file, entries })
    }

    /// Lists the integers of a tag; none if the tag is missing or holds something else.
    pub(super) fn values(&self, tag: u16) -> impl Iterator<Item = u64> + '_ {
        let (range, value_bytes) = match self.entry(tag) {
            Some(entry) if entry.value_bytes > 0 => (entry.value_range.clone(), entry.value_bytes),
            _ => (0..0, 1),
        };
        let offsets = range.step_by(value_bytes);
        offsets.filter_map(move |offset| self.file.read_uint(offset, value_bytes))
    }

    fn entry(&self, tag: u16) -> Option<&DirectoryEntry> {
        self.entries.iter().find(|entry| entry.tag == tag)
    }

    /// Returns the first integer of a tag.
    pub(super) fn first_value(&self, tag: u16) -> Option<u64> {
        self.values(tag).next()
    }

    pub(super) fn is_big_endian(&self) -> bool {
        self.file.is_big_endian
    }

    pub(super) fn is_bigtiff(&self) -> bool {
        self.file.is_bigtiff
    }
}
