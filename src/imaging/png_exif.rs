//! EXIF data in a PNG: in a chunk of their own, or in a text chunk. `ImageMagick` and programs that
//! followed it wrote profiles as hexadecimal text, with the keyword "Raw profile type exif", before
//! PNG had a chunk for EXIF.
//!
//! The text begins with a line break, the profile's name and the number of bytes on lines of their
//! own; digits on many lines follow.

use std::io::Read;

use flate2::read::ZlibDecoder;
use image::metadata::Orientation;

use super::exif::read_exif_orientation;

/// Keywords of texts that hold EXIF data. The second is that of old versions, for any profile that
/// a JPEG would have in an APP1 segment.
const KEYWORDS: [&[u8]; 2] = [b"Raw profile type exif", b"Raw profile type APP1"];
/// Largest length in bytes of an unpacked text that is looked at. EXIF data have 64 KiB, and the
/// directory with the orientation comes first.
const MAX_TEXT_BYTES: u64 = 1 << 20;
const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Reads the orientation that turns a PNG's stored pixels upright. Texts count only if there is no
/// chunk for EXIF, as in PIL.
pub(super) fn read_png_orientation(png: &[u8]) -> Orientation {
    let mut in_text = None;
    let mut rest = png.strip_prefix(SIGNATURE).unwrap_or_default();
    while let Some(chunk) = Chunk::split_off(&mut rest) {
        if &chunk.name == b"eXIf" && chunk.is_whole() {
            return read_exif_orientation(chunk.content).unwrap_or(Orientation::NoTransforms);
        }
        if in_text.is_none()
            && let Some(text) = profile_text(chunk.name, chunk.content)
            && chunk.is_whole()
        {
            in_text = read_exif_orientation(&decode_profile(&text));
        }
    }
    in_text.unwrap_or(Orientation::NoTransforms)
}

/// A chunk of a PNG.
struct Chunk<'a> {
    name: [u8; 4],
    content: &'a [u8],
    checksum: [u8; 4],
}

impl<'a> Chunk<'a> {
    /// Splits the first chunk off `bytes`.
    fn split_off(bytes: &mut &'a [u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk()?;
        let length = u32::from_be_bytes(*length) as usize;
        let (name, rest) = rest.split_first_chunk::<4>()?;
        let (content, rest) = rest.split_at_checked(length)?;
        let (checksum, rest) = rest.split_first_chunk::<4>()?;
        *bytes = rest;
        Some(Self { name: *name, content, checksum: *checksum })
    }

    fn is_whole(&self) -> bool {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.name);
        hasher.update(self.content);
        hasher.finalize().to_be_bytes() == self.checksum
    }
}

/// Returns the text of a chunk that holds EXIF data by its keyword.
fn profile_text(name: [u8; 4], content: &[u8]) -> Option<Vec<u8>> {
    if !matches!(&name, b"tEXt" | b"zTXt" | b"iTXt") {
        return None;
    }
    let (keyword, rest) = split_at_zero(content)?;
    if !KEYWORDS.contains(&keyword) {
        return None;
    }
    match &name {
        b"tEXt" => Some(rest.to_vec()),
        // The number of the compression comes first.
        b"zTXt" => Some(inflate(rest.get(1..)?)),
        _ => {
            let ([is_compressed, _], rest) = rest.split_first_chunk()?;
            let (_language, rest) = split_at_zero(rest)?;
            let (_translated_keyword, text) = split_at_zero(rest)?;
            Some(if *is_compressed == 1 { inflate(text) } else { text.to_vec() })
        }
    }
}

fn split_at_zero(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let zero = bytes.iter().position(|&byte| byte == 0)?;
    Some((&bytes[..zero], &bytes[zero + 1..]))
}

/// Unpacks a text as far as it is allowed and whole.
fn inflate(compressed: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    // The text before damage is kept, because it may be enough.
    let _ = ZlibDecoder::new(compressed).take(MAX_TEXT_BYTES).read_to_end(&mut text);
    text
}

