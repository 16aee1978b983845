//! The elements of a JSON document, one at a time, without holding the document.
//!
//! Exports are single arrays of any size. Only brackets and strings are understood here; an element is read
//! by `serde_json` afterwards, which also tells what is no JSON inside of it. Errors complete a sentence that
//! begins with the document's name.

mod scanner;
#[cfg(test)]
mod tests;

use std::io::{BufRead, BufReader, Read};

use self::scanner::Scanner;

/// Bytes read at a time.
const BUFFER_BYTES: usize = 256 * 1024;

/// An object inside of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonObject {
    /// Where it begins, in bytes from the start of the document.
    pub offset: u64,
    /// From its opening to its closing brace.
    pub bytes: Vec<u8>,
}

/// The objects of a document that is an array of objects, one object, or objects one after the other, such as
/// one per line (JSON lines). A byte order mark is skipped. After an error there is nothing more.
#[derive(Debug)]
pub struct JsonObjects<R> {
    scanner: Scanner<BufReader<R>>,
    max_bytes: usize,
    state: ParseState,
}

#[derive(Debug, Clone, Copy)]
enum ParseState {
    Start,
    /// Inside of the array; whether before its first element.
    Array {
        is_first: bool,
    },
    /// Between objects that follow each other.
    Stream,
    End,
}

impl<R: Read> JsonObjects<R> {
    /// The elements of a document, none of them longer than `limit` bytes.
    pub fn new(reader: R, max_bytes: usize) -> Self {
        let scanner = Scanner::new(BufReader::with_capacity(BUFFER_BYTES, reader));
        Self { scanner, max_bytes, state: ParseState::Start }
    }

    fn advance(&mut self) -> Result<Option<JsonObject>, String> {
        if let ParseState::Start = self.state {
            self.scanner.skip_byte_order_mark()?;
            self.state = match self.scanner.peek_non_space()? {
                Some(b'[') => {
                    self.scanner.skip(1);
                    ParseState::Array { is_first: true }
                }
                Some(b'{') => ParseState::Stream,
                None => return Err("is empty; expected JSON".to_owned()),
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
    type Item = Result<JsonObject, String>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.state = ParseState::End;
        }
        next
    }
}

fn read_object<B: BufRead>(
    scanner: &mut Scanner<B>,
    max_bytes: usize,
) -> Result<JsonObject, String> {
    let offset = scanner.offset;
    Ok(JsonObject { offset, bytes: scanner.read_value(max_bytes)? })
}

/// The next object of the array that the source stands in; none behind the last, with the bracket skipped.
fn read_array_object<B: BufRead>(
    scanner: &mut Scanner<B>,
    is_first: bool,
    max_bytes: usize,
) -> Result<Option<JsonObject>, String> {
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

/// Nothing may follow the document.
fn expect_end<T, B: BufRead>(scanner: &mut Scanner<B>) -> Result<Option<T>, String> {
    match scanner.peek_non_space()? {
        None => Ok(None),
        Some(_) => Err(scanner.unexpected_error("the end of the document")),
    }
}

/// An object whose keys are walked through.
#[derive(Debug)]
struct KeyReader<B> {
    scanner: Scanner<B>,
    is_first: bool,
}

impl<B: BufRead> KeyReader<B> {
    fn open(reader: B) -> Result<Self, String> {
        let mut scanner = Scanner::new(reader);
        scanner.skip_byte_order_mark()?;
        match scanner.peek_non_space()? {
            Some(b'{') => scanner.skip(1),
            None => return Err("is empty; expected a JSON object".to_owned()),
            Some(_) => return Err(scanner.unexpected_error("{")),
        }
        Ok(Self { scanner, is_first: true })
    }

    /// The next key; the source then stands before its value. None behind the last one.
    fn next_key(&mut self, max_bytes: usize) -> Result<Option<String>, String> {
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
        let key = serde_json::from_slice(&key).map_err(|cause| {
            format!("has a key at byte {key_offset} that is no string: {cause}")
        })?;
        let Some(b':') = self.scanner.peek_non_space()? else {
            return Err(self.scanner.unexpected_error(":"));
        };
        self.scanner.skip(1);
        self.scanner.peek_non_space()?;
        Ok(Some(key))
    }
}

/// The keys of the object that a document is, in order.
pub(super) fn read_object_keys(document: &[u8]) -> Result<Vec<String>, String> {
    let mut key_reader = KeyReader::open(document)?;
    let mut keys = Vec::new();
    while let Some(key) = key_reader.next_key(document.len())? {
        keys.push(key);
        key_reader.scanner.skip_value()?;
    }
    Ok(keys)
}

/// Whether a document is an object in which one of the keys has a list of objects, which may be empty. Not further
/// read than that takes; what is no JSON is not.
pub(super) fn has_object_list(reader: impl Read, keys: &[&str]) -> bool {
    let search = || -> Result<bool, String> {
        let mut key_reader = KeyReader::open(BufReader::with_capacity(BUFFER_BYTES, reader))?;
        while let Some(key) = key_reader.next_key(BUFFER_BYTES)? {
            if keys.contains(&key.as_str()) && key_reader.scanner.peek_non_space()? == Some(b'[') {
                key_reader.scanner.skip(1);
                return Ok(matches!(key_reader.scanner.peek_non_space()?, Some(b'{' | b']')));
            }
            key_reader.scanner.skip_value()?;
        }
        Ok(false)
    };
    search().unwrap_or(false)
}

/// The objects in the lists that a document, an object, has under some of its keys: what COCO files are made of.
/// Keys that are missing or null have none. After an error there is nothing more.
#[derive(Debug)]
pub struct KeyedObjects<B> {
    reader: Option<B>,
    key_reader: Option<KeyReader<B>>,
    keys: &'static [&'static str],
    seen_keys: Vec<&'static str>,
    max_bytes: usize,
    /// The list that is read, and whether before its first element.
    current_list: Option<(&'static str, bool)>,
}

impl<B: BufRead> KeyedObjects<B> {
    /// The objects under `keys`, none of them longer than `limit` bytes.
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

    fn advance(&mut self) -> Result<Option<(&'static str, JsonObject)>, String> {
        if let Some(reader) = self.reader.take() {
            self.key_reader = Some(KeyReader::open(reader)?);
        }
        let Some(key_reader) = &mut self.key_reader else { return Ok(None) };
        loop {
            if let Some((key, is_first)) = self.current_list {
                let next = read_array_object(&mut key_reader.scanner, is_first, self.max_bytes)
                    .map_err(|error| format!("{error} (in {key})"))?;
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
                return Err(format!("has the key {key} twice, the second time at byte {offset}"));
            }
            self.seen_keys.push(key);
            match key_reader.scanner.peek_non_space()? {
                Some(b'[') => {
                    key_reader.scanner.skip(1);
                    self.current_list = Some((key, true));
                }
                Some(b'n') => key_reader.scanner.skip_value()?,
                _ => {
                    return Err(key_reader.scanner.unexpected_error(&format!("the list of {key}")));
                }
            }
        }
    }
}

impl<B: BufRead> Iterator for KeyedObjects<B> {
    type Item = Result<(&'static str, JsonObject), String>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.key_reader = None;
        }
        next
    }
}
