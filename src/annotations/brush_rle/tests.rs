use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use image::GrayImage;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

use super::super::runs::tests::any_mask;
use super::*;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/annotations");

fn path(name: &str) -> PathBuf {
    Path::new(FOLDER).join(name)
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&fs::read(path(name)).unwrap()).unwrap()
}

fn gray(name: &str) -> GrayImage {
    image::open(path(name)).unwrap().into_luma8()
}

fn bytes(rle: &Value) -> Vec<u8> {
    serde_json::from_value(rle.clone()).unwrap()
}

fn size(value: &Value) -> u32 {
    value.as_u64().unwrap() as u32
}

/// Returns the brush regions of an export in order: (name of the file in the export `BRUSH_TO_PNG`,
/// bytes, size).
fn regions() -> Vec<(String, Vec<u8>, u32, u32)> {
    let mut regions = Vec::new();
    for task in json("exports/seg_JSON.json").as_array().unwrap() {
        for annotation in task["annotations"].as_array().unwrap() {
            let mut numbers = std::collections::BTreeMap::<String, usize>::new();
            for region in annotation["result"].as_array().unwrap() {
                let value = &region["value"];
                let Some(labels) = value["brushlabels"].as_array() else { continue };
                let labels: Vec<_> = labels.iter().map(|label| label.as_str().unwrap()).collect();
                let label = labels.join("-").replace('/', "-");
                let number = numbers.entry(label.clone()).or_default();
                let (task, annotation) = (&task["id"], &annotation["id"]);
                let name =
                    format!("task-{task}-annotation-{annotation}-by-1-brush-{label}-{number}");
                *number += 1;
                let (width, height) = (&region["original_width"], &region["original_height"]);
                regions.push((name, bytes(&value["rle"]), size(width), size(height)));
            }
        }
    }
    regions
}

#[test]
fn regions_of_an_export_are_what_label_studio_exports_as_pictures() {
    let regions = regions();
    assert_eq!(regions.len(), 10);
    for (name, rle, width, height) in regions {
        let expected = gray(&format!("exports/seg_BRUSH_TO_PNG/{name}.png"));
        assert_eq!(expected.dimensions(), (width, height), "{name}");
        let runs = decode_brush_rle(&rle, width, height).unwrap();
        assert!(!runs.is_empty(), "{name}");
        assert!(runs == Runs::from_mask_where(&expected, |alpha| alpha > 0), "{name}");
    }
}

#[test]
fn regions_of_an_export_are_the_masks_that_were_drawn() {
    let drawn = [
        "task0_road_ellipse",
        "task0_car_rect",
        "task0_tree_ring",
        "task1_person_a",
        "task1_person_b",
        "task3_0_rocket",
        "task3_1_rocket",
        "task5_exif",
        "task6_noise",
    ];
    for ((name, rle, width, height), mask) in regions().into_iter().zip(drawn) {
        let expected =
            Runs::from_mask_where(&gray(&format!("masks/{mask}.png")), |alpha| alpha > 0);
        assert!(decode_brush_rle(&rle, width, height).unwrap() == expected, "{name} is {mask}");
    }
}

#[test]
fn bytes_are_those_of_label_studios_own_encoder() {
    for (name, rle, width, height) in regions() {
        assert!(encode_brush_rle(&decode_brush_rle(&rle, width, height).unwrap()) == rle, "{name}");
    }
}

#[test]
fn what_the_editor_packs_is_read_by_its_alpha() {
    let vectors = json("masks/frontend_rle_vectors.json");
    let vectors = vectors.as_object().unwrap();
    assert_eq!(vectors.len(), 6);
    for (name, vector) in vectors {
        let (width, height) = (size(&vector["width"]), size(&vector["height"]));
        let alpha = vector["alpha_row_major_base64"].as_str().unwrap();
        let alpha = BASE64_STANDARD.decode(alpha).unwrap();
        let alpha = GrayImage::from_raw(width, height, alpha).unwrap();
        let runs = decode_brush_rle(&bytes(&vector["rle"]), width, height).unwrap();
        assert!(runs == Runs::from_mask_where(&alpha, |alpha| alpha > 0), "{name}");
    }
}

/// Packets of the format: the index of a size, and values or a value with its count.
#[derive(Debug)]
enum Packet {
    Repeat(u32, u8, u32),
    Literal(u32, Vec<u8>),
}

/// Returns a stream that is written from the format's description, one bit after the other.
fn stream(values: u32, sizes: [u32; 4], packets: &[Packet]) -> Vec<u8> {
    let mut bits = Vec::new();
    let mut put = |value: u32, count: u32| {
        bits.extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
    };
    put(values, 32);
    put(7, 5);
    for size in sizes {
        put(size - 1, 4);
    }
    for packet in packets {
        match packet {
            Packet::Repeat(size, value, count) => {
                put(0b100 | size, 3);
                put(count - 1, sizes[*size as usize]);
                put((*value).into(), 8);
            }
            Packet::Literal(size, words) => {
                put(*size, 3);
                put(words.len() as u32 - 1, sizes[*size as usize]);
                for &word in words {
                    put(word.into(), 8);
                }
            }
        }
    }
    let byte = |bits: &[bool]| {
        (0..8).fold(0, |byte, at| byte << 1 | u8::from(bits.get(at) == Some(&true)))
    };
    bits.chunks(8).map(byte).collect()
}

const SIZES: [u32; 4] = [3, 4, 8, 16];

#[test]
fn one_pixel_is_covered_or_not() {
    for alpha in [0, 1, 255] {
        let rle = stream(4, SIZES, &[Packet::Literal(0, vec![255, 255, 255, alpha])]);
        assert_eq!(decode_brush_rle(&rle, 1, 1).unwrap().area(), u64::from(alpha > 0));
    }
    let one = Runs::from_sorted(1, 1, std::iter::once(0..1));
    assert_eq!(decode_brush_rle(&encode_brush_rle(&one), 1, 1).unwrap(), one);
}

