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
//! be given to the next job as it is. Every reader of the file uses [`LabelsJson`].

use std::path::Path;

use crate::error::{Error, ErrorContext, Problems, Result};
use crate::files::read_file;
use crate::labels_json::LabelsJson;

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
    let names = parse_labels(&read_file(path)?, num_classes).error_context(path.display())?;
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

/// Counts the classes that a `labels.json` names, the background included.
pub fn count_named_classes(labels_path: &Path) -> Result<usize> {
    let labels =
        LabelsJson::parse(&read_file(labels_path)?).error_context(labels_path.display())?;
    Ok(labels.classes.len())
}

/// Parses a `labels.json`, in whose classes a job needs only the names.
fn parse_labels(bytes: &[u8], num_classes: usize) -> Result<Vec<String>> {
    let labels = LabelsJson::parse(bytes)?;
    let mut problems = Problems::new();
    problems.record_err(labels.check_unique_names());
    let names: Vec<String> = labels.classes.into_iter().map(|class| class.name).collect();
    if names.len() != num_classes {
        problems.push(format!(
            "{} names for num_classes {num_classes}; give one name per class, class 0 (background) \
             first",
            names.len()
        ));
    }
    problems.into_result()?;
    Ok(names)
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
            r#"{"1": "road", "2": "sky"}"#,
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
            parse_problems(r#"["a", "b", "a", "c"]"#),
            [
                "has the name \"a\" for the classes 0 and 2; give each a name of its own",
                "4 names for num_classes 3; give one name per class, class 0 (background) first",
            ]
        );
        assert_eq!(
            parse_problems(r#"{"0": "a", "00": "b", "3": "c", "1": " "}"#),
            [
                "has class 0 twice; keep one of its names",
                "has a name for class 1 that is empty or unprintable",
                "has no class 2 but a class 3; name every class",
            ]
        );
        assert!(parse_problems("3")[0].contains("expected [\"background\""));
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
