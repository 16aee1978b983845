//! A search in a folder: its plan, and the record of each trial, which is on disk before anything
//! follows from it. So a search that was killed goes on where it was, and repeats no finished trial.
//!
//! ```text
//! FOLDER/search.json                plan; a search goes on with the same one only
//! FOLDER/trials/0003/trial.json     record of trial 3
//! FOLDER/trials/0003/...            files of its job
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::assignment::Assignment;
use super::halving::{AsyncHalving, Decision};
use super::parameter_ranges::read_parameter_ranges;
use super::random::RandomSampler;
use super::space::SearchSpace;
use super::tpe::{TpeSampler, TpeSettings};
use super::trial::{Objective, Outcome, Trial};
use crate::error::{Error, ErrorContext, Result, pluralize};
use crate::files::{PathContext, create_folder, read_file, remove_file_if_exists, write_json};
use crate::named_enum::named_enum;

/// File of the plan.
const PLAN_FILE: &str = "search.json";

/// Folder of the trials.
const TRIALS_FOLDER: &str = "trials";

/// File of a trial's record.
const RECORD_FILE: &str = "trial.json";

/// File that a running search locks.
const LOCK_FILE: &str = ".lock";

named_enum! {
    /// Method by which the values of a trial are chosen.
    SamplerKind {
        /// Values are drawn at random.
        Random = "random",
        /// Values are learned from finished trials (tree-structured Parzen estimator).
        Tpe = "tpe",
    }
}

/// Rule of early stopping, as the plan holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HalvingPlan {
    /// Inverse of the share of trials that go on at each rung, 2 or more.
    pub reduction_factor: u64,
    /// Epochs of the first rung, 1 or more.
    pub min_epochs: u64,
    /// Epochs of a trial that is not stopped.
    pub max_epochs: u64,
}

impl HalvingPlan {
    /// Makes the rule of a search from its ranges and the settings that all trials share: the epochs of
    /// a trial that is not stopped are the most that `epochs` may be, or `default_epochs` if nothing
    /// says how many. `min_epochs` are those of the first rung at most.
    pub fn for_search(
        space: &SearchSpace,
        shared: &BTreeMap<String, String>,
        default_epochs: u64,
        reduction_factor: u64,
        min_epochs: u64,
    ) -> Self {
        let mut max_epochs = shared.get("epochs").and_then(|text| text.trim().parse().ok());
        for parameter in space.parameters().iter().filter(|parameter| parameter.name == "epochs") {
            let values = parameter.boundary_values();
            max_epochs = values.iter().filter_map(|text| text.parse().ok()).max().or(max_epochs);
        }
        let max_epochs = max_epochs.unwrap_or(default_epochs);
        // A job shorter than the first rung is never stopped.
        Self { reduction_factor, min_epochs: min_epochs.min(max_epochs), max_epochs }
    }
}

/// Everything on which the trials of a search depend, but their number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchPlan {
    /// Ranges in the form of SageMaker's `ParameterRanges`.
    pub parameter_ranges: Value,
    pub sampler: SamplerKind,
    pub seed: u64,
    pub objective: Objective,
    /// Name of the metric that is the score.
    pub metric: String,
    /// Rule of early stopping; none lets each trial train to its end.
    pub early_stopping: Option<HalvingPlan>,
    /// Settings that all trials share.
    pub hyperparameters: BTreeMap<String, String>,
    /// Digest of the training data.
    pub data: String,
}

/// Record of a trial on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrialRecord {
    trial: u64,
    state: TrialState,
    hyperparameters: Assignment,
    /// Scores by epoch; null is no number.
    reports: BTreeMap<u64, Option<f64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    score: Option<f64>,
    /// Reason why the trial was stopped, is to stop, or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

named_enum! {
    /// State of a trial in its record.
    TrialState {
        Running = "Running",
        Completed = "Completed",
        /// It was stopped early because others were better.
        Stopped = "Stopped",
        Failed = "Failed",
    }
}

/// Reason why a search begins anew in a folder that holds one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartReason {
    /// Ranges, settings or data are others.
    OtherPlan,
    /// All trials failed before they reported anything.
    AllFailed,
}

