//! Recognition of formats by their first bytes, because file names and content types may be wrong.

use std::fmt::Write;

use super::error::DecodeError;

/// The supported formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ImageFormat {
    Jpeg,
    Png,
    WebP,
    Tiff,
    Bmp,
}

impl ImageFormat {
    /// Returns the name of a file of this format, with an article.
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

/// Signatures of files that users send by mistake, as offset in bytes, bytes at that offset, and
/// name for the error.
const UNSUPPORTED_SIGNATURES: &[(usize, &[u8], &str)] = &[
    (0, b"GIF8", "a GIF image"),
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

/// Brands of images in the container that MP4 uses too, with names for the error. Of several brands
/// in a file the first in this list tells the most.
const IMAGE_BRANDS: &[(&[u8; 4], &str)] = &[
    (b"avif", "an AVIF image"),
    (b"avis", "an AVIF image (a sequence)"),
    (b"heic", "a HEIC image"),
    (b"heix", "a HEIC image"),
    (b"heim", "a HEIC image"),
    (b"heis", "a HEIC image"),
    (b"hevc", "a HEIC image (a sequence)"),
    (b"hevx", "a HEIC image (a sequence)"),
    (b"hevm", "a HEIC image (a sequence)"),
    (b"hevs", "a HEIC image (a sequence)"),
    (b"crx ", "a Canon raw image"),
    (b"jxl ", "a JPEG XL image"),
    (b"jp2 ", "a JPEG 2000 image"),
    (b"mif1", "a HEIF image"),
    (b"mif2", "a HEIF image"),
    (b"miaf", "a HEIF image"),
    (b"jpeg", "a HEIF image"),
    (b"jpgs", "a HEIF image (a sequence)"),
    (b"msf1", "a HEIF image (a sequence)"),
];

/// Names a file in the container of ISO media files (ISO/IEC 14496-12): a box `ftyp` with a main
/// brand, a version, and compatible brands.
fn describe_iso_media(bytes: &[u8]) -> Option<&'static str> {
    if bytes.get(4..8) != Some(b"ftyp") {
        return None;
    }
    let length = u32::from_be_bytes(*bytes.first_chunk()?) as usize;
    let (main, _) = bytes.get(8..12).unwrap_or_default().as_chunks::<4>();
    let compatible = bytes.get(16..length.min(bytes.len())).unwrap_or_default();
    let (compatible, _) = compatible.as_chunks::<4>();
    for (brand, name) in IMAGE_BRANDS {
        if main.contains(brand) || compatible.contains(brand) {
            return Some(name);
        }
    }
    Some("an MP4 or QuickTime file")
}

/// Returns the format of `bytes`, or an error that describes them.
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
    if bytes.starts_with(b"RIFF") && matches!(bytes.get(8..12), None | Some(b"WEBP")) {
        return Ok(ImageFormat::WebP);
    }
    // `II` is Intel's and `MM` Motorola's byte order; 42 (`*`) is TIFF and 43 (`+`) is BigTIFF.
    if let Some(b"II*\0" | b"MM\0*" | b"II+\0" | b"MM\0+") = bytes.first_chunk() {
        return Ok(ImageFormat::Tiff);
    }
    if bytes.starts_with(b"BM") && is_bmp(bytes) {
        return Ok(ImageFormat::Bmp);
    }
    Err(DecodeError::NotAnImage { found: describe_bytes(bytes) })
}

/// Returns the name of an image's format with an article, also of formats that are not supported;
/// `None` for bytes that are no image. `bytes` may be the start of a file.
pub fn name_image_format(bytes: &[u8]) -> Option<&'static str> {
    if let Ok(format) = detect_format(bytes) {
        return Some(format.name_with_article());
    }
    for (offset, magic, name) in UNSUPPORTED_SIGNATURES {
        if bytes.get(*offset..).is_some_and(|rest| rest.starts_with(magic)) {
            return name.strip_suffix(" image");
        }
    }
    None
}

/// Sizes in bytes of the known information headers of a BMP.
const BMP_HEADER_SIZES: [u8; 8] = [12, 16, 40, 52, 56, 64, 108, 124];

