//! Class names: the sources that a training job has, and their order of precedence.
//!
//! From the highest precedence to the lowest:
//!
//! 1. the hyperparameter `class_names` (`src/train/hyperparameters/mod.rs`);
//! 2. `labels.json` in channel `label_map`
//!    ([`LabelMapChannel`](crate::sagemaker::channels::LabelMapChannel)), read by
//!    [`GivenClassNames::read`]; if the hyperparameter is given too, both must be the same;
//! 3. `internal-color-map` in the manifests of Ground Truth
//!    ([`assign_class_ids`](super::color_map::assign_class_ids)), sorted by name after `background`;
//! 4. the model in channel `model` ([`ModelClassNames`]);
//! 5. `class 0`, `class 1` and so on (`ModelConfig::default_class_names` in
//!    `src/model/artifact.rs`).
//!
//! [`ClassNames`] holds those of 1, 2 and 4, which are known before the masks are read. If there
//! are any, names of color maps must be among them ([`ClassNames::required`]) and take their ids.
//! Names like `class 1` of a model that was trained without names do not count for this.
//!
//! The other way round, `preprocess` makes names from the labels of annotations
//! (`src/preprocess/classes.rs`) and writes them to a `labels.json` that is read here. The
//! `labels.json` of a model has the same form with colors (`src/model/labels.rs`), so that it may
//! be given to the next job as it is.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::error::{Error, Problems, Result};
use crate::files::read_file;

/// The two forms of `labels.json`: labels in the order of their ids, or labels by id.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum LabelsDocument {
    List(Vec<ClassLabel>),
    Map(BTreeMap<String, ClassLabel>),
}

/// A class's name, or an object with its name, as in the `labels.json` of a model. Other keys of
/// the object, such as its color, are not read.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum ClassLabel {
    Name(String),
    Object { name: String },
}

impl ClassLabel {
    fn into_name(self) -> String {
        match self {
            Self::Name(name) | Self::Object { name } => name,
        }
    }
}

const EXPECTED_FORMATS: &str = "[\"background\", \"road\"] or {\"0\": \"background\", \"1\": \"road\"}, in place \
                     of a name also {\"name\": \"road\"}";

/// Names that color maps must keep to, class 0 first.
#[derive(Debug, Clone, Copy)]
pub struct RequiredClassNames<'a> {
    /// One name per class.
    pub names: &'a [String],
    /// Origin of the names, for messages.
    pub source: &'a str,
}

/// Names that a job gives its classes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenClassNames {
    /// One name per class, class 0 first.
    names: Vec<String>,
    /// Origin of the names, for messages.
    source: &'static str,
}

impl GivenClassNames {
    /// Reads the names from the hyperparameter, from `labels.json`, or from both if they agree.
    pub fn read(
        configured_names: Option<&[String]>,
        labels_path: Option<&Path>,
        num_classes: usize,
    ) -> Result<Option<Self>> {
        let source = if configured_names.is_some() { "class_names" } else { "labels.json" };
        match read_class_names(configured_names, labels_path, num_classes)? {
            Some(names) => Ok(Some(Self { names, source })),
            None => Ok(None),
        }
    }
}

/// Names of a model that training goes on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelClassNames {
    /// One name per class, class 0 first.
    pub names: Vec<String>,
    /// True if the model was trained without names, so that these are numbers.
    pub are_made_up: bool,
}

/// Class names of all sources but the masks. A job may have none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClassNames {
    /// Names from the hyperparameter or from `labels.json`.
    pub given: Option<GivenClassNames>,
    /// Names of the model in channel `model`.
    pub model: Option<ModelClassNames>,
}

