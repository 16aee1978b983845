//! `NumPy` arrays as `numpy.save` writes them: the format of versions 1 to 3 (NEP 1).
//!
//! | shape | meaning |
//! |---|---|
//! | `(H, W)`, `(H, W, 1)` | grayscale |
//! | `(H, W, 3)`, `(1, H, W, 3)` | red, green, blue |
//! | `(H, W, 4)`, `(1, H, W, 4)` | the same with a fourth channel, which is dropped as alpha is |
//!
//! Samples are `uint8`, `uint16` (the high byte is kept, as for image files with 16 bits) or `bool`
//! (0 and 255), in either order of bytes and of axes. Other types are refused, since their values
//! may be 0 to 1, 0 to 255 or already normalized; the error says how to convert them.

mod header;

use image::RgbImage;

use self::header::NpyHeader;
use super::image_file::image_decode_error;
use crate::imaging::DecodeLimits;
use crate::serve::api_error::{ApiError, ErrorType};
use crate::serve::request::options::quote_truncated;

/// First bytes of every array.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

fn invalid_array_error(message: impl AsRef<str>) -> ApiError {
    ApiError::new(ErrorType::InvalidArray, format!("the array {}", message.as_ref()))
}

/// The type of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SampleType {
    Uint8,
    Bool,
    /// 16 bits; the high byte comes first if `is_big_endian`.
    Uint16 {
        is_big_endian: bool,
    },
}

/// Decodes the image in the bytes of one array.
pub(super) fn decode_npy(mut bytes: Vec<u8>, limits: DecodeLimits) -> Result<RgbImage, ApiError> {
    let (header, data_offset) = NpyHeader::read(&bytes).map_err(invalid_array_error)?;
    let sample_type = parse_dtype(&header.descr).map_err(invalid_array_error)?;
    let (height, width, channels) = parse_shape(&header.shape).map_err(invalid_array_error)?;
    limits.check_size(width, height).map_err(|error| image_decode_error(&error))?;
    // The product fits: a side has at most 65535 pixels, and a pixel at most 4 channels of 2 bytes.
    let (rows, columns) = (height as usize, width as usize);
    let sample_bytes = if matches!(sample_type, SampleType::Uint16 { .. }) { 2 } else { 1 };
    let expected_bytes = rows * columns * channels * sample_bytes;
    let found_bytes = bytes.len() - data_offset;
    if found_bytes != expected_bytes {
        let cut_note = if found_bytes < expected_bytes { " and is cut off" } else { "" };
        return Err(invalid_array_error(format!(
            "has {found_bytes} bytes of samples{cut_note}; its shape {:?} and dtype {:?} make \
             {expected_bytes}",
            header.shape, header.descr
        )));
    }
    let pixels = if sample_type == SampleType::Uint8 && channels == 3 && !header.is_fortran {
        bytes.drain(..data_offset);
        bytes
    } else {
        let data = &bytes[data_offset..];
        let sample = |index: usize| match sample_type {
            SampleType::Uint8 => data[index],
            SampleType::Bool => u8::from(data[index] != 0) * u8::MAX,
            SampleType::Uint16 { is_big_endian } => data[2 * index + usize::from(!is_big_endian)],
        };
        // Distances between rows, columns and channels, in samples.
        let (row_stride, column_stride, channel_stride) = if header.is_fortran {
            (1, rows, rows * columns)
        } else {
            (columns * channels, channels, 1)
        };
        let channel_stride = if channels < 3 { 0 } else { channel_stride };
        let mut pixels = Vec::with_capacity(rows * columns * 3);
        for y in 0..rows {
            for x in 0..columns {
                let first_index = y * row_stride + x * column_stride;
                pixels.extend([
                    sample(first_index),
                    sample(first_index + channel_stride),
                    sample(first_index + 2 * channel_stride),
                ]);
            }
        }
        pixels
    };
    RgbImage::from_raw(width, height, pixels)
        .ok_or_else(|| invalid_array_error("has too few samples"))
}

fn parse_dtype(descr: &str) -> Result<SampleType, String> {
    let (byte_order, type_code) = match descr.as_bytes() {
        [order @ (b'<' | b'>' | b'|' | b'='), kind @ ..] => (*order, kind),
        kind => (b'=', kind),
    };
    match type_code {
        b"u1" => Ok(SampleType::Uint8),
        b"b1" => Ok(SampleType::Bool),
        // "=" is the byte order of the machine that wrote the array; numpy itself never stores it.
        b"u2" => Ok(SampleType::Uint16 { is_big_endian: byte_order == b'>' }),
        _ => {
            let fix = match type_code.first() {
                Some(b'f') => {
                    "for values from 0 to 1 send (255 * array).round().astype(\"uint8\"), for \
                     values from 0 to 255 \
                     array.round().astype(\"uint8\"); normalized values have to be brought back \
                     first"
                }
                Some(b'i' | b'u') => "for values from 0 to 255 send array.astype(\"uint8\")",
                Some(b'O') => "send one array of numbers, all rows of one length",
                _ => "send an array of numbers",
            };
            Err(format!(
                "has dtype {}; allowed: uint8, uint16 and bool; {fix}",
                quote_truncated(descr)
            ))
        }
    }
}

/// Returns the rows, columns and channels of a shape.
fn parse_shape(shape: &[u64]) -> Result<(u32, u32, usize), String> {
    let (height, width, channels) = match *shape {
        [height, width] => (height, width, 1),
        [height, width, channels @ (1 | 3 | 4)] | [1, height, width, channels @ (1 | 3 | 4)] => {
            (height, width, channels)
        }
        [1 | 3 | 4, _, _] => {
            return Err(shape_error(shape, "; channels come last: send array.transpose(1, 2, 0)"));
        }
        [1, 1 | 3 | 4, _, _] => {
            return Err(shape_error(
                shape,
                "; channels come last: send array.transpose(0, 2, 3, 1)",
            ));
        }
        [_, _, _, 1 | 3 | 4] => {
            return Err(shape_error(shape, "; send one image per request, array[0] first"));
        }
        _ => return Err(shape_error(shape, "")),
    };
    match (u32::try_from(height), u32::try_from(width)) {
        (Ok(height @ 1..), Ok(width @ 1..)) => Ok((height, width, channels as usize)),
        _ if height == 0 || width == 0 => Err(shape_error(shape, "; this one has no pixels")),
        _ => Err(shape_error(shape, "; this one is larger than any image")),
    }
}

fn shape_error(shape: &[u64], fix: &str) -> String {
    let sides: Vec<_> = shape.iter().take(8).map(u64::to_string).collect();
    format!(
        "has shape ({}); allowed: (H, W), (H, W, 1), (H, W, 3), (H, W, 4) and the same with 1 \
         before{fix}",
        sides.join(", ")
    )
}

#[cfg(test)]
mod tests;
