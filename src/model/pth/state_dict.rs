//! The tensors in the value that a pickle builds.

use std::collections::{HashMap, HashSet, VecDeque};

use super::SAVE_WEIGHTS_ADVICE;
use super::value::{Arena, PickleValue, StridedTensor};
use crate::error::{Error, Result};

/// Keys under which training scripts keep the state dict, torchvision's first.
const WRAPPER_KEYS: [&str; 4] = ["model", "state_dict", "model_state_dict", "model_state"];

/// Words in the keys of averaged copies of the weights.
const AVERAGE_WORDS: [&str; 2] = ["ema", "teacher"];

/// Largest number of dicts around a state dict.
const MAX_DEPTH: usize = 4;

/// Largest number of dicts that are looked into.
const MAX_DICTS: usize = 1000;

/// Largest number of characters of a key in messages.
const MAX_SHOWN_CHARS: usize = 60;

/// Pairs of a dict, in the order in which they were set.
type Pairs<'arena, 'a> = &'arena [(PickleValue<'a>, PickleValue<'a>)];

/// The tensors of a state dict.
#[derive(Debug)]
pub(super) struct FoundTensors<'a> {
    pub(super) tensors: Vec<(&'a str, StridedTensor<'a>)>,
    /// Place of the state dict in the file, and copies that are left out; empty if the file is a
    /// state dict itself.
    pub(super) origin: String,
}

/// A dict that holds tensors.
#[derive(Debug)]
struct TensorDict<'arena, 'a> {
    /// Keys that lead to the dict, separated by dots; empty for the whole file.
    path: String,
    pairs: Pairs<'arena, 'a>,
    tensor_count: usize,
}

impl TensorDict<'_, '_> {
    /// Returns true if the keys say that this is an averaged copy of the weights.
    fn is_average(&self) -> bool {
        let path = self.path.to_lowercase();
        path.split(['.', '_', '-']).any(|word| AVERAGE_WORDS.contains(&word))
    }

    /// Returns the rank of the last key among those that training scripts use.
    fn wrapper_rank(&self) -> usize {
        let key = self.path.rsplit('.').next().unwrap_or_default();
        WRAPPER_KEYS.iter().position(|known| *known == key).unwrap_or(WRAPPER_KEYS.len())
    }
}

/// Finds the tensors of a state dict, or of one that is wrapped, as in `{"model": ..., "epoch":
/// ...}`. Of several, an averaged copy is taken, because training keeps it as the better one.
pub(super) fn find_tensors<'a>(
    arena: &Arena<'a>,
    root: PickleValue<'a>,
) -> Result<FoundTensors<'a>> {
    let Some(root_pairs) = arena.pairs(root) else {
        return Err(Error::input(format!(
            "the file holds no dict of tensors; {SAVE_WEIGHTS_ADVICE}"
        )));
    };
    let dicts = list_tensor_dicts(arena, root);
    let Some(largest) = dicts.iter().map(|dict| dict.tensor_count).max() else {
        return Err(no_tensors_error(root_pairs));
    };
    // Smaller dicts are scores, buffers of an optimizer and the like.
    let mut copies: Vec<&TensorDict<'_, '_>> =
        dicts.iter().filter(|dict| 2 * dict.tensor_count > largest).collect();
    copies.sort_by_key(|dict| {
        (!dict.is_average(), dict.wrapper_rank(), std::cmp::Reverse(dict.tensor_count))
    });
    let (chosen, others) = match &copies[..] {
        [first, second, ..]
            if !first.is_average()
                && first.wrapper_rank() == second.wrapper_rank()
                && first.tensor_count == second.tensor_count =>
        {
            let paths: Vec<&str> = copies.iter().map(|dict| &dict.path[..]).collect();
            return Err(Error::input(format!(
                "the file holds several dicts of tensors, {}, and which one is meant cannot be \
                 known; {SAVE_WEIGHTS_ADVICE}",
                paths.join(", ")
            )));
        }
        [first, others @ ..] => (*first, others),
        [] => return Err(no_tensors_error(root_pairs)),
    };
    let mut origin = chosen.path.clone();
    if !others.is_empty() {
        let names: Vec<&str> = others
            .iter()
            .map(|dict| if dict.path.is_empty() { "the outer dict" } else { &dict.path[..] })
            .collect();
        origin = format!("{origin}, and not {}", names.join(", "));
    }
    Ok(FoundTensors { tensors: list_tensors(arena, chosen.pairs), origin })
}

/// Lists the dicts that hold tensors, the outermost first.
fn list_tensor_dicts<'arena, 'a>(
    arena: &'arena Arena<'a>,
    root: PickleValue<'a>,
) -> Vec<TensorDict<'arena, 'a>> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut queue = VecDeque::from([(root, String::new(), 0)]);
    while let Some((value, path, depth)) = queue.pop_front() {
        let PickleValue::Dict(index) = value else { continue };
        if seen.len() >= MAX_DICTS || !seen.insert(index) {
            continue;
        }
        let pairs = arena.pairs(value).unwrap_or_default();
        let mut tensor_count = 0;
        for (key, value) in pairs {
            let PickleValue::Text(key) = key else { continue };
            match value {
                PickleValue::Tensor(_) => tensor_count += 1,
                PickleValue::Dict(_) if depth < MAX_DEPTH => {
                    let key: String = key.chars().take(MAX_SHOWN_CHARS).collect();
                    let dot = if path.is_empty() { "" } else { "." };
                    queue.push_back((*value, format!("{path}{dot}{key}"), depth + 1));
                }
                _ => {}
            }
        }
        if tensor_count > 0 {
            found.push(TensorDict { path, pairs, tensor_count });
        }
    }
    found
}

/// Lists the tensors of a dict by name. As in Python, the last of equal keys counts.
fn list_tensors<'a>(arena: &Arena<'a>, pairs: Pairs<'_, 'a>) -> Vec<(&'a str, StridedTensor<'a>)> {
    let mut tensors: Vec<(&str, StridedTensor<'_>)> = Vec::new();
    let mut index_by_name = HashMap::new();
    for (key, value) in pairs {
        let (PickleValue::Text(name), PickleValue::Tensor(index)) = (key, value) else { continue };
        let Some(tensor) = arena.tensors.get(*index) else { continue };
        let position = *index_by_name.entry(*name).or_insert(tensors.len());
        if position == tensors.len() {
            tensors.push((*name, tensor.clone()));
        } else {
            tensors[position].1 = tensor.clone();
        }
    }
    tensors
}

fn no_tensors_error(root_pairs: Pairs<'_, '_>) -> Error {
    let mut keys = Vec::new();
    for (key, _) in root_pairs {
        if let PickleValue::Text(key) = key
            && keys.len() < 10
        {
            keys.push(*key);
        }
    }
    let found = if keys.is_empty() { "nothing".to_owned() } else { keys.join(", ") };
    Error::input(format!(
        "the file holds a dict without tensors (found: {found}); {SAVE_WEIGHTS_ADVICE}"
    ))
}
