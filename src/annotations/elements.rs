//! The elements of a JSON document, one at a time, without holding the document.
//!
//! Exports are single arrays of any size. Only brackets and strings are understood here; an element is read
//! by `serde_json` afterwards, which also tells what is no JSON inside of it. Errors complete a sentence that
//! begins with the document's name.

mod scan;
#[cfg(test)]
mod tests;

use std::io::{BufRead, BufReader, Read};

use self::scan::Source;

/// Bytes read at a time.
const BUFFER: usize = 256 * 1024;

/// An object inside of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// Where it begins, in bytes from the start of the document.
    pub offset: u64,
    /// From its opening to its closing brace.
    pub bytes: Vec<u8>,
}

/// The objects of a document that is an array of objects, one object, or objects one after the other, such as
/// one per line (JSON lines). A byte order mark is skipped. After an error there is nothing more.
#[derive(Debug)]
pub struct Elements<R> {
    source: Source<BufReader<R>>,
    limit: usize,
    place: Place,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Start,
    /// Inside of the array; whether before its first element.
    Array {
        first: bool,
    },
    /// Between objects that follow each other.
    Stream,
    End,
}

impl<R: Read> Elements<R> {
    /// The elements of a document, none of them longer than `limit` bytes.
    pub fn new(reader: R, limit: usize) -> Self {
        let source = Source::new(BufReader::with_capacity(BUFFER, reader));
        Self { source, limit, place: Place::Start }
    }

    fn advance(&mut self) -> Result<Option<Element>, String> {
        if let Place::Start = self.place {
            self.source.begin()?;
            self.place = match self.source.peek()? {
                Some(b'[') => {
                    self.source.skip(1);
                    Place::Array { first: true }
                }
                Some(b'{') => Place::Stream,
                None => return Err("is empty; expected JSON".to_owned()),
                Some(_) => return Err(self.source.unexpected("{ or [")),
            };
        }
        match self.place {
            Place::Array { first } => {
                self.place = Place::Array { first: false };
                match next_of_array(&mut self.source, first, self.limit)? {
                    Some(element) => Ok(Some(element)),
                    None => end(&mut self.source),
                }
            }
            Place::Stream => match self.source.peek()? {
                Some(b'{') => element(&mut self.source, self.limit).map(Some),
                Some(_) => Err(self.source.unexpected("another object or the end")),
                None => Ok(None),
            },
            Place::Start | Place::End => Ok(None),
        }
    }
}

impl<R: Read> Iterator for Elements<R> {
    type Item = Result<Element, String>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.place = Place::End;
        }
        next
    }
}

fn element<B: BufRead>(source: &mut Source<B>, limit: usize) -> Result<Element, String> {
    let offset = source.offset;
    Ok(Element { offset, bytes: source.value(limit)? })
}

/// The next object of the array that the source stands in; none behind the last, with the bracket skipped.
fn next_of_array<B: BufRead>(
    source: &mut Source<B>,
    first: bool,
    limit: usize,
) -> Result<Option<Element>, String> {
    match source.peek()? {
        Some(b']') => {
            source.skip(1);
            return Ok(None);
        }
        Some(b',') if !first => source.skip(1),
        _ if !first => return Err(source.unexpected(", or ]")),
        _ => {}
    }
    match source.peek()? {
        Some(b'{') => element(source, limit).map(Some),
        _ => Err(source.unexpected(if first { "an object or ]" } else { "an object" })),
    }
}

/// Nothing may follow the document.
fn end<T, B: BufRead>(source: &mut Source<B>) -> Result<Option<T>, String> {
    match source.peek()? {
        None => Ok(None),
        Some(_) => Err(source.unexpected("the end of the document")),
    }
}

/// An object whose keys are walked through.
#[derive(Debug)]
struct Walk<B> {
    source: Source<B>,
    first: bool,
}

impl<B: BufRead> Walk<B> {
    fn begin(reader: B) -> Result<Self, String> {
        let mut source = Source::new(reader);
        source.begin()?;
        match source.peek()? {
            Some(b'{') => source.skip(1),
            None => return Err("is empty; expected a JSON object".to_owned()),
            Some(_) => return Err(source.unexpected("{")),
        }
        Ok(Self { source, first: true })
    }

