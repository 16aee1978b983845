//! Reader of `model.tar.gz`. It reads the archive as a stream and unpacks nothing to disk, so that
//! no path, link or device in an archive has any effect. Entries, bytes and names have limits.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::model_channel::FoundFiles;
use crate::error::{Error, Result};
use crate::files::PathContext;

/// Largest number of entries in an archive; those that `train` writes have fewer than ten.
const MAX_ENTRIES: usize = 10_000;

/// Largest size of the unpacked archive, skipped files included, in bytes.
const MAX_UNPACKED_BYTES: u64 = 8 << 30;

/// Largest number of names that are kept for messages.
const MAX_LISTED_NAMES: usize = 1000;

/// Reads the files of a model, and the names of all files.
pub(super) fn read_archive(path: &Path) -> Result<FoundFiles> {
    let file = File::open(path).with_path("read", path)?;
    read_tar_gz(BufReader::new(file), MAX_UNPACKED_BYTES)
}

fn read_tar_gz(compressed: impl Read, limit: u64) -> Result<FoundFiles> {
    let mut stream =
        LimitedReader { inner: MultiGzDecoder::new(compressed), remaining: limit, exceeded: false };
    let found = read_entries(&mut stream);
    // The rest is read too, because the checksum at the end reveals a damaged file.
    let drain_result = io::copy(&mut stream, &mut io::sink());
    if stream.exceeded {
        return Err(Error::input(format!(
            "the archive unpacks to more than {limit} bytes, more than a model needs; pack \
             config.json and model.safetensors alone"
        )));
    }
    let found = found?;
    drain_result.map_err(archive_error)?;
    Ok(found)
}

