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
use super::decode::Limits;
use super::error::DecodeError;
use super::samples::{rgb, unpacked};

/// Photometric interpretations.
const BLACK_IS_ZERO: u16 = 1;
const PALETTE: u64 = 3;
/// Compressions: none, LZW, Deflate by its two numbers, `PackBits`.
const COMPRESSIONS: [u64; 5] = [1, 5, 8, 32_946, 32_773];
/// Sample formats: unsigned numbers, or not told.
const NUMBERS: [u64; 2] = [1, 4];
/// Bytes of decoded samples per pixel that is allowed.
const MOST_BYTES: u64 = 8;

fn broken(why: impl AsRef<str>) -> DecodeError {
    DecodeError::Broken(format!("a TIFF {}", why.as_ref()))
}

/// The pixels as they are stored, in 8 bits, without alpha, and how to turn them upright.
pub(super) fn decode(bytes: &[u8], limits: Limits) -> Result<(RgbImage, Orientation), DecodeError> {
    let directory = Directory::read(bytes).map_err(broken)?;
    let (width, height) = checked(&directory, bytes, limits)?;
    let has_palette = directory.first(tag::PHOTOMETRIC) == Some(PALETTE);
    let (file, palette) = if has_palette {
        let as_gray = directory.with_short(tag::PHOTOMETRIC, BLACK_IS_ZERO);
        let as_gray = as_gray.ok_or_else(|| broken("whose directory cannot be used"))?;
        (Cow::Owned(as_gray), Some(palette(&directory)?))
    } else {
        (Cow::Borrowed(bytes), None)
    };
    let Raw { samples, kind } = read(&file, limits)?;
    let pixels = match (palette, kind) {
        (Some(palette), Kind::Gray { .. }) => {
            let colour = |&index: &u8| palette.get(usize::from(index)).copied().unwrap_or_default();
            samples.iter().flat_map(colour).collect()
        }
        (Some(_), _) => return Err(broken("with a palette and more than one channel")),
        // The factor that makes the largest sample 255.
        (None, Kind::Gray { largest }) => {
            samples.iter().flat_map(|&gray| [gray * (u8::MAX / largest); 3]).collect()
        }
        (None, Kind::Channels(channels)) => rgb(samples, channels),
        (None, Kind::Cmyk) => samples.chunks_exact(4).flat_map(from_cmyk).collect(),
    };
    let image = RgbImage::from_raw(width, height, pixels);
    let orientation = directory.first(tag::ORIENTATION);
    let orientation =
        orientation.and_then(|number| Orientation::from_exif(number.try_into().ok()?));
    let image = image.ok_or_else(|| broken("with too few pixels"))?;
    Ok((image, orientation.unwrap_or(Orientation::NoTransforms)))
}

/// Light that is left by four inks, as PIL reckons it.
fn from_cmyk(inks: &[u8]) -> [u8; 3] {
    let light = |ink: u8| u16::from(u8::MAX - ink);
    std::array::from_fn(|c| ((light(inks[c]) * light(inks[3]) + 127) / 255) as u8)
}

/// The size, after it and all that the decoder makes room for were found to be allowed.
fn checked(
    directory: &Directory<'_>,
    bytes: &[u8],
    limits: Limits,
) -> Result<(u32, u32), DecodeError> {
    let side = |tag| directory.first(tag).and_then(|side| u32::try_from(side).ok());
    let (Some(width @ 1..), Some(height @ 1..)) = (side(tag::WIDTH), side(tag::HEIGHT)) else {
        return Err(broken("whose directory tells no size"));
    };
    limits.check(width, height)?;
    let compression = directory.first(tag::COMPRESSION).unwrap_or(1);
    if !COMPRESSIONS.contains(&compression) {
        let name = match compression {
            2..=4 => "that of fax machines",
            6 | 7 => "JPEG",
            34_712 => "JPEG 2000",
            50_000 => "Zstandard",
            50_001 => "WebP",
            _ => "one that is not known here",
        };
        return Err(broken(format!(
            "whose compression is {name} (number {compression}); save it with LZW, Deflate, PackBits or none, or as \
             a JPEG or PNG"
        )));
    }
    if let Some(format) = directory.all(tag::SAMPLE_FORMAT).find(|format| !NUMBERS.contains(format))
    {
        return Err(broken(format!(
            "whose samples are not unsigned integers (sample format {format}); scale them to 0 to 255 and save them \
             with 8 bits"
        )));
    }
    // Tiles reach past the edges, and are decoded as a whole.
    if let (Some(across), Some(down)) = (side(tag::TILE_WIDTH), side(tag::TILE_HEIGHT)) {
        let padded =
            |length: u32, tile: u32| u64::from(length.div_ceil(tile.max(1))) * u64::from(tile);
        let (across, down) = (padded(width, across), padded(height, down));
        if across.saturating_mul(down) > limits.max_pixels.saturating_mul(2) {
            return Err(broken(format!(
                "of {width} x {height} pixels whose tiles have {across} x {down}; save it with smaller tiles"
            )));
        }
    }
    for (places, lengths) in
        [(tag::STRIP_PLACES, tag::STRIP_LENGTHS), (tag::TILE_PLACES, tag::TILE_LENGTHS)]
    {
        for (place, length) in directory.all(places).zip(directory.all(lengths)) {
            if place.saturating_add(length) > bytes.len() as u64 {
                return Err(broken("that is cut off"));
            }
        }
    }
    Ok((width, height))
}

