//! One image with its mask, and reading the two.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use image::{GrayImage, RgbImage};

use super::label_map::LabelMap;
use crate::error::Error;
use crate::files;
use crate::imaging::{DecodeError, Limits, MaskError, Picture, decode_mask};

/// An image and its mask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Path below the channel without extension, the same for image and mask.
    pub key: String,
    /// The image file.
    pub image: PathBuf,
    /// The mask file.
    pub mask: PathBuf,
    /// What the mask's values stand for, unless they are the class ids themselves.
    pub label_map: Option<Arc<LabelMap>>,
}

/// Why a sample cannot be used; each text names the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unusable {
    /// Image or mask cannot be read or decoded.
    Unreadable(String),
    /// The mask is a picture, not class ids.
    NotAMask(String),
    /// The mask has values of which the label map does not say what they are.
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
        let (picture, mask) = self.open()?;
        let image = picture.decode().map_err(|e| self.unreadable(&e))?;
        Ok((image, mask))
    }

    /// Opens the image, which is of the size of the mask, and decodes the mask to class
    /// ids.
    pub fn open(&self) -> Result<(Picture<'static>, GrayImage), Unusable> {
        let limits = Limits::default();
        let open = |path| files::read(path).map_err(|e| Unusable::Unreadable(e.to_string()));
        let image = Picture::open(open(&self.image)?, limits).map_err(|e| self.unreadable(&e))?;
        let mut mask = decode_mask(&open(&self.mask)?, limits).map_err(|error| {
            let text = format!("{}: {error}", self.mask.display());
            match error {
                MaskError::Decode(_) => Unusable::Unreadable(text),
                MaskError::NotClassIds(_) => Unusable::NotAMask(text),
            }
        })?;
        if image.dimensions() != mask.dimensions() {
            let ((w, h), (mw, mh)) = (image.dimensions(), mask.dimensions());
            let turned = if (w, h) == (mh, mw) {
                "; the image is shown turned by its EXIF orientation and the mask was drawn on the \
                 unturned one: turn the mask too"
            } else {
                ""
            };
            return Err(Unusable::Sizes(format!(
                "{} is {mw}x{mh}, the image {w}x{h}{turned}",
                self.mask.display()
            )));
        }
        if let Some(label_map) = &self.label_map {
            label_map.apply(mask.as_mut()).map_err(|unknown| {
                Unusable::NotMapped(format!("{}: {}", self.mask.display(), pixels(&unknown)))
            })?;
        }
        Ok((image, mask))
    }

    /// That the image cannot be decoded.
    pub fn unreadable(&self, error: &DecodeError) -> Unusable {
        Unusable::Unreadable(format!("{}: {error}", self.image.display()))
    }
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
