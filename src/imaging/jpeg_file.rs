//! JPEG: whole files only, in every colour space that the decoder knows.
//!
//! CMYK and YCCK follow Adobe's inverted convention with or without Adobe's marker, as in PIL.

use std::io::Cursor;

use image::codecs::jpeg::JpegDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, RgbImage};

use super::decode::Limits;
use super::error::DecodeError;

/// The pixels as they are stored, and how to turn them upright.
pub(super) fn decode(bytes: &[u8], limits: Limits) -> Result<(RgbImage, Orientation), DecodeError> {
    let broken = |error: image::ImageError| {
        DecodeError::Broken(format!("a JPEG that cannot be decoded: {error}"))
    };
    check_whole(bytes).map_err(DecodeError::Broken)?;
    let mut decoder = JpegDecoder::new(Cursor::new(bytes)).map_err(broken)?;
    let (width, height) = decoder.dimensions();
    limits.check(width, height)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let image = DynamicImage::from_decoder(decoder).map_err(broken)?;
    Ok((image.into_rgb8(), orientation))
}

/// Walks the markers from the start of the image to its end. The decoder itself paints what is
/// missing of a cut-off file grey and says nothing.
///
/// Segments are skipped by their length, so that the end marker of a thumbnail inside the EXIF
/// segment is not taken for the picture's; what follows the end marker does not matter.
fn check_whole(bytes: &[u8]) -> Result<(), String> {
    const CUT: &str = "a JPEG that is cut off: its end-of-image marker is missing";
    let mut at = 2; // past the start-of-image marker
    let mut scans = 0;
    loop {
        at = next_marker(bytes, at).ok_or(CUT)?;
        let code = bytes[at];
        at += 1;
        match code {
            // Restart markers, a second start of image, and TEM stand alone.
            0x01 | 0xd0..=0xd8 => {}
            0xd9 if scans == 0 => return Err("a JPEG without picture data".to_owned()),
            0xd9 => return Ok(()),
            _ => {
                let length = bytes.get(at..at + 2).ok_or(CUT)?;
                at += usize::from(u16::from_be_bytes([length[0], length[1]]));
                // What follows a start of scan is no segment but entropy-coded data, in which
                // `next_marker` finds the next real marker just as it does between segments.
                scans += usize::from(code == 0xda);
            }
        }
    }
}

/// The position of the next marker's code at or after `from`: the byte after 0xff that is neither
/// a stuffed zero nor a fill byte.
fn next_marker(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += bytes.get(at..)?.iter().position(|&byte| byte == 0xff)?;
        at += bytes[at..].iter().position(|&byte| byte != 0xff)?;
        if bytes[at] != 0 {
            return Some(at);
        }
    }
}