/// Red, green, blue by index: all reds, then all greens, then all blues, with 16 bits each.
fn palette(directory: &Directory<'_>) -> Result<Vec<[u8; 3]>, DecodeError> {
    let values: Vec<u8> =
        directory.all(tag::PALETTE).take(3 * 256).map(|value| (value >> 8) as u8).collect();
    let count = values.len() / 3;
    if count == 0 {
        return Err(broken("whose palette is missing"));
    }
    Ok((0..count).map(|i| [values[i], values[count + i], values[2 * count + i]]).collect())
}

/// What samples stand for.
#[derive(Clone, Copy)]
enum Kind {
    /// One sample per pixel, 0 (black) to `largest`.
    Gray { largest: u8 },
    /// So many samples per pixel: as [`rgb`].
    Channels(usize),
    /// Cyan, magenta, yellow, black.
    Cmyk,
}

/// Decoded samples, pixel by pixel.
struct Raw {
    samples: Vec<u8>,
    kind: Kind,
}

fn read(file: &[u8], limits: Limits) -> Result<Raw, DecodeError> {
    let failed = |error: tiff::TiffError| match error {
        tiff::TiffError::IoError(cause) if cause.kind() == std::io::ErrorKind::UnexpectedEof => {
            broken("that is cut off")
        }
        tiff::TiffError::LimitsExceeded => {
            broken("that needs more memory than its pixels should; save it as a PNG")
        }
        error => broken(format!("that cannot be decoded: {error}")),
    };
    let mut room = tiff::decoder::Limits::default();
    room.decoding_buffer_size =
        usize::try_from(limits.max_pixels.saturating_mul(MOST_BYTES)).unwrap_or(usize::MAX);
    // A strip's data lie in the file, which is in memory.
    room.intermediate_buffer_size = file.len();
    let mut decoder = Decoder::new(Cursor::new(file)).map_err(failed)?.with_limits(room);
    let (width, height) = decoder.dimensions().map_err(failed)?;
    let (bits, kind) = match decoder.colortype().map_err(failed)? {
        ColorType::Gray(bits @ (1 | 2 | 4)) => (bits, Kind::Gray { largest: (1 << bits) - 1 }),
        ColorType::Gray(bits @ (8 | 16)) => (bits, Kind::Gray { largest: u8::MAX }),
        ColorType::Multiband { bit_depth: bits @ (8 | 16), num_samples } => {
            // Gray, and what else there is beside it.
            (bits, Kind::Channels(usize::from(num_samples).min(2)))
        }
        ColorType::RGB(bits @ (8 | 16)) => (bits, Kind::Channels(3)),
        ColorType::RGBA(bits @ (8 | 16)) => (bits, Kind::Channels(4)),
        ColorType::CMYK(bits @ (8 | 16)) => (bits, Kind::Cmyk),
        other => {
            return Err(broken(format!(
                "whose pixels are {other:?}; save it as grayscale, RGB or a palette with 8 or 16 bits, or as a PNG"
            )));
        }
    };
    let mut result = DecodingResult::U8(Vec::new());
    let layout = decoder.read_image_to_buffer(&mut result).map_err(failed)?;
    let (stride, planes) = (layout.row_stride, layout.planes);
    let samples: Vec<u8> = match result {
        DecodingResult::U8(samples) => samples,
        DecodingResult::U16(samples) => {
            samples.into_iter().map(|sample| (sample >> 8) as u8).collect()
        }
        _ => return Err(broken("whose samples have another format than its directory tells")),
    };
    let pixels = width as usize * height as usize;
    if bits < 8 {
        let stride = stride.map_or(1, std::num::NonZeroUsize::get);
        return Ok(Raw {
            samples: unpacked(samples.chunks_exact(stride), width as usize, bits.into()),
            kind,
        });
    }
    if planes > 1 {
        return Ok(interleaved(&samples, pixels, kind));
    }
    let kind = match kind {
        // All bands are there, however many.
        Kind::Channels(_) => Kind::Channels((samples.len() / pixels).max(1)),
        kind => kind,
    };
    Ok(Raw { samples, kind })
}

/// Planes, one after the other, to pixels.
fn interleaved(samples: &[u8], pixels: usize, kind: Kind) -> Raw {
    let planes: Vec<_> = samples.chunks_exact(pixels).collect();
    let (wanted, kind) = match kind {
        Kind::Channels(channels) if channels >= 3 => (3, Kind::Channels(3)),
        Kind::Channels(_) => (1, Kind::Channels(1)),
        Kind::Gray { largest } => (1, Kind::Gray { largest }),
        Kind::Cmyk => (4, Kind::Cmyk),
    };
    let planes = planes.get(..wanted).unwrap_or_default();
    let samples = (0..pixels).flat_map(|at| planes.iter().map(move |plane| plane[at])).collect();
    Raw { samples, kind }
}

#[cfg(test)]
mod tests;
