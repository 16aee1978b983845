use super::*;
use crate::imaging::decode_upright;
use crate::imaging::fixtures::fixture;

fn decode_error(bytes: &[u8]) -> DecodeError {
    decode_upright(bytes, DecodeLimits { max_pixels: 100_000 }).unwrap_err()
}

/// Returns a little-endian file with another value for a tag that has one value of 16 or 32 bits.
fn with_tag_value(name: &str, tag: u16, value: u32) -> Vec<u8> {
    let mut bytes = fixture(name);
    let entry = entry_offset(&bytes, tag);
    let kind = bytes[entry + 2];
    bytes[entry + 4..entry + 8].copy_from_slice(&1_u32.to_le_bytes());
    let value = value.to_le_bytes();
    let size = if kind == 3 { 2 } else { 4 };
    bytes[entry + 8..entry + 8 + size].copy_from_slice(&value[..size]);
    bytes
}

/// Returns the offset of a tag's entry.
fn entry_offset(bytes: &[u8], tag: u16) -> usize {
    let start = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize;
    let count = usize::from(u16::from_le_bytes([bytes[start], bytes[start + 1]]));
    let mut entries = (0..count).map(|at| start + 2 + 12 * at);
    entries.find(|&at| bytes[at..at + 2] == tag.to_le_bytes()).unwrap()
}

#[test]
fn sizes_are_refused_before_there_is_room_made() {
    let wide = with_tag_value("rgb_16_little_endian.tif", tag::WIDTH, 65_000);
    let max_pixels = 100_000;
    assert_eq!(
        decode_error(&wide),
        DecodeError::TooLarge { width: 65_000, height: 16, max_pixels }
    );
    let long = with_tag_value("rgb_16_little_endian.tif", tag::WIDTH, u32::MAX);
    assert!(matches!(decode_error(&long), DecodeError::TooLarge { width: u32::MAX, .. }));
    let none = with_tag_value("rgb_16_little_endian.tif", tag::HEIGHT, 0);
    assert_eq!(decode_error(&none), tiff_error("whose directory tells no size"));
    for tag in [tag::TILE_WIDTH, tag::TILE_HEIGHT] {
        let error = decode_error(&with_tag_value("tiles.tif", tag, 65_535)).to_string();
        assert!(error.contains("save it with smaller tiles"), "{error}");
    }
}

#[test]
fn what_cannot_be_read_is_named_with_the_fix() {
    for (tag, value, words) in [
        (tag::COMPRESSION, 7, "compression is JPEG (number 7); save it with LZW"),
        (tag::COMPRESSION, 4, "fax machines"),
        (tag::COMPRESSION, 50_001, "compression is WebP"),
        (tag::COMPRESSION, 9999, "not known here"),
        (tag::PHOTOMETRIC, 6, "save it as grayscale, RGB"),
        (tag::PHOTOMETRIC, 8, "cannot be decoded"),
        (277, 9, "cannot be decoded"),
    ] {
        let error = decode_error(&with_tag_value("rgb_raw.tif", tag, value)).to_string();
        assert!(error.contains(words), "{words} is not in {error}");
    }
    let mut floats = with_tag_value("rgb_raw.tif", 284, 3);
    let planes = entry_offset(&floats, 284);
    floats[planes..planes + 2].copy_from_slice(&tag::SAMPLE_FORMAT.to_le_bytes());
    let error = decode_error(&floats).to_string();
    assert!(error.contains("not unsigned integers (sample format 3)"), "{error}");
}

#[test]
fn a_directory_that_lies_is_refused() {
    let name = "rgb_16_little_endian.tif";
    for tag in [tag::STRIP_OFFSETS, tag::STRIP_BYTE_COUNTS] {
        assert_eq!(
            decode_error(&with_tag_value(name, tag, u32::MAX)),
            tiff_error("that is cut off")
        );
    }
    let mut twice = fixture(name);
    let height = entry_offset(&twice, tag::HEIGHT);
    twice[height..height + 2].copy_from_slice(&tag::WIDTH.to_le_bytes());
    assert_eq!(decode_error(&twice), tiff_error("whose directory has tag 256 twice"));
    let mut endless = fixture(name);
    let bits = entry_offset(&endless, 258);
    endless[bits + 4..bits + 8].fill(0xff);
    assert_eq!(decode_error(&endless), tiff_error("that is cut off"));
    let many = [&b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0"[..], &[0xff; 8]].concat();
    assert!(decode_error(&many).to_string().contains("allowed: up to 4096"));
    let palette = with_tag_value("rgb_raw.tif", tag::PHOTOMETRIC, 3);
    assert_eq!(decode_error(&palette), tiff_error("whose palette is missing"));
}
