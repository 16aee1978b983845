//! Class ids for the names in all color maps of a job.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{ColorMap, is_background};
use crate::data::Sample;
use crate::data::class_names::RequiredClassNames;
use crate::error::{Problems, Result, did_you_mean, join_examples, pluralize};

/// Name of class 0; Ground Truth writes it in capitals.
pub const BACKGROUND: &str = "background";

/// Number of names that a message lists; it only counts further ones.
const MAX_SHOWN_NAMES: usize = 12;

/// Assigns ids to the classes in the color maps of both splits (training, validation). With
/// `required` names these are the positions of the names. Otherwise the background is 0 and the
/// others follow from 1, sorted by name (by code points), so that ids are the same for both splits
/// and on every run. Returns the names of all classes, or nothing if no sample has a color map.
///
/// Problems are lines of a split without a map when others have one, a label map beside them, names
/// that are not `required`, and a number of classes that is not `num_classes`. The samples are left
/// unchanged then.
pub fn assign_class_ids(
    splits: [(&str, &mut [Sample]); 2],
    required: Option<RequiredClassNames<'_>>,
    num_classes: usize,
) -> Result<Option<Vec<String>>> {
    let mut problems = Problems::new();
    for (split, samples) in &splits {
        check_all_or_none(split, samples, &mut problems);
    }
    let has_maps = [any_has_color_map(splits[0].1), any_has_color_map(splits[1].1)];
    if has_maps == [false, false] {
        problems.into_result()?;
        return Ok(None);
    }
    // One split has maps, and the masks of the other hold class ids.
    let id_split_index = match has_maps {
        [false, true] if !splits[0].1.is_empty() => Some(0),
        [true, false] if !splits[1].1.is_empty() => Some(1),
        _ => None,
    };
    if required.is_none()
        && let Some(index) = id_split_index
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
    for (_, samples) in splits {
        for sample in samples {
            if let Some(map) = &mut sample.color_map {
                let with_ids = assigned_maps
                    .entry(map.clone())
                    .or_insert_with(|| Arc::new(map.with_class_ids(|name| ids.get(name).copied())));
                *map = with_ids.clone();
            }
        }
    }
    Ok(Some(class_names))
}

/// Returns true if any of the samples has a color map.
pub fn any_has_color_map(samples: &[Sample]) -> bool {
    samples.iter().any(|sample| sample.color_map.is_some())
}

fn check_all_or_none(split: &str, samples: &[Sample], problems: &mut Problems) {
    let mut keys_without_map = Vec::new();
    for sample in samples {
        if sample.color_map.is_none() {
            keys_without_map.push(sample.key.clone());
        }
    }
    let count_with_map = samples.len() - keys_without_map.len();
    if count_with_map == 0 {
        return;
    }
    if !keys_without_map.is_empty() {
        problems.push(format!(
            "channel {split}: {} without an internal-color-map, while {} one: the metadata of a line \
             belong beside its annotation; without them: {}",
            pluralize(keys_without_map.len(), "line"),
            if count_with_map == 1 {
                "1 has".to_owned()
            } else {
                format!("{count_with_map} have")
            },
            join_examples(keys_without_map.iter().cloned())
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

/// Returns the names in all maps but the background's, each with the sample where it comes first.
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
            for entry in &map.entries {
                if !is_background(&entry.name) {
                    names
                        .entry(entry.name.as_str())
                        .or_insert_with(|| format!("{split}, {}", sample.key));
                }
            }
        }
    }
    names
}

/// Returns the ids of the required names that occur, and checks that all names in maps are among
/// them.
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
    if let Some(first) = names.first()
        && let Some(first_seen) = names_in_maps.get(first.as_str())
    {
        problems.push(format!(
            "{source} has {first} as class 0, which an internal-color-map names too ({first_seen}); class 0 \
             is what nobody labeled: put {BACKGROUND} first"
        ));
    }
    for (name, first_seen) in names_in_maps {
        if ids.contains_key(*name) {
            continue;
        }
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

/// Returns the ids of names in their order, and all names.
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
    let ids = names.iter().cloned().zip(0..=u8::MAX).collect();
    (ids, names)
}

fn list_names<'a>(names: impl Iterator<Item = &'a str> + Clone) -> String {
    let list = names.clone().take(MAX_SHOWN_NAMES).collect::<Vec<_>>().join(", ");
    match names.count().saturating_sub(MAX_SHOWN_NAMES) {
        0 => list,
        more => format!("{list} and {more} more"),
    }
}

/// Returns a checksum of a split's maps for checkpoints, or nothing if there are none.
pub fn describe_color_maps(samples: &[Sample]) -> Option<String> {
    let mut checksum = crc32fast::Hasher::new();
    let mut map_count = 0;
    let mut map_checksums = HashMap::new();
    for (index, sample) in samples.iter().enumerate() {
        let Some(map) = &sample.color_map else { continue };
        map_count += 1;
        let map_checksum = *map_checksums.entry(map.clone()).or_insert_with(|| {
            let mut bytes = Vec::new();
            for entry in &map.entries {
                bytes.extend(entry.color);
                bytes.extend(entry.class);
            }
            crc32fast::hash(&bytes)
        });
        checksum.update(&(index as u64).to_le_bytes());
        checksum.update(&map_checksum.to_le_bytes());
    }
    if map_count == 0 {
        return None;
    }
    Some(format!("of {} (checksum {:08x})", pluralize(map_count, "line"), checksum.finalize()))
}

/// Returns the order of the classes for the log, such as `0 background, 1 road`.
pub fn format_class_order(names: &[String]) -> String {
    let mut texts = Vec::new();
    for (id, name) in names.iter().enumerate() {
        texts.push(format!("{id} {name}"));
    }
    texts.join(", ")
}
