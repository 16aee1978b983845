//! Channels: `inputdataconfig.json` and the folders under `input/data`.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{MlRoot, raw};
use crate::error::{Error, Problems, Result, did_you_mean};

/// The channels that a training job must have, in the built-in's names.
const REQUIRED: [&str; 4] = ["train", "train_annotation", "validation", "validation_annotation"];

/// The channel of the built-in that maps the values of masks to classes. Here it may hold the
/// classes' names too.
const LABEL_MAP: &str = "label_map";

/// The channel of SageMaker's incremental training: a model to go on from.
const MODEL: &str = "model";

/// Ours: weights for `use_pretrained_model`.
const PRETRAINED: &str = "pretrained";

/// The file with the classes' names in the `label_map` channel.
const LABELS: &str = "labels.json";

/// One split: a folder of images and a folder of masks with the same stems.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// The channel with the images; the annotation channel is `<name>_annotation`.
    pub name: &'static str,
    /// Folder of the images.
    pub images: PathBuf,
    /// Folder of the masks.
    pub masks: PathBuf,
}

/// The folders that a training job reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channels {
    /// `train` and `train_annotation`.
    pub train: Split,
    /// `validation` and `validation_annotation`.
    pub validation: Split,
    /// `labels.json` in the `label_map` channel: the classes' names.
    pub labels: Option<PathBuf>,
    /// The folder of the `model` channel: a model to go on from.
    pub model: Option<PathBuf>,
    /// The folder of the `pretrained` channel: weights for a backbone.
    pub pretrained: Option<PathBuf>,
}

/// What `inputdataconfig.json` says of one channel; every field is optional in practice.
#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Described {
    training_input_mode: Option<String>,
}

impl Channels {
    /// Finds the channels of a training job. `inputdataconfig.json` may be absent (a laptop): then
    /// the folders alone count.
    pub fn read(root: &MlRoot) -> Result<Self> {
        let mut problems = Problems::new();
        let described = problems.check(raw::object(&root.input_data_config())).flatten();
        for (channel, description) in described.iter().flatten() {
            problems.check(check_mode(channel, description));
        }
        let mut present: Vec<String> =
            described.iter().flat_map(|map| map.keys().cloned()).collect();
        present.extend(folders(&root.data()));
        present.sort();
        present.dedup();
        for required in REQUIRED {
            let folder = root.channel(required);
            if !folder.is_dir() {
                problems.push(missing(required, &folder, &present));
            }
        }
        let has = |channel| present.iter().any(|name| name == channel);
        let mut optional = |channel| {
            let folder = has(channel).then(|| root.channel(channel))?;
            if !folder.is_dir() {
                problems.push(format!(
                    "channel {channel} is described, but there is no folder {}",
                    folder.display()
                ));
            }
            Some(folder)
        };
        let (model, pretrained) = (optional(MODEL), optional(PRETRAINED));
        let labels = has(LABEL_MAP).then(|| problems.check(labels(&root.channel(LABEL_MAP))));
        problems.into_result()?;
        let split = |name: &'static str, annotation| Split {
            name,
            images: root.channel(name),
            masks: root.channel(annotation),
        };
        Ok(Self {
            train: split("train", "train_annotation"),
            validation: split("validation", "validation_annotation"),
            labels: labels.flatten(),
            model,
            pretrained,
        })
    }
}

/// The path of `labels.json`, which must be all that the `label_map` channel holds.
fn labels(folder: &Path) -> Result<PathBuf> {
    let failed = |cause: &std::io::Error| Error::io("list", folder, cause);
    let mut others = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| failed(&e))? {
        let name = entry.map_err(|e| failed(&e))?.file_name().to_string_lossy().into_owned();
        // Hidden files are what storage and file managers leave.
        if name != LABELS && !name.starts_with('.') {
            others.push(name);
        }
    }
    others.sort();
    if !others.is_empty() {
        return Err(Error::input(format!(
            "channel label_map holds {}; this version reads only {LABELS} there, the classes' \
             names, and does not map the values of masks: remove the rest and write the class ids \
             into the masks themselves",
            others.join(", ")
        )));
    }
    let path = folder.join(LABELS);
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::input(format!(
        "channel label_map holds no {LABELS}; put it there, for example [\"background\", \"road\"], \
         or remove the channel"
    )))
}

fn check_mode(channel: &str, description: &serde_json::Value) -> Result<()> {
    let described = Described::deserialize(description).map_err(|cause| {
        Error::input(format!("inputdataconfig.json: channel {channel}: {cause}"))
    })?;
    match described.training_input_mode.as_deref() {
        None | Some("File" | "FastFile") => Ok(()),
        Some(mode) => Err(Error::input(format!(
            "inputdataconfig.json: channel {channel} has TrainingInputMode {mode:?}; this version \
             reads File and FastFile"
        ))),
    }
}

