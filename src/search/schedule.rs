//! The trials of a search side by side: which one begins next, which one stops early, and when the
//! search is over.

use std::sync::{Mutex, PoisonError};

use super::study::{Study, TrialEnd};
use super::trial::{Outcome, Trial};
use crate::error::{Error, Result};

/// Failed trials after which a search without any other result ends: its settings are wrong.
const MAX_FIRST_FAILURES: usize = 3;

/// Runs the job of a trial.
pub trait TrialRunner: Sync {
    /// Runs the job until it ends, or goes on with one that was interrupted. `slot` is a number below
    /// that of trials side by side, which no other running trial has. `on_report` gets epoch, from 1,
    /// and score, and returns false if the trial shall stop. Once `should_stop` returns true, the whole
    /// search ends.
    fn run(
        &self,
        trial: &Trial,
        slot: usize,
        on_report: &mut dyn FnMut(u64, f64) -> bool,
        should_stop: &dyn Fn() -> bool,
    ) -> Result<TrialEnd>;
}

/// News of a search for people.
#[derive(Debug)]
pub enum SearchNews<'a> {
    Begun(&'a Trial),
    Report { trial: &'a Trial, epoch: u64, score: f64 },
    Ended { trial: &'a Trial, reason: Option<&'a str> },
}

/// Number of trials of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SearchSize {
    /// Trials in all, those of earlier processes included.
    pub trials: u64,
    /// Trials side by side, at least 1.
    pub parallel: usize,
}

/// State that the threads of a search share.
struct Shared<'a> {
    study: &'a mut Study,
    /// First error, after which no further trial begins.
    error: Option<Error>,
}

/// Runs trials until there are as many as wanted. One after the other, they are the same however often
/// the search was interrupted. `should_stop` is asked before each trial and while it runs.
///
/// # Errors
///
/// An error is a record that cannot be written, or that the first trials all failed.
pub fn run_search(
    study: &mut Study,
    size: SearchSize,
    runner: &dyn TrialRunner,
    on_news: &(dyn Fn(SearchNews<'_>) + Sync),
    should_stop: &(dyn Fn() -> bool + Sync),
) -> Result<()> {
    let shared = Mutex::new(Shared { study, error: None });
    std::thread::scope(|scope| {
        for slot in 0..size.parallel.max(1) {
            let shared = &shared;
            scope.spawn(move || {
                while !should_stop()
                    && let Some(trial) = begin_trial(shared, size.trials)
                {
                    on_news(SearchNews::Begun(&trial));
                    run_trial(shared, &trial, slot, runner, on_news, should_stop);
                }
            });
        }
    });
    let shared = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    shared.error.map_or(Ok(()), Err)
}

/// Returns the next trial; nothing if there is none, or after an error.
fn begin_trial(shared: &Mutex<Shared<'_>>, count: u64) -> Option<Trial> {
    let mut shared = lock(shared);
    if shared.error.is_some() {
        return None;
    }
    if let Err(error) = check_first_failures(shared.study) {
        shared.error = Some(error);
        return None;
    }
    match shared.study.begin_trial(count) {
        Ok(trial) => trial,
        Err(error) => {
            shared.error = Some(error);
            None
        }
    }
}

/// Ends a search whose first trials all failed.
fn check_first_failures(study: &Study) -> Result<()> {
    let mut failures = Vec::new();
    for trial in study.trials() {
        // One that trained for an epoch shows that the settings can be used, and one that runs may.
        if trial.outcome != Outcome::Failed || !trial.reports.is_empty() {
            return Ok(());
        }
        failures.push(trial.number);
    }
    if failures.len() < MAX_FIRST_FAILURES {
        return Ok(());
    }
    let mut problems = Vec::new();
    for number in failures {
        let reason = study.reason(number).unwrap_or("no reason is given");
        let folder = study.trial_folder(number);
        problems.push(format!("trial {number} failed: {reason} ({})", folder.display()));
    }
    problems.push(format!(
        "the first {} trials all failed; correct the settings, and begin another search",
        problems.len()
    ));
    Err(Error::from_process(problems, true))
}

fn run_trial(
    shared: &Mutex<Shared<'_>>,
    trial: &Trial,
    slot: usize,
    runner: &dyn TrialRunner,
    on_news: &(dyn Fn(SearchNews<'_>) + Sync),
    should_stop: &(dyn Fn() -> bool + Sync),
) {
    // The search may have been interrupted after it told the trial to stop.
    let may_begin = lock(shared).study.may_go_on(trial.number);
    let end = if may_begin {
        let mut report = |epoch: u64, score: f64| {
            let mut shared = lock(shared);
            let may_go_on = match shared.study.report(trial.number, epoch, score) {
                Ok(may_go_on) => may_go_on,
                Err(error) => {
                    shared.error.get_or_insert(error);
                    false
                }
            };
            drop(shared);
            on_news(SearchNews::Report { trial, epoch, score });
            may_go_on
        };
        runner.run(trial, slot, &mut report, &|| should_stop() || lock(shared).error.is_some())
    } else {
        Ok(TrialEnd::StoppedEarly)
    };
    let mut shared = lock(shared);
    let ended = match end {
        // A record that could not be written says nothing of the trial.
        Ok(TrialEnd::StoppedEarly) if shared.error.is_some() => Ok(()),
        Ok(end) => shared.study.end_trial(trial.number, end),
        Err(error) => Err(error),
    };
    if let Err(error) = ended {
        shared.error.get_or_insert(error);
    }
    let ended = shared.study.trials().get(trial.number as usize).cloned();
    let reason = shared.study.reason(trial.number).map(str::to_owned);
    // Other trials report meanwhile.
    drop(shared);
    if let Some(trial) = &ended {
        on_news(SearchNews::Ended { trial, reason: reason.as_deref() });
    }
}

fn lock<'a, 'b>(shared: &'b Mutex<Shared<'a>>) -> std::sync::MutexGuard<'b, Shared<'a>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
