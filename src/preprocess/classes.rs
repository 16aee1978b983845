//! Class ids of labels, and the order in which overlapping regions are painted.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use super::label_list::{KnownLabels, parse_label_list};
use crate::colors::class_color;
use crate::data::color_map::BACKGROUND;
use crate::error::{
    Error, MAX_EXAMPLE_CHARS, MAX_PROBLEM_CHARS, Problems, Result, did_you_mean, shorten_text,
};
use crate::files::normalize_name;
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
    /// Class ids by normalized label, so that Unicode's forms of one name are one label, with or
    /// without spaces around it.
    id_by_label: HashMap<String, u8>,
    /// Normalized labels that are painted over all others, the topmost first.
    priority: Vec<String>,
    /// Normalized labels whose regions become 255.
    ignored: Vec<String>,
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
    /// the first on top. Both are values of flags, each of which may name several labels
    /// (`label_list.rs`). `source` names the labels' origin in messages.
    pub fn new(
        labels: Vec<LabelColor>,
        ignored: &[String],
        priority: &[String],
        source: &str,
    ) -> Result<Self> {
        let (mut class_zero, mut others) = (Vec::new(), Vec::new());
        for label in labels {
            if is_background(&label.0) {
                class_zero.push(label);
            } else {
                others.push(label);
            }
        }
        let mut classes =
            Self::from_numbered_labels(class_zero, others, ignored, priority, source)?;
        BACKGROUND.clone_into(&mut classes.names[0]);
        Ok(classes)
    }

    /// Gives the labels in `class_zero` the class 0, and the others the ids from 1 in their order.
    /// Class 0 has the name of its only label; without one, or if that label is ignored, it is the
    /// background. The other parameters are those of [`Classes::new`].
    pub fn from_numbered_labels(
        class_zero: Vec<LabelColor>,
        others: Vec<LabelColor>,
        ignored: &[String],
        priority: &[String],
        source: &str,
    ) -> Result<Self> {
        let mut problems = Problems::new();
        let names: Vec<&str> =
            class_zero.iter().chain(&others).map(|(name, _)| name.as_str()).collect();
        let known = KnownLabels { names: &names, source };
        let ignored = normalize_names(&parse_label_list("--ignore", ignored, known, &mut problems));
        let priority =
            normalize_names(&parse_label_list("--priority", priority, known, &mut problems));
        let mut classes = Self { priority, ignored, ..Self::unnamed(0) };
        if let [(name, _)] = &class_zero[..]
            && !classes.ignored.contains(&normalize_label(name).into_owned())
        {
            name.trim().clone_into(&mut classes.names[0]);
        }
        let zero_count = class_zero.len();
        for (index, (name, color)) in class_zero.into_iter().chain(others).enumerate() {
            let normalized = normalize_label(&name).into_owned();
            let id = if classes.ignored.contains(&normalized) {
                IGNORE_INDEX
            } else if index < zero_count {
                0
            } else if let Some(&id) = classes.id_by_label.get(&normalized) {
                id
            } else {
                let id = u8::try_from(classes.names.len()).unwrap_or(IGNORE_INDEX);
                classes.names.push(name.trim().to_owned());
                id
            };
            if let Some(color) = color {
                classes.color_by_id.insert(id, color);
                classes.label_colors.push((color, id));
            }
            classes.id_by_label.insert(normalized, id);
            if index >= zero_count {
                classes.stored_id_map.push(id);
            } else {
                classes.stored_id_map[0] = id;
            }
        }
        tell_unprintable_names(&classes.names, source, &mut problems);
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
            ignored: Vec::new(),
            stored_id_map: (0..=largest_id).collect(),
        }
    }

    /// Returns true if labels give the classes their names; else the names are numbers.
    pub fn have_names(&self) -> bool {
        !self.id_by_label.is_empty()
    }

    /// Returns the normalized labels whose regions become 255.
    pub fn ignored_labels(&self) -> &[String] {
        &self.ignored
    }

    /// Returns the normalized labels that are painted over all others, the topmost first.
    pub fn priority_labels(&self) -> &[String] {
        &self.priority
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
        if let Some(&id) = self.id_by_label.get(&*normalize_label(label)) {
            return Ok(id);
        }
        let mut known_labels: Vec<&str> = self.id_by_label.keys().map(String::as_str).collect();
        known_labels.sort_unstable();
        let hint = did_you_mean(label, known_labels.iter().copied());
        Err(Error::input(format!(
            "unknown label {}{hint}; known are {}",
            shorten_text(&format!("{label:?}"), MAX_EXAMPLE_CHARS),
            shorten_text(&known_labels.join(", "), MAX_PROBLEM_CHARS / 2)
        )))
    }

    /// Returns the painting rank of a label: 0 without priority, larger values are painted later.
    pub fn rank(&self, label: &str) -> usize {
        match self.priority.iter().position(|name| *name == *normalize_label(label)) {
            Some(position) => self.priority.len() - position,
            None => 0,
        }
    }

    /// Returns the largest painting rank of the labels that have a class id.
    pub fn id_rank(&self, id: u8) -> usize {
        for label in &self.priority {
            if self.id_by_label.get(label) == Some(&id) {
                return self.rank(label);
            }
        }
        0
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

/// Records a problem for each name that `train` refuses in a `labels.json`.
fn tell_unprintable_names(names: &[String], source: &str, problems: &mut Problems) {
    for name in names {
        if name.is_empty() || name.contains(char::is_control) {
            let shown = format!("{name:?}");
            problems.push(format!(
                "{source} has the label {}, which is empty or has characters that cannot be \
                 printed, so train would refuse it; rename it in Label Studio, or where else it \
                 comes from",
                shorten_text(&shown, MAX_EXAMPLE_CHARS)
            ));
        }
    }
}

/// Returns the form in which labels are compared. `train` takes the spaces around a name away too.
fn normalize_label(label: &str) -> Cow<'_, str> {
    normalize_name(label.trim())
}

