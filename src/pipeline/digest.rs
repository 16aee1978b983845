//! Digests of files.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::files::PathContext;

/// Bytes that are read at once for a digest.
const READ_BYTES: usize = 1 << 20;

/// Returns the SHA-256 digest of a file.
pub(super) fn digest_file(path: &Path) -> Result<[u8; 32]> {
    let mut file = fs::File::open(path).with_path("read", path)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(digest.finalize().into()),
            Ok(count) => digest.update(&buffer[..count]),
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(Error::io("read", path, &cause)),
        }
    }
}

/// Returns bytes as hexadecimal digits.
pub(super) fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
