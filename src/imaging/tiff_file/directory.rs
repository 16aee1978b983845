//! The first directory of a TIFF: which tags it has, with numbers that lie in the file.

use std::ops::Range;

/// The tags that are looked at.
pub(super) mod tag {
    pub(in super::super) const WIDTH: u16 = 256;
    pub(in super::super) const HEIGHT: u16 = 257;
    pub(in super::super) const COMPRESSION: u16 = 259;
    pub(in super::super) const PHOTOMETRIC: u16 = 262;
    pub(in super::super) const STRIP_PLACES: u16 = 273;
    pub(in super::super) const ORIENTATION: u16 = 274;
    pub(in super::super) const STRIP_LENGTHS: u16 = 279;
    pub(in super::super) const PALETTE: u16 = 320;
    pub(in super::super) const TILE_WIDTH: u16 = 322;
    pub(in super::super) const TILE_HEIGHT: u16 = 323;
    pub(in super::super) const TILE_PLACES: u16 = 324;
    pub(in super::super) const TILE_LENGTHS: u16 = 325;
    pub(in super::super) const SAMPLE_FORMAT: u16 = 339;
}

/// Tags that a directory may have; cameras write a few dozen.
const MOST_ENTRIES: u64 = 4096;

/// What is wrong with a file that is too short.
const CUT: &str = "that is cut off";

/// The entries of a directory, whose values all lie in the file.
pub(super) struct Directory<'a> {
    file: File<'a>,
    entries: Vec<Entry>,
}

struct Entry {
    tag: u16,
    /// Bytes of one value; 0 if it is no whole number.
    size: usize,
    /// Where the values are.
    place: Range<usize>,
}

#[derive(Clone, Copy)]
struct File<'a> {
    bytes: &'a [u8],
    is_big_endian: bool,
    /// `BigTIFF`, whose places have 64 bits.
    is_big: bool,
}

impl File<'_> {
    /// The unsigned number of `size` bytes at `at`.
    fn number(&self, at: usize, size: usize) -> Option<u64> {
        let bytes = self.bytes.get(at..at.checked_add(size)?)?;
        let append = |number: u64, &byte: &u8| number << 8 | u64::from(byte);
        Some(if self.is_big_endian {
            bytes.iter().fold(0, append)
        } else {
            bytes.iter().rev().fold(0, append)
        })
    }

    fn place(&self, at: usize, size: usize) -> Result<usize, String> {
        let place = self.number(at, size).ok_or(CUT)?;
        usize::try_from(place)
            .ok()
            .filter(|&place| place <= self.bytes.len())
            .ok_or_else(|| CUT.to_owned())
    }
}

impl<'a> Directory<'a> {
    /// Reads the first directory; the error completes "a TIFF ...".
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let mut file = File { bytes, is_big_endian: bytes.starts_with(b"MM"), is_big: false };
        file.is_big = file.number(2, 2) == Some(43);
        // Bytes of a place, of the number of entries, and of an entry.
        let (word, count, length) = if file.is_big { (8, 8, 20) } else { (4, 2, 12) };
        let start = file.place(word, word)?;
        let entries = file.number(start, count).ok_or(CUT)?;
        if entries > MOST_ENTRIES {
            return Err(format!(
                "whose directory has {entries} entries; allowed: up to {MOST_ENTRIES}"
            ));
        }
        let first = start + count;
        let entry = |index: usize| file.entry(first + index * length, word);
        let entries: Vec<_> = (0..entries as usize).map(entry).collect::<Result<_, _>>()?;
        let mut tags: Vec<_> = entries.iter().map(|entry| entry.tag).collect();
        tags.sort_unstable();
        if let Some([twice, _]) = tags.array_windows().find(|[tag, next]| tag == next) {
            // What is checked here must be what the decoder goes by.
            return Err(format!("whose directory has tag {twice} twice"));
        }
        // The place of the next directory, which is 0 if there is none.
        file.number(first + entries.len() * length, word).ok_or(CUT)?;
        Ok(Self { file, entries })
    }

    /// The numbers of a tag; none if it is not there or holds something else.
    pub(super) fn all(&self, tag: u16) -> impl Iterator<Item = u64> + '_ {
        let entry = self.entries.iter().find(|entry| entry.tag == tag && entry.size > 0);
        entry.into_iter().flat_map(|entry| {
            let places = entry.place.clone().step_by(entry.size);
            places.filter_map(|at| self.file.number(at, entry.size))
        })
    }

    /// The first of them.
    pub(super) fn first(&self, tag: u16) -> Option<u64> {
        self.all(tag).next()
    }

    /// The file with another number for a tag of 16 bits.
    pub(super) fn with_short(&self, tag: u16, number: u16) -> Option<Vec<u8>> {
        let entry = self.entries.iter().find(|entry| entry.tag == tag && entry.place.len() == 2)?;
        let number =
            if self.file.is_big_endian { number.to_be_bytes() } else { number.to_le_bytes() };
        let mut bytes = self.file.bytes.to_vec();
        bytes.get_mut(entry.place.clone())?.copy_from_slice(&number);
        Some(bytes)
    }
}

impl File<'_> {
    /// The entry at `at`: a tag, a type, a count, and the values or where they are.
    fn entry(&self, at: usize, word: usize) -> Result<Entry, String> {
        let tag = self.number(at, 2).ok_or(CUT)?;
        let kind = self.number(at + 2, 2).ok_or(CUT)?;
        let count = self.number(at + 4, word).ok_or(CUT)?;
        let (size, is_whole) = match kind {
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
        let length =
            usize::try_from(count).ok().and_then(|count| count.checked_mul(size)).ok_or(CUT)?;
        let value = at + 4 + word;
        let start = if length <= word { value } else { self.place(value, word)? };
        let end = start.checked_add(length).filter(|&end| end <= self.bytes.len()).ok_or(CUT)?;
        Ok(Entry { tag: tag as u16, size: if is_whole { size } else { 0 }, place: start..end })
    }
}
