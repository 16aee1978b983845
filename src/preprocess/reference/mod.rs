//! References of annotations to images: `s3://bucket/key`, web addresses, Label Studio's own
//! addresses, paths.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::files::normalize_name;

/// Reference as the paths that it may mean. No file is opened by it: it is only compared with the
/// files of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReference {
    /// Readings of the reference, at least one, the literal one first.
    readings: Vec<PathReading>,
}

/// Path that a reference may mean, as names of folders and the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathReading {
    /// Names of the folders and the file, the file last; at least one.
    names: Vec<String>,
    /// Number of folders, counted back from the file, that state the file's place below its
    /// storage. The folders of Label Studio's uploads state nothing.
    pub significant_folders: usize,
    /// True if Label Studio named the file at an upload, so that its own name may be another one.
    pub is_upload: bool,
}

/// Kind of place that a reference names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PathOrigin {
    /// Key in a bucket: `s3://`, `gs://` and the like. The first folder is the bucket, which lies
    /// outside of every folder of images.
    Bucket,
    /// Path of a web address.
    Web,
    /// Absolute path: on Label Studio's server, or of a file.
    Absolute,
    /// File below the folder of Label Studio's local storage (`/data/local-files/?d=`).
    LocalStorage,
    /// Path without a leading slash.
    Relative,
    /// Path without a leading slash, in a file that Label Studio's converter wrote.
    Exported,
}

/// Part of a reference that is a path.
#[derive(Debug)]
struct ExtractedPath {
    text: String,
    origin: PathOrigin,
}

impl FileReference {
    /// Parses a reference. Returns `None` if it names no file.
    ///
    /// The readings are, in this order: as it is written; with percent signs decoded, because Label
    /// Studio writes keys of S3 as they are and its own addresses encoded; with `+` as a space in
    /// web addresses and queries, as S3 and browsers write it; and each of these with backslashes
    /// as separators, as Windows writes them. `..` removes the folder before it, and has no effect
    /// at the start.
    pub fn parse(text: &str) -> Option<Self> {
        Self::from_path(&extract_path(text.trim(), 0)?)
    }

    /// Parses the name of an image in a file that Label Studio's converter wrote, where mere names
    /// may be those of uploads.
    pub fn parse_exported_name(text: &str) -> Option<Self> {
        let mut path = extract_path(text.trim(), 0)?;
        if path.origin == PathOrigin::Relative {
            path.origin = PathOrigin::Exported;
        }
        Self::from_path(&path)
    }

    fn from_path(path: &ExtractedPath) -> Option<Self> {
        let ExtractedPath { text, origin } = path;
        let mut texts = vec![text.clone()];
        texts.extend(percent_decode(text));
        // In a path or query that was encoded, a plus sign itself is %2B.
        if matches!(origin, PathOrigin::Web | PathOrigin::LocalStorage) && text.contains('+') {
            texts.extend(percent_decode(&text.replace('+', " ")));
        }
        let outer_folders = usize::from(*origin == PathOrigin::Bucket);
        let mut reference = Self { readings: Vec::new() };
        for text in &texts {
            reference.add_reading(split_path(text, &['/']), outer_folders, *origin);
        }
        for text in &texts {
            if let Some(windows) = WindowsPath::parse(text) {
                let outer_folders = outer_folders + windows.outer_folders;
                reference.add_reading(windows.names, outer_folders, *origin);
            }
        }
        if reference.readings.is_empty() { None } else { Some(reference) }
    }

    /// Adds a reading unless it is empty or there already.
    fn add_reading(&mut self, names: Vec<String>, outer_folders: usize, origin: PathOrigin) {
        if names.is_empty() || self.readings.iter().any(|reading| reading.names == names) {
            return;
        }
        let is_upload = is_upload_path(&names, origin);
        let folder_count = names.len() - 1;
        let significant_folders =
            if is_upload { 0 } else { folder_count.saturating_sub(outer_folders) };
        self.readings.push(PathReading { names, significant_folders, is_upload });
    }

    /// Returns the readings of the reference, the literal one first.
    pub fn readings(&self) -> &[PathReading] {
        &self.readings
    }

