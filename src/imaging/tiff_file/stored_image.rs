//! The first image of a TIFF as its directory tells, and files that hold it, or one of its planes,
//! as plain samples.
//!
//! The crate `tiff` drops and converts samples by tags, and gets some of it wrong: planes in tiles,
//! tiles that reach past the edges, and more samples than its color types have. So it is handed a
//! file with a directory that is written here. That calls the image gray, whatever it is, has only
//! tags that were checked, and as many columns and rows as the tiles have together.

use super::directory::{Directory, tag};
use super::fill_order::turn_bits;

/// Types of a directory's entries: numbers of 16, 32 and 64 bits.
const SHORT: u16 = 3;
const LONG: u16 = 4;
const LONG8: u16 = 16;

/// A strip or tile: where its data lie in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Chunk {
    offset: u64,
    byte_count: u64,
}

/// Rows and columns of a chunk, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChunkSize {
    pub(super) width: u64,
    pub(super) height: u64,
}

/// The form of a file's numbers.
#[derive(Debug, Clone, Copy)]
struct NumberFormat {
    is_big_endian: bool,
    /// True for `BigTIFF`, whose offsets have 64 bits.
    is_bigtiff: bool,
}

/// An entry of a directory that is written.
struct NewEntry {
    tag: u16,
    field_type: u16,
    values: Vec<u64>,
}

impl NewEntry {
    fn new(tag: u16, field_type: u16, values: Vec<u64>) -> Self {
        Self { tag, field_type, values }
    }
}

/// The image that a directory describes.
#[derive(Debug)]
pub(super) struct StoredImage {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) photometric: u64,
    /// Bits per sample, the same for all.
    pub(super) bits: u64,
    /// Samples per pixel, those beside the colors included.
    pub(super) samples: usize,
    /// True if each sample of the pixels has a plane of its own.
    pub(super) is_planar: bool,
    is_turned: bool,
    number_format: NumberFormat,
    compression: u64,
    predictor: u64,
    pub(super) is_tiled: bool,
    pub(super) chunk_size: ChunkSize,
    /// Strips or tiles of all planes, one plane after the other.
    chunks: Vec<Chunk>,
    /// Number of strips or tiles of a plane, or of the only one.
    pub(super) chunks_per_plane: usize,
}

impl StoredImage {
    /// Reads the directory of an image of `width` x `height` pixels in `bytes`. The error completes
    /// "a TIFF ...".
    pub(super) fn read(
        directory: &Directory<'_>,
        bytes: &[u8],
        width: u32,
        height: u32,
    ) -> Result<Self, String> {
        let Some(photometric) = directory.first_value(tag::PHOTOMETRIC) else {
            return Err("whose directory does not tell what its samples mean".to_owned());
        };
        let samples = directory.first_value(tag::SAMPLES_PER_PIXEL).unwrap_or(1);
        let is_tiled = directory.first_value(tag::TILE_OFFSETS).is_some();
        if is_tiled && directory.first_value(tag::STRIP_OFFSETS).is_some() {
            return Err("with both strips and tiles".to_owned());
        }
        let planar = directory.first_value(tag::PLANAR_CONFIGURATION).unwrap_or(1);
        let fill_order = directory.first_value(tag::FILL_ORDER).unwrap_or(1);
        for (name, value) in [("PlanarConfiguration", planar), ("FillOrder", fill_order)] {
            if ![1, 2].contains(&value) {
                return Err(format!(
                    "whose samples lie in an order that is not known ({name} {value}; allowed: 1 \
                     and 2)"
                ));
            }
        }
        let mut image = Self {
            width,
            height,
            photometric,
            bits: read_bits(directory, samples)?,
            samples: usize::try_from(samples).unwrap_or(usize::MAX),
            is_planar: planar == 2 && samples > 1,
            is_turned: fill_order == 2,
            number_format: NumberFormat {
                is_big_endian: directory.is_big_endian(),
                is_bigtiff: directory.is_bigtiff(),
            },
            compression: directory.first_value(tag::COMPRESSION).unwrap_or(1),
            predictor: directory.first_value(tag::PREDICTOR).unwrap_or(1),
            is_tiled,
            chunk_size: read_chunk_size(directory, is_tiled, width, height)?,
            chunks: Vec::new(),
            chunks_per_plane: 0,
        };
        image.read_chunks(directory, bytes)?;
        Ok(image)
    }

