//! The training job of a trial, which is a job as that of a training step.

use std::cell::{Cell, RefCell};
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

use super::TuningRequest;
use super::request::make_trial_request;
use crate::error::Result;
use crate::pipeline::definition::StepKind;
use crate::pipeline::local::job_folder::remove_job_folder;
use crate::pipeline::local::job_run::{JobEnd, JobFollower, ReadyJob};
use crate::pipeline::local::step::{ReadyStep, Run};
use crate::search::{Assignment, ReportLines, Trial, TrialEnd, TrialRunner};
use crate::status_table::StepNews;
use crate::torch::{VISIBLE_GPUS, visible_gpu};

/// Training jobs of the trials of a tuning step.
pub(super) struct TrialJobs<'a> {
    pub run: &'a Run<'a>,
    pub ready: &'a ReadyStep,
    pub request: &'a TuningRequest,
    /// Name of the tuning job, with which those of its training jobs begin.
    pub tuning_job_name: &'a str,
    /// Folder of the search.
    pub folder: &'a Path,
    /// Trials side by side.
    pub parallel: usize,
    /// GPUs of this machine, which trials side by side divide among them.
    pub gpus: usize,
    pub report_lines: ReportLines,
    pub metric: Regex,
    pub on_news: &'a (dyn Fn(StepNews) + Sync),
}

/// Reports of one trial, as they come.
struct Reports<'a> {
    report_lines: &'a ReportLines,
    metric: &'a Regex,
    /// Lines with a score so far that name no epoch.
    unnumbered: Cell<u64>,
    /// True if a line named its epoch.
    is_numbered: Cell<bool>,
}

impl Reports<'_> {
    /// Returns epoch and score of a line. Programs other than this one do not number their epochs as
    /// this one does: their scores are counted.
    fn read(&self, line: &str) -> Option<(u64, f64)> {
        if let Some(report) = self.report_lines.read(line) {
            self.is_numbered.set(true);
            return Some(report);
        }
        if self.is_numbered.get() {
            return None;
        }
        let score = self.metric.captures(line)?.get(1)?.as_str().parse().ok()?;
        self.unnumbered.set(self.unnumbered.get() + 1);
        Some((self.unnumbered.get(), score))
    }
}

impl TrialJobs<'_> {
    /// Returns the name of a trial's training job.
    pub(super) fn job_name(&self, trial: u64) -> String {
        format!("{}-{trial:03}", self.tuning_job_name)
    }

    /// Returns the folder of a trial's training job.
    pub(super) fn job_folder(&self, trial: u64) -> PathBuf {
        self.folder.join(format!("trials/{trial:04}"))
    }

    fn ready_job(&self, trial: u64, values: &Assignment, slot: usize) -> ReadyJob {
        let metric = &self.request.metric;
        ReadyJob {
            kind: StepKind::Training,
            step_name: self.ready.step.name.clone(),
            name: self.job_name(trial),
            folder: self.job_folder(trial),
            arguments: make_trial_request(&self.ready.arguments, values, metric),
            comparable: make_trial_request(&self.ready.comparable, values, metric),
            environment: self.choose_gpus(slot),
            // Trials that have ended are known by their records.
            uses_cache: false,
        }
    }

    /// Returns the variable by which a trial sees its share of the GPUs. A trial that is alone sees all.
    fn choose_gpus(&self, slot: usize) -> Vec<(String, String)> {
        if self.parallel < 2 || self.gpus < self.parallel {
            return Vec::new();
        }
        let share = self.gpus / self.parallel;
        let mut names = Vec::with_capacity(share);
        for position in slot * share..(slot + 1) * share {
            names.extend(visible_gpu(position));
        }
        vec![(VISIBLE_GPUS.to_owned(), names.join(","))]
    }

    fn reports(&self) -> Reports<'_> {
        Reports {
            report_lines: &self.report_lines,
            metric: &self.metric,
            unnumbered: Cell::new(0),
            is_numbered: Cell::new(false),
        }
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
        let job = self.ready_job(trial.number, &trial.assignment, slot);
        let on_report = RefCell::new(on_report);
        let is_poor = Cell::new(false);
        let reports = self.reports();
        let on_news = |news: StepNews| {
            // Scores are told with the reports, and the notes of all trials are the same.
            if let (StepNews::Note(note), 0) = (news, trial.number) {
                (self.on_news)(StepNews::Note(note));
            }
        };
        let on_line = |line: &str| {
            if !is_poor.get()
                && let Some((epoch, score)) = reports.read(line)
            {
                is_poor.set(!(on_report.borrow_mut())(epoch, score));
            }
        };
        let follower = JobFollower {
            on_news: &on_news,
            on_line: &on_line,
            should_stop: &|| is_poor.get() || should_stop(),
        };
        let end = match self.run.run_job(&job, follower)? {
            JobEnd::Succeeded(_) => {
                // Lines of an attempt before this one are in the log alone.
                let log = fs::read(job.folder.join("log.txt")).unwrap_or_default();
                let reports = self.reports();
                for line in String::from_utf8_lossy(&log).lines() {
                    if let Some((epoch, score)) = reports.read(line) {
                        (on_report.borrow_mut())(epoch, score);
                    }
                }
                TrialEnd::Completed
            }
            JobEnd::Failed(error) => TrialEnd::Failed(error.to_string()),
            JobEnd::Stopped if is_poor.get() => TrialEnd::StoppedEarly,
            JobEnd::Stopped => TrialEnd::Interrupted,
        };
        if matches!(end, TrialEnd::Failed(_) | TrialEnd::StoppedEarly) {
            remove_job_folder(&job.folder.join("ml"), &on_news);
        }
        Ok(end)
    }
}
