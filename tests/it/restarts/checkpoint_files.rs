//! The files in a folder of checkpoints: what a job can read of them, and damage to them.

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde_json::Value;

use crate::changed_data::forget_content;
use crate::job::{Job, names};

/// A checkpoint whose file is whole.
pub(super) struct CheckpointFile {
    /// False if the checkpoint knows the names of its samples only.
    pub(super) knows_content: bool,
    /// False if the weights with the best score, which lie in a file of their own, are damaged.
    pub(super) has_best_weights: bool,
}

impl CheckpointFile {
    /// Reads a checkpoint; none if its file is damaged.
    pub(super) fn read(path: &Path) -> Option<Self> {
        let metadata = read_metadata(path)?;
        let entries = metadata["fingerprint"].as_object().unwrap();
        let has_best_weights =
            best_weights_path(path, &metadata).is_none_or(|best| is_whole(&best));
        Some(Self { knows_content: entries.contains_key("training data"), has_best_weights })
    }
}

/// Lists the checkpoints, the oldest first.
pub(super) fn list_checkpoints(job: &Job) -> Vec<PathBuf> {
    let folder = job.path("checkpoints");
    let mut paths = Vec::new();
    if folder.exists() {
        for name in names(&folder) {
            if name.starts_with("checkpoint-") {
                paths.push(folder.join(name));
            }
        }
    }
    paths
}

/// Cuts the newest checkpoint in half.
pub(super) fn cut_newest(job: &Job) {
    if let Some(path) = list_checkpoints(job).last() {
        cut(path);
    }
}

/// Overwrites the beginning of the newest checkpoint with zeros.
pub(super) fn clear_header_of_newest(job: &Job) {
    if let Some(path) = list_checkpoints(job).last() {
        let mut bytes = fs::read(path).unwrap();
        let length = bytes.len().min(4096);
        bytes[..length].fill(0);
        fs::write(path, bytes).unwrap();
    }
}

/// Cuts the weights with the best score that belong to the newest checkpoint in half.
pub(super) fn cut_best_weights_of_newest(job: &Job) {
    let checkpoints = list_checkpoints(job);
    let Some(path) = checkpoints.last() else { return };
    let Some(metadata) = read_metadata(path) else { return };
    if let Some(best) = best_weights_path(path, &metadata) {
        cut(&best);
    }
}

/// Makes all checkpoints those of a version that saved the names of samples only.
pub(super) fn forget_all_content(job: &Job) {
    for path in list_checkpoints(job) {
        if CheckpointFile::read(&path).is_some_and(|checkpoint| checkpoint.knows_content) {
            forget_content(&path);
        }
    }
}

fn cut(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

fn is_whole(path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| SafeTensors::deserialize(&bytes).is_ok())
}

/// Reads what a checkpoint says of its job; none if the file is damaged.
fn read_metadata(path: &Path) -> Option<Value> {
    if !is_whole(path) {
        return None;
    }
    let bytes = fs::read(path).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let text = &header.metadata().as_ref().unwrap()["maskmaker"];
    Some(serde_json::from_str(text).unwrap())
}

/// Returns the path of a checkpoint's weights with the best score, if an epoch was validated.
fn best_weights_path(checkpoint: &Path, metadata: &Value) -> Option<PathBuf> {
    let epoch = metadata["state"]["best"]["best_epoch"].as_u64()?;
    Some(checkpoint.with_file_name(format!("best-{epoch:06}.safetensors")))
}