/// Returns true if bytes that begin with `BM` are a BMP and not a text, judged by the size of the
/// information header.
fn is_bmp(bytes: &[u8]) -> bool {
    match bytes.get(14..18) {
        Some(size) => BMP_HEADER_SIZES.iter().any(|known| size == [*known, 0, 0, 0]),
        None => !bytes.iter().all(u8::is_ascii_graphic),
    }
}

/// Returns true for bytes of UTF-8 text, control characters excluded.
fn is_text_byte(byte: u8) -> bool {
    matches!(byte, b'\t' | b'\n' | b'\r' | 0x20..=0x7e | 0x80..)
}

/// Describes bytes of no supported format, with an article if the description has one.
fn describe_bytes(bytes: &[u8]) -> String {
    for (offset, magic, name) in UNSUPPORTED_SIGNATURES {
        if bytes.get(*offset..).is_some_and(|rest| rest.starts_with(magic)) {
            return (*name).to_owned();
        }
    }
    if let Some(name) = describe_iso_media(bytes) {
        return name.to_owned();
    }
    let head = &bytes[..bytes.len().min(256)];
    if b"\x89PNG\r\n\x1a\n".starts_with(head) {
        return "the first bytes of a PNG, cut off".to_owned();
    }
    if head.iter().copied().all(is_text_byte)
        && std::str::from_utf8(&head[..head.len().min(64)]).is_ok()
    {
        let start: String = String::from_utf8_lossy(head).trim_start().chars().take(24).collect();
        return match start.as_bytes().first() {
            Some(b'{' | b'[') => "JSON text".to_owned(),
            Some(b'<') => format!("HTML or XML text that starts {start:?}"),
            _ => format!("text that starts {start:?}"),
        };
    }
    let mut description = "data that starts with the bytes".to_owned();
    for byte in head.iter().take(8) {
        // Writing into a string cannot fail.
        let _ = write!(description, " {byte:02x}");
    }
    description
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_text(bytes: &[u8]) -> String {
        detect_format(bytes).unwrap_err().to_string()
    }

    /// Returns a file type box with these brands.
    fn ftyp(main: [u8; 4], compatible: &[&[u8; 4]]) -> Vec<u8> {
        let mut bytes = (16 + 4 * compatible.len() as u32).to_be_bytes().to_vec();
        bytes.extend_from_slice(b"ftyp");
        bytes.extend_from_slice(&main);
        bytes.extend_from_slice(&[0; 4]);
        for brand in compatible {
            bytes.extend_from_slice(*brand);
        }
        bytes.extend_from_slice(b"\0\0\0\x08meta avif");
        bytes
    }

    #[test]
    fn images_in_the_container_of_videos_are_named_by_their_brands() {
        for (bytes, expected) in [
            (ftyp(*b"avif", &[b"mif1", b"miaf"]), "but an AVIF image"),
            (ftyp(*b"avis", &[b"msf1", b"avif"]), "but an AVIF image"),
            (ftyp(*b"mif1", &[b"miaf", b"avif"]), "but an AVIF image"),
            (ftyp(*b"mif1", &[b"heic", b"mif1"]), "but a HEIC image"),
            (ftyp(*b"hevc", &[b"msf1", b"hevc"]), "but a HEIC image"),
            (ftyp(*b"msf1", &[b"iso8"]), "but a HEIF image"),
            (ftyp(*b"msf1", &[]), "but a HEIF image"),
            (ftyp(*b"heis", &[]), "but a HEIC image"),
            (ftyp(*b"crx ", &[b"isom"]), "but a Canon raw image"),
            (ftyp(*b"isom", &[b"iso2", b"mp41"]), "but an MP4 or QuickTime file"),
            (ftyp(*b"qt  ", &[]), "but an MP4 or QuickTime file"),
            (b"\0\0\0\x18ftyp".to_vec(), "but an MP4 or QuickTime file"),
        ] {
            let text = error_text(&bytes);
            assert!(text.contains(expected), "{text}");
        }
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
