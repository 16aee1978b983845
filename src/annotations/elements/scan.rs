//! JSON seen as brackets and strings: where a value ends, found without understanding it.

use std::io::{BufRead, ErrorKind};

/// Deepest nesting, as in `serde_json`, which reads the elements afterwards.
pub(super) const MAX_DEPTH: u32 = 128;

/// Where in a value the scan stands.
#[derive(Debug, Default)]
struct Structure {
    depth: u32,
    /// One bit per open bracket, the innermost lowest: 1 for an object.
    objects: u128,
    in_string: bool,
    /// The byte before was a backslash.
    escaped: bool,
}

/// What brackets can be wrong about.
#[derive(Debug)]
enum Wrong {
    Bracket(char, char),
    TooDeep,
}

impl Structure {
    /// Takes bytes up to the end of the value or of `bytes`: how many, and whether the value is whole. Of an
    /// error, the number of bytes before the one that is wrong.
    fn take(&mut self, bytes: &[u8]) -> Result<(usize, bool), (usize, Wrong)> {
        let mut at = 0;
        loop {
            if self.in_string {
                if self.escaped && at < bytes.len() {
                    self.escaped = false;
                    at += 1;
                }
                let Some(next) = memchr::memchr2(b'"', b'\\', &bytes[at..]) else { break };
                at += next + 1;
                if bytes[at - 1] == b'\\' {
                    self.escaped = true;
                } else {
                    self.in_string = false;
                    if self.depth == 0 {
                        return Ok((at, true));
                    }
                }
                continue;
            }
            let Some(next) = structural(&bytes[at..]) else { break };
            at += next;
            self.bracket(bytes[at]).map_err(|wrong| (at, wrong))?;
            at += 1;
            if self.depth == 0 && !self.in_string {
                return Ok((at, true));
            }
        }
        Ok((bytes.len(), false))
    }

    fn bracket(&mut self, byte: u8) -> Result<(), Wrong> {
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' if self.depth == MAX_DEPTH => return Err(Wrong::TooDeep),
            b'{' | b'[' => {
                self.objects = self.objects << 1 | u128::from(byte == b'{');
                self.depth += 1;
            }
            _ => {
                let expected = if self.objects & 1 == 1 { b'}' } else { b']' };
                if byte != expected || self.depth == 0 {
                    return Err(Wrong::Bracket(byte.into(), expected.into()));
                }
                self.objects >>= 1;
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
fn structural(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    for block in bytes.chunks(32) {
        if block.iter().fold(false, |any, &byte| any | is_structural(byte)) {
            return block.iter().position(|&byte| is_structural(byte)).map(|next| at + next);
        }
        at += block.len();
    }
    None
}

/// Bytes of a document and where they stand in it.
#[derive(Debug)]
pub(super) struct Source<B> {
    reader: B,
    /// Of the next byte, from the start of the document.
    pub(super) offset: u64,
}

impl<B: BufRead> Source<B> {
    pub(super) fn new(reader: B) -> Self {
        Self { reader, offset: 0 }
    }

    /// The bytes at hand; none at the end.
    fn bytes(&mut self) -> Result<&[u8], String> {
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
    pub(super) fn begin(&mut self) -> Result<(), String> {
        for (number, &mark) in b"\xEF\xBB\xBF".iter().enumerate() {
            match (self.bytes()?.first(), number) {
                (Some(&first), _) if first == mark => self.skip(1),
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
    pub(super) fn peek(&mut self) -> Result<Option<u8>, String> {
        loop {
            let bytes = self.bytes()?;
            if bytes.is_empty() {
                return Ok(None);
            }
            let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
            let spaces = bytes.iter().take_while(|byte| is_space(byte)).count();
            let found = bytes.get(spaces).copied();
            self.skip(spaces);
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    /// The object, array or string that begins here. Longer than `limit` bytes is an error.
    pub(super) fn value(&mut self, limit: usize) -> Result<Vec<u8>, String> {
        let mut kept = Vec::new();
        self.scan(Some((&mut kept, limit)))?;
        Ok(kept)
    }

    /// Skips the value that begins here, whatever it is.
    pub(super) fn skip_value(&mut self) -> Result<(), String> {
        match self.peek()? {
            Some(b'{' | b'[' | b'"') => self.scan(None),
            Some(b',' | b':' | b'}' | b']') | None => Err(self.unexpected("a value")),
            Some(_) => self.skip_word(),
        }
    }

    /// A number, `true`, `false` or `null`; whether it is one is left to a parser.
    fn skip_word(&mut self) -> Result<(), String> {
        let ends = |byte: &u8| {
            matches!(byte, b',' | b':' | b'{' | b'}' | b'[' | b']' | b'"') || *byte <= b' '
        };
        loop {
            let bytes = self.bytes()?;
            let word = bytes.iter().take_while(|byte| !ends(byte)).count();
            let ended = word < bytes.len() || bytes.is_empty();
            self.skip(word);
            if ended {
                return Ok(());
            }
        }
    }

    fn scan(&mut self, mut keep: Option<(&mut Vec<u8>, usize)>) -> Result<(), String> {
        let begin = self.offset;
        let mut structure = Structure::default();
        loop {
            let bytes = self.bytes()?;
            if bytes.is_empty() {
                return Err(format!(
                    "ends at byte {} inside of the value that begins at byte {begin}: it was cut off",
                    self.offset
                ));
            }
            let (used, whole) = match structure.take(bytes) {
                Ok(taken) => taken,
                Err((before, wrong)) => {
                    let at = self.offset + before as u64;
                    return Err(match wrong {
                        Wrong::Bracket(found, expected) => format!(
                            "has {found} at byte {at} where {expected} belongs, in the value that \
                             begins at byte {begin}"
                        ),
                        Wrong::TooDeep => format!(
                            "is nested deeper than {MAX_DEPTH} levels at byte {at}; no annotation is"
                        ),
                    });
                }
            };
            if let Some((kept, limit)) = &mut keep {
                if kept.len() + used > *limit {
                    return Err(format!(
                        "has a value at byte {begin} that is longer than {limit} bytes, the limit \
                         for one"
                    ));
                }
                kept.extend_from_slice(&bytes[..used]);
            }
            self.skip(used);
            if whole {
                return Ok(());
            }
        }
    }

    /// What stands here instead of what belongs here.
    pub(super) fn unexpected(&mut self, expected: &str) -> String {
        let found = match self.peek() {
            Ok(Some(byte)) if byte.is_ascii_graphic() => format!("has {}", char::from(byte)),
            Ok(Some(byte)) => format!("has the byte 0x{byte:02x}"),
            Ok(None) => "ends".to_owned(),
            Err(text) => return text,
        };
        format!("{found} at byte {} where {expected} belongs", self.offset)
    }
}
