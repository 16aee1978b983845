//! The training job of a trial, which is a job as that of a training step.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use regex::Regex;

use super::TuningRequest;
use super::request::make_trial_request;
use crate::error::Result;
use crate::machine::divide_cores;
use crate::pipeline::definition::StepKind;
use crate::pipeline::local::job_folder::remove_job_folder;
use crate::pipeline::local::job_run::{JobEnd, JobFollower, ReadyJob, read_counted_log};
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
    /// Number of lines with a score so far that name no epoch.
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

    /// Returns the scores of a log by their epochs, the last one of each epoch.
    fn read_all(&self, log: &str) -> BTreeMap<u64, f64> {
        log.lines().filter_map(|line| self.read(line)).collect()
    }
}

/// Returns the positions of the GPUs of one of `parallel` trials; none if there are fewer GPUs than
/// trials.
fn share_of_gpus(gpus: usize, parallel: usize, slot: usize) -> Range<usize> {
    let share = gpus / parallel;
    slot * share..(slot + 1) * share
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
            arguments: make_trial_request(&self.ready.arguments, trial, values, metric),
            comparable: make_trial_request(&self.ready.comparable, trial, values, metric),
            environment: self.divide_machine(slot),
            is_trial: true,
        }
    }

    /// Returns the variables by which a trial has its share of this machine. One that is alone has all.
    fn divide_machine(&self, slot: usize) -> Vec<(String, String)> {
        if self.parallel < 2 {
            return Vec::new();
        }
        let mut variables = divide_cores(self.parallel);
        let mut names = Vec::new();
        for position in share_of_gpus(self.gpus, self.parallel, slot) {
            names.extend(visible_gpu(position));
        }
        if !names.is_empty() {
            variables.push((VISIBLE_GPUS.to_owned(), names.join(",")));
        }
        variables
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
                let log = read_counted_log(&job.folder.join("log.txt"));
                TrialEnd::Completed(self.reports().read_all(&log))
            }
            JobEnd::Failed(error) => TrialEnd::Failed(error.to_string()),
            JobEnd::Stopped if is_poor.get() => TrialEnd::StoppedEarly,
            JobEnd::Stopped => TrialEnd::Interrupted,
        };
        // A trial whose record could not be written is told to stop, too, and goes on later.
        if matches!(end, TrialEnd::Failed(_) | TrialEnd::StoppedEarly) && !should_stop() {
            remove_job_folder(&job.folder.join("ml"), &on_news);
        }
        Ok(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_scores(log: &str) -> BTreeMap<u64, f64> {
        let report_lines = ReportLines::new(r"epoch (\d+)/", r"score: (\S+)").unwrap();
        let metric = Regex::new(r"score: (\S+)").unwrap();
        let (unnumbered, is_numbered) = (Cell::new(0), Cell::new(false));
        let reports =
            Reports { report_lines: &report_lines, metric: &metric, unnumbered, is_numbered };
        reports.read_all(log)
    }

    #[test]
    fn scores_are_those_of_numbered_epochs_and_are_counted_without_numbers() {
        let numbered =
            "epoch 1/3 score: 0.5\nscore: 9\nepoch 2/3 score: 0.6\nepoch 1/3 score: 0.7\n";
        assert_eq!(read_scores(numbered), BTreeMap::from([(1, 0.7), (2, 0.6)]));
        assert_eq!(
            read_scores("score: 0.5\nother\nscore: 0.4\n"),
            BTreeMap::from([(1, 0.5), (2, 0.4)])
        );
    }

    #[test]
    fn only_attempts_since_the_last_that_began_anew_count() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log.txt");
        let attempts = "== job begins at 1\nscore: 0.9\n== job begins at 2\nscore: 0.1\n== job goes on at 3\nscore: 0.2\n";
        std::fs::write(&log, attempts).unwrap();
        assert_eq!(read_scores(&read_counted_log(&log)), BTreeMap::from([(1, 0.1), (2, 0.2)]));
        assert_eq!(read_counted_log(&folder.path().join("none")), "");
    }

    #[test]
    fn trials_side_by_side_divide_the_gpus() {
        assert_eq!(share_of_gpus(8, 3, 2), 4..6);
        assert_eq!(share_of_gpus(2, 2, 1), 1..2);
        assert!(share_of_gpus(1, 2, 1).is_empty());
        for gpus in 1..10 {
            for parallel in 1..=gpus {
                let last = share_of_gpus(gpus, parallel, parallel - 1);
                assert!(last.end <= gpus && !last.is_empty(), "{gpus} {parallel}");
            }
        }
    }
}
