//! TIFF: the pixels of the first image by the crate `tiff`, after its directory was checked here.
//!
//! The crate knows no palettes; their indices are read as if they were grays, and looked up here. It also makes room
//! for what tags claim before it sees data; so sizes, tiles and the places of all data are checked first.
//!
//! Tags and their meaning: TIFF 6.0.

mod directory;

use std::borrow::Cow;
use std::io::Cursor;

use image::RgbImage;
use image::metadata::Orientation;
use tiff::ColorType;
use tiff::decoder::{Decoder, DecodingResult};

use self::directory::{Directory, tag};
use super::decode::DecodeLimits;
use super::error::DecodeError;
use super::samples::{to_rgb, unpack_bits};

/// Photometric interpretations.
const PHOTOMETRIC_BLACK_IS_ZERO: u16 = 1;
const PHOTOMETRIC_PALETTE: u64 = 3;
/// Compressions: none, LZW, Deflate by its two numbers, `PackBits`.
const SUPPORTED_COMPRESSIONS: [u64; 5] = [1, 5, 8, 32_946, 32_773];
/// Sample formats: unsigned numbers, or not told.
const UNSIGNED_SAMPLE_FORMATS: [u64; 2] = [1, 4];
/// Bytes of decoded samples per pixel that is allowed.
const MAX_BYTES_PER_PIXEL: u64 = 8;

fn tiff_error(problem: impl AsRef<str>) -> DecodeError {
    DecodeError::Broken(format!("a TIFF {}", problem.as_ref()))
}

/// The pixels as they are stored, in 8 bits, without alpha, and how to turn them upright.
pub(super) fn decode_tiff(
    bytes: &[u8],
    limits: DecodeLimits,
) -> Result<(RgbImage, Orientation), DecodeError> {
    let directory = Directory::read(bytes).map_err(tiff_error)?;
    let (width, height) = check_tiff(&directory, bytes, limits)?;
    let has_palette = directory.first_value(tag::PHOTOMETRIC) == Some(PHOTOMETRIC_PALETTE);
    let (file, palette) = if has_palette {
        let as_gray = directory.with_u16_value(tag::PHOTOMETRIC, PHOTOMETRIC_BLACK_IS_ZERO);
        let as_gray = as_gray.ok_or_else(|| tiff_error("whose directory cannot be used"))?;
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
        // The factor that makes the largest sample 255.
        (None, SampleKind::Gray { largest }) => {
            samples.iter().flat_map(|&gray| [gray * (u8::MAX / largest); 3]).collect()
        }
        (None, SampleKind::Channels(channels)) => to_rgb(samples, channels),
        (None, SampleKind::Cmyk) => samples.chunks_exact(4).flat_map(cmyk_to_rgb).collect(),
    };
    let image = RgbImage::from_raw(width, height, pixels);
    let orientation = directory.first_value(tag::ORIENTATION);
    let orientation =
        orientation.and_then(|number| Orientation::from_exif(number.try_into().ok()?));
    let image = image.ok_or_else(|| tiff_error("with too few pixels"))?;
    Ok((image, orientation.unwrap_or(Orientation::NoTransforms)))
}

/// Light that is left by four inks, as PIL reckons it.
fn cmyk_to_rgb(inks: &[u8]) -> [u8; 3] {
    let inverted = |ink: u8| u16::from(u8::MAX - ink);
    std::array::from_fn(|c| ((inverted(inks[c]) * inverted(inks[3]) + 127) / 255) as u8)
}

/// The size, after it and all that the decoder makes room for were found to be allowed.
fn check_tiff(
    directory: &Directory<'_>,
    bytes: &[u8],
    limits: DecodeLimits,
) -> Result<(u32, u32), DecodeError> {
    let read_side = |tag| directory.first_value(tag).and_then(|side| u32::try_from(side).ok());
    let (Some(width @ 1..), Some(height @ 1..)) = (read_side(tag::WIDTH), read_side(tag::HEIGHT))
    else {
        return Err(tiff_error("whose directory tells no size"));
    };
    limits.check_size(width, height)?;
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
            "whose compression is {name} (number {compression}); save it with LZW, Deflate, PackBits or none, or as \
             a JPEG or PNG"
        )));
    }
    if let Some(format) = directory
        .values(tag::SAMPLE_FORMAT)
        .find(|format| !UNSIGNED_SAMPLE_FORMATS.contains(format))
    {
        return Err(tiff_error(format!(
            "whose samples are not unsigned integers (sample format {format}); scale them to 0 to 255 and save them \
             with 8 bits"
        )));
    }
    // Tiles reach past the edges, and are decoded as a whole.
    if let (Some(tile_width), Some(tile_height)) =
        (read_side(tag::TILE_WIDTH), read_side(tag::TILE_HEIGHT))
    {
        let padded_length =
            |length: u32, tile: u32| u64::from(length.div_ceil(tile.max(1))) * u64::from(tile);
        let (padded_width, padded_height) =
            (padded_length(width, tile_width), padded_length(height, tile_height));
        if padded_width.saturating_mul(padded_height) > limits.max_pixels.saturating_mul(2) {
            return Err(tiff_error(format!(
                "of {width} x {height} pixels whose tiles have {padded_width} x {padded_height}; save it with smaller tiles"
            )));
        }
    }
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

