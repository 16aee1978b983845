//! The classes' names: from the hyperparameter `class_names`, or from `labels.json`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::error::{Error, Problems, Result};
use crate::files::read_file;

/// Both forms of `labels.json`: labels in the order of their ids, or labels by id.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum LabelsDocument {
    List(Vec<ClassLabel>),
    Map(BTreeMap<String, ClassLabel>),
}

/// A class's name, or an object with it, as in the `labels.json` of a model; what else is in that
/// (colors) is not read.
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

/// The names that a job gives its `classes`, from either source or from both when they agree.
pub fn read_class_names(
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
        // serde's words for a form that is neither say nothing about either.
        let cause = cause.to_string();
        let cause = if cause.contains("untagged") { "neither form" } else { &cause };
        Error::input(format!("{cause}; expected {EXPECTED_FORMATS}"))
    })?;
    let mut problems = Problems::new();
    let names = match labels {
        LabelsDocument::List(labels) => labels.into_iter().map(ClassLabel::into_name).collect(),
        LabelsDocument::Map(labels) => {
            let by_id = labels.into_iter().map(|(id, label)| (id, label.into_name())).collect();
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

/// The names of a map, class 0 first; ids that are missing, twice there or too large are problems.
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
