//! `NumPy` arrays as `numpy.save` writes them: the format of versions 1 to 3 (NEP 1).
//!
//! | shape | taken as |
//! |---|---|
//! | `(H, W)`, `(H, W, 1)` | grayscale |
//! | `(H, W, 3)`, `(1, H, W, 3)` | red, green, blue |
//! | `(H, W, 4)`, `(1, H, W, 4)` | the same; the fourth channel is dropped, as the alpha of image files is |
//!
//! Samples are `uint8`, `uint16` (their high byte is kept, as of image files with 16 bits) or `bool` (0 and 255), in
//! either order of bytes and of axes. Others are refused, since they may be 0 to 1, 0 to 255 or already normalised;
//! the refusal says how to convert them.

mod header;

use image::RgbImage;

use self::header::Header;
use super::super::reply::{ErrorType, Refusal};
use super::image::refused;
use crate::imaging::Limits;

/// The first bytes of every array.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

fn invalid(what: impl AsRef<str>) -> Refusal {
    Refusal::new(ErrorType::InvalidArray, format!("the array {}", what.as_ref()))
}

/// How samples are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Samples {
    Bytes,
    Flags,
    /// 16 bits, and whether the high byte comes first.
    Words {
        is_big_endian: bool,
    },
}

/// The image in the bytes of one array.
pub(super) fn decode(mut bytes: Vec<u8>, limits: Limits) -> Result<RgbImage, Refusal> {
    let (header, start) = Header::read(&bytes).map_err(invalid)?;
    let samples = samples(&header.descr).map_err(invalid)?;
    let (height, width, channels) = shape(&header.shape).map_err(invalid)?;
    limits.check(width, height).map_err(|error| refused(&error))?;
    // At most 65535 to a side and 4 channels of 2 bytes: this fits.
    let (rows, columns) = (height as usize, width as usize);
    let size = if matches!(samples, Samples::Words { .. }) { 2 } else { 1 };
    let expected = rows * columns * channels * size;
    let found = bytes.len() - start;
    if found != expected {
        let short = if found < expected { " and is cut off" } else { "" };
        return Err(invalid(format!(
            "has {found} bytes of samples{short}; its shape {:?} and dtype {:?} make {expected}",
            header.shape, header.descr
        )));
    }
    let pixels = if samples == Samples::Bytes && channels == 3 && !header.is_fortran {
        bytes.drain(..start);
        bytes
    } else {
        let data = &bytes[start..];
        let sample = |index: usize| match samples {
            Samples::Bytes => data[index],
            Samples::Flags => u8::from(data[index] != 0) * u8::MAX,
            Samples::Words { is_big_endian } => data[2 * index + usize::from(!is_big_endian)],
        };
        // Samples from one row, column and channel to the next.
        let (row, column, channel) = if header.is_fortran {
            (1, rows, rows * columns)
        } else {
            (columns * channels, channels, 1)
        };
        let channel = if channels < 3 { 0 } else { channel };
        let mut pixels = Vec::with_capacity(rows * columns * 3);
        for y in 0..rows {
            for x in 0..columns {
                let first = y * row + x * column;
                pixels.extend([
                    sample(first),
                    sample(first + channel),
                    sample(first + 2 * channel),
                ]);
            }
        }
        pixels
    };
    RgbImage::from_raw(width, height, pixels).ok_or_else(|| invalid("has too few samples"))
}

fn samples(descr: &str) -> Result<Samples, String> {
    let (order, kind) = match descr.as_bytes() {
        [order @ (b'<' | b'>' | b'|' | b'='), kind @ ..] => (*order, kind),
        kind => (b'=', kind),
    };
    match kind {
        b"u1" => Ok(Samples::Bytes),
        b"b1" => Ok(Samples::Flags),
        // "=" is the order of the machine that wrote it, which numpy itself never stores.
        b"u2" => Ok(Samples::Words { is_big_endian: order == b'>' }),
        _ => {
            let fix = match kind.first() {
                Some(b'f') => {
                    "for values from 0 to 1 send (255 * array).round().astype(\"uint8\"), for values from 0 to 255 \
                     array.round().astype(\"uint8\"); normalised values have to be brought back first"
                }
                Some(b'i' | b'u') => "for values from 0 to 255 send array.astype(\"uint8\")",
                Some(b'O') => "send one array of numbers, all rows of one length",
                _ => "send an array of numbers",
            };
            Err(format!(
                "has dtype {}; allowed: uint8, uint16 and bool; {fix}",
                super::short(descr)
            ))
        }
    }
}

/// Rows, columns and channels.
fn shape(shape: &[u64]) -> Result<(u32, u32, usize), String> {
    let wrong = |fix: &str| {
        let shape: Vec<_> = shape.iter().take(8).map(u64::to_string).collect();
        let shape = shape.join(", ");
        Err(format!(
            "has shape ({shape}); allowed: (H, W), (H, W, 1), (H, W, 3), (H, W, 4) and the same with 1 before{fix}"
        ))
    };
    let (height, width, channels) = match *shape {
        [height, width] => (height, width, 1),
        [height, width, channels @ (1 | 3 | 4)] | [1, height, width, channels @ (1 | 3 | 4)] => {
            (height, width, channels)
        }
        [1 | 3 | 4, _, _] => return wrong("; channels come last: send array.transpose(1, 2, 0)"),
        [1, 1 | 3 | 4, _, _] => {
            return wrong("; channels come last: send array.transpose(0, 2, 3, 1)");
        }
        [_, _, _, 1 | 3 | 4] => return wrong("; send one image per request, array[0] first"),
        _ => return wrong(""),
    };
    match (u32::try_from(height), u32::try_from(width)) {
        (Ok(height @ 1..), Ok(width @ 1..)) => Ok((height, width, channels as usize)),
        _ if height == 0 || width == 0 => wrong("; this one has no pixels"),
        _ => wrong("; this one is larger than any image"),
    }
}

#[cfg(test)]
mod tests;
