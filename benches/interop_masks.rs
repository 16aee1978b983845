//! Writes masks and what the encoders make of them, for comparison with Label Studio's converter
//! and with pycocotools (`make test-interop`): per mask `NAME.png` (gray, 0 and 255) and
//! `NAME.json` with `brush` (bytes), `coco_counts`, `coco_text`, and `outlines`, exact and
//! (`simplified`) to within a pixel: `[{"outer": [[x, y], ..], "holes": [..]}]`.

#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

use std::path::Path;

use image::{GrayImage, Luma};
use maskmaker::annotations::contours::{self, Outline};
use maskmaker::annotations::runs::Runs;
use maskmaker::annotations::{brush_rle, coco_rle};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::{Value, json};

fn main() {
    let Some(folder) = std::env::args().nth(1) else {
        eprintln!("usage: interop_masks FOLDER");
        std::process::exit(2);
    };
    std::fs::create_dir_all(&folder).unwrap();
    for (name, mask) in shaped().into_iter().chain(random()) {
        write(Path::new(&folder), &name, &mask);
    }
}

/// A mask of what a rule says of pixel centers.
fn mask(width: u32, height: u32, mut is_inside: impl FnMut(f64, f64) -> bool) -> GrayImage {
    GrayImage::from_fn(width, height, |x, y| {
        Luma([u8::from(is_inside(f64::from(x) + 0.5, f64::from(y) + 0.5))])
    })
}

fn shaped() -> Vec<(String, GrayImage)> {
    // Longer than the longest packet of brush RLE, 65,536 values, and than five bits' groups of
    // COCO's text.
    let full = mask(300, 260, |_, _| true);
    let disc = mask(257, 190, |x, y| (x - 120.0).hypot(y - 100.0) < 80.0);
    let target =
        mask(121, 90, |x, y| (((x - 60.0).hypot(y - 45.0) / 9.0) as u32).is_multiple_of(2));
    let star = mask(1024, 768, |x, y| {
        let (x, y) = (x - 500.0, y - 380.0);
        x.hypot(y) < 240.0 + 90.0 * (7.0 * y.atan2(x)).sin()
    });
    let cut_off = mask(64, 48, |x, y| x.hypot(y) < 30.0 || (x - 64.0).hypot(y - 48.0) < 20.0);
    let diagonal = mask(33, 33, |x, y| (x - y).abs() < 0.1);
    [
        ("empty", mask(37, 23, |_, _| false)),
        ("full", full),
        ("one-pixel", mask(1, 1, |_, _| true)),
        ("no-pixel", mask(1, 1, |_, _| false)),
        ("row", mask(70, 1, |x, _| x % 7.0 < 3.0)),
        ("column", mask(1, 70, |_, y| y % 5.0 < 2.0)),
        ("disc", disc),
        ("target", target),
        ("star", star),
        ("cut-off", cut_off),
        // Pixels that touch at corners only.
        ("diagonal", diagonal),
        ("checkerboard", mask(16, 15, |x, y| (x.floor() + y.floor()) % 2.0 < 0.5)),
        ("packets", packets()),
    ]
    .map(|(name, mask)| (name.to_owned(), mask))
    .into()
}

/// Runs about as long as each size of packet holds: 1, 2, 4, 64 and 16,384 pixels are 4, 8, 16, 256
/// and 65,536 values.
fn packets() -> GrayImage {
    let lengths = [1, 2, 3, 4, 5, 63, 64, 65, 16_383, 16_384, 16_385];
    let pixels: Vec<u8> = lengths
        .into_iter()
        .flat_map(|length| [vec![0; length], vec![1; length]])
        .flatten()
        .collect();
    GrayImage::from_raw(pixels.len() as u32, 1, pixels).unwrap()
}

fn random() -> impl Iterator<Item = (String, GrayImage)> {
    (0..24).map(|number| {
        let mut draw = ChaCha8Rng::seed_from_u64(number);
        let (width, height) = (draw.random_range(1..90), draw.random_range(1..70));
        // Single pixels, and pixels that are as their left neighbor.
        let (share, stays) = (draw.random_range(0.05..0.95), draw.random_range(0.0..1.0));
        let mut is_set = false;
        let mask = mask(width, height, |_, _| {
            if draw.random_range(0.0..1.0) >= stays {
                is_set = draw.random_range(0.0..1.0) < share;
            }
            is_set
        });
        (format!("random-{number:02}"), mask)
    })
}

fn write(folder: &Path, name: &str, mask: &GrayImage) {
    let runs = Runs::from_class(mask, 1);
    let encoded = json!({
        "width": mask.width(),
        "height": mask.height(),
        "brush": brush_rle::encode_brush_rle(&runs),
        "coco_counts": coco_rle::encode_counts(&runs),
        "coco_text": coco_rle::encode_compressed(&runs),
        "outlines": outlines(&contours::trace_outlines(&runs, 0.0)),
        "simplified": outlines(&contours::trace_outlines(&runs, 1.0)),
    });
    std::fs::write(folder.join(format!("{name}.json")), encoded.to_string()).unwrap();
    let mut picture = mask.clone();
    picture.iter_mut().for_each(|value| *value *= 255);
    picture.save(folder.join(format!("{name}.png"))).unwrap();
}

fn outlines(outlines: &[Outline]) -> Vec<Value> {
    outlines.iter().map(|part| json!({"outer": part.outer, "holes": part.holes})).collect()
}
