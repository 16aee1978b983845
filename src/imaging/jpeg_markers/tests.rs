use proptest::prelude::*;

use super::*;
use crate::imaging::fixtures::fixture;
use crate::imaging::{DecodeError, DecodeLimits, decode_upright};

fn decode(bytes: &[u8]) -> Result<image::RgbImage, DecodeError> {
    decode_upright(bytes, DecodeLimits { max_pixels: 1 << 20 })
}

/// Returns a segment with its marker and length.
fn segment(marker: u8, content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u16 + 2).to_be_bytes();
    [&[0xff, marker], &length[..], content].concat()
}

/// Returns a picture with bytes behind its start-of-image marker.
fn with_start(jpeg: &[u8], start: &[u8]) -> Vec<u8> {
    [&jpeg[..2], start, &jpeg[2..]].concat()
}

/// Returns the offset of a segment's marker.
fn find_segment(bytes: &[u8], marker: u8) -> usize {
    Segments::new(bytes).find(|segment| segment.marker == marker).unwrap().offset
}

/// Returns a picture cut off at 3/5 of its data, with an end marker.
fn cut(jpeg: &[u8]) -> Vec<u8> {
    let scan = find_segment(jpeg, marker::SOS);
    let end = scan + (jpeg.len() - scan) * 3 / 5;
    [&jpeg[..end], b"\xff\xd9"].concat()
}

#[test]
fn oddities_in_front_of_the_picture_change_nothing_and_hide_no_damage() {
    let plain = fixture("rgb_420.jpg");
    let expected = decode(&plain).unwrap();
    assert!(decode(&cut(&plain)).is_err());
    let adobe =
        |transform| segment(marker::APP14, &[b"Adobe\0\x64\0\0\0\0", &[transform][..]].concat());
    let profile = |number, count| {
        segment(marker::APP2, &[ICC_IDENTIFIER, &[number, count], b"profile"].concat())
    };
    let mut no_jfif = plain.clone();
    let jfif = find_segment(&plain, marker::APP0);
    no_jfif.drain(jfif..jfif + 18);
    let mut jfif_3 = plain.clone();
    jfif_3[jfif + 9] = 3;
    let mut files = vec![jfif_3, with_start(&no_jfif, &adobe(7)), with_start(&plain, &adobe(9))];
    for parts in
        [vec![(1, 2)], vec![(0, 1)], vec![(1, 2), (1, 2)], vec![(1, 2), (2, 3)], vec![(3, 2)]]
    {
        let profiles: Vec<u8> =
            parts.into_iter().flat_map(|part| profile(part.0, part.1)).collect();
        files.push(with_start(&plain, &profiles));
    }
    files.push(with_start(&plain, &segment(marker::APP2, &[ICC_IDENTIFIER, &[1, 1]].concat())));
    files.push(with_start(&plain, b"stray \xff\0 bytes"));
    files.push(with_start(&plain, &[&segment(0xfe, b"comment")[..], &[0; 300]].concat()));
    for bytes in files {
        let start = &bytes[..bytes.len().min(60)];
        assert_eq!(decode(&bytes).unwrap(), expected, "{start:x?}");
        assert!(decode(&cut(&bytes)).is_err(), "{start:x?}");
    }
}

#[test]
fn a_whole_profile_and_fill_bytes_are_left_alone() {
    let plain = fixture("rgb_420.jpg");
    let part =
        |number: u8| segment(marker::APP2, &[ICC_IDENTIFIER, &[number, 2], b"profile"].concat());
    let fill = b"\xff\xff\xff";
    let bytes = with_start(&plain, &[&part(2)[..], &part(1)[..], fill].concat());
    assert!(matches!(repair_markers(Cow::Borrowed(&bytes)), Ok(Cow::Borrowed(_))));
    assert_eq!(decode(&bytes), decode(&plain));
}

#[test]
fn the_selection_of_coefficients_counts_in_progressive_scans_only() {
    let plain = fixture("rgb_444.jpg");
    let scan = find_segment(&plain, marker::SOS);
    // Marker, length, number of components, three components.
    let selection = scan + 4 + 1 + 6;
    assert_eq!(&plain[selection..selection + 3], &[0, 63, 0]);
    for numbers in [[0, 0, 0], [0, 64, 0], [0, 63, 17], [1, 2, 3], [255; 3]] {
        let mut bytes = plain.clone();
        bytes[selection..selection + 3].copy_from_slice(&numbers);
        assert_eq!(decode(&bytes), decode(&plain), "{numbers:?}");
        assert!(decode(&cut(&bytes)).is_err());
    }
    let mut progressive = fixture("progressive_444.jpg");
    let scan = find_segment(&progressive, marker::SOS);
    progressive[scan + 4 + 1 + 6 + 1] = 9;
    assert!(decode(&progressive).is_err());
}

#[test]
fn kinds_that_cannot_be_read_are_named() {
    for (marker, precision, words) in [
        (0xc1, 12, "12 bits per sample"),
        (0xc3, 16, "lossless JPEG with 16 bits"),
        (0xcb, 8, "lossless JPEG with arithmetic coding"),
        (0xc5, 8, "hierarchical"),
        (0xf7, 8, "JPEG-LS"),
    ] {
        let mut bytes = fixture("rgb_444.jpg");
        let frame = find_segment(&bytes, 0xc0);
        (bytes[frame + 1], bytes[frame + 4]) = (marker, precision);
        let error = decode(&bytes).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_file_without_scans_or_without_its_end_is_refused() {
    let plain = fixture("rgb_444.jpg");
    let scan = find_segment(&plain, marker::SOS);
    let none = [&plain[..scan], b"\xff\xd9"].concat();
    let error = repair_markers(Cow::Borrowed(&none)).unwrap_err();
    assert_eq!(error, "a JPEG without picture data");
    let error = repair_markers(Cow::Borrowed(&plain[..plain.len() - 2])).unwrap_err();
    assert_eq!(error, TRUNCATED);
}

proptest! {
    #[test]
    fn any_segments_are_walked(
        bytes in prop::collection::vec(
            prop::sample::select(vec![0xff, 0xd8, 0xd9, 0xda, 0xc0, 0xe0, 0xe2, 0xee, 0, 2, 3, 14]),
            0..80,
        ),
    ) {
        let bytes = [b"\xff\xd8", &bytes[..]].concat();
        if let Ok(repaired) = repair_markers(Cow::Borrowed(&bytes)) {
            // A repaired file has nothing left to repair.
            let again = repair_markers(Cow::Borrowed(&repaired)).unwrap();
            prop_assert_eq!(&again, &repaired);
        }
    }
}
