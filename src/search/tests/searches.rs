//! Searches in a folder with a runner that trains nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::error::{Error, Result};
use crate::search::{
    HalvingPlan, Objective, Outcome, RestartReason, SamplerKind, SearchPlan, SearchSize, Study,
    Trial, TrialEnd, TrialRunner, run_search,
};

/// Runner whose trials report their learning rate, grown by the epoch. It may die after a number of
/// reports, and then behaves as a killed process: nothing more is written.
#[derive(Default)]
struct FakeRunner {
    epochs: u64,
    /// Numbers of the trials in the order in which they began.
    begun: Mutex<Vec<u64>>,
    reports: AtomicUsize,
    dies_after: Option<usize>,
    fails: bool,
}

impl FakeRunner {
    fn new(epochs: u64) -> Self {
        Self { epochs, ..Self::default() }
    }
}

impl TrialRunner for FakeRunner {
    fn run(
        &self,
        trial: &Trial,
        _slot: usize,
        on_report: &mut dyn FnMut(u64, f64) -> bool,
        _should_stop: &dyn Fn() -> bool,
    ) -> Result<TrialEnd> {
        self.begun.lock().unwrap().push(trial.number);
        if self.fails {
            return Ok(TrialEnd::Failed("no GPU".to_owned()));
        }
        let rate: f64 = trial.assignment.get("learning_rate").unwrap().parse().unwrap();
        let first = trial.reports.last_key_value().map_or(1, |(&epoch, _)| epoch + 1);
        for epoch in first..=self.epochs {
            if self
                .dies_after
                .is_some_and(|most| self.reports.fetch_add(1, Ordering::Relaxed) >= most)
            {
                return Err(Error::internal("killed"));
            }
            let score = -(rate.ln() + 4.0).abs() + epoch as f64 * 0.01;
            if !on_report(epoch, score) {
                return Ok(TrialEnd::StoppedEarly);
            }
        }
        Ok(TrialEnd::Completed(BTreeMap::new()))
    }
}

fn plan(sampler: SamplerKind, has_halving: bool) -> SearchPlan {
    let early_stopping =
        has_halving.then_some(HalvingPlan { reduction_factor: 3, min_epochs: 1, max_epochs: 9 });
    SearchPlan {
        parameter_ranges: json!({"ContinuousParameterRanges": [
            {"Name": "learning_rate", "MinValue": "1e-5", "MaxValue": "1", "ScalingType": "Auto"}]}),
        sampler,
        seed: 5,
        objective: Objective::Maximize,
        metric: "validation:mIOU".to_owned(),
        early_stopping,
        hyperparameters: [("epochs".to_owned(), "9".to_owned())].into(),
        data: "d".to_owned(),
    }
}

fn search(
    folder: &Path,
    plan: SearchPlan,
    size: (u64, usize),
    runner: &FakeRunner,
) -> Result<Vec<Trial>> {
    let mut study = Study::open(folder, plan)?;
    let size = SearchSize { trials: size.0, parallel: size.1 };
    run_search(&mut study, size, runner, &|_| {}, &|| false)?;
    Ok(study.trials().to_vec())
}

#[test]
fn a_search_that_is_killed_again_and_again_ends_as_one_that_was_not() {
    let whole = tempfile::tempdir().unwrap();
    let expected =
        search(whole.path(), plan(SamplerKind::Tpe, true), (20, 1), &FakeRunner::new(9)).unwrap();
    assert!(expected.iter().any(|trial| trial.outcome == Outcome::Pruned));
    assert!(expected.iter().any(|trial| matches!(trial.outcome, Outcome::Complete(_))));

    let killed = tempfile::tempdir().unwrap();
    let mut begun = Vec::new();
    let trials = loop {
        let runner = FakeRunner { dies_after: Some(7), ..FakeRunner::new(9) };
        let result = search(killed.path(), plan(SamplerKind::Tpe, true), (20, 1), &runner);
        begun.extend(runner.begun.into_inner().unwrap());
        if let Ok(trials) = result {
            break trials;
        }
    };
    assert_eq!(trials, expected);
    // Only the trial that was interrupted begins twice, and in order.
    assert!(begun.is_sorted(), "{begun:?}");
    assert!(begun.len() > 20, "{begun:?}");
}

