use proptest::prelude::*;

use super::*;
use crate::imaging::fixtures::{all_fixtures, fixture};
use crate::imaging::{DecodeError, DecodeLimits, decode_upright};

fn decode(bytes: &[u8]) -> std::result::Result<image::RgbImage, DecodeError> {
    decode_upright(bytes, DecodeLimits { max_pixels: 1 << 20 })
}

/// Lists the offsets of the markers that end a scan's data or a part of them.
fn data_ends(jpeg: &[u8]) -> Vec<usize> {
    let (mut ends, mut is_in_scan) = (Vec::new(), false);
    for segment in Segments::new(jpeg) {
        if is_in_scan {
            ends.push(segment.offset);
        }
        is_in_scan =
            segment.marker == marker::SOS || is_in_scan && is_restart_marker(segment.marker);
    }
    ends
}

fn with_inserted(bytes: &[u8], offset: usize, inserted: &[u8]) -> Vec<u8> {
    [&bytes[..offset], inserted, &bytes[offset..]].concat()
}

#[test]
fn every_scan_of_every_kind_is_walked_to_its_end() {
    let mut walked = 0;
    for (name, bytes) in all_fixtures() {
        if bytes.starts_with(b"\xff\xd8") {
            assert_eq!(find_padding(&bytes), Ok(Vec::new()), "{name}");
            walked += 1;
        }
    }
    assert!(walked > 15, "only {walked} files");
}

#[test]
fn padding_is_found_wherever_it_stands() {
    for name in
        ["rgb_420.jpg", "restart_markers.jpg", "progressive_420.jpg", "cmyk_progressive.jpg"]
    {
        let plain = fixture(name);
        for end in data_ends(&plain) {
            for padding in [&[0; 17][..], &[0x12; 9], &[7, 8, 9], &[0; 500], b"\xff\0\x01"] {
                let bytes = with_inserted(&plain, end, padding);
                let found = find_padding(&bytes).unwrap();
                assert_eq!(found.len(), 1, "{name}");
                assert_eq!(found[0], end..end + padding.len(), "{name}");
                assert_eq!(decode(&bytes), decode(&plain), "{name}");
            }
        }
    }
    // In every place at once.
    let mut bytes = fixture("restart_markers.jpg");
    let expected = decode(&bytes);
    let ends = data_ends(&bytes);
    for &end in ends.iter().rev() {
        bytes = with_inserted(&bytes, end, b"pad");
    }
    assert_eq!(find_padding(&bytes).unwrap().len(), ends.len());
    assert_eq!(decode(&bytes), expected);
}

#[test]
fn bytes_that_look_like_data_are_no_padding() {
    let data: Vec<u8> = (1..=40).collect();
    for name in ["rgb_420.jpg", "restart_markers.jpg", "progressive_420.jpg"] {
        let plain = fixture(name);
        for end in data_ends(&plain) {
            let error = decode(&with_inserted(&plain, end, &data)).unwrap_err().to_string();
            assert!(error.contains("40 bytes of the picture's data are left over"), "{error}");
        }
    }
}

#[test]
fn damage_behind_padding_is_found() {
    let plain = fixture("restart_markers.jpg");
    let ends = data_ends(&plain);
    let last = ends.len() - 1;
    // Padding before the first restart marker, and the end of the last part missing.
    let mut bytes = plain.clone();
    bytes.drain(ends[last] - 4..ends[last]);
    let bytes = with_inserted(&bytes, ends[0], &[0x12; 9]);
    let error = decode(&bytes).unwrap_err().to_string();
    assert!(error.contains("premature end"), "{error}");
    // A restart marker that is not the next one is damage, too.
    let mut bytes = plain.clone();
    bytes[ends[1] + 1] = 0xd7;
    let bytes = with_inserted(&bytes, ends[0], &[0x12; 9]);
    assert!(decode(&bytes).is_err());
}

#[test]
fn kinds_that_are_not_walked_may_have_few_bytes_at_their_end() {
    let arithmetic = {
        let mut bytes = fixture("rgb_444.jpg");
        let frame = Segments::new(&bytes).find(|segment| segment.marker == 0xc0).unwrap();
        bytes[frame.offset + 1] = 0xc9;
        bytes
    };
    assert_eq!(find_padding(&arithmetic), Err(WalkError::NotWalked));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_damage_ends_the_walk_or_is_passed(
        which in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let names = ["rgb_420.jpg", "restart_markers.jpg", "progressive_420.jpg", "gray_progressive.jpg"];
        let mut bytes = fixture(names[which.index(names.len())]);
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(padding) = find_padding(&bytes) {
            prop_assert!(padding.is_sorted_by_key(|range| range.start));
            let stripped = crate::imaging::jpeg_markers::without_ranges(&bytes, padding);
            prop_assert_eq!(find_padding(&stripped), Ok(Vec::new()));
        }
    }
}