fn read_entries(stream: impl Read) -> Result<FoundFiles> {
    let mut archive = tar::Archive::new(stream);
    let mut found = FoundFiles::default();
    // Raw entries: long names and other extensions are entries of their own and are skipped. The
    // names of the model's files are short.
    let entries = archive.entries().map_err(archive_error)?.raw(true);
    for (count, entry) in entries.enumerate() {
        let mut entry = entry.map_err(archive_error)?;
        if count >= MAX_ENTRIES {
            return Err(Error::input(format!(
                "the archive has more than {MAX_ENTRIES} entries; pack config.json and \
                 model.safetensors alone"
            )));
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = name.trim_start_matches("./").to_owned();
        let kind = entry.header().entry_type();
        if let Some(model_file) = found.model_file(&name) {
            let bytes = read_entry(&mut entry, &name, model_file.max_bytes)?;
            if model_file.content.replace(bytes).is_some() {
                return Err(Error::input(format!("the archive holds {name} twice; pack it once")));
            }
        }
        if found.names.len() < MAX_LISTED_NAMES && kind.is_file() {
            found.names.push(name);
        }
    }
    Ok(found)
}

/// Reads the content of a model's file.
fn read_entry(entry: &mut tar::Entry<'_, impl Read>, name: &str, limit: u64) -> Result<Vec<u8>> {
    if !entry.header().entry_type().is_file() {
        return Err(Error::input(format!(
            "{name} in the archive is not a file but a link or the like; pack the file itself"
        )));
    }
    if entry.size() > limit {
        return Err(Error::input(format!(
            "{name} in the archive has {} bytes; allowed are {limit}",
            entry.size()
        )));
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(archive_error)?;
    if bytes.len() as u64 != entry.size() {
        return Err(Error::input(format!("{name} in the archive is cut short")));
    }
    Ok(bytes)
}

#[expect(clippy::needless_pass_by_value, reason = "map_err passes a value")]
fn archive_error(cause: io::Error) -> Error {
    let problem = match cause.kind() {
        io::ErrorKind::UnexpectedEof => "it is cut short; copy it again".to_owned(),
        io::ErrorKind::InvalidInput if cause.to_string().contains("gzip") => {
            "it is not compressed by gzip; pack it with tar -czf".to_owned()
        }
        _ => format!("{cause}; copy it again"),
    };
    Error::input(format!("not a whole .tar.gz: {problem}"))
}

/// A stream that fails after `remaining` bytes, and tells this failure apart by `exceeded`.
struct LimitedReader<R> {
    inner: R,
    remaining: u64,
    exceeded: bool,
}

impl<R: Read> Read for LimitedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let Some(remaining) = self.remaining.checked_sub(count as u64) else {
            self.exceeded = true;
            return Err(io::Error::other("too long"));
        };
        self.remaining = remaining;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tar::{EntryType, Header};

    use super::*;

    fn entry(name: &str, kind: EntryType, bytes: &[u8]) -> Vec<u8> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(bytes.len() as u64);
        // The bytes are written directly, because the crate's setters refuse the names of a hostile
        // archive.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_gnu_mut().unwrap().linkname[..7].copy_from_slice(b"/target");
        header.set_cksum();
        let padding = vec![0; bytes.len().next_multiple_of(512) - bytes.len()];
        [&header.as_bytes()[..], bytes, &padding].concat()
    }

    fn packed(entries: &[Vec<u8>]) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&entries.concat()).unwrap();
        gzip.write_all(&[0; 1024]).unwrap();
        gzip.finish().unwrap()
    }

    fn file(name: &str, bytes: &[u8]) -> Vec<u8> {
        entry(name, EntryType::Regular, bytes)
    }

    fn unpacked(bytes: &[u8]) -> Result<FoundFiles> {
        read_tar_gz(bytes, 1 << 20)
    }

    fn failure(entries: &[Vec<u8>]) -> String {
        unpacked(&packed(entries)).unwrap_err().to_string()
    }

    #[test]
    fn wanted_files_are_read_whatever_lies_around_them() {
        for before in ["", "./"] {
            let found = unpacked(&packed(&[
                entry("pax", EntryType::XHeader, b"18 mtime=1.500000\n"),
                file(&format!("{before}metrics.json"), b"{}"),
                file(&format!("{before}model.safetensors"), b"weights"),
                entry(".", EntryType::Directory, b""),
                file(&format!("{before}config.json"), b"config"),
            ]))
            .unwrap();
            assert_eq!(found.config.unwrap(), b"config");
            assert_eq!(found.weights.unwrap(), b"weights");
            assert!(found.names.contains(&"metrics.json".to_owned()), "{:?}", found.names);
        }
    }

    #[test]
    fn paths_that_lead_elsewhere_are_names_like_any_other() {
        let found = unpacked(&packed(&[
            file("../config.json", b"x"),
            file("/config.json", b"x"),
            file("a/../config.json", b"x"),
        ]))
        .unwrap();
        assert!(found.config.is_none() && found.weights.is_none());
        assert_eq!(found.names.len(), 3);
    }

    #[test]
    fn links_and_doubles_in_the_place_of_a_wanted_file_are_named() {
        for kind in [EntryType::Symlink, EntryType::Link, EntryType::Fifo, EntryType::Char] {
            let said = failure(&[entry("config.json", kind, b"")]);
            assert!(said.contains("config.json in the archive is not a file"), "{said}");
        }
        let twice = [file("config.json", b"a"), file("config.json", b"b")];
        assert!(failure(&twice).contains("config.json twice"));
    }

    #[test]
    fn what_unpacks_to_too_much_is_refused() {
        let zeros = vec![0; 2 << 20];
        for name in ["model.safetensors", "padding", "config.json"] {
            let bytes = packed(&[file(name, &zeros)]);
            assert!(bytes.len() < zeros.len() / 100, "it is small as a file");
            let said = unpacked(&bytes).unwrap_err().to_string();
            assert!(said.contains("unpacks to more than 1048576 bytes"), "{said}");
        }
        let large = packed(&[file("config.json", &zeros)]);
        let said = read_tar_gz(&large[..], 8 << 20).unwrap_err().to_string();
        assert!(said.contains("config.json in the archive has 2097152 bytes"), "{said}");
        let many: Vec<_> = (0..=MAX_ENTRIES).map(|_| file("x", b"")).collect();
        let said = read_tar_gz(&packed(&many)[..], MAX_UNPACKED_BYTES).unwrap_err().to_string();
        assert!(said.contains("more than 10000 entries"), "{said}");
    }

    #[test]
    fn damaged_archives_are_told_apart_from_other_files() {
        let weights: Vec<u8> =
            (0..5000_u32).flat_map(|i| i.wrapping_mul(77_777).to_le_bytes()).collect();
        let whole = packed(&[file("config.json", b"{}"), file("model.safetensors", &weights)]);
        for length in [0, 5, whole.len() / 2, whole.len() - 1] {
            let said = unpacked(&whole[..length]).unwrap_err().to_string();
            assert!(said.contains("it is cut short; copy it again"), "{length}: {said}");
        }
        let mut changed = whole.clone();
        let place = changed.len() - 6;
        changed[place] ^= 1;
        let said = unpacked(&changed).unwrap_err().to_string();
        assert!(said.contains("not a whole .tar.gz"), "{said}");
        let said = unpacked(&file("config.json", b"{}")).unwrap_err().to_string();
        assert!(said.contains("it is not compressed by gzip"), "{said}");
        // The header of this entry promises more bytes than follow.
        let mut short = file("config.json", &[7; 600]);
        short.truncate(700);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&short).unwrap();
        assert!(unpacked(&gzip.finish().unwrap()).is_err());
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_archives_never_panic(bytes: Vec<u8>, header in proptest::array::uniform32(0_u8..)) {
            let _ = unpacked(&bytes);
            let _ = unpacked(&packed(&[bytes]));
            let mut changed = file("config.json", b"{}");
            changed[100..132].copy_from_slice(&header);
            let _ = unpacked(&packed(&[changed]));
        }
    }
}
