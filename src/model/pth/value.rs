//! The values that a pickle builds. Values are small and copied. Containers and tensors lie in an
//! [`Arena`] and are named by their index, so that cycles and depth cost nothing and nothing is
//! freed recursively.

use safetensors::Dtype;

use super::global::PickleGlobal;

/// A value on the machine's stack.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum PickleValue<'a> {
    /// The start of a sequence.
    Mark,
    /// A value whose content does not matter to weights: None, a boolean, a float, settings.
    Ignored,
    /// The number that starts the legacy format.
    MagicNumber,
    Int(i64),
    Text(&'a str),
    /// A callable or type that the file names.
    Global(PickleGlobal),
    /// A tuple or a list, by its index in the arena.
    Sequence(usize),
    Dict(usize),
    Storage(StorageRef<'a>),
    Tensor(usize),
}

/// A block of elements that tensors are views of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct StorageRef<'a> {
    /// Name of the storage in the file.
    pub(super) key: &'a str,
    pub(super) dtype: Dtype,
}

/// A view of a storage. Its numbers are not negative; nothing else about them is checked yet.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StridedTensor<'a> {
    pub(super) storage: StorageRef<'a>,
    /// Offset of the first element in the storage, in elements.
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    /// Distance of neighbors along each dimension, in elements.
    pub(super) strides: Vec<usize>,
}

/// The contents of the values that have an index.
#[derive(Debug, Default)]
pub(super) struct Arena<'a> {
    pub(super) sequences: Vec<Vec<PickleValue<'a>>>,
    pub(super) dicts: Vec<Vec<(PickleValue<'a>, PickleValue<'a>)>>,
    pub(super) tensors: Vec<StridedTensor<'a>>,
    /// Every storage that the file names.
    pub(super) storages: Vec<StorageRef<'a>>,
}

impl<'a> Arena<'a> {
    pub(super) fn add_sequence(&mut self, items: Vec<PickleValue<'a>>) -> PickleValue<'a> {
        self.sequences.push(items);
        PickleValue::Sequence(self.sequences.len() - 1)
    }

    pub(super) fn add_dict(
        &mut self,
        pairs: Vec<(PickleValue<'a>, PickleValue<'a>)>,
    ) -> PickleValue<'a> {
        self.dicts.push(pairs);
        PickleValue::Dict(self.dicts.len() - 1)
    }

    pub(super) fn add_tensor(&mut self, tensor: StridedTensor<'a>) -> PickleValue<'a> {
        self.tensors.push(tensor);
        PickleValue::Tensor(self.tensors.len() - 1)
    }

    /// Returns the items of a tuple or list.
    pub(super) fn items(&self, value: PickleValue<'a>) -> Option<&[PickleValue<'a>]> {
        match value {
            PickleValue::Sequence(index) => self.sequences.get(index).map(Vec::as_slice),
            _ => None,
        }
    }

    /// Returns the pairs of a dict, in the order in which they were set.
    pub(super) fn pairs(
        &self,
        value: PickleValue<'a>,
    ) -> Option<&[(PickleValue<'a>, PickleValue<'a>)]> {
        match value {
            PickleValue::Dict(index) => self.dicts.get(index).map(Vec::as_slice),
            _ => None,
        }
    }
}