    /// The next key; the source then stands before its value. None behind the last one.
    fn next_key(&mut self, limit: usize) -> Result<Option<String>, String> {
        match self.source.peek()? {
            Some(b'}') => {
                self.source.skip(1);
                return end(&mut self.source);
            }
            Some(b',') if !self.first => self.source.skip(1),
            _ if !self.first => return Err(self.source.unexpected(", or }")),
            _ => {}
        }
        self.first = false;
        let Some(b'"') = self.source.peek()? else { return Err(self.source.unexpected("a key")) };
        let begin = self.source.offset;
        let key = self.source.value(limit)?;
        let key = serde_json::from_slice(&key)
            .map_err(|cause| format!("has a key at byte {begin} that is no string: {cause}"))?;
        let Some(b':') = self.source.peek()? else { return Err(self.source.unexpected(":")) };
        self.source.skip(1);
        self.source.peek()?;
        Ok(Some(key))
    }
}

/// The keys of the object that a document is, in order.
pub(super) fn keys(document: &[u8]) -> Result<Vec<String>, String> {
    let mut walk = Walk::begin(document)?;
    let mut keys = Vec::new();
    while let Some(key) = walk.next_key(document.len())? {
        keys.push(key);
        walk.source.skip_value()?;
    }
    Ok(keys)
}

/// Whether a document is an object in which one of the keys has a list of objects, which may be empty. Not further
/// read than that takes; what is no JSON is not.
pub(super) fn has_list(reader: impl Read, keys: &[&str]) -> bool {
    let look = || -> Result<bool, String> {
        let mut walk = Walk::begin(BufReader::with_capacity(BUFFER, reader))?;
        while let Some(key) = walk.next_key(BUFFER)? {
            if keys.contains(&key.as_str()) && walk.source.peek()? == Some(b'[') {
                walk.source.skip(1);
                return Ok(matches!(walk.source.peek()?, Some(b'{' | b']')));
            }
            walk.source.skip_value()?;
        }
        Ok(false)
    };
    look().unwrap_or(false)
}

/// The objects in the lists that a document, an object, has under some of its keys: what COCO files are made of.
/// Keys that are missing or null have none. After an error there is nothing more.
#[derive(Debug)]
pub struct Members<B> {
    reader: Option<B>,
    walk: Option<Walk<B>>,
    keys: &'static [&'static str],
    seen: Vec<&'static str>,
    limit: usize,
    /// The list that is read, and whether before its first element.
    list: Option<(&'static str, bool)>,
}

impl<B: BufRead> Members<B> {
    /// The objects under `keys`, none of them longer than `limit` bytes.
    pub fn new(reader: B, keys: &'static [&'static str], limit: usize) -> Self {
        let seen = Vec::new();
        Self { reader: Some(reader), walk: None, keys, seen, limit, list: None }
    }

    fn advance(&mut self) -> Result<Option<(&'static str, Element)>, String> {
        if let Some(reader) = self.reader.take() {
            self.walk = Some(Walk::begin(reader)?);
        }
        let Some(walk) = &mut self.walk else { return Ok(None) };
        loop {
            if let Some((key, first)) = self.list {
                let next = next_of_array(&mut walk.source, first, self.limit)
                    .map_err(|text| format!("{text} (in {key})"))?;
                self.list = next.is_some().then_some((key, false));
                if let Some(element) = next {
                    return Ok(Some((key, element)));
                }
            }
            let Some(key) = walk.next_key(self.limit)? else { return Ok(None) };
            let Some(&key) = self.keys.iter().find(|&&known| known == key) else {
                walk.source.skip_value()?;
                continue;
            };
            if self.seen.contains(&key) {
                let at = walk.source.offset;
                return Err(format!("has the key {key} twice, the second time at byte {at}"));
            }
            self.seen.push(key);
            match walk.source.peek()? {
                Some(b'[') => {
                    walk.source.skip(1);
                    self.list = Some((key, true));
                }
                Some(b'n') => walk.source.skip_value()?,
                _ => return Err(walk.source.unexpected(&format!("the list of {key}"))),
            }
        }
    }
}

impl<B: BufRead> Iterator for Members<B> {
    type Item = Result<(&'static str, Element), String>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.walk = None;
        }
        next
    }
}
