//! Class ids of labels, and the order in which overlapping regions are painted.

use std::collections::{BTreeMap, HashMap};

use crate::colors::class_color;
use crate::data::color_map::BACKGROUND;
use crate::error::{Error, Problems, Result, did_you_mean};
use crate::metrics::IGNORE_INDEX;

/// Class names, colors and painting order of a data set.
#[derive(Debug, Clone)]
pub struct Classes {
    /// Class names, the background (class 0) first.
    names: Vec<String>,
    /// Colors that the labeling configuration gives, by class id.
    color_by_id: BTreeMap<u8, [u8; 3]>,
    /// Colors that the labeling configuration gives, with their class ids. Several ignored labels
    /// share id 255 but may have different colors.
    label_colors: Vec<([u8; 3], u8)>,
    id_by_label: HashMap<String, u8>,
    /// Labels that are painted over all others, the topmost first.
    priority: Vec<String>,
    /// Class id for each id of masks that other tools wrote: those number all labels, also the
    /// ignored ones.
    stored_id_map: Vec<u8>,
}

/// Label and its color (red, green, blue), if it has one.
pub type LabelColor = (String, Option<[u8; 3]>);

impl Classes {
    /// Numbers the labels: class 0 is the background and a label of that name in any case, the
    /// others follow from 1 in their order.
    ///
    /// Regions of labels in `ignored` become 255; those in `priority` are painted over all others,
    /// the first on top. `source` names the labels' origin in messages.
    pub fn new(
        labels: Vec<LabelColor>,
        ignored: &[String],
        priority: &[String],
        source: &str,
    ) -> Result<Self> {
        let mut problems = Problems::new();
        for (flag, flag_labels) in [("--ignore", ignored), ("--priority", priority)] {
            check_known_labels(flag, flag_labels, &labels, source, &mut problems);
        }
        let mut classes = Self { priority: priority.to_vec(), ..Self::unnamed(0) };
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
                "{source} has {} labels; a mask has room for {}, ids 1 to 254: leave some out with \
                 --ignore",
                classes.names.len() - 1,
                IGNORE_INDEX - 1
            ));
        }
        problems.into_result()?;
        Ok(classes)
    }

    /// Makes the classes 0 to `largest_id` with generated names.
    pub fn unnamed(largest_id: u8) -> Self {
        let mut names = vec![BACKGROUND.to_owned()];
        for id in 1..=largest_id {
            names.push(format!("class {id}"));
        }
        Self {
            names,
            color_by_id: BTreeMap::new(),
            label_colors: Vec::new(),
            id_by_label: HashMap::new(),
            priority: Vec::new(),
            stored_id_map: (0..=largest_id).collect(),
        }
    }

    /// Returns the class names, class 0 first.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns the class id for each id of masks that other tools wrote, which number all labels.
    pub fn stored_id_map(&self) -> &[u8] {
        &self.stored_id_map
    }

    /// Returns the class id of a label, which is 255 if the label is ignored.
    pub fn class_id(&self, label: &str) -> Result<u8> {
        if let Some(&id) = self.id_by_label.get(label) {
            return Ok(id);
        }
        let mut known_labels: Vec<&str> = self.id_by_label.keys().map(String::as_str).collect();
        known_labels.sort_unstable();
        let hint = did_you_mean(label, known_labels.iter().copied());
        Err(Error::input(format!(
            "unknown label {label:?}{hint}; known are {}",
            known_labels.join(", ")
        )))
    }

    /// Returns the painting rank of a label: 0 without priority, larger values are painted later.
    pub fn rank(&self, label: &str) -> usize {
        match self.priority.iter().position(|name| name == label) {
            Some(position) => self.priority.len() - position,
            None => 0,
        }
    }

    /// Returns the colors that the labels have, with their class ids.
    pub fn label_colors(&self) -> &[([u8; 3], u8)] {
        &self.label_colors
    }

    /// Returns the color of a class: its label's, or that of the PASCAL VOC color map.
    pub fn color(&self, id: u8) -> [u8; 3] {
        match self.color_by_id.get(&id) {
            Some(color) => *color,
            None => class_color(id),
        }
    }
}

/// Records a problem for each name that a flag gives and no label has.
fn check_known_labels(
    flag: &str,
    flag_labels: &[String],
    labels: &[LabelColor],
    source: &str,
    problems: &mut Problems,
) {
    let known_labels: Vec<&str> = labels.iter().map(|(name, _)| name.as_str()).collect();
    for name in flag_labels {
        if !known_labels.contains(&name.as_str()) {
            let hint = did_you_mean(name, known_labels.iter().copied());
            problems.push(format!(
                "{flag} names {name:?}{hint}, which is no label of {source}; there are {}",
                known_labels.join(", ")
            ));
        }
    }
}

/// Returns true if a label stands for the background.
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
            Classes::new(all_labels, &names(&["void"]), &names(&["car", "road"]), "x.xml").unwrap();
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
        let error = Classes::new(labels(&label_names), &names(&["l1x"]), &names(&["l2y"]), "x.xml")
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
