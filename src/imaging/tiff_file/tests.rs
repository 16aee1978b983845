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
        (tag::PHOTOMETRIC, 8, "whose pixels are Lab (photometric interpretation 8)"),
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
    let in_header = decode_error(&with_tag_value(name, tag::STRIP_OFFSETS, 2));
    assert_eq!(in_header, tiff_error("that is damaged: its data begin in its header"));
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

/// Returns a little-endian TIFF of `samples` with these tags beside those of the data. All values
/// are numbers of 16 bits.
fn tiff(tags: &[(u16, &[u16])], samples: &[u8]) -> Vec<u8> {
    let mut all: Vec<(u16, Vec<u16>)> =
        tags.iter().map(|(tag, values)| (*tag, values.to_vec())).collect();
    all.push((tag::STRIP_OFFSETS, vec![8]));
    all.push((tag::STRIP_BYTE_COUNTS, vec![samples.len() as u16]));
    all.sort();
    let padded = samples.len().next_multiple_of(2);
    let mut bytes = b"II*\0".to_vec();
    bytes.extend_from_slice(&(8 + padded as u32).to_le_bytes());
    bytes.extend_from_slice(samples);
    bytes.resize(8 + padded, 0);
    let mut outside = Vec::new();
    let outside_start = 8 + padded + 2 + 12 * all.len() + 4;
    bytes.extend_from_slice(&(all.len() as u16).to_le_bytes());
    for (tag, values) in &all {
        let packed: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        bytes.extend_from_slice(&[tag.to_le_bytes(), 3_u16.to_le_bytes()].concat());
        bytes.extend_from_slice(&(values.len() as u32).to_le_bytes());
        if packed.len() > 4 {
            let offset = (outside_start + outside.len()) as u32;
            bytes.extend_from_slice(&offset.to_le_bytes());
            outside.extend_from_slice(&packed);
        } else {
            let mut inline = packed;
            inline.resize(4, 0);
            bytes.extend_from_slice(&inline);
        }
    }
    [&bytes[..], &[0; 4], &outside].concat()
}

fn decode(bytes: &[u8]) -> Vec<u8> {
    decode_upright(bytes, DecodeLimits::default()).unwrap().into_raw()
}

