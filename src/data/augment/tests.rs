use std::borrow::Cow;

use image::{Luma, Rgb, RgbImage};
use proptest::prelude::*;

use super::*;
use crate::imaging::{DecodeLimits, encode_jpeg, encode_png};
use crate::metrics::IGNORE_INDEX;

/// Makes an image whose red channel is its class, and the mask with the same classes.
fn class_image(width: u32, height: u32) -> (RgbImage, GrayImage) {
    let class = |x: u32, y: u32| u8::from(x > width / 3) + 2 * u8::from(y > height / 2);
    (
        RgbImage::from_fn(width, height, |x, y| Rgb([class(x, y) * 60, 9, 9])),
        GrayImage::from_fn(width, height, |x, y| Luma([class(x, y)])),
    )
}

/// Makes an image with details at every place, and a mask of 4 classes with ignored pixels between
/// them.
fn scene(width: u32, height: u32) -> (RgbImage, GrayImage) {
    let wave = |x: u32, y: u32, period: f64| {
        (f64::from(x) / period).sin() + (f64::from(y) / period * 0.7).cos()
    };
    let image = RgbImage::from_fn(width, height, |x, y| {
        let value = |period| (128.0 + 40.0 * wave(x, y, period)) as u8;
        Rgb([value(31.0), value(17.0), value(5.0)])
    });
    let ids = GrayImage::from_fn(width, height, |x, y| {
        let border = x % 40 < 3 || y % 40 < 3;
        Luma([if border { IGNORE_INDEX } else { ((x / 40 + y / 40) % 4) as u8 }])
    });
    (image, ids)
}

fn transforms(base_size: u32, crop_size: u32, augmentations: &str) -> Transforms {
    Transforms { base_size, crop_size, augmentations: Augmentations::parse(augmentations).unwrap() }
}

fn rng_key(sample: u64) -> RngKey {
    RngKey { seed: 1, epoch: 0, sample_index: sample }
}

/// Applies the transforms, as the loader does.
fn crop_image(
    transforms: &Transforms,
    rng_key: RngKey,
    (image, mask): (&RgbImage, &GrayImage),
) -> (RgbImage, GrayImage) {
    crop_file(transforms, rng_key, (encode_png(image), mask))
}

fn crop_file(
    transforms: &Transforms,
    rng_key: RngKey,
    (file, mask): (Vec<u8>, &GrayImage),
) -> (RgbImage, GrayImage) {
    let lazy_image = LazyImage::open(Cow::Owned(file), DecodeLimits::default()).unwrap();
    let side = transforms.crop_size;
    // Remains of an earlier batch must not show through.
    let mut pixels = RgbImage::from_pixel(side, side, Rgb([77; 3]));
    let mut ids = GrayImage::from_pixel(side, side, Luma([77]));
    transforms.apply(rng_key, &lazy_image, mask, (&mut pixels, &mut ids)).unwrap();
    (pixels, ids)
}

/// Returns every word with the strength that changes the most.
const STRONGEST: [&str; 9] = [
    "hflip=1",
    "vflip=1",
    "rotate=180",
    "perspective=0.6",
    "color_jitter=1",
    "blur=10",
    "noise=1",
    "jpeg=99",
    "cutout=1",
];

proptest! {
    #[test]
    fn image_and_mask_stay_aligned_and_the_padding_is_ignored(
        width in 1u32..200, height in 1u32..200, base_size in 17u32..300, crop_size in 3u32..12,
        number in 0u64..1000,
    ) {
        let (image, mask) = class_image(width, height);
        let recipe = transforms(base_size, crop_size * 8, "hflip");
        let (pixels, ids) = crop_image(&recipe, rng_key(number), (&image, &mask));
        let mut agree = 0;
        let mut counted = 0;
        for (pixel, id) in pixels.pixels().zip(ids.as_raw()) {
            prop_assert!(*id < 4 || *id == IGNORE_INDEX);
            if *id == IGNORE_INDEX {
                prop_assert_eq!(pixel.0, [0, 0, 0]);
            } else {
                counted += 1;
                // Pixels on an edge between classes are blends.
                agree += u32::from(pixel.0[0].abs_diff(id * 60) <= 30);
            }
        }
        prop_assert!(counted > 0);
        // If the classes are a few pixels wide, every pixel is on an edge.
        if width.min(height) >= 64 && base_size >= 64 {
            prop_assert!(f64::from(agree) >= 0.5 * f64::from(counted), "{agree} of {counted}");
        }
    }

    #[test]
    fn mask_values_stay_in_the_set_of_classes_and_255_for_any_picture_and_any_list(
        (width, height) in (1u32..150, 1u32..150),
        (base_size, crop_size) in (17u32..300, 3u32..12),
        strengths in prop::array::uniform9(0.0..1.0_f64),
        number in 0u64..1000,
    ) {
        let most = [1.0, 1.0, 180.0, 0.6, 1.0, 10.0, 1.0, 99.0, 1.0];
        let words = STRONGEST.map(|word| word.split_once('=').unwrap().0);
        let list: Vec<String> = words.iter().zip(strengths).zip(most)
            .map(|((word, share), most)| format!("{word}={}", share * most)).collect();
        let recipe = transforms(base_size, crop_size * 8, &list.join(","));
        let (image, mask) = scene(width, height);
        let (_, ids) = crop_image(&recipe, rng_key(number), (&image, &mask));
        let known = |id: &u8| *id == IGNORE_INDEX || mask.as_raw().contains(id);
        prop_assert!(ids.as_raw().iter().all(known));
    }
}

