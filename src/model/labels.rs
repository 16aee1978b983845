//! The file `labels.json`: names and colors of the classes, by id.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Serialize, Serializer};

use crate::colors::class_color;
use crate::error::{Error, Result};
use crate::files::read_file;
use crate::labels_json::{LabelsJson, NamedClass};

/// The content of `labels.json`, which serializes as `{"0": {"name": "background", "color": [0, 0,
/// 0]}, ...}` in the order of the ids. The `label_map` channel accepts the file as its
/// `labels.json`.
#[derive(Debug, Clone, Copy)]
pub struct Labels<'a> {
    /// Name of each class, class 0 first.
    pub names: &'a [String],
    /// Red, green and blue of each class, 0 to 255. Classes without a color get [`class_color`].
    pub colors: Option<&'a [[u8; 3]]>,
}

/// A class in `labels.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelEntry {
    pub name: String,
    /// Red, green and blue, 0 to 255: the file's, else [`class_color`].
    pub color: [u8; 3],
}

/// Reads the classes of a `labels.json`, class 0 first. The file must name `classes` of them.
pub fn read_labels(path: &Path, classes: usize) -> Result<Vec<LabelEntry>> {
    let labels = LabelsJson::parse(&read_file(path)?)?.classes;
    if labels.len() != classes {
        return Err(Error::input(format!(
            "has {} classes, but the network tells {classes} apart, 0 to {}; name each of them once",
            labels.len(),
            classes.saturating_sub(1)
        )));
    }
    let mut entries = Vec::new();
    for (id, NamedClass { name, color }) in (0..=u8::MAX).zip(labels) {
        entries.push(LabelEntry { name, color: color.unwrap_or_else(|| class_color(id)) });
    }
    Ok(entries)
}

#[derive(Serialize)]
struct Label<'a> {
    name: &'a str,
    /// Red, green and blue, 0 to 255.
    color: [u8; 3],
}

impl Serialize for Labels<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut labels = BTreeMap::new();
        for (id, name) in (0..=u8::MAX).zip(self.names) {
            let color = match self.colors.unwrap_or_default().get(usize::from(id)) {
                Some(color) => *color,
                None => class_color(id),
            };
            labels.insert(id, Label { name, color });
        }
        labels.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_in_their_order_and_colors_those_of_the_masks() {
        let names: Vec<String> = (0..11).map(|id| format!("n{id}")).collect();
        let text = serde_json::to_string(&Labels { names: &names, colors: None }).unwrap();
        assert!(text.starts_with(
            r#"{"0":{"name":"n0","color":[0,0,0]},"1":{"name":"n1","color":[128,0,0]},"2":"#
        ));
        assert!(text.ends_with(r#""10":{"name":"n10","color":[64,128,0]}}"#), "{text}");
    }

    #[test]
    fn what_was_written_is_read_back_and_other_classes_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.json");
        let names: Vec<String> = (0..12).map(|id| format!("n{id}")).collect();
        let colors: Vec<[u8; 3]> = (0..12).map(|id| [id, 2 * id, 7]).collect();
        let labels = Labels { names: &names, colors: Some(&colors) };
        std::fs::write(&path, serde_json::to_string(&labels).unwrap()).unwrap();
        let read = read_labels(&path, 12).unwrap();
        assert!(read.iter().map(|label| &label.name).eq(&names));
        assert!(read.iter().map(|label| label.color).eq(colors.iter().copied()));
        let error = read_labels(&path, 13).unwrap_err().to_string();
        assert!(error.contains("has 12 classes, but the network tells 13 apart"), "{error}");
        let of_earlier_versions =
            serde_json::to_string(&labels).unwrap().replace("color", "colour");
        std::fs::write(&path, of_earlier_versions).unwrap();
        assert_eq!(read_labels(&path, 12).unwrap(), read);
        std::fs::write(&path, "{\"0\": 3}").unwrap();
        let error = read_labels(&path, 1).unwrap_err().to_string();
        assert!(error.contains("has the number 3 for class 0; expected a name"), "{error}");
    }

    #[test]
    fn classes_without_a_color_get_the_usual_one_in_every_form() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.json");
        for text in [
            r#"["bg", {"name": "road", "color": [1, 2, 3]}]"#,
            r#"{"1": {"name": "road", "color": [1, 2, 3]}, "0": "bg"}"#,
        ] {
            std::fs::write(&path, text).unwrap();
            let read = read_labels(&path, 2).unwrap();
            assert_eq!((read[0].name.as_str(), read[0].color), ("bg", class_color(0)));
            assert_eq!((read[1].name.as_str(), read[1].color), ("road", [1, 2, 3]));
        }
    }
}
