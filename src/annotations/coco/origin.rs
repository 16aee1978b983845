//! Sign of the program that wrote a COCO file.

use std::io::{self, Read, Seek, SeekFrom};

/// Length of the start and of the end of a file in which its `info` is looked for, in bytes.
/// Writers put it first or last.
const SEARCHED_BYTES: u64 = 16 << 10;

/// Returns true if Label Studio's converter wrote a COCO file: `contributor` in its `info` says so.
/// Its image names are often those that Label Studio gave at an upload. Only start and end of the
/// file are read, which may have gigabytes.
pub fn is_label_studio_export(file: &mut (impl Read + Seek)) -> io::Result<bool> {
    let length = file.seek(SeekFrom::End(0))?;
    let mut found = false;
    for start in [0, length.saturating_sub(SEARCHED_BYTES)] {
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.by_ref().take(SEARCHED_BYTES).read_to_end(&mut bytes)?;
        found |= names_label_studio(&bytes);
    }
    Ok(found)
}

/// Returns true if a key `contributor` has a value that begins with `Label Studio`.
fn names_label_studio(text: &[u8]) -> bool {
    for position in memchr::memmem::find_iter(text, br#""contributor""#) {
        let after_key = text[position + br#""contributor""#.len()..].trim_ascii_start();
        let Some(value) = after_key.strip_prefix(b":") else { continue };
        if value.trim_ascii_start().starts_with(br#""Label Studio"#) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn is_export(text: &str) -> bool {
        is_label_studio_export(&mut Cursor::new(text)).unwrap()
    }

    #[test]
    fn the_contributor_tells_whether_label_studio_wrote_a_file() {
        let padding = " ".repeat(100_000);
        let info = r#""info": {"year": 2026, "contributor" :
            "Label Studio Converter"}"#;
        assert!(is_export(&format!("{{{info}, \"images\": []}}")));
        assert!(is_export(&format!("{{{info}, \"images\": [{padding}]}}")));
        assert!(is_export(&format!("{{\"images\": [{padding}], {info}}}")));
        for other in [
            "",
            "{}",
            r#"{"info": {"contributor": "COCO Consortium", "description": "Label Studio"}}"#,
            r#"{"info": {"contributor"}}"#,
        ] {
            assert!(!is_export(other), "{other}");
        }
    }
}
