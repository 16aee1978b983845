//! The error of all codecs and parsers of annotations.

use std::fmt;
use std::io;

use crate::imaging::MaskError;

/// Result of the codecs and parsers of annotations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Error of a codec or a parser of annotations.
///
/// The text completes a sentence whose subject the caller puts first: "region ab12: has brush RLE
/// that is cut off". It says what was found, what is allowed, and the fix. `From<Error> for String`
/// lets `?` turn the error into its text.
#[derive(Debug)]
pub enum Error {
    /// The reader of a document failed.
    Read {
        /// Number of bytes that were read before.
        offset: u64,
        /// Error of the reader.
        cause: io::Error,
    },
    /// A JSON value is malformed, or its keys and types are not the expected ones.
    Json {
        /// Text with the path of the key that is wrong.
        message: String,
        /// Error of the parser.
        cause: serde_json::Error,
    },
    /// A document, a text or a stream of bytes breaks the syntax of its format.
    Syntax {
        /// Text with the position, or with the text of the cause.
        message: String,
        /// Error of the parser, if another crate parses the format.
        cause: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// A document is empty or of another format than the expected ones.
    UnexpectedFormat(String),
    /// A document or a run-length encoding ends too early.
    Truncated(String),
    /// An annotation is for an image of another size.
    WrongSize(String),
    /// A document, a shape or an image exceeds a limit of this crate.
    TooLarge(String),
    /// A document uses a feature of its format that this crate does not support.
    Unsupported(String),
    /// A value is missing, out of range, or contradicts another one.
    InvalidValue(String),
    /// An annotation covers no area.
    NoArea(&'static str),
    /// The PNG of a bitmask cannot be decoded.
    Bitmask {
        /// Text with the text of the cause.
        message: String,
        /// Error of the decoder.
        cause: MaskError,
    },
    /// Another error, with the part of the document in which it was found.
    Located {
        /// Text before that of the error.
        prefix: String,
        /// Error of the part.
        error: Box<Error>,
        /// Text behind that of the error.
        suffix: String,
    },
}

impl Error {
    /// Returns the error of a broken syntax that this crate found itself.
    pub(super) fn syntax(message: impl Into<String>) -> Self {
        Self::Syntax { message: message.into(), cause: None }
    }

    /// Returns the error of a broken syntax that the parser of another crate found.
    pub(super) fn syntax_with_cause(
        message: String,
        cause: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::Syntax { message, cause: Some(Box::new(cause)) }
    }

    /// Puts texts before and behind that of the error.
    pub(super) fn located(self, prefix: impl Into<String>, suffix: impl Into<String>) -> Self {
        Self::Located { prefix: prefix.into(), error: Box::new(self), suffix: suffix.into() }
    }

    /// Returns the error without its places, to tell the variants apart.
    pub fn innermost(&self) -> &Self {
        let mut innermost = self;
        while let Self::Located { error, .. } = innermost {
            innermost = error;
        }
        innermost
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { offset, cause } => {
                write!(f, "cannot be read beyond byte {offset}: {cause}")
            }
            Self::Json { message, .. }
            | Self::Syntax { message, .. }
            | Self::Bitmask { message, .. }
            | Self::UnexpectedFormat(message)
            | Self::Truncated(message)
            | Self::WrongSize(message)
            | Self::TooLarge(message)
            | Self::Unsupported(message)
            | Self::InvalidValue(message) => f.write_str(message),
            Self::NoArea(reason) => f.write_str(reason),
            Self::Located { prefix, error, suffix } => write!(f, "{prefix}{error}{suffix}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { cause, .. } => Some(cause),
            Self::Json { cause, .. } => Some(cause),
            Self::Syntax { cause: Some(cause), .. } => Some(&**cause),
            Self::Bitmask { cause, .. } => Some(cause),
            // The text holds that of the inner error, so the chain goes on with its cause.
            Self::Located { error, .. } => std::error::Error::source(error.as_ref()),
            Self::Syntax { cause: None, .. }
            | Self::UnexpectedFormat(_)
            | Self::Truncated(_)
            | Self::WrongSize(_)
            | Self::TooLarge(_)
            | Self::Unsupported(_)
            | Self::InvalidValue(_)
            | Self::NoArea(_) => None,
        }
    }
}

impl From<Error> for String {
    fn from(error: Error) -> Self {
        error.to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::Error;
    use crate::annotations::json_objects::JsonObjects;
    use crate::annotations::{coco, label_config};

    #[test]
    fn a_place_changes_neither_the_variant_nor_the_cause() {
        let text = br#"{"label_config": "<View"}"#;
        let error = label_config::parse_label_config(text).unwrap_err();
        assert!(matches!(error, Error::Located { .. }));
        assert!(matches!(error.innermost(), Error::Syntax { cause: Some(_), .. }));
        assert!(error.source().unwrap().is::<roxmltree::Error>());
        let cause = error.source().unwrap().to_string();
        let expected = format!("is no XML that can be read: {cause} (label_config)");
        assert_eq!(error.to_string(), expected);
        assert_eq!(String::from(error), expected);
    }

    #[test]
    fn variants_tell_what_is_wrong() {
        let read = |text: &'static str| JsonObjects::new(text.as_bytes(), 9).last();
        assert!(matches!(read(""), Some(Err(Error::UnexpectedFormat(_)))));
        assert!(matches!(read("[{}"), Some(Err(Error::Truncated(_)))));
        assert!(matches!(read("[}"), Some(Err(Error::Syntax { cause: None, .. }))));
        assert!(matches!(read("{\"a\": 12345}"), Some(Err(Error::TooLarge(_)))));
        assert!(matches!(coco::parse_annotation(b"{}"), Err(Error::Json { .. })));
        let keypoints = br#"{"category_id": 1, "keypoints": []}"#;
        let annotation = coco::parse_annotation(keypoints).unwrap();
        assert!(matches!(annotation.rasterize(1, 1), Err(Error::NoArea(_))));
    }
}
