//! What a file of annotations is, by its first bytes.

use clap::ValueEnum;

/// Bytes that are looked at.
pub(super) const HEAD_BYTES: usize = 64 << 10;

/// Formats of annotations.
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
    /// For messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::LabelStudio => "Label Studio",
            Self::Coco => "COCO",
            Self::GroundTruth => "Ground Truth",
            Self::Masks => "masks",
        }
    }
}

/// Whether a file that begins with `head` is a JSON array.
pub(super) fn is_json_array(head: &[u8]) -> bool {
    let text = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head);
    text.trim_ascii_start().first() == Some(&b'[')
}

/// The format of a file that begins with `head`, or what it is instead.
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

/// Lists are Label Studio's only.
fn format_from_keys(keys: &[String], is_array: bool) -> Result<AnnotationFormat, String> {
    let has = |names: &[&str]| keys.iter().any(|key| names.contains(&key.as_str()));
    if has(&["completions"]) && !has(&["annotations"]) {
        Err("is an export of Label Studio before 1.0 (completions); export it with a newer one"
            .to_owned())
    } else if !is_array && has(&["source-ref"]) {
        Ok(AnnotationFormat::GroundTruth)
    } else if !is_array
        && has(&["images", "categories", "info", "licenses"])
        && !has(&["data", "result", "task"])
    {
        Ok(AnnotationFormat::Coco)
    } else if has(&["data", "result", "task", "annotations", "annotation_id", "annotator", "id"]) {
        Ok(AnnotationFormat::LabelStudio)
    } else if keys.is_empty() {
        // An export of a project without tasks.
        Ok(AnnotationFormat::LabelStudio)
    } else {
        let shown: Vec<&str> = keys.iter().take(6).map(String::as_str).collect();
        Err(format!("is JSON with the keys {}: no annotations of a known format", shown.join(", ")))
    }
}

/// The keys of the first object, as far as they can be seen; of an array that of its first element.
fn first_object_keys(text: &[u8]) -> Vec<String> {
    let key_depth = if text.first() == Some(&b'[') { 2 } else { 1 };
    let (mut depth, mut keys, mut last_string) = (0_usize, Vec::new(), None);
    let mut bytes = text.iter().enumerate();
    while let Some((start, byte)) = bytes.next() {
        match byte {
            b'"' => {
                let mut escaped = false;
                let end = bytes.find(|(_, byte)| {
                    let is_end = **byte == b'"' && !escaped;
                    escaped = **byte == b'\\' && !escaped;
                    is_end
                });
                last_string =
                    end.filter(|_| depth == key_depth).map(|(end, _)| &text[start + 1..end]);
            }
            b':' => {
                keys.extend(
                    last_string.take().map(|key| String::from_utf8_lossy(key).into_owned()),
                );
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
