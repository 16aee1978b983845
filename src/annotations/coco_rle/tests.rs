use image::GrayImage;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

use super::super::runs::tests::any_mask;
use super::*;

/// Counts and texts that `tests/golden/make_coco_rle.py` wrote.
fn golden() -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/coco_rle.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn counts_and_texts_are_those_of_pycocotools() {
    let golden = golden();
    assert!(golden.len() > 12);
    for vector in golden {
        let name = &vector["name"];
        let size = |key: &str| vector[key].as_u64().unwrap() as u32;
        let (width, height) = (size("width"), size("height"));
        let counts: Vec<u32> = serde_json::from_value(vector["counts"].clone()).unwrap();
        let text = vector["text"].as_str().unwrap();
        let runs = decode_counts(&counts, width, height).unwrap();
        assert!(decode_compressed(text, width, height).unwrap() == runs, "{name}");
        assert_eq!(encode_counts(&runs), counts, "{name}");
        assert_eq!(encode_compressed(&runs), text, "{name}");
        if let Some(rows) = vector["rows"].as_array() {
            let pixels = rows.iter().flat_map(|row| row.as_str().unwrap().bytes()).collect();
            let mask = GrayImage::from_raw(width, height, pixels).unwrap();
            assert!(runs == Runs::from_class(&mask, b'1'), "{name}");
        }
    }
}

#[test]
fn counts_that_are_0_join_their_neighbors() {
    let runs = decode_counts(&[0, 2, 0, 1, 1], 2, 2).unwrap();
    assert_eq!(runs, Runs::from_sorted(2, 2, std::iter::once(0..3)));
    assert_eq!(encode_counts(&runs), [0, 3, 1]);
}

#[test]
fn counts_of_another_image_are_refused() {
    for counts in [&[3][..], &[], &[1, u32::MAX, u32::MAX], &[0, 5]] {
        let error = decode_counts(counts, 2, 2).unwrap_err().to_string();
        assert!(error.contains("but 2 x 2 pixels are 4"), "{error}");
    }
    assert!(decode_counts(&[1], u32::MAX, u32::MAX).unwrap_err().to_string().contains("allowed"));
    assert!(decode_counts(&[], 0, 7).unwrap().is_empty());
}

#[test]
fn what_is_no_text_of_counts_is_told() {
    for (text, told) in [
        ("4\u{e9}", "character 2 is no part of it (found 'é')"),
        ("4 ", "found ' '"),
        ("4p", "found 'p'"),
        ("oooooooo0", "character 8"),
        ("P", "is cut off: its 1 characters end inside a count"),
        ("O", "count 1 is -1"),
        ("PPPPPP4", "count 1 is 4294967296"),
    ] {
        let error = decode_compressed(text, 2, 2).unwrap_err().to_string();
        assert!(error.contains(told), "{text}: {error}");
    }
    assert!(decode_compressed("", 2, 2).unwrap_err().to_string().contains("add up to 0"));
}

proptest! {
    #[test]
    fn encoding_and_decoding_is_the_identity(mask in any_mask()) {
        let runs = Runs::from_class(&mask, 1);
        let (width, height) = mask.dimensions();
        prop_assert_eq!(&decode_counts(&encode_counts(&runs), width, height).unwrap(), &runs);
        prop_assert_eq!(decode_compressed(&encode_compressed(&runs), width, height).unwrap(), runs);
    }

    #[test]
    fn counts_number_pixels_down_the_columns(mask in any_mask()) {
        let counts = encode_counts(&Runs::from_class(&mask, 1));
        let mut at = 0;
        for (index, &count) in counts.iter().enumerate() {
            prop_assert!(count > 0 || index == 0 || mask.is_empty());
            for pixel in at..at + count {
                let (column, row) = (pixel / mask.height(), pixel % mask.height());
                prop_assert_eq!(usize::from(mask.get_pixel(column, row).0[0]), index % 2);
            }
            at += count;
        }
        prop_assert_eq!(at, mask.width() * mask.height());
    }

    #[test]
    fn any_counts_are_runs_or_an_error(
        counts in vec(prop_oneof![0..20_u32, any::<u32>()], 0..12),
        (width, rest) in (1..20_u32, any::<bool>()),
    ) {
        let sum: u64 = counts.iter().copied().map(u64::from).sum();
        let height = if rest { (sum / u64::from(width)) as u32 } else { 3 };
        if let Ok(runs) = decode_counts(&counts, width, height) {
            prop_assert_eq!(u64::from(width * height), sum);
            let covered = counts.iter().skip(1).step_by(2);
            prop_assert_eq!(runs.area(), covered.copied().map(u64::from).sum::<u64>());
        }
    }

    #[test]
    fn any_text_is_runs_or_an_error(
        text in prop_oneof!["[0-o]{0,40}", any::<String>()],
        (width, height) in (0..30_u32, 0..30_u32),
    ) {
        if let Ok(runs) = decode_compressed(&text, width, height) {
            prop_assert!(runs.iter().all(|run| run.start < run.end && run.end <= width * height));
            prop_assert_eq!(decode_compressed(&encode_compressed(&runs), width, height).unwrap(), runs);
        }
    }
}
