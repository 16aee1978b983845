//! `labels.json`: the classes' names and colours, by id.

use serde::{Serialize, Serializer};

use crate::colours::class_colour;

/// Serialises as `{"0": {"name": "background", "colour": [0, 0, 0]}, ...}`, in the order of the ids.
/// The `label_map` channel takes the file again as its `labels.json`.
#[derive(Debug, Clone, Copy)]
pub struct Labels<'a> {
    /// One name per class, class 0 first.
    pub names: &'a [String],
    /// Red, green and blue by class; without them those of the masks.
    pub colours: Option<&'a [[u8; 3]]>,
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
}
