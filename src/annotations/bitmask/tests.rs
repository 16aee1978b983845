use base64::prelude::BASE64_STANDARD;
use png::{BitDepth, ColorType, Encoder};
use proptest::prelude::*;

use super::super::runs::tests::{any_mask, rows};
use super::*;

/// Returns a PNG of 8-bit samples.
fn png_of(
    width: u32,
    height: u32,
    color: ColorType,
    palette: &[u8],
    trns: &[u8],
    samples: &[u8],
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, width, height);
    encoder.set_color(color);
    encoder.set_depth(BitDepth::Eight);
    if !palette.is_empty() {
        encoder.set_palette(palette.to_vec());
    }
    if !trns.is_empty() {
        encoder.set_trns(trns.to_vec());
    }
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(samples).unwrap();
    writer.finish().unwrap();
    bytes
}

fn url(png: &[u8]) -> String {
    format!("data:image/png;base64,{}", BASE64_STANDARD.encode(png))
}

/// Returns a PNG with these alphas, black on transparent, as the editor writes it.
fn rgba(width: u32, height: u32, alphas: &[u8]) -> Vec<u8> {
    let samples: Vec<u8> = alphas.iter().flat_map(|&alpha| [0, 0, 0, alpha]).collect();
    png_of(width, height, ColorType::Rgba, &[], &[], &samples)
}

#[test]
fn pixels_with_any_alpha_are_covered() {
    let data_url = url(&rgba(3, 2, &[0, 1, 255, 128, 0, 0]));
    assert_eq!(rows(&decode_bitmask(&data_url, 3, 2).unwrap()), [".##", "#.."]);
    let whole = url(&rgba(2, 2, &[255; 4]));
    assert_eq!(decode_bitmask(&whole, 2, 2).unwrap().area(), 4);
}

#[test]
fn other_kinds_of_transparent_pictures_are_read_alike() {
    let palette = png_of(3, 1, ColorType::Indexed, &[0, 0, 0, 9, 9, 9], &[0], &[1, 0, 1]);
    assert_eq!(rows(&decode_bitmask(&url(&palette), 3, 1).unwrap()), ["#.#"]);
    let gray = png_of(2, 1, ColorType::GrayscaleAlpha, &[], &[], &[0, 0, 0, 7]);
    assert_eq!(rows(&decode_bitmask(&url(&gray), 2, 1).unwrap()), [".#"]);
}

#[test]
fn data_urls_are_read_as_browsers_read_them() {
    let expected = decode_bitmask(&url(&rgba(1, 2, &[9, 0])), 1, 2).unwrap();
    let base64 = BASE64_STANDARD.encode(rgba(1, 2, &[9, 0]));
    let percent = base64.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    for data_url in [
        format!("DATA:image/PNG;name=a.png;Base64,{base64}"),
        format!(" data:;base64,{}", base64.trim_end_matches('=')),
        format!("data:image/png;base64,{percent}\n"),
        format!("data:image/png;base64,{}\r\n {}", &base64[..11], &base64[11..]),
    ] {
        assert_eq!(decode_bitmask(&data_url, 1, 2).unwrap(), expected, "{data_url}");
    }
}

#[test]
fn a_picture_without_alpha_is_refused_and_not_guessed() {
    for (color, samples) in [(ColorType::Rgb, vec![0; 12]), (ColorType::Grayscale, vec![255; 4])] {
        let error = decode_bitmask(&url(&png_of(2, 2, color, &[], &[], &samples)), 2, 2)
            .unwrap_err()
            .to_string();
        assert!(error.contains("a bitmask without alpha"), "{error}");
    }
    let palette = png_of(1, 1, ColorType::Indexed, &[0, 0, 0], &[], &[0]);
    assert!(
        decode_bitmask(&url(&palette), 1, 1).unwrap_err().to_string().contains("without alpha")
    );
}

#[test]
fn another_size_is_refused_before_it_is_unpacked() {
    for (width, height) in [(4, 3), (2, 6), (300, 300), (1, 12), (12, 1)] {
        let data_url = url(&rgba(width, height, &vec![255; (width * height) as usize]));
        let error = decode_bitmask(&data_url, 3, 4).unwrap_err().to_string();
        let told = format!("has a bitmask of {width} x {height} pixels on an image of 3 x 4");
        assert!(error.contains(&told), "{error}");
    }
    // A header that claims 4 gigapixels.
    let mut bomb = rgba(1, 1, &[255]);
    bomb[16..24].copy_from_slice(&[0, 0, 255, 255, 0, 0, 255, 255]);
    let crc = crc32fast::hash(&bomb[12..29]).to_be_bytes();
    bomb[29..33].copy_from_slice(&crc);
    assert!(decode_bitmask(&url(&bomb), 3, 4).unwrap_err().to_string().contains("65535 x 65535"));
}

#[test]
fn what_is_no_data_url_of_a_png_is_told() {
    let jpeg = format!("data:image/jpeg;base64,{}", BASE64_STANDARD.encode(b"\xff\xd8\xff\xe0"));
    let cut = rgba(4, 4, &[1; 16]);
    for (data_url, told) in [
        ("", "starts with \"\"; expected a PNG as \"data:image/png;base64,...\""),
        ("https://example.com/m\u{e4}sk.png", "starts with \"https://example.com/m\u{e4}sk.png\""),
        ("data:image/png,abc", "expected a PNG"),
        ("data:image/png;base64,a*b=", "is no base64"),
        ("data:image/png;base64,", "no bytes at all"),
        ("data:image/png;base64,aGVsbG8=", "text that starts \"hello\""),
        (&jpeg, "is a JPEG"),
        (&url(&cut[..40]), "cut off"),
    ] {
        let error = decode_bitmask(data_url, 4, 4).unwrap_err().to_string();
        assert!(error.contains(told), "{data_url}: {error}");
    }
}

proptest! {
    #[test]
    fn bitmasks_of_any_mask_are_its_pixels(mask in any_mask()) {
        let (width, height) = mask.dimensions();
        let runs = decode_bitmask(&url(&rgba(width, height, mask.as_raw())), width, height).unwrap();
        prop_assert_eq!(runs.to_mask(), mask);
    }

    #[test]
    fn a_bitmask_that_was_written_is_read_back(mask in any_mask()) {
        let runs = Runs::from_class(&mask, 1);
        let (width, height) = mask.dimensions();
        prop_assert_eq!(decode_bitmask(&encode_bitmask(&runs), width, height).unwrap(), runs);
    }

    #[test]
    fn any_text_is_runs_or_an_error(head in "(data:[a-z/;]{0,9}(;base64)?,)?", data: String) {
        prop_assert!(!decode_bitmask(&(head + &data), 2, 2).is_err_and(|error| error.to_string().is_empty()));
    }
}
