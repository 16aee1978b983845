use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;

fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/serve");
    fs::read(folder.join(format!("{name}.npy"))).unwrap()
}

fn read(bytes: Vec<u8>) -> Result<RgbImage, ApiError> {
    decode_npy(bytes, DecodeLimits { max_pixels: 10_000 })
}

/// Makes the image of `make_fixtures.py`.
fn picture() -> RgbImage {
    RgbImage::from_fn(5, 4, |x, y| {
        image::Rgb([(40 * x + y) as u8, (60 * y + x) as u8, (255 - 3 * x - 20 * y) as u8])
    })
}

fn gray_picture(gray: impl Fn(u8) -> u8) -> RgbImage {
    let picture = picture();
    RgbImage::from_fn(5, 4, |x, y| image::Rgb([gray(picture.get_pixel(x, y)[0]); 3]))
}

#[track_caller]
fn api_error_message(result: Result<RgbImage, ApiError>, error_type: ErrorType) -> String {
    let refusal = result.unwrap_err();
    assert_eq!(refusal.error_type(), error_type, "{}", refusal.to_json());
    refusal.to_json()["error"].as_str().unwrap().to_owned()
}

/// Makes an array with this header.
fn npy_bytes(header: &str, samples: &[u8]) -> Vec<u8> {
    let length = (header.len() as u16).to_le_bytes();
    [MAGIC, &[1, 0], &length, header.as_bytes(), samples].concat()
}

#[test]
fn what_numpy_writes_is_read_in_every_version_order_and_shape() {
    for name in [
        "rgb_v1",
        "rgb_v2",
        "rgb_v3",
        "rgb_fortran",
        "rgb_one",
        "rgb_one_fortran",
        "rgba",
        "rgb_u2_little",
        "rgb_u2_big",
        "rgb_u2_big_fortran",
    ] {
        assert_eq!(read(fixture(name)).unwrap(), picture(), "{name}");
    }
    for name in ["gray", "gray_fortran", "gray_one"] {
        assert_eq!(read(fixture(name)).unwrap(), gray_picture(|gray| gray), "{name}");
    }
    assert_eq!(read(fixture("bool")).unwrap(), gray_picture(|gray| u8::from(gray > 80) * 255));
}

#[test]
fn what_may_be_meant_in_two_ways_is_refused_with_the_fix() {
    for (name, words) in [
        ("floats", "(255 * array).round().astype(\"uint8\")"),
        ("integers", "array.astype(\"uint8\")"),
        ("channels_first", "transpose(1, 2, 0)"),
        ("two", "one image per request"),
        ("fields", "records with fields"),
    ] {
        let text = api_error_message(read(fixture(name)), ErrorType::InvalidArray);
        assert!(text.contains(words), "{words} is not in {text}");
    }
}

#[test]
fn a_header_that_lies_is_refused_before_there_is_room_made() {
    let header =
        |shape: &str| format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}");
    for (shape, error_type, words) in [
        ("(100000, 100000, 3)", ErrorType::ImageTooLarge, "10000000000 pixels"),
        ("(1, 70000)", ErrorType::ImageTooLarge, "70000 pixels"),
        ("(18446744073709551615, 2)", ErrorType::InvalidArray, "larger than any image"),
        ("(99999999999999999999, 2)", ErrorType::InvalidArray, "a number of the shape"),
        ("(4, 5)", ErrorType::InvalidArray, "has 7 bytes of samples and is cut off"),
        ("(2, 3)", ErrorType::InvalidArray, "make 6"),
        ("(0, 5)", ErrorType::InvalidArray, "no pixels"),
        ("()", ErrorType::InvalidArray, "has shape ()"),
        ("(4, 5, 2)", ErrorType::InvalidArray, "(4, 5, 2); allowed"),
        ("(-4, 5)", ErrorType::InvalidArray, "a number of the shape"),
    ] {
        let text = api_error_message(read(npy_bytes(&header(shape), &[0; 7])), error_type);
        assert!(text.contains(words), "{words} is not in {text}");
    }
    let axes = format!("({})", "1,".repeat(100_000));
    let long = [MAGIC, &[2, 0], &(axes.len() as u32).to_le_bytes(), axes.as_bytes()].concat();
    assert!(api_error_message(read(long), ErrorType::InvalidArray).contains("up to 10000"));
    let endless = [MAGIC, &[2, 0], &[0xff; 4], b"{"].concat();
    assert!(api_error_message(read(endless), ErrorType::InvalidArray).contains("up to 10000"));
    let version = [MAGIC, &[4, 0, 0, 0]].concat();
    assert!(api_error_message(read(version), ErrorType::InvalidArray).contains("version 4.0"));
}

#[test]
fn headers_are_read_as_python_writes_them_and_not_otherwise() {
    for header in [
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 2), }   \n",
        "{\"shape\":(1L,2,),\"descr\":\"u1\",\"fortran_order\":True}",
    ] {
        assert_eq!(
            read(npy_bytes(header, &[7, 9])).unwrap().as_raw()[..4],
            [7, 7, 7, 9],
            "{header}"
        );
    }
    for (header, words) in [
        ("", "ends where '{'"),
        ("{'descr': '|u1', 'fortran_order': False}", "lacks"),
        ("{'descr': '|u1', 'descr': '|u1'}", "\"descr\" twice"),
        ("{'descr': '|u1', 'fortran_order': 0}", "True or False"),
        ("{'other': 1}", "the key \"other\""),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (1, 2)} + 1", "goes on"),
        ("{'descr': '|u1' 'fortran_order'", "where '}'"),
    ] {
        let text = api_error_message(read(npy_bytes(header, &[0; 2])), ErrorType::InvalidArray);
        assert!(text.contains(words), "{words} is not in {text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_cut_or_damaged_array_is_an_image_or_a_refusal(
        which in 0..10_usize,
        cut in any::<prop::sample::Index>(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let names = ["rgb_v1", "rgb_v2", "rgb_v3", "rgb_fortran", "rgba", "bool", "rgb_u2_big", "gray", "two", "fields"];
        let whole = fixture(names[which]);
        let cut_off = read(whole[..cut.index(whole.len())].to_vec());
        prop_assert_eq!(cut_off.unwrap_err().error_type().status().as_u16(), 422);
        let mut damaged = whole;
        for (at, byte) in damage {
            let at = at.index(damaged.len().min(140));
            damaged[at] = byte;
        }
        if let Err(refusal) = read(damaged) {
            prop_assert!(refusal.error_type().status().is_client_error());
        }
    }

    #[test]
    fn any_header_is_an_image_or_a_refusal(
        header in "[{}'\":, ()0-9L|<>=u1bfTrueFalsdchporn_t]{0,60}",
        samples in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let _ = read(npy_bytes(&header, &samples));
    }
}
