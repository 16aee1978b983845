//! What a pickle is made of. Values are small and copied; what can hold others lies in an [`Arena`]
//! and is named by its index, so that cycles and depth cost nothing and nothing is freed recursively.

use safetensors::Dtype;

use super::global::PickleGlobal;

/// A value on the machine's stack.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum PickleValue<'a> {
    /// Where a sequence begins.
    Mark,
    /// Something whose content does not matter to weights: None, a boolean, a float, settings.
    Ignored,
    /// The number that the legacy format starts with.
    MagicNumber,
    Int(i64),
    Text(&'a str),
    /// Something that the file calls.
    Global(PickleGlobal),
    /// A tuple or a list.
    Sequence(usize),
    Dict(usize),
    Storage(StorageRef<'a>),
    Tensor(usize),
}

/// A run of elements that tensors are views of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct StorageRef<'a> {
    /// Its name in the file.
    pub(super) key: &'a str,
    /// The type of its elements.
    pub(super) dtype: Dtype,
}

/// A view of a storage. Nothing is known of it but that its numbers are not negative.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StridedTensor<'a> {
    pub(super) storage: StorageRef<'a>,
    /// Where it begins, in elements.
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    /// Steps in elements, as many as there are dimensions.
    pub(super) strides: Vec<usize>,
}

/// What values with an index stand for.
#[derive(Debug, Default)]
pub(super) struct Arena<'a> {
    pub(super) sequences: Vec<Vec<PickleValue<'a>>>,
    pub(super) dicts: Vec<Vec<(PickleValue<'a>, PickleValue<'a>)>>,
    pub(super) tensors: Vec<StridedTensor<'a>>,
    /// Every storage that was named.
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

    /// The items of a tuple or list.
    pub(super) fn items(&self, value: PickleValue<'a>) -> Option<&[PickleValue<'a>]> {
        match value {
            PickleValue::Sequence(index) => self.sequences.get(index).map(Vec::as_slice),
            _ => None,
        }
    }

    /// The pairs of a dict, in the order in which they were set.
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
