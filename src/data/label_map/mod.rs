//! Label maps, which give pixel values of masks their class, in the built-in's two forms.
//!
//! `{"scale": "3"}` divides: class = value / 3, rounded down. `{"map": {"0": 5, "1": 0}}` names:
//! the key is the class, the value is the pixel value, as in the example of the built-in's
//! documentation, where the encoded 0, 5, 2 become 1, 0, 2. Its documentation says no more than
//! that, so a map that can be read in two ways is refused, with both readings.

mod document;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use self::document::{LabelMapDocument, LabelMapEntry};
use crate::error::{Error, ErrorContext, Problems, Result};
use crate::files::read_file;
use crate::metrics::IGNORE_INDEX;

/// Number of entries that a message shows.
const MAX_SHOWN_ENTRIES: usize = 12;

/// Class of each pixel value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "LabelMapTable", into = "LabelMapTable")]
pub struct LabelMap {
    /// Class by pixel value; none if the class of the value is not known.
    class_of_value: Box<[Option<u8>; 256]>,
    /// Divisor, if the file gives one.
    scale: Option<u8>,
}

/// A label map as another process of the host reads it.
#[derive(Serialize, Deserialize)]
struct LabelMapTable {
    class_of_value: Vec<Option<u8>>,
    scale: Option<u8>,
}

impl From<LabelMap> for LabelMapTable {
    fn from(map: LabelMap) -> Self {
        Self { class_of_value: map.class_of_value.to_vec(), scale: map.scale }
    }
}

impl TryFrom<LabelMapTable> for LabelMap {
    type Error = &'static str;

    fn try_from(table: LabelMapTable) -> Result<Self, Self::Error> {
        match table.class_of_value.try_into() {
            Ok(class_of_value) => {
                Ok(Self { class_of_value: Box::new(class_of_value), scale: table.scale })
            }
            Err(_) => Err("a label map has 256 entries"),
        }
    }
}

impl LabelMap {
    /// Reads a label map for `num_classes` classes. Returns nothing for a scale of 1, which changes
    /// nothing.
    pub fn read(path: &Path, num_classes: usize) -> Result<Option<Self>> {
        Self::parse(&read_file(path)?, num_classes).error_context(path.display())
    }

    /// Reads a label map from the bytes of its file.
    pub fn parse(bytes: &[u8], num_classes: usize) -> Result<Option<Self>> {
        match document::parse_document(bytes)? {
            LabelMapDocument::Scale(1) => Ok(None),
            LabelMapDocument::Scale(scale) => Ok(Some(Self::from_scale(scale, num_classes))),
            LabelMapDocument::Map(entries) => build_from_entries(&entries, num_classes).map(Some),
        }
    }

    /// Creates the map that divides. 255 stays ignored, as it is in masks without a label map. If
    /// the quotient of 255 is a class, both meanings are possible, so 255 has no class then; only
    /// masks that hold the value are refused.
    fn from_scale(scale: u8, num_classes: usize) -> Self {
        let mut table = Box::new([None; 256]);
        for (value, class) in (0..IGNORE_INDEX).zip(table.iter_mut()) {
            *class = Some(value / scale);
        }
        let is_class = usize::from(IGNORE_INDEX / scale) < num_classes;
        table[usize::from(IGNORE_INDEX)] = (!is_class).then_some(IGNORE_INDEX);
        Self { class_of_value: table, scale: Some(scale) }
    }

    /// Replaces the values of a mask by classes. The error counts the pixels of each value without
    /// a class.
    pub fn apply(&self, mask: &mut [u8]) -> Result<(), BTreeMap<u8, u64>> {
        let mut unknown = BTreeMap::new();
        for value in mask {
            match self.class_of_value[usize::from(*value)] {
                Some(class) => *value = class,
                None => *unknown.entry(*value).or_default() += 1,
            }
        }
        if unknown.is_empty() { Ok(()) } else { Err(unknown) }
    }

    /// Returns what a user can do about values that have no class.
    pub fn missing_value_advice(&self) -> String {
        match self.scale {
            Some(scale) => format!(
                "scale {scale} makes 255 class {}, while 255 also means \"ignored\": say which with a \
                 map, {{\"map\": {{\"0\": 0, \"1\": {scale}}}}} and so on, in which 255 is ignored \
                 unless an entry names it",
                IGNORE_INDEX / scale
            ),
            None => {
                "the label map has no entry for them: give each a class, or list it under 255 to \
                     have it ignored, as in {\"map\": {\"0\": 0, \"255\": [7, 9]}}"
                    .to_owned()
            }
        }
    }
}

