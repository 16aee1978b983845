//! Scanner that finds the end of a JSON value from its brackets and strings, without parsing it.

use std::io::{BufRead, ErrorKind};

use crate::annotations::error::{Error, Result};

/// Largest nesting depth, the same as that of `serde_json`, which parses the objects afterwards.
pub(super) const MAX_DEPTH: u32 = 128;

/// State of the scan inside of a value.
#[derive(Debug, Default)]
struct BracketState {
    depth: u32,
    /// One bit per open bracket, the innermost lowest: 1 for `{`, 0 for `[`.
    is_object_bits: u128,
    in_string: bool,
    /// True if the byte before was a backslash.
    escaped: bool,
}

/// Error of a bracket.
#[derive(Debug)]
enum BracketError {
    Mismatch(char, char),
    TooDeep,
}

impl BracketState {
    /// Scans bytes up to the end of the value or of `bytes`. Returns the number of scanned bytes,
    /// and true if the value is complete. An error comes with the number of bytes before the wrong
    /// one.
    fn consume(&mut self, bytes: &[u8]) -> Result<(usize, bool), (usize, BracketError)> {
        let mut position = 0;
        loop {
            if self.in_string {
                if self.escaped && position < bytes.len() {
                    self.escaped = false;
                    position += 1;
                }
                let Some(offset) = memchr::memchr2(b'"', b'\\', &bytes[position..]) else { break };
                position += offset + 1;
                if bytes[position - 1] == b'\\' {
                    self.escaped = true;
                } else {
                    self.in_string = false;
                    if self.depth == 0 {
                        return Ok((position, true));
                    }
                }
                continue;
            }
            let Some(offset) = find_structural(&bytes[position..]) else { break };
            position += offset;
            if let Err(error) = self.apply_structural(bytes[position]) {
                return Err((position, error));
            }
            position += 1;
            if self.depth == 0 && !self.in_string {
                return Ok((position, true));
            }
        }
        Ok((bytes.len(), false))
    }

    fn apply_structural(&mut self, byte: u8) -> Result<(), BracketError> {
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' if self.depth == MAX_DEPTH => return Err(BracketError::TooDeep),
            b'{' | b'[' => {
                self.is_object_bits = self.is_object_bits << 1 | u128::from(byte == b'{');
                self.depth += 1;
            }
            _ => {
                let expected = if self.is_object_bits & 1 == 1 { b'}' } else { b']' };
                if byte != expected || self.depth == 0 {
                    return Err(BracketError::Mismatch(byte.into(), expected.into()));
                }
                self.is_object_bits >>= 1;
                self.depth -= 1;
            }
        }
        Ok(())
    }
}

/// Returns true if a byte outside of strings opens or closes something. The bit 0x20 tells `{` from
/// `[` and `}` from `]`.
fn is_structural(byte: u8) -> bool {
    byte == b'"' || byte | 0x20 == b'{' || byte | 0x20 == b'}'
}

fn is_json_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Returns true if a byte ends a number or a word. Control characters do too.
fn is_delimiter(byte: u8) -> bool {
    is_structural(byte) || matches!(byte, b',' | b':') || byte <= b' '
}

/// Returns the position of the first structural byte. Most bytes of a document are the numbers of
/// brush regions. They are tested 32 at a time, a loop that the compiler vectorizes.
fn find_structural(bytes: &[u8]) -> Option<usize> {
    let mut position = 0;
    for block in bytes.chunks(32) {
        if block.iter().fold(false, |found, &byte| found | is_structural(byte)) {
            let offset = block.iter().position(|&byte| is_structural(byte))?;
            return Some(position + offset);
        }
        position += block.len();
    }
    None
}

/// Reader of a document that counts bytes.
#[derive(Debug)]
pub(super) struct Scanner<B> {
    reader: B,
    /// Position of the next byte, in bytes from the start of the document.
    pub(super) offset: u64,
}

impl<B: BufRead> Scanner<B> {
    pub(super) fn new(reader: B) -> Self {
        Self { reader, offset: 0 }
    }

    /// Returns the buffered bytes; none at the end of the document.
    fn fill_buffer(&mut self) -> Result<&[u8]> {
        loop {
            match self.reader.fill_buf() {
                Ok(_) => break,
                Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
                Err(cause) => return Err(Error::Read { offset: self.offset, cause }),
            }
        }
        // Returns the bytes found above: the borrow checker lets no borrow leave a loop.
        self.reader.fill_buf().map_err(|cause| Error::Read { offset: self.offset, cause })
    }

