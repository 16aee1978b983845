//! The `label_map` channel: the built-in's label maps, and the classes' names beside them.

use std::path::{Path, PathBuf};

use crate::error::{Error, Problems, Result, did_you_mean};

pub(super) const LABEL_MAP_CHANNEL: &str = "label_map";

/// File with the classes' names.
const LABELS_FILE: &str = "labels.json";

/// File with the label map of the training masks, named as by the built-in.
const TRAIN_MAP_FILE: &str = "train_label_map.json";

/// File with the label map of the validation masks.
const VALIDATION_MAP_FILE: &str = "validation_label_map.json";

/// File with one label map for both splits.
const SHARED_MAP_FILE: &str = "label_map.json";

/// Files of the channel; each may be absent.
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
    /// Finds the files in the channel's folder. Unknown files are problems.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let list_error = |cause: &std::io::Error| Error::io("list", folder, cause);
        let mut file_names = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(|e| list_error(&e))? {
            let name =
                entry.map_err(|e| list_error(&e))?.file_name().to_string_lossy().into_owned();
            // Storage systems and file managers leave hidden files.
            if !name.starts_with('.') {
                file_names.push(name);
            }
        }
        file_names.sort();
        let mut problems = Problems::new();
        let known_files = [LABELS_FILE, TRAIN_MAP_FILE, VALIDATION_MAP_FILE, SHARED_MAP_FILE];
        let allowed = known_files.join(", ");
        for name in file_names.iter().filter(|name| !known_files.contains(&name.as_str())) {
            let hint = did_you_mean(name, known_files);
            problems.push(format!(
                "channel label_map holds {name}{hint}; allowed: {allowed}; rename or remove it"
            ));
        }
        if file_names.is_empty() {
            problems.push(format!(
                "channel label_map is empty; put {allowed} there, as needed, or remove the channel"
            ));
        }
        let existing_path = |name: &str| {
            let path = folder.join(name);
            file_names.iter().any(|found| found == name).then_some(path)
        };
        let shared_map = existing_path(SHARED_MAP_FILE);
        for split_map in [TRAIN_MAP_FILE, VALIDATION_MAP_FILE] {
            if shared_map.is_some() && existing_path(split_map).is_some() {
                problems.push(format!(
                    "channel label_map holds {SHARED_MAP_FILE}, which is for training and validation, and \
                     {split_map}; remove {split_map} if one map is meant for all, or write {TRAIN_MAP_FILE} and \
                     {VALIDATION_MAP_FILE}"
                ));
            }
        }
        problems.into_result()?;
        Ok(Self {
            labels: existing_path(LABELS_FILE),
            train: existing_path(TRAIN_MAP_FILE).or_else(|| shared_map.clone()),
            validation: existing_path(VALIDATION_MAP_FILE).or(shared_map),
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
                &[TRAIN_MAP_FILE, VALIDATION_MAP_FILE, LABELS_FILE, ".DS_Store"][..],
                [Some(LABELS_FILE), Some(TRAIN_MAP_FILE), Some(VALIDATION_MAP_FILE)],
            ),
            (&[TRAIN_MAP_FILE], [None, Some(TRAIN_MAP_FILE), None]),
            (&[SHARED_MAP_FILE], [None, Some(SHARED_MAP_FILE), Some(SHARED_MAP_FILE)]),
            (&[LABELS_FILE], [Some(LABELS_FILE), None, None]),
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
        let two = said(&[SHARED_MAP_FILE, TRAIN_MAP_FILE]);
        assert!(two.contains("and train_label_map.json; remove train_label_map.json if"), "{two}");
        let gone = LabelMapChannel::read(Path::new("/nonexistent/label_map")).unwrap_err();
        assert!(gone.to_string().contains("/nonexistent/label_map"), "{gone}");
    }
}
