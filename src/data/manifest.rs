//! Augmented manifests as files: one JSON object per line, which names an image and its annotation.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::Sample;
use super::color_map::ColorMaps;
use super::content::Content;
use super::manifest_lines::{
    IMAGE_KEY, MAX_LINE_BYTES, ManifestLine, ManifestLineError, ManifestLines,
};
use super::objects::ObjectCache;
use crate::aws::S3Uri;
use crate::error::{Error, Problems, Result, join_examples, pluralize};

/// Number of wrong lines after which no further ones are checked: the file is no manifest.
const MAX_BAD_LINES: usize = 10_000;

/// Number of characters of a wrong line's message.
const MAX_SHOWN_CHARS: usize = 500;

/// Reads the samples of the manifest `file`, in its order. References are paths below `root`,
/// either absolute or relative to the manifest's folder, or they are S3 URIs, which are added to
/// `objects` and not looked for yet. Every line is checked, and problems come with their line
/// numbers. Returns the attribute of the annotations too.
pub fn read_manifest(
    file: &Path,
    root: &Path,
    objects: &Arc<ObjectCache>,
    problems: &mut Problems,
) -> (Vec<Sample>, Option<String>) {
    match File::open(file) {
        Ok(input) => read_manifest_from(BufReader::new(input), file, root, objects, problems),
        Err(cause) => {
            problems.record_err::<()>(Err(Error::io("read", file, &cause)));
            (Vec::new(), None)
        }
    }
}

/// Reads a manifest from `input`; `file` only gives the folder and the names in messages.
pub fn read_manifest_from(
    input: impl BufRead,
    file: &Path,
    root: &Path,
    objects: &Arc<ObjectCache>,
    problems: &mut Problems,
) -> (Vec<Sample>, Option<String>) {
    // Users know a manifest by its channel and file name.
    let channel = file.parent().and_then(Path::file_name).map_or(Path::new(""), Path::new);
    let short_name = channel.join(file.file_name().unwrap_or_default());
    let short_name = Arc::from(short_name.to_string_lossy());
    let color_maps = ColorMaps::default();
    let mut reader =
        ManifestReader { file, short_name, root, objects, annotation_key: None, color_maps };
    let mut bad_lines = Vec::new();
    let samples = reader.read_lines(input, &mut bad_lines);
    if !bad_lines.is_empty() {
        problems.push(format!(
            "{}: {} cannot be used: {}",
            file.display(),
            pluralize(bad_lines.len(), "line"),
            join_examples(bad_lines.iter().cloned())
        ));
    }
    let samples = problems.record_err(samples).unwrap_or_default();
    if samples.is_empty() && bad_lines.is_empty() {
        problems.push(format!("{} holds no lines; {}", file.display(), expected_format()));
    }
    (samples, reader.annotation_key)
}

fn expected_format() -> String {
    format!(
        "expected are lines like {{\"{IMAGE_KEY}\": \"images/a.jpg\", \"labels-ref\": \"masks/a.png\"}}"
    )
}

struct ManifestReader<'a> {
    file: &'a Path,
    short_name: Arc<str>,
    root: &'a Path,
    objects: &'a Arc<ObjectCache>,
    /// Attribute of the annotation, which the first line decides.
    annotation_key: Option<String>,
    color_maps: ColorMaps,
}

