//! Ground Truth's `internal-color-map`: which class a colour of a mask stands for.
//!
//! A line of its manifests has, beside `<name>-ref`, the attribute `<name>-ref-metadata` with
//! `{"internal-color-map": {"0": {"class-name": "BACKGROUND", "hex-color": "#ffffff", "confidence": 0.9}}}`.
//! Keys and indices differ between labelling jobs, and some jobs wrote wrong indices, so neither is looked
//! at: the colour of a pixel says the name of its class, and the name says the id ([`assign`]).

mod classes;
mod resolve;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value};

pub use self::classes::{BACKGROUND, Known, assign, describe, is_in, order};
pub use self::resolve::{NEAR, Resolved};

/// Where the colours stand in the metadata.
const KEY: &str = "internal-color-map";

/// What an entry looks like, for messages.
const ENTRY: &str = "{\"class-name\": \"road\", \"hex-color\": \"#2acf59\"}";

/// A class of one map.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Entry {
    name: String,
    /// Red, green, blue.
    color: [u8; 3],
    /// None until the names of all maps are known; such a colour stands for nothing.
    class: Option<u8>,
}

/// The classes' colours in the masks of one line or of many.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ColorMap {
    /// Sorted by name, so that maps which differ only in their keys are one.
    entries: Vec<Entry>,
}

impl ColorMap {
    /// A map of names, colours and classes that are known.
    pub fn of_classes(classes: impl IntoIterator<Item = (String, [u8; 3], u8)>) -> Self {
        let entry = |(name, color, class)| Entry { name, color, class: Some(class) };
        let mut entries: Vec<Entry> = classes.into_iter().map(entry).collect();
        entries.sort();
        Self { entries }
    }

    /// The names of its classes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    /// The same map with the classes of its names; the background is class 0, and a name without class stands for
    /// nothing.
    #[must_use]
    pub fn with_classes(&self, class: impl Fn(&str) -> Option<u8>) -> Self {
        let mut map = self.clone();
        for entry in &mut map.entries {
            entry.class = if is_background(&entry.name) { Some(0) } else { class(&entry.name) };
        }
        map
    }

    /// Reads the metadata of an annotation: none if they hold no map. All that is wrong is one text, which
    /// completes "line 3 ...".
    pub fn parse(metadata: &Value) -> Result<Option<Self>, String> {
        let Some(map) = metadata.get(KEY) else { return Ok(None) };
        let Value::Object(map) = map else {
            return Err(format!("has an {KEY} that is no object; expected {{\"1\": {ENTRY}}}"));
        };
        let mut wrong = Vec::new();
        let mut entries = Vec::new();
        for (key, value) in map {
            match entry(value) {
                Ok(entry) => entries.push(entry),
                Err(what) => wrong.push(format!("{key:?} {what}")),
            }
        }
        entries.sort();
        twice(&entries, &mut wrong);
        if wrong.is_empty() {
            return Ok(Some(Self { entries }));
        }
        Err(format!("has an {KEY} in which {}", wrong.join(" and ")))
    }
}

/// The class of one key.
fn entry(value: &Value) -> Result<Entry, String> {
    let text = |key: &str| match value.get(key) {
        Some(Value::String(text)) => Ok(text.trim()),
        Some(other) => Err(format!("has {key} {other}; expected {ENTRY}")),
        None => Err(format!("has no {key}; expected {ENTRY}")),
    };
    let (name, hex) = (text("class-name")?, text("hex-color")?);
    if name.is_empty() || name.contains(char::is_control) {
        return Err("has a class-name that is empty or unprintable".to_owned());
    }
    let color = color(hex).ok_or_else(|| {
        format!("({name}) has hex-color {hex:?}; allowed: # and six hexadecimal digits")
    })?;
    Ok(Entry { name: name.to_owned(), color, class: None })
}

/// `#2acf59` as red, green, blue; the number sign may be missing.
fn color(hex: &str) -> Option<[u8; 3]> {
    let digits = hex.strip_prefix('#').unwrap_or(hex);
    // A sign would be read as part of a number.
    if digits.len() != 6 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let number = u32::from_str_radix(digits, 16).ok()?;
    let [_, red, green, blue] = number.to_be_bytes();
    Some([red, green, blue])
}

fn hex([red, green, blue]: [u8; 3]) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// Names and colours that come more than once.
fn twice(entries: &[Entry], wrong: &mut Vec<String>) {
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut colors: BTreeMap<[u8; 3], Vec<&str>> = BTreeMap::new();
    for entry in entries {
        let name = if is_background(&entry.name) { BACKGROUND } else { &entry.name };
        names.entry(name.to_owned()).or_default().push(hex(entry.color));
        colors.entry(entry.color).or_default().push(&entry.name);
    }
    for (name, colors) in names.iter().filter(|(_, colors)| colors.len() > 1) {
        wrong.push(format!(
            "the class-name {name} comes {} times ({})",
            colors.len(),
            colors.join(", ")
        ));
    }
    for (color, names) in colors.iter().filter(|(_, names)| names.len() > 1) {
        wrong.push(format!(
            "{} is the colour of several classes ({})",
            hex(*color),
            names.join(", ")
        ));
    }
}

/// Whether a name is that of what nobody labelled.
fn is_background(name: &str) -> bool {
    name.eq_ignore_ascii_case(BACKGROUND)
}

/// The maps of a manifest's lines. Most lines have the same one, which is kept once.
#[derive(Debug, Default)]
pub struct ColorMaps(HashSet<Arc<ColorMap>>);

impl ColorMaps {
    /// The map that a manifest's line has for the annotation `attribute`, if any.
    pub fn of_line(
        &mut self,
        line: &Map<String, Value>,
        attribute: &str,
    ) -> Result<Option<Arc<ColorMap>>, String> {
        match line.get(&format!("{attribute}-metadata")) {
            Some(metadata) => self.of_metadata(metadata),
            None => Ok(None),
        }
    }

    /// The map in metadata, if any.
    pub fn of_metadata(&mut self, metadata: &Value) -> Result<Option<Arc<ColorMap>>, String> {
        let Some(map) = ColorMap::parse(metadata)? else { return Ok(None) };
        if let Some(known) = self.0.get(&map) {
            return Ok(Some(known.clone()));
        }
        let map = Arc::new(map);
        self.0.insert(map.clone());
        Ok(Some(map))
    }
}

#[cfg(test)]
mod tests;
