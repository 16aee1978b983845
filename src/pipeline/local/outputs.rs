//! Results of a job: the files of its outputs, the archives of a training job, and their description in
//! the service's words. A job that has ended well is not run again: what is still to be moved is on
//! record before the first file moves, so a run that is killed meanwhile, or meets a full disk, goes
//! on there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::archive::pack_files;
use super::job::{Job, JobOutput};
use super::places::{
    PlaceFile, Places, digest_files, list_written, move_files, unlink_folder_links,
};
use crate::error::{ErrorContext, Result};
use crate::files::{create_folder, remove_file_if_exists};
use crate::pipeline::definition::StepKind;
use crate::sagemaker::MlRoot;
use crate::status_table::StepNews;

/// Name of a training job's model, which the service gives it.
const MODEL_ARCHIVE: &str = "model.tar.gz";

/// Folder below `/opt/ml` in which archives are made. The contract has no such folder.
const ARCHIVES_FOLDER: &str = ".archives";

/// Work that is left after a job has ended well: files that go to their places.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PendingOutputs {
    moves: Vec<PendingMove>,
    /// Description of the job in the service's words, without its request.
    pub description: Value,
    pub metrics: BTreeMap<String, f64>,
    pub start_time: String,
}

/// Files that go to a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PendingMove {
    s3_uri: String,
    /// Folder below `/opt/ml`.
    folder: PathBuf,
    names: Vec<String>,
    /// Digest of names and contents as the job left them.
    digest: String,
    /// False for checkpoints, which are nothing that other steps get.
    is_result: bool,
}

/// Files that a step wrote to a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct WrittenPlace {
    pub s3_uri: String,
    pub names: Vec<String>,
    /// Digest of names and contents.
    pub digest: String,
}

impl WrittenPlace {
    /// Returns true if the files are as the step left them.
    pub(super) fn is_as_written(&self, places: &Places) -> bool {
        let Ok(folder) = places.path(&self.s3_uri) else { return false };
        digest_files(&files_of(&folder, &self.names)).is_ok_and(|digest| digest == self.digest)
    }
}

fn files_of(folder: &Path, names: &[String]) -> Vec<PlaceFile> {
    let file = |name: &String| PlaceFile { name: name.clone(), path: folder.join(name) };
    names.iter().map(file).collect()
}

/// Returns true if a training job left files of a model.
pub(super) fn has_model(ml: &Path) -> Result<bool> {
    let (files, _) = list_written(&MlRoot::new(ml).model_folder())?;
    Ok(!files.is_empty())
}

impl PendingOutputs {
    /// Lists what a job left, and packs a training job's archives. `/opt/ml` is the folder `ml`.
    pub(super) fn collect(
        job: &Job,
        job_name: &str,
        ml: &Path,
        metrics: BTreeMap<String, f64>,
        start_time: String,
        on_news: &dyn Fn(StepNews),
    ) -> Result<Self> {
        let mut description = Map::new();
        let mut moves = Vec::new();
        for output in &job.outputs {
            let pending = list_output(ml, output, true, on_news)?;
            if pending.names.is_empty() {
                let folder = output.folder.display();
                on_news(StepNews::Note(format!("the job wrote nothing to /opt/ml/{folder}")));
            }
            moves.push(pending);
        }
        if let Some(checkpoints) = &job.checkpoints {
            moves.push(list_output(ml, checkpoints, false, on_news)?);
        }
        if job.kind == StepKind::Training {
            let place = format!("{}/{job_name}/output", job.output_path.trim_end_matches('/'));
            let root = MlRoot::new(ml);
            let mut names = Vec::new();
            for (source, archive) in
                [(root.model_folder(), MODEL_ARCHIVE), (root.output_data_folder(), "output.tar.gz")]
            {
                let (files, _) = list_written(&source)?;
                if !files.is_empty() {
                    pack_files(&files, &ml.join(ARCHIVES_FOLDER).join(archive))?;
                    names.push(archive.to_owned());
                }
            }
            let uri = format!("{place}/{MODEL_ARCHIVE}");
            description.insert("ModelArtifacts".into(), json!({"S3ModelArtifacts": uri}));
            let folder = ARCHIVES_FOLDER.into();
            let digest = digest_files(&files_of(&ml.join(ARCHIVES_FOLDER), &names))?;
            moves.push(PendingMove { s3_uri: place, folder, names, digest, is_result: true });
            let mut list = Vec::new();
            for (name, value) in &metrics {
                list.push(json!({"MetricName": name, "Value": value}));
            }
            description.insert("FinalMetricDataList".into(), Value::Array(list));
        }
        if let Ok(message) = fs::read_to_string(ml.join("output/message")) {
            description.insert("ExitMessage".into(), json!(message));
        }
        Ok(Self { moves, description: Value::Object(description), metrics, start_time })
    }

