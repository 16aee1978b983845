//! The classes of a project: a labelling config, or a list of names.
//!
//! Accepted are Label Studio's XML, the JSON object of a project that holds it (`GET /api/projects/{id}`), and
//! `labels.json`: a list of names, or names and colours by class. Tags: <https://labelstud.io/tags>.

mod names;
#[cfg(test)]
mod tests;
mod xml;

use serde::Deserialize;

use super::json::parse as parse_json;

/// Longest document in bytes: a thousand labels need a tenth.
const LONGEST: usize = 1 << 20;

const FORMS: &str = "the XML of a labelling config, the JSON of a project with its label_config, a \
                     list of names, or {\"1\": {\"name\": \"road\", \"colour\": [255, 0, 0]}}";

/// The classes of a project and the images that they are drawn on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelConfig {
    /// Classes from 1 on: class 0, the background, is not among them. In the order of their first appearance.
    pub labels: Vec<Label>,
    /// Empty if the document is no labelling config.
    pub images: Vec<ImageTag>,
    /// What a person should know, each a sentence that begins with the document's name.
    pub warnings: Vec<String>,
}

/// A class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// As annotations say it: the alias if there is one.
    pub name: String,
    /// Red, green and blue, if the config gives a colour that can be read.
    pub colour: Option<[u8; 3]>,
}

/// An `<Image>`: where the tasks' data name the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageTag {
    /// What regions have as `to_name`.
    pub name: String,
    /// The key in the tasks' data: `image` of `value="$image"`.
    pub key: String,
}

impl LabelConfig {
    /// Adds a class, unless it is there. A colour that came first stays.
    fn add(&mut self, name: &str, colour: Option<[u8; 3]>) {
        match self.labels.iter_mut().find(|label| label.name == name) {
            Some(known) => known.colour = known.colour.or(colour),
            None => self.labels.push(Label { name: name.to_owned(), colour }),
        }
    }
}

/// Reads a document. An error completes a sentence that begins with its name.
pub fn parse(bytes: &[u8]) -> Result<LabelConfig, String> {
    if bytes.len() > LONGEST {
        let length = bytes.len();
        return Err(format!("has {length} bytes, and {LONGEST} are allowed; expected {FORMS}"));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|cause| format!("is not UTF-8 ({cause}); save it as UTF-8"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim();
    let config = match text.bytes().next() {
        None => return Err(format!("is empty; expected {FORMS}")),
        Some(b'<') => xml::parse(text)?,
        Some(b'[') => names::list(text)?,
        Some(b'{') => match project(text)? {
            Some(config) => xml::parse(&config).map_err(|text| format!("{text} (label_config)"))?,
            None => names::by_class(text)?,
        },
        Some(_) => return Err(format!("is neither XML nor JSON; expected {FORMS}")),
    };
    if config.labels.is_empty() && config.warnings.is_empty() {
        return Err("has no label that areas of an image can have".to_owned());
    }
    Ok(config)
}

/// The labelling config of a project, if the object is one.
fn project(text: &str) -> Result<Option<String>, String> {
    #[derive(Deserialize)]
    struct Project {
        label_config: Option<String>,
    }
    parse_json::<Project>(text.as_bytes()).map(|project| project.label_config)
}
