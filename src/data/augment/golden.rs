//! Comparison with torchvision, whose numbers `tests/golden/make_augmentations.py` wrote.

use image::{GrayImage, Luma, Rgb, RgbImage};
use serde_json::Value;

use super::color_jitter::ColorAdjustment;
use super::homography::Homography;
use super::patch::Patch;
use super::{gaussian_blur, gaussian_noise, warp};
use crate::imaging::{DecodeLimits, LazyImage, encode_png};

const SIZE: (u32, u32) = (24, 18);

fn test_patch() -> Patch {
    let value = |x: u32, y: u32, c: u32| {
        let (across, down) = (f64::from(x * (c + 1)), f64::from(y * (3 - c)));
        (127.5 + 100.0 * (0.31 * across).sin() * (0.23 * down).cos() + 0.5).floor() as u8
    };
    Patch {
        image: RgbImage::from_fn(SIZE.0, SIZE.1, |x, y| Rgb([0, 1, 2].map(|c| value(x, y, c)))),
        ids: GrayImage::new(SIZE.0, SIZE.1),
        outside: Vec::new(),
    }
}

fn golden(name: &str) -> Vec<f64> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/augmentations.json");
    let all: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    all[name].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

#[test]
fn colors_and_blur_are_torchvisions_to_the_rounding_of_a_byte() {
    for name in [
        "brightness 0.6",
        "brightness 1.3",
        "contrast 0.6",
        "contrast 1.3",
        "saturation 0.6",
        "saturation 1.3",
        "hue -0.2",
        "hue 0.07",
        "blur 0.8",
        "blur 2.0",
    ] {
        let (kind, number) = name.split_once(' ').unwrap();
        let (mut patch, before) = (test_patch(), test_patch());
        match (kind, number.parse::<f32>().unwrap()) {
            ("brightness", share) => ColorAdjustment::Brightness(share).apply(&mut patch),
            ("contrast", share) => ColorAdjustment::Contrast(share).apply(&mut patch),
            ("saturation", share) => ColorAdjustment::Saturation(share).apply(&mut patch),
            ("hue", turn) => ColorAdjustment::Hue(turn).apply(&mut patch),
            (_, sigma) => gaussian_blur(&mut patch.image, f64::from(sigma)),
        }
        assert!(patch != before, "{name} does something");
        for (got, expected) in patch.image.as_raw().iter().zip(golden(name)) {
            assert!((f64::from(*got) - expected).abs() <= 0.52, "{name}: {got} {expected}");
        }
    }
}

#[test]
fn perspective_samples_where_torchvision_does() {
    let (width, height) = (f64::from(SIZE.0), f64::from(SIZE.1));
    let end = [[1.5, 0.5], [width - 0.5, 2.0], [width - 2.25, height - 1.0], [0.0, height - 0.75]];
    let map = Homography::from_unit_square(end)
        .inverse()
        .then(Homography::scale_and_shift([width, height], [0.0; 2]));
    let bytes = encode_png(&test_patch().image);
    let picture = LazyImage::open(&bytes, DecodeLimits::default()).unwrap();
    let mask = GrayImage::from_pixel(SIZE.0, SIZE.1, Luma([1]));
    let map = map.oriented_toward(width / 2.0, height / 2.0);
    let warped = warp::warp_image_and_mask(&map, &picture, &mask, SIZE.0).unwrap();
    let (mut compared, mut worst) = (0, 0.0_f64);
    for (got, expected) in warped.image.as_raw().iter().zip(golden("perspective")) {
        if expected >= 0.0 {
            compared += 1;
            worst = worst.max((f64::from(*got) - expected).abs());
        }
    }
    assert!(compared > 900, "{compared}");
    // Places have a resolution of 1/256 pixel, and the picture's slopes reach 60 per pixel.
    assert!(worst <= 0.9, "{worst}");
}

#[test]
fn normal_noise_has_the_deviation_asked_for() {
    use crate::data::random::{Purpose, RngKey};
    let gray = RgbImage::from_pixel(300, 300, Rgb([128; 3]));
    let ids = GrayImage::new(300, 300);
    let mut patch = Patch { image: gray, ids, outside: Vec::new() };
    let mut rng = RngKey { seed: 0, epoch: 0, sample_index: 0 }.generator(Purpose::Noise);
    gaussian_noise(&mut patch.image, 0.05, &mut rng);
    let values = || patch.image.as_raw().iter().map(|value| f64::from(*value) - 128.0);
    let count = patch.image.as_raw().len() as f64;
    let moment = |power: i32| values().map(|value| value.powi(power)).sum::<f64>() / count;
    assert!(moment(1).abs() < 0.1, "{}", moment(1));
    // The rounding to bytes adds a variance of 1/12.
    let std = (moment(2) - 1.0 / 12.0).sqrt();
    assert!((std / (0.05 * 255.0) - 1.0).abs() < 0.01, "{std}");
    let kurtosis = moment(4) / moment(2).powi(2);
    assert!((kurtosis - 3.0).abs() < 0.05, "a normal distribution's is 3: {kurtosis}");
    // The noise of neighbors is independent.
    let pairs: f64 = values().zip(values().skip(1)).map(|(a, b)| a * b).sum();
    assert!((pairs / count / moment(2)).abs() < 0.01);
}