#[test]
fn trials_side_by_side_are_each_run_once() {
    for sampler in SamplerKind::ALL {
        let folder = tempfile::tempdir().unwrap();
        let runner = FakeRunner::new(3);
        let trials = search(folder.path(), plan(sampler, false), (17, 4), &runner).unwrap();
        let mut begun = runner.begun.into_inner().unwrap();
        begun.sort_unstable();
        assert_eq!(begun, (0..17).collect::<Vec<u64>>());
        assert!(trials.iter().all(|trial| matches!(trial.outcome, Outcome::Complete(_))));
        // More trials may be asked for later; the others stay.
        let more =
            search(folder.path(), plan(sampler, false), (19, 4), &FakeRunner::new(3)).unwrap();
        assert_eq!(more[..17], trials);
    }
}

#[test]
fn a_search_whose_first_trials_fail_ends_with_their_reasons() {
    let folder = tempfile::tempdir().unwrap();
    let runner = FakeRunner { fails: true, ..FakeRunner::new(3) };
    let error =
        search(folder.path(), plan(SamplerKind::Random, false), (9, 1), &runner).unwrap_err();
    assert!(error.to_string().contains("trial 0 failed: no GPU"), "{error}");
    assert!(error.to_string().contains("the first 3 trials all failed"), "{error}");
    assert_eq!(runner.begun.into_inner().unwrap(), [0, 1, 2]);
}

#[test]
fn another_plan_or_another_process_in_the_folder_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let first = Study::open(folder.path(), plan(SamplerKind::Tpe, true)).unwrap();
    let error = Study::open(folder.path(), plan(SamplerKind::Tpe, true)).unwrap_err();
    assert!(error.to_string().contains("another search runs"), "{error}");
    drop(first);
    let mut other = plan(SamplerKind::Random, true);
    other.data = "e".to_owned();
    let error = Study::open(folder.path(), other).unwrap_err();
    assert!(error.to_string().contains("differs in data, sampler"), "{error}");
}

#[test]
fn a_trial_without_a_number_fails_and_a_damaged_record_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let runner = FakeRunner::new(0);
    let plan = || plan(SamplerKind::Random, false);
    let trials = search(folder.path(), plan(), (1, 1), &runner).unwrap();
    assert_eq!(trials[0].outcome, Outcome::Failed);
    let record = folder.path().join("trials/0000/trial.json");
    let text = std::fs::read_to_string(&record).unwrap();
    assert!(text.contains("it reported no validation:mIOU"), "{text}");
    std::fs::write(&record, &text[..20]).unwrap();
    let error = Study::open(folder.path(), plan()).unwrap_err();
    assert!(error.to_string().contains("trials/0000/trial.json"), "{error}");
}

#[test]
fn a_search_begins_anew_with_another_plan_or_after_failures_alone() {
    let folder = tempfile::tempdir().unwrap();
    let plan = || plan(SamplerKind::Random, false);
    let reopen = |plan| {
        let (study, reason) = Study::open_or_restart(folder.path(), plan).unwrap();
        (study.trials().len(), reason)
    };
    assert_eq!(reopen(plan()), (0, None));
    search(folder.path(), plan(), (2, 1), &FakeRunner::new(3)).unwrap();
    assert_eq!(reopen(plan()), (2, None));
    let other = SearchPlan { data: "e".to_owned(), ..plan() };
    assert_eq!(reopen(other.clone()), (0, Some(RestartReason::OtherPlan)));
    let failing = FakeRunner { fails: true, ..FakeRunner::new(3) };
    search(folder.path(), other.clone(), (2, 1), &failing).unwrap();
    assert_eq!(reopen(other.clone()), (0, Some(RestartReason::AllFailed)));
    // The records are gone for good.
    assert_eq!(reopen(other), (0, None));
}

#[test]
fn a_trial_whose_model_is_lost_runs_again_with_new_reports() {
    let folder = tempfile::tempdir().unwrap();
    let plan = || plan(SamplerKind::Random, false);
    let before = search(folder.path(), plan(), (2, 1), &FakeRunner::new(3)).unwrap();
    let (mut study, _) = Study::open_or_restart(folder.path(), plan()).unwrap();
    study.run_again(1).unwrap();
    drop(study);
    let runner = FakeRunner::new(2);
    let after = search(folder.path(), plan(), (2, 1), &runner).unwrap();
    assert_eq!(runner.begun.into_inner().unwrap(), [1]);
    assert_eq!(after[0], before[0]);
    assert_eq!((before[1].reports.len(), after[1].reports.len()), (3, 2));
    assert_ne!(after[1].outcome, before[1].outcome);
}