/// Describes the map for the log and for checkpoints, such as `class = pixel value / 3, rounded
/// down` or `0 is class 1, 5 is class 0`.
impl fmt::Display for LabelMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scale) = self.scale {
            return write!(f, "class = pixel value / {scale}, rounded down");
        }
        let mut entry_count = 0;
        let mut shown = Vec::new();
        let mut bytes = Vec::new();
        for (value, class) in self.class_of_value.iter().enumerate() {
            let Some(class) = *class else { continue };
            entry_count += 1;
            bytes.extend([value as u8, class]);
            if shown.len() == MAX_SHOWN_ENTRIES {
                continue;
            }
            if class == IGNORE_INDEX {
                shown.push(format!("{value} is ignored"));
            } else {
                shown.push(format!("{value} is class {class}"));
            }
        }
        f.write_str(&shown.join(", "))?;
        match entry_count - shown.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more (checksum {:08x})", crc32fast::hash(&bytes)),
        }
    }
}

/// Builds the map of entries, each of which must name its class and its pixel values only once.
fn build_from_entries(entries: &[LabelMapEntry], num_classes: usize) -> Result<LabelMap> {
    let mut problems = Problems::new();
    let mut table: Box<[Option<u8>; 256]> = Box::new([None; 256]);
    let mut seen_classes = BTreeSet::new();
    for entry in entries {
        let class = entry.class;
        if usize::from(class) >= num_classes && class != IGNORE_INDEX {
            problems.push(format!(
                "map has the key {class}, which is no class of num_classes {num_classes}; allowed: 0 to \
                 {} and {IGNORE_INDEX} (ignored)",
                num_classes.saturating_sub(1)
            ));
        }
        if !seen_classes.insert(class) {
            problems.push(format!(
                "map names class {class} twice; list its pixel values in one entry, as in \
                 {{\"map\": {{\"{class}\": [5, 6]}}}}"
            ));
        }
        for &value in &entry.values {
            match &mut table[usize::from(value)] {
                Some(other) => problems.push(format!(
                    "map gives the pixel value {value} to class {other} and to class {class}; keep one"
                )),
                slot => *slot = Some(class),
            }
        }
    }
    if let Some(swapped) = swap_keys_and_values(entries, num_classes) {
        let direction = "keys are classes and values are pixel values";
        if !problems.is_empty() {
            problems.push(format!(
                "{direction}; the other way round it would fit. If the keys were meant to be pixel \
                 values, write {swapped}"
            ));
        } else if is_changed_by_swap(entries)
            && !entries.iter().any(|entry| entry.values == [IGNORE_INDEX])
        {
            // An entry with 255 as its value names the foreground of a binary mask, and cannot be
            // meant otherwise.
            problems.push(format!(
                "{direction}, but this one can be read the other way round too, and would mean another \
                 thing. Write the values as lists: {} if the keys are classes, {swapped} if they are \
                 pixel values",
                format_map_json(&list_pairs(entries))
            ));
        }
    }
    problems.into_result()?;
    table[usize::from(IGNORE_INDEX)].get_or_insert(IGNORE_INDEX);
    Ok(LabelMap { class_of_value: table, scale: None })
}

/// Returns the map with keys and values exchanged as JSON, if it can be read that way: values are
/// single numbers that are classes, and no key comes twice. Lists are always pixel values.
fn swap_keys_and_values(entries: &[LabelMapEntry], num_classes: usize) -> Option<String> {
    let mut keys = BTreeSet::new();
    let mut pairs = Vec::new();
    for entry in entries {
        let [value] = entry.values[..] else { return None };
        let is_class = usize::from(value) < num_classes || value == IGNORE_INDEX;
        if entry.is_list || !is_class || !keys.insert(entry.class) {
            return None;
        }
        pairs.push((value, entry.class));
    }
    Some(format_map_json(&pairs))
}

/// Returns true if exchanging keys and values changes the map.
fn is_changed_by_swap(entries: &[LabelMapEntry]) -> bool {
    let pairs: BTreeSet<(u8, u8)> = list_pairs(entries).into_iter().collect();
    pairs.iter().any(|&(class, value)| !pairs.contains(&(value, class)))
}

/// Lists the pairs of class and pixel value.
fn list_pairs(entries: &[LabelMapEntry]) -> Vec<(u8, u8)> {
    let mut pairs = Vec::new();
    for entry in entries {
        for &value in &entry.values {
            pairs.push((entry.class, value));
        }
    }
    pairs
}

/// Formats pairs of class and pixel value as JSON. Values are lists, which cannot be mistaken for
/// classes.
fn format_map_json(pairs: &[(u8, u8)]) -> String {
    let mut by_class: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
    for &(class, value) in pairs {
        by_class.entry(class).or_default().push(value);
    }
    let mut shown = Vec::new();
    for (class, values) in by_class.iter().take(MAX_SHOWN_ENTRIES) {
        shown.push(format!("\"{class}\": {values:?}"));
    }
    if by_class.len() > MAX_SHOWN_ENTRIES {
        shown.push("...".to_owned());
    }
    format!("{{\"map\": {{{}}}}}", shown.join(", "))
}

/// Makes the error of a value that is not in its range.
fn out_of_range_error(name: &str, found: impl fmt::Display, min: u8) -> Error {
    Error::input(format!("{name} is {found}; allowed: a whole number from {min} to 255"))
}

#[cfg(test)]
mod tests;
