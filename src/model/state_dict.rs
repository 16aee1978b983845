//! The named tensors of a weights file, whatever its format: safetensors, or `.pth` in both forms.

use std::collections::HashMap;

use safetensors::{Dtype, SafeTensors};
use tch::{Kind, Tensor};

use super::pth::PthFile;
use super::tensor_file;
use crate::error::{Error, Result};

/// What `DataParallel` and `DistributedDataParallel` put before every name.
const DATA_PARALLEL_PREFIX: &str = "module.";

/// The names, types and shapes in a file; elements are read tensor by tensor.
#[derive(Debug)]
pub struct StateDict<'a> {
    file: WeightsFile<'a>,
    entries: Vec<StateDictEntry>,
    index_by_name: HashMap<String, usize>,
}

#[derive(Debug)]
enum WeightsFile<'a> {
    Safetensors(SafeTensors<'a>),
    Pth(PthFile<'a>),
}

/// One tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct StateDictEntry {
    /// Its name, without what parallel training puts before all of them.
    pub name: String,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its shape; empty for a scalar.
    pub shape: Vec<i64>,
    /// Its name in the file.
    stored_name: String,
}

impl<'a> StateDict<'a> {
    /// Reads the names, types and shapes in the bytes of a file.
    pub fn open(bytes: &'a [u8]) -> Result<Self> {
        let file = if bytes.get(8) == Some(&b'{') {
            WeightsFile::Safetensors(tensor_file::parse_safetensors(bytes)?)
        } else if bytes.starts_with(b"PK\x03\x04") || bytes.first() == Some(&0x80) {
            WeightsFile::Pth(PthFile::open(bytes)?)
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
        let mut descriptions: Vec<(String, Dtype, Vec<i64>)> = {
            let to_i64_shape = |sides: &[usize]| sides.iter().map(|&side| side as i64).collect();
            match &file {
                WeightsFile::Safetensors(file) => file
                    .iter()
                    .map(|(name, view)| (name.to_owned(), view.dtype(), to_i64_shape(view.shape())))
                    .collect(),
                WeightsFile::Pth(file) => file
                    .tensors()
                    .map(|(name, dtype, sides)| (name.to_owned(), dtype, to_i64_shape(sides)))
                    .collect(),
            }
        };
        // safetensors has no order of its own; a message needs one.
        if matches!(file, WeightsFile::Safetensors(_)) {
            descriptions.sort_by(|first, second| first.0.cmp(&second.0));
        }
        let is_data_parallel =
            descriptions.iter().all(|(name, ..)| name.starts_with(DATA_PARALLEL_PREFIX));
        let prefix = if is_data_parallel { DATA_PARALLEL_PREFIX } else { "" };
        let entries: Vec<StateDictEntry> = descriptions
            .into_iter()
            .map(|(stored_name, dtype, shape)| {
                let name = stored_name.strip_prefix(prefix).unwrap_or(&stored_name).to_owned();
                StateDictEntry { name, dtype, shape, stored_name }
            })
            .collect();
        let index_by_name =
            entries.iter().enumerate().map(|(i, entry)| (entry.name.clone(), i)).collect();
        Ok(Self { file, entries, index_by_name })
    }

    /// Every tensor, in the order of a `.pth` file; those of safetensors by name.
    pub fn entries(&self) -> &[StateDictEntry] {
        &self.entries
    }

    /// The tensor of this name.
    pub fn entry(&self, name: &str) -> Option<&StateDictEntry> {
        self.index_by_name.get(name).and_then(|&index| self.entries.get(index))
    }

    /// The elements of a tensor, in the file's own type.
    pub fn tensor(&self, entry: &StateDictEntry) -> Result<Tensor> {
        let kind = tch_kind(entry.dtype).ok_or_else(|| {
            Error::input(format!(
                "tensor {} holds {:?}, which is not known",
                entry.name, entry.dtype
            ))
        })?;
        let missing = || Error::internal(format!("tensor {} has no elements", entry.stored_name));
        let tensor = match &self.file {
            WeightsFile::Safetensors(file) => {
                let view = file.tensor(&entry.stored_name).map_err(|_| missing())?;
                Tensor::f_from_data_size(view.data(), &entry.shape, kind)?
            }
            WeightsFile::Pth(file) => {
                let bytes = file.tensor_bytes(&entry.stored_name).ok_or_else(missing)??;
                Tensor::f_from_data_size(&bytes, &entry.shape, kind)?
            }
        };
        Ok(tensor)
    }
}

/// libtorch's name of a type.
fn tch_kind(dtype: Dtype) -> Option<Kind> {
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