/// Returns the bytes of a profile in hexadecimal text, up to the first character that is no digit.
fn decode_profile(text: &[u8]) -> Vec<u8> {
    // These are the empty line, the profile's name, and the number of its bytes.
    let digits = text.splitn(4, |&byte| byte == b'\n').nth(3).unwrap_or_default();
    let mut bytes = Vec::with_capacity(digits.len() / 2);
    let mut high_half = None;
    for &character in digits {
        if character.is_ascii_whitespace() {
            continue;
        }
        let Some(half) = char::from(character).to_digit(16) else { break };
        match high_half.take() {
            None => high_half = Some(half),
            Some(high) => bytes.push((high << 4 | half) as u8),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;
    use crate::imaging::fixtures::fixture;
    use crate::imaging::{DecodeLimits, LazyImage};

    const EXIF: &[u8] = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";

    fn profile(name: &str, bytes: &[u8]) -> Vec<u8> {
        let mut text = format!("\n{name}\n{:8}\n", bytes.len());
        for (index, byte) in bytes.iter().enumerate() {
            write!(text, "{byte:02x}").unwrap();
            if index % 10 == 9 {
                text.push('\n');
            }
        }
        text.into_bytes()
    }

    fn deflate(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Returns a PNG with a chunk before its pixels, or behind them.
    fn with_chunk(name: [u8; 4], content: &[u8], is_late: bool) -> Vec<u8> {
        let png = fixture("rgb.png");
        let mut chunk = (content.len() as u32).to_be_bytes().to_vec();
        chunk.extend_from_slice(&name);
        chunk.extend_from_slice(content);
        chunk.extend_from_slice(&crc32fast::hash(&chunk[4..]).to_be_bytes());
        // The header's chunk has 25 bytes and follows 8 bytes; the end's chunk has 12 bytes.
        let at = if is_late { png.len() - 12 } else { 33 };
        [&png[..at], &chunk, &png[at..]].concat()
    }

    #[test]
    fn exif_data_in_any_chunk_turn_the_picture() {
        let exif = profile("exif", EXIF);
        let app1 = profile("APP1", EXIF);
        let packed = deflate(&exif);
        for (name, content) in [
            (b"tEXt", [b"Raw profile type exif\0", &exif[..]].concat()),
            (b"tEXt", [b"Raw profile type APP1\0", &app1[..]].concat()),
            (b"zTXt", [b"Raw profile type exif\0\0", &packed[..]].concat()),
            (b"iTXt", [b"Raw profile type exif\0\0\0de\0Profil\0", &exif[..]].concat()),
            (b"iTXt", [b"Raw profile type exif\0\x01\0\0\0", &packed[..]].concat()),
            (b"eXIf", EXIF.to_vec()),
            (b"eXIf", EXIF[6..].to_vec()),
        ] {
            for is_late in [false, true] {
                let png = with_chunk(*name, &content, is_late);
                let size = LazyImage::open(&png, DecodeLimits::default()).unwrap().dimensions();
                let stored = fixture("rgb.png");
                let stored = LazyImage::open(&stored, DecodeLimits::default()).unwrap();
                assert_eq!(size, (stored.dimensions().1, stored.dimensions().0), "{content:?}");
            }
        }
    }

    #[test]
    fn other_texts_and_damaged_profiles_turn_nothing() {
        let exif = profile("exif", EXIF);
        let bomb = deflate(&vec![b'0'; 1 << 22]);
        for (name, content) in [
            (b"tEXt", [b"Comment\0", &exif[..]].concat()),
            (b"tEXt", b"Raw profile type exif".to_vec()),
            (b"tEXt", b"Raw profile type exif\0\nexif\n 12\nzz".to_vec()),
            (b"zTXt", b"Raw profile type exif\0".to_vec()),
            (b"zTXt", [b"Raw profile type exif\0\0", &bomb[..]].concat()),
            (b"zTXt", b"Raw profile type exif\0\0 no zlib data".to_vec()),
            (b"iTXt", b"Raw profile type exif\0\0\0".to_vec()),
        ] {
            let png = with_chunk(*name, &content, false);
            assert_eq!(read_png_orientation(&png), Orientation::NoTransforms);
        }
        let xmp = profile("APP1", b"http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation='6'/>");
        let content = [b"Raw profile type APP1\0", &xmp[..]].concat();
        let png = with_chunk(*b"tEXt", &content, false);
        assert_eq!(read_png_orientation(&png), Orientation::NoTransforms);
        assert_eq!(read_png_orientation(b"\x89PNG"), Orientation::NoTransforms);
    }
}
