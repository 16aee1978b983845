//! References of annotations to images: `s3://bucket/key`, web addresses, Label Studio's own
//! addresses, paths.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Path of a reference as names of folders and the file, the file last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReference {
    /// Path as the annotation writes it.
    raw: Vec<String>,
    /// Path with percent signs decoded, if it differs. Both readings are tried, because Label
    /// Studio writes keys of S3 as they are and its own addresses encoded.
    decoded: Option<Vec<String>>,
    /// True if the first folder is a bucket, which lies outside of every folder of images.
    has_bucket: bool,
}

impl FileReference {
    /// Parses a reference. Returns `None` if it names no file.
    ///
    /// No file is opened by the result: it is only compared with the files of a folder. `..`
    /// removes the folder before it, and has no effect at the start.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let path = extract_path(text, 0)?;
        let raw = path_components(&path);
        if raw.is_empty() {
            return None;
        }
        let mut decoded = None;
        if let Some(decoded_path) = percent_decode(&path) {
            let components = path_components(&decoded_path);
            if components != raw && !components.is_empty() {
                decoded = Some(components);
            }
        }
        let has_bucket = match text.split_once("://") {
            Some((scheme, _)) if !is_web_scheme(scheme) => true,
            _ => text.contains("?fileuri="),
        };
        Some(Self { raw, decoded, has_bucket })
    }

    /// Returns the number of `folders`, counted back from the file, that state the file's place
    /// below its storage. The folders of Label Studio's uploads state nothing.
    pub fn significant_folders(&self, folders: &[String]) -> usize {
        for pair in folders.windows(2) {
            if pair == ["data", "upload"] {
                return 0;
            }
        }
        folders.len().saturating_sub(usize::from(self.has_bucket))
    }

    /// Returns the readings of the reference, the likeliest first.
    pub fn candidate_paths(&self) -> impl Iterator<Item = &[String]> {
        std::iter::once(self.raw.as_slice()).chain(self.decoded.as_deref())
    }

    /// Returns true if both can mean one file: the shorter path is the end of the longer one.
    pub fn may_match(&self, other: &Self) -> bool {
        for path in self.candidate_paths() {
            for other_path in other.candidate_paths() {
                if path.ends_with(other_path) || other_path.ends_with(path) {
                    return true;
                }
            }
        }
        false
    }

    /// Returns the file name without its extension, decoded if possible.
    pub fn stem(&self) -> &str {
        let path = self.decoded.as_ref().unwrap_or(&self.raw);
        let name = path.last().map_or("", String::as_str);
        match name.rsplit_once('.') {
            Some((stem, _)) => stem,
            None => name,
        }
    }
}

/// Returns true for `http` and `https`, whose hosts are no folders.
fn is_web_scheme(scheme: &str) -> bool {
    ["http", "https"].contains(&scheme.to_ascii_lowercase().as_str())
}

/// Returns the part of a reference that is a path.
fn extract_path(text: &str, depth: usize) -> Option<String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return label_studio_path(text, depth);
    };
    if is_web_scheme(scheme) {
        // Label Studio's own pages may be addressed by host.
        let path_start = rest.find('/')?;
        return label_studio_path(&rest[path_start..], depth);
    }
    // The bucket may be the folder that was mounted, so it stays in the path. A key may hold any
    // character.
    Some(rest.to_owned())
}

/// Returns the file's path from a path on Label Studio's server. Two kinds of pages hold it in
/// their query.
fn label_studio_path(text: &str, depth: usize) -> Option<String> {
    // A path without leading slash is no address, so it has neither query nor fragment.
    if !text.starts_with('/') {
        return Some(text.to_owned());
    }
    let text = text.split('#').next().unwrap_or(text);
    let Some((path, query)) = text.split_once('?') else { return Some(text.to_owned()) };
    if path.ends_with("/local-files/") || path.ends_with("/local-files") {
        return query_value(query, "d").map(str::to_owned);
    }
    if path.contains("/resolve") || path.contains("/presign") {
        // A `fileuri` may hold one URI, but not another address with a `fileuri`.
        if depth > 0 {
            return None;
        }
        let encoded = query_value(query, "fileuri")?;
        let decoded = percent_decode(encoded).unwrap_or_else(|| encoded.to_owned());
        return extract_path(&decode_base64(&decoded)?, depth + 1);
    }
    Some(path.to_owned())
}

/// Returns the first value of a key in an address's query.
fn query_value<'a>(query: &'a str, key: &str) -> Option<&'a str> {
    for pair in query.split('&') {
        if let Some((name, value)) = pair.split_once('=')
            && name == key
        {
            return Some(value);
        }
    }
    None
}

/// Decodes base64 of the standard or the URL alphabet, with or without padding.
fn decode_base64(text: &str) -> Option<String> {
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    for alphabet in [&STANDARD, &URL_SAFE] {
        if let Ok(bytes) = GeneralPurpose::new(alphabet, config).decode(text) {
            return String::from_utf8(bytes).ok();
        }
    }
    None
}

/// Splits a path into its names and resolves `.` and `..`.
fn path_components(path: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            name => names.push(name.to_owned()),
        }
    }
    names
}

/// Decodes `%20` and the like. Returns `None` if the result is not UTF-8.
fn percent_decode(text: &str) -> Option<String> {
    percent_encoding::percent_decode_str(text).decode_utf8().ok().map(Cow::into_owned)
}

