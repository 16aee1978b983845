//! `labels.json`: the classes' names and colours, by id.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize, Serializer};

use crate::colours::class_colour;
use crate::error::{Error, Result};
use crate::files::read;

/// Serialises as `{"0": {"name": "background", "colour": [0, 0, 0]}, ...}`, in the order of the ids.
/// The `label_map` channel takes the file again as its `labels.json`.
#[derive(Debug, Clone, Copy)]
pub struct Labels<'a> {
    /// One name per class, class 0 first.
    pub names: &'a [String],
    /// Red, green and blue by class; without them those of the masks.
    pub colours: Option<&'a [[u8; 3]]>,
}

/// A class in `labels.json`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ReadLabel {
    /// Its name.
    pub name: String,
    /// Red, green and blue, 0 to 255.
    pub colour: [u8; 3],
}

/// The classes in a `labels.json`, class 0 first; there must be `classes` of them.
pub fn read_labels(path: &Path, classes: usize) -> Result<Vec<ReadLabel>> {
    let bytes = read(path)?;
    let labels: BTreeMap<u8, ReadLabel> = serde_json::from_slice(&bytes).map_err(|cause| {
        Error::input(format!(
            "{cause}; expected {{\"0\": {{\"name\": \"background\", \"colour\": [0, 0, 0]}}, ...}}"
        ))
    })?;
    let ids: Vec<usize> = labels.keys().map(|&id| id.into()).collect();
    if ids != (0..classes).collect::<Vec<usize>>() {
        return Err(Error::input(format!(
            "has the classes {ids:?}, but the network tells 0 to {} apart; name each of them once",
            classes.saturating_sub(1)
        )));
    }
    Ok(labels.into_values().collect())
}

#[derive(Serialize)]
struct Label<'a> {
    name: &'a str,
    /// Red, green and blue, 0 to 255.
    colour: [u8; 3],
}

impl Serialize for Labels<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let given = |id: u8| self.colours?.get(usize::from(id)).copied();
        let colour = |id| given(id).unwrap_or_else(|| class_colour(id));
        let by_id = (0..=u8::MAX).zip(self.names);
        serializer.collect_map(by_id.map(|(id, name)| (id, Label { name, colour: colour(id) })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_in_their_order_and_colours_those_of_the_masks() {
        let names: Vec<String> = (0..11).map(|id| format!("n{id}")).collect();
        let text = serde_json::to_string(&Labels { names: &names, colours: None }).unwrap();
        assert!(text.starts_with(
            r#"{"0":{"name":"n0","colour":[0,0,0]},"1":{"name":"n1","colour":[128,0,0]},"2":"#
        ));
        assert!(text.ends_with(r#""10":{"name":"n10","colour":[64,128,0]}}"#), "{text}");
    }

    #[test]
    fn what_was_written_is_read_back_and_other_classes_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.json");
        let names: Vec<String> = (0..12).map(|id| format!("n{id}")).collect();
        let colours: Vec<[u8; 3]> = (0..12).map(|id| [id, 2 * id, 7]).collect();
        let labels = Labels { names: &names, colours: Some(&colours) };
        std::fs::write(&path, serde_json::to_string(&labels).unwrap()).unwrap();
        let read = read_labels(&path, 12).unwrap();
        assert!(read.iter().map(|label| &label.name).eq(&names));
        assert!(read.iter().map(|label| label.colour).eq(colours));
        let error = read_labels(&path, 13).unwrap_err().to_string();
        assert!(error.contains("but the network tells 0 to 12 apart"), "{error}");
        std::fs::write(&path, "{\"0\": 3}").unwrap();
        assert!(read_labels(&path, 1).unwrap_err().to_string().contains("expected {\"0\""));
    }
}
