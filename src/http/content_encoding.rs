//! Bodies that a client or a proxy compressed: `Content-Encoding` (RFC 9110, 8.4).

use std::fmt;
use std::io::{self, Read};

use axum::http::HeaderMap;
use axum::http::header::CONTENT_ENCODING;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use super::body::{BodyError, ReceivedBody};

/// Value of `Accept-Encoding` in answers that refuse a coding.
pub const ACCEPTED_ENCODINGS: &str = "gzip, deflate, identity";

/// Most codings of one body. No client compresses more than once; each takes a pass over the body.
const MAX_CODINGS: usize = 2;
/// Bytes that are unpacked between two checks of the limits.
const CHUNK_BYTES: usize = 64 << 10;

/// A way in which a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentCoding {
    /// RFC 1952; `gzip` or `x-gzip`.
    Gzip,
    /// `deflate`: RFC 1950. A stream of RFC 1951 alone, which some clients send by this name, is
    /// read as well.
    Deflate,
}

impl fmt::Display for ContentCoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        })
    }
}

/// Reads the codings from `Content-Encoding`, in the order in which the client applied them;
/// `identity` is none. The error is the text of a coding that is not supported, or of all if there
/// are too many.
pub fn parse_content_encoding(headers: &HeaderMap) -> Result<Vec<ContentCoding>, String> {
    let mut codings = Vec::new();
    let mut texts = Vec::new();
    for header in headers.get_all(CONTENT_ENCODING) {
        let header = String::from_utf8_lossy(header.as_bytes());
        for name in header.split(',') {
            let name = name.trim();
            texts.push(name.to_owned());
            match name.to_ascii_lowercase().as_str() {
                "gzip" | "x-gzip" => codings.push(ContentCoding::Gzip),
                "deflate" => codings.push(ContentCoding::Deflate),
                "identity" | "" => {}
                _ => return Err(name.to_owned()),
            }
        }
    }
    if codings.len() > MAX_CODINGS { Err(texts.join(", ")) } else { Ok(codings) }
}

/// Undoes the codings of a body. Each step may hold at most `max_bytes`, and counts them against
/// the budget of the body's permit. Blocks while it computes.
///
/// # Errors
///
/// [`BodyError::Undecodable`] if the bytes are not what the coding tells,
/// [`BodyError::UnpackedTooLarge`], [`BodyError::OverBudget`], and [`BodyError::Empty`] if nothing
/// was packed.
pub fn decode_body(
    mut body: ReceivedBody,
    codings: &[ContentCoding],
    max_bytes: usize,
) -> Result<ReceivedBody, BodyError> {
    for &coding in codings.iter().rev() {
        body = undo_coding(&body, coding, max_bytes)?;
    }
    if body.bytes.is_empty() { Err(BodyError::Empty) } else { Ok(body) }
}

fn undo_coding(
    body: &ReceivedBody,
    coding: ContentCoding,
    max_bytes: usize,
) -> Result<ReceivedBody, BodyError> {
    let packed = body.bytes.as_slice();
    let mut decoder: Box<dyn Read + '_> = match coding {
        ContentCoding::Gzip => Box::new(MultiGzDecoder::new(packed)),
        ContentCoding::Deflate if has_zlib_header(packed) => Box::new(ZlibDecoder::new(packed)),
        ContentCoding::Deflate => Box::new(DeflateDecoder::new(packed)),
    };
    let mut permit = body.permit.sibling();
    let mut bytes = Vec::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let length = match decoder.read(&mut chunk) {
            Ok(0) => return Ok(ReceivedBody { bytes, permit }),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(BodyError::Undecodable { coding, error }),
        };
        if bytes.len() + length > max_bytes {
            return Err(BodyError::UnpackedTooLarge { max_bytes });
        }
        permit.grow(length)?;
        bytes.extend_from_slice(&chunk[..length]);
    }
}

