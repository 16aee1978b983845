//! PNG files, for pictures and for masks. The size is checked before anything is decoded.

use std::io::{Cursor, ErrorKind};

use image::RgbImage;
use image::metadata::Orientation;
use png::{BitDepth, ColorType, Transformations};

use super::decode::DecodeLimits;
use super::error::DecodeError;
use super::png_exif::read_png_orientation;
use super::samples::to_rgb;

/// Size in bytes of the decoder's own buffers beside the pixels: palettes, EXIF, one row.
const EXTRA_DECODER_BYTES: u64 = 16 << 20;

/// A decoded PNG, with its samples as the requested transformations left them.
pub(super) struct DecodedPng {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) color: ColorType,
    pub(super) bit_depth: BitDepth,
    /// Rows from the top, each padded to whole bytes. 16-bit samples are big-endian.
    pub(super) samples: Vec<u8>,
    /// Red, green, blue, alpha of each index; empty if the PNG has no palette.
    pub(super) palette: Vec<[u8; 4]>,
    pub(super) orientation: Orientation,
}

#[expect(clippy::needless_pass_by_value, reason = "map_err passes a value")]
fn png_error(error: png::DecodingError) -> DecodeError {
    match &error {
        png::DecodingError::IoError(cause) if cause.kind() == ErrorKind::UnexpectedEof => {
            truncated_png_error()
        }
        _ => DecodeError::Broken(format!("a PNG that cannot be decoded: {error}")),
    }
}

fn truncated_png_error() -> DecodeError {
    DecodeError::Broken("a PNG that is cut off".to_owned())
}

/// Decodes the (first) image of a PNG. `transformations` chooses the transformations of the samples
/// by the color type.
pub(super) fn read_png(
    bytes: &[u8],
    limits: DecodeLimits,
    transformations: impl FnOnce(ColorType) -> Transformations,
) -> Result<DecodedPng, DecodeError> {
    let max_bytes = limits.max_pixels.saturating_mul(8).saturating_add(EXTRA_DECODER_BYTES);
    let png_limits = png::Limits { bytes: usize::try_from(max_bytes).unwrap_or(usize::MAX) };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), png_limits);
    // Compressed texts and profiles are not needed, and could unpack to any size.
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let header = decoder.read_header_info().map_err(png_error)?;
    let ((width, height), color) = (header.size(), header.color_type);
    limits.check_size(width, height)?;
    decoder.set_transformations(transformations(color));
    let mut reader = decoder.read_info().map_err(png_error)?;
    let Some(size) = reader.output_buffer_size() else {
        return Err(DecodeError::Broken("a PNG of impossible size".to_owned()));
    };
    let mut samples = vec![0; size];
    let frame = reader.next_frame(&mut samples).map_err(png_error)?;
    if (frame.width, frame.height) != (width, height) {
        return Err(DecodeError::Broken("an animated PNG with a partial first frame".to_owned()));
    }
    // Faults after the pixels are ignored, unless the file is cut off.
    if let Err(error) = reader.finish().map_err(png_error)
        && error == truncated_png_error()
    {
        return Err(error);
    }
    Ok(DecodedPng {
        width,
        height,
        color: frame.color_type,
        bit_depth: frame.bit_depth,
        samples,
        palette: read_palette(reader.info()),
        orientation: read_png_orientation(bytes),
    })
}

/// Returns the colors of the palette. Alpha may be missing for the last ones, which are opaque.
fn read_palette(info: &png::Info<'_>) -> Vec<[u8; 4]> {
    let alphas = info.trns.as_deref().unwrap_or_default();
    let mut palette = Vec::new();
    for (index, color) in info.palette.as_deref().unwrap_or_default().chunks_exact(3).enumerate() {
        let alpha = alphas.get(index).copied().unwrap_or(u8::MAX);
        palette.push([color[0], color[1], color[2], alpha]);
    }
    palette
}

/// Decodes the pixels as they are stored, in 8 bits without alpha, and reads the orientation that
/// turns them upright.
pub(super) fn decode_png(
    bytes: &[u8],
    limits: DecodeLimits,
) -> Result<(RgbImage, Orientation), DecodeError> {
    let png = read_png(bytes, limits, |_| Transformations::EXPAND | Transformations::STRIP_16)?;
    if png.color == ColorType::Indexed {
        return Err(DecodeError::Broken("a palette PNG without its palette".to_owned()));
    }
    let pixels = to_rgb(png.samples, png.color.samples());
    match RgbImage::from_raw(png.width, png.height, pixels) {
        Some(image) => Ok((image, png.orientation)),
        None => Err(DecodeError::Broken("a PNG with too few pixels".to_owned())),
    }
}
