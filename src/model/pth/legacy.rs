//! Reader of the format before PyTorch 1.6, which `torch.save(...,
//! _use_new_zipfile_serialization=False)` still writes: pickles of a magic number, a protocol
//! version, facts about the machine, the state dict and the keys of the storages; then each storage
//! as its number of elements and the elements.

use std::collections::HashMap;

use super::unpickler::{Unpickler, read_little_endian};
use super::value::PickleValue;
use super::{SAVE_WEIGHTS_ADVICE, TensorsAndStorages, state_dict, view};
use crate::error::{Error, Result};

/// `torch.serialization.PROTOCOL_VERSION`.
const PROTOCOL_VERSION: i64 = 1001;

/// Reads the tensors' descriptions, and finds the storages.
pub(super) fn read_legacy_file(bytes: &[u8]) -> Result<TensorsAndStorages<'_>> {
    let mut unpickler = Unpickler::new(bytes);
    let magic = unpickler.load()?;
    if magic != PickleValue::MagicNumber {
        return Err(Error::input(format!(
            "the file is a pickle, but not one of torch.save: its magic number is missing; \
             {SAVE_WEIGHTS_ADVICE}"
        )));
    }
    if unpickler.load()? != PickleValue::Int(PROTOCOL_VERSION) {
        return Err(Error::input(format!(
            "the file is of another version of torch.save's format than {PROTOCOL_VERSION}; \
             {SAVE_WEIGHTS_ADVICE}"
        )));
    }
    // This pickle holds byte order and the sizes of C's types, in which today's machines agree.
    unpickler.load()?;
    let root = unpickler.load()?;
    let tensors = state_dict::find_tensors(&unpickler.arena, root)?;
    let keys = unpickler.load()?;
    let Some(keys) = unpickler.arena.items(keys).map(<[_]>::to_vec) else {
        return Err(damaged_file_error("the list of storages is missing"));
    };
    let mut element_sizes = HashMap::new();
    for storage in &unpickler.arena.storages {
        element_sizes.insert(storage.key, view::element_bytes(storage.dtype));
    }
    let mut storages = HashMap::new();
    for key in keys {
        let PickleValue::Text(key) = key else {
            return Err(damaged_file_error("the list of storages holds something else than keys"));
        };
        let Some(size) = element_sizes.get(key) else {
            return Err(damaged_file_error("a storage that no tensor uses"));
        };
        let count = usize::try_from(read_little_endian(unpickler.take(8)?)).unwrap_or(usize::MAX);
        let Some(length) = count.checked_mul(*size) else {
            return Err(damaged_file_error("a storage of no possible size"));
        };
        storages.insert(key.to_owned(), unpickler.take(length)?);
    }
    Ok((tensors, storages))
}

fn damaged_file_error(problem: &str) -> Error {
    Error::input(format!("{problem}; the file is damaged"))
}
