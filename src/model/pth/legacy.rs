//! The format before PyTorch 1.6, which `torch.save(..., _use_new_zipfile_serialization=False)` still
//! writes: pickles of a magic number, a protocol version, facts about the machine, the state dict and
//! the keys of the storages; then each storage as a count and its elements.

use std::collections::HashMap;

use super::unpickler::{Unpickler, read_little_endian};
use super::value::PickleValue;
use super::{SAVE_WEIGHTS_ADVICE, TensorsAndStorages, state_dict, view};
use crate::error::{Error, Result};

/// `torch.serialization.PROTOCOL_VERSION`.
const PROTOCOL_VERSION: i64 = 1001;

/// Reads names and finds storages.
pub(super) fn read_legacy_file(bytes: &[u8]) -> Result<TensorsAndStorages<'_>> {
    let mut unpickler = Unpickler::new(bytes);
    let magic = unpickler.load()?;
    if magic != PickleValue::MagicNumber {
        return Err(Error::input(format!(
            "the file is a pickle, but not one of torch.save: its magic number is missing; {SAVE_WEIGHTS_ADVICE}"
        )));
    }
    if unpickler.load()? != PickleValue::Int(PROTOCOL_VERSION) {
        return Err(Error::input(format!(
            "the file is of another version of torch.save's format than {PROTOCOL_VERSION}; {SAVE_WEIGHTS_ADVICE}"
        )));
    }
    // Byte order and the sizes of C's types: as good as always those of today's machines.
    unpickler.load()?;
    let root = unpickler.load()?;
    let tensors = state_dict::find_tensors(&unpickler.arena, root)?;
    let keys = unpickler.load()?;
    let keys = unpickler.arena.items(keys).map(<[_]>::to_vec);
    let damaged_error = |what: &str| Error::input(format!("{what}; the file is damaged"));
    let keys = keys.ok_or_else(|| damaged_error("the list of storages is missing"))?;
    let element_sizes: HashMap<&str, usize> = unpickler
        .arena
        .storages
        .iter()
        .map(|storage| (storage.key, view::element_bytes(storage.dtype)))
        .collect();
    let mut storages = HashMap::new();
    for key in keys {
        let PickleValue::Text(key) = key else {
            return Err(damaged_error("the list of storages holds something else than keys"));
        };
        let size =
            element_sizes.get(key).ok_or_else(|| damaged_error("a storage that no tensor uses"))?;
        let count = read_little_endian(unpickler.take(8)?);
        let length = usize::try_from(count).ok().and_then(|count| count.checked_mul(*size));
        let data = unpickler
            .take(length.ok_or_else(|| damaged_error("a storage of no possible size"))?)?;
        storages.insert(key.to_owned(), data);
    }
    Ok((tensors, storages))
}
