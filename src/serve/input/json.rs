//! Records in JSON: where their images are, as parts of the body.
//!
//! Three forms are read:
//!
//! - one record: `{"image": "iVBORw0..."}`, or a line of a Ground Truth manifest: `{"source-ref": "s3://bucket/a.jpg"}`
//! - a list: `{"instances": [{"image": "iVBORw0...", "id": 7}, {"image": "s3://bucket/b.jpg"}]}`
//! - a record per line
//!
//! Instead of `{"image": TEXT}` there may be `TEXT` alone or, as `TensorFlow` Serving has it, `{"b64": TEXT}`, also
//! within `image`. Keys that are not known are ignored, as manifests have many.

use axum::body::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::reply::{ErrorType, Refusal};
use super::{Record, RecordsStyle, Source, reference};

/// Records of one body; each costs memory of its own, however short it is.
pub(super) const MOST_RECORDS: usize = 10_000;
/// Bytes of an id, as it stands in the body.
const LONGEST_ID: usize = 1024;

const FORMS: &str =
    r#"{"image": BASE64}, {"image": "s3://bucket/key"} or {"source-ref": "s3://bucket/key"}"#;

fn invalid(what: impl AsRef<str>) -> Refusal {
    let what = what.as_ref();
    Refusal::new(ErrorType::InvalidJson, format!("{what}; a record is {FORMS}"))
}

/// The parser's words, which may quote what it found at full length.
fn reason(error: &serde_json::Error) -> String {
    const MOST: usize = 160;
    let text = error.to_string();
    if text.chars().count() <= MOST {
        return text;
    }
    let start: String = text.chars().take(MOST).collect();
    format!("{start}... at line {} column {}", error.line(), error.column())
}

/// The keys that mean something, each as it stands in the body.
#[derive(Deserialize)]
struct Keys<'a> {
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

/// The records of a whole body.
pub(super) fn document(body: &Bytes) -> Result<(Vec<Record>, RecordsStyle), Refusal> {
    let text = text(body).map_err(|why| invalid(format!("the body {why}")))?;
    let raw: &RawValue = serde_json::from_str(text)
        .map_err(|error| invalid(format!("the body is no JSON: {}", reason(&error))))?;
    if raw.get().starts_with('{') {
        let keys: Keys<'_> = serde_json::from_str(raw.get())
            .map_err(|error| invalid(format!("the body cannot be used: {}", reason(&error))))?;
        if let Some(list) = keys.instances {
            let Instances(list) = serde_json::from_str(list.get()).map_err(|error| {
                invalid(format!("\"instances\" cannot be used: {}", reason(&error)))
            })?;
            if list.is_empty() {
                return Err(invalid("\"instances\" has no records"));
            }
            let records = list.into_iter().map(|raw| record(body, raw)).collect();
            return Ok((records, RecordsStyle::Instances));
        }
    }
    Ok((vec![record(body, raw)], RecordsStyle::Lone))
}

/// The records of the lines; empty ones are passed over.
pub(super) fn lines(body: &Bytes) -> Result<Vec<Record>, Refusal> {
    let mut records = Vec::new();
    let without_mark = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    for line in without_mark.split(|&byte| byte == b'\n') {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if records.len() == MOST_RECORDS {
            return Err(invalid(format!("the body has more than {MOST_RECORDS} lines; split it")));
        }
        let number = records.len() + 1;
        let parsed = text(line).and_then(|line| {
            serde_json::from_str::<&RawValue>(line)
                .map_err(|error| format!("is no JSON: {}", reason(&error)))
        });
        records.push(match parsed {
            Ok(raw) => record(body, raw),
            Err(why) => Record { source: Err(invalid(format!("record {number} {why}"))), id: None },
        });
    }
    if records.is_empty() {
        return Err(Refusal::new(
            ErrorType::EmptyBody,
            format!("the body has no line that is not empty; send a record per line: {FORMS}"),
        ));
    }
    Ok(records)
}

/// What some editors put before UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

