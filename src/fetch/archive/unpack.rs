//! Unpacking of archives.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use flate2::read::{DeflateDecoder, MultiGzDecoder};
use rawzip::{CompressionMethod, ZipArchive};

use crate::error::{Error, Result};
use crate::fetch::downloads::{Downloader, FetchSummary};
use crate::fetch::ledger::{DigestingWriter, FetchedFile, Ledger};
use crate::fetch::place::place_names;
use crate::files::{PathContext, write_atomically_with};
use crate::machine::free_bytes;

/// Position of the word that tells a tar archive, in bytes.
const TAR_MAGIC_POSITION: usize = 257;

/// Bytes between two looks at whether the program shall stop.
const COPY_BYTES: usize = 1 << 20;

/// Free space of a disk that archives leave, in bytes.
const RESERVED_BYTES: u64 = 256 << 20;

/// Kind of an archive, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ArchiveKind {
    Zip,
    Tar,
    TarGz,
}

/// Writes the files of an archive.
pub(super) struct Unpacker<'a> {
    /// Folder for the files, below the output.
    folder: &'a Path,
    /// Name of the archive, with which those of its files begin.
    source: &'a str,
    /// SHA-256 of the archive, which is the version of its files.
    version: &'a str,
    ledger: &'a Ledger,
    downloader: &'a Downloader<'a>,
    summary: FetchSummary,
}

impl<'a> Unpacker<'a> {
    pub(super) fn new(
        folder: &'a Path,
        source: &'a str,
        version: &'a str,
        ledger: &'a Ledger,
        downloader: &'a Downloader<'a>,
    ) -> Self {
        let summary = FetchSummary::default();
        Self { folder, source, version, ledger, downloader, summary }
    }

    /// Unpacks an archive, and returns what was written, without its bytes.
    pub(super) fn unpack(mut self, archive: &Path) -> Result<FetchSummary> {
        match find_kind(archive)? {
            ArchiveKind::Zip => self.unpack_zip(archive)?,
            kind => {
                let file = BufReader::new(File::open(archive).with_path("read", archive)?);
                let stream: Box<dyn Read> = if kind == ArchiveKind::TarGz {
                    Box::new(MultiGzDecoder::new(file))
                } else {
                    Box::new(file)
                };
                self.unpack_tar(stream)?;
            }
        }
        Ok(self.summary)
    }

    fn unpack_tar(&mut self, stream: impl Read) -> Result<()> {
        let damaged =
            |cause: io::Error| Error::input(format!("is no readable tar archive: {cause}"));
        let mut archive = tar::Archive::new(stream);
        for entry in archive.entries().map_err(damaged)? {
            self.downloader.check_stop()?;
            let mut entry = entry.map_err(damaged)?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let kind = entry.header().entry_type();
            if kind.is_file() {
                let size = entry.size();
                self.write_file(&name, size, &mut entry)?;
            } else if !kind.is_dir() && !kind.is_pax_global_extensions() {
                self.leave_out(&name, "is neither a file nor a folder");
            }
        }
        Ok(())
    }

    fn unpack_zip(&mut self, path: &Path) -> Result<()> {
        let damaged =
            |cause: rawzip::Error| Error::input(format!("is no readable zip archive: {cause}"));
        let file = File::open(path).with_path("read", path)?;
        let mut buffer = vec![0; rawzip::RECOMMENDED_BUFFER_SIZE];
        let archive = ZipArchive::from_file(file, &mut buffer).map_err(damaged)?;
        let mut records = archive.entries(&mut buffer);
        let mut entries = Vec::new();
        while let Some(record) = records.next_entry().map_err(damaged)? {
            let name = String::from_utf8_lossy(record.file_path().as_ref()).into_owned();
            if record.is_dir() || name.ends_with(['/', '\\']) {
                continue;
            }
            if record.mode().is_symlink() {
                self.leave_out(&name, "is neither a file nor a folder");
                continue;
            }
            let size = record.uncompressed_size_hint();
            entries.push((name, record.compression_method(), size, record.wayfinder()));
        }
        for (name, method, size, wayfinder) in entries {
            self.downloader.check_stop()?;
            let entry = archive.get_entry(wayfinder).map_err(damaged)?;
            let reader = entry.reader();
            match method {
                CompressionMethod::STORE => {
                    self.write_file(&name, size, &mut entry.verifying_reader(reader))?;
                }
                CompressionMethod::DEFLATE => {
                    let reader = DeflateDecoder::new(reader);
                    self.write_file(&name, size, &mut entry.verifying_reader(reader))?;
                }
                other => self.leave_out(
                    &name,
                    &format!(
                        "is compressed by {other:?}; deflate and stored files can be unpacked"
                    ),
                ),
            }
        }
        Ok(())
    }

