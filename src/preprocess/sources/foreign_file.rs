//! Descriptions of files that are no annotations, and of what to do about them.

use std::collections::BTreeMap;

use super::SkippedEntry;
use crate::error::join_examples;
use crate::imaging::name_image_format;

/// Returns the reason why a file that begins with `head` cannot be read, if its first bytes tell.
pub(super) fn describe_foreign_file(head: &[u8]) -> Option<String> {
    match head {
        // A byte order mark, or an opening brace or bracket of two bytes.
        [0xff, 0xfe, ..]
        | [0xfe, 0xff, ..]
        | [b'{' | b'[' | b'<', 0, ..]
        | [0, b'{' | b'[' | b'<', ..] => {
            return Some("is text in UTF-16; save it as UTF-8".to_owned());
        }
        [b'P', b'K', 3, 4, ..] => return Some("is a zip archive; unpack it".to_owned()),
        [0x1f, 0x8b, ..] => return Some("is compressed by gzip; unpack it".to_owned()),
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => {
            return Some("is a NumPy array; a mask is read as a PNG, so save it as one".to_owned());
        }
        _ => {}
    }
    match name_image_format(head)? {
        "a PNG" => None,
        "a JPEG" => Some(
            "is a JPEG, which cannot be a mask: its lossy compression changes the values of \
             pixels, so that they are neither class ids nor the labels' colors any more; save the \
             masks as PNG where they were made"
                .to_owned(),
        ),
        name => Some(format!("is {name} image; masks are read as PNG, so save it as one")),
    }
}

/// Describes skipped files by their reasons, as an appendix of a message; empty without any.
pub(super) fn describe_skipped_files(skipped: &[SkippedEntry]) -> String {
    let mut names_by_reason: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for entry in skipped {
        names_by_reason.entry(&entry.reason).or_default().push(entry.subject.clone());
    }
    if names_by_reason.is_empty() {
        return String::new();
    }
    let mut texts = Vec::new();
    for (reason, names) in names_by_reason {
        let count = names.len();
        let noun = if count == 1 { "file" } else { "files, each of which" };
        texts.push(format!("{count} {noun} {reason} ({})", join_examples(names)));
    }
    format!("; not read: {}", join_examples(texts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_and_texts_of_other_kinds_are_named_with_the_fix() {
        for (head, expected) in [
            (&b"\xff\xd8\xff\xe0"[..], "is a JPEG, which cannot be a mask: its lossy"),
            (b"II*\0\x08", "is a TIFF image; masks are read as PNG"),
            (b"GIF89a", "is a GIF image; masks are read as PNG"),
            (b"RIFF\x01\x02\x03\x04WEBP", "is a WebP image; masks are read as PNG"),
            (b"\xff\xfe[\0", "is text in UTF-16; save it as UTF-8"),
            (b"\xfe\xff\0[", "is text in UTF-16"),
            (b"{\0\"\0", "is text in UTF-16"),
            (b"PK\x03\x04", "is a zip archive; unpack it"),
            (b"\x93NUMPY\x01", "is a NumPy array"),
        ] {
            let reason = describe_foreign_file(head).unwrap();
            assert!(reason.starts_with(expected), "{reason}");
        }
        for head in
            [&b"[{"[..], b"\x89PNG\r\n\x1a\n", b"{}", b"", b"BM begins this longer text", b"<View>"]
        {
            assert_eq!(describe_foreign_file(head), None);
        }
    }

    #[test]
    fn skipped_files_are_grouped_by_reason() {
        let mut skipped = vec![SkippedEntry::fault("c.json", "is empty")];
        assert_eq!(describe_skipped_files(&skipped), "; not read: 1 file is empty (c.json)");
        for number in 0..7 {
            skipped.push(SkippedEntry::fault(format!("{number}.jpg"), "is a JPEG"));
        }
        assert_eq!(
            describe_skipped_files(&skipped),
            "; not read: 7 files, each of which is a JPEG (0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg and 2 \
             more), 1 file is empty (c.json)"
        );
        assert_eq!(describe_skipped_files(&[]), "");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_described_or_not(head: Vec<u8>) {
            let _ = describe_foreign_file(&head);
        }
    }
}
