//! Records in JSON, whose images stay slices of the body.
//!
//! Three forms are read:
//!
//! - one record: `{"image": "iVBORw0..."}`, or a line of a Ground Truth manifest: `{"source-ref":
//!   "s3://bucket/a.jpg"}`
//! - a list: `{"instances": [{"image": "iVBORw0...", "id": 7}, {"image": "s3://bucket/b.jpg"}]}`
//! - one record per line
//!
//! Instead of `{"image": TEXT}` there may be `TEXT` alone or, as `TensorFlow` Serving writes it,
//! `{"b64": TEXT}`, also within `image`. Unknown keys are ignored, since manifests have many.

use axum::body::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::mistakes::{describe_json_mistake, describe_lines_mistake, describe_list_of_records};
use super::{ImageSource, InputRecord, RecordsStyle, reference};
use crate::serve::api_error::{ApiError, ErrorType};

/// Most records of one body; each takes memory of its own, however short it is.
pub(super) const MAX_RECORDS: usize = 10_000;
/// Longest id as it stands in the body, in bytes.
const MAX_ID_BYTES: usize = 1024;

const RECORD_FORMS: &str =
    r#"{"image": BASE64}, {"image": "s3://bucket/key"} or {"source-ref": "s3://bucket/key"}"#;

fn invalid_json_error(message: impl AsRef<str>) -> ApiError {
    let message = message.as_ref();
    ApiError::new(ErrorType::InvalidJson, format!("{message}; a record is {RECORD_FORMS}"))
}

/// Returns the parser's message, shortened because it may quote any length of the body.
fn shorten_json_error(error: &serde_json::Error) -> String {
    const MAX_CHARS: usize = 160;
    let text = error.to_string();
    if text.chars().count() <= MAX_CHARS {
        return text;
    }
    let start: String = text.chars().take(MAX_CHARS).collect();
    format!("{start}... at line {} column {}", error.line(), error.column())
}

/// Reads JSON; the error begins with `problem`.
fn parse_json<'a, T: Deserialize<'a>>(text: &'a str, problem: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| format!("{problem}: {}", shorten_json_error(&error)))
}

/// The known keys of a record, with their values as they stand in the body.
#[derive(Deserialize)]
struct RecordKeys<'a> {
    #[serde(borrow)]
    image: Option<&'a RawValue>,
    #[serde(borrow, rename = "source-ref")]
    source_ref: Option<&'a RawValue>,
    #[serde(borrow)]
    b64: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    instances: Option<&'a RawValue>,
}

/// Reads the records of a body of JSON.
pub(super) fn parse_document(body: &Bytes) -> Result<(Vec<InputRecord>, RecordsStyle), ApiError> {
    let parsed = match decode_utf8(body) {
        Ok(text) => parse_json::<&RawValue>(text, "the body is no JSON"),
        Err(why) => Err(format!("the body {why}")),
    };
    let raw = match parsed {
        Ok(raw) => raw,
        Err(problem) => {
            return Err(match describe_json_mistake(body) {
                Some(mistake) => invalid_json_error(mistake),
                None => invalid_json_error(problem),
            });
        }
    };
    if let Some(mistake) = describe_list_of_records(raw.get()) {
        return Err(invalid_json_error(mistake));
    }
    if raw.get().starts_with('{') {
        let keys: RecordKeys<'_> =
            parse_json(raw.get(), "the body cannot be used").map_err(invalid_json_error)?;
        if let Some(list) = keys.instances {
            let InstanceList(instances) = parse_json(list.get(), "\"instances\" cannot be used")
                .map_err(invalid_json_error)?;
            if instances.is_empty() {
                return Err(invalid_json_error("\"instances\" has no records"));
            }
            let records = instances.into_iter().map(|raw| parse_record(body, raw)).collect();
            return Ok((records, RecordsStyle::Instances));
        }
    }
    Ok((vec![parse_record(body, raw)], RecordsStyle::Single))
}

/// Reads one record per line; blank lines are skipped.
pub(super) fn parse_lines(body: &Bytes) -> Result<Vec<InputRecord>, ApiError> {
    let mut records = Vec::new();
    let without_bom = body.strip_prefix(UTF8_BOM).unwrap_or(body);
    let mut has_usable_record = false;
    for line in without_bom.split(|&byte| byte == b'\n') {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if records.len() == MAX_RECORDS {
            return Err(invalid_json_error(format!(
                "the body has more than {MAX_RECORDS} lines; split it"
            )));
        }
        let record_number = records.len() + 1;
        let parsed = decode_utf8(line).and_then(|line| parse_json(line, "is no JSON"));
        let record = match parsed {
            Ok(raw) => parse_record(body, raw),
            Err(problem) => InputRecord {
                source: Err(invalid_json_error(format!("record {record_number} {problem}"))),
                id: None,
            },
        };
        has_usable_record |= record.source.is_ok();
        records.push(record);
    }
    if !has_usable_record && let Some(mistake) = describe_lines_mistake(without_bom) {
        return Err(invalid_json_error(mistake));
    }
    if records.is_empty() {
        return Err(ApiError::new(
            ErrorType::EmptyBody,
            format!(
                "the body has no line that is not empty; send a record per line: {RECORD_FORMS}"
            ),
        ));
    }
    Ok(records)
}

