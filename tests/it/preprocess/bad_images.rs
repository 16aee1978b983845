//! Images that cannot be used: told by name, and not a word lost about the others.

use maskmaker::imaging::{encode_jpeg, encode_png};
use serde_json::json;

use super::{Folders, boxes, noise, region, task};

/// A PNG whose header claims a size and whose data hold nothing.
fn bomb(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Grayscale);
    drop(encoder.write_header().unwrap());
    bytes
}

/// The fault of an image `bad.EXTENSION` beside a good one.
fn fault_of(extension: &str, bytes: &[u8]) -> String {
    let folders = Folders::new();
    folders.noise("good.jpg", 64, 48);
    folders.image(&format!("bad.{extension}"), bytes);
    let size = (64, 48);
    let tasks = [
        task(1, &format!("bad.{extension}"), &[region("car", size, [0, 0, 9, 9])]),
        task(2, "good.jpg", &[region("road", size, [0, 0, 9, 9])]),
    ];
    folders.annotation("export.json", json!(tasks).to_string());
    folders.done(&[]);
    assert_eq!(folders.masks().keys().collect::<Vec<_>>(), ["good"]);
    assert!(folders.mask("good") == boxes(64, 48, &[(1, [0, 0, 9, 9])]));
    let faults = folders.faults();
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults.into_iter().next().unwrap()
}

#[test]
fn damaged_images_are_skipped_and_named() {
    let jpeg = encode_jpeg(&noise(64, 48), 90);
    let png = encode_png(&noise(64, 48));
    let mut broken = jpeg.clone();
    let middle = broken.len() / 2;
    broken[middle..middle + 40].fill(0xff);
    let mut flipped = png.clone();
    flipped[png.len() / 2] ^= 0x10;
    for (extension, bytes) in [
        ("jpg", &jpeg[..jpeg.len() / 2]),
        ("jpg", &jpeg[..20]),
        ("jpg", &broken),
        ("jpg", b""),
        ("jpg", b"no image at all"),
        ("png", &png[..png.len() / 2]),
        ("png", &flipped),
    ] {
        let fault = fault_of(extension, bytes);
        assert!(fault.starts_with(&format!("bad.{extension}: the image is ")), "{fault}");
    }
}

#[test]
fn images_that_claim_to_be_huge_are_refused_before_any_memory_is_taken() {
    let fault = fault_of("png", &bomb(60_000, 60_000));
    assert!(fault.contains("60000"), "{fault}");
    // Within the limit on pixels of a file that has none.
    let fault = fault_of("png", &bomb(7_999, 7_999));
    assert!(fault.starts_with("bad.png: the image is "), "{fault}");

    let folders = Folders::new();
    folders.noise("a.png", 64, 48);
    folders.annotation("1", task(1, "a.png", &[]).to_string());
    let said = folders.refused(&["--max-pixels", "3071"]);
    assert!(said.contains("no image could be used") && said.contains("3071"), "{said}");
    folders.done(&["--max-pixels", "3072"]);
}

#[test]
fn a_picture_in_an_annotation_that_claims_to_be_huge_is_refused_too() {
    use base64::Engine;
    let folders = Folders::new();
    folders.noise("a.png", 64, 48);
    folders.noise("b.png", 64, 48);
    let encoded = base64::engine::general_purpose::STANDARD.encode(bomb(60_000, 60_000));
    let region = json!({
        "id": "m", "type": "bitmasklabels", "from_name": "bm", "to_name": "image",
        "original_width": 64, "original_height": 48,
        "value": {"imageDataURL": format!("data:image/png;base64,{encoded}"), "bitmasklabels": ["car"]},
    });
    let tasks = json!([task(1, "a.png", &[region]), task(2, "b.png", &[])]);
    folders.annotation("export.json", tasks.to_string());
    folders.done(&[]);
    let faults = folders.faults();
    assert!(faults.len() == 1 && faults[0].contains("region m"), "{faults:?}");
    assert!(faults[0].contains("60000"), "{faults:?}");
}

#[test]
fn an_image_of_one_pixel_is_an_image() {
    let folders = Folders::new();
    folders.noise("dot.png", 1, 1);
    folders.noise("line.jpg", 300, 1);
    let tasks = [
        task(1, "dot.png", &[region("car", (1, 1), [0, 0, 1, 1])]),
        task(2, "line.jpg", &[region("road", (300, 1), [100, 0, 200, 1])]),
    ];
    folders.annotation("export.json", json!(tasks).to_string());
    folders.done(&["--strict"]);
    assert!(folders.mask("dot") == boxes(1, 1, &[(2, [0, 0, 1, 1])]));
    assert!(folders.mask("line") == boxes(300, 1, &[(1, [100, 0, 200, 1])]));
}

#[test]
fn images_that_differ_in_their_extension_only_are_refused() {
    let folders = Folders::new();
    folders.noise("a.png", 8, 8);
    folders.noise("a.jpg", 8, 8);
    let tasks = json!([task(1, "a.png", &[]), task(2, "a.jpg", &[])]);
    folders.annotation("export.json", tasks.to_string());
    let said = folders.refused(&[]);
    assert!(said.contains("a.jpg and a.png have the same name but for the extension"), "{said}");
}
