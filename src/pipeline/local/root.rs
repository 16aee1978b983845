//! The folder that holds everything of local executions:
//!
//! ```text
//! ROOT/
//!   lock                                    held while a run uses the folder
//!   executions/EXECUTION/execution.json     parameters, state
//!   executions/EXECUTION/STEP/log.txt       what the step's job printed, in all attempts
//!   executions/EXECUTION/STEP/job.json      key of the job in ml/, and what is left to be moved
//!   executions/EXECUTION/STEP/result.json   properties and outputs, when the step has succeeded
//!   executions/EXECUTION/STEP/ml/           /opt/ml of the job, until it has succeeded
//!   cache/KEY.json                          the result of each job, by what went into it
//!   s3/BUCKET/KEY                           places that no --map gives another folder
//!   registry/GROUP/VERSION/                 model packages
//! ```

use std::fs::{self, File, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use crate::error::{Error, Result};
use crate::files::{PathContext, create_folder, read_file, remove_partials, write_json};
use crate::pipeline::digest::to_hex;

/// Number of letters and digits of an execution's identifier, as the service makes it.
const ID_CHARS: usize = 12;

/// Folder of local executions, which this process alone uses.
#[derive(Debug)]
pub(super) struct LocalRoot {
    folder: PathBuf,
    /// Holds the lock until it is dropped.
    _lock: File,
}

/// State of an execution. The names are the service's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ExecutionStatus {
    /// It runs, or was killed.
    Executing,
    Stopped,
    Succeeded,
    Failed,
}

/// One run of a pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Execution {
    pub pipeline_execution_id: String,
    pub pipeline_name: String,
    /// Digest of the definition's bytes.
    pub definition_digest: String,
    pub parameters: Map<String, Value>,
    pub status: ExecutionStatus,
    /// Time at which the run began, as RFC 3339.
    pub start_time: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<String>,
    /// True if a Fail step ended the run: what it was asked for is done.
    #[serde(default)]
    pub ended_by_fail_step: bool,
}

impl LocalRoot {
    /// Opens a folder, which is made if it is missing. A folder that another run uses is an error.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        create_folder(folder)?;
        // Jobs and their environment get paths of it, wherever they run.
        let folder = folder.canonicalize().with_path("open the folder", folder)?;
        let path = folder.join("lock");
        let mut lock = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_path("write", &path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                let _ = lock.read_to_string(&mut owner);
                return Err(Error::input(format!(
                    "{}: another run ({}) uses this folder; wait for its end, or give another \
                     folder by --root",
                    folder.display(),
                    owner.trim()
                )));
            }
            Err(TryLockError::Error(cause)) => return Err(Error::io("lock", &path, &cause)),
        }
        let owner = format!("process {}\n", std::process::id());
        lock.set_len(0)
            .and_then(|()| lock.write_all(owner.as_bytes()))
            .with_path("write", &path)?;
        Ok(Self { folder, _lock: lock })
    }

    /// Returns the folder itself.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the folder of places that are not mapped.
    pub(super) fn s3_folder(&self) -> PathBuf {
        self.folder.join("s3")
    }

    /// Returns the folder of model packages.
    pub(super) fn registry_folder(&self) -> PathBuf {
        self.folder.join("registry")
    }

    /// Returns the folder of an execution.
    pub(super) fn execution_folder(&self, id: &str) -> PathBuf {
        self.folder.join("executions").join(id)
    }

    /// Returns the file of a cached result.
    pub(super) fn cache_file(&self, key: &str) -> PathBuf {
        self.folder.join("cache").join(format!("{key}.json"))
    }

    /// Returns the last execution with these parameters that was killed, stopped or ended by the
    /// failure of a job, so that it can go on. Executions that cannot be read are passed over.
    pub(super) fn find_unfinished(
        &self,
        definition_digest: &str,
        parameters: &Map<String, Value>,
    ) -> Option<Execution> {
        let mut last: Option<Execution> = None;
        for entry in fs::read_dir(self.folder.join("executions")).into_iter().flatten().flatten() {
            let Ok(bytes) = fs::read(entry.path().join("execution.json")) else { continue };
            let Ok(execution) = serde_json::from_slice::<Execution>(&bytes) else { continue };
            let is_same = execution.definition_digest == definition_digest
                && execution.parameters == *parameters
                && entry.file_name().to_str() == Some(&execution.pipeline_execution_id);
            let is_later =
                last.as_ref().is_none_or(|other| other.start_time < execution.start_time);
            if is_same && is_later {
                last = Some(execution);
            }
        }
        // An execution that ended well, or as its Fail step says, is followed by a new one.
        last.filter(|execution| {
            execution.status != ExecutionStatus::Succeeded && !execution.ended_by_fail_step
        })
    }

    /// Writes the state of an execution.
    pub(super) fn write_execution(&self, execution: &Execution) -> Result<()> {
        let folder = self.execution_folder(&execution.pipeline_execution_id);
        create_folder(&folder)?;
        remove_partials(&folder);
        write_json(&folder.join("execution.json"), execution)
    }
}