    /// Returns the names of the files by their places.
    pub(super) fn names(&self) -> Vec<(String, Vec<String>)> {
        let mut all = Vec::new();
        for pending in &self.moves {
            all.push((pending.s3_uri.clone(), pending.names.clone()));
        }
        all
    }

    /// Returns true if all results are as the job left them, in its folder or at their places. A
    /// person may have changed or removed them since.
    pub(super) fn is_complete(&self, ml: &Path, places: &Places) -> bool {
        for pending in self.moves.iter().filter(|pending| pending.is_result) {
            let Ok(target) = places.path(&pending.s3_uri) else { return false };
            let mut files = files_of(&ml.join(&pending.folder), &pending.names);
            for file in &mut files {
                if !file.path.exists() {
                    file.path = target.join(&file.name);
                }
            }
            if !digest_files(&files).is_ok_and(|digest| digest == pending.digest) {
                return false;
            }
        }
        true
    }

    /// Moves the files that are not at their places yet, and returns what other steps may read.
    /// `earlier` are files that this step wrote in this execution before its inputs changed; those
    /// that are not written again are removed, where nobody else has files.
    pub(super) fn take(
        &self,
        ml: &Path,
        places: &Places,
        earlier: &[(String, Vec<String>)],
        on_news: &dyn Fn(StepNews),
    ) -> Result<Vec<WrittenPlace>> {
        for (uri, names) in earlier {
            self.remove_earlier(uri, names, places, on_news)?;
        }
        let mut written = Vec::new();
        for pending in &self.moves {
            let source = ml.join(&pending.folder);
            let target = places.path(&pending.s3_uri)?;
            let mut files = files_of(&source, &pending.names);
            files.retain(|file| file.path.exists());
            move_files(&files, &target).error_context(&pending.s3_uri)?;
            if pending.is_result {
                written.push(WrittenPlace {
                    s3_uri: pending.s3_uri.clone(),
                    names: pending.names.clone(),
                    digest: pending.digest.clone(),
                });
            }
        }
        Ok(written)
    }

    fn remove_earlier(
        &self,
        uri: &str,
        names: &[String],
        places: &Places,
        on_news: &dyn Fn(StepNews),
    ) -> Result<()> {
        let mut kept = BTreeSet::new();
        for pending in self.moves.iter().filter(|pending| pending.s3_uri == uri) {
            kept.extend(&pending.names);
        }
        let folder = places.path(uri)?;
        let stale: Vec<PathBuf> = names
            .iter()
            .filter(|name| !kept.contains(name))
            .map(|name| folder.join(name))
            .filter(|path| path.exists())
            .collect();
        if stale.is_empty() {
            return Ok(());
        }
        if !places.is_own(uri) {
            on_news(StepNews::Note(format!(
                "{}: {} files of an earlier attempt stay there, because the folder is yours, such as {}",
                folder.display(),
                stale.len(),
                stale[0].display()
            )));
            return Ok(());
        }
        for path in stale {
            remove_file_if_exists(&path)?;
        }
        Ok(())
    }
}

/// Lists what a job wrote to an output's folder, and tells what is left out.
fn list_output(
    ml: &Path,
    output: &JobOutput,
    is_result: bool,
    on_news: &dyn Fn(StepNews),
) -> Result<PendingMove> {
    unlink_folder_links(ml, &output.folder)?;
    let folder = ml.join(&output.folder);
    create_folder(&folder)?;
    let (files, left_out) = list_written(&folder)?;
    if let Some(first) = left_out.first() {
        on_news(StepNews::Note(format!(
            "{}: {} links or special files are left out, as the service does: {first:?}",
            output.uri,
            left_out.len()
        )));
    }
    let digest = digest_files(&files)?;
    Ok(PendingMove {
        digest,
        s3_uri: output.uri.clone(),
        folder: output.folder.clone(),
        names: files.into_iter().map(|file| file.name).collect(),
        is_result,
    })
}