/// Byte order mark, which some editors put before UTF-8.
const UTF8_BOM: &[u8] = b"\xef\xbb\xbf";

fn decode_utf8(bytes: &[u8]) -> Result<&str, String> {
    let bytes = bytes.strip_prefix(UTF8_BOM).unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| format!("is no UTF-8: {error}"))
}

/// Reads one record, which may be a string alone.
fn parse_record(body: &Bytes, raw: &RawValue) -> InputRecord {
    if let Some(mistake) = describe_list_of_records(raw.get()) {
        return InputRecord { source: Err(invalid_json_error(mistake)), id: None };
    }
    if !raw.get().starts_with('{') {
        return InputRecord {
            source: parse_image_value(body, raw).map_err(invalid_json_error),
            id: None,
        };
    }
    let keys: RecordKeys<'_> = match parse_json(raw.get(), "the record cannot be used") {
        Ok(keys) => keys,
        Err(why) => return InputRecord { source: Err(invalid_json_error(why)), id: None },
    };
    let id = match keys.id.map(parse_id).transpose() {
        Ok(id) => id.flatten(),
        Err(why) => return InputRecord { source: Err(invalid_json_error(why)), id: None },
    };
    let source = match (keys.image.or(keys.b64), keys.source_ref) {
        (Some(_), Some(_)) => Err("the record has both \"image\" and \"source-ref\"".to_owned()),
        (Some(raw), None) => parse_image_value(body, raw),
        (None, Some(raw)) => parse_uri_string(raw).and_then(|uri| parse_reference(&uri)),
        (None, None) if keys.instances.is_some() => Err("the record has \"instances\", which \
                                                         application/json may have alone"
            .to_owned()),
        (None, None) => Err("the record has neither \"image\" nor \"source-ref\"".to_owned()),
    };
    InputRecord { source: source.map_err(invalid_json_error), id }
}

/// Reads the image that a JSON value holds or names.
fn parse_image_value(body: &Bytes, raw: &RawValue) -> Result<ImageSource, String> {
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'"') => {}
        Some(b'{') => {
            let keys: RecordKeys<'_> = parse_json(text, "the record's image cannot be used")?;
            let inner = keys.b64.filter(|inner| inner.get().starts_with('"'));
            return match inner {
                Some(inner) => parse_image_value(body, inner),
                None => Err("the record's image is an object without a text \"b64\"".to_owned()),
            };
        }
        first => {
            let kind = match first {
                Some(b'[') => "a list (send arrays as application/x-npy)",
                Some(b'n') => "null",
                Some(b't' | b'f') => "true or false",
                _ => "a number",
            };
            return Err(format!("the record's image is {kind}, not a text"));
        }
    }
    // A scheme stands at the start, and has no character that needs escaping; `\/` is often escaped
    // all the same.
    let start: String = text.chars().skip(1).take(40).filter(|&c| c != '\\').collect();
    let scheme = start.trim_start().split_once("://").map(|(scheme, _)| scheme);
    if scheme.is_some_and(|scheme| scheme.chars().all(|c| c.is_ascii_alphanumeric())) {
        return parse_reference(&parse_uri_string(raw)?);
    }
    // `text` is a part of the body, so that the slice copies nothing.
    Ok(ImageSource::JsonText(body.slice_ref(text.as_bytes())))
}

fn parse_reference(uri: &str) -> Result<ImageSource, String> {
    let uri = uri.trim();
    reference::check_s3_uri(uri).map_err(|why| format!("the record {why}"))?;
    Ok(ImageSource::S3Uri(uri.to_owned()))
}

fn parse_uri_string(raw: &RawValue) -> Result<String, String> {
    parse_json(raw.get(), "the record's reference is no text")
}

/// Reads an id, which is a string or a number; null means no id.
fn parse_id(raw: &RawValue) -> Result<Option<String>, String> {
    const ALLOWED: &str = "allowed: a text or a number";
    let text = raw.get();
    let length = text.len();
    if length > MAX_ID_BYTES {
        return Err(format!(
            "the record's id has {length} bytes; {ALLOWED}, up to {MAX_ID_BYTES} bytes"
        ));
    }
    match text.as_bytes().first() {
        Some(b'n') => return Ok(None),
        // A raw value may have escapes that are no character.
        Some(b'"') if serde_json::from_str::<String>(text).is_ok() => {}
        Some(b'-' | b'0'..=b'9') => {}
        _ => return Err(format!("the record's id is {}; {ALLOWED}", super::quote_truncated(text))),
    }
    Ok(Some(text.to_owned()))
}

/// A list whose deserialization fails at more than [`MAX_RECORDS`] records, before it takes more
/// memory.
struct InstanceList<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for InstanceList<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InstanceListVisitor;

        impl<'de> Visitor<'de> for InstanceListVisitor {
            type Value = Vec<&'de RawValue>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of records")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut records = Vec::new();
                while let Some(record) = list.next_element()? {
                    if records.len() == MAX_RECORDS {
                        let problem = format!("it has more than {MAX_RECORDS} records; split it");
                        return Err(A::Error::custom(problem));
                    }
                    records.push(record);
                }
                Ok(records)
            }
        }

        deserializer.deserialize_seq(InstanceListVisitor).map(Self)
    }
}
