//! Detection of a file's annotation format by its first bytes.

use clap::ValueEnum;

use super::foreign_file::describe_foreign_file;
use super::other_tools::{describe_json_keys, describe_json_text, describe_text, describe_xml};
use crate::imaging::name_image_format;

/// Length of the start of a file that decides its format, in bytes.
pub(super) const HEAD_BYTES: usize = 64 << 10;

/// Keys of which each task, annotation or row of Label Studio has at least one.
const LABEL_STUDIO_KEYS: [&str; 7] =
    ["data", "result", "task", "annotations", "annotation_id", "annotator", "id"];

/// Description of a JSON array that holds no objects.
const LIST_OF_OTHERS: &str = "is a JSON list that holds no objects, no annotations (a list of names \
                              is given with --label-config)";

/// Description of a text in tags that no tool for annotations writes.
const OTHER_XML: &str =
    "is XML, no annotations (give a labeling configuration with --label-config)";

/// Description of a text that only begins as JSON does, or breaks off there.
const OBJECT_WITHOUT_KEYS: &str =
    "begins as a JSON object, and holds no key in double quotes: no annotations";

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

/// Reason why a file has none of the formats; the text completes a sentence that begins with the
/// file's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FormatError {
    /// The file is another tool's, or of a form of annotations that is not read.
    OtherTool(String),
    /// The file is a picture that can be no mask, such as a photo.
    Picture(String),
    /// The file is of any other kind.
    Unknown(String),
}

impl FormatError {
    fn other_tool(description: &str) -> Self {
        Self::OtherTool(description.to_owned())
    }

    fn unknown(description: impl Into<String>) -> Self {
        Self::Unknown(description.into())
    }
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
pub(super) fn detect_format(head: &[u8]) -> Result<AnnotationFormat, FormatError> {
    if let Some(reason) = describe_foreign_file(head) {
        if name_image_format(head).is_some() {
            return Err(FormatError::Picture(reason));
        }
        return Err(FormatError::unknown(reason));
    }
    let text = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head).trim_ascii_start();
    match text.first() {
        None => Err(FormatError::unknown("is empty")),
        Some(0x89) if head.starts_with(b"\x89PNG") => Ok(AnnotationFormat::Masks),
        Some(b'<') => match describe_xml(text) {
            Some(description) => Err(FormatError::other_tool(description)),
            None => Err(FormatError::unknown(OTHER_XML)),
        },
        Some(b'[') if !holds_objects(text) => Err(FormatError::unknown(LIST_OF_OTHERS)),
        Some(b'{' | b'[') => {
            let keys = first_object_keys(text);
            match describe_json_keys(&keys) {
                Some(description) if !is_surely_label_studio(&keys) => {
                    Err(FormatError::other_tool(description))
                }
                _ => format_from_keys(&keys, text),
            }
        }
        Some(_) => match describe_text(text) {
            Some(description) => Err(FormatError::other_tool(description)),
            None => Err(FormatError::unknown("is neither JSON nor PNG")),
        },
    }
}

/// Returns true if a JSON array is empty or begins with an object, as far as `text` shows it.
fn holds_objects(text: &[u8]) -> bool {
    let first = text.get(1..).unwrap_or_default().trim_ascii_start().first();
    first.is_none_or(|byte| b"{]".contains(byte))
}

/// Returns true for keys that Label Studio alone has. The columns of a task's data, which stand
/// beside them in JSON-MIN, may have the keys of any other tool.
fn is_surely_label_studio(keys: &[String]) -> bool {
    has_key(keys, &["annotation_id", "annotator", "result"])
        || (has_key(keys, &["data"]) && has_key(keys, &["annotations"]))
}

