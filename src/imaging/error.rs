//! Errors about bytes that are no picture, or no mask.

use std::fmt;

use super::decode::MAX_SIDE_PX;

/// The supported formats, for messages.
const SUPPORTED_FORMATS: &str = "JPEG, PNG, WebP, TIFF and BMP";

/// Reason why bytes are not a usable picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodeError {
    /// There are no bytes.
    Empty,
    /// The bytes begin like none of the supported formats.
    NotAnImage {
        /// Description of the bytes, with an article if it has one: "a GIF image", "JSON text".
        found: String,
    },
    /// The header announces more pixels than [`DecodeLimits`](super::DecodeLimits) allows. Nothing
    /// was decoded.
    TooLarge {
        /// Columns, in pixels.
        width: u32,
        /// Rows, in pixels.
        height: u32,
        /// Largest allowed product of the two, in pixels.
        max_pixels: u64,
    },
    /// The header announces a side longer than [`MAX_SIDE_PX`](super::MAX_SIDE_PX). Nothing was
    /// decoded.
    SideTooLong {
        /// Columns, in pixels.
        width: u32,
        /// Rows, in pixels.
        height: u32,
    },
    /// The image is cut off or damaged, or of a kind that cannot be decoded. The text says which,
    /// and names the format.
    Broken(String),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "no bytes at all ({SUPPORTED_FORMATS} are supported)"),
            Self::NotAnImage { found } => {
                write!(
                    f,
                    "no image that can be read, but {found} ({SUPPORTED_FORMATS} are supported)"
                )
            }
            Self::TooLarge { width, height, max_pixels } => write!(
                f,
                "the image has {width} x {height} = {} pixels, more than the {max_pixels} allowed; \
                 make it smaller",
                u64::from(*width) * u64::from(*height)
            ),
            Self::SideTooLong { width, height } => write!(
                f,
                "the image has {width} x {height} pixels, and no side may have more than \
                 {MAX_SIDE_PX}; make it smaller",
            ),
            Self::Broken(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Reason why bytes are not a mask of class ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MaskError {
    /// The bytes are not even a picture.
    Decode(DecodeError),
    /// The bytes are a picture, but not one channel of class ids. The text says what it is, and the
    /// fix.
    NotClassIds(String),
}

impl fmt::Display for MaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decode(error) => error.fmt(f),
            Self::NotClassIds(what) => write!(
                f,
                "{what} (a mask is a PNG with one channel, palette or grayscale, whose values are \
                 the class ids; 255 is ignored)"
            ),
        }
    }
}

impl std::error::Error for MaskError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Decode(error) => Some(error),
            Self::NotClassIds(_) => None,
        }
    }
}

impl From<DecodeError> for MaskError {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}
