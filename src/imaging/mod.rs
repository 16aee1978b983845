//! Pixels: upright decoding of every input format under limits, masks as palette PNG, resizing.
//!
//! The bytes come from users and from the network. Every decoder here checks the size of an image
//! before it decodes a pixel, and either returns the image or an error that says what the bytes are
//! instead.

mod bmp_file;
mod bmp_runs;
mod color_mask;
mod decode;
mod encode;
mod error;
mod exif;
#[cfg(test)]
mod fixtures;
mod jpeg_entropy;
mod jpeg_file;
mod jpeg_markers;
mod lazy_image;
mod mask;
mod png_exif;
mod png_file;
mod recompress;
mod resize;
mod samples;
mod sniff;
mod tiff_file;
mod webp_file;

pub use color_mask::{ColorMask, ColorPixels, decode_color_mask};
pub use decode::{DecodeLimits, MAX_SIDE_PX, decode_upright};
pub use encode::{encode_coverage, encode_jpeg, encode_mask, encode_mask_with_colors, encode_png};
pub use error::{DecodeError, MaskError};
pub use lazy_image::LazyImage;
pub use mask::{ShownMask, check_mask_orientation, decode_mask, decode_shown_mask};
pub use recompress::recompress_jpeg;
pub use resize::{Region, resize_image, resize_mask};
pub use sniff::name_image_format;