impl ManifestReader<'_> {
    fn read_lines(
        &mut self,
        input: impl BufRead,
        bad_lines: &mut Vec<String>,
    ) -> Result<Vec<Sample>> {
        let mut samples = Vec::new();
        for line in ManifestLines::new(input) {
            let ManifestLine { number, object } = match line {
                Ok(line) => line,
                Err(ManifestLineError::Read(cause)) => {
                    return Err(Error::io("read", self.file, &cause));
                }
                Err(ManifestLineError::TooLong { number }) => {
                    bad_lines.push(format!("line {number} has {MAX_LINE_BYTES} bytes or more"));
                    break;
                }
            };
            match object.and_then(|object| self.parse_line(&object, number)) {
                Ok(sample) => samples.push(sample),
                // Names and values from the file may have any length.
                Err(_) if bad_lines.len() == MAX_BAD_LINES => {
                    bad_lines.push(format!("line {number}: no further ones were checked"));
                    break;
                }
                Err(reason) => {
                    bad_lines.push(format!(
                        "line {number} {}",
                        reason.chars().take(MAX_SHOWN_CHARS).collect::<String>()
                    ));
                }
            }
        }
        Ok(samples)
    }

    fn parse_line(
        &mut self,
        object: &Map<String, Value>,
        line_number: u64,
    ) -> Result<Sample, String> {
        let annotation_key = self.find_annotation_key(object)?;
        let color_map = self.color_maps.parse_line(object, &annotation_key)?;
        let (reference, image) = self.resolve_reference(object, IMAGE_KEY, line_number)?;
        let (_, mask) = self.resolve_reference(object, &annotation_key, line_number)?;
        self.annotation_key.get_or_insert(annotation_key);
        // The number is part of the key, because the same image may come twice.
        let key = format!("line {line_number} ({reference})");
        Ok(Sample { key, image, mask, label_map: None, color_map })
    }

    /// Finds the attribute of the annotation: the only other attribute that ends in `-ref`.
    fn find_annotation_key(&self, object: &Map<String, Value>) -> Result<String, String> {
        let keys = object.keys().map(String::as_str);
        let ref_keys: Vec<&str> =
            keys.filter(|key| key.ends_with("-ref") && *key != IMAGE_KEY).collect();
        match (&self.annotation_key, &ref_keys[..]) {
            // A second attribute may mean that the annotation was adjusted.
            (Some(attribute), [] | [_]) => Ok(attribute.clone()),
            (None, [key]) => Ok((*key).to_owned()),
            (None, []) => {
                Err(format!("has no annotation: no attribute but {IMAGE_KEY} ends in -ref"))
            }
            _ => Err(format!(
                "has several annotations, {}; which one is meant cannot be known: keep one",
                ref_keys.join(" and ")
            )),
        }
    }

    /// Returns the reference of an attribute, and the file or object of that name.
    fn resolve_reference(
        &self,
        object: &Map<String, Value>,
        key: &str,
        line_number: u64,
    ) -> Result<(String, Content), String> {
        let reference = match object.get(key) {
            Some(Value::String(reference)) if !reference.is_empty() => reference,
            Some(other) => {
                return Err(format!("has {key} {other}; allowed: a path or an S3 URI"));
            }
            None => return Err(format!("has no {key}")),
        };
        if reference.contains("://") {
            let reason = match reference.parse::<S3Uri>() {
                Ok(uri) if uri.is_prefix() => {
                    "names no object; allowed: s3://BUCKET/KEY".to_owned()
                }
                Ok(uri) => {
                    let object = self.objects.add(uri, &self.short_name, line_number);
                    return Ok((reference.clone(), Content::Object(object)));
                }
                Err(reason) => reason,
            };
            return Err(format!(
                "has {key} {reference}, which {reason}; or a path relative to the manifest"
            ));
        }
        let folder = self.file.parent().unwrap_or(self.root);
        let path = normalize_path(&folder.join(reference));
        if !path.starts_with(normalize_path(self.root)) {
            return Err(format!(
                "has {key} {reference}, which is outside of {}",
                self.root.display()
            ));
        }
        if path.is_file() {
            Ok((reference.clone(), path.into()))
        } else {
            Err(format!("has {key} {reference}, but there is no file {}", path.display()))
        }
    }
}

