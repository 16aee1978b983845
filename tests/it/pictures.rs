//! Every kind of picture that cameras and tools write goes through training and serving alike.

use std::fs;
use std::path::Path;

use crate::job::Job;
use crate::processes::{Server, decoded};
use image::{GrayImage, Luma};
use maskmaker::imaging::{DecodeLimits, decode_upright, encode_mask};

/// The fixtures that are pictures (not masks), whatever their format.
fn pictures() -> Vec<std::path::PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images");
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            let expected = path.with_file_name(format!("{name}.expected.png"));
            !name.starts_with("mask_") && expected.exists()
        })
        .collect();
    found.sort();
    found
}

#[test]
fn grayscale_16_bit_palette_cmyk_and_turned_pictures_are_trained_on_and_served_upright() {
    let job = Job::new().with("mini_batch_size", "4");
    let mut sizes = Vec::new();
    for (index, path) in pictures().iter().enumerate() {
        let bytes = fs::read(path).unwrap();
        let upright = decode_upright(&bytes, DecodeLimits::default()).unwrap();
        let (width, height) = upright.dimensions();
        let extension = path.extension().unwrap().to_str().unwrap();
        let kinds = [
            ("png", "image/png"),
            ("webp", "image/webp"),
            ("tif", "image/tiff"),
            ("bmp", "image/bmp"),
        ];
        let content_type = kinds.into_iter().find(|kind| kind.0 == extension);
        let content_type = content_type.map_or("image/jpeg", |kind| kind.1);
        sizes.push((bytes.clone(), content_type, (width, height)));
        if !["png", "jpg", "jpeg"].contains(&extension) {
            continue;
        }
        // Masks are drawn on what a person sees: the upright picture.
        let mask = GrayImage::from_fn(width, height, |x, _| Luma([(x % 4) as u8]));
        fs::write(job.file("train", &format!("f{index}.{extension}")), &bytes).unwrap();
        fs::write(job.file("train_annotation", &format!("f{index}.png")), encode_mask(&mask))
            .unwrap();
    }
    assert!(sizes.len() > 50);
    job.train();
    let server = Server::start(&job);
    for (bytes, content_type, size) in sizes {
        let (status, mask) = server.post(&bytes, content_type);
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&mask));
        assert_eq!(decoded(&mask).dimensions(), size);
    }
}
