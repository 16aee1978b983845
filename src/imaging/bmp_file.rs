//! BMP: the pixels by the crate `image`, after the size in the header was checked.

use std::io::Cursor;

use image::codecs::bmp::BmpDecoder;
use image::{DynamicImage, RgbImage};

use super::decode::DecodeLimits;
use super::error::DecodeError;

/// Bytes before the information header, whose first word is its own size.
const FILE_HEADER_BYTES: usize = 14;
/// The size of the oldest information header, in which width and height have 16 bits.
const CORE_HEADER_BYTES: u32 = 12;
/// Compressions whose data have a length of their own: 8-bit and 4-bit runs.
const RLE_COMPRESSIONS: [u32; 2] = [1, 2];

fn bmp_error(problem: &str) -> DecodeError {
    DecodeError::Broken(format!("a BMP {problem}"))
}

/// The pixels, upright and without alpha: a BMP has no orientation.
pub(super) fn decode_bmp(bytes: &[u8], limits: DecodeLimits) -> Result<RgbImage, DecodeError> {
    check_bmp(bytes, limits)?;
    let image = BmpDecoder::new(Cursor::new(bytes)).and_then(DynamicImage::from_decoder);
    image.map(DynamicImage::into_rgb8).map_err(|error| match &error {
        image::ImageError::IoError(cause) if cause.kind() == std::io::ErrorKind::UnexpectedEof => {
            bmp_error("that is cut off")
        }
        _ => bmp_error(&format!("that cannot be decoded: {error}")),
    })
}

/// Checks the size, and that compressed data are all there: the decoder stops where the last row does.
fn check_bmp(bytes: &[u8], limits: DecodeLimits) -> Result<(), DecodeError> {
    let truncated_error = || bmp_error("that is cut off");
    let read_u32 = |offset: usize| {
        let le_bytes = bytes.get(offset..).and_then(|rest| rest.first_chunk()).copied();
        le_bytes.map(u32::from_le_bytes).ok_or_else(truncated_error)
    };
    if read_u32(FILE_HEADER_BYTES)? == CORE_HEADER_BYTES {
        let size = read_u32(FILE_HEADER_BYTES + 4)?;
        return limits.check_size(size & 0xffff, size >> 16);
    }
    let (width, height) = (
        read_u32(FILE_HEADER_BYTES + 4)?.cast_signed(),
        read_u32(FILE_HEADER_BYTES + 8)?.cast_signed(),
    );
    // A negative height tells that the top row comes first.
    limits.check_size(width.unsigned_abs(), height.unsigned_abs())?;
    let (pixels_offset, compression, data_bytes) =
        (read_u32(10)?, read_u32(FILE_HEADER_BYTES + 16)?, read_u32(FILE_HEADER_BYTES + 20)?);
    if RLE_COMPRESSIONS.contains(&compression)
        && u64::from(pixels_offset) + u64::from(data_bytes) > bytes.len() as u64
    {
        return Err(truncated_error());
    }
    Ok(())
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
