//! Reader of `model.tar.gz`. It reads the archive as a stream and takes the model's own files alone, so
//! that no path, link or device in an archive has any effect. Entries, bytes and names have limits.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::artifact::{
    CONFIG_FILE, DATA_FILE, LABELS_FILE, TORCHSCRIPT_FILE, WEIGHTS_FILE, is_built_in_model_file,
};
use crate::error::{Error, ErrorContext, Result};
use crate::files::{PathContext, write_without_sync};

/// SageMaker's name of an artifact.
pub const ARCHIVE_FILE: &str = "model.tar.gz";

/// Largest number of entries in an archive; those that `train` writes have fewer than ten.
const MAX_ENTRIES: usize = 10_000;

/// Largest size of the unpacked archive, skipped files included, in bytes.
const MAX_UNPACKED_BYTES: u64 = 8 << 30;

/// Largest number of names that are kept for messages.
const MAX_LISTED_NAMES: usize = 1000;

/// A file at the top of an archive that is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct WantedFile {
    pub(super) name: &'static str,
    /// Largest size of the file, in bytes.
    pub(super) max_bytes: u64,
}

/// `config.json`.
pub(super) const CONFIG: WantedFile = WantedFile { name: CONFIG_FILE, max_bytes: 1 << 20 };
/// `model.safetensors`.
pub(super) const WEIGHTS: WantedFile = WantedFile { name: WEIGHTS_FILE, max_bytes: 1 << 30 };

/// What was read of an archive.
#[derive(Debug, Default)]
pub(super) struct ArchiveContent {
    /// Bytes of the wanted files that are there, by name.
    pub(super) files: BTreeMap<&'static str, Vec<u8>>,
    /// Names of all files; of a large archive only the first ones.
    pub(super) names: Vec<String>,
}

/// Unpacks the files of a model that this program reads into a folder that exists.
///
/// # Errors
///
/// The archive is damaged, too large, or holds no model at its top.
pub fn unpack_model(path: &Path, folder: &Path) -> Result<()> {
    let torchscript = WantedFile { name: TORCHSCRIPT_FILE, ..WEIGHTS };
    let labels = WantedFile { name: LABELS_FILE, ..CONFIG };
    // A hash takes 24 bytes in the file, so these are those of five million images.
    let data = WantedFile { name: DATA_FILE, max_bytes: 128 << 20 };
    let wanted = [CONFIG, WEIGHTS, torchscript, labels, data];
    let content = read_archive(path, &wanted).error_context(path.display())?;
    let has = |name: &str| content.files.contains_key(name);
    let is_model = has(CONFIG_FILE) && has(WEIGHTS_FILE) || has(TORCHSCRIPT_FILE);
    if !is_model {
        return Err(no_model_in_archive_error(path, &content.names));
    }
    for (name, bytes) in content.files {
        write_without_sync(&folder.join(name), &bytes)?;
    }
    Ok(())
}

/// Returns the error about an archive without a model, which lists up to 10 of its files.
fn no_model_in_archive_error(path: &Path, names: &[String]) -> Error {
    let is_below = |name: &&String| {
        let model_files = [CONFIG_FILE, WEIGHTS_FILE, TORCHSCRIPT_FILE];
        name.rsplit_once('/').is_some_and(|(_, file)| model_files.contains(&file))
    };
    let hint = if let Some(built_in) = names.iter().find(|name| is_built_in_model_file(name)) {
        format!("; {built_in} is of Amazon's built-in algorithm, whose models only MXNet can read")
    } else if let Some(name) = names.iter().find(is_below) {
        let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
        format!(
            "; {name} lies in a folder: pack what is in it, by tar -C {folder} -czf {ARCHIVE_FILE} ."
        )
    } else {
        String::new()
    };
    let shown = &names[..names.len().min(10)];
    let found = if shown.is_empty() { "nothing".to_owned() } else { shown.join(", ") };
    Error::input(format!(
        "{} holds no model of maskmaker: {CONFIG_FILE} and {WEIGHTS_FILE}, or {TORCHSCRIPT_FILE}, must lie \
         at its top (found: {found}){hint}",
        path.display()
    ))
}

