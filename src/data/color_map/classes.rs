//! From the classes' names in all colour maps of a job to ids.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{ColorMap, is_background};
use crate::data::Sample;
use crate::data::source::{count, examples};
use crate::error::{Problems, Result, did_you_mean};

/// What class 0 is called; Ground Truth writes it in capitals.
pub const BACKGROUND: &str = "background";

/// How many names a message lists before it only counts.
const SHOWN: usize = 12;

/// Names that are given, class 0 first.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// One per class.
    pub names: &'a [String],
    /// Who gives them, for messages.
    pub source: &'a str,
}

/// Gives the classes in the colour maps of both splits (training, validation) their ids: those of the names
/// that are `known`; else 0 for the background and the others from 1, sorted by name (by code points), so
/// that they are the same for both splits, on every run. The names of all classes come back, or none if no
/// sample has a colour map.
///
/// # Errors
/// Lines of a split without a map when others have one; a label map beside them; names that are not
/// `known`; a number of classes that is not `num_classes`. The samples are as they were.
pub fn assign(
    splits: [(&str, &mut [Sample]); 2],
    known: Option<Known<'_>>,
    num_classes: usize,
) -> Result<Option<Vec<String>>> {
    let mut problems = Problems::new();
    for (split, samples) in &splits {
        check_uniform(split, samples, &mut problems);
    }
    let with = [&splits[0], &splits[1]].map(|(_, samples)| is_in(samples) || samples.is_empty());
    if !splits.iter().any(|(_, samples)| is_in(samples)) {
        return problems.into_result().map(|()| None);
    }
    if known.is_none()
        && let Some(without) = with.iter().position(|with| !with)
    {
        let (with, without) = (splits[1 - without].0, splits[without].0);
        problems.push(format!(
            "channel {with} names its classes by internal-color-map, and the masks of {without} hold \
             class ids: which name has which id cannot be known; give class_names (hyperparameter, or \
             labels.json in channel label_map), class 0 ({BACKGROUND}) first"
        ));
    }
    let found = names(&splits);
    let (ids, all) = match known {
        Some(known) => (given(&found, known, &mut problems), known.names.to_vec()),
        None => sorted(&found, num_classes, &mut problems),
    };
    problems.into_result()?;
    let mut done: HashMap<Arc<ColorMap>, Arc<ColorMap>> = HashMap::new();
    for sample in splits.into_iter().flat_map(|(_, samples)| samples) {
        if let Some(map) = &mut sample.color_map {
            let with_ids = done
                .entry(map.clone())
                .or_insert_with(|| Arc::new(map.with_classes(|name| ids.get(name).copied())));
            *map = with_ids.clone();
        }
    }
    Ok(Some(all))
}

/// Whether any of the samples has a colour map.
pub fn is_in(samples: &[Sample]) -> bool {
    samples.iter().any(|sample| sample.color_map.is_some())
}

fn check_uniform(split: &str, samples: &[Sample], problems: &mut Problems) {
    let (with, without): (Vec<&Sample>, Vec<&Sample>) =
        samples.iter().partition(|sample| sample.color_map.is_some());
    if with.is_empty() {
        return;
    }
    if !without.is_empty() {
        let keys: Vec<String> = without.iter().map(|sample| sample.key.clone()).collect();
        problems.push(format!(
            "channel {split}: {} without an internal-color-map, while {} one: the metadata of a line \
             belong beside its annotation; without them: {}",
            count(without.len(), "line"),
            if with.len() == 1 { "1 has".to_owned() } else { format!("{} have", with.len()) },
            examples(&keys)
        ));
    }
    if samples.iter().any(|sample| sample.label_map.is_some()) {
        problems.push(format!(
            "channel label_map has a map for {split}, whose classes are named by internal-color-map; a \
             label map is for masks that hold values: remove the file {split}_label_map.json (or \
             label_map.json) from the channel; labels.json may stay, it gives the names their ids"
        ));
    }
}

/// The names in all maps but the background's, each with the sample where it comes first.
fn names<'a>(splits: &'a [(&str, &mut [Sample]); 2]) -> BTreeMap<&'a str, String> {
    let mut names = BTreeMap::new();
    for (split, samples) in splits {
        let mut last: Option<&Arc<ColorMap>> = None;
        for sample in samples.iter() {
            let Some(map) = &sample.color_map else { continue };
            // Most lines have the map of the line before.
            if last.replace(map).is_some_and(|last| Arc::ptr_eq(last, map)) {
                continue;
            }
            for entry in map.entries.iter().filter(|entry| !is_background(&entry.name)) {
                names
                    .entry(entry.name.as_str())
                    .or_insert_with(|| format!("{split}, {}", sample.key));
            }
        }
    }
    names
}

