//! The objects of a JSON document, one at a time, without holding the document in memory.
//!
//! Exports are single arrays of any size. This module understands only brackets and strings;
//! `serde_json` parses each object afterwards, and finds what is invalid inside of it. The text of
//! an error completes a sentence that begins with the document's name.

mod scanner;
#[cfg(test)]
mod tests;

use std::io::{BufRead, BufReader, Read};

use self::scanner::Scanner;
use super::error::{Error, Result};

/// Size of the read buffer, in bytes.
const BUFFER_BYTES: usize = 256 * 1024;

/// An object of a document, unparsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonObject {
    /// Position of the opening brace, in bytes from the start of the document.
    pub offset: u64,
    /// Text from the opening to the closing brace.
    pub bytes: Vec<u8>,
}

/// Iterator over the objects of a document that is an array of objects, one object, or objects one
/// after the other, such as one per line (JSON lines). A byte order mark is skipped. The iterator
/// ends after an error.
#[derive(Debug)]
pub struct JsonObjects<R> {
    scanner: Scanner<BufReader<R>>,
    max_bytes: usize,
    state: ParseState,
}

#[derive(Debug, Clone, Copy)]
enum ParseState {
    Start,
    /// Inside of the array; `is_first` is true before its first element.
    Array {
        is_first: bool,
    },
    /// Between objects that follow each other.
    Stream,
    End,
}

impl<R: Read> JsonObjects<R> {
    /// Iterates over the objects of `reader`. An object longer than `max_bytes` is an error.
    pub fn new(reader: R, max_bytes: usize) -> Self {
        let scanner = Scanner::new(BufReader::with_capacity(BUFFER_BYTES, reader));
        Self { scanner, max_bytes, state: ParseState::Start }
    }

    fn advance(&mut self) -> Result<Option<JsonObject>> {
        if let ParseState::Start = self.state {
            self.scanner.skip_byte_order_mark()?;
            self.state = match self.scanner.peek_non_space()? {
                Some(b'[') => {
                    self.scanner.skip(1);
                    ParseState::Array { is_first: true }
                }
                Some(b'{') => ParseState::Stream,
                None => return Err(Error::UnexpectedFormat("is empty; expected JSON".to_owned())),
                Some(_) => return Err(self.scanner.unexpected_error("{ or [")),
            };
        }
        match self.state {
            ParseState::Array { is_first } => {
                self.state = ParseState::Array { is_first: false };
                match read_array_object(&mut self.scanner, is_first, self.max_bytes)? {
                    Some(element) => Ok(Some(element)),
                    None => expect_end(&mut self.scanner),
                }
            }
            ParseState::Stream => match self.scanner.peek_non_space()? {
                Some(b'{') => read_object(&mut self.scanner, self.max_bytes).map(Some),
                Some(_) => Err(self.scanner.unexpected_error("another object or the end")),
                None => Ok(None),
            },
            ParseState::Start | ParseState::End => Ok(None),
        }
    }
}

impl<R: Read> Iterator for JsonObjects<R> {
    type Item = Result<JsonObject>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.state = ParseState::End;
        }
        next
    }
}

fn read_object<B: BufRead>(scanner: &mut Scanner<B>, max_bytes: usize) -> Result<JsonObject> {
    let offset = scanner.offset;
    Ok(JsonObject { offset, bytes: scanner.read_value(max_bytes)? })
}

/// Reads the next object of the array in which the scanner stands. Returns none at the end of the
/// array, whose bracket is then skipped.
fn read_array_object<B: BufRead>(
    scanner: &mut Scanner<B>,
    is_first: bool,
    max_bytes: usize,
) -> Result<Option<JsonObject>> {
    match scanner.peek_non_space()? {
        Some(b']') => {
            scanner.skip(1);
            return Ok(None);
        }
        Some(b',') if !is_first => scanner.skip(1),
        _ if !is_first => return Err(scanner.unexpected_error(", or ]")),
        _ => {}
    }
    match scanner.peek_non_space()? {
        Some(b'{') => read_object(scanner, max_bytes).map(Some),
        _ => Err(scanner.unexpected_error(if is_first { "an object or ]" } else { "an object" })),
    }
}

/// Returns none, or an error if anything but spaces follows the document.
fn expect_end<T, B: BufRead>(scanner: &mut Scanner<B>) -> Result<Option<T>> {
    match scanner.peek_non_space()? {
        None => Ok(None),
        Some(_) => Err(scanner.unexpected_error("the end of the document")),
    }
}

/// Reader of the keys of an object; the caller reads or skips each value.
#[derive(Debug)]
struct KeyReader<B> {
    scanner: Scanner<B>,
    is_first: bool,
}

impl<B: BufRead> KeyReader<B> {
    fn open(reader: B) -> Result<Self> {
        let mut scanner = Scanner::new(reader);
        scanner.skip_byte_order_mark()?;
        match scanner.peek_non_space()? {
            Some(b'{') => scanner.skip(1),
            None => {
                return Err(Error::UnexpectedFormat("is empty; expected a JSON object".to_owned()));
            }
            Some(_) => return Err(scanner.unexpected_error("{")),
        }
        Ok(Self { scanner, is_first: true })
    }