/// Search in a folder, which no other process changes meanwhile.
#[derive(Debug)]
pub struct Study {
    folder: PathBuf,
    plan: SearchPlan,
    space: SearchSpace,
    /// Trials in the order of their numbers, which have no gaps.
    trials: Vec<Trial>,
    reasons: BTreeMap<u64, String>,
    /// Trials that this process runs.
    running: BTreeSet<u64>,
    _lock: File,
}

impl Study {
    /// Begins a search in a folder, or opens one that goes on. A folder that holds another search is
    /// an error that names the differences.
    pub fn open(folder: &Path, plan: SearchPlan) -> Result<Self> {
        let space = read_parameter_ranges(&plan.parameter_ranges)?;
        if let Some(HalvingPlan { reduction_factor, min_epochs, max_epochs }) = plan.early_stopping
        {
            AsyncHalving::new(plan.objective, reduction_factor, min_epochs, max_epochs)?;
        }
        create_folder(&folder.join(TRIALS_FOLDER))?;
        let lock = lock_folder(folder)?;
        let plan_file = folder.join(PLAN_FILE);
        if plan_file.exists() {
            let earlier: SearchPlan = serde_json::from_slice(&read_file(&plan_file)?)
                .map_err(|cause| Error::input(format!("{}: {cause}", plan_file.display())))?;
            check_same_plan(folder, &earlier, &plan)?;
        } else {
            write_json(&plan_file, &plan)?;
        }
        let mut study = Self {
            folder: folder.to_owned(),
            plan,
            space,
            trials: Vec::new(),
            reasons: BTreeMap::new(),
            running: BTreeSet::new(),
            _lock: lock,
        };
        study.read_trials()?;
        Ok(study)
    }

    /// Opens a search, or begins anew where the folder holds another one or one whose trials all failed
    /// before their first report; the records are removed, and the files of the jobs stay. Returns why it
    /// begins anew.
    pub fn open_or_restart(
        folder: &Path,
        plan: SearchPlan,
    ) -> Result<(Self, Option<RestartReason>)> {
        let plan_file = folder.join(PLAN_FILE);
        let earlier = plan_file.exists().then(|| read_file(&plan_file)).transpose()?;
        let earlier: Option<SearchPlan> =
            earlier.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let is_other = plan_file.exists() && earlier.as_ref() != Some(&plan);
        if is_other {
            remove_records(folder)?;
            return Ok((Self::open(folder, plan)?, Some(RestartReason::OtherPlan)));
        }
        let study = Self::open(folder, plan.clone())?;
        let is_failed =
            |trial: &Trial| trial.outcome == Outcome::Failed && trial.reports.is_empty();
        if study.trials.is_empty() || !study.trials.iter().all(is_failed) {
            return Ok((study, None));
        }
        drop(study);
        remove_records(folder)?;
        Ok((Self::open(folder, plan)?, Some(RestartReason::AllFailed)))
    }

    /// Forgets the end of a trial and its reports, so that it runs again: what it left is lost.
    pub fn run_again(&mut self, trial: u64) -> Result<()> {
        let record = &mut self.trials[trial as usize];
        record.outcome = Outcome::Running;
        record.reports.clear();
        self.reasons.remove(&trial);
        self.write_record(trial)
    }

    /// Returns the trials so far, in the order of their numbers.
    pub fn trials(&self) -> &[Trial] {
        &self.trials
    }

    /// Returns the ranges.
    pub fn space(&self) -> &SearchSpace {
        &self.space
    }

    /// Returns why a trial was stopped or failed.
    pub fn reason(&self, trial: u64) -> Option<&str> {
        self.reasons.get(&trial).map(String::as_str)
    }

    /// Returns the folder of a trial's files.
    pub fn trial_folder(&self, trial: u64) -> PathBuf {
        self.folder.join(TRIALS_FOLDER).join(format!("{trial:04}"))
    }

