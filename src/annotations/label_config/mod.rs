//! The classes of a project: a labeling config, or a list of names.
//!
//! Accepted are Label Studio's XML, the JSON object of a project that holds it (`GET /api/projects/{id}`), and
//! `labels.json`: a list of names, or names and colors by class. Tags: <https://labelstud.io/tags>.

mod labels_json;
#[cfg(test)]
mod tests;
mod xml;

use serde::Deserialize;

use super::json::parse_json;

/// Longest document in bytes: a thousand labels need a tenth.
const MAX_BYTES: usize = 1 << 20;

const EXPECTED_FORMATS: &str = "the XML of a labeling config, the JSON of a project with its label_config, a \
                     list of names, or {\"1\": {\"name\": \"road\", \"color\": [255, 0, 0]}}";

/// The classes of a project and the images that they are drawn on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelConfig {
    /// Classes from 1 on: class 0, the background, is not among them. In the order of their first appearance.
    pub labels: Vec<Label>,
    /// Empty if the document is no labeling config.
    pub image_tags: Vec<ImageTag>,
    /// What a person should know, each a sentence that begins with the document's name.
    pub warnings: Vec<String>,
}

/// A class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// As annotations say it: the alias if there is one.
    pub name: String,
    /// Red, green and blue, if the config gives a color that can be read.
    pub color: Option<[u8; 3]>,
}

/// An `<Image>`: where the tasks' data name the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageTag {
    /// What regions have as `to_name`.
    pub name: String,
    /// The key in the tasks' data: `image` of `value="$image"`.
    pub data_key: String,
}

impl LabelConfig {
    /// Adds a class, unless it is there. A color that came first stays.
    fn add_label(&mut self, name: &str, color: Option<[u8; 3]>) {
        match self.labels.iter_mut().find(|label| label.name == name) {
            Some(existing) => existing.color = existing.color.or(color),
            None => self.labels.push(Label { name: name.to_owned(), color }),
        }
    }
}

/// Reads a document. An error completes a sentence that begins with its name.
pub fn parse_label_config(bytes: &[u8]) -> Result<LabelConfig, String> {
    if bytes.len() > MAX_BYTES {
        let length = bytes.len();
        return Err(format!(
            "has {length} bytes, and {MAX_BYTES} are allowed; expected {EXPECTED_FORMATS}"
        ));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|cause| format!("is not UTF-8 ({cause}); save it as UTF-8"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim();
    let config = match text.bytes().next() {
        None => return Err(format!("is empty; expected {EXPECTED_FORMATS}")),
        Some(b'<') => xml::parse_xml(text)?,
        Some(b'[') => labels_json::parse_name_list(text)?,
        Some(b'{') => match read_project_config(text)? {
            Some(config) => {
                xml::parse_xml(&config).map_err(|error| format!("{error} (label_config)"))?
            }
            None => labels_json::parse_class_map(text)?,
        },
        Some(_) => return Err(format!("is neither XML nor JSON; expected {EXPECTED_FORMATS}")),
    };
    if config.labels.is_empty() && config.warnings.is_empty() {
        return Err("has no label that areas of an image can have".to_owned());
    }
    Ok(config)
}

/// The labeling config of a project, if the object is one.
fn read_project_config(text: &str) -> Result<Option<String>, String> {
    #[derive(Deserialize)]
    struct Project {
        label_config: Option<String>,
    }
    parse_json::<Project>(text.as_bytes()).map(|project| project.label_config)
}
