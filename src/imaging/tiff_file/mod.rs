//! TIFF files. The crate `tiff` decodes the pixels of the first image, after its directory was
//! checked here.
//!
//! The crate does not support palettes, so it reads their indices as grays, and the colors are
//! looked up here. It also allocates by the claims of tags before it sees data, so sizes, tiles and
//! the offsets of all data are checked first.
//!
//! Tags and their meaning: TIFF 6.0.

mod directory;

use std::borrow::Cow;
use std::io::{Cursor, ErrorKind};

use image::RgbImage;
use image::metadata::Orientation;
use tiff::ColorType;
use tiff::decoder::{Decoder, DecodingResult};

use self::directory::{Directory, tag};
use super::decode::DecodeLimits;
use super::error::DecodeError;
use super::samples::{to_rgb, unpack_bits};

/// Photometric interpretations of grayscale and palette images.
const PHOTOMETRIC_BLACK_IS_ZERO: u16 = 1;
const PHOTOMETRIC_PALETTE: u64 = 3;
/// Numbers of the supported compressions: none, LZW, Deflate by its two numbers, `PackBits`.
const SUPPORTED_COMPRESSIONS: [u64; 5] = [1, 5, 8, 32_946, 32_773];
/// Numbers of the supported sample formats: unsigned integer, and undefined.
const UNSIGNED_SAMPLE_FORMATS: [u64; 2] = [1, 4];
/// Largest size of a pixel's decoded samples, in bytes.
const MAX_BYTES_PER_PIXEL: u64 = 8;

fn tiff_error(problem: impl AsRef<str>) -> DecodeError {
    DecodeError::Broken(format!("a TIFF {}", problem.as_ref()))
}

/// Decodes the pixels as they are stored, in 8 bits without alpha, and reads the orientation that
/// turns them upright.
pub(super) fn decode_tiff(
    bytes: &[u8],
    limits: DecodeLimits,
) -> Result<(RgbImage, Orientation), DecodeError> {
    let directory = Directory::read(bytes).map_err(tiff_error)?;
    let (width, height) = check_tiff(&directory, bytes, limits)?;
    let has_palette = directory.first_value(tag::PHOTOMETRIC) == Some(PHOTOMETRIC_PALETTE);
    let (file, palette) = if has_palette {
        let Some(as_gray) = directory.with_u16_value(tag::PHOTOMETRIC, PHOTOMETRIC_BLACK_IS_ZERO)
        else {
            return Err(tiff_error("whose directory cannot be used"));
        };
        (Cow::Owned(as_gray), Some(read_palette(&directory)?))
    } else {
        (Cow::Borrowed(bytes), None)
    };
    let DecodedSamples { samples, kind } = read_samples(&file, limits)?;
    let pixels = match (palette, kind) {
        (Some(palette), SampleKind::Gray { .. }) => {
            let palette_color =
                |&index: &u8| palette.get(usize::from(index)).copied().unwrap_or_default();
            samples.iter().flat_map(palette_color).collect()
        }
        (Some(_), _) => return Err(tiff_error("with a palette and more than one channel")),
        // The factor makes the largest sample 255.
        (None, SampleKind::Gray { largest }) => {
            samples.iter().flat_map(|&gray| [gray * (u8::MAX / largest); 3]).collect()
        }
        (None, SampleKind::Channels(channels)) => to_rgb(samples, channels),
        (None, SampleKind::Cmyk) => samples.chunks_exact(4).flat_map(cmyk_to_rgb).collect(),
    };
    match RgbImage::from_raw(width, height, pixels) {
        Some(image) => Ok((image, read_orientation(&directory))),
        None => Err(tiff_error("with too few pixels")),
    }
}

fn read_orientation(directory: &Directory<'_>) -> Orientation {
    let number = directory.first_value(tag::ORIENTATION).unwrap_or_default();
    let orientation = u8::try_from(number).ok().and_then(Orientation::from_exif);
    orientation.unwrap_or(Orientation::NoTransforms)
}

/// Converts cyan, magenta, yellow and black to red, green, blue with PIL's formula.
fn cmyk_to_rgb(inks: &[u8]) -> [u8; 3] {
    let white = u16::from(u8::MAX - inks[3]);
    std::array::from_fn(|c| ((u16::from(u8::MAX - inks[c]) * white + 127) / 255) as u8)
}