    /// Returns a trial that is to run: one that an earlier process left running, else a new one.
    /// Returns nothing if `count` trials have begun.
    pub(super) fn begin_trial(&mut self, count: u64) -> Result<Option<Trial>> {
        let interrupted = self.trials.iter().find(|trial| {
            trial.outcome == Outcome::Running && !self.running.contains(&trial.number)
        });
        if let Some(trial) = interrupted.cloned() {
            self.running.insert(trial.number);
            return Ok(Some(trial));
        }
        let number = self.trials.len() as u64;
        if number >= count {
            return Ok(None);
        }
        let plan = &self.plan;
        let assignment = match plan.sampler {
            SamplerKind::Random => {
                RandomSampler::new(plan.seed).draw_assignment(&self.space, number)
            }
            SamplerKind::Tpe => TpeSampler::new(plan.seed, plan.objective, TpeSettings::default())
                .draw_assignment(&self.space, &self.trials, number),
        };
        let trial = Trial::new(number, assignment);
        self.trials.push(trial.clone());
        self.running.insert(number);
        self.write_record(number)?;
        Ok(Some(trial))
    }

    /// Records a score of a running trial with what follows from it, and returns false if the trial
    /// shall stop. The last score of an epoch counts: a job that goes on at a checkpoint repeats it, and
    /// one that begins anew may end with another.
    pub(super) fn report(&mut self, trial: u64, epoch: u64, score: f64) -> Result<bool> {
        let reports = &mut self.trials[trial as usize].reports;
        if reports.get(&epoch) != Some(&score) {
            reports.insert(epoch, score);
            if let Some(reason) = self.find_stop(trial) {
                self.reasons.insert(trial, reason);
            }
            self.write_record(trial)?;
        }
        Ok(self.may_go_on(trial))
    }

    /// Returns false if a trial that runs was told to stop.
    pub(super) fn may_go_on(&self, trial: u64) -> bool {
        !self.reasons.contains_key(&trial)
    }

    /// Returns why a trial shall stop for its last report; nothing if it goes on.
    fn find_stop(&self, trial: u64) -> Option<String> {
        let own = &self.trials[trial as usize];
        match self.halving(own)?.decide(own, &self.trials) {
            Decision::Continue => None,
            Decision::Stop { rung_epochs, place, trials, kept } => Some(format!(
                "place {place} of {trials} after {}, of which the first {kept} go on",
                pluralize(rung_epochs as usize, "epoch")
            )),
        }
    }

    /// Returns the rule for a trial, which may have epochs of its own. After the last of them it ends
    /// by itself.
    fn halving(&self, trial: &Trial) -> Option<AsyncHalving> {
        let rule = self.plan.early_stopping.as_ref()?;
        let own = trial.assignment.get("epochs").and_then(|text| text.parse().ok());
        let max_epochs = own.unwrap_or(rule.max_epochs);
        let HalvingPlan { reduction_factor, min_epochs, .. } = *rule;
        AsyncHalving::new(self.plan.objective, reduction_factor, min_epochs, max_epochs).ok()
    }

    /// Records the end of a trial. The score of a complete one is the best that it reported.
    pub(super) fn end_trial(&mut self, trial: u64, end: TrialEnd) -> Result<()> {
        let record = &mut self.trials[trial as usize];
        record.outcome = match end {
            TrialEnd::Completed(reports) => {
                if !reports.is_empty() {
                    record.reports = reports;
                }
                if let Some(score) = best_report(record, self.plan.objective) {
                    // It may have ended before it could be stopped.
                    self.reasons.remove(&trial);
                    Outcome::Complete(score)
                } else {
                    let metric = &self.plan.metric;
                    self.reasons.insert(trial, format!("it reported no {metric}"));
                    Outcome::Failed
                }
            }
            TrialEnd::StoppedEarly => Outcome::Pruned,
            TrialEnd::Failed(reason) => {
                self.reasons.insert(trial, reason);
                Outcome::Failed
            }
            // The record stays as that of a running trial, which the next process takes up.
            TrialEnd::Interrupted => return Ok(()),
        };
        self.write_record(trial)
    }

    fn write_record(&self, trial: u64) -> Result<()> {
        let Trial { number, assignment, outcome, reports } = &self.trials[trial as usize];
        let reason = self.reasons.get(&trial).cloned();
        let (state, score, reason) = match *outcome {
            // With a reason it was told to stop.
            Outcome::Running => (TrialState::Running, None, reason),
            Outcome::Complete(score) => (TrialState::Completed, Some(score), None),
            Outcome::Pruned => (TrialState::Stopped, None, reason),
            Outcome::Failed => (TrialState::Failed, None, reason),
        };
        let mut written = BTreeMap::new();
        for (&epoch, &score) in reports {
            written.insert(epoch, score.is_finite().then_some(score));
        }
        let record = TrialRecord {
            trial: *number,
            state,
            hyperparameters: assignment.clone(),
            reports: written,
            score,
            reason,
        };
        write_json(&self.trial_folder(trial).join(RECORD_FILE), &record)
    }

