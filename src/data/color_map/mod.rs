//! Ground Truth's `internal-color-map`: which class a color of a mask stands for.
//!
//! A line of its manifests has, beside `<name>-ref`, the attribute `<name>-ref-metadata` with
//! `{"internal-color-map": {"0": {"class-name": "BACKGROUND", "hex-color": "#ffffff", "confidence": 0.9}}}`.
//! Keys and indices differ between labeling jobs, and some jobs wrote wrong indices, so neither is looked
//! at: the color of a pixel says the name of its class, and the name says the id ([`assign`]).

mod class_ids;
mod resolve;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value};

pub use self::class_ids::{
    BACKGROUND, RequiredClassNames, any_has_color_map, assign_class_ids, describe_color_maps,
    format_class_order,
};
pub use self::resolve::{MAX_COLOR_DISTANCE, ResolvedMask};

/// Where the colors stand in the metadata.
const COLOR_MAP_KEY: &str = "internal-color-map";

/// What an entry looks like, for messages.
const EXPECTED_ENTRY: &str = "{\"class-name\": \"road\", \"hex-color\": \"#2acf59\"}";

/// A class of one map.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct ColorMapEntry {
    name: String,
    /// Red, green, blue.
    color: [u8; 3],
    /// None until the names of all maps are known; such a color stands for nothing.
    class: Option<u8>,
}

/// The classes' colors in the masks of one line or of many.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ColorMap {
    /// Sorted by name, so that maps which differ only in their keys are one.
    entries: Vec<ColorMapEntry>,
}

impl ColorMap {
    /// A map of names, colors and classes that are known.
    pub fn from_classes(classes: impl IntoIterator<Item = (String, [u8; 3], u8)>) -> Self {
        let entry = |(name, color, class)| ColorMapEntry { name, color, class: Some(class) };
        let mut entries: Vec<ColorMapEntry> = classes.into_iter().map(entry).collect();
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
    pub fn with_class_ids(&self, class_id_of: impl Fn(&str) -> Option<u8>) -> Self {
        let mut map = self.clone();
        for entry in &mut map.entries {
            entry.class =
                if is_background(&entry.name) { Some(0) } else { class_id_of(&entry.name) };
        }
        map
    }

    /// Reads the metadata of an annotation: none if they hold no map. All that is wrong is one text, which
    /// completes "line 3 ...".
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

/// The class of one key.
fn parse_entry(value: &Value) -> Result<ColorMapEntry, String> {
    let text = |key: &str| match value.get(key) {
        Some(Value::String(text)) => Ok(text.trim()),
        Some(other) => Err(format!("has {key} {other}; expected {EXPECTED_ENTRY}")),
        None => Err(format!("has no {key}; expected {EXPECTED_ENTRY}")),
    };
    let (name, hex) = (text("class-name")?, text("hex-color")?);
    if name.is_empty() || name.contains(char::is_control) {
        return Err("has a class-name that is empty or unprintable".to_owned());
    }
    let color = parse_hex_color(hex).ok_or_else(|| {
        format!("({name}) has hex-color {hex:?}; allowed: # and six hexadecimal digits")
    })?;
    Ok(ColorMapEntry { name: name.to_owned(), color, class: None })
}

/// `#2acf59` as red, green, blue; the number sign may be missing.
fn parse_hex_color(hex: &str) -> Option<[u8; 3]> {
    let digits = hex.strip_prefix('#').unwrap_or(hex);
    // A sign would be read as part of a number.
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

/// Names and colors that come more than once.
fn find_duplicates(entries: &[ColorMapEntry], errors: &mut Vec<String>) {
    let mut colors_by_name: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut names_by_color: BTreeMap<[u8; 3], Vec<&str>> = BTreeMap::new();
    for entry in entries {
        let name = if is_background(&entry.name) { BACKGROUND } else { &entry.name };
        colors_by_name.entry(name.to_owned()).or_default().push(format_hex_color(entry.color));
        names_by_color.entry(entry.color).or_default().push(&entry.name);
    }
    for (name, colors) in colors_by_name.iter().filter(|(_, colors)| colors.len() > 1) {
        errors.push(format!(
            "the class-name {name} comes {} times ({})",
            colors.len(),
            colors.join(", ")
        ));
    }
    for (color, names) in names_by_color.iter().filter(|(_, names)| names.len() > 1) {
        errors.push(format!(
            "{} is the color of several classes ({})",
            format_hex_color(*color),
            names.join(", ")
        ));
    }
}

/// Whether a name is that of what nobody labeled.
fn is_background(name: &str) -> bool {
    name.eq_ignore_ascii_case(BACKGROUND)
}

/// The maps of a manifest's lines. Most lines have the same one, which is kept once.
#[derive(Debug, Default)]
pub struct ColorMaps(HashSet<Arc<ColorMap>>);

impl ColorMaps {
    /// The map that a manifest's line has for the annotation `attribute`, if any.
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

    /// The map in metadata, if any.
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
