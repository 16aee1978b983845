//! The channels of a training job: `inputdataconfig.json` and the folders under `input/data`.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use self::label_map::LABEL_MAP_CHANNEL;
pub use self::label_map::LabelMapChannel;
use super::{MlRoot, raw};
use crate::error::{Problems, Result, did_you_mean};

mod label_map;

/// The channels that a training job must have, in the built-in's names.
const REQUIRED_CHANNELS: [&str; 4] =
    ["train", "train_annotation", "validation", "validation_annotation"];

/// Channel of SageMaker's incremental training, with a model to go on from.
const MODEL_CHANNEL: &str = "model";

/// Channel of our own, with weights for `use_pretrained_model`.
const PRETRAINED_CHANNEL: &str = "pretrained";

/// Requirements of a channel in Pipe mode, for messages.
const PIPE_REQUIREMENTS: &str = "Pipe mode takes augmented manifests: channels train and validation with \
                    S3DataType AugmentedManifestFile, RecordWrapperType RecordIO and AttributeNames \
                    for the image and the annotation, such as [\"source-ref\", \"labels-ref\"]";

/// The folders of one split. An image and its mask have the same file name without extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitFolders {
    /// Channel with the images; the channel with the masks is `<name>_annotation`.
    pub name: &'static str,
    pub images: PathBuf,
    pub masks: PathBuf,
}

/// The source of a split's samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SplitSource {
    /// Two channels that are folders.
    Folders(SplitFolders),
    /// One channel in Pipe mode, whose records are images and annotations in turn.
    Pipe {
        /// The channel.
        name: &'static str,
        /// Path of the first epoch's FIFO, which SageMaker may not have made yet.
        fifo: PathBuf,
    },
    /// One channel that holds a manifest with references to images and annotations.
    Manifest {
        /// The channel.
        name: &'static str,
        file: PathBuf,
    },
}

impl SplitSource {
    /// Returns the name of the channel with the images.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Folders(split) => split.name,
            Self::Pipe { name, .. } | Self::Manifest { name, .. } => name,
        }
    }
}

/// The channels of a training job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channels {
    /// Source of the training samples.
    pub train: SplitSource,
    /// Source of the validation samples.
    pub validation: SplitSource,
    /// Files of the `label_map` channel; none if the job has no such channel.
    pub label_map: LabelMapChannel,
    /// Folder of the `model` channel, with a model to go on from.
    pub model: Option<PathBuf>,
    /// Folder of the `pretrained` channel, with weights for a backbone.
    pub pretrained: Option<PathBuf>,
}

/// A channel's entry in `inputdataconfig.json`. In practice every field may be absent.
#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct ChannelDescription {
    training_input_mode: Option<String>,
    record_wrapper_type: Option<String>,
}

/// The form in which SageMaker provides a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputMode {
    /// A folder, copied or mounted.
    Folder,
    /// One FIFO per epoch.
    Pipe,
}

