//! Masks with an EXIF orientation turn as their images do, or are refused.

use std::fs;

use image::imageops::rotate180;
use maskmaker::imaging::{DecodeLimits, decode_mask, decode_upright, encode_mask, encode_png};

use crate::job::Job;

/// Adds EXIF data with an orientation of 32 bits to a PNG, before its pixels.
pub(crate) fn with_orientation(png: &[u8], orientation: u8) -> Vec<u8> {
    // Signature and header have 33 bytes.
    const PIXELS_OFFSET: usize = 33;
    let exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x04\0\x01\0\0\0";
    let chunk = [b"eXIf", &exif[..], &[orientation, 0, 0, 0], &[0; 4]].concat();
    let length = (chunk.len() as u32 - 4).to_be_bytes();
    let checksum = crc32fast::hash(&chunk).to_be_bytes();
    [&png[..PIXELS_OFFSET], &length, &chunk, &checksum, &png[PIXELS_OFFSET..]].concat()
}

/// Makes a job whose images and masks are PNGs, upright or upside down with an orientation.
fn job_of_pngs(is_turned: bool) -> Job {
    let job = Job::new();
    let limits = DecodeLimits::default();
    for split in ["train", "validation"] {
        for entry in fs::read_dir(job.path("input/data").join(split)).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("{}.png", path.file_stem().unwrap().to_str().unwrap());
            let mask_path = job.file(&format!("{split}_annotation"), &name);
            let mut image = decode_upright(&fs::read(&path).unwrap(), limits).unwrap();
            let mut mask = decode_mask(&fs::read(&mask_path).unwrap(), limits).unwrap();
            fs::remove_file(&path).unwrap();
            if is_turned {
                (image, mask) = (rotate180(&image), rotate180(&mask));
            }
            let (mut image, mut mask) = (encode_png(&image), encode_mask(&mask));
            if is_turned {
                image = with_orientation(&image, 3);
                mask = with_orientation(&mask, 3);
            }
            fs::write(path.with_extension("png"), image).unwrap();
            fs::write(mask_path, mask).unwrap();
        }
    }
    job
}

#[test]
fn turned_images_with_turned_masks_train_as_upright_ones_do() {
    let mut weights = Vec::new();
    for is_turned in [false, true] {
        let job = job_of_pngs(is_turned);
        job.train();
        weights.push(fs::read(job.path("model/model.safetensors")).unwrap());
    }
    assert!(weights[0] == weights[1]);
}

#[test]
fn a_mask_that_alone_is_turned_is_an_error_that_names_the_orientation() {
    let job = Job::new();
    let mask = job.first("train_annotation");
    let turned = with_orientation(&fs::read(&mask).unwrap(), 3);
    fs::write(&mask, turned).unwrap();
    let reason = job.failure();
    assert!(reason.contains(&mask.display().to_string()), "{reason}");
    assert!(reason.contains("orientation is 3, and the image's is 1"), "{reason}");
}
