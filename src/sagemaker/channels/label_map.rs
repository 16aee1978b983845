//! The `label_map` channel: the built-in's label maps, and the classes' names beside them.

use std::path::{Path, PathBuf};

use crate::error::{Error, Problems, Result, did_you_mean};

/// The channel's name.
pub(super) const LABEL_MAP: &str = "label_map";

/// The classes' names.
const LABELS: &str = "labels.json";

/// The label map of the training masks, in the built-in's name.
const TRAIN: &str = "train_label_map.json";

/// That of the validation masks.
const VALIDATION: &str = "validation_label_map.json";

/// One for both.
const BOTH: &str = "label_map.json";

/// The files of the channel; each may be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelMapChannel {
    /// `labels.json`: the classes' names.
    pub labels: Option<PathBuf>,
    /// `train_label_map.json`, or `label_map.json`.
    pub train: Option<PathBuf>,
    /// `validation_label_map.json`, or `label_map.json`.
    pub validation: Option<PathBuf>,
}

impl LabelMapChannel {
    /// Finds the files in the channel's folder.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let failed = |cause: &std::io::Error| Error::io("list", folder, cause);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(|e| failed(&e))? {
            let name = entry.map_err(|e| failed(&e))?.file_name().to_string_lossy().into_owned();
            // Hidden files are what storage and file managers leave.
            if !name.starts_with('.') {
                found.push(name);
            }
        }
        found.sort();
        let mut problems = Problems::new();
        let known = [LABELS, TRAIN, VALIDATION, BOTH];
        let allowed = known.join(", ");
        for name in found.iter().filter(|name| !known.contains(&name.as_str())) {
            let hint = did_you_mean(name, known);
            problems.push(format!(
                "channel label_map holds {name}{hint}; allowed: {allowed}; rename or remove it"
            ));
        }
        if found.is_empty() {
            problems.push(format!(
                "channel label_map is empty; put {allowed} there, as needed, or remove the channel"
            ));
        }
        let path = |name: &str| {
            let path = folder.join(name);
            found.iter().any(|found| found == name).then_some(path)
        };
        let both = path(BOTH);
        for one in [TRAIN, VALIDATION] {
            if both.is_some() && path(one).is_some() {
                problems.push(format!(
                    "channel label_map holds {BOTH}, which is for training and validation, and \
                     {one}; remove {one} if one map is meant for all, or write {TRAIN} and \
                     {VALIDATION}"
                ));
            }
        }
        problems.into_result()?;
        Ok(Self {
            labels: path(LABELS),
            train: path(TRAIN).or_else(|| both.clone()),
            validation: path(VALIDATION).or(both),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(files: &[&str]) -> (tempfile::TempDir, Result<LabelMapChannel>) {
        let folder = tempfile::tempdir().unwrap();
        for name in files {
            std::fs::write(folder.path().join(name), "{}").unwrap();
        }
        let channel = LabelMapChannel::read(folder.path());
        (folder, channel)
    }

    #[test]
    fn there_is_a_map_for_each_split_or_one_for_both() {
        let name = |path: Option<PathBuf>| path.map(|p| p.file_name().unwrap().to_owned());
        for (files, expected) in [
            (
                &[TRAIN, VALIDATION, LABELS, ".DS_Store"][..],
                [Some(LABELS), Some(TRAIN), Some(VALIDATION)],
            ),
            (&[TRAIN], [None, Some(TRAIN), None]),
            (&[BOTH], [None, Some(BOTH), Some(BOTH)]),
            (&[LABELS], [Some(LABELS), None, None]),
        ] {
            let LabelMapChannel { labels, train, validation } = channel(files).1.unwrap();
            let found = [labels, train, validation].map(name);
            assert_eq!(found, expected.map(|name| name.map(Into::into)), "{files:?}");
        }
    }

    #[test]
    fn unknown_names_an_empty_channel_and_two_maps_for_one_split_are_problems() {
        let said = |files: &[&str]| channel(files).1.unwrap_err().to_string();
        assert!(said(&[]).contains("channel label_map is empty; put labels.json, train_label_map"));
        let hint = "train_labelmap.json (did you mean \"train_label_map.json\"?)";
        assert!(said(&["train_labelmap.json"]).contains(hint));
        let two = said(&[BOTH, TRAIN]);
        assert!(two.contains("and train_label_map.json; remove train_label_map.json if"), "{two}");
        let gone = LabelMapChannel::read(Path::new("/nonexistent/label_map")).unwrap_err();
        assert!(gone.to_string().contains("/nonexistent/label_map"), "{gone}");
    }
}