    /// Reads offsets and lengths of the chunks. All chunks lie in `bytes` then.
    fn read_chunks(&mut self, directory: &Directory<'_>, bytes: &[u8]) -> Result<(), String> {
        let (offsets_tag, byte_counts_tag) = if self.is_tiled {
            (tag::TILE_OFFSETS, tag::TILE_BYTE_COUNTS)
        } else {
            (tag::STRIP_OFFSETS, tag::STRIP_BYTE_COUNTS)
        };
        let ChunkSize { width, height } = self.chunk_size;
        let across = u64::from(self.width).div_ceil(width);
        let per_plane = across * u64::from(self.height).div_ceil(height);
        let planes = if self.is_planar { self.samples as u64 } else { 1 };
        let count = per_plane.saturating_mul(planes);
        // The header is written anew.
        let header_bytes = if self.number_format.is_bigtiff { 16 } else { 8 };
        let mut byte_counts = directory.values(byte_counts_tag);
        for (index, offset) in (0..count).zip(directory.values(offsets_tag)) {
            let told = byte_counts.next().unwrap_or_default();
            let byte_count = if self.compression == 1 {
                // Writers get the lengths wrong, and without compression they are known.
                self.raw_chunk_bytes(index % per_plane / across)
            } else {
                told
            };
            if offset.saturating_add(byte_count.max(told)) > bytes.len() as u64 {
                return Err("that is cut off".to_owned());
            }
            if offset < header_bytes {
                return Err("that is damaged: its data begin in its header".to_owned());
            }
            self.chunks.push(Chunk { offset, byte_count });
        }
        if (self.chunks.len() as u64) < count {
            return Err("that is cut off".to_owned());
        }
        // It is at most the number of chunks.
        self.chunks_per_plane = per_plane as usize;
        Ok(())
    }

    /// Returns the size in bytes of an uncompressed chunk in a row of chunks.
    fn raw_chunk_bytes(&self, row_of_chunks: u64) -> u64 {
        let ChunkSize { width, height } = self.chunk_size;
        let samples = if self.is_planar { 1 } else { self.samples as u64 };
        let row_bytes = width.saturating_mul(self.bits * samples).div_ceil(8);
        // The last strip ends with the image; tiles are always whole.
        let rows_left = u64::from(self.height) - row_of_chunks * height;
        let rows = if self.is_tiled { height } else { height.min(rows_left) };
        row_bytes.saturating_mul(rows)
    }

    /// Returns the file without its directory's meaning: bits in the usual order. A directory is
    /// to be added by [`set_directory`](Self::set_directory).
    pub(super) fn copy_data(&self, bytes: &[u8]) -> Vec<u8> {
        let mut file = bytes.to_vec();
        if self.is_turned {
            let mut ranges = Vec::with_capacity(self.chunks.len());
            for chunk in &self.chunks {
                ranges.push(chunk.offset as usize..(chunk.offset + chunk.byte_count) as usize);
            }
            turn_bits(&mut file, ranges);
        }
        file.resize(file.len().next_multiple_of(2), 0);
        file
    }

    /// Appends a directory to a file that [`copy_data`](Self::copy_data) returned, for all samples
    /// or for those of one plane. Everything from `data_bytes` on is replaced.
    pub(super) fn set_directory(
        &self,
        file: &mut Vec<u8>,
        data_bytes: usize,
        plane: Option<usize>,
    ) {
        file.truncate(data_bytes);
        let start = plane.unwrap_or(0) * self.chunks_per_plane;
        let chunks = self.chunks.get(start..start + self.chunks_per_plane).unwrap_or_default();
        let offsets: Vec<u64> = chunks.iter().map(|chunk| chunk.offset).collect();
        let byte_counts: Vec<u64> = chunks.iter().map(|chunk| chunk.byte_count).collect();
        let samples = if plane.is_some() { 1 } else { self.samples as u64 };
        let offset_type = if self.number_format.is_bigtiff { LONG8 } else { LONG };
        let ChunkSize { width, height } = self.chunk_size;
        let gray = super::PHOTOMETRIC_BLACK_IS_ZERO;
        // Tiles are whole, and those at the edges reach past them.
        let padded_width = u64::from(self.width).next_multiple_of(width);
        let height_in_pixels = u64::from(self.height);
        let padded_height = if self.is_tiled {
            height_in_pixels.next_multiple_of(height)
        } else {
            height_in_pixels
        };
        let mut entries = vec![
            NewEntry::new(tag::WIDTH, LONG, vec![padded_width]),
            NewEntry::new(tag::HEIGHT, LONG, vec![padded_height]),
            NewEntry::new(tag::BITS_PER_SAMPLE, SHORT, vec![self.bits]),
            NewEntry::new(tag::COMPRESSION, SHORT, vec![self.compression]),
            NewEntry::new(tag::PHOTOMETRIC, SHORT, vec![gray]),
            NewEntry::new(tag::SAMPLES_PER_PIXEL, SHORT, vec![samples]),
            NewEntry::new(tag::PREDICTOR, SHORT, vec![self.predictor]),
        ];
        if self.is_tiled {
            entries.push(NewEntry::new(tag::TILE_WIDTH, LONG, vec![width]));
            entries.push(NewEntry::new(tag::TILE_HEIGHT, LONG, vec![height]));
            entries.push(NewEntry::new(tag::TILE_OFFSETS, offset_type, offsets));
            entries.push(NewEntry::new(tag::TILE_BYTE_COUNTS, offset_type, byte_counts));
        } else {
            entries.push(NewEntry::new(tag::ROWS_PER_STRIP, LONG, vec![height]));
            entries.push(NewEntry::new(tag::STRIP_OFFSETS, offset_type, offsets));
            entries.push(NewEntry::new(tag::STRIP_BYTE_COUNTS, offset_type, byte_counts));
        }
        entries.sort_by_key(|entry| entry.tag);
        self.append_entries(file, &entries);
    }

