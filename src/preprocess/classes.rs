//! Which class a label is, and what is on top where regions overlap.

use std::collections::{BTreeMap, HashMap};

use crate::colors::class_color;
use crate::data::color_map::BACKGROUND;
use crate::error::{Error, Problems, Result, did_you_mean};

/// The class of pixels that do not count.
pub const IGNORE_INDEX: u8 = 255;

/// The classes of a data set.
#[derive(Debug, Clone)]
pub struct Classes {
    /// One per class, class 0 first.
    names: Vec<String>,
    /// Given ones, by class.
    color_by_id: BTreeMap<u8, [u8; 3]>,
    /// All that were given; several labels may be ignored.
    label_colors: Vec<([u8; 3], u8)>,
    id_by_label: HashMap<String, u8>,
    /// Labels that are above others whatever their order, the topmost first.
    priority: Vec<String>,
    /// The class of each id of masks that somebody else made, in which no label was ignored.
    stored_id_map: Vec<u8>,
}

/// A label and its color, if it was given one.
pub type LabelColor = (String, Option<[u8; 3]>);

impl Classes {
    /// Class 0 for the background and for a label of that name in any case, the labels from 1 in their order. Regions
    /// of labels in `ignored` become 255; those in `priority` are painted over all others, the first on top. `source`
    /// names the labels' origin in messages.
    pub fn new(
        labels: Vec<LabelColor>,
        (ignored, priority): (&[String], &[String]),
        source: &str,
    ) -> Result<Self> {
        let mut problems = Problems::new();
        let mut classes = Self {
            names: vec![BACKGROUND.to_owned()],
            color_by_id: BTreeMap::new(),
            label_colors: Vec::new(),
            id_by_label: HashMap::new(),
            priority: priority.to_vec(),
            stored_id_map: vec![0],
        };
        let known_labels: Vec<String> = labels.iter().map(|(name, _)| name.clone()).collect();
        for (flag, flag_labels) in [("--ignore", ignored), ("--priority", priority)] {
            for name in flag_labels.iter().filter(|name| !known_labels.contains(name)) {
                let hint = did_you_mean(name, known_labels.iter().map(String::as_str));
                problems.push(format!(
                    "{flag} names {name:?}{hint}, which is no label of {source}; there are {}",
                    known_labels.join(", ")
                ));
            }
        }
        for (name, color) in labels {
            let id = if is_background(&name) {
                0
            } else if ignored.contains(&name) {
                IGNORE_INDEX
            } else {
                let id = u8::try_from(classes.names.len()).unwrap_or(IGNORE_INDEX);
                classes.names.push(name.clone());
                id
            };
            if let Some(color) = color {
                classes.color_by_id.insert(id, color);
                classes.label_colors.push((color, id));
            }
            classes.id_by_label.insert(name, id);
            if id != 0 {
                classes.stored_id_map.push(id);
            }
        }
        if classes.names.len() > usize::from(IGNORE_INDEX) {
            problems.push(format!(
                "{source} has {} labels; a mask has room for {}, ids 1 to 254: leave some out with --ignore",
                classes.names.len() - 1,
                IGNORE_INDEX - 1
            ));
        }
        problems.into_result()?;
        Ok(classes)
    }

    /// Classes without names, up to the id `largest`.
    pub fn unnamed(largest_id: u8) -> Self {
        let names = (1..=largest_id).map(|id| format!("class {id}"));
        Self {
            names: std::iter::once(BACKGROUND.to_owned()).chain(names).collect(),
            color_by_id: BTreeMap::new(),
            label_colors: Vec::new(),
            id_by_label: HashMap::new(),
            priority: Vec::new(),
            stored_id_map: (0..=largest_id).collect(),
        }
    }

    /// Their names, class 0 first.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The class of each id of masks that came with the labels.
    pub fn stored_id_map(&self) -> &[u8] {
        &self.stored_id_map
    }

    /// The class of a label: 255 if it is ignored.
    pub fn class_id(&self, label: &str) -> Result<u8> {
        self.id_by_label.get(label).copied().ok_or_else(|| {
            let hint = did_you_mean(label, self.id_by_label.keys().map(String::as_str));
            let mut known_labels: Vec<&str> = self.id_by_label.keys().map(String::as_str).collect();
            known_labels.sort_unstable();
            Error::input(format!(
                "unknown label {label:?}{hint}; known are {}",
                known_labels.join(", ")
            ))
        })
    }

    /// How far up a label is painted: 0 for those without priority.
    pub fn rank(&self, label: &str) -> usize {
        let position = self.priority.iter().position(|name| name == label);
        position.map_or(0, |place| self.priority.len() - place)
    }

    /// Colors that were given, with their classes.
    pub fn label_colors(&self) -> &[([u8; 3], u8)] {
        &self.label_colors
    }

    /// The color of a class: its label's, or that of the PASCAL VOC color map.
    pub fn color(&self, id: u8) -> [u8; 3] {
        self.color_by_id.get(&id).copied().unwrap_or_else(|| class_color(id))
    }
}

/// Whether a label says that nothing is there.
pub fn is_background(label: &str) -> bool {
    label.trim().eq_ignore_ascii_case(BACKGROUND)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(names: &[&str]) -> Vec<LabelColor> {
        names.iter().map(|name| ((*name).to_owned(), None)).collect()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn labels_follow_the_background_in_their_order() {
        let mut all_labels = labels(&["road", "Background", "void", "car"]);
        all_labels[0].1 = Some([255, 0, 0]);
        let classes =
            Classes::new(all_labels, (&names(&["void"]), &names(&["car", "road"])), "x.xml")
                .unwrap();
        assert_eq!(classes.names(), ["background", "road", "car"]);
        let class = |label| classes.class_id(label).unwrap();
        assert_eq!(
            [class("road"), class("Background"), class("void"), class("car")],
            [1, 0, 255, 2]
        );
        assert!(classes.rank("car") > classes.rank("road") && classes.rank("void") == 0);
        assert_eq!((classes.color(1), classes.color(2)), ([255, 0, 0], class_color(2)));
        let error = classes.class_id("raod").unwrap_err().to_string();
        assert_eq!(
            error,
            "unknown label \"raod\" (did you mean \"road\"?); known are Background, car, road, void"
        );
    }

    #[test]
    fn unknown_names_and_too_many_labels_are_told_at_once() {
        let label_names: Vec<String> = (0..300).map(|n| format!("l{n}")).collect();
        let label_names: Vec<&str> = label_names.iter().map(String::as_str).collect();
        let error =
            Classes::new(labels(&label_names), (&names(&["l1x"]), &names(&["l2y"])), "x.xml")
                .unwrap_err();
        let messages = error.problems();
        assert_eq!(messages.len(), 3);
        assert!(messages[0].starts_with("--ignore names \"l1x\""), "{}", messages[0]);
        assert!(messages[1].starts_with("--priority names \"l2y\""), "{}", messages[1]);
        assert!(
            messages[2].starts_with("x.xml has 300 labels; a mask has room for 254"),
            "{}",
            messages[2]
        );
    }
}
