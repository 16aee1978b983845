//! Names and tensors from what a pickle made.

use std::collections::HashMap;

use super::ADVICE;
use super::value::{Arena, Tensor, Value};
use crate::error::{Error, Result};

/// Keys under which training scripts keep the state dict, torchvision's first.
const WRAPPERS: [&str; 2] = ["model", "state_dict"];

/// The tensors of a state dict, or of one that is wrapped as in `{"model": ..., "epoch": ...}`.
pub(super) fn tensors<'a>(arena: &Arena<'a>, top: Value<'a>) -> Result<Vec<(&'a str, Tensor<'a>)>> {
    let Some(mut pairs) = arena.pairs(top) else {
        return Err(Error::input(format!("the file holds no dict of tensors; {ADVICE}")));
    };
    let named = |value: &Value<'a>| match value {
        Value::Text(name) => Some(*name),
        _ => None,
    };
    let inner = WRAPPERS.iter().find_map(|wrapper| {
        let (_, value) = pairs.iter().rev().find(|(key, _)| named(key) == Some(wrapper))?;
        arena.pairs(*value)
    });
    pairs = inner.unwrap_or(pairs);
    let mut tensors: Vec<(&str, Tensor<'_>)> = Vec::new();
    let mut places = HashMap::new();
    for (key, value) in pairs {
        let (Some(name), Value::Tensor(index)) = (named(key), value) else { continue };
        let Some(tensor) = arena.tensors.get(*index) else { continue };
        // As in Python, the last of equal keys counts.
        let place = *places.entry(name).or_insert(tensors.len());
        if place == tensors.len() {
            tensors.push((name, tensor.clone()));
        } else {
            tensors[place].1 = tensor.clone();
        }
    }
    if tensors.is_empty() {
        let keys: Vec<_> = pairs.iter().filter_map(|(key, _)| named(key)).take(10).collect();
        let found = if keys.is_empty() { "nothing".to_owned() } else { keys.join(", ") };
        return Err(Error::input(format!(
            "the file holds a dict without tensors (found: {found}); {ADVICE}"
        )));
    }
    Ok(tensors)
}
