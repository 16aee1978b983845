//! From the classes' names in all color maps of a job to ids.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{ColorMap, is_background};
use crate::data::Sample;
use crate::data::pairing::{list_examples, pluralize};
use crate::error::{Problems, Result, did_you_mean};

/// What class 0 is called; Ground Truth writes it in capitals.
pub const BACKGROUND: &str = "background";

/// How many names a message lists before it only counts.
const MAX_SHOWN_NAMES: usize = 12;

/// Names that are given, class 0 first.
#[derive(Debug, Clone, Copy)]
pub struct RequiredClassNames<'a> {
    /// One per class.
    pub names: &'a [String],
    /// Who gives them, for messages.
    pub source: &'a str,
}

/// Gives the classes in the color maps of both splits (training, validation) their ids: those of the names
/// that are `known`; else 0 for the background and the others from 1, sorted by name (by code points), so
/// that they are the same for both splits, on every run. The names of all classes come back, or none if no
/// sample has a color map.
///
/// # Errors
/// Lines of a split without a map when others have one; a label map beside them; names that are not
/// `known`; a number of classes that is not `num_classes`. The samples are as they were.
pub fn assign_class_ids(
    splits: [(&str, &mut [Sample]); 2],
    required: Option<RequiredClassNames<'_>>,
    num_classes: usize,
) -> Result<Option<Vec<String>>> {
    let mut problems = Problems::new();
    for (split, samples) in &splits {
        check_all_or_none(split, samples, &mut problems);
    }
    let has_maps_or_is_empty = [&splits[0], &splits[1]]
        .map(|(_, samples)| any_has_color_map(samples) || samples.is_empty());
    if !splits.iter().any(|(_, samples)| any_has_color_map(samples)) {
        return problems.into_result().map(|()| None);
    }
    if required.is_none()
        && let Some(index) = has_maps_or_is_empty.iter().position(|is_fine| !is_fine)
    {
        let (mapped_split, id_split) = (splits[1 - index].0, splits[index].0);
        problems.push(format!(
            "channel {mapped_split} names its classes by internal-color-map, and the masks of {id_split} hold \
             class ids: which name has which id cannot be known; give class_names (hyperparameter, or \
             labels.json in channel label_map), class 0 ({BACKGROUND}) first"
        ));
    }
    let names_in_maps = collect_names(&splits);
    let (ids, class_names) = match required {
        Some(required) => {
            (match_required_names(&names_in_maps, required, &mut problems), required.names.to_vec())
        }
        None => assign_sorted_ids(&names_in_maps, num_classes, &mut problems),
    };
    problems.into_result()?;
    let mut assigned_maps: HashMap<Arc<ColorMap>, Arc<ColorMap>> = HashMap::new();
    for sample in splits.into_iter().flat_map(|(_, samples)| samples) {
        if let Some(map) = &mut sample.color_map {
            let with_ids = assigned_maps
                .entry(map.clone())
                .or_insert_with(|| Arc::new(map.with_class_ids(|name| ids.get(name).copied())));
            *map = with_ids.clone();
        }
    }
    Ok(Some(class_names))
}

/// Whether any of the samples has a color map.
pub fn any_has_color_map(samples: &[Sample]) -> bool {
    samples.iter().any(|sample| sample.color_map.is_some())
}

