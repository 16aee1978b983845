//! The first directory of a TIFF: which tags it has, with numbers that lie in the file.

use std::ops::Range;

/// The tags that are looked at.
pub(super) mod tag {
    pub(in super::super) const WIDTH: u16 = 256;
    pub(in super::super) const HEIGHT: u16 = 257;
    pub(in super::super) const COMPRESSION: u16 = 259;
    pub(in super::super) const PHOTOMETRIC: u16 = 262;
    pub(in super::super) const STRIP_OFFSETS: u16 = 273;
    pub(in super::super) const ORIENTATION: u16 = 274;
    pub(in super::super) const STRIP_BYTE_COUNTS: u16 = 279;
    pub(in super::super) const COLOR_MAP: u16 = 320;
    pub(in super::super) const TILE_WIDTH: u16 = 322;
    pub(in super::super) const TILE_HEIGHT: u16 = 323;
    pub(in super::super) const TILE_OFFSETS: u16 = 324;
    pub(in super::super) const TILE_BYTE_COUNTS: u16 = 325;
    pub(in super::super) const SAMPLE_FORMAT: u16 = 339;
}

/// Tags that a directory may have; cameras write a few dozen.
const MAX_ENTRIES: u64 = 4096;

/// What is wrong with a file that is too short.
const TRUNCATED: &str = "that is cut off";

/// The entries of a directory, whose values all lie in the file.
pub(super) struct Directory<'a> {
    file: TiffFile<'a>,
    entries: Vec<DirectoryEntry>,
}

struct DirectoryEntry {
    tag: u16,
    /// Bytes of one value; 0 if it is no whole number.
    value_bytes: usize,
    /// Where the values are.
    value_range: Range<usize>,
}

#[derive(Clone, Copy)]
struct TiffFile<'a> {
    bytes: &'a [u8],
    is_big_endian: bool,
    /// `BigTIFF`, whose places have 64 bits.
    is_bigtiff: bool,
}

impl TiffFile<'_> {
    /// The unsigned number of `size` bytes at `at`.
    fn read_uint(&self, offset: usize, byte_count: usize) -> Option<u64> {
        let bytes = self.bytes.get(offset..offset.checked_add(byte_count)?)?;
        let append = |number: u64, &byte: &u8| number << 8 | u64::from(byte);
        Some(if self.is_big_endian {
            bytes.iter().fold(0, append)
        } else {
            bytes.iter().rev().fold(0, append)
        })
    }

    fn read_offset(&self, position: usize, byte_count: usize) -> Result<usize, String> {
        let offset = self.read_uint(position, byte_count).ok_or(TRUNCATED)?;
        usize::try_from(offset)
            .ok()
            .filter(|&offset| offset <= self.bytes.len())
            .ok_or_else(|| TRUNCATED.to_owned())
    }
}

impl<'a> Directory<'a> {
    /// Reads the first directory; the error completes "a TIFF ...".
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let mut file =
            TiffFile { bytes, is_big_endian: bytes.starts_with(b"MM"), is_bigtiff: false };
        file.is_bigtiff = file.read_uint(2, 2) == Some(43);
        // Bytes of a place, of the number of entries, and of an entry.
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
        let read_entry =
            |index: usize| file.read_entry(first_entry + index * entry_bytes, offset_bytes);
        let entries: Vec<_> =
            (0..entry_count as usize).map(read_entry).collect::<Result<_, _>>()?;
        let mut tags: Vec<_> = entries.iter().map(|entry| entry.tag).collect();
        tags.sort_unstable();
        if let Some([repeated_tag, _]) = tags.array_windows().find(|[tag, next]| tag == next) {
            // What is checked here must be what the decoder goes by.
            return Err(format!("whose directory has tag {repeated_tag} twice"));
        }
        // The place of the next directory, which is 0 if there is none.
        file.read_uint(first_entry + entries.len() * entry_bytes, offset_bytes).ok_or(TRUNCATED)?;
        Ok(Self { file, entries })
    }

    /// The numbers of a tag; none if it is not there or holds something else.
    pub(super) fn values(&self, tag: u16) -> impl Iterator<Item = u64> + '_ {
        let entry = self.entries.iter().find(|entry| entry.tag == tag && entry.value_bytes > 0);
        entry.into_iter().flat_map(|entry| {
            let offsets = entry.value_range.clone().step_by(entry.value_bytes);
            offsets.filter_map(|offset| self.file.read_uint(offset, entry.value_bytes))
        })
    }

    /// The first of them.
    pub(super) fn first_value(&self, tag: u16) -> Option<u64> {
        self.values(tag).next()
    }

    /// The file with another number for a tag of 16 bits.
    pub(super) fn with_u16_value(&self, tag: u16, number: u16) -> Option<Vec<u8>> {
        let entry =
            self.entries.iter().find(|entry| entry.tag == tag && entry.value_range.len() == 2)?;
        let number =
            if self.file.is_big_endian { number.to_be_bytes() } else { number.to_le_bytes() };
        let mut bytes = self.file.bytes.to_vec();
        bytes.get_mut(entry.value_range.clone())?.copy_from_slice(&number);
        Some(bytes)
    }
}

impl TiffFile<'_> {
    /// The entry at `at`: a tag, a type, a count, and the values or where they are.
    fn read_entry(&self, position: usize, offset_bytes: usize) -> Result<DirectoryEntry, String> {
        let tag = self.read_uint(position, 2).ok_or(TRUNCATED)?;
        let field_type = self.read_uint(position + 2, 2).ok_or(TRUNCATED)?;
        let count = self.read_uint(position + 4, offset_bytes).ok_or(TRUNCATED)?;
        let (size, is_integer) = match field_type {
            // What is negative counts as what its bits are without sign, and is too large.
            1 | 6 => (1, true),
            3 | 8 => (2, true),
            4 | 9 | 13 => (4, true),
            16..=18 => (8, true),
            2 | 7 => (1, false),
            11 => (4, false),
            5 | 10 | 12 => (8, false),
            // Readers pass over what they do not know.
            _ => (0, false),
        };
        let length = usize::try_from(count)
            .ok()
            .and_then(|count| count.checked_mul(size))
            .ok_or(TRUNCATED)?;
        let inline_position = position + 4 + offset_bytes;
        let start = if length <= offset_bytes {
            inline_position
        } else {
            self.read_offset(inline_position, offset_bytes)?
        };
        let end =
            start.checked_add(length).filter(|&end| end <= self.bytes.len()).ok_or(TRUNCATED)?;
        Ok(DirectoryEntry {
            tag: tag as u16,
            value_bytes: if is_integer { size } else { 0 },
            value_range: start..end,
        })
    }
}
