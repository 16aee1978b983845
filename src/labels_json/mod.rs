//! The file `labels.json`: names and colors of the classes.
//!
//! The channel `label_map` of a training job, `--label-config` of `preprocess` and the model folder
//! are read by this module, so that one file means the same in all of them. Its forms:
//!
//! | form | example |
//! |---|---|
//! | list, class 0 first | `["background", "road"]` |
//! | names by class | `{"0": "background", "1": "road"}` |
//! | names and colors by class, as a model folder has them | `{"0": {"name": "background", "color": [0, 0, 0]}}` |
//!
//! In each form a name may be an object with a name and a color. Colors are red, green and blue
//! from 0 to 255, or a text of CSS such as `"#ff0000"`; files of earlier versions have the key
//! `colour`. A map without class 0 has the background there.

mod json_value;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use unicode_normalization::UnicodeNormalization;

use self::json_value::JsonValue;
use crate::error::{Error, Problems, Result};

/// Largest file, in bytes. 255 classes with names of usual length need a hundredth of that.
const MAX_BYTES: usize = 1 << 20;

/// Largest class id: 255 marks pixels that are ignored.
const MAX_CLASS: usize = 254;

/// Name of class 0 in a map without it.
const BACKGROUND: &str = "background";

/// Largest excerpt of a user's text in a message, in characters.
const MAX_SHOWN_CHARS: usize = 80;

const EXPECTED_FORMATS: &str = "[\"background\", \"road\"] or {\"0\": \"background\", \"1\": \"road\"}, in place \
                     of a name also {\"name\": \"road\", \"color\": [255, 0, 0]}";

/// Content of a `labels.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelsJson {
    /// Classes by id, class 0 first.
    pub classes: Vec<NamedClass>,
    /// True for the form of a list, in which only the order says which class is which.
    pub is_list: bool,
}

/// Name and color of a class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedClass {
    /// Name without the spaces around it. It is not empty and has printable characters only.
    pub name: String,
    /// Red, green and blue, if the file gives a color.
    pub color: Option<[u8; 3]>,
}

impl LabelsJson {
    /// Parses a file. The error has everything that is wrong, without the file's name.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_BYTES {
            let length = bytes.len();
            return Err(Error::input(format!("has {length} bytes; {MAX_BYTES} are allowed")));
        }
        // Some editors begin a file with a byte order mark.
        let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        let value: JsonValue = match serde_json::from_slice(bytes) {
            Ok(value) => value,
            Err(cause) => {
                let message = format!("is no JSON: {cause}; expected {EXPECTED_FORMATS}");
                return Err(Error::input(message));
            }
        };
        let mut problems = Problems::new();
        let labels = match value {
            JsonValue::List(values) => {
                Self { classes: read_list(values, &mut problems), is_list: true }
            }
            JsonValue::Object(entries) => {
                Self { classes: read_map(entries, &mut problems), is_list: false }
            }
            other => {
                let message = format!("is {}; expected {EXPECTED_FORMATS}", describe(&other));
                return Err(Error::input(message));
            }
        };
        problems.into_result()?;
        Ok(labels)
    }

    /// Fails if two classes have one name, also in another Unicode normalization, in which case a
    /// name would not tell its class.
    pub fn check_unique_names(&self) -> Result<()> {
        let mut problems = Problems::new();
        let mut class_by_name = HashMap::new();
        for (class, NamedClass { name, .. }) in self.classes.iter().enumerate() {
            if let Some(first_class) = class_by_name.insert(name.nfc().collect::<String>(), class) {
                problems.push(format!(
                    "has the name {} for the classes {first_class} and {class}; give each a name \
                     of its own",
                    quote(name)
                ));
            }
        }
        problems.into_result()
    }
}

/// Reads the classes of a list, class 0 first.
fn read_list(values: Vec<JsonValue>, problems: &mut Problems) -> Vec<NamedClass> {
    if values.len() > MAX_CLASS + 1 {
        problems.push(format!(
            "has {} classes; {} are allowed, 0 to {MAX_CLASS}",
            values.len(),
            MAX_CLASS + 1
        ));
    }
    let mut classes = Vec::new();
    for (class, value) in values.into_iter().enumerate() {
        classes.extend(read_class(class, value, problems));
    }
    classes
}

/// Reads the classes of an object whose keys are class ids.
fn read_map(entries: Vec<(String, JsonValue)>, problems: &mut Problems) -> Vec<NamedClass> {
    let mut by_class: BTreeMap<usize, Option<NamedClass>> = BTreeMap::new();
    for (key, value) in entries {
        let class = match key.trim().parse() {
            Ok(class) if class <= MAX_CLASS => class,
            _ => {
                problems.push(format!(
                    "has the key {}, which is no class; allowed: whole numbers from 0 to \
                     {MAX_CLASS} (255 is what is ignored)",
                    quote(&key)
                ));
                continue;
            }
        };
        if by_class.contains_key(&class) {
            problems.push(format!("has class {class} twice; keep one of its names"));
            continue;
        }
        by_class.insert(class, read_class(class, value, problems));
    }
    check_gaps(&by_class, problems);
    let mut classes = Vec::new();
    if !by_class.contains_key(&0) {
        classes.push(NamedClass { name: BACKGROUND.to_owned(), color: None });
    }
    classes.extend(by_class.into_values().flatten());
    classes
}