/// Red, green, blue by index: all reds, then all greens, then all blues, with 16 bits each.
fn read_palette(directory: &Directory<'_>) -> Result<Vec<[u8; 3]>, DecodeError> {
    let values: Vec<u8> =
        directory.values(tag::COLOR_MAP).take(3 * 256).map(|value| (value >> 8) as u8).collect();
    let count = values.len() / 3;
    if count == 0 {
        return Err(tiff_error("whose palette is missing"));
    }
    Ok((0..count).map(|i| [values[i], values[count + i], values[2 * count + i]]).collect())
}

/// What samples stand for.
#[derive(Clone, Copy)]
enum SampleKind {
    /// One sample per pixel, 0 (black) to `largest`.
    Gray { largest: u8 },
    /// So many samples per pixel: as [`rgb`].
    Channels(usize),
    /// Cyan, magenta, yellow, black.
    Cmyk,
}

/// Decoded samples, pixel by pixel.
struct DecodedSamples {
    samples: Vec<u8>,
    kind: SampleKind,
}

fn read_samples(file: &[u8], limits: DecodeLimits) -> Result<DecodedSamples, DecodeError> {
    let decoder_error = |error: tiff::TiffError| match error {
        tiff::TiffError::IoError(cause) if cause.kind() == std::io::ErrorKind::UnexpectedEof => {
            tiff_error("that is cut off")
        }
        tiff::TiffError::LimitsExceeded => {
            tiff_error("that needs more memory than its pixels should; save it as a PNG")
        }
        error => tiff_error(format!("that cannot be decoded: {error}")),
    };
    let mut decoder_limits = tiff::decoder::Limits::default();
    decoder_limits.decoding_buffer_size =
        usize::try_from(limits.max_pixels.saturating_mul(MAX_BYTES_PER_PIXEL))
            .unwrap_or(usize::MAX);
    // A strip's data lie in the file, which is in memory.
    decoder_limits.intermediate_buffer_size = file.len();
    let mut decoder =
        Decoder::new(Cursor::new(file)).map_err(decoder_error)?.with_limits(decoder_limits);
    let (width, height) = decoder.dimensions().map_err(decoder_error)?;
    let (bits, kind) = match decoder.colortype().map_err(decoder_error)? {
        ColorType::Gray(bits @ (1 | 2 | 4)) => {
            (bits, SampleKind::Gray { largest: (1 << bits) - 1 })
        }
        ColorType::Gray(bits @ (8 | 16)) => (bits, SampleKind::Gray { largest: u8::MAX }),
        ColorType::Multiband { bit_depth: bits @ (8 | 16), num_samples } => {
            // Gray, and what else there is beside it.
            (bits, SampleKind::Channels(usize::from(num_samples).min(2)))
        }
        ColorType::RGB(bits @ (8 | 16)) => (bits, SampleKind::Channels(3)),
        ColorType::RGBA(bits @ (8 | 16)) => (bits, SampleKind::Channels(4)),
        ColorType::CMYK(bits @ (8 | 16)) => (bits, SampleKind::Cmyk),
        other => {
            return Err(tiff_error(format!(
                "whose pixels are {other:?}; save it as grayscale, RGB or a palette with 8 or 16 bits, or as a PNG"
            )));
        }
    };
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
        // All bands are there, however many.
        SampleKind::Channels(_) => SampleKind::Channels((samples.len() / pixels).max(1)),
        kind => kind,
    };
    Ok(DecodedSamples { samples, kind })
}

/// Planes, one after the other, to pixels.
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
