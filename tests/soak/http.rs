//! HTTP/1.1 as far as the soak speaks it: bytes out, one answer in.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longer than the server may take for anything: 60 s for a body, 20 s in the queue.
const PATIENCE: Duration = Duration::from_secs(100);

pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    /// What has been read and belongs to the next answer.
    ahead: Vec<u8>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Lower case.
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }

    /// The `error_type` of a refusal.
    pub(crate) fn error_type(&self) -> Option<String> {
        let value: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        value.get("error_type")?.as_str().map(str::to_owned)
    }

    pub(crate) fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.contains("close"))
    }
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Result<Self, String> {
        let why = |error: std::io::Error| format!("cannot connect: {error}");
        let stream = TcpStream::connect(address).map_err(why)?;
        stream.set_nodelay(true).map_err(why)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(why)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(why)?;
        Ok(Self { stream, ahead: Vec::new() })
    }

    /// Sends what can be sent: a server that has answered already may have closed.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream.write_all(bytes).map_err(|error| format!("cannot send: {error}"))
    }

    /// The next answer. `Ok(None)` is a connection that was closed before one began.
    pub(crate) fn answer(&mut self) -> Result<Option<Answer>, String> {
        let end = loop {
            if let Some(at) = self.ahead.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.more()? {
                let none = self.ahead.is_empty();
                return if none { Ok(None) } else { Err("the answer's head broke off".into()) };
            }
        };
        let head: Vec<u8> = self.ahead.drain(..end).collect();
        let head = String::from_utf8_lossy(&head).to_lowercase();
        let status = head.get(9..12).and_then(|digits| digits.parse().ok());
        let status = status.ok_or_else(|| format!("no status in {head:?}"))?;
        let mut answer = Answer { status, head, body: Vec::new() };
        if answer.header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
            answer.body = self.chunks()?;
        } else if let Some(length) = answer.header("content-length") {
            let length = length.parse().map_err(|_| format!("content-length is {length:?}"))?;
            answer.body = self.take(length)?;
        }
        Ok(Some(answer))
    }

    fn chunks(&mut self) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        loop {
            let at = loop {
                if let Some(at) = self.ahead.windows(2).position(|bytes| bytes == b"\r\n") {
                    break at;
                }
                if !self.more()? {
                    return Err("the answer's chunks broke off".into());
                }
            };
            let line: Vec<u8> = self.ahead.drain(..at + 2).collect();
            let line = String::from_utf8_lossy(&line[..at]).into_owned();
            let size = usize::from_str_radix(line.trim(), 16);
            let size = size.map_err(|_| format!("a chunk's size is {line:?}"))?;
            body.extend(self.take(size)?);
            self.take(2)?;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    fn take(&mut self, count: usize) -> Result<Vec<u8>, String> {
        while self.ahead.len() < count {
            if !self.more()? {
                return Err(format!("{} of {count} bytes of the answer came", self.ahead.len()));
            }
        }
        Ok(self.ahead.drain(..count).collect())
    }

    /// Reads on; false at the end.
    pub(crate) fn more(&mut self) -> Result<bool, String> {
        let mut piece = [0; 16 << 10];
        loop {
            return match self.stream.read(&mut piece) {
                Ok(count) => {
                    self.ahead.extend_from_slice(&piece[..count]);
                    Ok(count > 0)
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                // What the server had still to read was thrown away with the connection.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(false),
                Err(error) => Err(format!("no answer within {} s ({error})", PATIENCE.as_secs())),
            };
        }
    }
}

/// The head of a POST; each of `lines` is one header.
pub(crate) fn head<S: AsRef<str>>(path: &str, lines: &[S]) -> Vec<u8> {
    let mut head = format!("POST {path} HTTP/1.1\r\nhost: soak\r\n");
    for line in lines {
        head.push_str(line.as_ref());
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// A body in chunks of at most `size`.
pub(crate) fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len() + body.len() / 50 + 16);
    for piece in body.chunks(size) {
        bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        bytes.extend_from_slice(piece);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}
