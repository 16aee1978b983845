//! WebP files, lossy and lossless. The crate `image` decodes the pixels, after the container was
//! walked here.
//!
//! The container states a size, and so does the stream of pixels in it. A decoder that allocates by
//! the second size after only the first was checked can be made to allocate any amount. So the
//! decoder gets the stream alone in the simplest of containers, and alpha, profiles and texts never
//! reach it.
//!
//! Container and headers: RFC 9649.

use std::borrow::Cow;
use std::io::Cursor;

use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};

use super::decode::DecodeLimits;
use super::error::DecodeError;
use super::exif::read_exif_orientation;

/// Size in bytes of the file's header: `RIFF`, a length, `WEBP`.
const RIFF_HEADER_BYTES: usize = 12;
/// Size in bytes of the name and the length before each chunk.
const CHUNK_HEADER_BYTES: usize = 8;
/// Flag of `VP8X` that marks an animation.
const ANIMATION_FLAG: u8 = 2;

fn webp_error(problem: &str) -> DecodeError {
    DecodeError::Broken(format!("a WebP {problem}"))
}

/// The relevant content of the container.
struct WebPChunks<'a> {
    /// Data of the first chunk with a stream of pixels.
    bitstream: &'a [u8],
    is_lossless: bool,
    /// True if the container has no other chunk.
    is_only_chunk: bool,
    orientation: Orientation,
}

/// Decodes the pixels as they are stored, without alpha, and reads the orientation that turns them
/// upright.
pub(super) fn decode_webp(
    bytes: &[u8],
    limits: DecodeLimits,
) -> Result<(RgbImage, Orientation), DecodeError> {
    let parts = read_chunks(bytes)?;
    let (width, height) = read_size(&parts)?;
    limits.check_size(width, height)?;
    let file =
        if parts.is_only_chunk { Cow::Borrowed(bytes) } else { Cow::Owned(wrap_in_riff(&parts)) };
    match WebPDecoder::new(Cursor::new(&*file)).and_then(DynamicImage::from_decoder) {
        Ok(image) => Ok((image.into_rgb8(), parts.orientation)),
        Err(error) => Err(webp_error(&format!("that cannot be decoded: {error}"))),
    }
}

/// Walks the chunks. All of them must be complete.
fn read_chunks(bytes: &[u8]) -> Result<WebPChunks<'_>, DecodeError> {
    let riff_end = read_length(bytes, 4)?.saturating_add(CHUNK_HEADER_BYTES);
    let riff = bytes.get(..riff_end).ok_or_else(truncated_webp_error)?;
    let (mut bitstream, mut vp8x, mut orientation) = (None, None, None);
    let (mut offset, mut chunk_count) = (RIFF_HEADER_BYTES, 0);
    while offset + CHUNK_HEADER_BYTES <= riff.len() {
        let start = offset + CHUNK_HEADER_BYTES;
        let end = start.saturating_add(read_length(bytes, offset + 4)?);
        let chunk = riff.get(start..end).ok_or_else(truncated_webp_error)?;
        match &riff[offset..offset + 4] {
            b"VP8X" => vp8x = Some(chunk),
            b"VP8 " => bitstream = bitstream.or(Some((chunk, false))),
            b"VP8L" => bitstream = bitstream.or(Some((chunk, true))),
            b"EXIF" => orientation = orientation.or(read_exif_orientation(chunk)),
            _ => {}
        }
        chunk_count += 1;
        // Chunks begin at even offsets.
        offset = end + end % 2;
    }
    if let Some([flags, ..]) = vp8x
        && flags & ANIMATION_FLAG != 0
    {
        return Err(webp_error("animation; send one of its frames as an image of its own"));
    }
    let Some((bitstream, is_lossless)) = bitstream else {
        return Err(webp_error("without a picture"));
    };
    Ok(WebPChunks {
        bitstream,
        is_lossless,
        is_only_chunk: chunk_count == 1,
        orientation: orientation.unwrap_or(Orientation::NoTransforms),
    })
}

/// Reads the length in bytes at an offset.
fn read_length(bytes: &[u8], offset: usize) -> Result<usize, DecodeError> {
    match bytes.get(offset..).and_then(<[u8]>::first_chunk) {
        Some(le_bytes) => Ok(u32::from_le_bytes(*le_bytes) as usize),
        None => Err(truncated_webp_error()),
    }
}

fn truncated_webp_error() -> DecodeError {
    webp_error("that is cut off")
}

