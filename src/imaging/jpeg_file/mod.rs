//! JPEG files. libjpeg-turbo decodes them, whole or reduced, and damaged parts are errors and never
//! painted over.
//!
//! libjpeg-turbo hands out CMYK and YCCK as CMYK, which is converted here. Both follow Adobe's
//! inverted convention with or without Adobe's marker, as in PIL.

use std::borrow::Cow;

use image::RgbImage;
use image::metadata::Orientation;
use turbojpeg::{Colorspace, Decompressor, PixelFormat, ScalingFactor};

use super::decode::DecodeLimits;
use super::error::DecodeError;
use super::exif::read_exif_orientation;
use super::jpeg_entropy::{WalkError, find_padding};
use super::jpeg_markers::{find_exif, repair_markers, without_ranges};
use super::samples::cmyk_to_rgb;

/// Largest number of scans in a progressive JPEG. Encoders write about ten, and each costs a pass
/// over all pixels.
const MAX_SCANS: u32 = 200;

/// Part of libjpeg-turbo's warning about bytes that it skipped. The bytes may be padding. All other
/// warnings about a file whose markers were repaired are about missing or wrong data.
const SKIPPED_BYTES_WARNING: &str = " extraneous bytes before marker ";
/// Largest number of skipped bytes before the end marker of a picture whose data are not walked.
const MAX_SKIPPED_BYTES_AT_END: usize = 32;

/// The content of a JPEG's header.
#[derive(Debug, Clone, Copy)]
pub(super) struct JpegHeader {
    /// Columns of the stored picture, in pixels.
    pub(super) width: u32,
    pub(super) height: u32,
    /// Rotation and flip that turn the stored picture upright.
    pub(super) orientation: Orientation,
    /// True if the picture can be decoded to a part of its size. Lossless ones cannot.
    pub(super) is_scalable: bool,
    colorspace: Colorspace,
    /// Name of the file's kind in messages, with an article.
    kind: &'static str,
}

/// A JPEG whose header was read, and whose markers were walked and repaired.
#[derive(Debug)]
pub(super) struct OpenJpeg<'a> {
    bytes: Cow<'a, [u8]>,
    pub(super) header: JpegHeader,
}

impl<'a> OpenJpeg<'a> {
    /// Reads the header, checks the size in it, and checks that the file has its end.
    pub(super) fn open(bytes: Cow<'a, [u8]>, limits: DecodeLimits) -> Result<Self, DecodeError> {
        let bytes = repair_markers(bytes).map_err(DecodeError::Broken)?;
        let header =
            Decompressor::new().and_then(|mut decompressor| decompressor.read_header(&bytes));
        let header = header.map_err(|error| turbojpeg_error(&error, "a JPEG"))?;
        let (width, height) = (header.width as u32, header.height as u32);
        limits.check_size(width, height)?;
        let orientation = find_exif(&bytes).and_then(read_exif_orientation);
        let header = JpegHeader {
            width,
            height,
            orientation: orientation.unwrap_or(Orientation::NoTransforms),
            is_scalable: !header.is_lossless,
            colorspace: header.colorspace,
            kind: match (header.is_lossless, header.is_arithmetic) {
                (true, _) => "a lossless JPEG",
                (false, true) => "an arithmetically coded JPEG",
                (false, false) => "a JPEG",
            },
        };
        Ok(Self { bytes, header })
    }

    /// Decodes all pixels, as they are stored.
    pub(super) fn decode(&self) -> Result<RgbImage, DecodeError> {
        let mut pixels = Vec::new();
        let (width, height) = self.decode_scaled(1, &mut pixels)?;
        match RgbImage::from_raw(width, height, pixels) {
            Some(image) => Ok(image),
            None => Err(DecodeError::Broken("a JPEG with too few pixels".to_owned())),
        }
    }

