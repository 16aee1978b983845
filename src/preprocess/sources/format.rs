//! Detection of a file's annotation format by its first bytes.

use clap::ValueEnum;

/// Length of the start of a file that decides its format, in bytes.
pub(super) const HEAD_BYTES: usize = 64 << 10;

/// Keys of which each task, annotation or row of Label Studio has at least one.
const LABEL_STUDIO_KEYS: [&str; 7] =
    ["data", "result", "task", "annotations", "annotation_id", "annotator", "id"];

/// Formats that `preprocess` reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum AnnotationFormat {
    /// Label Studio: objects of its S3 target storage, and its exports JSON and JSON-MIN
    LabelStudio,
    /// COCO JSON with polygons or RLE
    Coco,
    /// Output manifests of SageMaker Ground Truth
    GroundTruth,
    /// PNG masks, of class ids or of the labels' colors, named as their images
    Masks,
}

impl AnnotationFormat {
    /// Returns the format's name in messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::LabelStudio => "Label Studio",
            Self::Coco => "COCO",
            Self::GroundTruth => "Ground Truth",
            Self::Masks => "masks",
        }
    }
}

/// Returns true if a file that begins with `head` is a JSON array.
pub(super) fn is_json_array(head: &[u8]) -> bool {
    let text = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head);
    text.trim_ascii_start().first() == Some(&b'[')
}

/// Returns the format of a file that begins with `head`; the error says what the file is instead.
pub(super) fn detect_format(head: &[u8]) -> Result<AnnotationFormat, String> {
    let text = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head).trim_ascii_start();
    match text.first() {
        None => Err("is empty".to_owned()),
        Some(0x89) if head.starts_with(b"\x89PNG") => Ok(AnnotationFormat::Masks),
        Some(b'<') => {
            Err("is XML, no annotations (give a labeling configuration with --label-config)"
                .to_owned())
        }
        Some(b'{' | b'[') => format_from_keys(&first_object_keys(text), is_json_array(text)),
        Some(_) => Err("is neither JSON nor PNG".to_owned()),
    }
}

/// Returns the format that the keys of the first object imply. Only Label Studio writes arrays.
fn format_from_keys(keys: &[String], is_array: bool) -> Result<AnnotationFormat, String> {
    if has_key(keys, &["completions"]) && !has_key(keys, &["annotations"]) {
        Err("is an export of Label Studio before 1.0 (completions); export it with a newer one"
            .to_owned())
    } else if !is_array && has_key(keys, &["source-ref"]) {
        Ok(AnnotationFormat::GroundTruth)
    } else if !is_array
        && has_key(keys, &["images", "categories", "info", "licenses"])
        && !has_key(keys, &["data", "result", "task"])
    {
        Ok(AnnotationFormat::Coco)
    } else if has_key(keys, &LABEL_STUDIO_KEYS) || keys.is_empty() {
        // Label Studio exports an empty array for a project without tasks.
        Ok(AnnotationFormat::LabelStudio)
    } else {
        let shown = keys[..keys.len().min(6)].join(", ");
        Err(format!("is JSON with the keys {shown}: no annotations of a known format"))
    }
}

fn has_key(keys: &[String], names: &[&str]) -> bool {
    keys.iter().any(|key| names.contains(&key.as_str()))
}

/// Returns the keys of the first object as far as `text` shows them; in an array the first element
/// is that object.
fn first_object_keys(text: &[u8]) -> Vec<String> {
    let key_depth = if text.first() == Some(&b'[') { 2 } else { 1 };
    let mut keys = Vec::new();
    let mut depth = 0_usize;
    // String at `key_depth` that is a key if a colon follows.
    let mut last_string = None;
    let mut position = 0;
    while let Some(byte) = text.get(position) {
        position += 1;
        match byte {
            b'"' => {
                let content = &text[position..];
                let Some(length) = string_length(content) else { break };
                last_string = (depth == key_depth).then_some(&content[..length]);
                position += length + 1;
            }
            b':' => {
                if let Some(key) = last_string.take() {
                    keys.push(String::from_utf8_lossy(key).into_owned());
                }
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth < key_depth {
                    break;
                }
            }
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ => last_string = None,
        }
    }
    keys
}

/// Returns the number of bytes before the quote that ends a JSON string, or `None` if it does not
/// end.
fn string_length(text: &[u8]) -> Option<usize> {
    let mut is_escaped = false;
    for (position, byte) in text.iter().enumerate() {
        if *byte == b'"' && !is_escaped {
            return Some(position);
        }
        is_escaped = *byte == b'\\' && !is_escaped;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_known_by_the_keys_of_the_first_object() {
        for (head, expected) in [
            (r#"[{"id": 1, "annotations": [{"id": 4"#, AnnotationFormat::LabelStudio),
            (r#"{"id": 22, "result": [{"value": {"source-ref": "#, AnnotationFormat::LabelStudio),
            (r#"[{"image": "/data/a.jpg", "id": 1, "brush": ["#, AnnotationFormat::LabelStudio),
            ("[]", AnnotationFormat::LabelStudio),
            (
                r#"[{"info": "x", "image": "a.jpg", "annotation_id": 3"#,
                AnnotationFormat::LabelStudio,
            ),
            ("\u{feff} {\"images\": [{\"id\": 0", AnnotationFormat::Coco),
            (r#"{"info": {"data": 1}, "annotations": []}"#, AnnotationFormat::Coco),
            (
                r#"{"source-ref": "s3://b/a.jpg", "seg-ref": "s3://b/a.png"}"#,
                AnnotationFormat::GroundTruth,
            ),
            (r#"{"a\"b:": "x", "source-ref" : 1}"#, AnnotationFormat::GroundTruth),
        ] {
            assert_eq!(detect_format(head.as_bytes()), Ok(expected), "{head}");
        }
        assert_eq!(detect_format(b"\x89PNG\r\n\x1a\n..."), Ok(AnnotationFormat::Masks));
        assert!(detect_format(b"<View/>").unwrap_err().contains("--label-config"));
        assert!(detect_format(b"  ").unwrap_err().contains("empty"));
        assert!(detect_format(b"\xff\xd8\xff").unwrap_err().contains("neither JSON nor PNG"));
        assert!(detect_format(b"[{\"completions\": []").unwrap_err().contains("before 1.0"));
        let other = detect_format(br#"{"name": "x", "version": 3}"#).unwrap_err();
        assert!(other.contains("keys name, version"), "{other}");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_have_a_format_or_none(bytes: Vec<u8>, text in r#"[{}\[\]":,\\a ]{0,40}"#) {
            let _ = detect_format(&bytes);
            let _ = detect_format(text.as_bytes());
        }
    }
}
