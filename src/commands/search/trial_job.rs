//! The training job of a trial: a process of this program with a root of its own, whose channels are
//! those of the search.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus};

use serde_json::Value;

use crate::error::{Error, Result};
use crate::files::{PathContext, create_folder, read_file, remove_file_if_exists, write_json};
use crate::logged_process::{LoggedProcess, OWN_PROGRAM};
use crate::machine::divide_cores;
use crate::model::artifact::METRICS_FILE;
use crate::sagemaker::MlRoot;
use crate::search::{ReportLines, Trial, TrialEnd, TrialRunner};
use crate::torch::{DeviceChoice, VISIBLE_GPUS, visible_gpu};

/// Training jobs of the trials of one search.
#[derive(Debug)]
pub(super) struct TrialJobs<'a> {
    /// Root whose channels all trials share.
    pub data: &'a MlRoot,
    /// Folder of the search.
    pub folder: &'a Path,
    /// Settings that all trials share.
    pub hyperparameters: &'a BTreeMap<String, String>,
    /// Name of the metric that is the score.
    pub metric: &'a str,
    /// Patterns of the lines that report it.
    pub report_lines: ReportLines,
    /// Trials side by side.
    pub parallel: usize,
    /// GPUs of this machine, of which each trial gets one.
    pub gpus: usize,
    /// Device that a person wants.
    pub device: DeviceChoice,
}

/// Returns the root of the job of a trial.
pub(super) fn job_root(folder: &Path, trial: u64) -> MlRoot {
    MlRoot::new(folder.join(format!("trials/{trial:04}/ml")))
}

impl TrialJobs<'_> {
    /// Writes the files of the contract. Checkpoints of an interrupted job stay.
    fn prepare(&self, trial: &Trial, root: &MlRoot) -> Result<()> {
        let mut values = self.hyperparameters.clone();
        for (name, value) in trial.assignment.iter() {
            values.insert(name.to_owned(), value.to_owned());
        }
        write_json(&root.hyperparameters_file(), &values)?;
        let (config, copy) = (self.data.input_data_config_file(), root.input_data_config_file());
        if config.is_file() {
            fs::copy(&config, &copy).with_path("write", &copy)?;
        } else {
            remove_file_if_exists(&copy)?;
        }
        let data = self.data.data_folder();
        let data = data.canonicalize().with_path("open the folder", &data)?;
        let link = root.data_folder();
        if fs::read_link(&link).is_ok_and(|target| target == data) {
            return Ok(());
        }
        let _ = fs::remove_file(&link);
        symlink(&data, &link).with_path("write", &link)
    }

    fn command(&self, root: &MlRoot, slot: usize) -> Command {
        let mut command = Command::new(OWN_PROGRAM);
        command.arg0("maskmaker");
        // It dies with this process, so that the next search does not meet it at work.
        command.arg("--parent-process").arg(std::process::id().to_string());
        command.arg("--ml-root").arg(root.path()).arg("train");
        if self.parallel > 1 {
            command.envs(divide_cores(self.parallel));
        }
        if self.gpus > 0 {
            let gpu = visible_gpu(slot % self.gpus).unwrap_or_default();
            command.env(VISIBLE_GPUS, gpu);
        }
        // A GPU with a number is the only one that the trial sees.
        let device = match self.device {
            DeviceChoice::Cuda(_) => DeviceChoice::Cuda(None),
            other => other,
        };
        command.arg("--device").arg(device.to_string());
        command
    }
}

impl TrialRunner for TrialJobs<'_> {
    fn run(
        &self,
        trial: &Trial,
        slot: usize,
        on_report: &mut dyn FnMut(u64, f64) -> bool,
        should_stop: &dyn Fn() -> bool,
    ) -> Result<TrialEnd> {
        let root = job_root(self.folder, trial.number);
        create_folder(root.path())?;
        self.prepare(trial, &root)?;
        let log_path = root.path().with_file_name("log.txt");
        let log = File::options().append(true).create(true).open(&log_path);
        let log = log.with_path("write", &log_path)?;
        let process = LoggedProcess::start(self.command(&root, slot), log)
            .map_err(|cause| Error::internal(format!("the program cannot be started: {cause}")))?;
        let is_poor = Cell::new(false);
        let status = process.wait(&|| is_poor.get() || should_stop(), &mut |line| {
            if !is_poor.get()
                && let Some((epoch, score)) = self.report_lines.read(line)
            {
                is_poor.set(!on_report(epoch, score));
            }
        });
        let status = status.map_err(|cause| Error::internal(format!("a trial: {cause}")))?;
        if status.success() {
            // Lines of epochs before an interruption may be lost, or be of a training that began anew.
            return Ok(TrialEnd::Completed(self.read_history(&root)?));
        }
        if is_poor.get() {
            return Ok(TrialEnd::StoppedEarly);
        }
        if should_stop() {
            return Ok(TrialEnd::Interrupted);
        }
        if let Some(signal) = status.signal() {
            // Something else ended it, such as the system for want of memory.
            return Err(Error::internal(format!(
                "trial {} was ended by signal {signal} (its log: {}); the same command goes on with it",
                trial.number,
                log_path.display()
            )));
        }
        Ok(TrialEnd::Failed(failure_reason(&root, status)))
    }
}

impl TrialJobs<'_> {
    /// Returns the scores by epoch that a job wrote beside its model, rounded as in its lines. Other
    /// metrics than these are in the lines alone.
    fn read_history(&self, root: &MlRoot) -> Result<BTreeMap<u64, f64>> {
        let key = match self.metric {
            "validation:mIOU" => "validation_mIOU",
            "validation:pixel_accuracy" => "validation_pixel_accuracy",
            "train:loss" => "train_loss",
            _ => return Ok(BTreeMap::new()),
        };
        let file = root.model_folder().join(METRICS_FILE);
        if !file.is_file() {
            return Ok(BTreeMap::new());
        }
        let metrics: Value = serde_json::from_slice(&read_file(&file)?)
            .map_err(|cause| Error::internal(format!("{}: {cause}", file.display())))?;
        let mut history = BTreeMap::new();
        for entry in metrics.get("epochs").and_then(Value::as_array).into_iter().flatten() {
            let epoch = entry.get("epoch").and_then(Value::as_u64);
            let score = entry.get(key).and_then(Value::as_f64);
            if let (Some(epoch), Some(score)) = (epoch, score) {
                history.insert(epoch, format!("{score:.6}").parse().unwrap_or(score));
            }
        }
        Ok(history)
    }
}

/// Returns why a job failed: the first line that it left for SageMaker, or its exit code.
fn failure_reason(root: &MlRoot, status: ExitStatus) -> String {
    if let Ok(text) = fs::read_to_string(root.failure_file())
        && let Some(line) = text.lines().find(|line| !line.trim().is_empty())
    {
        return line.trim().to_owned();
    }
    format!("it ended with exit code {}", status.code().unwrap_or_default())
}
