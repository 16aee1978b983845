//! JPEG files. libjpeg-turbo decodes them, whole or reduced, and damaged parts are errors and never
//! painted over.
//!
//! libjpeg-turbo hands out CMYK and YCCK unconverted, so these are left to the crate `image`. They
//! follow Adobe's inverted convention with or without Adobe's marker, as in PIL.

use std::io::Cursor;

use image::codecs::jpeg::JpegDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, RgbImage};
use turbojpeg::{Colorspace, DecompressHeader, Decompressor, PixelFormat, ScalingFactor};

use super::decode::DecodeLimits;
use super::error::DecodeError;

/// Largest number of scans in a progressive JPEG. Encoders write about ten, and each costs a pass
/// over all pixels.
const MAX_SCANS: u32 = 200;

/// Texts of libjpeg-turbo's warnings that touch no pixel: bytes of padding after the picture's
/// data, unusual application markers. The other warnings are about missing or wrong data.
const HARMLESS_WARNINGS: [&str; 4] =
    ["extraneous bytes before marker", "Adobe color transform", "JFIF revision", "ICC marker"];

/// The content of a JPEG's header.
#[derive(Debug, Clone, Copy)]
pub(super) struct JpegHeader {
    /// Columns of the stored picture, in pixels.
    pub(super) width: u32,
    pub(super) height: u32,
    /// Rotation and flip that turn the stored picture upright.
    pub(super) orientation: Orientation,
    /// True if [`decode_jpeg_scaled`] can decode the picture.
    pub(super) is_scalable: bool,
}

/// Reads the header, and checks the size in it.
pub(super) fn read_jpeg_header(
    bytes: &[u8],
    limits: DecodeLimits,
) -> Result<JpegHeader, DecodeError> {
    let (width, height, is_scalable) = match read_turbojpeg_header(bytes) {
        Ok(header) => {
            let is_known_colorspace =
                matches!(header.colorspace, Colorspace::YCbCr | Colorspace::Gray | Colorspace::RGB);
            (header.width as u32, header.height as u32, is_known_colorspace && !header.is_lossless)
        }
        Err(error) if is_harmless_warning(&error) => {
            let decoder = JpegDecoder::new(Cursor::new(bytes)).map_err(jpeg_decoder_error)?;
            let (width, height) = decoder.dimensions();
            (width, height, false)
        }
        Err(error) => return Err(turbojpeg_error(&error)),
    };
    limits.check_size(width, height)?;
    let orientation = find_exif(bytes).and_then(Orientation::from_exif_chunk);
    let orientation = orientation.unwrap_or(Orientation::NoTransforms);
    Ok(JpegHeader { width, height, orientation, is_scalable })
}

fn read_turbojpeg_header(bytes: &[u8]) -> turbojpeg::Result<DecompressHeader> {
    Decompressor::new()?.read_header(bytes)
}

/// Decodes all pixels, as they are stored.
pub(super) fn decode_jpeg(bytes: &[u8], header: &JpegHeader) -> Result<RgbImage, DecodeError> {
    check_end_marker(bytes).map_err(DecodeError::Broken)?;
    if !header.is_scalable {
        let decoder = JpegDecoder::new(Cursor::new(bytes)).map_err(jpeg_decoder_error)?;
        let image = DynamicImage::from_decoder(decoder).map_err(jpeg_decoder_error)?;
        return Ok(image.into_rgb8());
    }
    let mut pixels = Vec::new();
    let (width, height) = decode_jpeg_scaled(bytes, header, 1, &mut pixels)?;
    match RgbImage::from_raw(width, height, pixels) {
        Some(image) => Ok(image),
        None => Err(DecodeError::Broken("a JPEG with too few pixels".to_owned())),
    }
}

/// Decodes a [scalable](JpegHeader::is_scalable) JPEG to 1/`divisor` (1, 2, 4 or 8) of its width
/// and height, rounded up, into `pixels`, and returns that size. Its high frequencies are never
/// transformed; an antialiasing filter would remove them as well.
pub(super) fn decode_jpeg_scaled(
    bytes: &[u8],
    header: &JpegHeader,
    divisor: usize,
    pixels: &mut Vec<u8>,
) -> Result<(u32, u32), DecodeError> {
    let scale = ScalingFactor::new(1, divisor);
    let (width, height) = (scale.scale(header.width as usize), scale.scale(header.height as usize));
    // The decoder writes every byte, so only the growth is filled here.
    pixels.resize(width * height * 3, 0);
    let image = turbojpeg::Image {
        pixels: pixels.as_mut_slice(),
        width,
        pitch: width * 3,
        height,
        format: PixelFormat::RGB,
    };
    match decompress_scaled(bytes, scale, image) {
        Err(error) if !is_harmless_warning(&error) => Err(turbojpeg_error(&error)),
        _ => Ok((width as u32, height as u32)),
    }
}

