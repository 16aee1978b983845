//! RecordIO, the framing of SageMaker's Pipe mode, which is dmlc's (MXNet's).
//!
//! A part is the magic number, then three bits of kind and 29 of length, both little endian, then
//! the payload, padded with zeros to 4 bytes. A record is one part, unless its payload holds the
//! magic number at a multiple of 4: then dmlc's writers split it there into several parts and leave
//! the number out at each border, and readers insert it again.

use std::io::{self, Read};

/// First word of every part.
pub const MAGIC: u32 = 0xced7_230a;

/// Largest number of bytes of a record: more than any image within the limit of pixels needs.
pub const MAX_RECORD_BYTES: usize = 256 << 20;

/// Bytes of a part before its payload.
const HEADER_BYTES: usize = 8;

/// Reason why the rest of a stream cannot be read.
#[derive(Debug)]
pub enum RecordIoError {
    /// The bytes are not RecordIO. The text names the place, what was found and what was expected.
    Malformed(String),
    /// The operating system could not read the stream.
    Io(io::Error),
}

/// Kind of a part, by the upper three bits of its second word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PartKind {
    Whole,
    First,
    Middle,
    Last,
}

/// A reader of the records of a stream, in order.
#[derive(Debug)]
pub struct RecordIoReader<R> {
    input: R,
    max_record_bytes: usize,
    /// Bytes read so far.
    offset: u64,
    /// Records read so far.
    record_count: u64,
}

impl<R: Read> RecordIoReader<R> {
    /// Creates a reader of records of at most `max_record_bytes` bytes.
    pub fn new(input: R, max_record_bytes: usize) -> Self {
        Self { input, max_record_bytes, offset: 0, record_count: 0 }
    }

    /// Returns the number of records read so far, which is also the number, from 1, of the last
    /// one.
    pub fn record_count(&self) -> u64 {
        self.record_count
    }

    /// Reads the next record. Returns nothing at the end of the stream.
    pub fn read(&mut self) -> Result<Option<Vec<u8>>, RecordIoError> {
        let mut record = Vec::new();
        let mut expected_kinds: &[PartKind] = &[PartKind::Whole, PartKind::First];
        loop {
            let Some((kind, length)) = self.read_header(expected_kinds)? else { return Ok(None) };
            if matches!(kind, PartKind::Middle | PartKind::Last) {
                record.extend(MAGIC.to_le_bytes());
            }
            if record.len() + length > self.max_record_bytes {
                return Err(self.malformed_error(&format!(
                    "{} bytes or more, and a record may have {}",
                    record.len() + length,
                    self.max_record_bytes
                )));
            }
            self.read_payload(&mut record, length)?;
            if matches!(kind, PartKind::Whole | PartKind::Last) {
                self.record_count += 1;
                return Ok(Some(record));
            }
            expected_kinds = &[PartKind::Middle, PartKind::Last];
        }
    }

    /// Reads the kind and length of the next part. Returns nothing at an end of the stream where a
    /// record may begin.
    fn read_header(
        &mut self,
        expected_kinds: &[PartKind],
    ) -> Result<Option<(PartKind, usize)>, RecordIoError> {
        let mut header = Vec::with_capacity(HEADER_BYTES);
        let bytes_read = self.read_up_to(&mut header, HEADER_BYTES)?;
        if bytes_read == 0 && expected_kinds.contains(&PartKind::First) {
            return Ok(None);
        }
        if bytes_read >= 4 && read_word(&header) != MAGIC {
            return Err(self.malformed_error(&format!(
                "it begins with {:02x?}{} and not with RecordIO's magic number [0a, 23, d7, ce]",
                &header[..4],
                guess_format(&header)
            )));
        }
        if bytes_read < HEADER_BYTES {
            return Err(self.truncated_error(bytes_read, "the 8 bytes of a header"));
        }
        let word = read_word(&header[4..]);
        let kind = match word >> 29 {
            0 => PartKind::Whole,
            1 => PartKind::First,
            2 => PartKind::Middle,
            3 => PartKind::Last,
            other => return Err(self.malformed_error(&format!("kind {other}; defined are 0 to 3"))),
        };
        if !expected_kinds.contains(&kind) {
            let expected_text = if expected_kinds.contains(&PartKind::First) {
                "a record begins"
            } else {
                "the record goes on"
            };
            return Err(self.malformed_error(&format!(
                "a part of kind {} where {expected_text}",
                kind as u32
            )));
        }
        // 29 bits always fit.
        Ok(Some((kind, (word & 0x1fff_ffff) as usize)))
    }

    /// Appends a part's payload to the record and skips its padding.
    fn read_payload(&mut self, record: &mut Vec<u8>, length: usize) -> Result<(), RecordIoError> {
        let bytes_read = self.read_up_to(record, length)?;
        if bytes_read < length {
            return Err(self.truncated_error(bytes_read, &format!("a payload of {length} bytes")));
        }
        let (mut padding, padding_bytes) = (Vec::new(), length.next_multiple_of(4) - length);
        let padding_read = self.read_up_to(&mut padding, padding_bytes)?;
        if padding_read < padding_bytes {
            return Err(
                self.truncated_error(padding_read, &format!("{padding_bytes} bytes of padding"))
            );
        }
        Ok(())
    }

    /// Appends up to `max_bytes` bytes, fewer only at the end of the stream. Memory grows with the
    /// bytes that come, as a length in a header may be wrong.
    fn read_up_to(
        &mut self,
        buffer: &mut Vec<u8>,
        max_bytes: usize,
    ) -> Result<usize, RecordIoError> {
        let mut part = self.input.by_ref().take(max_bytes as u64);
        let bytes_read = part.read_to_end(buffer).map_err(RecordIoError::Io)?;
        self.offset += bytes_read as u64;
        Ok(bytes_read)
    }

    fn truncated_error(&self, bytes_read: usize, expected: &str) -> RecordIoError {
        self.malformed_error(&format!("the stream ends after {bytes_read} of {expected}"))
    }

    fn malformed_error(&self, reason: &str) -> RecordIoError {
        let (record, offset) = (self.record_count + 1, self.offset);
        RecordIoError::Malformed(format!("record {record} (read up to byte {offset}): {reason}"))
    }
}

/// Reads the word at the start of at least 4 bytes.
fn read_word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// Guesses the format of a stream without frames, for the message.
fn guess_format(bytes: &[u8]) -> &'static str {
    match bytes {
        [0xff, 0xd8, ..] => " (a JPEG)",
        [0x89, b'P', b'N', b'G', ..] => " (a PNG)",
        [b'{' | b'[', ..] => " (JSON)",
        [0x1f, 0x8b, ..] => " (gzip)",
        _ => "",
    }
}

#[cfg(test)]
mod tests;