/// Removes `.` and `..` from a path as it is written: links are followed only when a file is read.
fn normalize_path(path: &Path) -> PathBuf {
    let mut normalized = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                normalized.pop();
            }
            Component::CurDir => {}
            other => normalized.push(other),
        }
    }
    normalized
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::objects::DiskBudget;

    /// Makes a collection of objects that cannot be fetched.
    fn objects() -> Arc<ObjectCache> {
        let connect = Arc::new(|| panic!("nothing is read, so nothing is connected to"));
        ObjectCache::new(connect, DiskBudget { max_bytes: None, reserved_bytes: 0 })
    }

    /// Reads a manifest in `input/data/train` of a root with two images and two masks.
    fn samples(text: &[u8]) -> (tempfile::TempDir, Vec<Sample>, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let train = folder.path().join("input/data/train");
        for name in ["images/a.jpg", "images/b.jpg", "masks/a.png", "masks/b.png"] {
            std::fs::create_dir_all(train.join(name).parent().unwrap()).unwrap();
            std::fs::write(train.join(name), "x").unwrap();
        }
        let absolute = train.join("masks/b.png");
        let text = match std::str::from_utf8(text) {
            Ok(text) => text.replace("ABSOLUTE", absolute.to_str().unwrap()).into_bytes(),
            Err(_) => text.to_vec(),
        };
        std::fs::write(train.join("train.manifest"), text).unwrap();
        let mut problems = Problems::new();
        let file = train.join("train.manifest");
        let (samples, _) = read_manifest(&file, folder.path(), &objects(), &mut problems);
        let problems = problems.into_result().err().map_or(Vec::new(), |e| e.problems().to_vec());
        (folder, samples, problems)
    }

    #[test]
    fn lines_keep_their_order_and_metadata_and_blank_lines_do_no_harm() {
        let (folder, samples, problems) = samples(
            br#"{"source-ref": "images/b.jpg", "x-ref": "ABSOLUTE", "x-ref-metadata": {"a": 1}}

            {"source-ref": "./images/a.jpg", "x-ref": "../train/masks/a.png", "other": "s3://x"}"#,
        );
        assert_eq!(problems, [""; 0]);
        let keys: Vec<_> = samples.iter().map(|sample| sample.key.as_str()).collect();
        assert_eq!(keys, ["line 1 (images/b.jpg)", "line 3 (./images/a.jpg)"]);
        let masks = folder.path().join("input/data/train/masks");
        assert_eq!(samples[0].mask, masks.join("b.png").into());
        assert_eq!(samples[1].mask, masks.join("a.png").into());
    }

    #[test]
    fn s3_uris_become_objects_and_paths_may_stand_beside_them() {
        let (_folder, samples, problems) = samples(
            br#"{"source-ref": "s3://bucket/a b.jpg", "x-ref": "masks/a.png"}
            {"source-ref": "images/a.jpg", "x-ref": "s3://bucket/x/a.png"}"#,
        );
        assert_eq!(problems, [""; 0]);
        assert_eq!(samples[0].key, "line 1 (s3://bucket/a b.jpg)");
        assert_eq!(
            samples[0].image.display().to_string(),
            "train/train.manifest line 1: s3://bucket/a b.jpg"
        );
        assert!(matches!(samples[1].image, Content::File(_)));
        assert_eq!(
            samples[1].mask.display().to_string(),
            "train/train.manifest line 2: s3://bucket/x/a.png"
        );
    }

    #[test]
    fn color_maps_come_with_their_line_and_wrong_ones_name_it() {
        let line = |hex: &str| {
            let map = serde_json::json!({"1": {"class-name": "road", "hex-color": hex}});
            serde_json::json!({"source-ref": "images/a.jpg", "x-ref": "masks/a.png",
                "x-ref-metadata": {"internal-color-map": map}})
        };
        let text = format!("{}\n{}\n{}", line("#010203"), line("#010203"), line("#01020g"));
        let (_folder, found, problems) = samples(text.as_bytes());
        let maps: Vec<_> = found.iter().map(|sample| sample.color_map.clone().unwrap()).collect();
        assert!(maps.len() == 2 && std::sync::Arc::ptr_eq(&maps[0], &maps[1]), "it is kept once");
        let said =
            "line 3 has an internal-color-map in which \"1\" (road) has hex-color \"#01020g\"";
        assert!(problems[0].contains(said), "{problems:?}");
    }

    #[test]
    fn every_line_that_cannot_be_used_is_named_by_number() {
        let good = r#"{"source-ref": "images/a.jpg", "x-ref": "masks/a.png"}"#;
        for (line, said) in [
            ("{", "line 2 is no JSON object: EOF"),
            ("[]", "line 2 is no JSON object"),
            (r#"{"x-ref": "masks/a.png"}"#, "line 2 has no source-ref"),
            (r#"{"source-ref": "images/a.jpg"}"#, "line 2 has no x-ref"),
            (
                r#"{"source-ref": 3, "x-ref": "masks/a.png"}"#,
                "line 2 has source-ref 3; allowed: a path",
            ),
            (
                r#"{"source-ref": "s3://B/a.jpg", "x-ref": "masks/a.png"}"#,
                "which names the bucket \"B\", and a bucket's name has 3 to 63",
            ),
            (
                r#"{"source-ref": "s3://bucket/a/", "x-ref": "masks/a.png"}"#,
                "which names no object; allowed: s3://BUCKET/KEY; or a path relative to",
            ),
            (
                r#"{"source-ref": "https://host/a.jpg", "x-ref": "masks/a.png"}"#,
                "https://host/a.jpg, which is no S3 URI; allowed: s3://BUCKET/KEY",
            ),
            (r#"{"source-ref": "images/c.jpg", "x-ref": "masks/a.png"}"#, "but there is no file /"),
            (
                r#"{"source-ref": "../../../../etc/passwd", "x-ref": "masks/a.png"}"#,
                "is outside of /",
            ),
            (r#"{"source-ref": "/etc/passwd", "x-ref": "masks/a.png"}"#, "is outside of /"),
        ] {
            let (_folder, found, problems) = samples(format!("{good}\n{line}\n{good}").as_bytes());
            assert_eq!((found.len(), problems.len()), (2, 1), "{problems:?}");
            assert!(problems[0].contains("train.manifest: 1 line cannot be used: line 2 "));
            assert!(problems[0].contains(said), "{said}: {problems:?}");
        }
        let several =
            r#"{"source-ref": "images/a.jpg", "x-ref": "masks/a.png", "y-ref": "masks/b.png"}"#;
        let (_folder, _, problems) = samples(several.as_bytes());
        assert!(problems[0].contains("line 1 has several annotations, x-ref and y-ref"));
        let (_folder, _, problems) = samples(b"\n");
        assert!(problems[0].contains("holds no lines; expected are lines like {\"source-ref\""));
        let value = format!(r#"{{"source-ref": ["{}"], "x-ref": ""}}"#, "x".repeat(1 << 16));
        assert!(samples(value.as_bytes()).2[0].len() < 1000, "a long value is cut");
        let long = vec![b' '; MAX_LINE_BYTES as usize + 9];
        assert!(samples(&long).2[0].contains("line 1 has 1048576 bytes or more"));
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_lines_never_panic_nor_leave_the_root(bytes: Vec<u8>, reference in "[a-z./~]{0,12}") {
            samples(&bytes);
            let line = serde_json::json!({"source-ref": reference, "x-ref": "masks/a.png"});
            let (folder, found, _) = samples(line.to_string().as_bytes());
            for sample in found {
                let Content::File(path) = &sample.image else { panic!("{sample:?}") };
                proptest::prop_assert!(path.starts_with(folder.path()));
            }
        }
    }
}