/// Returns the format that the keys of the first object imply. Only Label Studio writes arrays.
fn format_from_keys(keys: &[String], text: &[u8]) -> Result<AnnotationFormat, FormatError> {
    let is_array = is_json_array(text);
    if has_key(keys, &["completions"]) && !has_key(keys, &["annotations"]) {
        Err(FormatError::other_tool(
            "is an export of Label Studio before 1.0 (completions); export it with a newer one",
        ))
    } else if !is_array && has_key(keys, &["source-ref"]) {
        Ok(AnnotationFormat::GroundTruth)
    } else if !is_array
        && has_key(keys, &["images", "categories", "info", "licenses"])
        && !has_key(keys, &["data", "result", "task"])
    {
        Ok(AnnotationFormat::Coco)
    } else if !is_array && keys.is_empty() {
        Err(FormatError::unknown(OBJECT_WITHOUT_KEYS))
    } else if has_key(keys, &LABEL_STUDIO_KEYS) || keys.is_empty() {
        // Label Studio exports an empty array for a project without tasks.
        Ok(AnnotationFormat::LabelStudio)
    } else if let Some(description) = describe_json_text(text) {
        Err(FormatError::other_tool(description))
    } else {
        let shown = keys[..keys.len().min(6)].join(", ");
        Err(FormatError::Unknown(format!(
            "is JSON with the keys {shown}: no annotations of a known format"
        )))
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
        for (head, expected) in [
            (&b"<View/>"[..], "--label-config"),
            (b"  ", "empty"),
            (b"\xff\x01\xff", "neither JSON nor PNG"),
            (b"[{\"completions\": []", "before 1.0"),
            (br#"{"name": "x", "version": 3}"#, "keys name, version"),
            (br#"["road", "car"]"#, "holds no objects"),
            (b"<p align=\"center\">", "is XML, no annotations"),
            (b"<html>", "is XML, no annotations"),
            (b"{ see the other folder }", "holds no key"),
            (b"{'id': 1, 'result': []}", "holds no key"),
        ] {
            let told = describe_error(head);
            assert!(told.contains(expected), "{told}");
        }
    }

    fn describe_error(head: &[u8]) -> String {
        match detect_format(head).unwrap_err() {
            FormatError::OtherTool(reason)
            | FormatError::Picture(reason)
            | FormatError::Unknown(reason) => reason,
        }
    }

    #[test]
    fn photos_are_pictures_and_archives_are_not() {
        for (head, is_picture) in
            [(&b"\xff\xd8\xff\xe0"[..], true), (b"GIF89a", true), (b"PK\x03\x04", false)]
        {
            let found = detect_format(head);
            assert_eq!(matches!(found, Err(FormatError::Picture(_))), is_picture, "{found:?}");
        }
    }

    #[test]
    fn texts_in_tags_or_braces_are_of_no_tool() {
        for head in ["<p align=center>", "<!DOCTYPE html><html>", "{ a note }", "{}"] {
            let found = detect_format(head.as_bytes());
            assert!(matches!(found, Err(FormatError::Unknown(_))), "{head}: {found:?}");
        }
    }

    #[test]
    fn files_of_other_tools_are_named() {
        for (head, expected) in [
            (r#"{"version": "5.0", "flags": {}, "shapes": [{"label": "a", "points": "#, "LabelMe"),
            (r#"{"flags": {}, "imageData": "aGFsbG8"#, "LabelMe"),
            (r#"{"imagePath": "a.jpg", "shapes": []}"#, "LabelMe"),
            (r#"{"a.jpg12": {"filename": "a.jpg", "regions": [], "file_attributes": {}}}"#, "VIA"),
            (r#"{"_via_settings": {"#, "VIA"),
            (r#"{"data_row": {"id": "c1"}, "media_attributes": {}}"#, "Labelbox"),
            (r#"[{"ID": "c", "DataRow ID": "d", "Labeled Data": "http://"#, "Labelbox"),
            (r#"{"description": "", "size": {}, "tags": [], "objects": [{"id": 1"#, "Supervisely"),
            (r#"{"imgHeight": 1024, "imgWidth": 2048, "objects": []}"#, "Cityscapes"),
            (r#"{"version": "2.0", "schema_ref": "", "item": {}, "annotations": []}"#, "Darwin"),
            (r#"{"info": {}, "categories": {"label": {}}, "items": [{"id": "a"}"#, "Datumaro"),
            (r#"[{"image_id": 1, "category_id": 2, "bbox": [0, 0, 1, 1], "score": 1}"#, "results"),
            (r#"[{"id": 5, "image_id": 1, "category_id": 2, "segmentation": [["#, "results"),
            (r#"[{"image_id": 1, "caption": "a cat"}]"#, "captions"),
            (r#"{"answers": [{"acceptanceTime": ""#, "Ground Truth"),
            ("0 0.5 0.5 0.25 0.25\n", "YOLO"),
            ("<annotation>", "Pascal VOC"),
        ] {
            let Err(FormatError::OtherTool(told)) = detect_format(head.as_bytes()) else {
                panic!("{head}");
            };
            assert!(told.contains(expected), "{head}: {told}");
        }
        // The columns of a task may have any name.
        let row = r#"[{"image_id": 1, "category_id": 2, "image": "a.jpg", "annotation_id": 3"#;
        assert_eq!(detect_format(row.as_bytes()), Ok(AnnotationFormat::LabelStudio));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_have_a_format_or_none(bytes: Vec<u8>, text in r#"[{}\[\]":,\\a ]{0,40}"#) {
            let _ = detect_format(&bytes);
            let _ = detect_format(text.as_bytes());
        }
    }
}