/// Reads a value of JSON that this program wrote; the error names the file.
pub(super) fn read_json<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<T> {
    let bytes = read_file(path)?;
    serde_json::from_slice(&bytes).map_err(|cause| {
        Error::input(format!("{}: {cause}; the file was changed, remove it", path.display()))
    })
}

/// Makes the identifier of a new execution.
pub(super) fn new_execution_id() -> String {
    let nanoseconds =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let digest = Sha256::digest(format!("{nanoseconds} {}", std::process::id()));
    to_hex(&digest)[..ID_CHARS].to_owned()
}

/// Returns the present time as RFC 3339, to milliseconds, with the same length at any time.
pub(super) fn now_text() -> String {
    let now = OffsetDateTime::now_utc();
    format!(
        "{}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        now.year(),
        u8::from(now.month()),
        now.day(),
        now.hour(),
        now.minute(),
        now.second(),
        now.millisecond()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_run_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = LocalRoot::open(folder.path()).unwrap();
        let error = LocalRoot::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        LocalRoot::open(folder.path()).unwrap();
    }

    #[test]
    fn the_last_execution_goes_on_unless_it_is_finished() {
        let folder = tempfile::tempdir().unwrap();
        let root = LocalRoot::open(folder.path()).unwrap();
        let mut execution = Execution {
            pipeline_execution_id: "a".to_owned(),
            pipeline_name: "p".to_owned(),
            definition_digest: "d".to_owned(),
            parameters: Map::new(),
            status: ExecutionStatus::Executing,
            start_time: "2026-01-01T00:00:00Z".to_owned(),
            end_time: None,
            failure_reason: None,
            ended_by_fail_step: false,
        };
        let found = |digest: &str| {
            let found = root.find_unfinished(digest, &Map::new());
            found.map(|execution| execution.pipeline_execution_id)
        };
        assert_eq!(found("d"), None);
        root.write_execution(&execution).unwrap();
        assert_eq!(found("d").as_deref(), Some("a"));
        assert_eq!(found("other"), None);
        // A later one that is finished: the earlier one is history.
        execution.pipeline_execution_id = "b".to_owned();
        execution.start_time = "2026-01-02T00:00:00Z".to_owned();
        execution.status = ExecutionStatus::Succeeded;
        root.write_execution(&execution).unwrap();
        assert_eq!(found("d"), None);
        execution.status = ExecutionStatus::Failed;
        root.write_execution(&execution).unwrap();
        assert_eq!(found("d").as_deref(), Some("b"));
        execution.ended_by_fail_step = true;
        root.write_execution(&execution).unwrap();
        assert_eq!(found("d"), None);
        let id = new_execution_id();
        assert!(id.len() == ID_CHARS && id.chars().all(|c| c.is_ascii_alphanumeric()), "{id}");
    }
}