/// Reads columns and rows, in pixels, from the stream itself.
fn read_size(parts: &WebPChunks<'_>) -> Result<(u32, u32), DecodeError> {
    let stream = parts.bitstream;
    let size = if parts.is_lossless {
        // A byte of signature, then width - 1 and height - 1 with 14 bits each.
        let Some(&[_, a, b, c, d]) = stream.first_chunk() else {
            return Err(webp_error("whose picture has no size"));
        };
        let word = u32::from_le_bytes([a, b, c, d]);
        (1 + (word & 0x3fff), 1 + (word >> 14 & 0x3fff))
    } else {
        // A tag of 3 bytes and a start code of 3, then width and height with 16 bits each. The two
        // highest bits of each are a scale for display.
        let Some(&[_, _, _, _, _, _, a, b, c, d]) = stream.first_chunk() else {
            return Err(webp_error("whose picture has no size"));
        };
        let (width, height) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
        (u32::from(width & 0x3fff), u32::from(height & 0x3fff))
    };
    match size {
        (0, _) | (_, 0) => Err(webp_error("without pixels")),
        size => Ok(size),
    }
}

/// Returns a file whose only chunk is the stream.
fn wrap_in_riff(parts: &WebPChunks<'_>) -> Vec<u8> {
    let stream = parts.bitstream;
    let name = if parts.is_lossless { b"VP8L" } else { b"VP8 " };
    let padding = stream.len() % 2;
    // The casts lose nothing: both are parts of a file whose length has 32 bits.
    let riff_bytes = (4 + CHUNK_HEADER_BYTES + stream.len() + padding) as u32;
    let stream_bytes = stream.len() as u32;
    let headers =
        [&b"RIFF"[..], &riff_bytes.to_le_bytes(), b"WEBP", name, &stream_bytes.to_le_bytes()]
            .concat();
    [&headers, stream, &[0][..padding]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::decode_upright;
    use crate::imaging::fixtures::fixture;

    fn decode_error(bytes: &[u8]) -> DecodeError {
        decode_upright(bytes, DecodeLimits { max_pixels: 1_000_000 }).unwrap_err()
    }

    fn chunk_data_offset(bytes: &[u8], chunk: &[u8]) -> usize {
        bytes.windows(4).position(|name| name == chunk).unwrap() + CHUNK_HEADER_BYTES
    }

    #[test]
    fn the_size_in_the_stream_is_the_one_that_counts() {
        for name in ["lossy.webp", "lossy_alpha.webp", "lossy_orientation_6.webp"] {
            let mut bytes = fixture(name);
            let at = chunk_data_offset(&bytes, b"VP8 ") + 6;
            bytes[at..at + 4].copy_from_slice(&[0xff, 0x3f, 0xff, 0x3f]);
            let max_pixels = 1_000_000;
            let expected = DecodeError::TooLarge { width: 16_383, height: 16_383, max_pixels };
            assert_eq!(decode_error(&bytes), expected, "{name}");
            bytes[at..at + 4].fill(0);
            assert_eq!(decode_error(&bytes), webp_error("without pixels"), "{name}");
        }
        for name in ["lossless.webp", "lossless_alpha.webp", "lossless_orientation_6.webp"] {
            let mut bytes = fixture(name);
            let at = chunk_data_offset(&bytes, b"VP8L") + 1;
            bytes[at..at + 4].copy_from_slice(&[0xff, 0xff, 0xff, 0x0f]);
            let max_pixels = 1_000_000;
            let expected = DecodeError::TooLarge { width: 16_384, height: 16_384, max_pixels };
            assert_eq!(decode_error(&bytes), expected, "{name}");
        }
    }

    #[test]
    fn an_animation_is_refused_with_the_fix() {
        let mut bytes = fixture("lossy_alpha.webp");
        let flags = chunk_data_offset(&bytes, b"VP8X");
        bytes[flags] |= ANIMATION_FLAG;
        assert!(decode_error(&bytes).to_string().contains("send one of its frames"));
    }

    #[test]
    fn a_container_without_a_picture_is_refused() {
        let mut bytes = fixture("lossless.webp");
        let name = chunk_data_offset(&bytes, b"VP8L") - CHUNK_HEADER_BYTES;
        bytes[name..name + 4].copy_from_slice(b"XMP ");
        assert_eq!(decode_error(&bytes), webp_error("without a picture"));
        assert_eq!(decode_error(b"RIFF\x04\0\0\0WEBP"), webp_error("without a picture"));
        assert_eq!(decode_error(b"RIFF\xff\xff\xff\xffWEBP"), webp_error("that is cut off"));
    }
}
