//! The usual mistakes in bodies: texts in place of images, lists in place of records, compressed
//! bytes without their header. Each function names the mistake and the fix, or returns none for
//! anything else.

use base64::Engine;

use super::image_file::{BASE64, URL_SAFE_BASE64};
use super::npy;
use crate::imaging::name_image_format;

/// Length of the beginning of a multipart form in which its first header is looked for, in bytes.
const FORM_HEAD_BYTES: usize = 512;
/// Characters of base64 that hold more bytes than any format needs to be known by.
const BASE64_START_CHARS: usize = 128;
const COMPRESSED: &str =
    "the body is compressed with gzip; send it with the header Content-Encoding: gzip";
const GZIP_MAGIC: &[u8] = b"\x1f\x8b";
const UTF8_BOM: &[u8] = b"\xef\xbb\xbf";

/// Describes a body that was sent as an image and is none.
pub(super) fn describe_image_mistake(body: &[u8]) -> Option<&'static str> {
    if body.starts_with(GZIP_MAGIC) {
        return Some(COMPRESSED);
    }
    let text = body.strip_prefix(UTF8_BOM).unwrap_or(body).trim_ascii();
    if text.starts_with(b"{") || (text.starts_with(b"[") && starts_with_record(&text[1..])) {
        return Some("the body is JSON, not the bytes of an image; send it as application/json");
    }
    let head = &text[..text.len().min(FORM_HEAD_BYTES)];
    if text.starts_with(b"--") && contains_ignoring_case(head, b"content-disposition:") {
        return Some(
            "the body is a multipart form, not the bytes of an image; send the bytes of the file \
             alone (curl --data-binary @FILE, not -F)",
        );
    }
    // A text in quotation marks, and one that Python printed as bytes.
    let text = text.strip_prefix(b"b").filter(|rest| rest.starts_with(b"'")).unwrap_or(text);
    if is_base64(trim_quotation_marks(text)) {
        return Some(
            "the body is base64, not the bytes of an image; send the bytes themselves, or \
             {\"image\": BASE64} as application/json",
        );
    }
    None
}

/// Describes an image in base64 that was encoded again.
pub(super) fn describe_twice_encoded(image: &[u8]) -> Option<&'static str> {
    is_base64(image.trim_ascii())
        .then_some("the image was encoded in base64 twice; encode the bytes of its file once")
}

/// Describes a body that was sent as `application/json` and is no JSON.
pub(super) fn describe_json_mistake(body: &[u8]) -> Option<&'static str> {
    if body.starts_with(GZIP_MAGIC) {
        return Some(COMPRESSED);
    }
    if is_base64(body.trim_ascii()) {
        return Some("the body is base64 and no JSON; send {\"image\": \"BASE64\"}");
    }
    if let Ok(text) = std::str::from_utf8(body)
        && holds_several_records(text)
    {
        return Some(
            "the body holds several documents of JSON; send them as application/jsonlines, or as \
             one: {\"instances\": [...]}",
        );
    }
    None
}

/// Describes a record, as it stands in the body, that is a list of records.
pub(super) fn describe_list_of_records(record: &str) -> Option<&'static str> {
    let list = record.strip_prefix('[')?;
    starts_with_record(list.as_bytes()).then_some(
        "the record is a list of records; send {\"instances\": [...]} as application/json, or one \
         record per line as application/jsonlines",
    )
}

/// Describes a body that was sent as `application/jsonlines` and has no record.
pub(super) fn describe_lines_mistake(body: &[u8]) -> Option<&'static str> {
    if body.starts_with(GZIP_MAGIC) {
        return Some(COMPRESSED);
    }
    let is_document = serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
    (is_document && body.trim_ascii().contains(&b'\n')).then_some(
        "the body is one document on several lines; send it as application/json, or each record on \
         a line of its own",
    )
}

/// Returns true if another object or text follows the first document, as in JSON Lines. The second
/// need not be whole.
fn holds_several_records(text: &str) -> bool {
    let mut documents =
        serde_json::Deserializer::from_str(text).into_iter::<serde::de::IgnoredAny>();
    let Some(Ok(_)) = documents.next() else { return false };
    starts_with_record(&text.as_bytes()[documents.byte_offset()..])
}

/// Returns true if the first character, spaces aside, begins an object or a text.
fn starts_with_record(text: &[u8]) -> bool {
    matches!(text.trim_ascii_start().first(), Some(b'{' | b'"'))
}

fn trim_quotation_marks(text: &[u8]) -> &[u8] {
    match text {
        [b'"', inner @ .., b'"'] | [b'\'', inner @ .., b'\''] => inner,
        _ => text,
    }
}

fn contains_ignoring_case(bytes: &[u8], lowercase: &[u8]) -> bool {
    bytes.windows(lowercase.len()).any(|window| window.eq_ignore_ascii_case(lowercase))
}

/// Returns true for a data URL, and for base64 that begins as an image file or an array does.
fn is_base64(text: &[u8]) -> bool {
    is_data_url(text) || decodes_to_image(text)
}

pub(super) fn is_data_url(text: &[u8]) -> bool {
    text.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"data:"))
}

fn decodes_to_image(text: &[u8]) -> bool {
    let mut start = Vec::new();
    for &byte in text.iter().take(2 * BASE64_START_CHARS) {
        if !byte.is_ascii_whitespace() && start.len() < BASE64_START_CHARS {
            start.push(byte);
        }
    }
    // The decoder reads whole groups of four characters.
    start.truncate(start.len() / 4 * 4);
    match URL_SAFE_BASE64.decode(&start).or_else(|_| BASE64.decode(&start)) {
        Ok(decoded) => decoded.starts_with(npy::MAGIC) || name_image_format(&decoded).is_some(),
        Err(_) => false,
    }
}
