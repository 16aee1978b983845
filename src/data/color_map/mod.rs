//! Ground Truth's `internal-color-map`, which gives each color of a mask the name of a class.
//!
//! A line of its manifests has, beside `<name>-ref`, the attribute `<name>-ref-metadata` with
//! `{"internal-color-map": {"0": {"class-name": "BACKGROUND", "hex-color": "#ffffff", "confidence":
//! 0.9}}}`.
//! Keys and indices differ between labeling jobs, and some jobs wrote wrong indices, so both are
//! ignored: the color of a pixel gives the name of its class, and the name gives the id
//! ([`assign_class_ids`]).

mod class_ids;
mod resolve;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use self::class_ids::{
    BACKGROUND, any_has_color_map, assign_class_ids, describe_color_maps, format_class_order,
};
pub use self::resolve::{ColorMatch, MAX_COLOR_DISTANCE, ResolvedMask, UnresolvedColors};

/// Key of the colors in the metadata.
const COLOR_MAP_KEY: &str = "internal-color-map";

/// Example of an entry, for messages.
const EXPECTED_ENTRY: &str = "{\"class-name\": \"road\", \"hex-color\": \"#2acf59\"}";

/// One class of a map.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
struct ColorMapEntry {
    name: String,
    /// Red, green and blue, 0 to 255.
    color: [u8; 3],
    /// Class id; none until the names of all maps are known, and such a color stands for no class.
    class: Option<u8>,
}

/// Colors of classes in the masks of one line or of many.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ColorMap {
    /// Entries sorted by name, so that maps which differ only in their keys are equal.
    entries: Vec<ColorMapEntry>,
}

impl ColorMap {
    /// Creates a map of known names, colors and class ids.
    pub fn from_classes(classes: impl IntoIterator<Item = (String, [u8; 3], u8)>) -> Self {
        let mut entries = Vec::new();
        for (name, color, class) in classes {
            entries.push(ColorMapEntry { name, color, class: Some(class) });
        }
        entries.sort();
        Self { entries }
    }

    /// Returns the names of the classes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    /// Returns the same map with class ids. The background is class 0, and a name without an id
    /// stands for no class.
    #[must_use]
    pub fn with_class_ids(&self, class_id_of: impl Fn(&str) -> Option<u8>) -> Self {
        let mut map = self.clone();
        for entry in &mut map.entries {
            entry.class =
                if is_background(&entry.name) { Some(0) } else { class_id_of(&entry.name) };
        }
        map
    }

    /// Reads the metadata of an annotation, which may hold no map. The error names everything that
    /// is wrong, and completes "line 3 ...".
    pub fn parse(metadata: &Value) -> Result<Option<Self>, String> {
        let Some(map) = metadata.get(COLOR_MAP_KEY) else { return Ok(None) };
        let Value::Object(map) = map else {
            return Err(format!(
                "has an {COLOR_MAP_KEY} that is no object; expected {{\"1\": {EXPECTED_ENTRY}}}"
            ));
        };
        let mut errors = Vec::new();
        let mut entries = Vec::new();
        for (key, value) in map {
            match parse_entry(value) {
                Ok(entry) => entries.push(entry),
                Err(reason) => errors.push(format!("{key:?} {reason}")),
            }
        }
        entries.sort();
        find_duplicates(&entries, &mut errors);
        if errors.is_empty() {
            return Ok(Some(Self { entries }));
        }
        Err(format!("has an {COLOR_MAP_KEY} in which {}", errors.join(" and ")))
    }
}

/// Reads the class of one key.
fn parse_entry(value: &Value) -> Result<ColorMapEntry, String> {
    let (name, hex) = (parse_text(value, "class-name")?, parse_text(value, "hex-color")?);
    if name.is_empty() || name.contains(char::is_control) {
        return Err("has a class-name that is empty or unprintable".to_owned());
    }
    match parse_hex_color(hex) {
        Some(color) => Ok(ColorMapEntry { name: name.to_owned(), color, class: None }),
        None => {
            Err(format!("({name}) has hex-color {hex:?}; allowed: # and six hexadecimal digits"))
        }
    }
}

fn parse_text<'a>(entry: &'a Value, key: &str) -> Result<&'a str, String> {
    match entry.get(key) {
        Some(Value::String(text)) => Ok(text.trim()),
        Some(other) => Err(format!("has {key} {other}; expected {EXPECTED_ENTRY}")),
        None => Err(format!("has no {key}; expected {EXPECTED_ENTRY}")),
    }
}

/// Reads `#2acf59` as red, green and blue; the number sign may be missing.
fn parse_hex_color(hex: &str) -> Option<[u8; 3]> {
    let digits = hex.strip_prefix('#').unwrap_or(hex);
    // `from_str_radix` would read a sign as part of the number.
    if digits.len() != 6 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let number = u32::from_str_radix(digits, 16).ok()?;
    let [_, red, green, blue] = number.to_be_bytes();
    Some([red, green, blue])
}

fn format_hex_color([red, green, blue]: [u8; 3]) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// Finds names and colors that occur more than once.
fn find_duplicates(entries: &[ColorMapEntry], errors: &mut Vec<String>) {
    let mut colors_by_name: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut names_by_color: BTreeMap<[u8; 3], Vec<&str>> = BTreeMap::new();
    for entry in entries {
        let name = if is_background(&entry.name) { BACKGROUND } else { &entry.name };
        colors_by_name.entry(name.to_owned()).or_default().push(format_hex_color(entry.color));
        names_by_color.entry(entry.color).or_default().push(&entry.name);
    }
    for (name, colors) in colors_by_name {
        if colors.len() > 1 {
            errors.push(format!(
                "the class-name {name} comes {} times ({})",
                colors.len(),
                colors.join(", ")
            ));
        }
    }
    for (color, names) in names_by_color {
        if names.len() > 1 {
            errors.push(format!(
                "{} is the color of several classes ({})",
                format_hex_color(color),
                names.join(", ")
            ));
        }
    }
}

/// Returns true for the name of pixels without a label.
fn is_background(name: &str) -> bool {
    name.eq_ignore_ascii_case(BACKGROUND)
}

/// Color maps of a manifest's lines. Most lines have the same map, which is kept once.
#[derive(Debug, Default)]
pub struct ColorMaps(HashSet<Arc<ColorMap>>);

impl ColorMaps {
    /// Returns the map that a manifest's line has for the annotation `attribute`, if any.
    pub fn parse_line(
        &mut self,
        line: &Map<String, Value>,
        attribute: &str,
    ) -> Result<Option<Arc<ColorMap>>, String> {
        match line.get(&format!("{attribute}-metadata")) {
            Some(metadata) => self.parse_metadata(metadata),
            None => Ok(None),
        }
    }

    /// Returns the map in an annotation's metadata, if any.
    pub fn parse_metadata(&mut self, metadata: &Value) -> Result<Option<Arc<ColorMap>>, String> {
        let Some(map) = ColorMap::parse(metadata)? else { return Ok(None) };
        if let Some(existing) = self.0.get(&map) {
            return Ok(Some(existing.clone()));
        }
        let map = Arc::new(map);
        self.0.insert(map.clone());
        Ok(Some(map))
    }
}

#[cfg(test)]
mod tests;
