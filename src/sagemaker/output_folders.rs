//! The folders of checkpoints and of `TensorBoard`'s files, which a job may place elsewhere.
//!
//! `CreateTrainingJob` has a `LocalPath` in `CheckpointConfig` and in `TensorBoardOutputConfig`.
//! SageMaker copies that folder alone to S3 and back, so checkpoints in another one are lost when
//! a spot job is interrupted. Two files of `input/config` are known by name, from programs that
//! look for them: `checkpointconfig.json` and `tensorboardoutputconfig.json`. What they hold is
//! not confirmed by any document. So `LocalPath` is read if it is there and is an absolute path;
//! a file that is absent or holds anything else changes nothing.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{MlRoot, raw};

/// Key of the folder, as in the requests that start a job.
const LOCAL_PATH_KEY: &str = "LocalPath";

/// The folders that SageMaker copies to S3 while a job runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputFolders {
    pub checkpoints: OutputFolder,
    pub tensorboard: OutputFolder,
}

/// A folder, and the file that places it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputFolder {
    pub path: PathBuf,
    /// Name of the file whose `LocalPath` is the path; none for the path of the contract.
    pub config_file: Option<&'static str>,
    /// Reason why the file is without effect, if it has a value that cannot be meant.
    ignored_reason: Option<String>,
}

impl OutputFolders {
    /// Reads both files. Paths are taken as they are, whatever the root is.
    pub fn read(root: &MlRoot) -> Self {
        Self {
            checkpoints: OutputFolder::read(
                root,
                "checkpointconfig.json",
                root.checkpoints_folder(),
            ),
            tensorboard: OutputFolder::read(
                root,
                "tensorboardoutputconfig.json",
                root.tensorboard_folder(),
            ),
        }
    }

    /// Returns one line for each folder that is placed elsewhere, and for each file that is without
    /// effect.
    pub fn describe(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (content, folder) in
            [("checkpoints", &self.checkpoints), ("TensorBoard's files", &self.tensorboard)]
        {
            let path = folder.path.display();
            if let Some(file) = folder.config_file {
                lines.push(format!("{content} go to {path} ({LOCAL_PATH_KEY} of {file})"));
            }
            if let Some(reason) = &folder.ignored_reason {
                lines.push(format!("warning: {reason}; {content} go to {path}"));
            }
        }
        lines
    }
}

impl OutputFolder {
    fn read(root: &MlRoot, file: &'static str, default: PathBuf) -> Self {
        let path = match read_local_path(&root.config_file(file)) {
            Ok(path) => path,
            Err(reason) => {
                let ignored_reason = Some(format!("{file} is without effect: {reason}"));
                return Self { path: default, config_file: None, ignored_reason };
            }
        };
        match path {
            Some(path) if path != default => {
                Self { path, config_file: Some(file), ignored_reason: None }
            }
            _ => Self { path: default, config_file: None, ignored_reason: None },
        }
    }
}

/// Reads `LocalPath`; `None` if there is no such file or key. The error says what else it holds.
fn read_local_path(file: &Path) -> Result<Option<PathBuf>, String> {
    let map = match raw::read_json_object(file) {
        Ok(Some(map)) => map,
        Ok(None) => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    match map.get(LOCAL_PATH_KEY) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if Path::new(text.trim()).is_absolute() => {
            Ok(Some(PathBuf::from(text.trim())))
        }
        Some(other) => Err(format!(
            "{LOCAL_PATH_KEY} is {other}; allowed: an absolute path such as /opt/ml/checkpoints"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a root whose two files hold these texts; `None` is no file.
    fn read(texts: [Option<&str>; 2]) -> (tempfile::TempDir, OutputFolders) {
        let folder = tempfile::tempdir().unwrap();
        let root = MlRoot::new(folder.path());
        std::fs::create_dir_all(folder.path().join("input/config")).unwrap();
        let files = ["checkpointconfig.json", "tensorboardoutputconfig.json"];
        for (file, text) in files.into_iter().zip(texts) {
            if let Some(text) = text {
                std::fs::write(root.config_file(file), text).unwrap();
            }
        }
        let folders = OutputFolders::read(&root);
        (folder, folders)
    }

    #[test]
    fn without_the_files_the_paths_are_those_of_the_contract() {
        for texts in [[None, None], [Some("{}"), Some(r#"{"LocalPath": null, "S3Uri": "s3://b"}"#)]]
        {
            let (folder, folders) = read(texts);
            assert_eq!(folders.checkpoints.path, folder.path().join("checkpoints"));
            assert_eq!(folders.tensorboard.path, folder.path().join("output/tensorboard"));
            assert_eq!(folders.describe(), [""; 0]);
        }
    }

    #[test]
    fn an_absolute_path_is_taken_and_told() {
        let (_folder, folders) = read([
            Some(r#"{"S3Uri": "s3://bucket/prefix", "LocalPath": "/tmp/elsewhere"}"#),
            Some("\u{feff}{\"LocalPath\": \" /tmp/board \"}"),
        ]);
        assert_eq!(folders.checkpoints.path, Path::new("/tmp/elsewhere"));
        assert_eq!(folders.tensorboard.path, Path::new("/tmp/board"));
        assert_eq!(
            folders.describe(),
            [
                "checkpoints go to /tmp/elsewhere (LocalPath of checkpointconfig.json)",
                "TensorBoard's files go to /tmp/board (LocalPath of tensorboardoutputconfig.json)",
            ]
        );
    }

    #[test]
    fn the_path_of_the_contract_is_no_news() {
        let folder = tempfile::tempdir().unwrap();
        let root = MlRoot::new(folder.path());
        std::fs::create_dir_all(folder.path().join("input/config")).unwrap();
        let text = serde_json::json!({"LocalPath": root.checkpoints_folder()}).to_string();
        std::fs::write(root.config_file("checkpointconfig.json"), text).unwrap();
        assert_eq!(OutputFolders::read(&root).describe(), [""; 0]);
    }

    #[test]
    fn everything_else_is_without_effect_and_said_so() {
        for (text, said) in [
            (r#"{"LocalPath": "checkpoints"}"#, "LocalPath is \"checkpoints\"; allowed: an abs"),
            (r#"{"LocalPath": ""}"#, "LocalPath is \"\""),
            (r#"{"LocalPath": 3}"#, "LocalPath is 3"),
            (r#"{"LocalPath": ["/a"]}"#, "LocalPath is [\"/a\"]"),
            (r#""/tmp/elsewhere""#, "expected a JSON object"),
            ("", "not valid JSON"),
        ] {
            let (folder, folders) = read([Some(text), None]);
            assert_eq!(folders.checkpoints.path, folder.path().join("checkpoints"));
            let lines = folders.describe();
            assert!(lines.len() == 1 && lines[0].contains(said), "{lines:?}");
            assert!(lines[0].starts_with("warning: checkpointconfig.json is without effect"));
        }
    }
}
