//! Bodies that a client or a proxy compressed: `Content-Encoding` (RFC 9110, 8.4).

use std::fmt;
use std::io::{self, Read};

use axum::http::HeaderMap;
use axum::http::header::CONTENT_ENCODING;
use flate2::bufread::{DeflateDecoder, GzDecoder, ZlibDecoder};

use super::body::{BodyError, BodyPermit, ReceivedBody};

/// Value of `Accept-Encoding` in answers that refuse a coding.
pub const ACCEPTED_ENCODINGS: &str = "gzip, deflate, identity";

/// Largest number of codings of one body. No client compresses more than once, and each coding
/// takes a pass over the body.
pub const MAX_CODINGS: usize = 2;
/// Largest number of gzip's parts in one body. Each part costs time, also one of 0 bytes.
const MAX_GZIP_MEMBERS: usize = 1000;
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
/// [`BodyError::UnpackedTooLarge`], [`BodyError::OverBudget`], and [`BodyError::Empty`] if 0 bytes
/// come out.
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
    let mut unpacked = UnpackedBody { bytes: Vec::new(), permit: body.permit.sibling(), max_bytes };
    let result = match coding {
        ContentCoding::Gzip => unpacked.append_gzip(packed),
        ContentCoding::Deflate if has_zlib_header(packed) => {
            let mut decoder = ZlibDecoder::new(packed);
            unpacked.append(&mut decoder).and_then(|()| check_end(decoder.get_ref()))
        }
        ContentCoding::Deflate => {
            let mut decoder = DeflateDecoder::new(packed);
            unpacked.append(&mut decoder).and_then(|()| check_end(decoder.get_ref()))
        }
    };
    match result {
        Ok(()) => Ok(ReceivedBody { bytes: unpacked.bytes, permit: unpacked.permit }),
        Err(UnpackError::Decoder(error)) => Err(BodyError::Undecodable { coding, error }),
        Err(UnpackError::Limit(error)) => Err(error),
    }
}

/// The reason why a coding was not undone.
enum UnpackError {
    Decoder(io::Error),
    Limit(BodyError),
}

/// Refuses bytes behind the end of a compressed stream, which would be lost.
fn check_end(rest: &[u8]) -> Result<(), UnpackError> {
    if rest.is_empty() {
        return Ok(());
    }
    Err(UnpackError::Decoder(io::Error::other(format!("{} bytes follow its end", rest.len()))))
}

/// The bytes that were unpacked so far, and their limits.
struct UnpackedBody {
    bytes: Vec<u8>,
    permit: BodyPermit,
    max_bytes: usize,
}

impl UnpackedBody {
    /// Unpacks the parts of a gzip file, which are one body (RFC 1952, 2.2).
    fn append_gzip(&mut self, mut packed: &[u8]) -> Result<(), UnpackError> {
        for _ in 0..MAX_GZIP_MEMBERS {
            let mut decoder = GzDecoder::new(packed);
            self.append(&mut decoder)?;
            packed = decoder.into_inner();
            if packed.is_empty() {
                return Ok(());
            }
        }
        let problem = format!("it has more than {MAX_GZIP_MEMBERS} parts");
        Err(UnpackError::Decoder(io::Error::other(problem)))
    }

    /// Reads a decoder to its end.
    fn append(&mut self, decoder: &mut dyn Read) -> Result<(), UnpackError> {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let length = match decoder.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(UnpackError::Decoder(error)),
            };
            if self.bytes.len() + length > self.max_bytes {
                let max_bytes = self.max_bytes;
                return Err(UnpackError::Limit(BodyError::UnpackedTooLarge { max_bytes }));
            }
            self.permit.grow(length).map_err(|error| UnpackError::Limit(error.into()))?;
            self.bytes.extend_from_slice(&chunk[..length]);
        }
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
    fn bytes_behind_the_end_are_no_part_of_the_body_and_refused() {
        for (packed, coding) in [
            (gzip(b"image"), ContentCoding::Gzip),
            (zlib(b"image"), ContentCoding::Deflate),
            (deflate(b"image"), ContentCoding::Deflate),
        ] {
            let error = decode([&packed[..], b"more"].concat(), &[coding]).unwrap_err();
            assert!(matches!(error, BodyError::Undecodable { .. }), "{error:?}");
        }
        let error = decode(zlib(b"image").repeat(2), &[ContentCoding::Deflate]).unwrap_err();
        let BodyError::Undecodable { error, .. } = error else { panic!("{error:?}") };
        assert!(error.to_string().contains("bytes follow its end"), "{error}");
    }

    #[test]
    fn parts_of_nothing_cannot_keep_the_server_busy() {
        let parts = gzip(b"").repeat(MAX_GZIP_MEMBERS);
        assert!(matches!(decode(parts.clone(), &[ContentCoding::Gzip]), Err(BodyError::Empty)));
        let more = [parts, gzip(b"")].concat();
        let error = decode(more, &[ContentCoding::Gzip]).unwrap_err();
        assert!(matches!(error, BodyError::Undecodable { .. }), "{error:?}");
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
