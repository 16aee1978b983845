//! Reader of the format since PyTorch 1.6: a zip archive with the pickle as `NAME/data.pkl` and
//! each storage as `NAME/data/KEY`, not compressed.

use std::collections::HashMap;

use rawzip::{CompressionMethod, ZipArchive};

use super::unpickler::Unpickler;
use super::{SAVE_WEIGHTS_ADVICE, TensorsAndStorages, state_dict};
use crate::error::{Error, Result};

const PICKLE_FILE: &str = "data.pkl";

/// Reads the tensors' descriptions, and finds the storages. Checksums are not checked: PyTorch can
/// be told to leave them out (`torch.serialization.set_crc32_options`), and does not check them
/// itself.
pub(super) fn read_zip_file(bytes: &[u8]) -> Result<TensorsAndStorages<'_>> {
    let entries = read_zip_entries(bytes)?;
    let mut roots = Vec::new();
    for name in entries.keys() {
        roots.extend(name.strip_suffix(PICKLE_FILE));
    }
    let [root] = roots[..] else {
        return Err(Error::input(format!(
            "the archive is not one of torch.save: it must hold one {PICKLE_FILE}; \
             {SAVE_WEIGHTS_ADVICE}"
        )));
    };
    let byte_order = entries.get(&format!("{root}byteorder"));
    if byte_order.is_some_and(|order| *order != b"little") {
        return Err(Error::input(
            "the file was written on a big-endian machine; load it in Python on another one and \
             save it again",
        ));
    }
    let pickle = entries.get(&format!("{root}{PICKLE_FILE}")).copied().unwrap_or_default();
    let mut unpickler = Unpickler::new(pickle);
    let unpickled = unpickler.load()?;
    let tensors = state_dict::find_tensors(&unpickler.arena, unpickled)?;
    let folder = format!("{root}data/");
    let mut storages = HashMap::new();
    for (name, data) in &entries {
        if let Some(key) = name.strip_prefix(&folder) {
            storages.insert(key.to_owned(), *data);
        }
    }
    Ok((tensors, storages))
}

#[expect(clippy::needless_pass_by_value, reason = "map_err passes a value")]
fn zip_error(cause: rawzip::Error) -> Error {
    Error::input(format!("not a whole zip archive ({cause}); copy the file again"))
}

/// Returns the contents of the archive's files by name.
fn read_zip_entries(bytes: &[u8]) -> Result<HashMap<String, &[u8]>> {
    let archive = ZipArchive::from_slice(bytes).map_err(zip_error)?;
    let mut records = archive.entries();
    let mut entries = HashMap::new();
    while let Some(record) = records.next_entry().map_err(zip_error)? {
        let name = String::from_utf8_lossy(record.file_path().as_bytes()).into_owned();
        if name.contains("/code/__torch__") {
            return Err(Error::input(format!(
                "the file is a TorchScript program, not weights; {SAVE_WEIGHTS_ADVICE}"
            )));
        }
        if record.compression_method() != CompressionMethod::STORE {
            return Err(Error::input(format!(
                "{name} in the archive is compressed, which torch.save never does; \
                 {SAVE_WEIGHTS_ADVICE}"
            )));
        }
        let entry = archive.get_entry(record.wayfinder()).map_err(zip_error)?;
        let (start, end) = entry.compressed_data_range();
        let Some(data) = bytes.get(start as usize..end as usize) else {
            return Err(Error::input(format!("{name} in the archive is cut short")));
        };
        if entries.insert(name.clone(), data).is_some() {
            return Err(Error::input(format!("the archive holds {name} twice; it is damaged")));
        }
    }
    Ok(entries)
}