impl Channels {
    /// Finds the channels of a training job. Without `inputdataconfig.json`, as on a laptop, each
    /// folder below `input/data` is a channel.
    pub fn read(root: &MlRoot) -> Result<Self> {
        let mut problems = Problems::new();
        let descriptions =
            problems.record_err(raw::read_json_object(&root.input_data_config_file())).flatten();
        let input_modes = list_input_modes(&descriptions.unwrap_or_default(), &mut problems);
        let mut pipe_channels = Vec::new();
        let mut present_channels = Vec::new();
        for (name, mode) in input_modes {
            if mode == InputMode::Pipe {
                pipe_channels.push(name.clone());
            }
            present_channels.push(name);
        }
        present_channels.extend(list_folders(&root.data_folder()));
        present_channels.sort();
        present_channels.dedup();
        // A channel with a manifest needs no annotation channel.
        let mut manifests = Vec::new();
        for (name, annotation) in [
            (REQUIRED_CHANNELS[0], REQUIRED_CHANNELS[1]),
            (REQUIRED_CHANNELS[2], REQUIRED_CHANNELS[3]),
        ] {
            if !has_name(&pipe_channels, name) && !has_name(&present_channels, annotation) {
                manifests.extend(find_manifest(name, &root.channel_folder(name), &mut problems));
            }
        }
        for required in REQUIRED_CHANNELS {
            let folder = root.channel_folder(required);
            let pipe_channel =
                pipe_channels.iter().find(|pipe| required.starts_with(pipe.as_str()));
            if let Some(pipe_channel) = pipe_channel {
                // The stream holds the annotations too.
                if required != pipe_channel && has_name(&present_channels, required) {
                    problems.push(format!(
                        "channel {pipe_channel} is in Pipe mode and channel {required} is there too; {PIPE_REQUIREMENTS}, \
                         and no {required}: remove it, or set the input mode of both to File"
                    ));
                }
            } else if !folder.is_dir()
                && !manifests.iter().any(|(name, _)| required.starts_with(name))
            {
                problems.push(missing_channel_problem(required, &folder, &present_channels));
            }
        }
        let model = find_optional_folder(MODEL_CHANNEL, root, &present_channels, &mut problems);
        let pretrained =
            find_optional_folder(PRETRAINED_CHANNEL, root, &present_channels, &mut problems);
        let mut label_map = LabelMapChannel::default();
        if has_name(&present_channels, LABEL_MAP_CHANNEL) {
            let read = LabelMapChannel::read(&root.channel_folder(LABEL_MAP_CHANNEL));
            label_map = problems.record_err(read).unwrap_or_default();
        }
        problems.into_result()?;
        let splits = [("train", "train_annotation"), ("validation", "validation_annotation")];
        let [train, validation] = splits.map(|(name, annotation)| {
            if has_name(&pipe_channels, name) {
                return SplitSource::Pipe { name, fifo: root.fifo(name, 0) };
            }
            for (manifest, file) in &manifests {
                if *manifest == name {
                    return SplitSource::Manifest { name, file: file.clone() };
                }
            }
            SplitSource::Folders(SplitFolders {
                name,
                images: root.channel_folder(name),
                masks: root.channel_folder(annotation),
            })
        });
        Ok(Self { train, validation, label_map, model, pretrained })
    }
}

/// Returns the folder of a channel that may be absent. One that is described has a folder.
fn find_optional_folder(
    channel: &str,
    root: &MlRoot,
    present_channels: &[String],
    problems: &mut Problems,
) -> Option<PathBuf> {
    if !has_name(present_channels, channel) {
        return None;
    }
    let folder = root.channel_folder(channel);
    if !folder.is_dir() {
        problems.push(format!(
            "channel {channel} is described, but there is no folder {}",
            folder.display()
        ));
    }
    Some(folder)
}

/// Returns true if one of the channels has this name.
fn has_name(channels: &[String], name: &str) -> bool {
    channels.iter().any(|channel| channel == name)
}

/// Reads the channels and their input modes from the bytes of an `inputdataconfig.json`.
pub fn parse_input_modes(bytes: &[u8]) -> Result<Vec<(String, InputMode)>> {
    let mut problems = Problems::new();
    let modes = list_input_modes(
        &raw::parse_json_object(bytes, Path::new("inputdataconfig.json"))?,
        &mut problems,
    );
    problems.into_result()?;
    Ok(modes)
}

fn list_input_modes(
    descriptions: &serde_json::Map<String, serde_json::Value>,
    problems: &mut Problems,
) -> Vec<(String, InputMode)> {
    let mut modes = Vec::new();
    for (name, description) in descriptions {
        modes.push((name.clone(), parse_input_mode(name, description, problems)));
    }
    modes
}

/// Reads the input mode of a channel. A wrong mode is a problem and is taken for a folder.
fn parse_input_mode(
    channel: &str,
    description: &serde_json::Value,
    problems: &mut Problems,
) -> InputMode {
    let mut add_problem = |reason: String| {
        problems.push(format!("inputdataconfig.json: channel {channel} {reason}"));
    };
    let parsed = ChannelDescription::deserialize(description).unwrap_or_else(|cause| {
        add_problem(format!("cannot be read: {cause}"));
        ChannelDescription::default()
    });
    match parsed.training_input_mode.as_deref() {
        None | Some("File" | "FastFile") => InputMode::Folder,
        Some("Pipe") if !["train", "validation"].contains(&channel) => {
            add_problem(format!(
                "has TrainingInputMode Pipe, which only train and validation can have; {PIPE_REQUIREMENTS}. Set \
                 the InputMode of {channel} to File, or remove it"
            ));
            InputMode::Folder
        }
        Some("Pipe") => {
            let wrapper = parsed.record_wrapper_type.as_deref().unwrap_or("None");
            if wrapper != "RecordIO" {
                add_problem(format!(
                    "has TrainingInputMode Pipe and RecordWrapperType {wrapper}; without RecordIO \
                     nothing says where an image ends: set RecordWrapperType to RecordIO. {PIPE_REQUIREMENTS}"
                ));
            }
            InputMode::Pipe
        }
        Some(mode) => {
            add_problem(format!("has TrainingInputMode {mode:?}; allowed: File, FastFile, Pipe"));
            InputMode::Folder
        }
    }
}

