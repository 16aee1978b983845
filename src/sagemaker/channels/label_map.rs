//! The `label_map` channel: the built-in's label maps, and the classes' names beside them.

use std::path::{Path, PathBuf};

use crate::error::{Problems, Result, did_you_mean};
use crate::files::PathContext;
use crate::sagemaker::MlRoot;

pub(super) const LABEL_MAP_CHANNEL: &str = "label_map";

/// File with the classes' names.
const LABELS_FILE: &str = "labels.json";

/// File with the label map of the training masks, named as by the built-in.
const TRAIN_MAP_FILE: &str = "train_label_map.json";

/// File with the label map of the validation masks.
const VALIDATION_MAP_FILE: &str = "validation_label_map.json";

/// File with the label map of the test masks.
const TEST_MAP_FILE: &str = "test_label_map.json";

/// File with one label map for all splits.
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
    /// `test_label_map.json`, or `label_map.json`. Training does not read it.
    pub test: Option<PathBuf>,
}

impl LabelMapChannel {
    /// Returns `labels.json` of a job's channel, if the job has one.
    pub fn find_labels(root: &MlRoot) -> Option<PathBuf> {
        let file = root.channel_folder(LABEL_MAP_CHANNEL).join(LABELS_FILE);
        file.is_file().then_some(file)
    }

    /// Finds the files in the channel's folder. Unknown files are problems.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut file_names = Vec::new();
        for entry in std::fs::read_dir(folder).with_path("list", folder)? {
            let entry = entry.with_path("list", folder)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // Storage systems and file managers leave hidden files.
            if !name.starts_with('.') {
                file_names.push(name);
            }
        }
        file_names.sort();
        let mut problems = Problems::new();
        let known_files =
            [LABELS_FILE, TRAIN_MAP_FILE, VALIDATION_MAP_FILE, TEST_MAP_FILE, SHARED_MAP_FILE];
        let allowed = known_files.join(", ");
        for name in &file_names {
            if known_files.contains(&name.as_str()) {
                continue;
            }
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
        let shared_map = find_file(SHARED_MAP_FILE, folder, &file_names);
        let train_map = find_file(TRAIN_MAP_FILE, folder, &file_names);
        let validation_map = find_file(VALIDATION_MAP_FILE, folder, &file_names);
        let test_map = find_file(TEST_MAP_FILE, folder, &file_names);
        for (split_map, path) in
            [(TRAIN_MAP_FILE, &train_map), (VALIDATION_MAP_FILE, &validation_map)]
        {
            if shared_map.is_some() && path.is_some() {
                problems.push(format!(
                    "channel label_map holds {SHARED_MAP_FILE}, which is for training and validation, and \
                     {split_map}; remove {split_map} if one map is meant for all, or write {TRAIN_MAP_FILE} and \
                     {VALIDATION_MAP_FILE}"
                ));
            }
        }
        problems.into_result()?;
        Ok(Self {
            labels: find_file(LABELS_FILE, folder, &file_names),
            train: train_map.or(shared_map.clone()),
            validation: validation_map.or(shared_map.clone()),
            test: test_map.or(shared_map),
        })
    }
}

/// Returns the path of a file if it is one of those in the folder.
fn find_file(name: &str, folder: &Path, file_names: &[String]) -> Option<PathBuf> {
    for found in file_names {
        if found == name {
            return Some(folder.join(name));
        }
    }
    None
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
            let LabelMapChannel { labels, train, validation, .. } = channel(files).1.unwrap();
            let found = [labels, train, validation].map(name);
            assert_eq!(found, expected.map(|name| name.map(Into::into)), "{files:?}");
        }
    }

    #[test]
    fn the_map_of_test_masks_may_lie_beside_the_shared_one() {
        let test_map = |files: &[&str]| {
            let path = channel(files).1.unwrap().test?;
            Some(path.file_name().unwrap().to_string_lossy().into_owned())
        };
        assert_eq!(test_map(&[TRAIN_MAP_FILE]), None);
        assert_eq!(test_map(&[SHARED_MAP_FILE]).as_deref(), Some(SHARED_MAP_FILE));
        let both = test_map(&[SHARED_MAP_FILE, TEST_MAP_FILE]);
        assert_eq!(both.as_deref(), Some(TEST_MAP_FILE));
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