/// Returns the tags of an image of 2 x 1 pixels.
fn tags_of_two_pixels<'a>(
    photometric: &'a [u16; 1],
    bits: &'a [u16],
    more: &[(u16, &'a [u16])],
) -> Vec<(u16, &'a [u16])> {
    let mut tags: Vec<(u16, &[u16])> = vec![
        (tag::WIDTH, &[2]),
        (tag::HEIGHT, &[1]),
        (tag::BITS_PER_SAMPLE, bits),
        (tag::PHOTOMETRIC, photometric),
    ];
    tags.extend_from_slice(more);
    tags
}

#[test]
fn the_order_of_bits_is_turned_in_data_of_every_kind() {
    for name in ["black_and_white.tif", "cmyk.tif", "rgb_lzw.tif", "rgb_deflate.tif"] {
        let plain = fixture(name);
        let directory = Directory::read(&plain).unwrap();
        let offsets = directory.values(tag::STRIP_OFFSETS);
        let strips: Vec<_> = offsets.zip(directory.values(tag::STRIP_BYTE_COUNTS)).collect();
        let mut turned = plain.clone();
        for (offset, length) in strips {
            for byte in &mut turned[offset as usize..][..length as usize] {
                *byte = byte.reverse_bits();
            }
        }
        // The tag takes the place of one that says how planes lie, which is the default here.
        let entry = entry_offset(&turned, 284);
        turned[entry..entry + 2].copy_from_slice(&tag::FILL_ORDER.to_le_bytes());
        turned[entry + 8] = 2;
        assert_eq!(decode(&turned), decode(&plain), "{name}");
        turned[entry + 8] = 3;
        let error = decode_error(&turned).to_string();
        assert!(error.contains("FillOrder 3; allowed: 1 and 2"), "{error}");
    }
}

#[test]
fn data_that_overlap_are_turned_once() {
    // Two strips of one row each share a byte.
    let tags: &[(u16, &[u16])] = &[
        (tag::WIDTH, &[8]),
        (tag::HEIGHT, &[2]),
        (tag::BITS_PER_SAMPLE, &[1]),
        (tag::PHOTOMETRIC, &[1]),
        (tag::FILL_ORDER, &[2]),
        (278, &[1]),
    ];
    let mut bytes = tiff(tags, &[0b0000_0001, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for (tag, values) in [(tag::STRIP_OFFSETS, [8_u16, 8]), (tag::STRIP_BYTE_COUNTS, [1, 1])] {
        let entry = entry_offset(&bytes, tag);
        bytes[entry + 4] = 2;
        bytes[entry + 8..entry + 10].copy_from_slice(&values[0].to_le_bytes());
        bytes[entry + 10..entry + 12].copy_from_slice(&values[1].to_le_bytes());
    }
    let row = [[255; 3], [0; 3], [0; 3], [0; 3], [0; 3], [0; 3], [0; 3], [0; 3]].concat();
    assert_eq!(decode(&bytes), [row.clone(), row].concat());
}

#[test]
fn colors_are_divided_by_the_alpha_that_they_were_multiplied_with() {
    let rgb = tags_of_two_pixels(
        &[2],
        &[8, 8, 8, 8],
        &[(tag::SAMPLES_PER_PIXEL, &[4]), (tag::EXTRA_SAMPLES, &[1])],
    );
    let chunky = tiff(&rgb, &[50, 100, 25, 100, 9, 9, 9, 0]);
    let expected = [127, 255, 63, 0, 0, 0];
    assert_eq!(decode(&chunky), expected);
    let planes = [&rgb[..], &[(284, &[2])]].concat();
    let mut planes = tiff(&planes, &[50, 9, 100, 9, 25, 9, 100, 0]);
    with_strips(&mut planes, 4, 2);
    assert_eq!(decode(&planes), expected);
    let gray = tags_of_two_pixels(
        &[1],
        &[8, 8],
        &[(tag::SAMPLES_PER_PIXEL, &[2]), (tag::EXTRA_SAMPLES, &[1])],
    );
    assert_eq!(decode(&tiff(&gray, &[50, 100, 7, 255])), [127, 127, 127, 7, 7, 7]);
    let five = tags_of_two_pixels(
        &[2],
        &[8; 5],
        &[(tag::SAMPLES_PER_PIXEL, &[5]), (tag::EXTRA_SAMPLES, &[1, 0])],
    );
    assert_eq!(
        decode(&tiff(&five, &[50, 100, 25, 100, 3, 9, 9, 9, 255, 3])),
        [127, 255, 63, 9, 9, 9]
    );
    let mut second = five;
    second[5].1 = &[0, 1];
    let error = decode_error(&tiff(&second, &[0; 10])).to_string();
    assert!(error.contains("multiplied by an alpha channel that cannot be used"), "{error}");
}

/// Appends offsets and lengths of `count` strips of `length` bytes, from offset 8.
fn with_strips(bytes: &mut Vec<u8>, count: u32, length: u32) {
    for tag in [tag::STRIP_OFFSETS, tag::STRIP_BYTE_COUNTS] {
        let entry = entry_offset(bytes, tag);
        let values_offset = (bytes.len() as u32).to_le_bytes();
        bytes[entry + 2] = 4;
        bytes[entry + 4..entry + 8].copy_from_slice(&count.to_le_bytes());
        bytes[entry + 8..entry + 12].copy_from_slice(&values_offset);
        for index in 0..count {
            let value = if tag == tag::STRIP_OFFSETS { 8 + index * length } else { length };
            bytes.extend_from_slice(&value.to_le_bytes());
        }
    }
}

#[test]
fn a_color_map_of_8_bits_is_one_of_16_bits_too_small() {
    let colors = [1_u16, 255, 0, 4, 2, 128, 0, 5, 3, 7, 0, 6];
    let wide: Vec<u16> = colors.iter().map(|color| color * 257).collect();
    for color_map in [&colors[..], &wide] {
        let tags = tags_of_two_pixels(&[3], &[2], &[(tag::COLOR_MAP, color_map)]);
        assert_eq!(decode(&tiff(&tags, &[0b0001_0000])), [1, 2, 3, 255, 128, 7]);
        let more = [
            (tag::COLOR_MAP, color_map),
            (tag::SAMPLES_PER_PIXEL, &[2][..]),
            (tag::EXTRA_SAMPLES, &[0]),
        ];
        let tags = tags_of_two_pixels(&[3], &[8, 8], &more);
        assert_eq!(decode(&tiff(&tags, &[0, 9, 1, 9])), [1, 2, 3, 255, 128, 7]);
    }
}

#[test]
fn samples_whose_meaning_is_not_known_are_refused_by_name() {
    const SAMPLES: u16 = tag::SAMPLES_PER_PIXEL;
    let two: &[(u16, &[u16])] = &[(SAMPLES, &[2])];
    let three: &[(u16, &[u16])] = &[(SAMPLES, &[3])];
    let wide_palette: &[(u16, &[u16])] = &[(tag::COLOR_MAP, &[1; 12])];
    let other_inks: &[(u16, &[u16])] = &[(SAMPLES, &[4]), (tag::INK_SET, &[2])];
    let multiplied_inks: &[(u16, &[u16])] = &[(SAMPLES, &[5]), (tag::EXTRA_SAMPLES, &[1])];
    for (photometric, bits, more, words) in [
        ([1], &[8; 3][..], three, "whose 3 bands are called gray and 2 others"),
        ([0], &[8; 2], two, "whose white is zero, with 2 samples"),
        ([3], &[16], wide_palette, "a palette and 16 bits per sample"),
        ([5], &[8; 4], other_inks, "not cyan, magenta, yellow, black"),
        ([5], &[8; 5], multiplied_inks, "ExtraSamples 1"),
    ] {
        let tags = tags_of_two_pixels(&photometric, bits, more);
        let error = decode_error(&tiff(&tags, &[0; 20])).to_string();
        assert!(error.contains(words), "{error}");
    }
}