/// Finds the manifest in the folder of a channel. Several manifests are a problem.
fn find_manifest(
    name: &'static str,
    folder: &Path,
    problems: &mut Problems,
) -> Option<(&'static str, PathBuf)> {
    let mut manifests = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if let Some(extension) = path.extension()
            && (extension == "manifest" || extension == "jsonl")
            && path.is_file()
        {
            manifests.push(path);
        }
    }
    manifests.sort();
    if let [first, second, ..] = &manifests[..] {
        problems.push(format!(
            "channel {name} holds several manifests, such as {} and {}; keep one",
            first.display(),
            second.display()
        ));
    }
    let file = manifests.into_iter().next()?;
    Some((name, file))
}

fn missing_channel_problem(required: &str, folder: &Path, present: &[String]) -> String {
    // A required channel that is there is no misspelling of another.
    let mut hint = String::new();
    for name in present {
        let is_required = REQUIRED_CHANNELS.contains(&name.as_str());
        if !is_required && !did_you_mean(name, [required]).is_empty() {
            hint = format!("; channel {name:?} is there: rename it");
            break;
        }
    }
    let found_channels = if present.is_empty() { "none".to_owned() } else { present.join(", ") };
    format!(
        "channel {required} is missing: there is no folder {} (channels found: {found_channels}){hint}",
        folder.display()
    )
}