/// The ids of names that are given.
fn given(
    found: &BTreeMap<&str, String>,
    known: Known<'_>,
    problems: &mut Problems,
) -> HashMap<String, u8> {
    let Known { names, source } = known;
    let mut ids = HashMap::new();
    let mut unknown = Vec::new();
    for (id, name) in names.iter().enumerate() {
        if is_background(name) && id > 0 {
            problems.push(format!(
                "{source} has {name} as class {id}; the background of an internal-color-map, and what \
                 nobody labelled, is class 0: put it first"
            ));
        }
        if found.contains_key(name.as_str())
            && ids.insert(name.clone(), id.min(255) as u8).is_some()
        {
            problems.push(format!("{source} has the name {name} twice; which id is meant?"));
        }
    }
    if let Some((first, place)) =
        names.first().and_then(|first| found.get_key_value(first.as_str()))
    {
        problems.push(format!(
            "{source} has {first} as class 0, which an internal-color-map names too ({place}); class 0 \
             is what nobody labelled: put {BACKGROUND} first"
        ));
    }
    for (name, place) in found.iter().filter(|(name, _)| !ids.contains_key(**name)) {
        let hint = did_you_mean(name, names.iter().map(String::as_str));
        unknown.push(format!("{name:?}{hint} (first in {place})"));
    }
    if !unknown.is_empty() {
        problems.push(format!(
            "internal-color-map: {} not among the names of {source} ({}): {}",
            if unknown.len() == 1 {
                "1 class is".to_owned()
            } else {
                format!("{} classes are", unknown.len())
            },
            shown(names.iter().map(String::as_str)),
            unknown.join(", ")
        ));
    }
    ids
}

/// The ids of names in their order, and all names.
fn sorted(
    found: &BTreeMap<&str, String>,
    num_classes: usize,
    problems: &mut Problems,
) -> (HashMap<String, u8>, Vec<String>) {
    let names: Vec<String> =
        std::iter::once(BACKGROUND).chain(found.keys().copied()).map(str::to_owned).collect();
    if names.len() != num_classes {
        problems.push(format!(
            "num_classes is {num_classes}, but with the {BACKGROUND}, which is always class 0, the \
             internal-color-maps name {} classes: {}; set num_classes to {}, or give class_names \
             (hyperparameter, or labels.json in channel label_map) if some classes do not occur here",
            names.len(),
            shown(names.iter().map(String::as_str)),
            names.len()
        ));
    }
    let ids = names.iter().zip(0..=u8::MAX).map(|(name, id)| (name.clone(), id));
    (ids.collect(), names)
}

fn shown<'a>(names: impl Iterator<Item = &'a str> + Clone) -> String {
    let list = names.clone().take(SHOWN).collect::<Vec<_>>().join(", ");
    match names.count().saturating_sub(SHOWN) {
        0 => list,
        more => format!("{list} and {more} more"),
    }
}

/// Which maps a split's masks are read by, for checkpoints: none without any.
pub fn describe(samples: &[Sample]) -> Option<String> {
    let mut checksum = crc32fast::Hasher::new();
    let mut with = 0;
    let mut parts = HashMap::new();
    for (number, sample) in samples.iter().enumerate() {
        let Some(map) = &sample.color_map else { continue };
        with += 1;
        let part = *parts.entry(map.clone()).or_insert_with(|| {
            let entries = map.entries.iter();
            let bytes: Vec<u8> =
                entries.flat_map(|entry| entry.color.into_iter().chain(entry.class)).collect();
            crc32fast::hash(&bytes)
        });
        checksum.update(&(number as u64).to_le_bytes());
        checksum.update(&part.to_le_bytes());
    }
    (with > 0).then(|| format!("of {} (checksum {:08x})", count(with, "line"), checksum.finalize()))
}

/// The order of the classes, for the log: `0 background, 1 road`.
pub fn order(names: &[String]) -> String {
    names.iter().enumerate().map(|(id, name)| format!("{id} {name}")).collect::<Vec<_>>().join(", ")
}