    pub(super) fn skip(&mut self, bytes: usize) {
        self.reader.consume(bytes);
        self.offset += bytes as u64;
    }

    /// Skips a byte order mark. UTF-16 is an error.
    pub(super) fn skip_byte_order_mark(&mut self) -> Result<()> {
        for (index, &expected) in b"\xEF\xBB\xBF".iter().enumerate() {
            match (self.fill_buffer()?.first(), index) {
                (Some(&first), _) if first == expected => self.skip(1),
                (Some(0xFE | 0xFF), 0) => {
                    return Err(Error::Unsupported("is UTF-16 text; save it as UTF-8".to_owned()));
                }
                (_, 0) => return Ok(()),
                _ => {
                    return Err(Error::syntax(
                        "begins with half a byte order mark; save it as UTF-8",
                    ));
                }
            }
        }
        Ok(())
    }

    /// Skips spaces and returns the next byte without consuming it; none at the end.
    pub(super) fn peek_non_space(&mut self) -> Result<Option<u8>> {
        loop {
            let bytes = self.fill_buffer()?;
            if bytes.is_empty() {
                return Ok(None);
            }
            let space_count = bytes.iter().take_while(|&&byte| is_json_space(byte)).count();
            let found = bytes.get(space_count).copied();
            self.skip(space_count);
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    /// Reads the object, array or string that begins here. More than `max_bytes` bytes are an
    /// error.
    pub(super) fn read_value(&mut self, max_bytes: usize) -> Result<Vec<u8>> {
        let mut value = Vec::new();
        self.scan_value(Some((&mut value, max_bytes)))?;
        Ok(value)
    }

    /// Skips the value of any kind that begins here.
    pub(super) fn skip_value(&mut self) -> Result<()> {
        match self.peek_non_space()? {
            Some(b'{' | b'[' | b'"') => self.scan_value(None),
            Some(b',' | b':' | b'}' | b']') | None => Err(self.unexpected_error("a value")),
            Some(_) => self.skip_literal(),
        }
    }

    /// Skips a number, `true`, `false` or `null`, without checking that it is one.
    fn skip_literal(&mut self) -> Result<()> {
        loop {
            let bytes = self.fill_buffer()?;
            let length = bytes.iter().take_while(|&&byte| !is_delimiter(byte)).count();
            let is_complete = length < bytes.len() || bytes.is_empty();
            self.skip(length);
            if is_complete {
                return Ok(());
            }
        }
    }

    fn scan_value(&mut self, mut output: Option<(&mut Vec<u8>, usize)>) -> Result<()> {
        let value_offset = self.offset;
        let mut state = BracketState::default();
        loop {
            let bytes = self.fill_buffer()?;
            if bytes.is_empty() {
                return Err(Error::Truncated(format!(
                    "ends at byte {} inside of the value that begins at byte {value_offset}: it \
                     was cut off",
                    self.offset
                )));
            }
            let (consumed, is_complete) = match state.consume(bytes) {
                Ok(progress) => progress,
                Err((bytes_before, error)) => {
                    let offset = self.offset + bytes_before as u64;
                    return Err(match error {
                        BracketError::Mismatch(found, expected) => Error::syntax(format!(
                            "has {found} at byte {offset} where {expected} belongs, in the value \
                             that begins at byte {value_offset}"
                        )),
                        BracketError::TooDeep => Error::TooLarge(format!(
                            "is nested deeper than {MAX_DEPTH} levels at byte {offset}; no \
                             annotation is"
                        )),
                    });
                }
            };
            if let Some((value, max_bytes)) = &mut output {
                if value.len() + consumed > *max_bytes {
                    return Err(Error::TooLarge(format!(
                        "has a value at byte {value_offset} that is longer than {max_bytes} bytes, \
                         the limit for one"
                    )));
                }
                value.extend_from_slice(&bytes[..consumed]);
            }
            self.skip(consumed);
            if is_complete {
                return Ok(());
            }
        }
    }

    /// Returns the error that names the next byte and what was expected in its place.
    pub(super) fn unexpected_error(&mut self, expected: &str) -> Error {
        let found = match self.peek_non_space() {
            Ok(Some(byte)) if byte.is_ascii_graphic() => char::from(byte).to_string(),
            Ok(Some(byte)) => format!("the byte 0x{byte:02x}"),
            Ok(None) => {
                let offset = self.offset;
                return Error::Truncated(format!("ends at byte {offset} where {expected} belongs"));
            }
            Err(error) => return error,
        };
        Error::syntax(format!("has {found} at byte {} where {expected} belongs", self.offset))
    }
}