    /// Returns true if both can mean one file: the shorter path is the end of the longer one.
    pub fn may_match(&self, other: &Self) -> bool {
        for reading in &self.readings {
            for other_reading in &other.readings {
                if have_common_end(&reading.names, &other_reading.names) {
                    return true;
                }
            }
        }
        false
    }

    /// Returns the file names without extension that the readings have.
    pub fn stems(&self) -> impl Iterator<Item = &str> {
        self.readings.iter().map(|reading| match reading.file_name().rsplit_once('.') {
            Some((stem, _)) => stem,
            None => reading.file_name(),
        })
    }
}

impl PathReading {
    pub fn file_name(&self) -> &str {
        self.names.last().map_or("", String::as_str)
    }

    /// Returns the names of the folders, the outermost first.
    pub fn folders(&self) -> &[String] {
        &self.names[..self.names.len().saturating_sub(1)]
    }
}

/// Returns true if one path is the end of the other, in any Unicode normalization.
fn have_common_end(first: &[String], second: &[String]) -> bool {
    first
        .iter()
        .rev()
        .zip(second.iter().rev())
        .all(|(name, other_name)| is_same_name(name, other_name))
}

/// Returns true if two names are equal but for Unicode normalization.
pub(super) fn is_same_name(first: &str, second: &str) -> bool {
    first == second || normalize_name(first) == normalize_name(second)
}

/// Returns true if Label Studio named a file at its upload. It keeps uploads in `upload/PROJECT`
/// below its media folder, or in `upload` in old versions, and serves them below `/data/`.
fn is_upload_path(names: &[String], origin: PathOrigin) -> bool {
    let Some((name, folders)) = names.split_last() else { return false };
    let (project, storage) = match folders.split_last() {
        Some((last, storage)) if last.bytes().all(|b| b.is_ascii_digit()) => (Some(last), storage),
        _ => (None, folders),
    };
    let is_served = ends_with_folders(storage, ["data", "upload"]);
    let is_stored = ends_with_folders(storage, ["media", "upload"]);
    let is_exported = project.is_some() && storage == ["upload"];
    match origin {
        // Label Studio puts no uploads there, and other programs have such folders too.
        PathOrigin::Bucket | PathOrigin::LocalStorage => false,
        PathOrigin::Web => is_served,
        PathOrigin::Absolute => is_served || is_stored,
        PathOrigin::Relative => is_served || is_stored || is_exported,
        PathOrigin::Exported => {
            is_served
                || is_stored
                || is_exported
                || (strip_upload_prefix(name).is_some() && !starts_with_date(name))
        }
    }
}

fn ends_with_folders(folders: &[String], end: [&str; 2]) -> bool {
    match folders {
        [.., outer, inner] => [outer.as_str(), inner.as_str()] == end,
        _ => false,
    }
}

/// Returns true if a name starts as cameras write dates: 20260131. Where only the name tells an
/// upload, such a prefix is no random number.
fn starts_with_date(name: &str) -> bool {
    let Some((digits, _)) = name.split_at_checked(8) else { return false };
    let Ok(number) = digits.parse::<u32>() else { return false };
    let (year, month, day) = (number / 10_000, number / 100 % 100, number % 100);
    (1900..2100).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day)
}

/// Path with backslashes or a drive letter.
struct WindowsPath {
    names: Vec<String>,
    /// Number of folders at the start that lie outside of every folder of images.
    outer_folders: usize,
}