    /// Appends a directory with these entries, and has the header point to it.
    fn append_entries(&self, file: &mut Vec<u8>, entries: &[NewEntry]) {
        // These are the sizes in bytes of an offset, of the number of entries, and of an entry.
        let (offset_bytes, count_bytes, entry_bytes) =
            if self.number_format.is_bigtiff { (8, 8, 20) } else { (4, 2, 12) };
        let start = file.len();
        let header_offset = offset_bytes;
        let mut pointer = Vec::new();
        self.push_uint(&mut pointer, start as u64, offset_bytes);
        if let Some(place) = file.get_mut(header_offset..header_offset + offset_bytes) {
            place.copy_from_slice(&pointer);
        }
        let mut outside = Vec::new();
        let outside_start = start + count_bytes + entries.len() * entry_bytes + offset_bytes;
        self.push_uint(file, entries.len() as u64, count_bytes);
        for NewEntry { tag, field_type, values } in entries {
            let value_bytes = match *field_type {
                SHORT => 2,
                LONG => 4,
                _ => 8,
            };
            self.push_uint(file, (*tag).into(), 2);
            self.push_uint(file, (*field_type).into(), 2);
            self.push_uint(file, values.len() as u64, offset_bytes);
            let mut packed = Vec::with_capacity(values.len() * value_bytes);
            for value in values {
                self.push_uint(&mut packed, *value, value_bytes);
            }
            if packed.len() > offset_bytes {
                self.push_uint(file, (outside_start + outside.len()) as u64, offset_bytes);
                outside.append(&mut packed);
            } else {
                packed.resize(offset_bytes, 0);
                file.append(&mut packed);
            }
        }
        // There is no further directory.
        self.push_uint(file, 0, offset_bytes);
        file.append(&mut outside);
    }

    /// Appends a number of `byte_count` bytes in the file's byte order.
    fn push_uint(&self, bytes: &mut Vec<u8>, number: u64, byte_count: usize) {
        if self.number_format.is_big_endian {
            bytes.extend_from_slice(&number.to_be_bytes()[8 - byte_count..]);
        } else {
            bytes.extend_from_slice(&number.to_le_bytes()[..byte_count]);
        }
    }
}

/// Reads the bits per sample, which must be the same for all samples.
fn read_bits(directory: &Directory<'_>, samples: u64) -> Result<u64, String> {
    let bits: Vec<u64> = directory.values(tag::BITS_PER_SAMPLE).collect();
    let Some(&first) = bits.first() else { return Ok(1) };
    // One number may stand for all samples.
    if bits.len() > 1 && bits.len() as u64 != samples || samples == 0 {
        return Err(format!(
            "that cannot be decoded: its directory has the bits of {} samples, and {samples} \
             samples per pixel",
            bits.len()
        ));
    }
    if bits.iter().any(|&other| other != first) {
        return Err("whose samples have different numbers of bits; save it with 8 bits".to_owned());
    }
    Ok(first)
}

fn read_chunk_size(
    directory: &Directory<'_>,
    is_tiled: bool,
    width: u32,
    height: u32,
) -> Result<ChunkSize, String> {
    let size = if is_tiled {
        ChunkSize {
            width: directory.first_value(tag::TILE_WIDTH).unwrap_or_default(),
            height: directory.first_value(tag::TILE_HEIGHT).unwrap_or_default(),
        }
    } else {
        let height = u64::from(height);
        let rows = directory.first_value(tag::ROWS_PER_STRIP).unwrap_or(height);
        ChunkSize { width: width.into(), height: rows.min(height) }
    };
    if size.width == 0 || size.height == 0 || size.width.max(size.height) > u32::MAX.into() {
        return Err("whose strips or tiles have no size".to_owned());
    }
    Ok(size)
}