    /// Reports a file that is not unpacked.
    fn leave_out(&mut self, name: &str, reason: &str) {
        let name: String = name.chars().filter(|sign| !sign.is_control()).collect();
        self.summary.missing.push(format!("{}#{name}: {reason}", self.source));
    }

    /// Writes a file of the archive, unless it is one that systems add for themselves.
    fn write_file(&mut self, name: &str, size: u64, content: &mut dyn Read) -> Result<()> {
        if name.contains(char::REPLACEMENT_CHARACTER) {
            self.leave_out(
                name,
                "has a name that is not UTF-8; pack the archive with Unicode names",
            );
            return Ok(());
        }
        let name = name.replace('\\', "/");
        let last = name.rsplit('/').next().unwrap_or(&name);
        if last.starts_with("._") || last == ".DS_Store" || name.starts_with("__MACOSX/") {
            return Ok(());
        }
        let names = name.trim_start_matches("./").split('/');
        let place = place_names(self.folder, names)
            .map_err(|reason| Error::input(format!("{name} {reason}")))?;
        let source = format!("{}#{name}", self.source);
        if let Err(reason) = self.downloader.claims.claim(&place, &source) {
            self.leave_out(&name, &reason);
            return Ok(());
        }
        if self.ledger.find_current(&place, &source, Some(self.version)).is_some() {
            self.summary.kept += 1;
            return Ok(());
        }
        let Downloader { output, max_bytes, .. } = *self.downloader;
        let too_large = || {
            Error::input(format!(
                "{name} has more than the {max_bytes} bytes that are allowed (--max-file-mb)"
            ))
        };
        if size > max_bytes {
            return Err(too_large());
        }
        if let Some(free) = free_bytes(output)
            && size.saturating_add(RESERVED_BYTES) > free
        {
            return Err(Error::input(format!(
                "{name} has {size} bytes, and {free} are free on the disk, of which {RESERVED_BYTES} are kept; make room"
            )));
        }
        let path = output.join(&place);
        let version = Some(self.version.to_owned());
        let mut entry =
            FetchedFile { file: place, source, version, bytes: 0, sha256: String::new() };
        write_atomically_with(&path, |partial| {
            let mut writer =
                DigestingWriter::new(File::create(partial).with_path("write", partial)?);
            let mut buffer = vec![0; COPY_BYTES];
            loop {
                self.downloader.check_stop()?;
                let copied = content.read(&mut buffer).and_then(|count| {
                    writer.write_all(&buffer[..count])?;
                    Ok(count)
                });
                let count = copied.map_err(|cause| {
                    Error::input(format!(
                        "{name} cannot be unpacked to {}: {cause}",
                        path.display()
                    ))
                })?;
                // The archive may say less than it holds.
                if writer.bytes() > max_bytes {
                    return Err(too_large());
                }
                if count == 0 {
                    break;
                }
            }
            entry.bytes = writer.bytes();
            entry.sha256 = writer.finish();
            Ok(())
        })?;
        self.ledger.add(&entry)?;
        self.summary.fetched += 1;
        Ok(())
    }
}

/// Tells the kind of an archive by its bytes, whatever its name.
fn find_kind(path: &Path) -> Result<ArchiveKind> {
    let mut head = Vec::new();
    let file = File::open(path).with_path("read", path)?;
    file.take(TAR_MAGIC_POSITION as u64 + 5).read_to_end(&mut head).with_path("read", path)?;
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return Ok(ArchiveKind::Zip);
    }
    if head.starts_with(&[0x1f, 0x8b]) {
        return Ok(ArchiveKind::TarGz);
    }
    if head.get(TAR_MAGIC_POSITION..) == Some(b"ustar") {
        return Ok(ArchiveKind::Tar);
    }
    let text = String::from_utf8_lossy(&head[..head.len().min(40)]).into_owned();
    Err(Error::input(format!(
        "is no archive that can be unpacked (zip, tar, tar.gz); it begins with {text:?}"
    )))
}
