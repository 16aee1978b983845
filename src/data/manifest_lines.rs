//! Lines of manifests, one JSON object each, as training and `preprocess` read them.

use std::io::{self, BufRead, Read};

use serde_json::{Map, Value};

use crate::python_json::parse_python_json;

/// Attribute of the image.
pub const IMAGE_KEY: &str = "source-ref";

/// Largest number of bytes of a line: Ground Truth's metadata are a few thousand.
pub const MAX_LINE_BYTES: u64 = 1 << 20;

/// A line that is not blank.
#[derive(Debug)]
pub struct ManifestLine {
    /// Number of the line in the file, from 1; blank lines count.
    pub number: u64,
    /// Attributes of the line, or the reason why there are none, which completes "line 3 ...".
    pub object: Result<Map<String, Value>, String>,
}

/// Reason why a manifest cannot be read to its end.
#[derive(Debug)]
pub enum ManifestLineError {
    Read(io::Error),
    /// A line is too long; what follows would be the middle of a line.
    TooLong {
        /// Number of the line, from 1.
        number: u64,
    },
}

/// Iterator over the lines of a manifest that are not blank. It ends after an error.
#[derive(Debug)]
pub struct ManifestLines<R> {
    input: R,
    /// Number of the line that was read last.
    number: u64,
    is_ended: bool,
}

impl<R: BufRead> ManifestLines<R> {
    pub fn new(input: R) -> Self {
        Self { input, number: 0, is_ended: false }
    }

    /// Reads up to the next line that is not blank.
    fn read_line(&mut self) -> Result<Option<ManifestLine>, ManifestLineError> {
        let mut line = Vec::new();
        loop {
            line.clear();
            self.number += 1;
            let mut limited_input = Read::take(&mut self.input, MAX_LINE_BYTES);
            let length =
                limited_input.read_until(b'\n', &mut line).map_err(ManifestLineError::Read)?;
            if length == 0 {
                return Ok(None);
            }
            if length as u64 == MAX_LINE_BYTES {
                return Err(ManifestLineError::TooLong { number: self.number });
            }
            // Some editors begin a file with a byte order mark.
            let text = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&line).trim_ascii();
            if text.is_empty() {
                continue;
            }
            let object =
                parse_python_json(text).map_err(|cause| format!("is no JSON object: {cause}"));
            return Ok(Some(ManifestLine { number: self.number, object }));
        }
    }
}

impl<R: BufRead> Iterator for ManifestLines<R> {
    type Item = Result<ManifestLine, ManifestLineError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_ended {
            return None;
        }
        let next = self.read_line().transpose();
        self.is_ended = !matches!(next, Some(Ok(_)));
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Vec<Result<ManifestLine, ManifestLineError>> {
        ManifestLines::new(text).collect()
    }

    #[test]
    fn lines_have_numbers_blank_ones_count_and_broken_ones_say_why() {
        let text = b"\xEF\xBB\xBF{\"a\": NaN}\r\n\n  \n[1]\n{\"b\": 2}";
        let mut lines = read(text).into_iter().map(Result::unwrap);
        let first = lines.next().unwrap();
        assert_eq!((first.number, &first.object.unwrap()["a"]), (1, &Value::Null));
        let second = lines.next().unwrap();
        assert_eq!(second.number, 4);
        assert!(second.object.unwrap_err().starts_with("is no JSON object: "));
        let third = lines.next().unwrap();
        assert_eq!((third.number, &third.object.unwrap()["b"]), (5, &Value::from(2)));
        assert!(lines.next().is_none());
        assert!(read(b" \n").is_empty());
    }

    #[test]
    fn a_line_that_is_too_long_ends_the_reading() {
        let mut text = b"{}\n".to_vec();
        text.resize(MAX_LINE_BYTES as usize + 3, b' ');
        text.extend_from_slice(b"\n{}");
        let lines = read(&text);
        assert_eq!(lines.len(), 2);
        assert!(matches!(lines[1], Err(ManifestLineError::TooLong { number: 2 })));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_lines_with_growing_numbers(bytes: Vec<u8>, text in "[{}\"a:1, \n\r]{0,60}") {
            for text in [&bytes[..], text.as_bytes()] {
                let mut last_number = 0;
                for line in read(text) {
                    let line = line.unwrap();
                    proptest::prop_assert!(line.number > last_number);
                    last_number = line.number;
                }
            }
        }
    }
}
