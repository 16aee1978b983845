//! Pixels: upright decoding of every input format under limits, palette PNG, resizing.
//!
//! Bytes come from users and from the network: every function here either returns an image whose
//! size was checked before a pixel was decoded, or says what the bytes were instead.

mod bmp_file;
mod color_mask;
mod decode;
mod encode;
mod error;
#[cfg(test)]
mod fixtures;
mod jpeg_file;
mod lazy_image;
mod mask;
mod png_file;
mod recompress;
mod resize;
mod samples;
mod sniff;
mod tiff_file;
mod webp_file;

pub use color_mask::{ColorMask, ColorPixels, decode_color_mask};
pub use decode::{DecodeLimits, MAX_SIDE_PX, decode_upright};
pub use encode::{encode_jpeg, encode_mask, encode_mask_with_colors, encode_png};
pub use error::{DecodeError, MaskError};
pub use lazy_image::LazyImage;
pub use mask::decode_mask;
pub use recompress::recompress_jpeg;
pub use resize::{Region, resize_image, resize_mask};
