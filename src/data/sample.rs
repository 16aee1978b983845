//! One image with its mask, and reading of the two.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use image::{GrayImage, RgbImage};

use super::color_map::ColorMap;
use super::content::Content;
use super::digest::SampleDigest;
use super::label_map::LabelMap;
use crate::error::Error;
use crate::imaging::{
    DecodeError, DecodeLimits, LazyImage, MaskError, check_mask_orientation, decode_color_mask,
    decode_mask,
};

/// An image and its mask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Path below the channel without extension, the same for image and mask.
    pub key: String,
    /// JPEG or PNG image.
    pub image: Content,
    /// Mask whose pixels are class ids, other values, or colors.
    pub mask: Content,
    /// Classes of the mask's values, unless the values are class ids.
    pub label_map: Option<Arc<LabelMap>>,
    /// Classes of the mask's colors, if the colors tell the classes.
    pub color_map: Option<Arc<ColorMap>>,
}

/// A sample that was read for the audit.
#[derive(Debug)]
pub struct ReadSample {
    /// Upright image.
    pub image: RgbImage,
    /// Class ids, of the image's size.
    pub mask: GrayImage,
    /// Number of the mask's pixels whose color is only near that of their class.
    pub snapped_pixels: u64,
    /// Digests of both files.
    pub digest: SampleDigest,
}

/// Reason why a sample cannot be used; each text names the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SampleError {
    /// Image or mask cannot be read or decoded.
    Unreadable(String),
    /// The mask is a picture, not class ids.
    NotAMask(String),
    /// The mask has values without a class in the label map, or colors without a class in the color
    /// map.
    Unmapped(String),
    /// Upright image and mask differ in size.
    SizeMismatch(String),
}

impl fmt::Display for SampleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Unreadable(text)
        | Self::NotAMask(text)
        | Self::Unmapped(text)
        | Self::SizeMismatch(text)) = self;
        f.write_str(text)
    }
}

impl From<SampleError> for Error {
    fn from(error: SampleError) -> Self {
        Self::input(error.to_string())
    }
}

impl Sample {
    /// Decodes the upright image and its mask, which have the same size.
    pub fn read(&self) -> Result<(RgbImage, GrayImage), SampleError> {
        let (lazy_image, mask) = self.open()?;
        let image = lazy_image.decode().map_err(|e| self.unreadable(&e))?;
        Ok((image, mask))
    }

    /// Decodes image and mask, and learns from their bytes what the audit needs beside the pixels.
    pub fn read_for_audit(&self) -> Result<ReadSample, SampleError> {
        let image_bytes = read_content(&self.image)?;
        let lazy_image = self.open_image(&image_bytes[..])?;
        let mask_bytes = read_content(&self.mask)?;
        let (mask, snapped_pixels) = self.read_mask(&mask_bytes, &lazy_image)?;
        let digest = SampleDigest::new(&image_bytes, self.image.etag().as_deref(), &mask_bytes);
        let image = lazy_image.decode().map_err(|e| self.unreadable(&e))?;
        Ok(ReadSample { image, mask, snapped_pixels, digest })
    }

    /// Opens the image without decoding it, and decodes the mask, which has the same size, to class
    /// ids.
    pub fn open(&self) -> Result<(LazyImage<'static>, GrayImage), SampleError> {
        let lazy_image = self.open_image(read_content(&self.image)?)?;
        let (mask, _) = self.read_mask(&read_content(&self.mask)?, &lazy_image)?;
        Ok((lazy_image, mask))
    }

    fn open_image<'a>(
        &self,
        bytes: impl Into<Cow<'a, [u8]>>,
    ) -> Result<LazyImage<'a>, SampleError> {
        LazyImage::open(bytes, DecodeLimits::default()).map_err(|e| self.unreadable(&e))
    }

    /// Reads the class ids for an image from the bytes of the mask, and counts those from a color
    /// that is only near that of the class.
    fn read_mask(
        &self,
        bytes: &[u8],
        image: &LazyImage<'_>,
    ) -> Result<(GrayImage, u64), SampleError> {
        let size = image.dimensions();
        check_mask_orientation(image.orientation(), bytes)
            .map_err(|error| self.mask_error(&error))?;
        if let Some(color_map) = &self.color_map {
            let mask = decode_color_mask(bytes, DecodeLimits::default())
                .map_err(|error| self.mask_error(&error))?;
            self.check_size(size, (mask.width, mask.height))?;
            return match color_map.resolve(&mask) {
                Ok(resolved) => Ok((resolved.ids, resolved.snapped_pixels)),
                Err(reason) => Err(self.unmapped_error(&reason.to_string())),
            };
        }
        let mut mask =
            decode_mask(bytes, DecodeLimits::default()).map_err(|error| self.mask_error(&error))?;
        self.check_size(size, mask.dimensions())?;
        if let Some(label_map) = &self.label_map
            && let Err(unknown) = label_map.apply(mask.as_mut())
        {
            return Err(self.unmapped_error(&describe_unknown_values(&unknown)));
        }
        Ok((mask, 0))
    }

    fn mask_error(&self, error: &MaskError) -> SampleError {
        let text = format!("{}: {error}", self.mask.display());
        match error {
            MaskError::Decode(_) => SampleError::Unreadable(text),
            MaskError::NotClassIds(_) => SampleError::NotAMask(text),
        }
    }

    fn unmapped_error(&self, reason: &str) -> SampleError {
        SampleError::Unmapped(format!("{}: {reason}", self.mask.display()))
    }

    fn check_size(
        &self,
        (width, height): (u32, u32),
        (mask_width, mask_height): (u32, u32),
    ) -> Result<(), SampleError> {
        if (width, height) == (mask_width, mask_height) {
            return Ok(());
        }
        let rotation_hint = if (width, height) == (mask_height, mask_width) {
            "; the image is shown turned by its EXIF orientation and the mask was drawn on the \
             unturned one: turn the mask too"
        } else {
            ""
        };
        Err(SampleError::SizeMismatch(format!(
            "{} is {mask_width}x{mask_height}, the image {width}x{height}{rotation_hint}",
            self.mask.display()
        )))
    }

    /// Makes the error of an image that cannot be decoded.
    pub fn unreadable(&self, error: &DecodeError) -> SampleError {
        SampleError::Unreadable(format!("{}: {error}", self.image.display()))
    }
}

fn read_content(content: &Content) -> Result<Vec<u8>, SampleError> {
    match content.read() {
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(SampleError::Unreadable(error.to_string())),
    }
}

/// Lists the first few values with their pixels, such as `value 7 in 120 pixels, value 9 in 1`.
fn describe_unknown_values(unknown: &std::collections::BTreeMap<u8, u64>) -> String {
    let shown: Vec<String> =
        unknown.iter().take(4).map(|(value, n)| format!("value {value} in {n} pixels")).collect();
    match unknown.len().saturating_sub(shown.len()) {
        0 => shown.join(", "),
        more => format!("{} and {more} further values", shown.join(", ")),
    }
}
