use super::*;
use crate::imaging::decode_upright;
use crate::imaging::encode_jpeg;
use crate::imaging::fixtures::fixture;

/// Draws a picture whose JPEG has many bytes of data.
fn scene() -> RgbImage {
    RgbImage::from_fn(320, 240, |x, y| {
        let value = (x * 7 + y * 13 + x * y / 9) % 256;
        image::Rgb([value as u8, (value * 3 % 256) as u8, (x % 200) as u8])
    })
}

#[test]
fn overwritten_data_are_damage_whatever_stands_there() {
    let jpegs =
        [encode_jpeg(&scene(), 92), fixture("cmyk_adobe.jpg"), fixture("progressive_420.jpg")];
    for jpeg in jpegs {
        for filler in [0_u8, 0xaa, 0x55, 0xfe] {
            for place in [2, 3, 4] {
                let mut bytes = jpeg.clone();
                // The data are the last part of the file.
                let middle = bytes.len() - bytes.len() / place;
                let length = (bytes.len() / 8).min(400);
                bytes[middle..middle + length].fill(filler);
                let limits = DecodeLimits::default();
                assert!(decode_upright(&bytes, limits).is_err(), "{filler:x} at 1/{place}");
            }
        }
    }
}

#[test]
fn cmyk_pictures_get_the_same_checks() {
    for name in ["cmyk_adobe.jpg", "cmyk_progressive.jpg", "cmyk_without_marker.jpg"] {
        let jpeg = fixture(name);
        let limits = DecodeLimits::default();
        let end = jpeg.len() - 2;
        let padded = [&jpeg[..end], &[0; 17], &jpeg[end..]].concat();
        assert_eq!(decode_upright(&padded, limits), decode_upright(&jpeg, limits), "{name}");
        let cut = [&jpeg[..end - 20], &jpeg[end..]].concat();
        assert!(decode_upright(&cut, limits).is_err(), "{name}");
    }
}

/// Compresses a picture of `channels` channels by libjpeg-turbo, without loss or arithmetically
/// coded.
fn compress(channels: usize, is_lossless: bool) -> Vec<u8> {
    let scene = scene();
    let (width, height) = (scene.width() as usize, scene.height() as usize);
    let grays: Vec<u8> = scene.pixels().map(|pixel| pixel[0]).collect();
    let (pixels, format) = if channels == 1 {
        (grays.as_slice(), PixelFormat::GRAY)
    } else {
        (scene.as_raw().as_slice(), PixelFormat::RGB)
    };
    let mut compressor = turbojpeg::Compressor::new().unwrap();
    if is_lossless {
        compressor.set_lossless(true).unwrap();
    } else {
        compressor.set_arithmetic(true).unwrap();
    }
    let image = turbojpeg::Image { pixels, width, pitch: width * channels, height, format };
    compressor.compress_to_vec(image).unwrap()
}

#[test]
fn lossless_pictures_are_read_in_gray_and_in_color() {
    let scene = scene();
    for channels in [1, 3] {
        let jpeg = compress(channels, true);
        let got = decode_upright(&jpeg, DecodeLimits::default()).unwrap();
        for (got, expected) in got.pixels().zip(scene.pixels()) {
            let gray = [expected[0]; 3];
            assert_eq!(got.0, if channels == 1 { gray } else { expected.0 });
        }
        // There is no reduced decoding, so the whole picture is resized.
        let picture = crate::imaging::LazyImage::open(&jpeg, DecodeLimits::default()).unwrap();
        let region = crate::imaging::Region::whole(320, 240);
        let small = picture.crop_and_resize(region, 40, 30).unwrap();
        assert_eq!(small, crate::imaging::resize_image(&got, region, 40, 30));
    }
}

#[test]
fn arithmetically_coded_pictures_may_have_little_padding_and_no_more() {
    let limits = DecodeLimits::default();
    let jpeg = compress(3, false);
    let whole = decode_upright(&jpeg, limits).unwrap();
    let end = jpeg.len() - 2;
    let padded = |count| [&jpeg[..end], &[7].repeat(count), &jpeg[end..]].concat();
    assert_eq!(decode_upright(&padded(9), limits).unwrap(), whole);
    let error = decode_upright(&padded(400), limits).unwrap_err().to_string();
    assert!(error.contains("an arithmetically coded JPEG"), "{error}");
}

#[test]
fn the_warning_about_skipped_bytes_is_understood() {
    let from_text =
        |text: &str| SkippedBytes::from_error(&turbojpeg::Error::TurboJpegError(text.to_owned()));
    assert_eq!(
        from_text("Corrupt JPEG data: 17 extraneous bytes before marker 0xd9"),
        Some(SkippedBytes { count: 17, is_at_end: true })
    );
    assert_eq!(
        from_text("Corrupt JPEG data: 3 extraneous bytes before marker 0xd0"),
        Some(SkippedBytes { count: 3, is_at_end: false })
    );
    assert_eq!(from_text("Premature end of JPEG file"), None);
    assert_eq!(SkippedBytes::from_error(&turbojpeg::Error::Null), None);
}