    /// Returns the next key, of at most `max_bytes` bytes, and leaves the scanner before its value.
    /// Returns none behind the last key.
    fn next_key(&mut self, max_bytes: usize) -> Result<Option<String>> {
        match self.scanner.peek_non_space()? {
            Some(b'}') => {
                self.scanner.skip(1);
                return expect_end(&mut self.scanner);
            }
            Some(b',') if !self.is_first => self.scanner.skip(1),
            _ if !self.is_first => return Err(self.scanner.unexpected_error(", or }")),
            _ => {}
        }
        self.is_first = false;
        let Some(b'"') = self.scanner.peek_non_space()? else {
            return Err(self.scanner.unexpected_error("a key"));
        };
        let key_offset = self.scanner.offset;
        let key = self.scanner.read_value(max_bytes)?;
        let key = match serde_json::from_slice(&key) {
            Ok(key) => key,
            Err(cause) => {
                let message = format!("has a key at byte {key_offset} that is no string: {cause}");
                return Err(Error::Json { message, cause });
            }
        };
        let Some(b':') = self.scanner.peek_non_space()? else {
            return Err(self.scanner.unexpected_error(":"));
        };
        self.scanner.skip(1);
        self.scanner.peek_non_space()?;
        Ok(Some(key))
    }
}

/// Returns the keys of a document that is an object, in order.
pub(super) fn read_object_keys(document: &[u8]) -> Result<Vec<String>> {
    let mut key_reader = KeyReader::open(document)?;
    let mut keys = Vec::new();
    while let Some(key) = key_reader.next_key(document.len())? {
        keys.push(key);
        key_reader.scanner.skip_value()?;
    }
    Ok(keys)
}

/// Returns true if a document is an object in which one of `keys` has a list of objects, which may
/// be empty. Reads no further than that takes. Returns false for invalid JSON.
pub(super) fn has_object_list(reader: impl Read, keys: &[&str]) -> bool {
    find_object_list(reader, keys).unwrap_or(false)
}

fn find_object_list(reader: impl Read, keys: &[&str]) -> Result<bool> {
    let mut key_reader = KeyReader::open(BufReader::with_capacity(BUFFER_BYTES, reader))?;
    while let Some(key) = key_reader.next_key(BUFFER_BYTES)? {
        if keys.contains(&key.as_str()) && key_reader.scanner.peek_non_space()? == Some(b'[') {
            key_reader.scanner.skip(1);
            return Ok(matches!(key_reader.scanner.peek_non_space()?, Some(b'{' | b']')));
        }
        key_reader.scanner.skip_value()?;
    }
    Ok(false)
}

/// Iterator over the objects in the lists that a document, an object, has under some of its keys,
/// as in COCO files. Each object comes with its key. A key that is missing or null has no objects.
/// The iterator ends after an error.
#[derive(Debug)]
pub struct KeyedObjects<B> {
    reader: Option<B>,
    key_reader: Option<KeyReader<B>>,
    keys: &'static [&'static str],
    seen_keys: Vec<&'static str>,
    max_bytes: usize,
    /// Key of the list that is being read, and true before its first element.
    current_list: Option<(&'static str, bool)>,
}

impl<B: BufRead> KeyedObjects<B> {
    /// Iterates over the objects under `keys`. An object longer than `max_bytes` is an error.
    pub fn new(reader: B, keys: &'static [&'static str], max_bytes: usize) -> Self {
        let seen_keys = Vec::new();
        Self {
            reader: Some(reader),
            key_reader: None,
            keys,
            seen_keys,
            max_bytes,
            current_list: None,
        }
    }

    fn advance(&mut self) -> Result<Option<(&'static str, JsonObject)>> {
        if let Some(reader) = self.reader.take() {
            self.key_reader = Some(KeyReader::open(reader)?);
        }
        let Some(key_reader) = &mut self.key_reader else { return Ok(None) };
        loop {
            if let Some((key, is_first)) = self.current_list {
                let next = read_array_object(&mut key_reader.scanner, is_first, self.max_bytes)
                    .map_err(|error| error.located("", format!(" (in {key})")))?;
                self.current_list = next.is_some().then_some((key, false));
                if let Some(element) = next {
                    return Ok(Some((key, element)));
                }
            }
            let Some(key) = key_reader.next_key(self.max_bytes)? else { return Ok(None) };
            let Some(&key) = self.keys.iter().find(|&&wanted_key| wanted_key == key) else {
                key_reader.scanner.skip_value()?;
                continue;
            };
            if self.seen_keys.contains(&key) {
                let offset = key_reader.scanner.offset;
                return Err(Error::InvalidValue(format!(
                    "has the key {key} twice, the second time at byte {offset}"
                )));
            }
            self.seen_keys.push(key);
            match key_reader.scanner.peek_non_space()? {
                Some(b'[') => {
                    key_reader.scanner.skip(1);
                    self.current_list = Some((key, true));
                }
                // Null, or the NaN of Python.
                Some(b'n' | b'N') => key_reader.scanner.skip_value()?,
                _ => {
                    return Err(key_reader.scanner.unexpected_error(&format!("the list of {key}")));
                }
            }
        }
    }
}

impl<B: BufRead> Iterator for KeyedObjects<B> {
    type Item = Result<(&'static str, JsonObject)>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.key_reader = None;
        }
        next
    }
}
