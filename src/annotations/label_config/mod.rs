//! The classes of a project, from a labeling configuration or from a list of names.
//!
//! Accepted are Label Studio's XML, the JSON object of a project that holds it (`GET
//! /api/projects/{id}`), and `labels.json`: a list of names, or names and colors by class. Tags:
//! <https://labelstud.io/tags>.

mod labels_json;
#[cfg(test)]
mod tests;
mod xml;

use serde::Deserialize;

use super::error::{Error, Result};
use super::json::parse_json;

/// Largest document, in bytes: a thousand labels need a tenth of that.
const MAX_BYTES: usize = 1 << 20;

const EXPECTED_FORMATS: &str = "the XML of a labeling config, the JSON of a project with its label_config, a \
                     list of names, or {\"1\": {\"name\": \"road\", \"color\": [255, 0, 0]}}";

/// The classes of a project and the images on which they are drawn.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelConfig {
    /// Classes from 1 on, in the order of their first appearance. The background, class 0, is not
    /// among them.
    pub labels: Vec<Label>,
    /// `<Image>` tags; empty if the document is no labeling configuration.
    pub image_tags: Vec<ImageTag>,
    /// Warnings for the user, each a sentence that begins with the document's name.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Name that annotations use: the alias if there is one.
    pub name: String,
    /// Red, green and blue, if the configuration gives a valid color.
    pub color: Option<[u8; 3]>,
}

/// An `<Image>` tag, which says which value of a task's data names the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageTag {
    /// Name that regions have as `to_name`.
    pub name: String,
    /// Key in the tasks' data: `image` of `value="$image"`.
    pub data_key: String,
}

impl LabelConfig {
    /// Adds a class unless it exists. An existing class keeps its color if it has one.
    fn add_label(&mut self, name: &str, color: Option<[u8; 3]>) {
        match self.labels.iter_mut().find(|label| label.name == name) {
            Some(existing) => existing.color = existing.color.or(color),
            None => self.labels.push(Label { name: name.to_owned(), color }),
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
        Some(b'[') => labels_json::parse_name_list(text)?,
        Some(b'{') => match read_project_config(text)? {
            Some(config) => {
                xml::parse_xml(&config).map_err(|error| error.located("", " (label_config)"))?
            }
            None => labels_json::parse_class_map(text)?,
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
