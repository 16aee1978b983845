//! BMP files. The crate `image` decodes the pixels, after the size in the header was checked here.

use std::io::{Cursor, ErrorKind};

use image::codecs::bmp::BmpDecoder;
use image::{DynamicImage, RgbImage};

use super::decode::DecodeLimits;
use super::error::DecodeError;

/// Size of the file header in bytes. The information header follows, and its first word is its own
/// size.
const FILE_HEADER_BYTES: usize = 14;
/// Size in bytes of the oldest information header, in which width and height have 16 bits.
const CORE_HEADER_BYTES: u32 = 12;
/// Numbers of the compressions whose data have a length of their own: 8-bit and 4-bit runs.
const RLE_COMPRESSIONS: [u32; 2] = [1, 2];

fn bmp_error(problem: &str) -> DecodeError {
    DecodeError::Broken(format!("a BMP {problem}"))
}

/// Decodes the pixels, upright and without alpha. A BMP has no orientation.
pub(super) fn decode_bmp(bytes: &[u8], limits: DecodeLimits) -> Result<RgbImage, DecodeError> {
    check_bmp(bytes, limits)?;
    match BmpDecoder::new(Cursor::new(bytes)).and_then(DynamicImage::from_decoder) {
        Ok(image) => Ok(image.into_rgb8()),
        Err(image::ImageError::IoError(cause)) if cause.kind() == ErrorKind::UnexpectedEof => {
            Err(bmp_error("that is cut off"))
        }
        Err(error) => Err(bmp_error(&format!("that cannot be decoded: {error}"))),
    }
}

/// Checks the size, and that compressed data are complete: the decoder stops at the last row and
/// would not notice a missing end.
fn check_bmp(bytes: &[u8], limits: DecodeLimits) -> Result<(), DecodeError> {
    if read_u32(bytes, FILE_HEADER_BYTES)? == CORE_HEADER_BYTES {
        let size = read_u32(bytes, FILE_HEADER_BYTES + 4)?;
        return limits.check_size(size & 0xffff, size >> 16);
    }
    let width = read_u32(bytes, FILE_HEADER_BYTES + 4)?.cast_signed();
    let height = read_u32(bytes, FILE_HEADER_BYTES + 8)?.cast_signed();
    // A negative height means that the top row comes first.
    limits.check_size(width.unsigned_abs(), height.unsigned_abs())?;
    let pixels_offset = read_u32(bytes, 10)?;
    let compression = read_u32(bytes, FILE_HEADER_BYTES + 16)?;
    let data_bytes = read_u32(bytes, FILE_HEADER_BYTES + 20)?;
    if RLE_COMPRESSIONS.contains(&compression)
        && u64::from(pixels_offset) + u64::from(data_bytes) > bytes.len() as u64
    {
        return Err(bmp_error("that is cut off"));
    }
    Ok(())
}

/// Reads the little-endian number at an offset.
fn read_u32(bytes: &[u8], offset: usize) -> Result<u32, DecodeError> {
    match bytes.get(offset..).and_then(<[u8]>::first_chunk) {
        Some(le_bytes) => Ok(u32::from_le_bytes(*le_bytes)),
        None => Err(bmp_error("that is cut off")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::decode_upright;
    use crate::imaging::fixtures::fixture;

    #[test]
    fn a_size_is_refused_before_there_is_room_made() {
        let mut bytes = fixture("rgb.bmp");
        for (width, height) in [(100_000_i32, 100_000_i32), (100_000, -100_000), (-1, 1)] {
            bytes[18..22].copy_from_slice(&width.to_le_bytes());
            bytes[22..26].copy_from_slice(&height.to_le_bytes());
            let error = decode_upright(&bytes, DecodeLimits::default()).unwrap_err();
            if width > 0 {
                let (width, height) = (width.unsigned_abs(), height.unsigned_abs());
                let max_pixels = 64_000_000;
                assert_eq!(error, DecodeError::TooLarge { width, height, max_pixels });
            } else {
                assert!(matches!(error, DecodeError::Broken(_)), "{error}");
            }
        }
    }

    #[test]
    fn a_bmp_of_the_first_kind_is_read() {
        let header = [12, 0, 0, 0, 2, 0, 1, 0, 1, 0, 24, 0];
        let pixels = [1, 2, 3, 4, 5, 6, 0, 0];
        let start = [b'B', b'M', 34, 0, 0, 0, 0, 0, 0, 0, 26, 0, 0, 0];
        let bytes = [&start[..], &header, &pixels].concat();
        let image = decode_upright(&bytes, DecodeLimits::default()).unwrap();
        assert_eq!(image.as_raw(), &[3, 2, 1, 6, 5, 4]);
        let error = decode_upright(&bytes[..33], DecodeLimits::default()).unwrap_err();
        assert_eq!(error, bmp_error("that is cut off"));
    }
}
