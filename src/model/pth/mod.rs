//! `.pth` files: what Python's `torch.save(model.state_dict(), path)` writes, since PyTorch 1.6 a zip
//! archive and before that a sequence of pickles and raw storages.
//!
//! A pickle is a program, and Python runs whatever it names. Here a small `machine` builds data
//! from it and knows by name the few callables that a state dict needs; everything else is refused.
//! Any bytes are a value or an error: nothing panics, no depth is followed on the call stack, and no
//! allocation is larger than a small multiple of the file.

mod global;
mod legacy;
mod opcode;
mod state_dict;
mod unpickler;
mod value;
mod view;
mod zip;

use std::borrow::Cow;
use std::collections::HashMap;

use safetensors::Dtype;

use crate::error::{Error, Result};
use value::StridedTensor;

/// What helps when a file holds more than weights.
pub(super) const SAVE_WEIGHTS_ADVICE: &str = "in Python, torch.save(model.state_dict(), PATH) or safetensors.torch.save_file writes a file that \
     holds weights alone";

/// The state dict of a file: names, types and shapes are read, the elements stay where they are.
#[derive(Debug)]
pub struct PthFile<'a> {
    tensors: Vec<(&'a str, StridedTensor<'a>)>,
    storages: HashMap<String, &'a [u8]>,
    /// Bytes of the file; no tensor has more elements.
    file_bytes: usize,
}

impl<'a> PthFile<'a> {
    /// Reads the names, types and shapes in the bytes of a file.
    pub fn open(bytes: &'a [u8]) -> Result<Self> {
        let (tensors, storages) = if bytes.starts_with(b"PK\x03\x04") {
            zip::read_zip_file(bytes)?
        } else if bytes.first() == Some(&opcode::PROTO) {
            legacy::read_legacy_file(bytes)?
        } else {
            return Err(Error::input(
                "not a file of torch.save: it starts neither as a zip archive nor as a pickle",
            ));
        };
        let pth = Self { tensors, storages, file_bytes: bytes.len() };
        for (name, tensor) in &pth.tensors {
            pth.check_tensor(tensor)
                .map_err(|error| error.with_context(format!("tensor {name}")))?;
        }
        Ok(pth)
    }

    /// Name, type and shape of every tensor, in the order of the file.
    pub fn tensors(&self) -> impl Iterator<Item = (&'a str, Dtype, &[usize])> {
        self.tensors.iter().map(|(name, tensor)| (*name, tensor.storage.dtype, &tensor.shape[..]))
    }

    /// The elements of a tensor in row-major order, little-endian; none when there is no such tensor.
    pub fn tensor_bytes(&self, name: &str) -> Option<Result<Cow<'a, [u8]>>> {
        let (_, tensor) = self.tensors.iter().find(|(own, _)| *own == name)?;
        Some(self.check_tensor(tensor).and_then(|data| view::contiguous_bytes(tensor, data)))
    }

    /// The bytes of a tensor's storage, after checking that the tensor lies within.
    fn check_tensor(&self, tensor: &StridedTensor<'a>) -> Result<&'a [u8]> {
        let key = tensor.storage.key;
        let data = self.storages.get(key).copied().ok_or_else(|| {
            Error::input(format!("its storage {key:?} is not in the file; is the file whole?"))
        })?;
        view::check_bounds(tensor, data, self.file_bytes)?;
        Ok(data)
    }
}

/// Tensors by name, and the bytes of storages by key.
type TensorsAndStorages<'a> = (Vec<(&'a str, StridedTensor<'a>)>, HashMap<String, &'a [u8]>);

#[cfg(test)]
mod tests;
