//! The format before PyTorch 1.6, which `torch.save(..., _use_new_zipfile_serialization=False)` still
//! writes: pickles of a magic number, a protocol version, facts about the machine, the state dict and
//! the keys of the storages; then each storage as a count and its elements.

use std::collections::HashMap;

use super::machine::{Machine, little_endian};
use super::value::Value;
use super::{ADVICE, Contents, state_dict, view};
use crate::error::{Error, Result};

/// `torch.serialization.PROTOCOL_VERSION`.
const PROTOCOL: i64 = 1001;

/// Reads names and finds storages.
pub(super) fn read(bytes: &[u8]) -> Result<Contents<'_>> {
    let mut machine = Machine::new(bytes);
    let magic = machine.load()?;
    if magic != Value::Magic {
        return Err(Error::input(format!(
            "the file is a pickle, but not one of torch.save: its magic number is missing; {ADVICE}"
        )));
    }
    if machine.load()? != Value::Int(PROTOCOL) {
        return Err(Error::input(format!(
            "the file is of another version of torch.save's format than {PROTOCOL}; {ADVICE}"
        )));
    }
    // Byte order and the sizes of C's types: as good as always those of today's machines.
    machine.load()?;
    let top = machine.load()?;
    let tensors = state_dict::tensors(&machine.arena, top)?;
    let keys = machine.load()?;
    let keys = machine.arena.items(keys).map(<[_]>::to_vec);
    let damaged = |what: &str| Error::input(format!("{what}; the file is damaged"));
    let keys = keys.ok_or_else(|| damaged("the list of storages is missing"))?;
    let types: HashMap<&str, usize> = machine
        .arena
        .storages
        .iter()
        .map(|storage| (storage.key, view::size(storage.dtype)))
        .collect();
    let mut storages = HashMap::new();
    for key in keys {
        let Value::Text(key) = key else {
            return Err(damaged("the list of storages holds something else than keys"));
        };
        let size = types.get(key).ok_or_else(|| damaged("a storage that no tensor uses"))?;
        let count = little_endian(machine.take(8)?);
        let length = usize::try_from(count).ok().and_then(|count| count.checked_mul(*size));
        let data = machine.take(length.ok_or_else(|| damaged("a storage of no possible size"))?)?;
        storages.insert(key.to_owned(), data);
    }
    Ok((tensors, storages))
}