    fn read_trials(&mut self) -> Result<()> {
        loop {
            let number = self.trials.len() as u64;
            let path = self.trial_folder(number).join(RECORD_FILE);
            if !path.exists() {
                return Ok(());
            }
            let record: TrialRecord = serde_json::from_slice(&read_file(&path)?)
                .map_err(|cause| Error::input(cause.to_string()))
                .error_context(path.display())?;
            if record.trial != number {
                return Err(Error::input(format!(
                    "{}: is the record of trial {}; each trial has a folder of its own",
                    path.display(),
                    record.trial
                )));
            }
            let mut trial = Trial::new(number, record.hyperparameters);
            for (epoch, score) in record.reports {
                trial.reports.insert(epoch, score.unwrap_or(f64::NAN));
            }
            trial.outcome = match (record.state, record.score) {
                (TrialState::Running, _) => Outcome::Running,
                (TrialState::Completed, Some(score)) => Outcome::Complete(score),
                (TrialState::Stopped, _) => Outcome::Pruned,
                (TrialState::Completed, None) | (TrialState::Failed, _) => Outcome::Failed,
            };
            self.reasons.extend(record.reason.map(|reason| (number, reason)));
            self.trials.push(trial);
        }
    }
}

/// End of a trial's job.
#[derive(Debug, Clone, PartialEq)]
pub enum TrialEnd {
    /// The job trained to its end. These scores by epoch are of the training that made its model; without
    /// any, those on record count.
    Completed(BTreeMap<u64, f64>),
    /// The job was stopped because a report was not among the best.
    StoppedEarly,
    /// The job failed for this reason.
    Failed(String),
    /// The whole search was asked to stop.
    Interrupted,
}

/// Returns the best score that a trial reported; nothing if it reported no number.
fn best_report(trial: &Trial, objective: Objective) -> Option<f64> {
    let scores = trial.reports.values().copied().filter(|score| score.is_finite());
    scores.min_by(|first, second| objective.loss(*first).total_cmp(&objective.loss(*second)))
}

/// Removes the records of a search and its plan. The plan last: until it is gone, the next process begins
/// here again.
fn remove_records(folder: &Path) -> Result<()> {
    let trials = folder.join(TRIALS_FOLDER);
    for entry in fs::read_dir(&trials).with_path("read the folder", &trials)? {
        let entry = entry.with_path("read the folder", &trials)?;
        remove_file_if_exists(&entry.path().join(RECORD_FILE))?;
    }
    remove_file_if_exists(&folder.join(PLAN_FILE))
}

/// Locks the folder of a search, so that two processes do not run the same trials.
fn lock_folder(folder: &Path) -> Result<File> {
    let path = folder.join(LOCK_FILE);
    let file = File::options().write(true).create(true).truncate(false).open(&path);
    let file = file.with_path("write", &path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(Error::input(format!(
            "{}: another search runs in this folder; wait for it, or give another folder",
            folder.display()
        ))),
        Err(fs::TryLockError::Error(cause)) => Err(Error::io("lock", &path, &cause)),
    }
}

/// Finds in what a plan differs from the one of the search that a folder holds.
fn check_same_plan(folder: &Path, earlier: &SearchPlan, plan: &SearchPlan) -> Result<()> {
    let (Ok(Value::Object(earlier)), Ok(Value::Object(now))) =
        (serde_json::to_value(earlier), serde_json::to_value(plan))
    else {
        return Err(Error::internal("a plan is no object"));
    };
    let mut differences = Vec::new();
    for (key, value) in &now {
        if earlier.get(key) != Some(value) {
            differences.push(key.as_str());
        }
    }
    if differences.is_empty() {
        return Ok(());
    }
    Err(Error::input(format!(
        "{} holds another search, which differs in {}; its trials cannot be compared with new ones: \
         give another folder",
        folder.display(),
        differences.join(", ")
    )))
}