fn list_folders(data: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(data).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn root(channels: &[&str], config: Option<&str>) -> (tempfile::TempDir, MlRoot) {
        let folder = tempfile::tempdir().unwrap();
        let root = MlRoot::new(folder.path());
        for channel in channels {
            fs::create_dir_all(root.channel_folder(channel)).unwrap();
        }
        fs::create_dir_all(folder.path().join("input/config")).unwrap();
        if let Some(config) = config {
            fs::write(root.input_data_config_file(), config).unwrap();
        }
        (folder, root)
    }

    #[test]
    fn folders_alone_are_enough_and_every_field_is_optional() {
        for config in
            [None, Some(r#"{"train": {}, "validation": {"TrainingInputMode": "FastFile"}}"#)]
        {
            let (_folder, root) = root(&REQUIRED_CHANNELS, config);
            let channels = Channels::read(&root).unwrap();
            let SplitSource::Folders(train) = channels.train else {
                panic!("{:?}", channels.train)
            };
            assert_eq!(train.masks, root.channel_folder("train_annotation"));
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
            let (_folder, found) = root(&[&REQUIRED_CHANNELS[..], &[channel]].concat(), None);
            let channels = Channels::read(&found).unwrap();
            let folder = Some(found.channel_folder(channel));
            let (expected, other) = if channel == "model" {
                (channels.model, channels.pretrained)
            } else {
                (channels.pretrained, channels.model)
            };
            assert_eq!((expected, other), (folder, None));
            let config = format!(r#"{{"{channel}": {{}}}}"#);
            let (_folder, described) = root(&REQUIRED_CHANNELS, Some(&config));
            let text = Channels::read(&described).unwrap_err().to_string();
            assert!(text.contains(&format!("channel {channel} is described, but")), "{text}");
        }
    }

    #[test]
    fn a_label_map_channel_that_is_described_must_be_there() {
        let (_folder, root) = root(&REQUIRED_CHANNELS, Some(r#"{"label_map": {}}"#));
        let text = || Channels::read(&root).unwrap_err().to_string();
        assert!(text().contains("cannot list") && text().contains("label_map"), "{}", text());
        fs::create_dir(root.channel_folder("label_map")).unwrap();
        assert!(text().contains("channel label_map is empty"), "{}", text());
        let path = root.channel_folder("label_map").join("labels.json");
        fs::write(&path, "[]").unwrap();
        assert_eq!(Channels::read(&root).unwrap().label_map.labels, Some(path));
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

    const STREAM: &str = r#"{"TrainingInputMode": "Pipe", "RecordWrapperType": "RecordIO",
        "ContentType": "application/x-recordio", "S3DistributionType": "FullyReplicated"}"#;

    #[test]
    fn channels_in_pipe_mode_need_no_folder_and_the_other_split_may_be_folders() {
        let both = format!(r#"{{"train": {STREAM}, "validation": {STREAM}}}"#);
        let (_folder, streams) = root(&[], Some(&both));
        let channels = Channels::read(&streams).unwrap();
        let fifo = streams.data_folder().join("validation_0");
        assert_eq!(channels.validation, SplitSource::Pipe { name: "validation", fifo });
        let one = format!(r#"{{"train": {STREAM}}}"#);
        let (_folder, mixed) = root(&REQUIRED_CHANNELS[2..], Some(&one));
        let channels = Channels::read(&mixed).unwrap();
        assert_eq!(
            channels.train,
            SplitSource::Pipe { name: "train", fifo: mixed.fifo("train", 0) }
        );
        assert!(matches!(channels.validation, SplitSource::Folders(_)));
    }

    #[test]
    fn what_pipe_mode_cannot_have_is_told_with_what_it_needs() {
        let bare = STREAM.replace("\"RecordIO\"", "\"None\"");
        let without = r#"{"TrainingInputMode": "Pipe"}"#;
        for (channels, config, said) in [
            (
                &REQUIRED_CHANNELS[2..],
                format!(r#"{{"train": {bare}}}"#),
                "Pipe and RecordWrapperType None",
            ),
            (
                &REQUIRED_CHANNELS[2..],
                format!(r#"{{"train": {without}}}"#),
                "set RecordWrapperType to RecordIO",
            ),
            (
                &REQUIRED_CHANNELS[1..],
                format!(r#"{{"train": {STREAM}}}"#),
                "channel train_annotation is there too",
            ),
            (
                &REQUIRED_CHANNELS[..],
                format!(r#"{{"train_annotation": {STREAM}}}"#),
                "channel train_annotation has TrainingInputMode Pipe, which only train and",
            ),
            (
                &REQUIRED_CHANNELS[..],
                format!(r#"{{"label_map": {STREAM}}}"#),
                "Set the InputMode of label_map to",
            ),
            (
                &REQUIRED_CHANNELS[..],
                r#"{"train": {"TrainingInputMode": "x"}}"#.to_owned(),
                "File, FastFile, Pipe",
            ),
            (&[], format!(r#"{{"train": {STREAM}}}"#), "channel validation is missing"),
        ] {
            let (_folder, root) = root(channels, Some(&config));
            let text = Channels::read(&root).unwrap_err().to_string();
            assert!(text.contains(said), "{text}");
            assert!(!text.contains("channel train is missing"), "{text}");
        }
    }

    #[test]
    fn a_channel_with_a_manifest_needs_no_annotation_channel() {
        let (_folder, root) = root(&["train", "validation", "validation_annotation"], None);
        let file = root.channel_folder("train").join("output.manifest");
        assert!(
            Channels::read(&root).unwrap_err().to_string().contains("train_annotation is missing")
        );
        fs::write(&file, "").unwrap();
        let channels = Channels::read(&root).unwrap();
        assert_eq!(channels.train, SplitSource::Manifest { name: "train", file: file.clone() });
        assert!(matches!(channels.validation, SplitSource::Folders(_)));
        fs::write(file.with_extension("jsonl"), "").unwrap();
        let text = Channels::read(&root).unwrap_err().to_string();
        assert!(text.contains("channel train holds several manifests, such as "), "{text}");
        // With annotations beside it, the channels are folders.
        fs::create_dir(root.channel_folder("train_annotation")).unwrap();
        assert!(matches!(Channels::read(&root).unwrap().train, SplitSource::Folders(_)));
    }

    #[test]
    fn broken_files_are_refused_by_name() {
        for broken in ["", "[]", "{", r#"{"train": 3}"#, r#"{"train": {"TrainingInputMode": 1}}"#] {
            let (_folder, root) = root(&REQUIRED_CHANNELS, Some(broken));
            let text = Channels::read(&root).unwrap_err().to_string();
            assert!(text.contains("inputdataconfig.json"), "{text}");
        }
    }
}
