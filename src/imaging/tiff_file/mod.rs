//! TIFF files. The crate `tiff` decodes the pixels of the first image, after its directory was
//! checked here.
//!
//! The crate hands out samples, whose meaning is applied here. It allocates by the claims of tags
//! before it sees data, so sizes, tiles and the offsets of all data are checked first.
//!
//! Tags and their meaning: TIFF 6.0.

mod directory;
mod fill_order;
mod stored_image;

use std::io::{Cursor, ErrorKind};

use image::RgbImage;
use image::metadata::Orientation;
use tiff::decoder::{Decoder, DecodingResult};

use self::directory::{Directory, tag};
use self::stored_image::StoredImage;
use super::decode::DecodeLimits;
use super::error::DecodeError;
use super::exif::orientation_from_number;
use super::samples::{cmyk_to_rgb, divide_by_alpha, to_rgb, unpack_bits};

/// Photometric interpretations.
const PHOTOMETRIC_WHITE_IS_ZERO: u64 = 0;
const PHOTOMETRIC_BLACK_IS_ZERO: u64 = 1;
const PHOTOMETRIC_RGB: u64 = 2;
const PHOTOMETRIC_PALETTE: u64 = 3;
const PHOTOMETRIC_CMYK: u64 = 5;
/// Number of the extra sample that is an alpha by which the colors are multiplied.
const ASSOCIATED_ALPHA: u64 = 1;
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
    let (width, height) = check_tiff(&directory, limits)?;
    let image = StoredImage::read(&directory, bytes, width, height).map_err(tiff_error)?;
    let colors = ColorSamples::read(&directory, &image)?;
    let palette = if image.photometric == PHOTOMETRIC_PALETTE {
        read_palette(&directory)?
    } else {
        Vec::new()
    };
    let channels = if image.is_planar { colors.used() } else { image.samples };
    let mut samples = read_samples(&image, bytes, channels, limits)?;
    if colors.has_associated_alpha {
        divide_by_alpha(&mut samples, channels, colors.count);
    }
    let pixels = match image.photometric {
        PHOTOMETRIC_PALETTE => {
            let mut pixels = Vec::with_capacity(samples.len() / channels * 3);
            for pixel in samples.chunks_exact(channels) {
                let color = palette.get(usize::from(pixel[0])).copied().unwrap_or_default();
                pixels.extend_from_slice(&color);
            }
            pixels
        }
        PHOTOMETRIC_CMYK => {
            let mut pixels = Vec::with_capacity(samples.len() / channels * 3);
            for pixel in samples.chunks_exact(channels) {
                pixels.extend_from_slice(&cmyk_to_rgb([pixel[0], pixel[1], pixel[2], pixel[3]]));
            }
            pixels
        }
        PHOTOMETRIC_RGB => to_rgb(samples, channels),
        photometric => {
            // The factor makes the largest sample 255.
            let factor = u8::MAX >> 8_u64.saturating_sub(image.bits);
            let factor = u8::MAX / factor;
            let mask = if photometric == PHOTOMETRIC_WHITE_IS_ZERO { u8::MAX } else { 0 };
            samples
                .chunks_exact(channels)
                .flat_map(|pixel| [(pixel[0] * factor) ^ mask; 3])
                .collect()
        }
    };
    match RgbImage::from_raw(width, height, pixels) {
        Some(image) => Ok((image, read_orientation(&directory))),
        None => Err(tiff_error("with too few pixels")),
    }
}

fn read_orientation(directory: &Directory<'_>) -> Orientation {
    let number = directory.first_value(tag::ORIENTATION).unwrap_or_default();
    orientation_from_number(number).unwrap_or(Orientation::NoTransforms)
}

/// The samples of a pixel that are used, which come first.
#[derive(Debug, Clone, Copy)]
struct ColorSamples {
    /// Number of samples that make the color.
    count: usize,
    /// True if an alpha follows them by which they are multiplied.
    has_associated_alpha: bool,
}

impl ColorSamples {
    /// Returns the number of samples that are needed.
    fn used(self) -> usize {
        self.count + usize::from(self.has_associated_alpha)
    }

