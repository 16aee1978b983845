//! Formats of other tools, which are recognized so that a message can name them and say what to do.
//! Only keys that no other format has decide; a file that is merely unknown stays so.

/// A format of JSON that is not read.
struct OtherFormat {
    /// Keys of the first object that together are found in no other format.
    keys: &'static [&'static str],
    /// Text that completes a sentence which begins with the file's name.
    description: &'static str,
}

const LABELME: &str = "is a file of LabelMe (shapes, imagePath), which is not read; convert the \
                       files to COCO with polygons, for example with labelme2coco";
const VIA: &str = "is a file of the VGG Image Annotator (VIA), which is not read; export its \
                   project as COCO";
const LABELBOX: &str = "is an export of Labelbox, which is not read; convert it to COCO with \
                        polygons or RLE, or write masks as PNG of class ids (--format masks)";
const SUPERVISELY: &str = "is a file of Supervisely, which is not read; export the project as COCO \
                           or as masks (PNG of class ids, --format masks)";
const CITYSCAPES: &str = "is polygons of Cityscapes (imgHeight, objects), which are not read; take \
                          its masks of class ids instead (PNG, --format masks)";
const DARWIN: &str = "is Darwin JSON of V7, which is not read; export the data set as COCO or as \
                      semantic masks (--format masks)";
const DATUMARO: &str = "is Datumaro's JSON (items), which is not read; export the data set as COCO";
const COCO_RESULTS: &str = "is a list of COCO's annotations or detection results (image_id), which \
                            names neither images nor categories; put the list as annotations into \
                            a COCO file with images and categories";
const COCO_CAPTIONS: &str = "is a list of COCO's captions (image_id, caption), which mark no areas; \
                             give COCO's instances instead";
const WORKER_ANSWERS: &str = "is a file of a labeling job of Ground Truth between its steps, no \
                              annotation; give the job's whole folder, or its manifests/output \
                              with the masks";

const OTHER_JSON_FORMATS: [OtherFormat; 20] = [
    OtherFormat { keys: &["shapes", "imagePath"], description: LABELME },
    OtherFormat { keys: &["shapes", "flags"], description: LABELME },
    OtherFormat { keys: &["imageData", "flags"], description: LABELME },
    OtherFormat { keys: &["_via_img_metadata"], description: VIA },
    OtherFormat { keys: &["_via_settings"], description: VIA },
    OtherFormat { keys: &["filename", "regions"], description: VIA },
    OtherFormat { keys: &["data_row"], description: LABELBOX },
    OtherFormat { keys: &["Labeled Data"], description: LABELBOX },
    OtherFormat { keys: &["DataRow ID"], description: LABELBOX },
    OtherFormat { keys: &["size", "tags", "objects"], description: SUPERVISELY },
    OtherFormat { keys: &["classes", "projectType"], description: SUPERVISELY },
    OtherFormat { keys: &["imgHeight", "objects"], description: CITYSCAPES },
    OtherFormat { keys: &["schema_ref", "item"], description: DARWIN },
    OtherFormat { keys: &["items", "categories"], description: DATUMARO },
    OtherFormat { keys: &["image_id", "caption"], description: COCO_CAPTIONS },
    OtherFormat { keys: &["image_id", "category_id"], description: COCO_RESULTS },
    OtherFormat { keys: &["image_id", "segmentation"], description: COCO_RESULTS },
    OtherFormat { keys: &["image_id", "keypoints"], description: COCO_RESULTS },
    OtherFormat { keys: &["answers"], description: WORKER_ANSWERS },
    OtherFormat { keys: &["datasetObjectId"], description: WORKER_ANSWERS },
];

/// Keys that VIA's annotations have below names that users choose.
const VIA_NESTED_KEYS: [&[u8]; 2] = [b"\"file_attributes\"", b"\"regions\""];

/// Returns the description of a JSON file of another tool by the keys of its first object.
pub(super) fn describe_json_keys(keys: &[String]) -> Option<&'static str> {
    for format in &OTHER_JSON_FORMATS {
        if format.keys.iter().all(|key| keys.iter().any(|found| found == key)) {
            return Some(format.description);
        }
    }
    None
}