#[test]
fn runs_longer_than_a_packet_are_one() {
    let runs = Runs::from_sorted(400, 300, [3..70_000, 70_001..120_000]);
    let rle = encode_brush_rle(&runs);
    assert!(rle.len() < 48, "{}", rle.len());
    assert_eq!(decode_brush_rle(&rle, 400, 300).unwrap(), runs);
}

#[test]
fn a_last_packet_that_is_too_long_is_cut() {
    let rle = stream(8, SIZES, &[Packet::Repeat(3, 9, 65_536)]);
    assert_eq!(decode_brush_rle(&rle, 2, 1).unwrap().area(), 2);
    let rle = stream(4, SIZES, &[Packet::Literal(0, vec![0, 0, 0, 1, 9, 9])]);
    assert_eq!(decode_brush_rle(&rle, 1, 1).unwrap().area(), 1);
}

#[test]
fn a_size_that_is_not_the_images_is_refused() {
    let rle = encode_brush_rle(&Runs::new(8, 6));
    let error = decode_brush_rle(&rle, 6, 6).unwrap_err().to_string();
    assert!(error.contains("192 values, but 6 x 6 pixels make 144"), "{error}");
    let error = decode_brush_rle(&stream(u32::MAX, SIZES, &[]), 6, 6).unwrap_err().to_string();
    assert!(error.contains("4294967295 values"), "{error}");
    let error = decode_brush_rle(&rle, u32::MAX, u32::MAX).unwrap_err().to_string();
    assert!(error.contains("allowed: up to 65535 to a side"), "{error}");
}

#[test]
fn words_that_are_no_bytes_are_refused() {
    let mut rle = encode_brush_rle(&Runs::new(8, 6));
    rle[4] = rle[4] & 7 | 15 << 3;
    let error = decode_brush_rle(&rle, 8, 6).unwrap_err().to_string();
    assert!(error.contains("values of 16 bits; allowed: 8"), "{error}");
}

#[test]
fn a_cut_stream_is_told_wherever_it_is_cut() {
    let runs = Runs::from_sorted(30, 20, [4..9, 40..300, 500..501]);
    let rle = encode_brush_rle(&runs);
    for length in 0..rle.len() - 1 {
        let error = decode_brush_rle(&rle[..length], 30, 20).unwrap_err().to_string();
        assert!(error.contains("cut off") || error.contains("too few"), "{length}: {error}");
    }
    // The last byte holds no packet, only the zeros that fill it up.
    let whole = [rle.as_slice(), &[255; 9]].concat();
    assert_eq!(decode_brush_rle(&whole, 30, 20).unwrap(), runs);
}

fn packets() -> impl Strategy<Value = ([u32; 4], Vec<Packet>)> {
    let sizes = [1..=16_u32, 1..=16_u32, 1..=16_u32, 1..=16_u32];
    let packet =
        (any::<bool>(), 0..4_u32, prop_oneof![Just(0), any::<u8>()], 0..40_u32, any::<u64>());
    (sizes, vec(packet, 0..30)).prop_map(|(sizes, packets)| {
        let packet = |(is_repeat, size, value, count, seed): (bool, u32, u8, u32, u64)| {
            let count = count % (1 << sizes[size as usize]) + 1;
            if is_repeat {
                return Packet::Repeat(size, value, count);
            }
            let word = |at: u32| if seed >> (at % 60) & 1 == 1 { value } else { 0 };
            Packet::Literal(size, (0..count).map(word).collect())
        };
        (sizes, packets.into_iter().map(packet).collect())
    })
}

proptest! {
    #[test]
    fn encoding_and_decoding_is_the_identity(mask in any_mask()) {
        let runs = Runs::from_class(&mask, 1);
        prop_assert_eq!(decode_brush_rle(&encode_brush_rle(&runs), mask.width(), mask.height()).unwrap(), runs);
    }

    #[test]
    fn packets_of_both_kinds_and_all_sizes_are_read_value_by_value((sizes, packets) in packets()) {
        let mut values = Vec::new();
        for packet in &packets {
            match packet {
                Packet::Repeat(_, value, count) => values.extend((0..*count).map(|_| *value)),
                Packet::Literal(_, words) => values.extend(words),
            }
        }
        let pixels = values.len() / 4;
        let rle = stream(pixels as u32 * 4, sizes, &packets);
        let alphas = values.chunks_exact(4).map(|pixel| pixel[3]).collect();
        let alphas = GrayImage::from_raw(pixels as u32, 1, alphas).unwrap();
        prop_assert_eq!(decode_brush_rle(&rle, pixels as u32, 1).unwrap(), Runs::from_mask_where(&alphas, |alpha| alpha > 0));
    }

    #[test]
    fn any_bytes_are_runs_or_an_error_and_no_more_runs_than_bytes(
        rle in vec(any::<u8>(), 0..300),
        (width, height) in (0..5000_u32, 0..5000_u32),
        is_right in any::<bool>(),
    ) {
        let mut rle = rle;
        if let (true, Some(head)) = (is_right, rle.get_mut(..5)) {
            head[..4].copy_from_slice(&(width * height * 4).to_be_bytes());
            head[4] = head[4] & 7 | 7 << 3;
        }
        if let Ok(runs) = decode_brush_rle(&rle, width, height) {
            prop_assert!(runs.iter().len() <= rle.len());
            prop_assert!(runs.iter().all(|run| run.start < run.end && run.end <= width * height));
        }
    }
}