    /// Checks that the meaning of the samples is known, and that those beside the colors can be left
    /// out.
    fn read(directory: &Directory<'_>, image: &StoredImage) -> Result<Self, DecodeError> {
        let (samples, bits) = (image.samples, image.bits);
        let (count, allowed_bits) = match image.photometric {
            PHOTOMETRIC_WHITE_IS_ZERO | PHOTOMETRIC_BLACK_IS_ZERO => (1, &[1, 2, 4, 8, 16][..]),
            PHOTOMETRIC_RGB => (3, &[8, 16][..]),
            PHOTOMETRIC_PALETTE => (1, &[1, 2, 4, 8][..]),
            PHOTOMETRIC_CMYK => (4, &[8, 16][..]),
            other => return Err(unknown_photometric_error(other)),
        };
        if !allowed_bits.contains(&bits) || (bits < 8 && samples > 1) {
            let kind = match image.photometric {
                PHOTOMETRIC_PALETTE => "a palette and ",
                _ => "",
            };
            return Err(tiff_error(format!(
                "with {kind}{bits} bits per sample, {samples} samples per pixel; save it as \
                 grayscale, RGB or a palette with 8 bits, or as a PNG"
            )));
        }
        if samples < count {
            return Err(tiff_error(format!(
                "with {samples} samples per pixel, too few for its colors"
            )));
        }
        let is_gray = image.photometric <= PHOTOMETRIC_BLACK_IS_ZERO;
        if is_gray && samples > 2 {
            return Err(tiff_error(format!(
                "whose {samples} bands are called gray and {} others; save the bands that are red, \
                 green and blue as an RGB image",
                samples - 1
            )));
        }
        if image.photometric == PHOTOMETRIC_WHITE_IS_ZERO && samples > 1 {
            return Err(tiff_error(format!(
                "whose white is zero, with {samples} samples per pixel; save it as grayscale or RGB"
            )));
        }
        let ink_set = directory.first_value(tag::INK_SET).unwrap_or(1);
        if image.photometric == PHOTOMETRIC_CMYK && ink_set != 1 {
            return Err(tiff_error(
                "whose inks are not cyan, magenta, yellow, black; save it as RGB",
            ));
        }
        let alpha = directory.values(tag::EXTRA_SAMPLES).position(|kind| kind == ASSOCIATED_ALPHA);
        let can_divide = is_gray || image.photometric == PHOTOMETRIC_RGB;
        match alpha {
            None => Ok(Self { count, has_associated_alpha: false }),
            Some(0) if can_divide && samples > count => {
                Ok(Self { count, has_associated_alpha: true })
            }
            Some(_) => Err(tiff_error(
                "whose colors are multiplied by an alpha channel that cannot be used (ExtraSamples \
                 1); save it without alpha",
            )),
        }
    }
}

fn unknown_photometric_error(photometric: u64) -> DecodeError {
    let name = match photometric {
        4 => "a transparency mask",
        6 => "YCbCr",
        8..=10 => "Lab",
        32_803 => "a camera's raw data",
        34_892 => "raw data",
        _ => "of a kind that is not known here",
    };
    tiff_error(format!(
        "whose pixels are {name} (photometric interpretation {photometric}); save it as grayscale, \
         RGB or a palette with 8 or 16 bits, or as a PNG"
    ))
}