/// Checks the size, and everything else that the decoder allocates by. Returns width and height in
/// pixels.
fn check_tiff(
    directory: &Directory<'_>,
    bytes: &[u8],
    limits: DecodeLimits,
) -> Result<(u32, u32), DecodeError> {
    let (Some(width @ 1..), Some(height @ 1..)) =
        (read_side(directory, tag::WIDTH), read_side(directory, tag::HEIGHT))
    else {
        return Err(tiff_error("whose directory tells no size"));
    };
    limits.check_size(width, height)?;
    check_encoding(directory)?;
    check_tiles(directory, width, height, limits)?;
    for (offsets, byte_counts) in
        [(tag::STRIP_OFFSETS, tag::STRIP_BYTE_COUNTS), (tag::TILE_OFFSETS, tag::TILE_BYTE_COUNTS)]
    {
        for (offset, byte_count) in directory.values(offsets).zip(directory.values(byte_counts)) {
            if offset.saturating_add(byte_count) > bytes.len() as u64 {
                return Err(tiff_error("that is cut off"));
            }
        }
    }
    Ok((width, height))
}

/// Reads a number of pixels.
fn read_side(directory: &Directory<'_>, tag: u16) -> Option<u32> {
    u32::try_from(directory.first_value(tag)?).ok()
}

/// Checks that compression and sample format are supported.
fn check_encoding(directory: &Directory<'_>) -> Result<(), DecodeError> {
    let compression = directory.first_value(tag::COMPRESSION).unwrap_or(1);
    if !SUPPORTED_COMPRESSIONS.contains(&compression) {
        let name = match compression {
            2..=4 => "that of fax machines",
            6 | 7 => "JPEG",
            34_712 => "JPEG 2000",
            50_000 => "Zstandard",
            50_001 => "WebP",
            _ => "one that is not known here",
        };
        return Err(tiff_error(format!(
            "whose compression is {name} (number {compression}); save it with LZW, Deflate, \
             PackBits or none, or as a JPEG or PNG"
        )));
    }
    for format in directory.values(tag::SAMPLE_FORMAT) {
        if !UNSIGNED_SAMPLE_FORMATS.contains(&format) {
            return Err(tiff_error(format!(
                "whose samples are not unsigned integers (sample format {format}); scale them to 0 \
                 to 255 and save them with 8 bits"
            )));
        }
    }
    Ok(())
}

/// Checks that the tiles, if there are any, have at most twice the allowed pixels. Tiles may reach
/// past the edges, and are decoded as a whole.
fn check_tiles(
    directory: &Directory<'_>,
    width: u32,
    height: u32,
    limits: DecodeLimits,
) -> Result<(), DecodeError> {
    let (Some(tile_width), Some(tile_height)) =
        (read_side(directory, tag::TILE_WIDTH), read_side(directory, tag::TILE_HEIGHT))
    else {
        return Ok(());
    };
    let padded_width = padded_length(width, tile_width);
    let padded_height = padded_length(height, tile_height);
    if padded_width.saturating_mul(padded_height) > limits.max_pixels.saturating_mul(2) {
        return Err(tiff_error(format!(
            "of {width} x {height} pixels whose tiles have {padded_width} x {padded_height}; save \
             it with smaller tiles"
        )));
    }
    Ok(())
}

/// Returns the length of the tiles that cover `length` pixels.
fn padded_length(length: u32, tile: u32) -> u64 {
    u64::from(length.div_ceil(tile.max(1))) * u64::from(tile)
}

/// Reads red, green and blue of each index. The file holds all reds, then all greens, then all
/// blues, with 16 bits each.
fn read_palette(directory: &Directory<'_>) -> Result<Vec<[u8; 3]>, DecodeError> {
    let mut values = Vec::with_capacity(3 * 256);
    for value in directory.values(tag::COLOR_MAP).take(3 * 256) {
        values.push((value >> 8) as u8);
    }
    let count = values.len() / 3;
    if count == 0 {
        return Err(tiff_error("whose palette is missing"));
    }
    let mut palette = Vec::with_capacity(count);
    for index in 0..count {
        palette.push([values[index], values[count + index], values[2 * count + index]]);
    }
    Ok(palette)
}

/// Meaning of samples.
#[derive(Clone, Copy)]
enum SampleKind {
    /// One sample per pixel, 0 (black) to `largest`.
    Gray { largest: u8 },
    /// This number of samples per pixel, with the meaning that [`to_rgb`] gives them.
    Channels(usize),
    /// Cyan, magenta, yellow, black; 0 is no ink.
    Cmyk,
}

/// Decoded samples, pixel by pixel.
struct DecodedSamples {
    samples: Vec<u8>,
    kind: SampleKind,
}