fn text(bytes: &[u8]) -> Result<&str, String> {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| format!("is no UTF-8: {error}"))
}

/// One record, which may be a text alone.
fn record(body: &Bytes, raw: &RawValue) -> Record {
    if !raw.get().starts_with('{') {
        return Record { source: image(body, raw).map_err(invalid), id: None };
    }
    let keys: Keys<'_> = match serde_json::from_str(raw.get()) {
        Ok(keys) => keys,
        Err(error) => {
            let why = format!("the record cannot be used: {}", reason(&error));
            return Record { source: Err(invalid(why)), id: None };
        }
    };
    let id = match keys.id.map(id).transpose() {
        Ok(id) => id.flatten(),
        Err(why) => return Record { source: Err(invalid(why)), id: None },
    };
    let source = match (keys.image.or(keys.b64), keys.source_ref) {
        (Some(_), Some(_)) => Err("the record has both \"image\" and \"source-ref\"".to_owned()),
        (Some(raw), None) => image(body, raw),
        (None, Some(raw)) => uri(raw).and_then(|uri| referenced(&uri)),
        (None, None) => Err("the record has neither \"image\" nor \"source-ref\"".to_owned()),
    };
    Record { source: source.map_err(invalid), id }
}

/// Where the image is that a value of JSON stands for.
fn image(body: &Bytes, raw: &RawValue) -> Result<Source, String> {
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'"') => {}
        Some(b'{') => {
            let keys: Keys<'_> = serde_json::from_str(text).map_err(|error| {
                format!("the record's image cannot be used: {}", reason(&error))
            })?;
            let inner = keys.b64.filter(|inner| inner.get().starts_with('"'));
            return match inner {
                Some(inner) => image(body, inner),
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
    // A scheme stands at the start, and has no character that needs escaping; `\/` is often escaped all the same.
    let start: String = text.chars().skip(1).take(40).filter(|&c| c != '\\').collect();
    let scheme = start.trim_start().split_once("://").map(|(scheme, _)| scheme);
    if scheme.is_some_and(|scheme| scheme.chars().all(|c| c.is_ascii_alphanumeric())) {
        return referenced(&uri(raw)?);
    }
    // All of `text` lies in the body, so that nothing is copied.
    Ok(Source::Text(body.slice_ref(text.as_bytes())))
}

fn referenced(uri: &str) -> Result<Source, String> {
    let uri = uri.trim();
    reference::check(uri).map_err(|why| format!("the record {why}"))?;
    Ok(Source::Reference(uri.to_owned()))
}

fn uri(raw: &RawValue) -> Result<String, String> {
    serde_json::from_str(raw.get())
        .map_err(|error| format!("the record's reference is no text: {}", reason(&error)))
}

/// An id: a text or a number; null is none.
fn id(raw: &RawValue) -> Result<Option<Value>, String> {
    const ALLOWED: &str = "allowed: a text or a number";
    let length = raw.get().len();
    if length > LONGEST_ID {
        return Err(format!(
            "the record's id has {length} bytes; {ALLOWED}, up to {LONGEST_ID} bytes"
        ));
    }
    match serde_json::from_str(raw.get()) {
        Ok(Value::Null) => Ok(None),
        Ok(value @ (Value::String(_) | Value::Number(_))) => Ok(Some(value)),
        _ => Err(format!("the record's id is {}; {ALLOWED}", super::short(raw.get()))),
    }
}

/// A list that ends with an error before it takes more memory than records may.
struct Instances<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Instances<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;

        impl<'de> Visitor<'de> for Visit {
            type Value = Vec<&'de RawValue>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of records")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut records = Vec::new();
                while let Some(record) = list.next_element()? {
                    if records.len() == MOST_RECORDS {
                        let why = format!("it has more than {MOST_RECORDS} records; split it");
                        return Err(A::Error::custom(why));
                    }
                    records.push(record);
                }
                Ok(records)
            }
        }

        deserializer.deserialize_seq(Visit).map(Self)
    }
}
