//! JSON seen as brackets and strings: where a value ends, found without understanding it.

use std::io::{BufRead, ErrorKind};

/// Deepest nesting, as in `serde_json`, which reads the elements afterwards.
pub(super) const MAX_DEPTH: u32 = 128;

/// Where in a value the scan stands.
#[derive(Debug, Default)]
struct BracketState {
    depth: u32,
    /// One bit per open bracket, the innermost lowest: 1 for an object.
    is_object_bits: u128,
    in_string: bool,
    /// The byte before was a backslash.
    escaped: bool,
}

/// What brackets can be wrong about.
#[derive(Debug)]
enum BracketError {
    Mismatch(char, char),
    TooDeep,
}

impl BracketState {
    /// Takes bytes up to the end of the value or of `bytes`: how many, and whether the value is whole. Of an
    /// error, the number of bytes before the one that is wrong.
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
            self.apply_structural(bytes[position]).map_err(|error| (position, error))?;
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

/// Whether a byte outside of strings opens or closes something. The bit 0x20 tells `{` from `[` and `}` from `]`.
fn is_structural(byte: u8) -> bool {
    byte == b'"' || byte | 0x20 == b'{' || byte | 0x20 == b'}'
}

/// The first structural byte. Most bytes of a document are the numbers of brush regions: 32 at a time, which the
/// compiler turns into vector instructions, they cost next to nothing.
fn find_structural(bytes: &[u8]) -> Option<usize> {
    let mut position = 0;
    for block in bytes.chunks(32) {
        if block.iter().fold(false, |found, &byte| found | is_structural(byte)) {
            return block
                .iter()
                .position(|&byte| is_structural(byte))
                .map(|offset| position + offset);
        }
        position += block.len();
    }
    None
}

/// Bytes of a document and where they stand in it.
#[derive(Debug)]
pub(super) struct Scanner<B> {
    reader: B,
    /// Of the next byte, from the start of the document.
    pub(super) offset: u64,
}

impl<B: BufRead> Scanner<B> {
    pub(super) fn new(reader: B) -> Self {
        Self { reader, offset: 0 }
    }

    /// The bytes at hand; none at the end.
    fn fill_buffer(&mut self) -> Result<&[u8], String> {
        loop {
            match self.reader.fill_buf() {
                Ok(_) => break,
                Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
                Err(cause) => {
                    return Err(format!("cannot be read beyond byte {}: {cause}", self.offset));
                }
            }
        }
        // What was found above; asked again because a borrow may not leave a loop.
        self.reader.fill_buf().map_err(|cause| cause.to_string())
    }

    pub(super) fn skip(&mut self, bytes: usize) {
        self.reader.consume(bytes);
        self.offset += bytes as u64;
    }

    /// Skips a byte order mark, and tells text that is not UTF-8.
    pub(super) fn skip_byte_order_mark(&mut self) -> Result<(), String> {
        for (index, &expected) in b"\xEF\xBB\xBF".iter().enumerate() {
            match (self.fill_buffer()?.first(), index) {
                (Some(&first), _) if first == expected => self.skip(1),
                (Some(0xFE | 0xFF), 0) => {
                    return Err("is UTF-16 text; save it as UTF-8".to_owned());
                }
                (_, 0) => return Ok(()),
                _ => return Err("begins with half a byte order mark; save it as UTF-8".to_owned()),
            }
        }
        Ok(())
    }

    /// The next byte that is no space, which stays; none at the end.
    pub(super) fn peek_non_space(&mut self) -> Result<Option<u8>, String> {
        loop {
            let bytes = self.fill_buffer()?;
            if bytes.is_empty() {
                return Ok(None);
            }
            let is_whitespace = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
            let whitespace_len = bytes.iter().take_while(|byte| is_whitespace(byte)).count();
            let found = bytes.get(whitespace_len).copied();
            self.skip(whitespace_len);
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    /// The object, array or string that begins here. Longer than `limit` bytes is an error.
    pub(super) fn read_value(&mut self, max_bytes: usize) -> Result<Vec<u8>, String> {
        let mut value = Vec::new();
        self.scan_value(Some((&mut value, max_bytes)))?;
        Ok(value)
    }

    /// Skips the value that begins here, whatever it is.
    pub(super) fn skip_value(&mut self) -> Result<(), String> {
        match self.peek_non_space()? {
            Some(b'{' | b'[' | b'"') => self.scan_value(None),
            Some(b',' | b':' | b'}' | b']') | None => Err(self.unexpected_error("a value")),
            Some(_) => self.skip_literal(),
        }
    }

    /// A number, `true`, `false` or `null`; whether it is one is left to a parser.
    fn skip_literal(&mut self) -> Result<(), String> {
        let is_delimiter = |byte: &u8| {
            matches!(byte, b',' | b':' | b'{' | b'}' | b'[' | b']' | b'"') || *byte <= b' '
        };
        loop {
            let bytes = self.fill_buffer()?;
            let length = bytes.iter().take_while(|byte| !is_delimiter(byte)).count();
            let is_complete = length < bytes.len() || bytes.is_empty();
            self.skip(length);
            if is_complete {
                return Ok(());
            }
        }
    }

    fn scan_value(&mut self, mut output: Option<(&mut Vec<u8>, usize)>) -> Result<(), String> {
        let value_offset = self.offset;
        let mut state = BracketState::default();
        loop {
            let bytes = self.fill_buffer()?;
            if bytes.is_empty() {
                return Err(format!(
                    "ends at byte {} inside of the value that begins at byte {value_offset}: it was cut off",
                    self.offset
                ));
            }
            let (consumed, is_complete) = match state.consume(bytes) {
                Ok(progress) => progress,
                Err((bytes_before, error)) => {
                    let offset = self.offset + bytes_before as u64;
                    return Err(match error {
                        BracketError::Mismatch(found, expected) => format!(
                            "has {found} at byte {offset} where {expected} belongs, in the value that \
                             begins at byte {value_offset}"
                        ),
                        BracketError::TooDeep => format!(
                            "is nested deeper than {MAX_DEPTH} levels at byte {offset}; no annotation is"
                        ),
                    });
                }
            };
            if let Some((value, max_bytes)) = &mut output {
                if value.len() + consumed > *max_bytes {
                    return Err(format!(
                        "has a value at byte {value_offset} that is longer than {max_bytes} bytes, the limit \
                         for one"
                    ));
                }
                value.extend_from_slice(&bytes[..consumed]);
            }
            self.skip(consumed);
            if is_complete {
                return Ok(());
            }
        }
    }

    /// What stands here instead of what belongs here.
    pub(super) fn unexpected_error(&mut self, expected: &str) -> String {
        let found = match self.peek_non_space() {
            Ok(Some(byte)) if byte.is_ascii_graphic() => format!("has {}", char::from(byte)),
            Ok(Some(byte)) => format!("has the byte 0x{byte:02x}"),
            Ok(None) => "ends".to_owned(),
            Err(error) => return error,
        };
        format!("{found} at byte {} where {expected} belongs", self.offset)
    }
}