/// Reads the wanted files, and the names of all files.
pub(super) fn read_archive(path: &Path, wanted: &[WantedFile]) -> Result<ArchiveContent> {
    let file = File::open(path).with_path("read", path)?;
    read_tar_gz(BufReader::new(file), wanted, MAX_UNPACKED_BYTES)
}

fn read_tar_gz(compressed: impl Read, wanted: &[WantedFile], limit: u64) -> Result<ArchiveContent> {
    let mut stream =
        LimitedReader { inner: MultiGzDecoder::new(compressed), remaining: limit, exceeded: false };
    let content = read_entries(&mut stream, wanted);
    // The rest is read too, because the checksum at the end reveals a damaged file.
    let drain_result = io::copy(&mut stream, &mut io::sink());
    if stream.exceeded {
        return Err(Error::input(format!(
            "the archive unpacks to more than {limit} bytes, more than a model needs; pack \
             config.json and model.safetensors alone"
        )));
    }
    let content = content?;
    drain_result.map_err(archive_error)?;
    Ok(content)
}

fn read_entries(stream: impl Read, wanted: &[WantedFile]) -> Result<ArchiveContent> {
    let mut archive = tar::Archive::new(stream);
    let mut content = ArchiveContent::default();
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
        if let Some(file) = wanted.iter().find(|file| file.name == name) {
            let bytes = read_entry(&mut entry, &name, file.max_bytes)?;
            if content.files.insert(file.name, bytes).is_some() {
                return Err(Error::input(format!("the archive holds {name} twice; pack it once")));
            }
        }
        if content.names.len() < MAX_LISTED_NAMES && kind.is_file() {
            content.names.push(name);
        }
    }
    Ok(content)
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

    const WANTED: [WantedFile; 2] = [
        WantedFile { name: "config.json", max_bytes: 1 << 20 },
        WantedFile { name: "model.safetensors", max_bytes: 1 << 30 },
    ];

    fn unpacked(bytes: &[u8]) -> Result<ArchiveContent> {
        read_tar_gz(bytes, &WANTED, 1 << 20)
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
            assert_eq!(found.files["config.json"], b"config");
            assert_eq!(found.files["model.safetensors"], b"weights");
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
        assert!(found.files.is_empty());
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
        let said = read_tar_gz(&large[..], &WANTED, 8 << 20).unwrap_err().to_string();
        assert!(said.contains("config.json in the archive has 2097152 bytes"), "{said}");
        let many: Vec<_> = (0..=MAX_ENTRIES).map(|_| file("x", b"")).collect();
        let said =
            read_tar_gz(&packed(&many)[..], &WANTED, MAX_UNPACKED_BYTES).unwrap_err().to_string();
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

    #[test]
    fn a_model_is_unpacked_and_what_lies_in_a_folder_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("model.tar.gz");
        let target = folder.path().join("model");
        std::fs::create_dir(&target).unwrap();
        let unpack = |entries: &[Vec<u8>]| {
            std::fs::write(&archive, packed(entries)).unwrap();
            unpack_model(&archive, &target)
        };
        let said = |entries: &[Vec<u8>]| unpack(entries).unwrap_err().to_string();
        let in_folder = said(&[file("a/config.json", b"{}"), file("a/model.safetensors", b"w")]);
        assert!(in_folder.contains("a/config.json lies in a folder"), "{in_folder}");
        assert!(in_folder.contains("tar -C a -czf model.tar.gz ."), "{in_folder}");
        let built_in = said(&[file("model_algo-1", b"x")]);
        assert!(built_in.contains("only MXNet can read"), "{built_in}");
        assert!(said(&[file("config.json", b"{}")]).contains("must lie at its top"));
        assert_eq!(std::fs::read_dir(&target).unwrap().count(), 0);
        unpack(&[
            file("config.json", b"{}"),
            file("model.safetensors", b"w"),
            file("../evil", b"x"),
            file("README.md", b"x"),
        ])
        .unwrap();
        assert_eq!(std::fs::read_dir(&target).unwrap().count(), 2);
        assert_eq!(std::fs::read(target.join("model.safetensors")).unwrap(), b"w");
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
