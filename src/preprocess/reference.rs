//! What annotations call an image: `s3://bucket/key`, a web address, Label Studio's own addresses, a path.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// A reference as the names of folders and the file, the file last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReference {
    /// As written.
    raw: Vec<String>,
    /// With percent signs decoded, if that is different: of a URI both may be meant, because Label Studio
    /// writes keys of S3 as they are and its own addresses encoded.
    decoded: Option<Vec<String>>,
    /// Whether the first folder is a bucket or the like, which lies outside of every folder of images.
    has_bucket: bool,
}

impl FileReference {
    /// Takes a reference apart; none if it names no file.
    ///
    /// Nothing is opened by what comes out: it is only compared with the files that are there. `..` takes a
    /// folder back, as in a path, and nothing at the start.
    pub fn parse(text: &str) -> Option<Self> {
        let path = extract_path(text.trim(), 0)?;
        let raw = path_components(&path);
        let decoded = percent_decode(&path).map(|path| path_components(&path));
        let decoded = decoded.filter(|decoded| *decoded != raw && !decoded.is_empty());
        let scheme = text.trim().split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        let has_host = scheme.is_some_and(|scheme| scheme != "http" && scheme != "https")
            || text.contains("?fileuri=");
        (!raw.is_empty()).then_some(Self { raw, decoded, has_bucket: has_host })
    }

    /// How many of the `folders` of a reading, counted from the last, say where the file lies below its storage. Those
    /// of Label Studio's uploads say nothing.
    pub fn significant_folders(&self, folders: &[String]) -> usize {
        let is_upload = folders.windows(2).any(|pair| pair[0] == "data" && pair[1] == "upload");
        if is_upload { 0 } else { folders.len().saturating_sub(usize::from(self.has_bucket)) }
    }

    /// The ways to read it, the likeliest first.
    pub fn candidate_paths(&self) -> impl Iterator<Item = &[String]> {
        std::iter::once(self.raw.as_slice()).chain(self.decoded.as_deref())
    }

    /// Whether both can mean one file: the end of the longer one is the shorter one.
    pub fn may_match(&self, other: &Self) -> bool {
        let same_end = |(first, second): (&[String], &[String])| {
            first.iter().rev().zip(second.iter().rev()).all(|(left, right)| left == right)
        };
        self.candidate_paths()
            .any(|one| other.candidate_paths().any(|other| same_end((one, other))))
    }

    /// The file's name without its extension, as people know it.
    pub fn stem(&self) -> &str {
        let name = self.decoded.as_ref().unwrap_or(&self.raw).last().map_or("", String::as_str);
        name.rsplit_once('.').map_or(name, |(stem, _)| stem)
    }
}

/// The part of a reference that is a path.
fn extract_path(text: &str, depth: usize) -> Option<String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return label_studio_path(text, depth);
    };
    match scheme.to_ascii_lowercase().as_str() {
        // The host of a web page is no folder, but Label Studio's own pages may be addressed by it.
        "http" | "https" => {
            let path_start = rest.find('/')?;
            label_studio_path(&rest[path_start..], depth)
        }
        // A bucket may well be the folder that was mounted. A key may hold any character.
        _ => Some(rest.to_owned()),
    }
}

/// Paths on Label Studio's server, of which two kinds hold the file's in their query.
fn label_studio_path(text: &str, depth: usize) -> Option<String> {
    // A path that is no address has neither query nor fragment.
    if !text.starts_with('/') {
        return Some(text.to_owned());
    }
    let text = text.split('#').next().unwrap_or(text);
    let Some((path, query)) = text.split_once('?') else { return Some(text.to_owned()) };
    let query_value = |key: &str| {
        query
            .split('&')
            .find_map(|pair| pair.split_once('=').filter(|(name, _)| *name == key))
            .map(|pair| pair.1)
    };
    if path.ends_with("/local-files/") || path.ends_with("/local-files") {
        return query_value("d").map(str::to_owned);
    }
    if path.contains("/resolve") || path.contains("/presign") {
        // A URI inside of a URI inside of a URI is nobody's image.
        let encoded = (depth == 0).then(|| query_value("fileuri")).flatten()?;
        let decoded = percent_decode(encoded).unwrap_or_else(|| encoded.to_owned());
        return extract_path(&decode_base64(&decoded)?, depth + 1);
    }
    Some(path.to_owned())
}

fn decode_base64(text: &str) -> Option<String> {
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let bytes = [STANDARD, URL_SAFE]
        .iter()
        .find_map(|alphabet| GeneralPurpose::new(alphabet, config).decode(text).ok())?;
    String::from_utf8(bytes).ok()
}

/// The names of a path, `.` and `..` resolved.
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

/// The text with `%20` and the like replaced; none if that is no text.
fn percent_decode(text: &str) -> Option<String> {
    percent_encoding::percent_decode_str(text).decode_utf8().ok().map(Cow::into_owned)
}

/// A file's name without the 8 hexadecimal digits that Label Studio puts before uploads.
pub(super) fn strip_upload_prefix(name: &str) -> Option<&str> {
    let (prefix, name) = name.split_at_checked(8)?;
    let name = name.strip_prefix('-').filter(|name| !name.is_empty())?;
    prefix.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')).then_some(name)
}

/// What Label Studio makes of an upload's name: Django's `get_valid_filename`, which takes spaces from the ends, makes
/// those inside underscores, and drops what is no letter, digit, hyphen, underscore or dot.
pub(super) fn label_studio_upload_name(name: &str) -> String {
    let is_kept = |c: &char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    name.trim().replace(' ', "_").chars().filter(is_kept).collect()
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
        // The address of an address of a picture.
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