/// Returns a file name without the 8 hexadecimal digits and the hyphen that Label Studio puts
/// before the names of uploads.
pub(super) fn strip_upload_prefix(name: &str) -> Option<&str> {
    let (prefix, rest) = name.split_at_checked(8)?;
    let original_name = rest.strip_prefix('-')?;
    let is_prefix = prefix.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if is_prefix && !original_name.is_empty() { Some(original_name) } else { None }
}

/// Returns the name that Label Studio gives an upload. It uses Django's `get_valid_filename`, which
/// trims spaces, replaces inner ones by underscores, and drops all characters except letters,
/// digits, hyphens, underscores and dots.
pub(super) fn label_studio_upload_name(name: &str) -> String {
    let mut upload_name = name.trim().replace(' ', "_");
    upload_name.retain(|c| c.is_alphanumeric() || "-_.".contains(c));
    upload_name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(text: &str) -> Vec<String> {
        let reference = FileReference::parse(text).unwrap();
        reference.candidate_paths().map(|names| names.join("/")).collect()
    }

    #[test]
    fn every_kind_of_reference_is_taken_apart() {
        for (text, expected) in [
            ("s3://bucket/images/a b.jpg", &["bucket/images/a b.jpg"][..]),
            ("s3://bucket/50%25.jpg", &["bucket/50%25.jpg", "bucket/50%.jpg"]),
            ("s3://bucket/what?.jpg", &["bucket/what?.jpg"]),
            ("https://host:8080/x/a.jpg?token=1#top", &["x/a.jpg"]),
            ("/data/upload/1/a0cba9f4-astronaut.jpg", &["data/upload/1/a0cba9f4-astronaut.jpg"]),
            (
                "/data/upload/1/ecb42193-%C3%BCn.png",
                &["data/upload/1/ecb42193-%C3%BCn.png", "data/upload/1/ecb42193-ün.png"],
            ),
            ("/data/local-files/?d=set1/coffee.jpg", &["set1/coffee.jpg"]),
            (
                "/data/local-files/?d=set1%2Fcoffee%20pot.jpg",
                &["set1%2Fcoffee%20pot.jpg", "set1/coffee pot.jpg"],
            ),
            ("/tasks/12/resolve/?fileuri=czM6Ly9iL2ltYWdlcy9hLmpwZw==", &["b/images/a.jpg"]),
            ("http://ls/tasks/12/presign/?fileuri=czM6Ly9iL2ltYWdlcy9hLmpwZw", &["b/images/a.jpg"]),
            ("../lsrun/media/./a.jpg", &["lsrun/media/a.jpg"]),
            ("../../../etc/passwd", &["etc/passwd"]),
            ("a/../../b.jpg", &["b.jpg"]),
            ("plain.jpg", &["plain.jpg"]),
            ("scan #3?.jpg", &["scan #3?.jpg"]),
        ] {
            assert_eq!(readings(text), expected, "{text}");
        }
    }

    #[test]
    fn references_to_one_file_are_told_from_those_to_two() {
        let may_be = |first, second| {
            let parse = |text| FileReference::parse(text).unwrap();
            parse(first).may_match(&parse(second))
        };
        assert!(may_be("s3://b/day1/f.png", "/data/local-files/?d=day1/f.png"));
        assert!(may_be("f%20g.png", "s3://b/f g.png"));
        assert!(!may_be("s3://b/day1/f.png", "s3://b/day2/f.png"));
        assert!(!may_be("/data/upload/1/aaaaaaaa-f.png", "/data/upload/1/bbbbbbbb-f.png"));
    }

    #[test]
    fn what_names_no_file_is_none() {
        for text in
            ["", "/", "..", "http://host", "/tasks/1/resolve/?fileuri=???", "/x/local-files/?e=1"]
        {
            assert_eq!(FileReference::parse(text), None, "{text}");
        }
        // The address holds another address with a `fileuri`.
        let nested = "/tasks/1/resolve/?fileuri=L3Rhc2tzLzEvcmVzb2x2ZS8/ZmlsZXVyaT1jek09";
        assert_eq!(FileReference::parse(nested), None);
    }

    #[test]
    fn names_of_uploads_are_known() {
        assert_eq!(strip_upload_prefix("a0cba9f4-a.jpg"), Some("a.jpg"));
        for name in ["a0cba9f-a.jpg", "A0CBA9F4-a.jpg", "a0cba9f4_a.jpg", "a0cba9f4-", "ünïcödé-a"]
        {
            assert_eq!(strip_upload_prefix(name), None, "{name}");
        }
        assert_eq!(label_studio_upload_name(" odd size (1) ünïcode.png"), "odd_size_1_ünïcode.png");
        assert_eq!(FileReference::parse("s3://b/x/a%20b.c.jpg").unwrap().stem(), "a b.c");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_reference_without_dots_or_none(text in ".{0,60}", tail in "[%./?=#a-f0-9:]{0,40}") {
            for text in [format!("{text}{tail}"), format!("/resolve/?fileuri={tail}"), tail] {
                let Some(reference) = FileReference::parse(&text) else { continue };
                for name in reference.candidate_paths().flatten() {
                    proptest::prop_assert!(!["", ".", ".."].contains(&name.as_str()) && !name.contains('/'));
                }
                let _ = (reference.stem(), strip_upload_prefix(&text), label_studio_upload_name(&text));
            }
        }
    }
}
