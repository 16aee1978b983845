//! RecordIO, the framing of SageMaker's Pipe mode, which is dmlc's (MXNet's).
//!
//! A part is the magic number, then three bits of kind and 29 of length, both little endian, then the
//! payload, padded with zeros to 4 bytes. A record is one part; or, when its payload holds the magic
//! number at a multiple of 4, the parts between: dmlc's writers leave the number out at each border, and
//! readers put it back.

use std::io::{self, Read};

/// The first word of every part.
pub const MAGIC: u32 = 0xced7_230a;

/// Bytes that a record may have: more than any image within the limit of pixels needs.
pub const MAX_RECORD: usize = 256 << 20;

/// Bytes of a part before its payload.
const HEADER: usize = 8;

/// Why a stream cannot be read on.
#[derive(Debug)]
pub enum RecordError {
    /// What it says is not RecordIO: the place, what was found and what was expected.
    Broken(String),
    /// Reading failed.
    Io(io::Error),
}

/// The kinds of parts, by the upper three bits of a part's second word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Whole,
    First,
    Middle,
    Last,
}

/// The records of a stream, in order.
#[derive(Debug)]
pub struct Records<R> {
    input: R,
    max_record: usize,
    /// Bytes read so far.
    offset: u64,
    /// Records read so far.
    count: u64,
}

impl<R: Read> Records<R> {
    /// Reads records of at most `max_record` bytes from `input`.
    pub fn new(input: R, max_record: usize) -> Self {
        Self { input, max_record, offset: 0, count: 0 }
    }

    /// Records read so far; also the number, from 1, of the last one.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The next record, or none at the end of the stream.
    pub fn read(&mut self) -> Result<Option<Vec<u8>>, RecordError> {
        let mut record = Vec::new();
        let mut expected: &[Kind] = &[Kind::Whole, Kind::First];
        loop {
            let Some((kind, length)) = self.header(expected)? else { return Ok(None) };
            if matches!(kind, Kind::Middle | Kind::Last) {
                record.extend(MAGIC.to_le_bytes());
            }
            if record.len() + length > self.max_record {
                return Err(self.broken(&format!(
                    "{} bytes or more, and a record may have {}",
                    record.len() + length,
                    self.max_record
                )));
            }
            self.payload(&mut record, length)?;
            if matches!(kind, Kind::Whole | Kind::Last) {
                self.count += 1;
                return Ok(Some(record));
            }
            expected = &[Kind::Middle, Kind::Last];
        }
    }

    /// The kind and length of the next part. None at an end where a record may begin.
    fn header(&mut self, expected: &[Kind]) -> Result<Option<(Kind, usize)>, RecordError> {
        let mut header = Vec::with_capacity(HEADER);
        let got = self.fill(&mut header, HEADER)?;
        if got == 0 && expected.contains(&Kind::First) {
            return Ok(None);
        }
        let start = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        if got >= 4 && start(&header) != MAGIC {
            return Err(self.broken(&format!(
                "it begins with {:02x?}{} and not with RecordIO's magic number [0a, 23, d7, ce]",
                &header[..4],
                resembles(&header)
            )));
        }
        if got < HEADER {
            return Err(self.cut(got, "the 8 bytes of a header"));
        }
        let word = start(&header[4..]);
        let kind = match word >> 29 {
            0 => Kind::Whole,
            1 => Kind::First,
            2 => Kind::Middle,
            3 => Kind::Last,
            other => return Err(self.broken(&format!("kind {other}; defined are 0 to 3"))),
        };
        if !expected.contains(&kind) {
            let wanted = if expected.contains(&Kind::First) {
                "a record begins"
            } else {
                "the record goes on"
            };
            return Err(self.broken(&format!("a part of kind {} where {wanted}", kind as u32)));
        }
        // 29 bits always fit.
        Ok(Some((kind, (word & 0x1fff_ffff) as usize)))
    }

    /// Appends a part's payload and passes over its padding.
    fn payload(&mut self, record: &mut Vec<u8>, length: usize) -> Result<(), RecordError> {
        let got = self.fill(record, length)?;
        if got < length {
            return Err(self.cut(got, &format!("a payload of {length} bytes")));
        }
        let (mut padding, wanted) = (Vec::new(), length.next_multiple_of(4) - length);
        let got = self.fill(&mut padding, wanted)?;
        if got < wanted {
            return Err(self.cut(got, &format!("{wanted} bytes of padding")));
        }
        Ok(())
    }

    /// Appends up to `wanted` bytes, fewer only at the end. Memory grows with the bytes that come: a
    /// length that a stream merely claims is not believed.
    fn fill(&mut self, buffer: &mut Vec<u8>, wanted: usize) -> Result<usize, RecordError> {
        let mut part = self.input.by_ref().take(wanted as u64);
        let got = part.read_to_end(buffer).map_err(RecordError::Io)?;
        self.offset += got as u64;
        Ok(got)
    }

    fn cut(&self, got: usize, wanted: &str) -> RecordError {
        self.broken(&format!("the stream ends after {got} of {wanted}"))
    }

    fn broken(&self, what: &str) -> RecordError {
        let (record, offset) = (self.count + 1, self.offset);
        RecordError::Broken(format!("record {record} (read up to byte {offset}): {what}"))
    }
}

/// What a stream without frames looks like, for the message.
fn resembles(bytes: &[u8]) -> &'static str {
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
