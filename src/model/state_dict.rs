//! The named tensors of a weights file, whatever its format: safetensors, or `.pth` in both forms.

use std::collections::HashMap;

use safetensors::{Dtype, SafeTensors};
use tch::{Kind, Tensor};

use super::pth::Pth;
use super::tensor_file;
use crate::error::{Error, Result};

/// What `DataParallel` and `DistributedDataParallel` put before every name.
const PARALLEL: &str = "module.";

/// The names, types and shapes in a file; elements are read tensor by tensor.
#[derive(Debug)]
pub struct StateDict<'a> {
    file: File<'a>,
    entries: Vec<Entry>,
    places: HashMap<String, usize>,
}

#[derive(Debug)]
enum File<'a> {
    Safetensors(SafeTensors<'a>),
    Pth(Pth<'a>),
}

/// One tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its name, without what parallel training puts before all of them.
    pub name: String,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its shape; empty for a scalar.
    pub shape: Vec<i64>,
    /// Its name in the file.
    stored: String,
}

impl<'a> StateDict<'a> {
    /// Reads the names, types and shapes in the bytes of a file.
    pub fn open(bytes: &'a [u8]) -> Result<Self> {
        let file = if bytes.get(8) == Some(&b'{') {
            File::Safetensors(tensor_file::open(bytes)?)
        } else if bytes.starts_with(b"PK\x03\x04") || bytes.first() == Some(&0x80) {
            File::Pth(Pth::open(bytes)?)
        } else {
            let hint = if bytes.starts_with(b"version https://git-lfs") {
                "; it is a Git LFS pointer: `git lfs pull` fetches the file itself"
            } else if bytes.is_empty() {
                "; it is empty"
            } else {
                ""
            };
            return Err(Error::input(format!(
                "neither a safetensors file nor one of Python's torch.save{hint}"
            )));
        };
        let mut described: Vec<(String, Dtype, Vec<i64>)> = {
            let shape = |sides: &[usize]| sides.iter().map(|&side| side as i64).collect();
            match &file {
                File::Safetensors(file) => file
                    .iter()
                    .map(|(name, view)| (name.to_owned(), view.dtype(), shape(view.shape())))
                    .collect(),
                File::Pth(file) => file
                    .tensors()
                    .map(|(name, dtype, sides)| (name.to_owned(), dtype, shape(sides)))
                    .collect(),
            }
        };
        // safetensors has no order of its own; a message needs one.
        if matches!(file, File::Safetensors(_)) {
            described.sort_by(|one, other| one.0.cmp(&other.0));
        }
        let parallel = described.iter().all(|(name, ..)| name.starts_with(PARALLEL));
        let prefix = if parallel { PARALLEL } else { "" };
        let entries: Vec<Entry> = described
            .into_iter()
            .map(|(stored, dtype, shape)| {
                let name = stored.strip_prefix(prefix).unwrap_or(&stored).to_owned();
                Entry { name, dtype, shape, stored }
            })
            .collect();
        let places = entries.iter().enumerate().map(|(i, entry)| (entry.name.clone(), i)).collect();
        Ok(Self { file, entries, places })
    }

    /// Every tensor, in the order of a `.pth` file; those of safetensors by name.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The tensor of this name.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.places.get(name).and_then(|&place| self.entries.get(place))
    }

    /// The elements of a tensor, in the file's own type.
    pub fn tensor(&self, entry: &Entry) -> Result<Tensor> {
        let kind = kind(entry.dtype).ok_or_else(|| {
            Error::input(format!(
                "tensor {} holds {:?}, which is not known",
                entry.name, entry.dtype
            ))
        })?;
        let missing = || Error::internal(format!("tensor {} has no elements", entry.stored));
        let tensor = match &self.file {
            File::Safetensors(file) => {
                let view = file.tensor(&entry.stored).map_err(|_| missing())?;
                Tensor::f_from_data_size(view.data(), &entry.shape, kind)?
            }
            File::Pth(file) => {
                let bytes = file.bytes(&entry.stored).ok_or_else(missing)??;
                Tensor::f_from_data_size(&bytes, &entry.shape, kind)?
            }
        };
        Ok(tensor)
    }
}

/// libtorch's name of a type.
fn kind(dtype: Dtype) -> Option<Kind> {
    Some(match dtype {
        Dtype::F64 => Kind::Double,
        Dtype::F32 => Kind::Float,
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::I64 => Kind::Int64,
        Dtype::I32 => Kind::Int,
        Dtype::I16 => Kind::Int16,
        Dtype::I8 => Kind::Int8,
        Dtype::U8 => Kind::Uint8,
        Dtype::BOOL => Kind::Bool,
        _ => return None,
    })
}
