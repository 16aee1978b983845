//! The classes of a project, from a labeling configuration or from a list of names.
//!
//! Accepted are Label Studio's XML, the JSON object of a project that holds it (`GET
//! /api/projects/{id}`), and `labels.json` in its forms ([`crate::labels_json`]). Tags:
//! <https://labelstud.io/tags>.

mod labels_json;
mod objects;
#[cfg(test)]
mod tests;
mod xml;

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use serde::Deserialize;

pub use self::objects::{ImageTag, ShownImage, TaskObjects};
use super::error::{Error, Result};
use super::json::parse_json;
use crate::files::normalize_name;

/// Largest document, in bytes: a thousand labels need a tenth of that.
const MAX_BYTES: usize = 1 << 20;

const EXPECTED_FORMATS: &str = "the XML of a labeling config, the JSON of a project with its label_config, or \
                     a labels.json such as [\"background\", \"road\"] or {\"1\": {\"name\": \"road\", \
                     \"color\": [255, 0, 0]}}";

/// The classes of a project and the images on which they are drawn.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelConfig {
    /// Class 0 of a `labels.json`. A labeling configuration does not number its labels: there the
    /// background is class 0.
    pub class_zero: Option<Label>,
    /// True for a `labels.json` that is a list. Its first name is class 0, but lists are often
    /// written without the background.
    pub is_name_list: bool,
    /// Classes from 1 on, in the order of their first appearance.
    pub labels: Vec<Label>,
    /// `<Image>` tags that show an image of the tasks' data on which areas with labels are drawn;
    /// empty if the document is no labeling configuration.
    pub image_tags: Vec<ImageTag>,
    /// All objects, and the controls that draw on them.
    pub objects: TaskObjects,
    /// Tags with labels of areas on those images, in the order of the document.
    pub label_controls: Vec<LabelControl>,
    /// Warnings for the user, each a sentence that begins with the document's name.
    pub warnings: Vec<String>,
}

/// A tag with labels of areas, such as `<BrushLabels>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelControl {
    /// Name of the tag in lower case, which is the type of its regions: `brushlabels`.
    pub tag: String,
    /// Name that regions have as `from_name`; empty if the tag has none.
    pub name: String,
    /// Names of the images on which it draws, which regions have as `to_name`.
    pub image_names: Vec<String>,
    /// Names of its labels as annotations use them, each once.
    pub labels: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Name that annotations use: the alias if there is one.
    pub name: String,
    /// Red, green and blue, if the configuration gives a valid color.
    pub color: Option<[u8; 3]>,
}

/// Labels of a configuration, each once.
#[derive(Debug, Default)]
struct LabelList {
    labels: Vec<Label>,
    /// Indices of the labels by normalized name: a configuration may have thousands.
    index_by_name: HashMap<String, usize>,
}

impl LabelList {
    /// Adds a label unless it exists, also in another Unicode normalization. An existing label
    /// keeps its color if it has one.
    fn add(&mut self, name: &str, color: Option<[u8; 3]>) {
        match self.index_by_name.entry(normalize_name(name).into_owned()) {
            Entry::Occupied(entry) => {
                let existing = &mut self.labels[*entry.get()];
                existing.color = existing.color.or(color);
            }
            Entry::Vacant(entry) => {
                entry.insert(self.labels.len());
                self.labels.push(Label { name: name.to_owned(), color });
            }
        }
    }
}

/// Parses a document. The text of an error completes a sentence that begins with the document's
/// name.
pub fn parse_label_config(bytes: &[u8]) -> Result<LabelConfig> {
    if bytes.len() > MAX_BYTES {
        let length = bytes.len();
        return Err(Error::TooLarge(format!(
            "has {length} bytes, and {MAX_BYTES} are allowed; expected {EXPECTED_FORMATS}"
        )));
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(cause) => {
            let message = format!("is not UTF-8 ({cause}); save it as UTF-8");
            return Err(Error::syntax_with_cause(message, cause));
        }
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim();
    let config = match text.bytes().next() {
        None => {
            let message = format!("is empty; expected {EXPECTED_FORMATS}");
            return Err(Error::UnexpectedFormat(message));
        }
        Some(b'<') => xml::parse_xml(text)?,
        Some(b'[') => labels_json::parse_labels(text)?,
        Some(b'{') => match read_project_config(text)? {
            Some(config) => {
                xml::parse_xml(&config).map_err(|error| error.located("", " (label_config)"))?
            }
            None => labels_json::parse_labels(text)?,
        },
        Some(_) => {
            let message = format!("is neither XML nor JSON; expected {EXPECTED_FORMATS}");
            return Err(Error::UnexpectedFormat(message));
        }
    };
    if config.labels.is_empty() && config.warnings.is_empty() {
        let message = "has no label that areas of an image can have";
        return Err(Error::InvalidValue(message.to_owned()));
    }
    Ok(config)
}

/// Returns the labeling configuration of a project, or none if the object is no project.
fn read_project_config(text: &str) -> Result<Option<String>> {
    #[derive(Deserialize)]
    struct Project {
        label_config: Option<String>,
    }
    parse_json::<Project>(text.as_bytes()).map(|project| project.label_config)
}
