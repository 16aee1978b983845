//! The orientation in EXIF data, for every format by one reader.
//!
//! EXIF data are a small TIFF file, and the orientation is a tag of its first directory. Cameras and
//! editors write it in either byte order, as a number of 16 or of 32 bits, and some put the
//! identifier of a JPEG's EXIF segment before it in other formats too. The reader takes them all, as
//! PIL does, and skips everything else in the data, however damaged. An orientation that stands in
//! XMP alone is not applied: browsers ignore it, and annotations are drawn in browsers.

use image::metadata::Orientation;

/// Identifier before the data in a JPEG's APP1 segment.
pub(super) const EXIF_IDENTIFIER: &[u8] = b"Exif\0\0";

/// Number of the orientation's tag.
const ORIENTATION_TAG: u64 = 274;
/// Size in bytes of a directory's entry: a tag, a type, a count, and the values or their offset.
const ENTRY_BYTES: usize = 12;
/// Size in bytes of the values that an entry itself can hold.
const INLINE_BYTES: u64 = 4;

/// Reads the orientation in EXIF data, with or without [`EXIF_IDENTIFIER`]. Returns `None` if there
/// is none, or none of the numbers 1 to 8.
pub(super) fn read_exif_orientation(data: &[u8]) -> Option<Orientation> {
    let mut bytes = data;
    while let Some(rest) = bytes.strip_prefix(EXIF_IDENTIFIER) {
        bytes = rest;
    }
    let is_big_endian = match bytes.first_chunk()? {
        b"MM\0*" | b"MM*\0" => true,
        b"II*\0" | b"II\0*" => false,
        _ => return None,
    };
    let exif = ExifData { bytes, is_big_endian };
    let directory = usize::try_from(exif.read_uint(4, 4)?).ok()?;
    let entry_count = exif.read_uint(directory, 2)?;
    let mut orientation = None;
    for index in 0..entry_count as usize {
        let entry = directory.checked_add(2 + index * ENTRY_BYTES)?;
        let Some(tag) = exif.read_uint(entry, 2) else { break };
        // The last one of two such tags counts, as in PIL.
        if tag == ORIENTATION_TAG {
            orientation = exif.read_first_value(entry).or(orientation);
        }
    }
    orientation.and_then(orientation_from_number)
}

/// Returns the orientation of EXIF's and TIFF's number for it.
pub(super) fn orientation_from_number(number: u64) -> Option<Orientation> {
    Orientation::from_exif(u8::try_from(number).ok()?)
}

#[derive(Clone, Copy)]
struct ExifData<'a> {
    bytes: &'a [u8],
    is_big_endian: bool,
}

