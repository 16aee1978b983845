//! What a pickle is made of. Values are small and copied; what can hold others lies in an [`Arena`]
//! and is named by its index, so that cycles and depth cost nothing and nothing is freed recursively.

use safetensors::Dtype;

use super::global::Global;

/// A value on the machine's stack.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    /// Where a sequence begins.
    Mark,
    /// Something whose content does not matter to weights: None, a boolean, a float, settings.
    Inert,
    /// The number that the legacy format starts with.
    Magic,
    Int(i64),
    Text(&'a str),
    /// Something that the file calls.
    Global(Global),
    /// A tuple or a list.
    Sequence(usize),
    Dict(usize),
    Storage(Storage<'a>),
    Tensor(usize),
}

/// A run of elements that tensors are views of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Storage<'a> {
    /// Its name in the file.
    pub(super) key: &'a str,
    /// The type of its elements.
    pub(super) dtype: Dtype,
}

/// A view of a storage. Nothing is known of it but that its numbers are not negative.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tensor<'a> {
    pub(super) storage: Storage<'a>,
    /// Where it begins, in elements.
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    /// Steps in elements, as many as there are dimensions.
    pub(super) strides: Vec<usize>,
}

/// What values with an index stand for.
#[derive(Debug, Default)]
pub(super) struct Arena<'a> {
    pub(super) sequences: Vec<Vec<Value<'a>>>,
    pub(super) dicts: Vec<Vec<(Value<'a>, Value<'a>)>>,
    pub(super) tensors: Vec<Tensor<'a>>,
    /// Every storage that was named.
    pub(super) storages: Vec<Storage<'a>>,
}

impl<'a> Arena<'a> {
    pub(super) fn sequence(&mut self, items: Vec<Value<'a>>) -> Value<'a> {
        self.sequences.push(items);
        Value::Sequence(self.sequences.len() - 1)
    }

    pub(super) fn dict(&mut self, pairs: Vec<(Value<'a>, Value<'a>)>) -> Value<'a> {
        self.dicts.push(pairs);
        Value::Dict(self.dicts.len() - 1)
    }

    pub(super) fn tensor(&mut self, tensor: Tensor<'a>) -> Value<'a> {
        self.tensors.push(tensor);
        Value::Tensor(self.tensors.len() - 1)
    }

    /// The items of a tuple or list.
    pub(super) fn items(&self, value: Value<'a>) -> Option<&[Value<'a>]> {
        match value {
            Value::Sequence(index) => self.sequences.get(index).map(Vec::as_slice),
            _ => None,
        }
    }

    /// The pairs of a dict, in the order in which they were set.
    pub(super) fn pairs(&self, value: Value<'a>) -> Option<&[(Value<'a>, Value<'a>)]> {
        match value {
            Value::Dict(index) => self.dicts.get(index).map(Vec::as_slice),
            _ => None,
        }
    }
}