/// Records a problem for each run of classes without a name. Class 0 needs none.
fn check_gaps<T>(by_class: &BTreeMap<usize, T>, problems: &mut Problems) {
    let mut expected_class = 1;
    for &class in by_class.keys() {
        if class > expected_class {
            let last_class = class - 1;
            let gap = if last_class == expected_class {
                format!("no class {expected_class}")
            } else {
                format!("no classes {expected_class} to {last_class}")
            };
            problems.push(format!("has {gap} but a class {class}; name every class"));
        }
        expected_class = class.max(expected_class - 1) + 1;
    }
}

/// Reads the name, or the object with name and color, of a class. What is wrong is added to the
/// problems.
fn read_class(class: usize, value: JsonValue, problems: &mut Problems) -> Option<NamedClass> {
    let entries = match value {
        JsonValue::Text(name) => return check_name(class, &name, None, problems),
        JsonValue::Object(entries) => entries,
        other => {
            problems.push(format!(
                "has {} for class {class}; expected a name or {{\"name\": \"road\", \"color\": \
                 [255, 0, 0]}}",
                describe(&other)
            ));
            return None;
        }
    };
    let (mut name_value, mut color_value) = (None, None);
    for (key, value) in entries {
        let slot = match key.as_str() {
            "name" => &mut name_value,
            "color" | "colour" => &mut color_value,
            _ => continue,
        };
        if slot.replace(value).is_some() {
            problems.push(format!("has two values of {key} for class {class}; keep one"));
        }
    }
    let color = color_value.and_then(|value| read_color(class, &value, problems));
    match name_value {
        Some(JsonValue::Text(name)) => check_name(class, &name, color, problems),
        Some(other) => {
            problems.push(format!(
                "has {} as the name of class {class}; expected a text",
                describe(&other)
            ));
            None
        }
        None => {
            problems.push(format!("has an object without a name for class {class}"));
            None
        }
    }
}

fn check_name(
    class: usize,
    name: &str,
    color: Option<[u8; 3]>,
    problems: &mut Problems,
) -> Option<NamedClass> {
    let name = name.trim();
    if name.is_empty() || name.contains(char::is_control) {
        problems.push(format!("has a name for class {class} that is empty or unprintable"));
        return None;
    }
    Some(NamedClass { name: name.to_owned(), color })
}

/// Reads a color: a list of three numbers, or a text of CSS. Null is no color.
fn read_color(class: usize, value: &JsonValue, problems: &mut Problems) -> Option<[u8; 3]> {
    let color = match value {
        JsonValue::Null => return None,
        JsonValue::List(values) => read_rgb(values),
        JsonValue::Text(text) => read_css_color(text),
        _ => None,
    };
    if color.is_none() {
        problems.push(format!(
            "has the color {} for class {class}; allowed: red, green and blue from 0 to 255, as in \
             [255, 0, 0], or \"#ff0000\"",
            describe(value)
        ));
    }
    color
}

fn read_rgb(values: &[JsonValue]) -> Option<[u8; 3]> {
    let [JsonValue::Number(red), JsonValue::Number(green), JsonValue::Number(blue)] = values else {
        return None;
    };
    Some([read_byte(*red)?, read_byte(*green)?, read_byte(*blue)?])
}

fn read_byte(number: f64) -> Option<u8> {
    let is_byte = (0.0..=255.0).contains(&number) && number.fract() == 0.0;
    is_byte.then_some(number as u8)
}

fn read_css_color(text: &str) -> Option<[u8; 3]> {
    let [red, green, blue, _] = csscolorparser::parse(text).ok()?.to_rgba8();
    Some([red, green, blue])
}

/// Describes a value for messages.
fn describe(value: &JsonValue) -> String {
    match value {
        JsonValue::Null => "null".to_owned(),
        JsonValue::Bool(truth) => truth.to_string(),
        JsonValue::Number(number) => format!("the number {number}"),
        JsonValue::Text(text) => format!("the text {}", quote(text)),
        JsonValue::List(values) => {
            let mut shown = Vec::new();
            for value in values.iter().take(4) {
                match value {
                    JsonValue::Number(number) => shown.push(number.to_string()),
                    _ => return "a list".to_owned(),
                }
            }
            let more = if values.len() > shown.len() { ", ..." } else { "" };
            format!("[{}{more}]", shown.join(", "))
        }
        JsonValue::Object(_) => "an object".to_owned(),
    }
}

/// Quotes a user's text, and cuts it where it is long.
fn quote(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN_CHARS) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}