fn missing(required: &str, folder: &Path, present: &[String]) -> String {
    // A required channel that is there is no misspelling of another.
    let others = present.iter().map(String::as_str).filter(|name| !REQUIRED.contains(name));
    let hint = others
        .map(|name| (did_you_mean(name, [required]), name))
        .find(|(hint, _)| !hint.is_empty())
        .map_or(String::new(), |(_, name)| format!("; channel {name:?} is there: rename it"));
    let found = if present.is_empty() { "none".to_owned() } else { present.join(", ") };
    format!(
        "channel {required} is missing: there is no folder {} (channels found: {found}){hint}",
        folder.display()
    )
}

fn folders(data: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(data) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn root(channels: &[&str], config: Option<&str>) -> (tempfile::TempDir, MlRoot) {
        let folder = tempfile::tempdir().unwrap();
        let root = MlRoot::new(folder.path());
        for channel in channels {
            fs::create_dir_all(root.channel(channel)).unwrap();
        }
        fs::create_dir_all(folder.path().join("input/config")).unwrap();
        if let Some(config) = config {
            fs::write(root.input_data_config(), config).unwrap();
        }
        (folder, root)
    }

    #[test]
    fn folders_alone_are_enough_and_every_field_is_optional() {
        for config in
            [None, Some(r#"{"train": {}, "validation": {"TrainingInputMode": "FastFile"}}"#)]
        {
            let (_folder, root) = root(&REQUIRED, config);
            let channels = Channels::read(&root).unwrap();
            assert_eq!(channels.train.masks, root.channel("train_annotation"));
        }
    }

    #[test]
    fn every_missing_channel_is_named_with_what_is_there() {
        let (_folder, root) = root(&["train", "train_annotations"], None);
        let error = Channels::read(&root).unwrap_err();
        assert_eq!(error.problems().len(), 3);
        let text = &error.problems()[0];
        assert!(text.starts_with("channel train_annotation is missing"), "{text}");
        assert!(text.contains("channels found: train, train_annotations"), "{text}");
        assert!(text.ends_with("channel \"train_annotations\" is there: rename it"), "{text}");
    }

    #[test]
    fn channels_with_weights_are_found_and_one_without_a_folder_is_named() {
        for channel in ["model", "pretrained"] {
            let (_folder, found) = root(&[&REQUIRED[..], &[channel]].concat(), None);
            let channels = Channels::read(&found).unwrap();
            let folder = Some(found.channel(channel));
            let (expected, other) = if channel == "model" {
                (channels.model, channels.pretrained)
            } else {
                (channels.pretrained, channels.model)
            };
            assert_eq!((expected, other), (folder, None));
            let config = format!(r#"{{"{channel}": {{}}}}"#);
            let (_folder, described) = root(&REQUIRED, Some(&config));
            let text = Channels::read(&described).unwrap_err().to_string();
            assert!(text.contains(&format!("channel {channel} is described, but")), "{text}");
        }
    }

    #[test]
    fn a_label_map_channel_may_hold_the_classes_names_and_nothing_else() {
        let (_folder, root) = root(&[&REQUIRED[..], &["label_map"]].concat(), None);
        let text = || Channels::read(&root).unwrap_err().to_string();
        assert!(text().contains("label_map holds no labels.json; put it there"), "{}", text());
        let path = root.channel("label_map").join("labels.json");
        fs::write(&path, "[]").unwrap();
        fs::write(path.with_file_name(".DS_Store"), "").unwrap();
        assert_eq!(Channels::read(&root).unwrap().labels, Some(path.clone()));
        fs::write(path.with_file_name("train_label_map.json"), "{}").unwrap();
        assert!(text().contains("label_map holds train_label_map.json; this version reads only"));
        // Described, but without a folder.
        fs::remove_dir_all(root.channel("label_map")).unwrap();
        fs::write(root.input_data_config(), r#"{"label_map": {}}"#).unwrap();
        assert!(text().contains("label_map"), "{}", text());
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_files_never_panic(config in ".{0,40}", mode in ".{0,9}") {
            for text in [config, serde_json::json!({"train": {"TrainingInputMode": mode}}).to_string()] {
                let (_folder, root) = root(&[], Some(&text));
                proptest::prop_assert!(Channels::read(&root).is_err());
            }
        }
    }

    #[test]
    fn pipe_mode_and_broken_files_are_refused_by_name() {
        let (_folder, pipe) = root(&REQUIRED, Some(r#"{"train": {"TrainingInputMode": "Pipe"}}"#));
        let text = Channels::read(&pipe).unwrap_err().to_string();
        assert!(text.contains("channel train has TrainingInputMode \"Pipe\""), "{text}");
        for broken in ["", "[]", "{", r#"{"train": 3}"#] {
            let (_folder, root) = root(&REQUIRED, Some(broken));
            let text = Channels::read(&root).unwrap_err().to_string();
            assert!(text.contains("inputdataconfig.json"), "{text}");
        }
    }
}
