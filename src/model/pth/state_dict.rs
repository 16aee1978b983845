//! The tensors in the value that a pickle builds.

use std::collections::HashMap;

use super::SAVE_WEIGHTS_ADVICE;
use super::value::{Arena, PickleValue, StridedTensor};
use crate::error::{Error, Result};

/// Keys under which training scripts keep the state dict, torchvision's first.
const WRAPPER_KEYS: [&str; 2] = ["model", "state_dict"];

/// Lists the tensors of a state dict, or of one that is wrapped as in `{"model": ..., "epoch":
/// ...}`.
pub(super) fn find_tensors<'a>(
    arena: &Arena<'a>,
    root: PickleValue<'a>,
) -> Result<Vec<(&'a str, StridedTensor<'a>)>> {
    let Some(mut pairs) = arena.pairs(root) else {
        return Err(Error::input(format!(
            "the file holds no dict of tensors; {SAVE_WEIGHTS_ADVICE}"
        )));
    };
    for wrapper in WRAPPER_KEYS {
        if let Some(inner) = find_wrapped(arena, pairs, wrapper) {
            pairs = inner;
            break;
        }
    }
    let mut tensors: Vec<(&str, StridedTensor<'_>)> = Vec::new();
    let mut index_by_name = HashMap::new();
    for (key, value) in pairs {
        let (PickleValue::Text(name), PickleValue::Tensor(index)) = (key, value) else { continue };
        let Some(tensor) = arena.tensors.get(*index) else { continue };
        // As in Python, the last of equal keys counts.
        let position = *index_by_name.entry(*name).or_insert(tensors.len());
        if position == tensors.len() {
            tensors.push((*name, tensor.clone()));
        } else {
            tensors[position].1 = tensor.clone();
        }
    }
    if tensors.is_empty() {
        let mut keys = Vec::new();
        for (key, _) in pairs {
            if let PickleValue::Text(key) = key
                && keys.len() < 10
            {
                keys.push(*key);
            }
        }
        let found = if keys.is_empty() { "nothing".to_owned() } else { keys.join(", ") };
        return Err(Error::input(format!(
            "the file holds a dict without tensors (found: {found}); {SAVE_WEIGHTS_ADVICE}"
        )));
    }
    Ok(tensors)
}

/// Returns the pairs of the dict under a key; the last of equal keys counts.
fn find_wrapped<'arena, 'a>(
    arena: &'arena Arena<'a>,
    pairs: &[(PickleValue<'a>, PickleValue<'a>)],
    wrapper: &str,
) -> Option<&'arena [(PickleValue<'a>, PickleValue<'a>)]> {
    for (key, value) in pairs.iter().rev() {
        if matches!(key, PickleValue::Text(text) if *text == wrapper) {
            return arena.pairs(*value);
        }
    }
    None
}
