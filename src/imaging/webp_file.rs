//! WebP, lossy and lossless: the pixels by the crate `image`, after the container was walked here.
//!
//! The container tells a size, and so does the stream of pixels in it; a decoder that makes room for the second after
//! only the first was checked can be made to allocate anything. So the stream alone is handed to the decoder, in the
//! simplest of containers, and alpha, profiles and texts never reach it.
//!
//! Container and headers: RFC 9649.

use std::borrow::Cow;
use std::io::Cursor;

use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};

use super::decode::Limits;
use super::error::DecodeError;

/// `RIFF`, a length, `WEBP`.
const RIFF_HEADER: usize = 12;
/// A name and a length before each chunk.
const CHUNK_HEADER: usize = 8;
/// The flag of `VP8X` that tells an animation.
const ANIMATED: u8 = 2;

fn broken(why: &str) -> DecodeError {
    DecodeError::Broken(format!("a WebP {why}"))
}

/// What the container holds.
struct Parts<'a> {
    /// The first stream of pixels, and where its chunk is.
    stream: &'a [u8],
    is_lossless: bool,
    /// The only chunk.
    is_simple: bool,
    orientation: Orientation,
}

/// The pixels as they are stored, without alpha, and how to turn them upright.
pub(super) fn decode(bytes: &[u8], limits: Limits) -> Result<(RgbImage, Orientation), DecodeError> {
    let parts = walk(bytes)?;
    let (width, height) = size(&parts)?;
    limits.check(width, height)?;
    let file = if parts.is_simple { Cow::Borrowed(bytes) } else { Cow::Owned(wrapped(&parts)) };
    let image = WebPDecoder::new(Cursor::new(&*file)).and_then(DynamicImage::from_decoder);
    let image = image.map_err(|error| broken(&format!("that cannot be decoded: {error}")))?;
    Ok((image.into_rgb8(), parts.orientation))
}

/// Walks the chunks; all of them must be there.
fn walk(bytes: &[u8]) -> Result<Parts<'_>, DecodeError> {
    let cut = || broken("that is cut off");
    let length = |at: usize| {
        let word = bytes.get(at..).and_then(|rest| rest.first_chunk()).copied();
        word.map(|word| u32::from_le_bytes(word) as usize).ok_or_else(cut)
    };
    let whole = bytes.get(..length(4)?.saturating_add(CHUNK_HEADER)).ok_or_else(cut)?;
    let (mut stream, mut canvas, mut orientation) = (None, None, None);
    let (mut at, mut count) = (RIFF_HEADER, 0);
    while at + CHUNK_HEADER <= whole.len() {
        let start = at + CHUNK_HEADER;
        let end = start.saturating_add(length(at + 4)?);
        let chunk = whole.get(start..end).ok_or_else(cut)?;
        match &whole[at..at + 4] {
            b"VP8X" => canvas = Some(chunk),
            b"VP8 " => stream = stream.or(Some((chunk, false))),
            b"VP8L" => stream = stream.or(Some((chunk, true))),
            b"EXIF" => {
                // Some writers put what precedes EXIF in a JPEG before it.
                let exif = chunk.strip_prefix(b"Exif\0\0").unwrap_or(chunk);
                orientation = orientation.or_else(|| Orientation::from_exif_chunk(exif));
            }
            _ => {}
        }
        count += 1;
        // Chunks begin at even places.
        at = end + end % 2;
    }
    if canvas.and_then(|canvas| canvas.first()).is_some_and(|flags| flags & ANIMATED != 0) {
        return Err(broken("animation; send one of its frames as an image of its own"));
    }
    let (stream, is_lossless) = stream.ok_or_else(|| broken("without a picture"))?;
    Ok(Parts {
        stream,
        is_lossless,
        is_simple: count == 1,
        orientation: orientation.unwrap_or(Orientation::NoTransforms),
    })
}

