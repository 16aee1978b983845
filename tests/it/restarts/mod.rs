//! Random histories of restarted jobs with real training. Between the starts data, settings, the
//! version of the program and the folder of checkpoints change, and some starts are ended early.
//! Each start must leave the weights of a job that was never interrupted, or an error that names
//! the change and how to go on. `src/train/restart_tests.rs` holds the comparison itself against
//! ten times as many histories, without training. A failure prints the history; with the variable
//! `PROPTEST_RNG_SEED=1` each run draws the same ones.

mod changes;
mod checkpoint_files;
mod job_inputs;
mod restarted_job;

use std::cell::RefCell;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use self::changes::{Change, any_change};
use self::restarted_job::{Ending, Outcome, ReferenceJobs, Remedy, RestartedJob};

/// Number of histories in `make test`. Each takes several seconds.
const FEW_HISTORIES: u32 = 4;

/// Number of histories in `make test-restarts`.
const MANY_HISTORIES: u32 = 30;

/// Number of histories that are tried to find a shorter one that fails too.
const MAX_SHORTER_HISTORIES: u32 = 20;

/// A start of the job after changes.
#[derive(Debug, Clone)]
struct Restart {
    changes: Vec<Change>,
    ending: Ending,
    /// The advice that is followed if the job refuses to go on.
    remedy: Remedy,
}

/// A job and its starts.
#[derive(Debug, Clone)]
struct History {
    first_ending: Ending,
    restarts: Vec<Restart>,
}

/// Numbers of starts by what came of them.
#[derive(Debug, Default)]
struct OutcomeCounts {
    started_anew: usize,
    went_on: usize,
    refused: usize,
}

impl OutcomeCounts {
    fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::StartedAnew => self.started_anew += 1,
            Outcome::WentOn => self.went_on += 1,
            Outcome::Refused => self.refused += 1,
        }
    }
}

fn any_ending() -> impl Strategy<Value = Ending> {
    prop_oneof![
        2 => Just(Ending::Finished),
        1 => (1..7_usize).prop_map(Ending::Terminated),
        1 => (1..7_usize).prop_map(Ending::Killed),
    ]
}

fn any_restart() -> impl Strategy<Value = Restart> {
    let changes = prop::collection::vec(any_change(), 0..3);
    let remedy = prop_oneof![Just(Remedy::UseThoseAgain), Just(Remedy::EmptyFolder)];
    (changes, any_ending(), remedy).prop_map(|(changes, ending, remedy)| Restart {
        changes,
        ending,
        remedy,
    })
}

fn any_history() -> impl Strategy<Value = History> {
    (any_ending(), prop::collection::vec(any_restart(), 1..4))
        .prop_map(|(first_ending, restarts)| History { first_ending, restarts })
}

/// Starts a job as the history says. Panics when a start leaves other weights, or another message,
/// than it must.
fn replay(history: &History, references: &ReferenceJobs, counts: &mut OutcomeCounts) {
    let mut job = RestartedJob::new(references);
    counts.add(job.start(history.first_ending));
    for restart in &history.restarts {
        for change in &restart.changes {
            change.apply(&mut job.job);
        }
        let outcome = job.start(restart.ending);
        counts.add(outcome);
        if outcome == Outcome::Refused {
            job.follow_advice(restart.remedy);
            let outcome = job.start(Ending::Finished);
            assert_ne!(outcome, Outcome::Refused, "{:?} helps", restart.remedy);
            counts.add(outcome);
        }
    }
}

fn replay_random_histories(history_count: u32) -> OutcomeCounts {
    let config = ProptestConfig {
        cases: history_count,
        failure_persistence: None,
        max_shrink_iters: MAX_SHORTER_HISTORIES,
        ..ProptestConfig::default()
    };
    let references = ReferenceJobs::default();
    let counts = RefCell::new(OutcomeCounts::default());
    let result = TestRunner::new(config).run(&any_history(), |history| {
        replay(&history, &references, &mut counts.borrow_mut());
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    let counts = counts.into_inner();
    eprintln!(
        "restarts: {history_count} histories: {} starts anew, {} went on, {} refused; {} jobs to \
         compare with",
        counts.started_anew,
        counts.went_on,
        counts.refused,
        references.count()
    );
    counts
}

#[test]
fn few_restarted_jobs_end_with_the_right_weights_or_name_what_changed() {
    replay_random_histories(FEW_HISTORIES);
}

#[test]
#[ignore = "takes minutes: make test-restarts"]
fn many_restarted_jobs_end_with_the_right_weights_or_name_what_changed() {
    let counts = replay_random_histories(MANY_HISTORIES);
    assert!(counts.went_on > 0 && counts.refused > 0, "{counts:?}");
}