fn read_samples(file: &[u8], limits: DecodeLimits) -> Result<DecodedSamples, DecodeError> {
    let mut decoder_limits = tiff::decoder::Limits::default();
    decoder_limits.decoding_buffer_size =
        usize::try_from(limits.max_pixels.saturating_mul(MAX_BYTES_PER_PIXEL))
            .unwrap_or(usize::MAX);
    // A strip's compressed data lie in the file, which is in memory.
    decoder_limits.intermediate_buffer_size = file.len();
    let mut decoder =
        Decoder::new(Cursor::new(file)).map_err(decoder_error)?.with_limits(decoder_limits);
    let (width, height) = decoder.dimensions().map_err(decoder_error)?;
    let (bits, kind) = sample_kind(decoder.colortype().map_err(decoder_error)?)?;
    let mut result = DecodingResult::U8(Vec::new());
    let layout = decoder.read_image_to_buffer(&mut result).map_err(decoder_error)?;
    let (stride, planes) = (layout.row_stride, layout.planes);
    let samples: Vec<u8> = match result {
        DecodingResult::U8(samples) => samples,
        DecodingResult::U16(samples) => {
            samples.into_iter().map(|sample| (sample >> 8) as u8).collect()
        }
        _ => return Err(tiff_error("whose samples have another format than its directory tells")),
    };
    let pixels = width as usize * height as usize;
    if bits < 8 {
        let stride = stride.map_or(1, std::num::NonZeroUsize::get);
        return Ok(DecodedSamples {
            samples: unpack_bits(samples.chunks_exact(stride), width as usize, bits.into()),
            kind,
        });
    }
    if planes > 1 {
        return Ok(interleave_planes(&samples, pixels, kind));
    }
    let kind = match kind {
        // The samples hold all bands, which may be more than `kind` says.
        SampleKind::Channels(_) => SampleKind::Channels((samples.len() / pixels).max(1)),
        kind => kind,
    };
    Ok(DecodedSamples { samples, kind })
}

fn decoder_error(error: tiff::TiffError) -> DecodeError {
    match error {
        tiff::TiffError::IoError(cause) if cause.kind() == ErrorKind::UnexpectedEof => {
            tiff_error("that is cut off")
        }
        tiff::TiffError::LimitsExceeded => {
            tiff_error("that needs more memory than its pixels should; save it as a PNG")
        }
        error => tiff_error(format!("that cannot be decoded: {error}")),
    }
}

/// Returns the number of bits and the meaning of samples.
fn sample_kind(color_type: ColorType) -> Result<(u8, SampleKind), DecodeError> {
    Ok(match color_type {
        ColorType::Gray(bits @ (1 | 2 | 4)) => {
            (bits, SampleKind::Gray { largest: (1 << bits) - 1 })
        }
        ColorType::Gray(bits @ (8 | 16)) => (bits, SampleKind::Gray { largest: u8::MAX }),
        ColorType::Multiband { bit_depth: bits @ (8 | 16), num_samples } => {
            // Gray and other bands. Of separate planes only the first, which is gray, is used.
            (bits, SampleKind::Channels(usize::from(num_samples).min(2)))
        }
        ColorType::RGB(bits @ (8 | 16)) => (bits, SampleKind::Channels(3)),
        ColorType::RGBA(bits @ (8 | 16)) => (bits, SampleKind::Channels(4)),
        ColorType::CMYK(bits @ (8 | 16)) => (bits, SampleKind::Cmyk),
        other => {
            return Err(tiff_error(format!(
                "whose pixels are {other:?}; save it as grayscale, RGB or a palette with 8 or 16 \
                 bits, or as a PNG"
            )));
        }
    })
}

/// Interleaves planes that lie one after the other.
fn interleave_planes(samples: &[u8], pixels: usize, kind: SampleKind) -> DecodedSamples {
    let planes: Vec<_> = samples.chunks_exact(pixels).collect();
    let (plane_count, kind) = match kind {
        SampleKind::Channels(channels) if channels >= 3 => (3, SampleKind::Channels(3)),
        SampleKind::Channels(_) => (1, SampleKind::Channels(1)),
        SampleKind::Gray { largest } => (1, SampleKind::Gray { largest }),
        SampleKind::Cmyk => (4, SampleKind::Cmyk),
    };
    let planes = planes.get(..plane_count).unwrap_or_default();
    let samples =
        (0..pixels).flat_map(|index| planes.iter().map(move |plane| plane[index])).collect();
    DecodedSamples { samples, kind }
}

#[cfg(test)]
mod tests;