impl WindowsPath {
    /// Parses a path as Windows reads it. Returns `None` if it would read it as any system does.
    fn parse(text: &str) -> Option<Self> {
        if !text.contains('\\') && !starts_with_drive(text) {
            return None;
        }
        // `\\?\` and `\\.\` stand before a drive or before `UNC\`.
        let after_prefix = text.strip_prefix(r"\\?\").or_else(|| text.strip_prefix(r"\\.\"));
        let text = after_prefix.unwrap_or(text);
        let network_path = match after_prefix {
            Some(text) => text.strip_prefix(r"UNC\"),
            None => text.strip_prefix(r"\\"),
        };
        if let Some(network_path) = network_path {
            let mut names = split_path(network_path, &['/', '\\']);
            if names.len() < 2 {
                return Some(Self { names, outer_folders: 0 });
            }
            // The first name is the server's, and the second the share's, which may be mounted.
            names.remove(0);
            return Some(Self { names, outer_folders: 1 });
        }
        let text = if starts_with_drive(text) { &text[2..] } else { text };
        Some(Self { names: split_path(text, &['/', '\\']), outer_folders: 0 })
    }
}

/// Returns true for paths such as `C:\images\a.png`.
fn starts_with_drive(text: &str) -> bool {
    match text.as_bytes() {
        [letter, b':', b'/' | b'\\', ..] => letter.is_ascii_alphabetic(),
        _ => false,
    }
}

/// Returns true if a reference is a data URL, which holds the image itself.
pub(super) fn is_data_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.trim_start().split_at_checked(5) else { return false };
    if !scheme.eq_ignore_ascii_case("data:") {
        return false;
    }
    let media_type = rest.split(',').next().unwrap_or(rest);
    media_type.starts_with("image/") || media_type.ends_with(";base64")
}

/// Returns true for `http` and `https`, whose hosts are no folders.
fn is_web_scheme(scheme: &str) -> bool {
    ["http", "https"].contains(&scheme.to_ascii_lowercase().as_str())
}

/// Splits a reference at `://` if a scheme stands before it.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let is_scheme = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+.-_".contains(&b));
    (is_scheme && !scheme.is_empty()).then_some((scheme, rest))
}

/// Returns the part of a reference that is a path.
fn extract_path(text: &str, depth: usize) -> Option<ExtractedPath> {
    if is_data_url(text) {
        return None;
    }
    let Some((scheme, rest)) = split_scheme(text) else {
        return label_studio_path(text, PathOrigin::Absolute, depth);
    };
    if is_web_scheme(scheme) {
        // Label Studio's own pages may be addressed by host.
        let path_start = rest.find('/')?;
        return label_studio_path(&rest[path_start..], PathOrigin::Web, depth);
    }
    if scheme.eq_ignore_ascii_case("file") {
        let path = rest.strip_prefix("localhost").unwrap_or(rest);
        let path = match path.strip_prefix('/') {
            Some(after_slash) if starts_with_drive(after_slash) => after_slash,
            _ => path,
        };
        return Some(ExtractedPath { text: path.to_owned(), origin: PathOrigin::Absolute });
    }
    // The bucket may be the folder that was mounted, so it stays in the path. A key may hold any
    // character.
    Some(ExtractedPath { text: rest.to_owned(), origin: PathOrigin::Bucket })
}

/// Returns the file's path from a path on a server, which may be Label Studio's. Two kinds of its
/// pages hold it in their query.
fn label_studio_path(text: &str, origin: PathOrigin, depth: usize) -> Option<ExtractedPath> {
    // A path without leading slash is no address, so it has neither query nor fragment.
    if !text.starts_with('/') {
        return Some(ExtractedPath { text: text.to_owned(), origin: PathOrigin::Relative });
    }
    let text = text.split('#').next().unwrap_or(text);
    let Some((path, query)) = text.split_once('?') else {
        return Some(ExtractedPath { text: text.to_owned(), origin });
    };
    if path.ends_with("/local-files/") || path.ends_with("/local-files") {
        let text = query_value(query, "d")?.to_owned();
        return Some(ExtractedPath { text, origin: PathOrigin::LocalStorage });
    }
    if path.contains("/resolve") || path.contains("/presign") {
        // A `fileuri` may hold one URI, but not another address with a `fileuri`.
        if depth > 0 {
            return None;
        }
        let encoded = query_value(query, "fileuri")?;
        let decoded = percent_decode(encoded).unwrap_or_else(|| encoded.to_owned());
        // Label Studio takes the bare URI too.
        if split_scheme(&decoded).is_some() {
            return extract_path(&decoded, depth + 1);
        }
        return extract_path(&decode_base64(&decoded)?, depth + 1);
    }
    Some(ExtractedPath { text: path.to_owned(), origin })
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
fn split_path(path: &str, separators: &[char]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in path.split(separators) {
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