    /// Decodes to 1/`divisor` (1, 2, 4 or 8; 1 unless the picture is
    /// [scalable](JpegHeader::is_scalable)) of width and height, rounded up, into `pixels`, and
    /// returns that size. The picture's high frequencies are never transformed; an antialiasing
    /// filter would remove them as well.
    pub(super) fn decode_scaled(
        &self,
        divisor: usize,
        pixels: &mut Vec<u8>,
    ) -> Result<(u32, u32), DecodeError> {
        let scale = ScalingFactor::new(1, divisor);
        let width = scale.scale(self.header.width as usize);
        let height = scale.scale(self.header.height as usize);
        match self.header.colorspace {
            Colorspace::CMYK | Colorspace::YCCK => {
                let mut inks = Vec::new();
                self.decompress(scale, PixelFormat::CMYK, &mut inks)?;
                pixels.clear();
                for pixel in inks.as_chunks().0 {
                    pixels.extend(cmyk_to_rgb(pixel.map(|ink| u8::MAX - ink)));
                }
            }
            // The library does not convert the colors of a lossless picture.
            Colorspace::Gray if !self.header.is_scalable => {
                let mut grays = Vec::new();
                self.decompress(scale, PixelFormat::GRAY, &mut grays)?;
                pixels.clear();
                pixels.extend(grays.iter().flat_map(|&gray| [gray; 3]));
            }
            _ => self.decompress(scale, PixelFormat::RGB, pixels)?,
        }
        Ok((width as u32, height as u32))
    }

    /// Decompresses to samples of `format`, with a second look at files that have bytes which
    /// belong to no block.
    fn decompress(
        &self,
        scale: ScalingFactor,
        format: PixelFormat,
        samples: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        let Err(error) = self.try_decompress(&self.bytes, scale, format, samples) else {
            return Ok(());
        };
        let Some(skipped) = SkippedBytes::from_error(&error) else {
            return Err(turbojpeg_error(&error, self.header.kind));
        };
        match find_padding(&self.bytes) {
            Ok(padding) => {
                let without_padding = without_ranges(&self.bytes, padding);
                self.try_decompress(&without_padding, scale, format, samples)
                    .map_err(|error| turbojpeg_error(&error, self.header.kind))
            }
            Err(WalkError::NotWalked)
                if skipped.is_at_end && skipped.count <= MAX_SKIPPED_BYTES_AT_END =>
            {
                Ok(())
            }
            Err(WalkError::NotWalked) => Err(turbojpeg_error(&error, self.header.kind)),
            Err(WalkError::Damaged(problem)) => {
                Err(DecodeError::Broken(format!("a JPEG that is damaged: {problem}")))
            }
        }
    }

    /// Decompresses `bytes`, whose header is this JPEG's. Any warning is an error.
    fn try_decompress(
        &self,
        bytes: &[u8],
        scale: ScalingFactor,
        format: PixelFormat,
        samples: &mut Vec<u8>,
    ) -> turbojpeg::Result<()> {
        let width = scale.scale(self.header.width as usize);
        let height = scale.scale(self.header.height as usize);
        let pitch = width * format.size();
        // The decoder writes every byte, so only the growth is filled here.
        samples.resize(pitch * height, 0);
        let pixels = samples.as_mut_slice();
        let image = turbojpeg::Image { pixels, width, pitch, height, format };
        let mut decompressor = Decompressor::new()?;
        decompressor.set_scan_limit(MAX_SCANS)?;
        decompressor.set_scaling_factor(scale)?;
        decompressor.decompress(bytes, image)
    }
}

/// The content of a warning about bytes that belong to no block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SkippedBytes {
    count: usize,
    /// True if the end-of-image marker follows them, so that no later warning is hidden.
    is_at_end: bool,
}

impl SkippedBytes {
    fn from_error(error: &turbojpeg::Error) -> Option<Self> {
        let turbojpeg::Error::TurboJpegError(text) = error else { return None };
        let (before, marker) = text.split_once(SKIPPED_BYTES_WARNING)?;
        let count = before.rsplit(' ').next()?.parse().ok()?;
        Some(Self { count, is_at_end: marker.trim_end() == "0xd9" })
    }
}

/// Describes an error of the library. `kind` names the file, with an article.
fn turbojpeg_error(error: &turbojpeg::Error, kind: &str) -> DecodeError {
    let text = error.to_string();
    // The names of library and function are cut away.
    let text = text.rsplit("(): ").next().unwrap_or_default();
    let text = text.trim_start_matches("TurboJPEG error: ");
    DecodeError::Broken(format!("{kind} that is damaged or of an unknown kind: {text}"))
}

#[cfg(test)]
mod tests;
