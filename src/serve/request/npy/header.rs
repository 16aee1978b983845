//! The header of an array: a dictionary in Python's notation.

use super::MAGIC;
use crate::serve::request::options::quote_truncated;

/// Longest text of a header, in bytes; numpy itself accepts at most 10,000.
const MAX_HEADER_BYTES: usize = 10_000;
/// Most axes of an array; numpy's limit.
const MAX_AXES: usize = 64;

/// The content of a header.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NpyHeader {
    /// Type of the samples, such as `<u2`.
    pub(super) descr: String,
    /// True if the first axis changes fastest, false if the last one does.
    pub(super) is_fortran: bool,
    pub(super) shape: Vec<u64>,
}

impl NpyHeader {
    /// Reads the header, and returns it with the byte offset of the first sample. The error
    /// completes "the array ...".
    pub(super) fn read(bytes: &[u8]) -> Result<(Self, usize), String> {
        const TRUNCATED: &str = "is cut off within its header";
        let Some(rest) = bytes.strip_prefix(MAGIC) else {
            return Err("does not begin with \\x93NUMPY; send what numpy.save writes".to_owned());
        };
        let (length, start) = match *rest {
            [1, _, a, b, ..] => (usize::from(u16::from_le_bytes([a, b])), MAGIC.len() + 4),
            [2 | 3, _, a, b, c, d, ..] => {
                (u32::from_le_bytes([a, b, c, d]) as usize, MAGIC.len() + 6)
            }
            [version, minor, ..] if !(1..=3).contains(&version) => {
                return Err(format!("is of version {version}.{minor}; allowed: 1.0, 2.0 and 3.0"));
            }
            _ => return Err(TRUNCATED.to_owned()),
        };
        if length > MAX_HEADER_BYTES {
            return Err(format!(
                "has a header of {length} bytes; allowed: up to {MAX_HEADER_BYTES}"
            ));
        }
        let text = bytes.get(start..start + length).ok_or(TRUNCATED)?;
        let text =
            std::str::from_utf8(text).map_err(|_| "has a header that is no text".to_owned())?;
        let header =
            HeaderParser(text).parse_dictionary().map_err(|why| format!("has a header {why}"))?;
        Ok((header, start + length))
    }
}

/// The part of the text that is not parsed yet.
struct HeaderParser<'a>(&'a str);

impl<'a> HeaderParser<'a> {
    fn parse_dictionary(mut self) -> Result<NpyHeader, String> {
        let (mut descr, mut is_fortran, mut shape) = (None, None, None);
        self.expect('{')?;
        while !self.accept('}') {
            let key = self.parse_string()?;
            self.expect(':')?;
            let is_new = match key {
                "descr" if self.0.trim_start().starts_with('[') => {
                    return Err("of records with fields; send a plain array".to_owned());
                }
                "descr" => descr.replace(self.parse_string()?).is_none(),
                "fortran_order" => is_fortran.replace(self.parse_bool()?).is_none(),
                "shape" => shape.replace(self.parse_tuple()?).is_none(),
                _ => return Err(format!("with the key {}", quote_truncated(key))),
            };
            if !is_new {
                return Err(format!("that has {key:?} twice"));
            }
            if !self.accept(',') {
                self.expect('}')?;
                break;
            }
        }
        if !self.0.trim().is_empty() {
            return Err(format!("that goes on with {}", quote_truncated(self.0.trim())));
        }
        match (descr, is_fortran, shape) {
            (Some(descr), Some(is_fortran), Some(shape)) => {
                Ok(NpyHeader { descr: descr.to_owned(), is_fortran, shape })
            }
            _ => Err("that lacks 'descr', 'fortran_order' or 'shape'".to_owned()),
        }
    }

    /// Skips white space and then `expected`, if this is the next character.
    fn accept(&mut self, expected: char) -> bool {
        let rest = self.0.trim_start().strip_prefix(expected);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn expect(&mut self, expected: char) -> Result<(), String> {
        if self.accept(expected) {
            return Ok(());
        }
        Err(self.unexpected_error(&format!("{expected:?}")))
    }

    fn unexpected_error(&self, expected: &str) -> String {
        match self.0.trim_start() {
            "" => format!("that ends where {expected} should come"),
            rest => format!("that has {} where {expected} should come", quote_truncated(rest)),
        }
    }

    /// Reads a string in quotation marks of either kind. Escapes are not read, because no name of a
    /// type has any.
    fn parse_string(&mut self) -> Result<&'a str, String> {
        let rest = self.0.trim_start();
        let found = rest.chars().next().filter(|quote| matches!(quote, '\'' | '"'));
        let found = found.and_then(|quote| rest[1..].split_once(quote));
        let (text, rest) =
            found.ok_or_else(|| self.unexpected_error("a text in quotation marks"))?;
        self.0 = rest;
        Ok(text)
    }

    fn parse_bool(&mut self) -> Result<bool, String> {
        let rest = self.0.trim_start();
        for (name, value) in [("True", true), ("False", false)] {
            if let Some(rest) = rest.strip_prefix(name) {
                self.0 = rest;
                return Ok(value);
            }
        }
        Err(self.unexpected_error("True or False"))
    }

    fn parse_tuple(&mut self) -> Result<Vec<u64>, String> {
        let mut numbers = Vec::new();
        self.expect('(')?;
        while !self.accept(')') {
            if numbers.len() == MAX_AXES {
                return Err(format!("of more than {MAX_AXES} axes"));
            }
            numbers.push(self.parse_number()?);
            if !self.accept(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(numbers)
    }

    fn parse_number(&mut self) -> Result<u64, String> {
        let rest = self.0.trim_start();
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number =
            rest[..end].parse().map_err(|_| self.unexpected_error("a number of the shape"))?;
        // Python 2 wrote long integers with an L.
        self.0 = rest[end..].strip_prefix('L').unwrap_or(&rest[end..]);
        Ok(number)
    }
}