fn check_all_or_none(split: &str, samples: &[Sample], problems: &mut Problems) {
    let (with_map, without_map): (Vec<&Sample>, Vec<&Sample>) =
        samples.iter().partition(|sample| sample.color_map.is_some());
    if with_map.is_empty() {
        return;
    }
    if !without_map.is_empty() {
        let keys: Vec<String> = without_map.iter().map(|sample| sample.key.clone()).collect();
        problems.push(format!(
            "channel {split}: {} without an internal-color-map, while {} one: the metadata of a line \
             belong beside its annotation; without them: {}",
            pluralize(without_map.len(), "line"),
            if with_map.len() == 1 { "1 has".to_owned() } else { format!("{} have", with_map.len()) },
            list_examples(&keys)
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
fn collect_names<'a>(splits: &'a [(&str, &mut [Sample]); 2]) -> BTreeMap<&'a str, String> {
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
fn match_required_names(
    names_in_maps: &BTreeMap<&str, String>,
    required: RequiredClassNames<'_>,
    problems: &mut Problems,
) -> HashMap<String, u8> {
    let RequiredClassNames { names, source } = required;
    let mut ids = HashMap::new();
    let mut unknown = Vec::new();
    for (id, name) in names.iter().enumerate() {
        if is_background(name) && id > 0 {
            problems.push(format!(
                "{source} has {name} as class {id}; the background of an internal-color-map, and what \
                 nobody labeled, is class 0: put it first"
            ));
        }
        if names_in_maps.contains_key(name.as_str())
            && ids.insert(name.clone(), id.min(255) as u8).is_some()
        {
            problems.push(format!("{source} has the name {name} twice; which id is meant?"));
        }
    }
    if let Some((first, first_seen)) =
        names.first().and_then(|first| names_in_maps.get_key_value(first.as_str()))
    {
        problems.push(format!(
            "{source} has {first} as class 0, which an internal-color-map names too ({first_seen}); class 0 \
             is what nobody labeled: put {BACKGROUND} first"
        ));
    }
    for (name, first_seen) in names_in_maps.iter().filter(|(name, _)| !ids.contains_key(**name)) {
        let hint = did_you_mean(name, names.iter().map(String::as_str));
        unknown.push(format!("{name:?}{hint} (first in {first_seen})"));
    }
    if !unknown.is_empty() {
        problems.push(format!(
            "internal-color-map: {} not among the names of {source} ({}): {}",
            if unknown.len() == 1 {
                "1 class is".to_owned()
            } else {
                format!("{} classes are", unknown.len())
            },
            list_names(names.iter().map(String::as_str)),
            unknown.join(", ")
        ));
    }
    ids
}

/// The ids of names in their order, and all names.
fn assign_sorted_ids(
    names_in_maps: &BTreeMap<&str, String>,
    num_classes: usize,
    problems: &mut Problems,
) -> (HashMap<String, u8>, Vec<String>) {
    let names: Vec<String> = std::iter::once(BACKGROUND)
        .chain(names_in_maps.keys().copied())
        .map(str::to_owned)
        .collect();
    if names.len() != num_classes {
        problems.push(format!(
            "num_classes is {num_classes}, but with the {BACKGROUND}, which is always class 0, the \
             internal-color-maps name {} classes: {}; set num_classes to {}, or give class_names \
             (hyperparameter, or labels.json in channel label_map) if some classes do not occur here",
            names.len(),
            list_names(names.iter().map(String::as_str)),
            names.len()
        ));
    }
    let ids = names.iter().zip(0..=u8::MAX).map(|(name, id)| (name.clone(), id));
    (ids.collect(), names)
}

fn list_names<'a>(names: impl Iterator<Item = &'a str> + Clone) -> String {
    let list = names.clone().take(MAX_SHOWN_NAMES).collect::<Vec<_>>().join(", ");
    match names.count().saturating_sub(MAX_SHOWN_NAMES) {
        0 => list,
        more => format!("{list} and {more} more"),
    }
}

/// Which maps a split's masks are read by, for checkpoints: none without any.
pub fn describe_color_maps(samples: &[Sample]) -> Option<String> {
    let mut checksum = crc32fast::Hasher::new();
    let mut map_count = 0;
    let mut map_checksums = HashMap::new();
    for (index, sample) in samples.iter().enumerate() {
        let Some(map) = &sample.color_map else { continue };
        map_count += 1;
        let map_checksum = *map_checksums.entry(map.clone()).or_insert_with(|| {
            let entries = map.entries.iter();
            let bytes: Vec<u8> =
                entries.flat_map(|entry| entry.color.into_iter().chain(entry.class)).collect();
            crc32fast::hash(&bytes)
        });
        checksum.update(&(index as u64).to_le_bytes());
        checksum.update(&map_checksum.to_le_bytes());
    }
    (map_count > 0).then(|| {
        format!("of {} (checksum {:08x})", pluralize(map_count, "line"), checksum.finalize())
    })
}

/// The order of the classes, for the log: `0 background, 1 road`.
pub fn format_class_order(names: &[String]) -> String {
    names.iter().enumerate().map(|(id, name)| format!("{id} {name}")).collect::<Vec<_>>().join(", ")
}
