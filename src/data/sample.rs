//! One image with its mask, and reading the two.

use std::fmt;
use std::path::PathBuf;

use image::{GrayImage, RgbImage};

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
}

/// Why a sample cannot be used; each text names the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unusable {
    /// Image or mask cannot be read or decoded.
    Unreadable(String),
    /// The mask is a picture, not class ids.
    NotAMask(String),
    /// Upright image and mask differ in size.
    Sizes(String),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Unreadable(text) | Self::NotAMask(text) | Self::Sizes(text)) = self;
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

    /// Opens the image, which is of the size of the mask, and decodes the mask.
    pub fn open(&self) -> Result<(Picture<'static>, GrayImage), Unusable> {
        let limits = Limits::default();
        let open = |path| files::read(path).map_err(|e| Unusable::Unreadable(e.to_string()));
        let image = Picture::open(open(&self.image)?, limits).map_err(|e| self.unreadable(&e))?;
        let mask = decode_mask(&open(&self.mask)?, limits).map_err(|error| {
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
        Ok((image, mask))
    }

    /// That the image cannot be decoded.
    pub fn unreadable(&self, error: &DecodeError) -> Unusable {
        Unusable::Unreadable(format!("{}: {error}", self.image.display()))
    }
}
