//! Formats by their first bytes: names of files and content types lie.

use super::error::DecodeError;

/// The formats that can be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ImageFormat {
    Jpeg,
    Png,
    WebP,
    Tiff,
    Bmp,
}

impl ImageFormat {
    /// What a file of this format is called, with an article.
    pub(super) fn name_with_article(self) -> &'static str {
        match self {
            Self::Jpeg => "a JPEG",
            Self::Png => "a PNG",
            Self::WebP => "a WebP",
            Self::Tiff => "a TIFF",
            Self::Bmp => "a BMP",
        }
    }
}

/// First bytes of what people send by mistake, so that the error can name it.
const UNSUPPORTED_SIGNATURES: &[(usize, &[u8], &str)] = &[
    (0, b"GIF8", "a GIF image"),
    (4, b"ftypavif", "an AVIF image"),
    (4, b"ftypheic", "a HEIC image"),
    (4, b"ftypheix", "a HEIC image"),
    (4, b"ftypmif1", "a HEIF image"),
    (4, b"ftyp", "an MP4 or QuickTime file"),
    (4, b"jP  ", "a JPEG 2000 image"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (4, b"JXL ", "a JPEG XL image"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"%PDF", "a PDF file"),
    (0, b"\x0a\x23\xd7\xce", "a RecordIO stream"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"\x1f\x8b", "gzip-compressed data"),
];

/// The format of `bytes`, or an error that says what they look like.
pub(super) fn detect_format(bytes: &[u8]) -> Result<ImageFormat, DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::Empty);
    }
    if bytes.starts_with(b"\xff\xd8") {
        return Ok(ImageFormat::Jpeg);
    }
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Ok(ImageFormat::Png);
    }
    let starts_with = |head: &[u8]| bytes.starts_with(head);
    if starts_with(b"RIFF") && bytes.get(8..12).is_none_or(|name| name == b"WEBP") {
        return Ok(ImageFormat::WebP);
    }
    // Intel's and Motorola's order of bytes; 43 is BigTIFF.
    if starts_with(b"II*\0")
        || starts_with(b"MM\0*")
        || starts_with(b"II+\0")
        || starts_with(b"MM\0+")
    {
        return Ok(ImageFormat::Tiff);
    }
    if starts_with(b"BM") && is_bmp(bytes) {
        return Ok(ImageFormat::Bmp);
    }
    Err(DecodeError::NotAnImage { found: describe_bytes(bytes) })
}

/// Whether what begins with two letters that a text may begin with is an image after all: by the size of its header.
fn is_bmp(bytes: &[u8]) -> bool {
    match bytes.get(14..18) {
        Some(&[size @ (12 | 16 | 40 | 52 | 56 | 64 | 108 | 124), 0, 0, 0]) => size > 0,
        Some(_) => false,
        None => !bytes.iter().all(u8::is_ascii_graphic),
    }
}

fn describe_bytes(bytes: &[u8]) -> String {
    let signature = UNSUPPORTED_SIGNATURES.iter().find(|(offset, magic, _)| {
        bytes.get(*offset..).is_some_and(|rest| rest.starts_with(magic))
    });
    if let Some((_, _, name)) = signature {
        return (*name).to_owned();
    }
    let head = &bytes[..bytes.len().min(256)];
    if b"\x89PNG\r\n\x1a\n".starts_with(head) {
        return "the first bytes of a PNG, cut off".to_owned();
    }
    let is_text = |b: &u8| matches!(b, b'\t' | b'\n' | b'\r' | 0x20..=0x7e | 0x80..);
    if head.iter().all(is_text) && std::str::from_utf8(&head[..head.len().min(64)]).is_ok() {
        let start: String = String::from_utf8_lossy(head).trim_start().chars().take(24).collect();
        return match start.as_bytes().first() {
            Some(b'{' | b'[') => "JSON text".to_owned(),
            Some(b'<') => format!("HTML or XML text that starts {start:?}"),
            _ => format!("text that starts {start:?}"),
        };
    }
    let hex: Vec<String> = head.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("data that starts with the bytes {}", hex.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_text(bytes: &[u8]) -> String {
        detect_format(bytes).unwrap_err().to_string()
    }

    #[test]
    fn strangers_are_named() {
        assert!(error_text(b"GIF89a...").contains("but a GIF image"));
        assert!(error_text(b"RIFF\0\0\0\0WAVEfmt ").contains("the bytes 52 49 46 46"));
        assert!(error_text(b"BMW is a car, not a bitmap").contains("text that starts"));
        assert!(error_text(b"GIF89a").contains("JPEG, PNG, WebP, TIFF and BMP are supported"));
        assert!(error_text(b"{\"instances\": []}").contains("JSON text"));
        assert!(error_text(b"<html>not found").contains("\"<html>not found\""));
        assert!(error_text(b"\x00\x01\x02").contains("the bytes 00 01 02"));
        assert!(error_text(b"\x89PN").contains("cut off"));
        assert!(error_text("gr\u{fc}n".as_bytes()).contains("text that starts"));
        assert_eq!(detect_format(b""), Err(DecodeError::Empty));
    }
}
