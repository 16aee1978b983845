//! The named tensors of a weights file of any known format: safetensors, or `.pth` in both of its
//! forms.

use std::borrow::Cow;
use std::collections::HashMap;

use safetensors::{Dtype, SafeTensors};
use tch::{Kind, Tensor};

use super::pth::PthFile;
use super::tensor_file::{self, to_i64_shape};
use crate::error::{Error, Result};

/// Prefix that `DataParallel` and `DistributedDataParallel` put before every name.
const DATA_PARALLEL_PREFIX: &str = "module.";

/// A weights file in memory. Names, types and shapes are known; elements are read tensor by tensor.
#[derive(Debug)]
pub struct StateDict<'a> {
    file: WeightsFile<'a>,
    entries: Vec<StateDictEntry>,
    /// Prefix that was before every name.
    prefix: &'static str,
    index_by_name: HashMap<String, usize>,
}

#[derive(Debug)]
enum WeightsFile<'a> {
    Safetensors(SafeTensors<'a>),
    Pth(PthFile<'a>),
}

/// Description of one tensor in a weights file.
#[derive(Debug, Clone, PartialEq)]
pub struct StateDictEntry {
    /// Name of the tensor, without the prefix of parallel training.
    pub name: String,
    pub dtype: Dtype,
    /// Shape of the tensor; empty for a scalar.
    pub shape: Vec<i64>,
    /// Name of the tensor in the file.
    stored_name: String,
}

impl StateDictEntry {
    fn new(stored_name: &str, dtype: Dtype, shape: &[usize]) -> Self {
        let (name, stored_name) = (stored_name.to_owned(), stored_name.to_owned());
        Self { name, dtype, shape: to_i64_shape(shape), stored_name }
    }
}

impl StateDictEntry {
    /// Returns the tensor under its name without `prefix`, if the name begins with it.
    pub(super) fn without_prefix(&self, prefix: &str) -> Option<Self> {
        let name = self.name.strip_prefix(prefix)?.to_owned();
        Some(Self { name, ..self.clone() })
    }
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
        let mut entries = Vec::new();
        match &file {
            WeightsFile::Safetensors(file) => {
                for (name, view) in file.iter() {
                    entries.push(StateDictEntry::new(name, view.dtype(), view.shape()));
                }
                // safetensors has no order of its own, and messages must not change from run to
                // run.
                entries.sort_by(|first, second| first.stored_name.cmp(&second.stored_name));
            }
            WeightsFile::Pth(file) => {
                for (name, dtype, shape) in file.tensors() {
                    entries.push(StateDictEntry::new(name, dtype, shape));
                }
            }
        }
        let mut prefix = "";
        if entries.iter().all(|entry| entry.stored_name.starts_with(DATA_PARALLEL_PREFIX)) {
            prefix = DATA_PARALLEL_PREFIX;
            for entry in &mut entries {
                entry.name.drain(..DATA_PARALLEL_PREFIX.len());
            }
        }
        let mut index_by_name = HashMap::new();
        for (index, entry) in entries.iter().enumerate() {
            index_by_name.insert(entry.name.clone(), index);
        }
        Ok(Self { file, entries, prefix, index_by_name })
    }

    /// Lists the tensors: those of a `.pth` file in its order, those of safetensors by name.
    pub fn entries(&self) -> &[StateDictEntry] {
        &self.entries
    }

    /// Returns the prefix of parallel training that was before every name, or nothing.
    pub fn prefix(&self) -> &'static str {
        self.prefix
    }

    /// Returns the place of the tensors in a file that holds more than them, and the copies that are
    /// left out; empty if the file holds nothing else.
    pub fn origin(&self) -> &str {
        match &self.file {
            WeightsFile::Safetensors(_) => "",
            WeightsFile::Pth(file) => file.origin(),
        }
    }

    /// Returns the tensor of this name.
    pub fn entry(&self, name: &str) -> Option<&StateDictEntry> {
        self.entries.get(*self.index_by_name.get(name)?)
    }

    /// Reads the elements of a tensor, in the file's own type.
    pub fn tensor(&self, entry: &StateDictEntry) -> Result<Tensor> {
        let Some(kind) = tch_kind(entry.dtype) else {
            return Err(Error::input(format!(
                "tensor {} holds {:?}, which is not known",
                entry.name, entry.dtype
            )));
        };
        let bytes = match &self.file {
            WeightsFile::Safetensors(file) => match file.tensor(&entry.stored_name) {
                Ok(view) => Some(Cow::Borrowed(view.data())),
                Err(_) => None,
            },
            WeightsFile::Pth(file) => file.tensor_bytes(&entry.stored_name).transpose()?,
        };
        let Some(bytes) = bytes else {
            let name = &entry.stored_name;
            return Err(Error::internal(format!("tensor {name} has no elements")));
        };
        Ok(Tensor::f_from_data_size(&bytes, &entry.shape, kind)?)
    }
}

/// Returns libtorch's name of a type.
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
