//! The list of what was fetched whole, so that an interrupted fetch goes on and a later one fetches only
//! what is new.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::Result;
use crate::files::{PathContext, create_folder, read_file};

/// Folder below the output with what `fetch` keeps for itself. No file of a source may lie there.
pub(super) const STATE_FOLDER: &str = ".maskmaker-fetch";

/// Name of the list in that folder.
const LEDGER_FILE: &str = "fetched.jsonl";

/// A file that was fetched, a line of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FetchedFile {
    /// Place below the output folder.
    pub file: PathBuf,
    /// Reference of the file, as [`name_reference`](crate::web_client::name_reference) writes it.
    pub source: String,
    /// Version of the content that the source states, such as the `ETag` of an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Size, in bytes.
    pub bytes: u64,
    /// SHA-256 of the content, in hexadecimal digits.
    pub sha256: String,
}

/// List of the files that were fetched into a folder.
#[derive(Debug)]
pub(super) struct Ledger {
    output: PathBuf,
    entries: HashMap<PathBuf, FetchedFile>,
    file: Mutex<File>,
}

impl Ledger {
    /// Opens the list of a folder, or begins one. A line that was cut off, as by a power failure, counts as
    /// not written.
    pub(super) fn open(output: &Path) -> Result<Self> {
        create_folder(&output.join(STATE_FOLDER))?;
        let path = output.join(STATE_FOLDER).join(LEDGER_FILE);
        let mut entries = HashMap::new();
        let mut ends_with_newline = true;
        if path.exists() {
            let text = read_file(&path)?;
            ends_with_newline = text.last().is_none_or(|byte| *byte == b'\n');
            for line in text.split(|byte| *byte == b'\n') {
                if let Ok(entry) = serde_json::from_slice::<FetchedFile>(line) {
                    entries.insert(entry.file.clone(), entry);
                }
            }
        }
        let opened = File::options().append(true).create(true).open(&path);
        let mut file = opened.with_path("write", &path)?;
        if !ends_with_newline {
            file.write_all(b"\n").with_path("write", &path)?;
        }
        Ok(Self { output: output.to_owned(), entries, file: Mutex::new(file) })
    }

    /// Returns the entry of a file that lies there as it was fetched, from the same source in the same
    /// version. Reads the file.
    pub(super) fn find_current(
        &self,
        file: &Path,
        source: &str,
        version: Option<&str>,
    ) -> Option<&FetchedFile> {
        let entry = self.entries.get(file)?;
        let is_same =
            entry.source == source && (version.is_none() || entry.version.as_deref() == version);
        let path = self.output.join(file);
        let is_there =
            || fs::metadata(&path).is_ok_and(|found| found.is_file() && found.len() == entry.bytes);
        let is_whole = || digest_file(&path).is_ok_and(|sha256| sha256 == entry.sha256);
        (is_same && is_there() && is_whole()).then_some(entry)
    }

    /// Returns the entries whose sources begin with `prefix`.
    pub(super) fn entries_of(&self, prefix: &str) -> Vec<&FetchedFile> {
        self.entries.values().filter(|entry| entry.source.starts_with(prefix)).collect()
    }

    /// Returns the entry of a file, without a look at the file.
    pub(super) fn find(&self, file: &Path) -> Option<&FetchedFile> {
        self.entries.get(file)
    }

    /// Adds a file that lies whole at its place.
    pub(super) fn add(&self, entry: &FetchedFile) -> Result<()> {
        let path = self.output.join(STATE_FOLDER).join(LEDGER_FILE);
        let mut line = serde_json::to_vec(entry).unwrap_or_default();
        line.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.write_all(&line).with_path("write", &path)
    }
}

/// Writer that computes size and SHA-256 of what passes.
#[derive(Debug)]
pub(super) struct DigestingWriter {
    file: File,
    digest: Sha256,
    bytes: u64,
}

impl DigestingWriter {
    pub(super) fn new(file: File) -> Self {
        Self { file, digest: Sha256::new(), bytes: 0 }
    }

    /// Returns the number of bytes so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Discards everything that was written.
    pub(super) fn restart(&mut self) -> io::Result<()> {
        io::Seek::rewind(&mut self.file)?;
        self.file.set_len(0)?;
        self.digest = Sha256::new();
        self.bytes = 0;
        Ok(())
    }

    /// Returns the SHA-256 of everything, in hexadecimal digits.
    pub(super) fn finish(self) -> String {
        to_hex(&self.digest.finalize())
    }
}

impl Write for DigestingWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.digest.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Returns the SHA-256 of a file, in hexadecimal digits.
pub(super) fn digest_file(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(to_hex(&digest.finalize()));
        }
        digest.update(&buffer[..count]);
    }
}

fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
