//! The folder of a step's job: its state, and the folder that is `/opt/ml` for the job.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::job::{Job, JobInput};
use super::job_run::ReadyJob;
use super::outputs::PendingOutputs;
use super::places::{PlaceFile, copy_files, unlink_folder_links};
use super::root::read_json;
use super::step::Run;
use crate::error::{Error, ErrorContext, Result};
use crate::files::{PathContext, create_folder, remove_file_if_exists, write_json};
use crate::pipeline::definition::StepKind;
use crate::status_table::StepNews;

/// State of the job in a step's folder.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct JobState {
    pub request_key: String,
    pub key: String,
    /// Files that are to be moved, if the job has ended well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<PendingOutputs>,
    /// Files that the step wrote in this execution before its inputs changed, by their places.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<(String, Vec<String>)>,
}

impl Run<'_> {
    /// Makes the folder that is `/opt/ml` of a job. Checkpoints of an interrupted job with the same
    /// request and inputs stay; everything else is made anew. Returns the state, which is on disk.
    pub(super) fn prepare_job(
        &self,
        ready: &ReadyJob,
        program: &str,
        job: &Job,
        inputs: &[(JobInput, Vec<PlaceFile>)],
        state: Option<JobState>,
        on_news: &dyn Fn(StepNews),
    ) -> Result<JobState> {
        let folder = &ready.folder;
        let ml = folder.join("ml");
        create_folder(&ml)?;
        for input in &job.inputs {
            unlink_folder_links(&ml, &input.folder)?;
            remove_folder(&ml.join(&input.folder))?;
        }
        let mut copies = Vec::with_capacity(inputs.len());
        for (input, files) in inputs {
            copy_files(files, &ml.join(&input.folder)).error_context(&input.uri)?;
            let mut files = files.clone();
            for file in &mut files {
                file.path = ml.join(&input.folder).join(&file.name);
            }
            copies.push((input.clone(), files));
        }
        // The copies are what the job sees, even if a person changed the originals meanwhile.
        let keys = self.job_keys(ready, program, &copies)?;
        let goes_on = state.as_ref().is_some_and(|state| state.request_key == keys.request);
        let mut kept: Vec<PathBuf> =
            job.inputs.iter().map(|input| ml.join(&input.folder)).collect();
        if let Some(checkpoints) = &job.checkpoints {
            unlink_folder_links(&ml, &checkpoints.folder)?;
            if goes_on {
                kept.push(ml.join(&checkpoints.folder));
            } else if state.is_some() && has_checkpoints(job, &ml) {
                on_news(StepNews::Note(
                    "the data or settings changed: the checkpoints of the earlier attempt are \
                     removed, and training begins anew"
                        .to_owned(),
                ));
            }
        }
        remove_below(&ml, &kept)?;
        let mut earlier = Vec::new();
        if let Some(state) = state {
            earlier = state.earlier;
            earlier.extend(state.pending.map(|pending| pending.names()).unwrap_or_default());
        }
        if let Some(checkpoints) = &job.checkpoints
            && !goes_on
            && earlier.is_empty()
            && let Ok(files) = self.places.list(&checkpoints.uri)
        {
            // A place of checkpoints that an earlier execution filled.
            copy_files(&files, &ml.join(&checkpoints.folder)).error_context(&checkpoints.uri)?;
        }
        let outputs = job.outputs.iter().chain(&job.checkpoints);
        for below in outputs.map(|output| output.folder.as_path()).chain([Path::new("output")]) {
            unlink_folder_links(&ml, below)?;
            create_folder(&ml.join(below))?;
        }
        if job.kind == StepKind::Training {
            create_folder(&ml.join("model"))?;
        }
        for (path, content) in &job.config_files {
            write_json(&ml.join(path), content)?;
        }
        let state = JobState { request_key: keys.request, key: keys.whole, pending: None, earlier };
        write_json(&folder.join("job.json"), &state)?;
        Ok(state)
    }
}

/// Reads the state of a step's job. One that cannot be read is none: the job is run.
pub(super) fn read_state(folder: &Path) -> Option<JobState> {
    read_json(&folder.join("job.json")).ok()
}

/// Returns true if a job has checkpoints to go on from.
pub(super) fn has_checkpoints(job: &Job, ml: &Path) -> bool {
    let Some(checkpoints) = &job.checkpoints else { return false };
    fs::read_dir(ml.join(&checkpoints.folder)).is_ok_and(|mut files| files.next().is_some())
}

/// Removes what a job that has ended well leaves: copies of its inputs, and files beside its outputs.
pub(super) fn remove_job_folder(ml: &Path, on_news: &dyn Fn(StepNews)) {
    if let Err(error) = remove_folder(ml) {
        on_news(StepNews::Note(format!("files of the job stay: {error}")));
    }
}

fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", folder, &cause))
        }
        _ => Ok(()),
    }
}

/// Removes everything below a folder but these folders and those above them. Links are removed and
/// not followed.
fn remove_below(folder: &Path, kept: &[PathBuf]) -> Result<()> {
    for entry in fs::read_dir(folder).with_path("read the folder", folder)? {
        let entry = entry.with_path("read the folder", folder)?;
        let path = entry.path();
        if kept.contains(&path) {
            continue;
        }
        let is_folder = entry.file_type().with_path("read", &path)?.is_dir();
        if is_folder && kept.iter().any(|other| other.starts_with(&path)) {
            remove_below(&path, kept)?;
        } else if is_folder {
            remove_folder(&path)?;
        } else {
            remove_file_if_exists(&path)?;
        }
    }
    Ok(())
}