impl ClassNames {
    /// Returns the names that color maps must keep to, if there are any: those that the job gives,
    /// else those of the model that it goes on from, whose classes keep their ids.
    pub fn required(&self) -> Option<RequiredClassNames<'_>> {
        if let Some(GivenClassNames { names, source }) = &self.given {
            return Some(RequiredClassNames { names, source });
        }
        match &self.model {
            Some(ModelClassNames { names, are_made_up: false }) => {
                Some(RequiredClassNames { names, source: "the model in channel model" })
            }
            _ => None,
        }
    }

    /// Returns the names of the highest precedence; `mask_names` are those of color maps.
    pub fn choose(self, mask_names: Option<Vec<String>>) -> Option<Vec<String>> {
        if let Some(given) = self.given {
            return Some(given.names);
        }
        if mask_names.is_some() {
            return mask_names;
        }
        Some(self.model?.names)
    }
}

/// Reads names from either source, or from both if they agree.
fn read_class_names(
    configured_names: Option<&[String]>,
    labels_path: Option<&Path>,
    num_classes: usize,
) -> Result<Option<Vec<String>>> {
    let Some(path) = labels_path else { return Ok(configured_names.map(<[String]>::to_vec)) };
    let names = parse_labels(&read_file(path)?, num_classes)
        .map_err(|error| error.with_context(path.display()))?;
    match configured_names {
        Some(given) if given != names => Err(Error::input(format!(
            "the hyperparameter class_names says {}, {} says {}; let both say the same, or give \
             only one",
            given.join(", "),
            path.display(),
            names.join(", ")
        ))),
        _ => Ok(Some(names)),
    }
}

fn parse_labels(bytes: &[u8], num_classes: usize) -> Result<Vec<String>> {
    // Some editors begin a file with a byte order mark.
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let labels = serde_json::from_slice(bytes).map_err(|cause| {
        // serde's message for a form that is neither describes neither of the two.
        let cause = cause.to_string();
        let cause = if cause.contains("untagged") { "neither form" } else { &cause };
        Error::input(format!("{cause}; expected {EXPECTED_FORMATS}"))
    })?;
    let mut problems = Problems::new();
    let names = match labels {
        LabelsDocument::List(labels) => labels.into_iter().map(ClassLabel::into_name).collect(),
        LabelsDocument::Map(labels) => {
            let mut by_id = BTreeMap::new();
            for (id, label) in labels {
                by_id.insert(id, label.into_name());
            }
            order_by_id(&by_id, num_classes, &mut problems)
        }
    };
    if problems.is_empty() && names.len() != num_classes {
        problems.push(format!(
            "{} names for num_classes {num_classes}; give one name per class, class 0 (background) \
             first",
            names.len()
        ));
    }
    for (id, name) in names.iter().enumerate() {
        if name.trim().is_empty() || name.contains(char::is_control) {
            problems.push(format!("the name of class {id} is empty or unprintable"));
        }
    }
    problems.into_result()?;
    Ok(names.iter().map(|name| name.trim().to_owned()).collect())
}

