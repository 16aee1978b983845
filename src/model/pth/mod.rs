//! Reader of `.pth` files, which Python's `torch.save(model.state_dict(), path)` writes: since
//! PyTorch 1.6 a zip archive, before that a sequence of pickles and raw storages.
//!
//! A pickle is a program, and Python runs whatever it names. Here the `unpickler` only builds data
//! from a pickle. It knows by name the few callables that a state dict needs, and refuses
//! everything else. Any bytes are a value or an error: nothing panics, no depth is followed on the
//! call stack, and no allocation is larger than a small multiple of the file.

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

use crate::error::{Error, ErrorContext, Result};
use state_dict::FoundTensors;
use value::StridedTensor;

/// Advice for files that hold more than weights.
pub(super) const SAVE_WEIGHTS_ADVICE: &str = "in Python, torch.save(model.state_dict(), PATH) or \
     safetensors.torch.save_file writes a file that holds weights alone";

/// The state dict of a file in memory. Names, types and shapes are read; the elements stay in the
/// file's bytes.
#[derive(Debug)]
pub struct PthFile<'a> {
    tensors: Vec<(&'a str, StridedTensor<'a>)>,
    /// Place of the tensors in the file; empty if the file holds nothing else.
    origin: String,
    storages: HashMap<String, &'a [u8]>,
    /// Size of the file in bytes, which no tensor may exceed in elements.
    file_bytes: usize,
}

impl<'a> PthFile<'a> {
    /// Reads the names, types and shapes in the bytes of a file.
    pub fn open(bytes: &'a [u8]) -> Result<Self> {
        let (found, storages) = if bytes.starts_with(b"PK\x03\x04") {
            zip::read_zip_file(bytes)?
        } else if bytes.first() == Some(&opcode::PROTO) {
            legacy::read_legacy_file(bytes)?
        } else {
            return Err(Error::input(
                "not a file of torch.save: it starts neither as a zip archive nor as a pickle",
            ));
        };
        let FoundTensors { tensors, origin } = found;
        let pth = Self { tensors, origin, storages, file_bytes: bytes.len() };
        for (name, tensor) in &pth.tensors {
            pth.check_tensor(tensor).error_context(format!("tensor {name}"))?;
        }
        Ok(pth)
    }

    /// Lists name, type and shape of every tensor, in the order of the file.
    pub fn tensors(&self) -> impl Iterator<Item = (&'a str, Dtype, &[usize])> {
        self.tensors.iter().map(|(name, tensor)| (*name, tensor.storage.dtype, &tensor.shape[..]))
    }

    /// Returns the place of the state dict in the file, and the copies of it that are left out, such
    /// as `state_dict_ema, and not state_dict`; empty if the file is a state dict itself.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Returns the elements of a tensor in row-major order, little-endian, or `None` if no tensor
    /// has this name.
    pub fn tensor_bytes(&self, name: &str) -> Option<Result<Cow<'a, [u8]>>> {
        let (_, tensor) = self.tensors.iter().find(|(own, _)| *own == name)?;
        Some(match self.check_tensor(tensor) {
            Ok(data) => view::contiguous_bytes(tensor, data),
            Err(error) => Err(error),
        })
    }

    /// Returns the bytes of a tensor's storage, after checking that the tensor lies within them.
    fn check_tensor(&self, tensor: &StridedTensor<'a>) -> Result<&'a [u8]> {
        let key = tensor.storage.key;
        let Some(data) = self.storages.get(key).copied() else {
            return Err(Error::input(format!(
                "its storage {key:?} is not in the file; is the file whole?"
            )));
        };
        view::check_bounds(tensor, data, self.file_bytes)?;
        Ok(data)
    }
}

/// The tensors of a file by name, and the bytes of its storages by key.
type TensorsAndStorages<'a> = (FoundTensors<'a>, HashMap<String, &'a [u8]>);

#[cfg(test)]
mod tests;