fn normalize_names(names: &[String]) -> Vec<String> {
    names.iter().map(|name| normalize_label(name).into_owned()).collect()
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
            Classes::new(all_labels, &names(&["void"]), &names(&["car,road"]), "x.xml").unwrap();
        assert_eq!(classes.names(), ["background", "road", "car"]);
        let class = |label| classes.class_id(label).unwrap();
        assert_eq!(
            [class("road"), class("Background"), class("void"), class("car")],
            [1, 0, 255, 2]
        );
        assert_eq!(classes.stored_id_map(), [0, 1, 255, 2]);
        assert!(classes.rank("car") > classes.rank("road") && classes.rank("void") == 0);
        assert_eq!((classes.color(1), classes.color(2)), ([255, 0, 0], class_color(2)));
        let error = classes.class_id("raod").unwrap_err().to_string();
        assert_eq!(
            error,
            "unknown label \"raod\" (did you mean \"road\"?); known are Background, car, road, void"
        );
    }

    #[test]
    fn labels_that_differ_in_their_normalization_are_one() {
        let (composed, decomposed) = ("caf\u{e9}", "cafe\u{301}");
        let all_labels = labels(&["road", decomposed, composed, "car"]);
        let flag = names(&[composed]);
        let classes = Classes::new(all_labels.clone(), &[], &flag, "the annotations").unwrap();
        assert_eq!(classes.names(), ["background", "road", decomposed, "car"]);
        for label in [composed, decomposed] {
            assert_eq!((classes.class_id(label).unwrap(), classes.rank(label)), (2, 1));
        }
        let classes = Classes::new(all_labels, &flag, &[], "the annotations").unwrap();
        assert_eq!(classes.class_id(decomposed).unwrap(), 255);
        assert_eq!(classes.names(), ["background", "road", "car"]);
    }

    #[test]
    fn spaces_around_a_label_do_not_count() {
        let all_labels = labels(&["road ", "road", " wide river"]);
        let flags = [names(&["road"]), names(&["wide river"])];
        let classes = Classes::new(all_labels, &[], &flags[1], "x.xml").unwrap();
        assert_eq!(classes.names(), ["background", "road", "wide river"]);
        for label in ["road", "road ", " road"] {
            assert_eq!(classes.class_id(label), Ok(1));
        }
        assert_eq!(classes.rank("wide river "), 1);
        let ignored = Classes::new(labels(&["road ", "a"]), &flags[0], &[], "x.xml").unwrap();
        assert_eq!((ignored.class_id("road"), ignored.class_id("a")), (Ok(255), Ok(1)));
    }

    #[test]
    fn labels_that_train_would_refuse_are_told_unless_they_are_ignored() {
        let bad = labels(&["road", "ro\nad\u{1b}[31m", " "]);
        let error = Classes::new(bad, &[], &[], "the annotations").unwrap_err();
        assert_eq!(error.problems().len(), 2, "{error}");
        let expected = "the annotations has the label \"ro\\nad\\u{1b}[31m\", which is empty";
        assert!(error.problems()[0].starts_with(expected), "{error}");
        let trimmed = Classes::new(labels(&["road\n"]), &[], &[], "x.xml").unwrap();
        assert_eq!(trimmed.names(), ["background", "road"]);
        let ignored = names(&["a\tb"]);
        assert!(Classes::new(labels(&["road", "a\tb"]), &ignored, &[], "x.xml").is_ok());
    }

    #[test]
    fn class_zero_keeps_its_name_and_color_and_may_be_ignored() {
        let class_zero = vec![("unlabeled".to_owned(), Some([48, 112, 32]))];
        // With numbers given, a later class may be named background.
        let others = labels(&["Background", "road"]);
        let number = |ignored: &[String]| {
            let (class_zero, others) = (class_zero.clone(), others.clone());
            Classes::from_numbered_labels(class_zero, others, ignored, &[], "labels.json").unwrap()
        };
        let classes = number(&[]);
        assert_eq!(classes.names(), ["unlabeled", "Background", "road"]);
        assert_eq!((classes.class_id("unlabeled"), classes.class_id("Background")), (Ok(0), Ok(1)));
        assert_eq!(classes.color(0), [48, 112, 32]);
        assert_eq!(classes.label_colors(), [([48, 112, 32], 0)]);
        let ignored = number(&names(&["unlabeled"]));
        assert_eq!(ignored.names(), ["background", "Background", "road"]);
        assert_eq!(ignored.stored_id_map(), [255, 1, 2]);
        assert_eq!(ignored.class_id("unlabeled"), Ok(255));
        assert_eq!(ignored.color(0), class_color(0));
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