/// Returns true if the bytes begin as RFC 1950 says: the method is deflate, and the check bits fit.
fn has_zlib_header(bytes: &[u8]) -> bool {
    match bytes {
        [method, flags, ..] => {
            method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]).is_multiple_of(31)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use axum::http::HeaderValue;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proptest::prelude::*;

    use super::super::body::BodyBudget;
    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn deflate(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn received(bytes: Vec<u8>, budget: &BodyBudget) -> ReceivedBody {
        let mut permit = budget.permit();
        permit.grow(bytes.len()).unwrap();
        ReceivedBody { bytes, permit }
    }

    fn decode(bytes: Vec<u8>, codings: &[ContentCoding]) -> Result<Vec<u8>, BodyError> {
        let budget = BodyBudget::new(1 << 20);
        decode_body(received(bytes, &budget), codings, 1 << 19).map(|body| body.bytes)
    }

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CONTENT_ENCODING, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn codings_are_read_in_any_case_from_lists_and_from_several_headers() {
        use ContentCoding::{Deflate, Gzip};
        for (values, expected) in [
            (&[][..], &[][..]),
            (&["identity"], &[]),
            (&[""], &[]),
            (&["GZIP"], &[Gzip]),
            (&["x-gzip"], &[Gzip]),
            (&["deflate, identity , gzip"], &[Deflate, Gzip]),
            (&["deflate", "gzip"], &[Deflate, Gzip]),
        ] {
            assert_eq!(parse_content_encoding(&headers(values)).unwrap(), expected, "{values:?}");
        }
        assert_eq!(parse_content_encoding(&headers(&["gzip, br"])).unwrap_err(), "br");
        let thrice = "gzip, gzip, gzip";
        assert_eq!(parse_content_encoding(&headers(&[thrice])).unwrap_err(), thrice);
    }

    #[test]
    fn what_was_packed_twice_is_unpacked_in_the_opposite_order() {
        let packed = gzip(&zlib(b"image"));
        let codings = [ContentCoding::Deflate, ContentCoding::Gzip];
        assert_eq!(decode(packed, &codings).unwrap(), b"image");
    }

    #[test]
    fn parts_of_gzip_one_after_the_other_are_one_body() {
        let packed = [gzip(b"im"), gzip(b"age")].concat();
        assert_eq!(decode(packed, &[ContentCoding::Gzip]).unwrap(), b"image");
    }

    #[test]
    fn a_small_body_that_unpacks_to_a_large_one_is_refused_before_it_takes_memory() {
        let bomb = gzip(&vec![0; 10 << 20]);
        let error = decode(bomb.clone(), &[ContentCoding::Gzip]).unwrap_err();
        assert!(matches!(error, BodyError::UnpackedTooLarge { max_bytes: 524_288 }), "{error:?}");
        let budget = BodyBudget::new(100_000);
        let over = decode_body(received(bomb, &budget), &[ContentCoding::Gzip], 1 << 30);
        assert!(matches!(over, Err(BodyError::OverBudget)), "{over:?}");
        // Nothing stays counted.
        budget.permit().grow(100_000).unwrap();
    }

    #[test]
    fn a_body_of_nothing_is_empty() {
        for (packed, coding) in
            [(gzip(b""), ContentCoding::Gzip), (zlib(b""), ContentCoding::Deflate)]
        {
            assert!(matches!(decode(packed, &[coding]), Err(BodyError::Empty)));
        }
    }

    proptest! {
        #[test]
        fn every_body_comes_back_and_a_cut_one_is_an_error(
            body in prop::collection::vec(any::<u8>(), 1..3000),
            cut in any::<prop::sample::Index>(),
        ) {
            for (packed, coding) in [
                (gzip(&body), ContentCoding::Gzip),
                (zlib(&body), ContentCoding::Deflate),
                (deflate(&body), ContentCoding::Deflate),
            ] {
                let cut = packed[..cut.index(packed.len())].to_vec();
                prop_assert!(decode(cut, &[coding]).is_err());
                prop_assert_eq!(&decode(packed, &[coding]).unwrap(), &body);
            }
        }

        #[test]
        fn any_bytes_are_unpacked_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            for coding in [ContentCoding::Gzip, ContentCoding::Deflate] {
                let _ = decode(bytes.clone(), &[coding]);
            }
        }
    }
}