impl ExifData<'_> {
    /// Reads the unsigned number of `byte_count` bytes at `offset`.
    fn read_uint(self, offset: usize, byte_count: usize) -> Option<u64> {
        let bytes = self.bytes.get(offset..offset.checked_add(byte_count)?)?;
        let mut number = 0;
        for index in 0..byte_count {
            let index = if self.is_big_endian { index } else { byte_count - 1 - index };
            number = number << 8 | u64::from(bytes[index]);
        }
        Some(number)
    }

    /// Reads the first value of the entry at an offset, if it is a whole number of 16 or 32 bits.
    fn read_first_value(self, entry: usize) -> Option<u64> {
        let value_bytes = match self.read_uint(entry + 2, 2)? {
            3 | 8 => 2,
            4 | 9 | 13 => 4,
            _ => return None,
        };
        let count = self.read_uint(entry + 4, 4)?;
        if count == 0 {
            return None;
        }
        let mut offset = entry + 8;
        let byte_count = count.saturating_mul(value_bytes);
        if byte_count > INLINE_BYTES {
            offset = usize::try_from(self.read_uint(offset, 4)?).ok()?;
            // All values must be there, as in PIL: otherwise the count or the offset is damaged.
            let end = offset.checked_add(usize::try_from(byte_count).ok()?)?;
            self.bytes.get(offset..end)?;
        }
        self.read_uint(offset, value_bytes as usize)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns EXIF data with other tags around the orientation, whose entry is `entry`.
    fn exif(is_big_endian: bool, entry: &[u8; 12]) -> Vec<u8> {
        let mut data = if is_big_endian {
            b"MM\0*\0\0\0\x08\0\x03".to_vec()
        } else {
            b"II*\0\x08\0\0\0\x03\0".to_vec()
        };
        // An entry whose value lies outside the data, which nobody needs.
        let other: [u8; 12] = if is_big_endian {
            *b"\x01\x0f\0\x02\0\0\x10\0\xff\xff\0\0"
        } else {
            *b"\x0f\x01\x02\0\0\x10\0\0\0\0\xff\xff"
        };
        data.extend_from_slice(&other);
        data.extend_from_slice(entry);
        data.extend_from_slice(&other);
        data
    }

    #[test]
    fn every_form_of_the_number_is_read() {
        let turned = Some(Orientation::Rotate90);
        for (is_big_endian, entry) in [
            (true, b"\x01\x12\0\x03\0\0\0\x01\0\x06\0\0"),
            (true, b"\x01\x12\0\x04\0\0\0\x01\0\0\0\x06"),
            (true, b"\x01\x12\0\x08\0\0\0\x01\0\x06\0\0"),
            (true, b"\x01\x12\0\x03\0\0\0\x02\0\x06\0\x01"),
            (false, b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0"),
            (false, b"\x12\x01\x04\0\x01\0\0\0\x06\0\0\0"),
            (false, b"\x12\x01\x09\0\x01\0\0\0\x06\0\0\0"),
            (false, b"\x12\x01\x03\0\x01\0\0\0\x06\0\xff\xff"),
        ] {
            let data = exif(is_big_endian, entry);
            assert_eq!(read_exif_orientation(&data), turned, "{entry:x?}");
            let prefixed = [EXIF_IDENTIFIER, &data].concat();
            assert_eq!(read_exif_orientation(&prefixed), turned);
            let twice = [EXIF_IDENTIFIER, &prefixed].concat();
            assert_eq!(read_exif_orientation(&twice), turned);
            // The last entry is cut off.
            assert_eq!(read_exif_orientation(&data[..data.len() - 5]), turned);
        }
    }

    #[test]
    fn several_numbers_lie_elsewhere_in_the_data() {
        let mut data = exif(true, b"\x01\x12\0\x03\0\0\0\x03\0\0\0\x2e");
        assert_eq!(data.len(), 0x2e);
        assert_eq!(read_exif_orientation(&data), None);
        data.extend_from_slice(b"\0\x08\0\x01\0\x01");
        assert_eq!(read_exif_orientation(&data), Some(Orientation::Rotate270));
        assert_eq!(read_exif_orientation(&data[..data.len() - 1]), None);
    }

    #[test]
    fn what_is_no_orientation_turns_nothing() {
        for entry in [
            b"\x01\x12\0\x03\0\0\0\x01\0\x09\0\0",
            b"\x01\x12\0\x03\0\0\0\x01\0\0\0\0",
            b"\x01\x12\0\x03\0\0\0\0\0\x06\0\0",
            b"\x01\x12\0\x04\0\0\0\x01\0\x06\0\0",
            b"\x01\x12\0\x01\0\0\0\x01\x06\0\0\0",
            b"\x01\x12\0\x02\0\0\0\x02\x36\0\0\0",
            b"\x01\x13\0\x03\0\0\0\x01\0\x06\0\0",
        ] {
            assert_eq!(read_exif_orientation(&exif(true, entry)), None, "{entry:x?}");
        }
        for data in [&b""[..], b"MM", b"Exif\0\0", b"XX\0*\0\0\0\x08\0\0", b"MM\0*\xff\xff\xff\xff"]
        {
            assert_eq!(read_exif_orientation(data), None);
        }
    }

    proptest! {
        #[test]
        fn any_data_are_an_orientation_or_none(
            head in prop::sample::select(vec![&b"MM\0*\0\0\0\x08"[..], b"II*\0", b"Exif\0\0MM\0*"]),
            tail in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let _ = read_exif_orientation(&[head, &tail].concat());
        }
    }
}