/// Checks the size, the encoding and the size of tiles. Returns width and height in pixels.
fn check_tiff(directory: &Directory<'_>, limits: DecodeLimits) -> Result<(u32, u32), DecodeError> {
    let (Some(width @ 1..), Some(height @ 1..)) =
        (read_side(directory, tag::WIDTH), read_side(directory, tag::HEIGHT))
    else {
        return Err(tiff_error("whose directory tells no size"));
    };
    limits.check_size(width, height)?;
    check_encoding(directory)?;
    check_tiles(directory, width, height, limits)?;
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
    let values: Vec<u64> = directory.values(tag::COLOR_MAP).take(3 * 256).collect();
    // Some writers use 8 of the 16 bits. As in libtiff, no value above 255 means that.
    let shift = if values.iter().all(|&value| value <= u8::MAX.into()) { 0 } else { 8 };
    let values: Vec<u8> = values.into_iter().map(|value| (value >> shift) as u8).collect();
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

/// Reads `channels` samples of 8 bits per pixel; samples of 16 bits keep their high byte.
fn read_samples(
    image: &StoredImage,
    bytes: &[u8],
    channels: usize,
    limits: DecodeLimits,
) -> Result<Vec<u8>, DecodeError> {
    let mut file = image.copy_data(bytes);
    let data_bytes = file.len();
    if !image.is_planar {
        image.set_directory(&mut file, data_bytes, None);
        return decode_samples(image, &file, channels, limits);
    }
    let pixels = image.width as usize * image.height as usize;
    let mut samples = vec![0; pixels * channels];
    for plane in 0..channels {
        image.set_directory(&mut file, data_bytes, Some(plane));
        let plane_samples = decode_samples(image, &file, 1, limits)?;
        for (pixel, sample) in samples.chunks_exact_mut(channels).zip(plane_samples) {
            pixel[plane] = sample;
        }
    }
    Ok(samples)
}

/// Decodes the image of a file that [`StoredImage`] wrote.
fn decode_samples(
    image: &StoredImage,
    file: &[u8],
    channels: usize,
    limits: DecodeLimits,
) -> Result<Vec<u8>, DecodeError> {
    let mut decoder_limits = tiff::decoder::Limits::default();
    decoder_limits.decoding_buffer_size =
        usize::try_from(limits.max_pixels.saturating_mul(MAX_BYTES_PER_PIXEL))
            .unwrap_or(usize::MAX);
    // A strip's compressed data lie in the file, which is in memory.
    decoder_limits.intermediate_buffer_size = file.len();
    let mut decoder =
        Decoder::new(Cursor::new(file)).map_err(decoder_error)?.with_limits(decoder_limits);
    if image.is_tiled {
        return decode_tiles(image, &mut decoder, channels);
    }
    let mut result = DecodingResult::U8(Vec::new());
    decoder.read_image_to_buffer(&mut result).map_err(decoder_error)?;
    let (width, height) = (image.width as usize, image.height as usize);
    let samples = to_byte_samples(result, image.bits, width * channels)?;
    if samples.len() != width * height * channels {
        return Err(tiff_error("with too few pixels"));
    }
    Ok(samples)
}

/// Decodes tile by tile. The crate would read the rows of tiles one by one, and its LZW decoder
/// cannot cope with short ones.
fn decode_tiles(
    image: &StoredImage,
    decoder: &mut Decoder<Cursor<&[u8]>>,
    channels: usize,
) -> Result<Vec<u8>, DecodeError> {
    let (width, height) = (image.width as usize, image.height as usize);
    let tile_width = image.chunk_size.width as usize;
    let tile_height = image.chunk_size.height as usize;
    let tiles_across = width.div_ceil(tile_width);
    let mut samples = vec![0; width * height * channels];
    for index in 0..image.chunks_per_plane {
        let tile = decoder.read_chunk(index as u32).map_err(decoder_error)?;
        let tile = to_byte_samples(tile, image.bits, tile_width * channels)?;
        if tile.len() != tile_width * tile_height * channels {
            return Err(tiff_error("with too few pixels"));
        }
        let left = index % tiles_across * tile_width;
        let top = index / tiles_across * tile_height;
        let length = tile_width.min(width - left) * channels;
        for (y, row) in (top..height).zip(tile.chunks_exact(tile_width * channels)) {
            let start = (y * width + left) * channels;
            samples[start..start + length].copy_from_slice(&row[..length]);
        }
    }
    Ok(samples)
}

/// Converts decoded samples to 8 bits each. Rows have `row_samples` samples, and those of fewer
/// bits are padded to whole bytes.
fn to_byte_samples(
    decoded: DecodingResult,
    bits: u64,
    row_samples: usize,
) -> Result<Vec<u8>, DecodeError> {
    match decoded {
        DecodingResult::U8(samples) if bits < 8 => {
            let row_bytes = (row_samples * bits as usize).div_ceil(8);
            Ok(unpack_bits(samples.chunks_exact(row_bytes), row_samples, bits as usize))
        }
        DecodingResult::U8(samples) => Ok(samples),
        DecodingResult::U16(samples) => {
            Ok(samples.into_iter().map(|sample| (sample >> 8) as u8).collect())
        }
        _ => Err(tiff_error("whose samples have another format than its directory tells")),
    }
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

#[cfg(test)]
mod tests;
