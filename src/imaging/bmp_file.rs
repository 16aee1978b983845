//! BMP files. The crate `image` decodes the pixels, after the size in the header was checked here.

use std::io::{Cursor, ErrorKind};

use image::codecs::bmp::BmpDecoder;
use image::{DynamicImage, RgbImage};

use super::bmp_runs::{RunHeader, decode_runs};
use super::decode::DecodeLimits;
use super::error::DecodeError;

/// Size of the file header in bytes. The information header follows, and its first word is its own
/// size.
const FILE_HEADER_BYTES: usize = 14;
/// Size in bytes of the oldest information header, in which width and height have 16 bits.
const CORE_HEADER_BYTES: u32 = 12;
/// Number of the "compression" whose samples are told by masks.
const BIT_FIELDS_COMPRESSION: u32 = 3;
/// Numbers of the compressions whose data have a length of their own: 8-bit and 4-bit runs.
const RLE_COMPRESSIONS: [u32; 2] = [1, 2];

fn bmp_error(problem: &str) -> DecodeError {
    DecodeError::Broken(format!("a BMP {problem}"))
}

/// Decodes the pixels, upright and without alpha. A BMP has no orientation.
pub(super) fn decode_bmp(bytes: &[u8], limits: DecodeLimits) -> Result<RgbImage, DecodeError> {
    check_bmp(bytes, limits)?;
    if let Some(image) = decode_run_length_coded(bytes)? {
        return Ok(image);
    }
    match BmpDecoder::new(Cursor::new(bytes)).and_then(DynamicImage::from_decoder) {
        Ok(image) => {
            let mut image = image.into_rgb8();
            cut_off_fractions(bytes, &mut image)?;
            Ok(image)
        }
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

/// Decodes a file of runs, or returns `None` for another kind. Its size was checked.
fn decode_run_length_coded(bytes: &[u8]) -> Result<Option<RgbImage>, DecodeError> {
    let header_bytes = read_u32(bytes, FILE_HEADER_BYTES)?;
    if header_bytes == CORE_HEADER_BYTES {
        return Ok(None);
    }
    let bits = read_u32(bytes, FILE_HEADER_BYTES + 12)? >> 16;
    let compression = read_u32(bytes, FILE_HEADER_BYTES + 16)?;
    let width = read_u32(bytes, FILE_HEADER_BYTES + 4)?.cast_signed();
    let height = read_u32(bytes, FILE_HEADER_BYTES + 8)?.cast_signed();
    let (1 | 2, 4 | 8, 1.., ..=-1 | 1..) = (compression, bits, width, height) else {
        return Ok(None);
    };
    if (compression == 2) != (bits == 4) {
        return Err(bmp_error(&format!("of {bits} bits per pixel with runs for another number")));
    }
    let header = RunHeader {
        width: width.unsigned_abs(),
        height: height.unsigned_abs(),
        is_top_down: height < 0,
        is_rle4: compression == 2,
    };
    let pixels_offset = read_u32(bytes, 10)? as usize;
    let palette_offset = FILE_HEADER_BYTES.saturating_add(header_bytes as usize);
    let (Some(data), Some(palette)) =
        (bytes.get(pixels_offset..), bytes.get(palette_offset..pixels_offset))
    else {
        return Err(bmp_error("that is cut off"));
    };
    let colors_used = match read_u32(bytes, FILE_HEADER_BYTES + 32)? {
        0 => 1 << bits,
        colors => (colors as usize).min(1 << bits),
    };
    let palette = palette.as_chunks().0;
    let palette = &palette[..colors_used.min(palette.len())];
    decode_runs(header, palette, data).map(Some).map_err(bmp_error)
}

/// Converts samples of 5 and 6 bits as PIL does, which cuts fractions off where the decoder rounds.
fn cut_off_fractions(bytes: &[u8], image: &mut RgbImage) -> Result<(), DecodeError> {
    let planes_and_bits = read_u32(bytes, FILE_HEADER_BYTES + 12)?;
    if read_u32(bytes, FILE_HEADER_BYTES)? == CORE_HEADER_BYTES || planes_and_bits >> 16 != 16 {
        return Ok(());
    }
    let mut bits = [5, 5, 5];
    if read_u32(bytes, FILE_HEADER_BYTES + 16)? == BIT_FIELDS_COMPRESSION {
        let mut masks = [0; 3];
        for (index, mask) in masks.iter_mut().enumerate() {
            *mask = read_u32(bytes, FILE_HEADER_BYTES + 40 + 4 * index)?;
        }
        bits = match masks {
            [0x7c00, 0x3e0, 0x1f] => bits,
            [0xf800, 0x7e0, 0x1f] => [5, 6, 5],
            _ => return Ok(()),
        };
    }
    for pixel in image.pixels_mut() {
        for (sample, bits) in pixel.0.iter_mut().zip(bits) {
            let level = u16::from(*sample >> (8 - bits));
            *sample = (level * 255 / ((1 << bits) - 1)) as u8;
        }
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
