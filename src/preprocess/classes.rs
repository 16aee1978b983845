//! Which class a label is, and what is on top where regions overlap.

use std::collections::{BTreeMap, HashMap};

use crate::colours::class_colour;
use crate::data::color_map::BACKGROUND;
use crate::error::{Error, Problems, Result, did_you_mean};

/// The class of pixels that do not count.
pub const IGNORED: u8 = 255;

/// The classes of a data set.
#[derive(Debug, Clone)]
pub struct Classes {
    /// One per class, class 0 first.
    names: Vec<String>,
    /// Given ones, by class.
    colours: BTreeMap<u8, [u8; 3]>,
    /// All that were given; several labels may be ignored.
    given: Vec<([u8; 3], u8)>,
    ids: HashMap<String, u8>,
    /// Labels that are above others whatever their order, the topmost first.
    priority: Vec<String>,
    /// The class of each id of masks that somebody else made, in which no label was ignored.
    stored: Vec<u8>,
}

/// A label and its colour, if it was given one.
pub type Label = (String, Option<[u8; 3]>);

impl Classes {
    /// Class 0 for the background and for a label of that name in any case, the labels from 1 in their order. Regions
    /// of labels in `ignored` become 255; those in `priority` are painted over all others, the first on top. `source`
    /// names the labels' origin in messages.
    pub fn new(
        labels: Vec<Label>,
        (ignored, priority): (&[String], &[String]),
        source: &str,
    ) -> Result<Self> {
        let mut problems = Problems::new();
        let mut classes = Self {
            names: vec![BACKGROUND.to_owned()],
            colours: BTreeMap::new(),
            given: Vec::new(),
            ids: HashMap::new(),
            priority: priority.to_vec(),
            stored: vec![0],
        };
        let known: Vec<String> = labels.iter().map(|(name, _)| name.clone()).collect();
        for (flag, given) in [("--ignore", ignored), ("--priority", priority)] {
            for name in given.iter().filter(|name| !known.contains(name)) {
                let hint = did_you_mean(name, known.iter().map(String::as_str));
                problems.push(format!(
                    "{flag} names {name:?}{hint}, which is no label of {source}; there are {}",
                    known.join(", ")
                ));
            }
        }
        for (name, colour) in labels {
            let id = if is_background(&name) {
                0
            } else if ignored.contains(&name) {
                IGNORED
            } else {
                let id = u8::try_from(classes.names.len()).unwrap_or(IGNORED);
                classes.names.push(name.clone());
                id
            };
            if let Some(colour) = colour {
                classes.colours.insert(id, colour);
                classes.given.push((colour, id));
            }
            classes.ids.insert(name, id);
            if id != 0 {
                classes.stored.push(id);
            }
        }
        if classes.names.len() > usize::from(IGNORED) {
            problems.push(format!(
                "{source} has {} labels; a mask has room for {}, ids 1 to 254: leave some out with --ignore",
                classes.names.len() - 1,
                IGNORED - 1
            ));
        }
        problems.into_result()?;
        Ok(classes)
    }

    /// Classes without names, up to the id `largest`.
    pub fn unnamed(largest: u8) -> Self {
        let names = (1..=largest).map(|id| format!("class {id}"));
        Self {
            names: std::iter::once(BACKGROUND.to_owned()).chain(names).collect(),
            colours: BTreeMap::new(),
            given: Vec::new(),
            ids: HashMap::new(),
            priority: Vec::new(),
            stored: (0..=largest).collect(),
        }
    }

    /// Their names, class 0 first.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The class of each id of masks that came with the labels.
    pub fn stored(&self) -> &[u8] {
        &self.stored
    }

    /// The class of a label: 255 if it is ignored.
    pub fn class(&self, label: &str) -> Result<u8> {
        self.ids.get(label).copied().ok_or_else(|| {
            let hint = did_you_mean(label, self.ids.keys().map(String::as_str));
            let mut known: Vec<&str> = self.ids.keys().map(String::as_str).collect();
            known.sort_unstable();
            Error::input(format!("unknown label {label:?}{hint}; known are {}", known.join(", ")))
        })
    }

    /// How far up a label is painted: 0 for those without priority.
    pub fn rank(&self, label: &str) -> usize {
        let place = self.priority.iter().position(|name| name == label);
        place.map_or(0, |place| self.priority.len() - place)
    }

    /// Colours that were given, with their classes.
    pub fn given_colours(&self) -> &[([u8; 3], u8)] {
        &self.given
    }

    /// The colour of a class: its label's, or that of the PASCAL VOC colour map.
    pub fn colour(&self, id: u8) -> [u8; 3] {
        self.colours.get(&id).copied().unwrap_or_else(|| class_colour(id))
    }
}

/// Whether a label says that nothing is there.
pub fn is_background(label: &str) -> bool {
    label.trim().eq_ignore_ascii_case(BACKGROUND)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(names: &[&str]) -> Vec<Label> {
        names.iter().map(|name| ((*name).to_owned(), None)).collect()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn labels_follow_the_background_in_their_order() {
        let mut all = labels(&["road", "Background", "void", "car"]);
        all[0].1 = Some([255, 0, 0]);
        let classes =
            Classes::new(all, (&names(&["void"]), &names(&["car", "road"])), "x.xml").unwrap();
        assert_eq!(classes.names(), ["background", "road", "car"]);
        let class = |label| classes.class(label).unwrap();
        assert_eq!(
            [class("road"), class("Background"), class("void"), class("car")],
            [1, 0, 255, 2]
        );
        assert!(classes.rank("car") > classes.rank("road") && classes.rank("void") == 0);
        assert_eq!((classes.colour(1), classes.colour(2)), ([255, 0, 0], class_colour(2)));
        let error = classes.class("raod").unwrap_err().to_string();
        assert_eq!(
            error,
            "unknown label \"raod\" (did you mean \"road\"?); known are Background, car, road, void"
        );
    }

    #[test]
    fn unknown_names_and_too_many_labels_are_told_at_once() {
        let many: Vec<String> = (0..300).map(|n| format!("l{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let error =
            Classes::new(labels(&many), (&names(&["l1x"]), &names(&["l2y"])), "x.xml").unwrap_err();
        let said = error.problems();
        assert_eq!(said.len(), 3);
        assert!(said[0].starts_with("--ignore names \"l1x\""), "{}", said[0]);
        assert!(said[1].starts_with("--priority names \"l2y\""), "{}", said[1]);
        assert!(
            said[2].starts_with("x.xml has 300 labels; a mask has room for 254"),
            "{}",
            said[2]
        );
    }
}
