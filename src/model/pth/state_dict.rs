//! Names and tensors from what a pickle made.

use std::collections::HashMap;

use super::SAVE_WEIGHTS_ADVICE;
use super::value::{Arena, PickleValue, StridedTensor};
use crate::error::{Error, Result};

/// Keys under which training scripts keep the state dict, torchvision's first.
const WRAPPER_KEYS: [&str; 2] = ["model", "state_dict"];

/// The tensors of a state dict, or of one that is wrapped as in `{"model": ..., "epoch": ...}`.
pub(super) fn find_tensors<'a>(
    arena: &Arena<'a>,
    root: PickleValue<'a>,
) -> Result<Vec<(&'a str, StridedTensor<'a>)>> {
    let Some(mut pairs) = arena.pairs(root) else {
        return Err(Error::input(format!(
            "the file holds no dict of tensors; {SAVE_WEIGHTS_ADVICE}"
        )));
    };
    let as_text = |value: &PickleValue<'a>| match value {
        PickleValue::Text(name) => Some(*name),
        _ => None,
    };
    let inner = WRAPPER_KEYS.iter().find_map(|wrapper| {
        let (_, value) = pairs.iter().rev().find(|(key, _)| as_text(key) == Some(wrapper))?;
        arena.pairs(*value)
    });
    pairs = inner.unwrap_or(pairs);
    let mut tensors: Vec<(&str, StridedTensor<'_>)> = Vec::new();
    let mut index_by_name = HashMap::new();
    for (key, value) in pairs {
        let (Some(name), PickleValue::Tensor(index)) = (as_text(key), value) else { continue };
        let Some(tensor) = arena.tensors.get(*index) else { continue };
        // As in Python, the last of equal keys counts.
        let position = *index_by_name.entry(name).or_insert(tensors.len());
        if position == tensors.len() {
            tensors.push((name, tensor.clone()));
        } else {
            tensors[position].1 = tensor.clone();
        }
    }
    if tensors.is_empty() {
        let keys: Vec<_> = pairs.iter().filter_map(|(key, _)| as_text(key)).take(10).collect();
        let found = if keys.is_empty() { "nothing".to_owned() } else { keys.join(", ") };
        return Err(Error::input(format!(
            "the file holds a dict without tensors (found: {found}); {SAVE_WEIGHTS_ADVICE}"
        )));
    }
    Ok(tensors)
}