/// Returns the description of a JSON file of another tool whose first keys are names of images.
pub(super) fn describe_json_text(text: &[u8]) -> Option<&'static str> {
    for key in VIA_NESTED_KEYS {
        memchr::memmem::find(text, key)?;
    }
    Some(VIA)
}

/// Returns the description of an XML file of another tool by its first tag.
pub(super) fn describe_xml(text: &[u8]) -> Option<&'static str> {
    Some(match first_tag(text) {
        b"annotations" => "is CVAT's XML, which is not read; export the task as COCO 1.0 from CVAT",
        b"annotation" => {
            "is Pascal VOC's XML, which has boxes and no areas; give masks of class ids instead \
             (PNG as in VOC's SegmentationClass, --format masks)"
        }
        b"View" => {
            "is a labeling configuration of Label Studio, no annotations; give it with \
             --label-config"
        }
        _ => return None,
    })
}

/// Returns the description of a text of another tool that is neither JSON nor XML.
pub(super) fn describe_text(text: &[u8]) -> Option<&'static str> {
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = std::str::from_utf8(line).ok()?.trim();
    if line.contains("region_shape_attributes") {
        return Some(VIA);
    }
    is_yolo_line(line).then_some(
        "is a text of YOLO (a class and coordinates from 0 to 1 per line), which is not read; \
         convert polygons to COCO, and boxes mark no areas",
    )
}

/// Returns true for a class number with the four numbers of a box or the corners of a polygon.
fn is_yolo_line(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace();
    let Some(class) = words.next() else { return false };
    if class.len() > 4 || !class.as_bytes().iter().all(u8::is_ascii_digit) {
        return false;
    }
    let mut count = 0;
    for word in words {
        let Ok(number) = word.parse::<f64>() else { return false };
        if !(0.0..=1.0).contains(&number) {
            return false;
        }
        count += 1;
    }
    count >= 4
}

/// Returns the name of the first tag that is no declaration and no comment; empty if there is none.
fn first_tag(text: &[u8]) -> &[u8] {
    let mut rest = text;
    while let Some(start) = memchr::memchr(b'<', rest) {
        rest = &rest[start + 1..];
        if let Some(comment) = rest.strip_prefix(b"!--") {
            let Some(end) = memchr::memmem::find(comment, b"-->") else { return b"" };
            rest = &comment[end + 3..];
            continue;
        }
        if let Some(b'?' | b'!') = rest.first() {
            continue;
        }
        let mut length = 0;
        while length < rest.len() && is_name_byte(rest[length]) {
            length += 1;
        }
        return &rest[..length];
    }
    b""
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-:.".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xml_is_named_by_its_first_tag() {
        for (text, expected) in [
            ("<?xml version=\"1.0\"?>\n<!-- <View> -->\n<annotations>\n", "CVAT's XML"),
            ("<annotation><folder>VOC2012</folder>", "Pascal VOC's XML"),
            ("<View>\n", "is a labeling configuration"),
        ] {
            let description = describe_xml(text.as_bytes()).unwrap();
            assert!(description.contains(expected), "{text}");
        }
        for text in ["<!DOCTYPE html><html>", "<p align=center>", "<!-- never closed", "<"] {
            assert_eq!(describe_xml(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn texts_of_yolo_and_via_are_known_by_their_first_line() {
        for text in ["0 0.5 0.5 0.25 1\n1 0 0 0 0", "12 0.1 0.2 0.3 0.4 0.5 0.6\r\n"] {
            assert!(describe_text(text.as_bytes()).is_some_and(|said| said.contains("YOLO")));
        }
        let via = "filename,file_size,file_attributes,region_count,region_shape_attributes\n";
        assert!(describe_text(via.as_bytes()).is_some_and(|said| said.contains("VIA")));
        for text in ["", "road\ncar", "0 1", "0 0.5 0.5 0.25 7", "a 0 0 0 0", "0 0 0 0 NaN"] {
            assert_eq!(describe_text(text.as_bytes()), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_described_or_not(bytes: Vec<u8>, text in "[<!\\-> ?a-z0-9.\\n]{0,40}") {
            for text in [&bytes[..], text.as_bytes()] {
                let _ = (describe_xml(text), describe_text(text), describe_json_text(text));
            }
        }
    }
}
