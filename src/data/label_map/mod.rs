//! Label maps: which class a pixel value of a mask stands for, in the built-in's two forms.
//!
//! `{"scale": "3"}` divides: class = value / 3, rounded down. `{"map": {"0": 5, "1": 0}}` names: the key
//! is the class, the value is the pixel value, as in the example of the built-in's documentation,
//! where the encoded 0, 5, 2 become 1, 0, 2. Its documentation says no more than that, so what could
//! be meant in two ways is refused with both.

mod document;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use self::document::{LabelMapDocument, LabelMapEntry};
use crate::error::{Error, Problems, Result};
use crate::files::read_file;
use crate::metrics::IGNORE_INDEX;

/// How many entries a message shows.
const MAX_SHOWN_ENTRIES: usize = 12;

/// The class of each pixel value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelMap {
    /// None where it is not known what the value stands for.
    class_of_value: Box<[Option<u8>; 256]>,
    /// The divisor, if it came as one.
    scale: Option<u8>,
}

impl LabelMap {
    /// Reads a label map for `classes` classes. None when it changes nothing: a scale of 1.
    pub fn read(path: &Path, num_classes: usize) -> Result<Option<Self>> {
        Self::parse(&read_file(path)?, num_classes)
            .map_err(|error| error.with_context(path.display()))
    }

    /// The same from the bytes of the file.
    pub fn parse(bytes: &[u8], num_classes: usize) -> Result<Option<Self>> {
        match document::parse_document(bytes)? {
            LabelMapDocument::Scale(1) => Ok(None),
            LabelMapDocument::Scale(scale) => Ok(Some(Self::from_scale(scale, num_classes))),
            LabelMapDocument::Map(entries) => build_from_entries(&entries, num_classes).map(Some),
        }
    }

    /// 255 stays ignored, as it is in masks without a label map. Where dividing would make it a class, it
    /// is not known which of the two is meant; it matters only to masks that hold the value.
    fn from_scale(scale: u8, num_classes: usize) -> Self {
        let mut table = Box::new([None; 256]);
        for (value, class) in (0..IGNORE_INDEX).zip(table.iter_mut()) {
            *class = Some(value / scale);
        }
        let is_class = usize::from(IGNORE_INDEX / scale) < num_classes;
        table[usize::from(IGNORE_INDEX)] = (!is_class).then_some(IGNORE_INDEX);
        Self { class_of_value: table, scale: Some(scale) }
    }

    /// Replaces the values of a mask by classes. Values without one come back with their pixels.
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

    /// What to do about values that have no class.
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

/// How it is read, for the log and for checkpoints: `scale 3`, or `0 is class 1, 5 is class 0`.
impl fmt::Display for LabelMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scale) = self.scale {
            return write!(f, "class = pixel value / {scale}, rounded down");
        }
        let mapped: Vec<(usize, u8)> = self
            .class_of_value
            .iter()
            .enumerate()
            .filter_map(|(v, class)| Some((v, (*class)?)))
            .collect();
        let shown = mapped.iter().take(MAX_SHOWN_ENTRIES).map(|&(value, class)| {
            let class =
                if class == IGNORE_INDEX { "ignored".to_owned() } else { format!("class {class}") };
            format!("{value} is {class}")
        });
        f.write_str(&shown.collect::<Vec<_>>().join(", "))?;
        match mapped.len().saturating_sub(MAX_SHOWN_ENTRIES) {
            0 => Ok(()),
            more => {
                let bytes: Vec<u8> =
                    mapped.iter().flat_map(|&(v, class)| [v as u8, class]).collect();
                write!(f, " and {more} more (checksum {:08x})", crc32fast::hash(&bytes))
            }
        }
    }
}

/// The table of a map whose entries name each class and each pixel value once.
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
            // 255 as a value is how the foreground of a binary mask is named, and nothing else.
            problems.push(format!(
                "{direction}, but this one can be read the other way round too, and would mean another \
                 thing. Write the values as lists: {} if the keys are classes, {swapped} if they are \
                 pixel values",
                format_map_json(entries.iter().flat_map(|e| e.values.iter().map(|&v| (e.class, v))))
            ));
        }
    }
    problems.into_result()?;
    table[usize::from(IGNORE_INDEX)].get_or_insert(IGNORE_INDEX);
    Ok(LabelMap { class_of_value: table, scale: None })
}

/// The map with keys and values exchanged, if it can be read that way: values are single numbers that
/// are classes, and no key comes twice. Lists are pixel values for sure.
fn swap_keys_and_values(entries: &[LabelMapEntry], num_classes: usize) -> Option<String> {
    let mut keys = BTreeSet::new();
    let is_class = |value: u8| usize::from(value) < num_classes || value == IGNORE_INDEX;
    let pairs: Option<Vec<(u8, u8)>> = entries
        .iter()
        .map(|entry| match entry.values[..] {
            [value] if !entry.is_list && is_class(value) && keys.insert(entry.class) => {
                Some((value, entry.class))
            }
            _ => None,
        })
        .collect();
    pairs.map(|pairs| format_map_json(pairs.into_iter()))
}

/// Whether exchanging keys and values changes the map.
fn is_changed_by_swap(entries: &[LabelMapEntry]) -> bool {
    let pairs: BTreeSet<(u8, u8)> =
        entries.iter().flat_map(|e| e.values.iter().map(|&v| (e.class, v))).collect();
    pairs.iter().any(|&(class, value)| !pairs.contains(&(value, class)))
}

/// A map as JSON, from pairs of class and pixel value; lists leave no doubt which is which.
fn format_map_json(pairs: impl Iterator<Item = (u8, u8)>) -> String {
    let mut by_class: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
    for (class, value) in pairs {
        by_class.entry(class).or_default().push(value);
    }
    let mut shown: Vec<String> = by_class
        .iter()
        .take(MAX_SHOWN_ENTRIES)
        .map(|(class, v)| format!("\"{class}\": {v:?}"))
        .collect();
    if by_class.len() > MAX_SHOWN_ENTRIES {
        shown.push("...".to_owned());
    }
    format!("{{\"map\": {{{}}}}}", shown.join(", "))
}

/// The error of a value that is not in its range.
fn out_of_range_error(name: &str, found: impl fmt::Display, min: u8) -> Error {
    Error::input(format!("{name} is {found}; allowed: a whole number from {min} to 255"))
}

#[cfg(test)]
mod tests;
