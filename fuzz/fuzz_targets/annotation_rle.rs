//! Fuzzes brush RLE and COCO's RLE: any bytes are runs or an error, runs keep their invariants, and
//! encoded runs decode to the same runs. The first byte picks the decoder, the next two are the
//! image's width and height.

#![no_main]

use libfuzzer_sys::fuzz_target;
use maskmaker::annotations::contours::trace_outlines;
use maskmaker::annotations::{Runs, brush_rle, coco_rle};

/// Largest number of runs whose outlines are checked too.
const MAX_OUTLINED: usize = 300;

fuzz_target!(|bytes: &[u8]| {
    let [kind, width, height, rest @ ..] = bytes else { return };
    // Sides are up to 255 pixels, or with the highest bit multiples of 257 up to 65,535, which no
    // bytes of a fuzzer fill.
    let scale = if kind & 128 == 0 { 1 } else { 257 };
    let (width, height) = (u32::from(*width) * scale, u32::from(*height) * scale);
    let decoded = match kind & 3 {
        0 => brush_rle::decode_brush_rle(rest, width, height),
        1 => {
            // The header is made right, so that the fuzzer reaches the packets without luck.
            let values = width.wrapping_mul(height).wrapping_mul(4).to_be_bytes();
            let rle = [&values[..], &[0x39, 0x1b], rest].concat();
            let decoded = brush_rle::decode_brush_rle(&rle, width, height);
            // A run takes two packets of at least 13 bits.
            let runs = decoded.as_ref().map_or(0, |runs| runs.iter().len());
            assert!(3 * runs <= rle.len());
            decoded
        }
        2 => {
            let Ok(text) = std::str::from_utf8(rest) else { return };
            coco_rle::decode_compressed(text, width, height)
        }
        _ => {
            let counts =
                rest.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]).into());
            coco_rle::decode_counts(&counts.collect::<Vec<u32>>(), width, height)
        }
    };
    match decoded {
        Ok(runs) => check(&runs, width, height),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});

fn check(runs: &Runs, width: u32, height: u32) {
    assert_eq!((runs.width(), runs.height()), (width, height));
    let mut end = None;
    for run in runs.iter() {
        assert!(run.start < run.end && run.end <= width * height);
        assert!(end.is_none_or(|end| end < run.start));
        end = Some(run.end);
    }
    let counts = coco_rle::encode_counts(runs);
    assert_eq!(coco_rle::decode_counts(&counts, width, height).as_ref().ok(), Some(runs));
    let text = coco_rle::encode_compressed(runs);
    assert_eq!(coco_rle::decode_compressed(&text, width, height).as_ref().ok(), Some(runs));
    let rle = brush_rle::encode_brush_rle(runs);
    assert_eq!(brush_rle::decode_brush_rle(&rle, width, height).as_ref().ok(), Some(runs));
    if runs.iter().len() > MAX_OUTLINED || height > 255 {
        return;
    }
    let outlines = trace_outlines(runs, 0.0);
    let parts =
        outlines.iter().map(|outline| outline.rasterize(width, height).expect("it is small"));
    assert_eq!(&parts.fold(Runs::new(width, height), |all, part| all.union(&part)), runs);
}