/// Returns the names of a map, class 0 first. Ids that are missing, repeated or too large are
/// problems.
fn order_by_id(
    by_id: &BTreeMap<String, String>,
    num_classes: usize,
    problems: &mut Problems,
) -> Vec<String> {
    let mut names: Vec<Option<&String>> = vec![None; num_classes];
    for (key, name) in by_id {
        let slot = key.trim().parse().ok().and_then(|id: usize| names.get_mut(id));
        match slot {
            Some(Some(other)) => {
                problems.push(format!("class {key} has two names: {other:?} and {name:?}"));
            }
            Some(slot) => *slot = Some(name),
            None => problems.push(format!(
                "{key:?} (named {name:?}) is no class of num_classes {num_classes}; allowed: 0 to {}",
                num_classes.saturating_sub(1)
            )),
        }
    }
    for (id, name) in names.iter().enumerate() {
        if name.is_none() {
            problems.push(format!("class {id} has no name"));
        }
    }
    names.into_iter().flatten().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_problems(text: &str) -> Vec<String> {
        parse_labels(text.as_bytes(), 3).unwrap_err().problems().to_vec()
    }

    #[test]
    fn a_list_and_a_map_give_the_same_names() {
        for text in [
            r#"["background", "road", "sky "]"#,
            r#"{"2": "sky", "0": "background", "1": "road"}"#,
            "\u{feff}[\"background\", \"road\", \"sky\"]",
            r#"{"0": {"name": "background", "color": [0, 0, 0]}, "2": "sky", "1": {"name": "road"}}"#,
        ] {
            assert_eq!(parse_labels(text.as_bytes(), 3).unwrap(), ["background", "road", "sky"]);
        }
    }

    #[test]
    fn what_does_not_fit_is_named_all_at_once() {
        assert_eq!(
            parse_problems(r#"["a", "b"]"#),
            ["2 names for num_classes 3; give one name per class, class 0 (background) first"]
        );
        assert_eq!(
            parse_problems(r#"{"0": "a", "00": "b", "3": "c", "road": "d"}"#),
            [
                "class 00 has two names: \"a\" and \"b\"",
                "\"3\" (named \"c\") is no class of num_classes 3; allowed: 0 to 2",
                "\"road\" (named \"d\") is no class of num_classes 3; allowed: 0 to 2",
                "class 1 has no name",
                "class 2 has no name",
            ]
        );
        assert_eq!(
            parse_problems(r#"["a", " ", "c"]"#),
            ["the name of class 1 is empty or unprintable"]
        );
        assert!(parse_problems("3")[0].starts_with("neither form; expected [\"background\""));
        assert!(parse_problems("[\"a\"")[0].contains("EOF"));
    }

    #[test]
    fn the_labels_of_a_model_are_read() {
        let names: Vec<String> = (0..12).map(|id| format!("class {id}")).collect();
        let written =
            serde_json::to_vec(&crate::model::labels::Labels { names: &names, colors: None })
                .unwrap();
        assert_eq!(parse_labels(&written, 12).unwrap(), names);
    }

    #[test]
    fn both_sources_must_agree() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.json");
        std::fs::write(&path, r#"["a", "b"]"#).unwrap();
        let given = |names: [&str; 2]| names.map(str::to_owned).to_vec();
        let names = |given: Option<Vec<String>>, path| read_class_names(given.as_deref(), path, 2);
        assert_eq!(names(Some(given(["a", "b"])), Some(&path)).unwrap(), Some(given(["a", "b"])));
        assert_eq!(names(None, Some(&path)).unwrap(), Some(given(["a", "b"])));
        assert_eq!(names(Some(given(["x", "y"])), None).unwrap(), Some(given(["x", "y"])));
        assert_eq!(names(None, None).unwrap(), None);
        let error = names(Some(given(["a", "c"])), Some(&path)).unwrap_err().to_string();
        assert!(error.contains("class_names says a, c, ") && error.ends_with("give only one"));
    }

    #[test]
    fn given_names_come_before_those_of_masks_and_those_before_the_models() {
        let names = |name: &str| vec!["background".to_owned(), name.to_owned()];
        let given = GivenClassNames { names: names("given"), source: "labels.json" };
        let model = |are_made_up| ModelClassNames { names: names("model"), are_made_up };
        let all = ClassNames { given: Some(given), model: Some(model(false)) };
        let required = all.required().unwrap();
        assert_eq!((required.names, required.source), (&names("given")[..], "labels.json"));
        assert_eq!(all.choose(Some(names("masks"))), Some(names("given")));

        let named = ClassNames { given: None, model: Some(model(false)) };
        assert_eq!(named.required().unwrap().source, "the model in channel model");
        let unnamed = ClassNames { given: None, model: Some(model(true)) };
        assert!(unnamed.required().is_none());
        assert_eq!(unnamed.clone().choose(Some(names("masks"))), Some(names("masks")));
        assert_eq!(unnamed.choose(None), Some(names("model")));
        assert_eq!(ClassNames::default().choose(None), None);
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_files_never_panic(bytes: Vec<u8>, key in ".{0,4}", name in ".{0,4}") {
            let _ = parse_labels(&bytes, 2);
            let map = serde_json::json!({"0": "a", &key: name}).to_string();
            let _ = parse_labels(map.as_bytes(), 2);
            let list = serde_json::json!([name, {"name": name, key: 1}]).to_string();
            let _ = parse_labels(list.as_bytes(), 2);
        }
    }
}