fn decompress_scaled(
    bytes: &[u8],
    scale: ScalingFactor,
    image: turbojpeg::Image<&mut [u8]>,
) -> turbojpeg::Result<()> {
    let mut decompressor = Decompressor::new()?;
    decompressor.set_scan_limit(MAX_SCANS)?;
    decompressor.set_scaling_factor(scale)?;
    decompressor.decompress(bytes, image)
}

fn is_harmless_warning(error: &turbojpeg::Error) -> bool {
    let turbojpeg::Error::TurboJpegError(text) = error else { return false };
    HARMLESS_WARNINGS.iter().any(|harmless| text.contains(harmless))
}

fn turbojpeg_error(error: &turbojpeg::Error) -> DecodeError {
    let text = error.to_string();
    // The names of library and function are cut away.
    let text = text.rsplit("(): ").next().unwrap_or_default();
    let text = text.trim_start_matches("TurboJPEG error: ");
    DecodeError::Broken(format!("a JPEG that is damaged or of an unknown kind: {text}"))
}

#[expect(clippy::needless_pass_by_value, reason = "map_err passes a value")]
fn jpeg_decoder_error(error: image::ImageError) -> DecodeError {
    DecodeError::Broken(format!("a JPEG that cannot be decoded: {error}"))
}

/// Finds the EXIF data: the content of the first APP1 segment that begins with EXIF's identifier.
fn find_exif(bytes: &[u8]) -> Option<&[u8]> {
    let mut offset = 2; // past the start-of-image marker
    loop {
        offset = next_marker(bytes, offset)?;
        let marker = bytes[offset];
        offset += 1;
        match marker {
            0x01 | 0xd0..=0xd8 => {}
            // The picture's data begin, or the file ends.
            0xda | 0xd9 => return None,
            _ => {
                let length = bytes.get(offset..offset + 2)?;
                let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
                let segment = bytes.get(offset + 2..offset + length.max(2))?;
                if marker == 0xe1
                    && let Some(exif) = segment.strip_prefix(b"Exif\0\0")
                {
                    return Some(exif);
                }
                offset += length.max(2);
            }
        }
    }
}

/// Checks that the file has an end marker, by walking all markers. The decoder does not suffice:
/// for a file without its end it may report only a harmless warning that came before.
///
/// Segments are skipped by their length, so that the end marker of a thumbnail inside the EXIF
/// segment does not count as the picture's. Bytes after the end marker do not matter.
fn check_end_marker(bytes: &[u8]) -> Result<(), String> {
    const TRUNCATED: &str = "a JPEG that is cut off: its end-of-image marker is missing";
    let mut offset = 2; // past the start-of-image marker
    let mut scans = 0;
    loop {
        offset = next_marker(bytes, offset).ok_or(TRUNCATED)?;
        let marker = bytes[offset];
        offset += 1;
        match marker {
            // Restart markers, a second start of image, and TEM stand alone.
            0x01 | 0xd0..=0xd8 => {}
            0xd9 if scans == 0 => return Err("a JPEG without picture data".to_owned()),
            0xd9 => return Ok(()),
            _ => {
                let length = bytes.get(offset..offset + 2).ok_or(TRUNCATED)?;
                offset += usize::from(u16::from_be_bytes([length[0], length[1]]));
                // Entropy-coded data follow a start of scan in place of a segment. [`next_marker`]
                // finds the next real marker in them just as it does between segments.
                scans += usize::from(marker == 0xda);
            }
        }
    }
}

/// Finds the next marker's code at or after `start`: the byte after 0xff that is neither a stuffed
/// zero nor a fill byte.
fn next_marker(bytes: &[u8], start: usize) -> Option<usize> {
    let mut offset = start;
    loop {
        offset += bytes.get(offset..)?.iter().position(|&byte| byte == 0xff)?;
        offset += bytes[offset..].iter().position(|&byte| byte != 0xff)?;
        if bytes[offset] != 0 {
            return Some(offset);
        }
    }
}