/// Columns and rows, as the stream itself tells.
fn size(parts: &Parts<'_>) -> Result<(u32, u32), DecodeError> {
    let stream = parts.stream;
    let size = if parts.is_lossless {
        // A signature, then 14 bits each, less 1.
        stream.get(1..5).map(|word| {
            let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
            (1 + (word & 0x3fff), 1 + (word >> 14 & 0x3fff))
        })
    } else {
        // A tag of 3 bytes and a start code of 3; the two highest bits of each size are a scale for display.
        stream.get(6..10).map(|word| {
            let side = |at: usize| u32::from(u16::from_le_bytes([word[at], word[at + 1]]) & 0x3fff);
            (side(0), side(2))
        })
    };
    match size.ok_or_else(|| broken("whose picture has no size"))? {
        (0, _) | (_, 0) => Err(broken("without pixels")),
        size => Ok(size),
    }
}

/// The stream as the only chunk of a file.
fn wrapped(parts: &Parts<'_>) -> Vec<u8> {
    let stream = parts.stream;
    let name = if parts.is_lossless { b"VP8L" } else { b"VP8 " };
    let padding = stream.len() % 2;
    // Parts of a file whose length has 32 bits.
    let all = (4 + CHUNK_HEADER + stream.len() + padding) as u32;
    let own = stream.len() as u32;
    let heads = [&b"RIFF"[..], &all.to_le_bytes(), b"WEBP", name, &own.to_le_bytes()].concat();
    [&heads, stream, &[0][..padding]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::decode_upright;
    use crate::imaging::fixtures::fixture;

    fn refused(bytes: &[u8]) -> DecodeError {
        decode_upright(bytes, Limits { max_pixels: 1_000_000 }).unwrap_err()
    }

    fn place(bytes: &[u8], chunk: &[u8]) -> usize {
        bytes.windows(4).position(|name| name == chunk).unwrap() + CHUNK_HEADER
    }

    #[test]
    fn the_size_in_the_stream_is_the_one_that_counts() {
        for name in ["lossy.webp", "lossy_alpha.webp", "lossy_orientation_6.webp"] {
            let mut bytes = fixture(name);
            let at = place(&bytes, b"VP8 ") + 6;
            bytes[at..at + 4].copy_from_slice(&[0xff, 0x3f, 0xff, 0x3f]);
            let max_pixels = 1_000_000;
            let expected = DecodeError::TooLarge { width: 16_383, height: 16_383, max_pixels };
            assert_eq!(refused(&bytes), expected, "{name}");
            bytes[at..at + 4].fill(0);
            assert_eq!(refused(&bytes), broken("without pixels"), "{name}");
        }
        for name in ["lossless.webp", "lossless_alpha.webp", "lossless_orientation_6.webp"] {
            let mut bytes = fixture(name);
            let at = place(&bytes, b"VP8L") + 1;
            bytes[at..at + 4].copy_from_slice(&[0xff, 0xff, 0xff, 0x0f]);
            let max_pixels = 1_000_000;
            let expected = DecodeError::TooLarge { width: 16_384, height: 16_384, max_pixels };
            assert_eq!(refused(&bytes), expected, "{name}");
        }
    }

    #[test]
    fn an_animation_is_refused_with_the_fix() {
        let mut bytes = fixture("lossy_alpha.webp");
        let flags = place(&bytes, b"VP8X");
        bytes[flags] |= ANIMATED;
        assert!(refused(&bytes).to_string().contains("send one of its frames"));
    }

    #[test]
    fn a_container_without_a_picture_is_refused() {
        let mut bytes = fixture("lossless.webp");
        let name = place(&bytes, b"VP8L") - CHUNK_HEADER;
        bytes[name..name + 4].copy_from_slice(b"XMP ");
        assert_eq!(refused(&bytes), broken("without a picture"));
        assert_eq!(refused(b"RIFF\x04\0\0\0WEBP"), broken("without a picture"));
        assert_eq!(refused(b"RIFF\xff\xff\xff\xffWEBP"), broken("that is cut off"));
    }
}
