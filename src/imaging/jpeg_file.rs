//! JPEG by libjpeg-turbo: whole or reduced, and never with what is damaged painted over.
//!
//! CMYK and YCCK, which it hands out unconverted, are left to the crate `image`; they follow Adobe's
//! inverted convention with or without Adobe's marker, as in PIL.

use std::io::Cursor;

use image::codecs::jpeg::JpegDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, RgbImage};
use turbojpeg::{Colorspace, Decompressor, PixelFormat, ScalingFactor};

use super::decode::DecodeLimits;
use super::error::DecodeError;

/// Scans of a progressive JPEG; encoders write about ten, and each costs a pass over all pixels.
const MAX_SCANS: u32 = 200;

/// Warnings of libjpeg-turbo that touch no pixel: bytes of padding after the picture's data, unusual
/// application markers. Its other warnings are about data that are missing or wrong.
const HARMLESS_WARNINGS: [&str; 4] =
    ["extraneous bytes before marker", "Adobe color transform", "JFIF revision", "ICC marker"];

/// What a JPEG's header tells.
#[derive(Debug, Clone, Copy)]
pub(super) struct JpegHeader {
    /// Size in pixels as stored.
    pub(super) width: u32,
    pub(super) height: u32,
    /// How to turn it upright.
    pub(super) orientation: Orientation,
    /// Whether [`decode_reduced`] can decode it.
    pub(super) is_scalable: bool,
}

/// Reads and checks the header.
pub(super) fn read_jpeg_header(
    bytes: &[u8],
    limits: DecodeLimits,
) -> Result<JpegHeader, DecodeError> {
    let orientation = find_exif(bytes).and_then(Orientation::from_exif_chunk);
    let orientation = orientation.unwrap_or(Orientation::NoTransforms);
    let (width, height, reducible) = match Decompressor::new()
        .and_then(|mut decompressor| decompressor.read_header(bytes))
    {
        Ok(header) => {
            let is_known_colorspace =
                matches!(header.colorspace, Colorspace::YCbCr | Colorspace::Gray | Colorspace::RGB);
            (header.width as u32, header.height as u32, is_known_colorspace && !header.is_lossless)
        }
        Err(error) if is_harmless_warning(&error) => {
            let decoder =
                JpegDecoder::new(Cursor::new(bytes)).map_err(|e| jpeg_decoder_error(&e))?;
            let (width, height) = decoder.dimensions();
            (width, height, false)
        }
        Err(error) => return Err(turbojpeg_error(&error)),
    };
    limits.check_size(width, height)?;
    Ok(JpegHeader { width, height, orientation, is_scalable: reducible })
}

/// The pixels of a whole file as they are stored.
pub(super) fn decode_jpeg(bytes: &[u8], header: &JpegHeader) -> Result<RgbImage, DecodeError> {
    check_end_marker(bytes).map_err(DecodeError::Broken)?;
    if !header.is_scalable {
        let decoder = JpegDecoder::new(Cursor::new(bytes)).map_err(|e| jpeg_decoder_error(&e))?;
        return Ok(DynamicImage::from_decoder(decoder)
            .map_err(|e| jpeg_decoder_error(&e))?
            .into_rgb8());
    }
    let mut pixels = Vec::new();
    let (width, height) = decode_jpeg_scaled(bytes, header, 1, &mut pixels)?;
    RgbImage::from_raw(width, height, pixels)
        .ok_or_else(|| DecodeError::Broken("a JPEG with too few pixels".to_owned()))
}

/// Decodes a [`reducible`](Header::reducible) JPEG to a `divisor`-th (1, 2, 4 or 8) of its width and
/// height, rounded up, into `pixels`; returns that size. The pixels cut off by the frequencies that
/// are never transformed are those that an antialiasing filter would remove.
pub(super) fn decode_jpeg_scaled(
    bytes: &[u8],
    header: &JpegHeader,
    divisor: usize,
    pixels: &mut Vec<u8>,
) -> Result<(u32, u32), DecodeError> {
    let scale = ScalingFactor::new(1, divisor);
    let (width, height) = (scale.scale(header.width as usize), scale.scale(header.height as usize));
    // Every byte is written by the decoder: only growth is filled here.
    pixels.resize(width * height * 3, 0);
    let image = turbojpeg::Image {
        pixels: pixels.as_mut_slice(),
        width,
        pitch: width * 3,
        height,
        format: PixelFormat::RGB,
    };
    let decompress = || {
        let mut decompressor = Decompressor::new()?;
        decompressor.set_scan_limit(MAX_SCANS)?;
        decompressor.set_scaling_factor(scale)?;
        decompressor.decompress(bytes, image)
    };
    match decompress() {
        Err(error) if !is_harmless_warning(&error) => Err(turbojpeg_error(&error)),
        _ => Ok((width as u32, height as u32)),
    }
}

fn is_harmless_warning(error: &turbojpeg::Error) -> bool {
    let turbojpeg::Error::TurboJpegError(text) = error else { return false };
    HARMLESS_WARNINGS.iter().any(|harmless| text.contains(harmless))
}

fn turbojpeg_error(error: &turbojpeg::Error) -> DecodeError {
    let text = error.to_string();
    // Without the names of library and function.
    let text = text.rsplit("(): ").next().unwrap_or_default();
    let text = text.trim_start_matches("TurboJPEG error: ");
    DecodeError::Broken(format!("a JPEG that is damaged or of an unknown kind: {text}"))
}

fn jpeg_decoder_error(error: &image::ImageError) -> DecodeError {
    DecodeError::Broken(format!("a JPEG that cannot be decoded: {error}"))
}

/// The EXIF data: the first application segment that says it is that.
fn find_exif(bytes: &[u8]) -> Option<&[u8]> {
    let mut offset = 2; // past the start-of-image marker
    loop {
        offset = next_marker(bytes, offset)?;
        let marker = bytes[offset];
        offset += 1;
        match marker {
            0x01 | 0xd0..=0xd8 => {}
            // The picture begins, or ends.
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

/// Walks the markers from the start of the image to its end: of a file that lacks its end, the
/// decoder may only report something harmless that came before.
///
/// Segments are skipped by their length, so that the end marker of a thumbnail inside the EXIF
/// segment is not taken for the picture's; what follows the end marker does not matter.
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
                // What follows a start of scan is no segment but entropy-coded data, in which
                // `next_marker` finds the next real marker just as it does between segments.
                scans += usize::from(marker == 0xda);
            }
        }
    }
}

/// The position of the next marker's code at or after `from`: the byte after 0xff that is neither
/// a stuffed zero nor a fill byte.
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
