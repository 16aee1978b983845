//! One image with its mask, and reading the two.

use std::fmt;
use std::sync::Arc;

use image::{GrayImage, RgbImage};

use super::color_map::ColorMap;
use super::content::Content;
use super::label_map::LabelMap;
use crate::error::Error;
use crate::imaging::{DecodeError, Limits, MaskError, Picture, decode_color_mask, decode_mask};

/// An image and its mask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Path below the channel without extension, the same for image and mask.
    pub key: String,
    /// The image.
    pub image: Content,
    /// The mask.
    pub mask: Content,
    /// What the mask's values stand for, unless they are the class ids themselves.
    pub label_map: Option<Arc<LabelMap>>,
    /// What the mask's colours stand for, if those and not its values tell the classes.
    pub color_map: Option<Arc<ColorMap>>,
}

/// Why a sample cannot be used; each text names the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unusable {
    /// Image or mask cannot be read or decoded.
    Unreadable(String),
    /// The mask is a picture, not class ids.
    NotAMask(String),
    /// The mask has values or colours of which the label map or color map does not say what they are.
    NotMapped(String),
    /// Upright image and mask differ in size.
    Sizes(String),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Unreadable(text)
        | Self::NotAMask(text)
        | Self::NotMapped(text)
        | Self::Sizes(text)) = self;
        f.write_str(text)
    }
}

impl From<Unusable> for Error {
    fn from(unusable: Unusable) -> Self {
        Self::input(unusable.to_string())
    }
}

impl Sample {
    /// Decodes the upright image and its mask, which are of the same size.
    pub fn read(&self) -> Result<(RgbImage, GrayImage), Unusable> {
        self.read_counting().map(|(image, mask, _)| (image, mask))
    }

    /// The same, and how many pixels of the mask have a colour that is only near that of their class.
    pub fn read_counting(&self) -> Result<(RgbImage, GrayImage, u64), Unusable> {
        let picture = self.picture()?;
        let (mask, snapped) = self.mask(picture.dimensions())?;
        let image = picture.decode().map_err(|e| self.unreadable(&e))?;
        Ok((image, mask, snapped))
    }

    /// Opens the image, which is of the size of the mask, and decodes the mask to class
    /// ids.
    pub fn open(&self) -> Result<(Picture<'static>, GrayImage), Unusable> {
        let picture = self.picture()?;
        let (mask, _) = self.mask(picture.dimensions())?;
        Ok((picture, mask))
    }

    fn picture(&self) -> Result<Picture<'static>, Unusable> {
        Picture::open(bytes(&self.image)?, Limits::default()).map_err(|e| self.unreadable(&e))
    }

    /// The class ids of an image of `size`, and how many come from a colour that is only near.
    fn mask(&self, size: (u32, u32)) -> Result<(GrayImage, u64), Unusable> {
        let bytes = bytes(&self.mask)?;
        let not_a_mask = |error| {
            let text = format!("{}: {error}", self.mask.display());
            match error {
                MaskError::Decode(_) => Unusable::Unreadable(text),
                MaskError::NotClassIds(_) => Unusable::NotAMask(text),
            }
        };
        let not_mapped =
            |what: &str| Unusable::NotMapped(format!("{}: {what}", self.mask.display()));
        if let Some(color_map) = &self.color_map {
            let mask = decode_color_mask(&bytes, Limits::default()).map_err(not_a_mask)?;
            self.check_size(size, (mask.width, mask.height))?;
            let resolved = color_map.resolve(&mask).map_err(|what| not_mapped(&what))?;
            return Ok((resolved.ids, resolved.snapped));
        }
        let mut mask = decode_mask(&bytes, Limits::default()).map_err(not_a_mask)?;
        self.check_size(size, mask.dimensions())?;
        if let Some(label_map) = &self.label_map {
            label_map.apply(mask.as_mut()).map_err(|unknown| not_mapped(&pixels(&unknown)))?;
        }
        Ok((mask, 0))
    }

    fn check_size(&self, (w, h): (u32, u32), (mw, mh): (u32, u32)) -> Result<(), Unusable> {
        if (w, h) == (mw, mh) {
            return Ok(());
        }
        let turned = if (w, h) == (mh, mw) {
            "; the image is shown turned by its EXIF orientation and the mask was drawn on the \
             unturned one: turn the mask too"
        } else {
            ""
        };
        Err(Unusable::Sizes(format!(
            "{} is {mw}x{mh}, the image {w}x{h}{turned}",
            self.mask.display()
        )))
    }

    /// That the image cannot be decoded.
    pub fn unreadable(&self, error: &DecodeError) -> Unusable {
        Unusable::Unreadable(format!("{}: {error}", self.image.display()))
    }
}

fn bytes(content: &Content) -> Result<Vec<u8>, Unusable> {
    content.read().map_err(|error| Unusable::Unreadable(error.to_string()))
}

/// `value 7 in 120 pixels, value 9 in 1`, the first few.
fn pixels(unknown: &std::collections::BTreeMap<u8, u64>) -> String {
    let shown: Vec<String> =
        unknown.iter().take(4).map(|(value, n)| format!("value {value} in {n} pixels")).collect();
    match unknown.len().saturating_sub(shown.len()) {
        0 => shown.join(", "),
        more => format!("{} and {more} further values", shown.join(", ")),
    }
}