/// Draws, cuts and lays out as the first version did, which knew scale, crop and mirroring only.
fn reference_crop(
    (base_size, crop_size): (u32, u32),
    rng_key: RngKey,
    (lazy_image, mask): (&LazyImage<'_>, &GrayImage),
) -> (Vec<u8>, Vec<u8>) {
    let ((width, height), random) =
        (mask.dimensions(), &mut rng_key.generator(Purpose::Augmentation));
    let scale = f64::from(base_size) * random.random_range(0.5..2.0) / f64::from(width.max(height));
    let mut span = |source: u32| {
        let (source, place) = (f64::from(source), random.random::<f64>());
        let covered = f64::from(crop_size) / scale;
        if covered < source {
            ((source - covered) * place, covered, crop_size)
        } else {
            (0.0, source, ((source * scale).round() as u32).clamp(1, crop_size))
        }
    };
    let ((left, region_width, columns), (top, region_height, rows)) = (span(width), span(height));
    let hflip: bool = random.random();
    let region = crate::imaging::Region { left, top, width: region_width, height: region_height };
    let mut image = lazy_image.crop_and_resize(region, columns, rows).unwrap();
    let mut ids = resize_mask(mask, region, columns, rows);
    if hflip {
        image::imageops::flip_horizontal_in_place(&mut image);
        image::imageops::flip_horizontal_in_place(&mut ids);
    }
    let mut pixels = RgbImage::new(crop_size, crop_size);
    let mut padded_ids = GrayImage::from_pixel(crop_size, crop_size, Luma([IGNORE_INDEX]));
    image::imageops::replace(&mut pixels, &image, 0, 0);
    image::imageops::replace(&mut padded_ids, &ids, 0, 0);
    (pixels.into_raw(), padded_ids.into_raw())
}

#[test]
fn by_default_every_byte_is_that_of_the_built_ins_recipe() {
    for (number, (width, height)) in (0..).zip([(200, 150), (90, 300), (40, 41), (640, 480)]) {
        let (image, mask) = scene(width, height);
        let file = encode_jpeg(&image, 90);
        let lazy_image = LazyImage::open(&file, DecodeLimits::default()).unwrap();
        for epoch in 0..8 {
            let rng_key = RngKey { seed: 3, epoch, sample_index: number };
            let (pixels, ids) =
                crop_file(&transforms(120, 96, "hflip"), rng_key, (file.clone(), &mask));
            let expected = reference_crop((120, 96), rng_key, (&lazy_image, &mask));
            assert!((pixels.into_raw(), ids.into_raw()) == expected, "{width}x{height} {epoch}");
        }
    }
}

#[test]
fn a_strength_of_0_changes_nothing_and_the_largest_changes_something() {
    let (image, mask) = scene(160, 120);
    for word in STRONGEST {
        let name = word.split_once('=').unwrap().0;
        let mut changed = 0;
        for number in 0..20 {
            let see = |list: &str| {
                crop_image(&transforms(130, 96, list), rng_key(number), (&image, &mask))
            };
            let before = see("none");
            assert!(see(&format!("{name}=0")) == before, "{name}");
            // The least number above 0 must not break the arithmetic of ranges.
            assert_eq!(see(&format!("{name}=5e-324")).0.dimensions(), (96, 96));
            changed += u32::from(see(word) != before);
        }
        assert!(changed >= 4, "{word} changed {changed} of 20");
    }
}

#[test]
fn what_one_word_draws_does_not_depend_on_the_others() {
    let (image, mask) = scene(160, 120);
    for number in 0..20 {
        let see =
            |list: &str| crop_image(&transforms(130, 96, list), rng_key(number), (&image, &mask));
        let holes = |(_, ids): &(RgbImage, GrayImage)| -> Vec<bool> {
            ids.as_raw().iter().map(|id| *id == IGNORE_INDEX).collect()
        };
        // Words that leave the mask alone leave the holes in their places.
        let alone = see("cutout=0.4");
        let beside = see("cutout=0.4,noise,blur,jpeg,color_jitter");
        assert_eq!(holes(&beside), holes(&alone));
        let flipped = see("rotate=40,hflip=0.3,vflip=0.7,cutout,noise");
        let crop_params =
            |list: &str| transforms(130, 96, list).random_crop(160, 120, rng_key(number));
        assert_eq!(
            crop_params("rotate=40").homography,
            crop_params("rotate=40,hflip,noise,jpeg").homography
        );
        assert_eq!(crop_params("vflip,rotate").vflip, crop_params("vflip,perspective").vflip);
        assert_eq!(flipped, see("noise,vflip=0.7,hflip=0.3,cutout,rotate=40"), "nor on the order");
    }
}

/// Returns the centers of mass of the marker's color and of its class, or nothing if too little of
/// it is inside or if it is cut off.
fn centers_of_mass(pixels: &RgbImage, ids: &GrayImage) -> Option<([f64; 2], [f64; 2])> {
    let center_of = |weight: &dyn Fn(u32, u32) -> f64| {
        let (mut sum, mut weighted_sum) = (0.0, [0.0; 2]);
        for (x, y, _) in ids.enumerate_pixels() {
            let weight = weight(x, y);
            sum += weight;
            weighted_sum =
                [weighted_sum[0] + weight * f64::from(x), weighted_sum[1] + weight * f64::from(y)];
        }
        (sum >= 30.0).then(|| weighted_sum.map(|value| value / sum))
    };
    let color_weight = |x, y| {
        let Rgb([red, green, _]) = *pixels.get_pixel(x, y);
        f64::from(red.saturating_sub(green)) / 255.0
    };
    let class_weight = |x, y| f64::from(u8::from(ids.get_pixel(x, y).0[0] == 3));
    let side = ids.width();
    let near_edge = |position: u32| position < 5 || position + 5 >= side;
    let mut marker = ids.enumerate_pixels().filter(|(_, _, id)| id.0[0] == 3);
    if marker.any(|(x, y, _)| near_edge(x) || near_edge(y)) {
        return None;
    }
    Some((center_of(&color_weight)?, center_of(&class_weight)?))
}

/// Counts strips along the edge of the mask's marker where the image disagrees.
fn disagreement(pixels: &RgbImage, ids: &GrayImage) -> f64 {
    let (mut wrong, mut total) = (0, 0);
    for (x, y, id) in ids.enumerate_pixels() {
        let Rgb([red, green, _]) = *pixels.get_pixel(x, y);
        let (seen, said) = (red.saturating_sub(green) > 127, id.0[0] == 3);
        total += u32::from(said);
        wrong += u32::from(seen != said && id.0[0] != IGNORE_INDEX);
    }
    f64::from(wrong) / f64::from(total.max(1))
}

#[test]
fn a_marker_in_image_and_mask_is_at_one_place_after_everything_that_moves_pixels() {
    let mut compared = 0;
    for (width, height) in [(300, 200), (150, 400), (90, 80), (900, 600)] {
        for (number, list) in (0..100).zip(
            [
                "rotate=180",
                "perspective=0.6",
                "rotate=30,perspective,hflip,vflip",
                "vflip",
                "hflip=1",
            ]
            .into_iter()
            .cycle(),
        ) {
            // An L, so that no flip or rotation maps it to itself.
            let unit = width.min(height) / 10;
            let (left, top) = (width / 5 + number % 7 * width / 30, height / 4);
            let is_marker = |x: u32, y: u32| {
                let (x, y) = (x.wrapping_sub(left) / unit, y.wrapping_sub(top) / unit);
                (x < 2 && y < 4) || (x < 4 && y < 2)
            };
            let image = RgbImage::from_fn(width, height, |x, y| {
                Rgb(if is_marker(x, y) { [255, 0, 60] } else { [0, 120, 60] })
            });
            let mask = GrayImage::from_fn(width, height, |x, y| {
                Luma([if is_marker(x, y) { 3 } else { 1 }])
            });
            // Every other one is a JPEG, which is decoded smaller if it is shrunk.
            let file = if number % 2 == 0 { encode_png(&image) } else { encode_jpeg(&image, 95) };
            let recipe = transforms(200, 128, list);
            let (pixels, ids) = crop_file(&recipe, rng_key(number.into()), (file, &mask));
            for (pixel, id) in pixels.pixels().zip(ids.as_raw()) {
                assert!(*id != IGNORE_INDEX || pixel.0 == [0; 3], "what is outside is black");
            }
            if let Some((color_center, class_center)) = centers_of_mass(&pixels, &ids) {
                let apart =
                    (color_center[0] - class_center[0]).hypot(color_center[1] - class_center[1]);
                assert!(
                    apart < 1.0,
                    "{width}x{height} {list} {number}: {color_center:?} {class_center:?}"
                );
                let wrong = disagreement(&pixels, &ids);
                let thin = f64::from(unit) * 200.0 / f64::from(width.max(height)) < 8.0;
                assert!(thin || wrong < 0.25, "{width}x{height} {list} {number}: {wrong}");
                compared += 1;
            }
        }
    }
    assert!(compared > 100, "{compared}");
}

#[test]
fn a_warp_that_moves_nothing_gives_what_resizing_gives() {
    // The three ways to sample: enlarged, shrunk by a little, and shrunk by much.
    for (width, height, base_size, is_jpeg) in [
        (120, 90, 300, false),
        (160, 120, 100, false),
        (900, 700, 120, true),
        (900, 700, 120, false),
    ] {
        let (image, mask) = scene(width, height);
        let file = if is_jpeg { encode_jpeg(&image, 95) } else { encode_png(&image) };
        for number in 0..12 {
            let recipe = transforms(base_size, 96, "hflip,vflip");
            let expected = crop_file(&recipe, rng_key(number), (file.clone(), &mask));
            let crop_params = recipe.random_crop(width, height, rng_key(number));
            let identity = homography::Homography::scale_and_shift([1.0; 2], [0.0; 2]);
            let lazy_image = LazyImage::open(&file, DecodeLimits::default()).unwrap();
            let mut patch =
                warp::warp_image_and_mask(&crop_params.to_source(identity), &lazy_image, &mask, 96)
                    .unwrap();
            patch.black_out();
            let differ = |a: &[u8], b: &[u8]| {
                let sum: u32 = a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
                f64::from(sum) / a.len() as f64
            };
            let color_difference = differ(patch.image.as_raw(), expected.0.as_raw());
            let differing_ids =
                patch.ids.as_raw().iter().zip(expected.1.as_raw()).filter(|(a, b)| a != b);
            let differing_share = differing_ids.count() as f64 / (96.0 * 96.0);
            assert!(color_difference < 3.0, "{width}x{height} to {base_size}: {color_difference}");
            // The rounded size of a padded part moves an edge by a fraction of a pixel.
            assert!(differing_share < 0.01, "{width}x{height} to {base_size}: {differing_share}");
        }
    }
}

#[test]
fn what_turns_in_is_the_picture_around_the_crop() {
    let (image, mask) = scene(600, 600);
    // The crop is a small part of the picture, and hardly ever at its edge.
    let outside = |list: &str| {
        let count = |number| {
            let (_, ids) = crop_image(&transforms(600, 64, list), rng_key(number), (&image, &mask));
            ids.pixels().filter(|id| id.0[0] == IGNORE_INDEX).count() as f64
        };
        (0..60).map(count).sum::<f64>() / (60.0 * 64.0 * 64.0)
    };
    let (still, turned) = (outside("none"), outside("rotate=45,perspective=0.6"));
    assert!(turned < still + 0.05, "{still} {turned}");
}

#[test]
fn draws_cover_scales_places_flips_and_angles() {
    let transforms = transforms(100, 80, "hflip,vflip,rotate,perspective");
    let crops: Vec<CropParams> =
        (0..200).map(|i| transforms.random_crop(200, 100, rng_key(i))).collect();
    assert!(crops.iter().any(|v| v.hflip) && crops.iter().any(|v| !v.hflip));
    assert!(crops.iter().any(|v| v.vflip) && crops.iter().any(|v| !v.vflip));
    assert!(crops.iter().any(|v| v.width == 80 && v.height == 80));
    assert!(crops.iter().any(|v| v.height < 30), "small scales are padded");
    assert!(crops.iter().any(|v| v.region.left > 50.0));
    assert!(
        crops.windows(2).all(|pair| pair[0].homography != pair[1].homography),
        "each has its angle"
    );
    assert_eq!(
        crops[0],
        transforms.random_crop(200, 100, rng_key(0)),
        "a draw depends on its counters alone"
    );
}

#[test]
fn colors_of_no_augmentation_reach_what_is_outside_the_picture() {
    let (image, mask) = (RgbImage::from_pixel(60, 40, Rgb([200, 180, 40])), GrayImage::new(60, 40));
    for number in 0..60 {
        let list = "rotate=90,perspective,color_jitter=1,blur=5,noise=0.5,jpeg=99";
        let (pixels, ids) = crop_image(&transforms(50, 64, list), rng_key(number), (&image, &mask));
        for (pixel, id) in pixels.pixels().zip(ids.as_raw()) {
            assert!(*id != IGNORE_INDEX || pixel.0 == [0; 3]);
        }
    }
}
