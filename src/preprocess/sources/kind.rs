//! What a file of annotations is, by its first bytes.

use clap::ValueEnum;

/// Bytes that are looked at.
pub(super) const HEAD: usize = 64 << 10;

/// Formats of annotations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum Format {
    /// Label Studio: objects of its S3 target storage, and its exports JSON and JSON-MIN
    LabelStudio,
    /// COCO JSON with polygons or RLE
    Coco,
    /// Output manifests of SageMaker Ground Truth
    GroundTruth,
    /// PNG masks, of class ids or of the labels' colours, named as their images
    Masks,
}

impl Format {
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
pub(super) fn is_list(head: &[u8]) -> bool {
    let text = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head);
    text.trim_ascii_start().first() == Some(&b'[')
}

/// The format of a file that begins with `head`, or what it is instead.
pub(super) fn format_of(head: &[u8]) -> Result<Format, String> {
    let text = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head).trim_ascii_start();
    match text.first() {
        None => Err("is empty".to_owned()),
        Some(0x89) if head.starts_with(b"\x89PNG") => Ok(Format::Masks),
        Some(b'<') => {
            Err("is XML, no annotations (give a labelling configuration with --label-config)"
                .to_owned())
        }
        Some(b'{' | b'[') => of_keys(&first_keys(text), is_list(text)),
        Some(_) => Err("is neither JSON nor PNG".to_owned()),
    }
}

/// Lists are Label Studio's only.
fn of_keys(keys: &[String], is_list: bool) -> Result<Format, String> {
    let has = |wanted: &[&str]| keys.iter().any(|key| wanted.contains(&key.as_str()));
    if has(&["completions"]) && !has(&["annotations"]) {
        Err("is an export of Label Studio before 1.0 (completions); export it with a newer one"
            .to_owned())
    } else if !is_list && has(&["source-ref"]) {
        Ok(Format::GroundTruth)
    } else if !is_list
        && has(&["images", "categories", "info", "licenses"])
        && !has(&["data", "result", "task"])
    {
        Ok(Format::Coco)
    } else if has(&["data", "result", "task", "annotations", "annotation_id", "annotator", "id"]) {
        Ok(Format::LabelStudio)
    } else if keys.is_empty() {
        // An export of a project without tasks.
        Ok(Format::LabelStudio)
    } else {
        let shown: Vec<&str> = keys.iter().take(6).map(String::as_str).collect();
        Err(format!("is JSON with the keys {}: no annotations of a known format", shown.join(", ")))
    }
}

/// The keys of the first object, as far as they can be seen; of an array that of its first element.
fn first_keys(text: &[u8]) -> Vec<String> {
    let wanted = if text.first() == Some(&b'[') { 2 } else { 1 };
    let (mut depth, mut keys, mut last) = (0_usize, Vec::new(), None);
    let mut bytes = text.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => {
                let mut escaped = false;
                let end = bytes.find(|(_, byte)| {
                    let ends = **byte == b'"' && !escaped;
                    escaped = **byte == b'\\' && !escaped;
                    ends
                });
                last = end.filter(|_| depth == wanted).map(|(end, _)| &text[at + 1..end]);
            }
            b':' => keys.extend(last.take().map(|key| String::from_utf8_lossy(key).into_owned())),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth < wanted {
                    break;
                }
            }
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ => last = None,
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
            (r#"[{"id": 1, "annotations": [{"id": 4"#, Format::LabelStudio),
            (r#"{"id": 22, "result": [{"value": {"source-ref": "#, Format::LabelStudio),
            (r#"[{"image": "/data/a.jpg", "id": 1, "brush": ["#, Format::LabelStudio),
            ("[]", Format::LabelStudio),
            (r#"[{"info": "x", "image": "a.jpg", "annotation_id": 3"#, Format::LabelStudio),
            ("\u{feff} {\"images\": [{\"id\": 0", Format::Coco),
            (r#"{"info": {"data": 1}, "annotations": []}"#, Format::Coco),
            (r#"{"source-ref": "s3://b/a.jpg", "seg-ref": "s3://b/a.png"}"#, Format::GroundTruth),
            (r#"{"a\"b:": "x", "source-ref" : 1}"#, Format::GroundTruth),
        ] {
            assert_eq!(format_of(head.as_bytes()), Ok(expected), "{head}");
        }
        assert_eq!(format_of(b"\x89PNG\r\n\x1a\n..."), Ok(Format::Masks));
        assert!(format_of(b"<View/>").unwrap_err().contains("--label-config"));
        assert!(format_of(b"  ").unwrap_err().contains("empty"));
        assert!(format_of(b"\xff\xd8\xff").unwrap_err().contains("neither JSON nor PNG"));
        assert!(format_of(b"[{\"completions\": []").unwrap_err().contains("before 1.0"));
        let other = format_of(br#"{"name": "x", "version": 3}"#).unwrap_err();
        assert!(other.contains("keys name, version"), "{other}");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_have_a_format_or_none(bytes: Vec<u8>, text in r#"[{}\[\]":,\\a ]{0,40}"#) {
            let _ = format_of(&bytes);
            let _ = format_of(text.as_bytes());
        }
    }
}
