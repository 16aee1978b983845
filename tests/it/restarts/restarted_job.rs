//! A job that is started again and again on one folder of checkpoints.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;

use sha2::{Digest, Sha256};

use super::changes::{remove_folder, set_first_values};
use super::checkpoint_files::{CheckpointFile, list_checkpoints};
use super::job_inputs::JobInputs;
use crate::checkpoints::Running;
use crate::job::{Job, Run, names};

/// SHA-256 of a file of weights.
type WeightsDigest = [u8; 32];

/// The way in which a start of a job ends, unless the job refuses to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// All epochs are done.
    Finished,
    /// SIGTERM comes after so many checkpoints.
    Terminated(usize),
    /// SIGKILL comes after so many checkpoints.
    Killed(usize),
}

/// Outcome of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    StartedAnew,
    WentOn,
    Refused,
}

/// Advice of an error to the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    UseThoseAgain,
    EmptyFolder,
}

/// Outcome that the inputs and the checkpoints demand.
enum Expected {
    StartAnew,
    GoOn {
        /// The newest checkpoint is damaged, and an older one is whole.
        is_older: bool,
        /// False if the checkpoint knows the names of its samples only.
        knows_content: bool,
    },
    /// The error contains all these texts.
    Refuse(Vec<String>),
}

/// Jobs that were never interrupted, by inputs and number of epochs.
#[derive(Default)]
pub(super) struct ReferenceJobs {
    weights: RefCell<BTreeMap<(JobInputs, usize), WeightsDigest>>,
}

impl ReferenceJobs {
    /// Returns the number of jobs that were trained.
    pub(super) fn count(&self) -> usize {
        self.weights.borrow().len()
    }

    /// Trains a job with these inputs, unless one was trained before, and returns its weights.
    fn train(&self, inputs: &JobInputs, epochs: usize) -> WeightsDigest {
        let key = (inputs.clone(), epochs);
        if let Some(weights) = self.weights.borrow().get(&key) {
            return *weights;
        }
        let mut job = Job::without_data();
        inputs.write(&mut job);
        job.set("epochs", &epochs.to_string());
        job.train();
        let weights = digest_weights(&job);
        self.weights.borrow_mut().insert(key, weights);
        weights
    }
}

fn digest_weights(job: &Job) -> WeightsDigest {
    Sha256::digest(fs::read(job.path("model/model.safetensors")).unwrap()).into()
}

/// A job and what its checkpoints were trained on.
pub(super) struct RestartedJob<'a> {
    pub(super) job: Job,
    /// Inputs of the last start that was not refused.
    trained_on: Option<JobInputs>,
    /// True if a checkpoint that knows names only was gone on from with other content. Such weights
    /// are those of no uninterrupted job, and the user was warned.
    has_mixed_weights: bool,
    references: &'a ReferenceJobs,
}

impl<'a> RestartedJob<'a> {
    /// Makes a job of 2 epochs with 3 steps each. Its learning rate falls at fixed epochs, because
    /// the other schedules depend on the number of epochs.
    pub(super) fn new(references: &'a ReferenceJobs) -> Self {
        let mut job = Job::new()
            .with("epochs", "2")
            .with("lr_scheduler", "step")
            .with("lr_scheduler_step", "1");
        set_first_values(&mut job);
        Self { job, trained_on: None, has_mixed_weights: false, references }
    }

    /// Starts the job, and checks what comes of it.
    pub(super) fn start(&mut self, ending: Ending) -> Outcome {
        let inputs = JobInputs::read(&self.job);
        let expected = self.expect(&inputs);
        let is_interrupted = ending != Ending::Finished;
        self.job.set("checkpoint_interval", if is_interrupted { "0" } else { "3600" });
        if let Expected::Refuse(texts) = &expected {
            self.check_refusal(texts);
            return Outcome::Refused;
        }
        let has_same_data = self.trained_on.as_ref().is_some_and(|then| inputs.has_data_of(then));
        let outcome = if let Expected::GoOn { knows_content, .. } = expected {
            self.has_mixed_weights |= !knows_content && !has_same_data;
            Outcome::WentOn
        } else {
            self.has_mixed_weights = false;
            Outcome::StartedAnew
        };
        if is_interrupted {
            self.interrupt(ending);
        } else {
            let run = self.job.train();
            check_log(&run, &expected);
            if !self.has_mixed_weights {
                let epochs = self.trained_epochs(&run);
                let is_right = digest_weights(&self.job) == self.references.train(&inputs, epochs);
                assert!(is_right, "other weights: {}{}", run.stdout, run.stderr);
            }
        }
        self.check_newest_checkpoint();
        self.trained_on = Some(inputs);
        outcome
    }

    /// Does what the error of a refused start says.
    pub(super) fn follow_advice(&mut self, remedy: Remedy) {
        let is_unpaired = !JobInputs::read(&self.job).unpaired_names().is_empty();
        if remedy == Remedy::UseThoseAgain || is_unpaired {
            self.trained_on.as_ref().unwrap().write(&mut self.job);
        }
        let inputs = JobInputs::read(&self.job);
        let is_damaged = matches!(self.expect(&inputs), Expected::Refuse(_));
        if remedy == Remedy::EmptyFolder || is_damaged {
            remove_folder(&self.job.path("checkpoints"));
        }
    }

    /// Decides what a start with these inputs must do. A checkpoint of another job is refused even
    /// if the best weights beside it are damaged; a damaged one is passed over.
    fn expect(&self, inputs: &JobInputs) -> Expected {
        let unpaired = inputs.unpaired_names();
        if !unpaired.is_empty() {
            return Expected::Refuse(unpaired);
        }
        let mut is_damaged = false;
        for path in list_checkpoints(&self.job).iter().rev() {
            let Some(checkpoint) = CheckpointFile::read(path) else {
                is_damaged = true;
                continue;
            };
            let knows_content = checkpoint.knows_content;
            let then = self.trained_on.as_ref().unwrap();
            let mut texts = inputs.required_texts(then, knows_content);
            if !texts.is_empty() {
                texts.push("use those again to go on, or empty the folder to start".to_owned());
                return Expected::Refuse(texts);
            }
            if checkpoint.has_best_weights {
                return Expected::GoOn { is_older: is_damaged, knows_content };
            }
            is_damaged = true;
        }
        if is_damaged {
            let text = "can be read; empty the folder to start from the beginning";
            return Expected::Refuse(vec![text.to_owned()]);
        }
        Expected::StartAnew
    }

    /// Starts the job, expects an error with these texts, and unchanged checkpoints.
    fn check_refusal(&self, texts: &[String]) {
        let folder = self.job.path("checkpoints");
        let before = folder.exists().then(|| names(&folder));
        let reason = self.job.failure();
        for text in texts {
            assert!(reason.contains(text), "'{text}' is not in: {reason}");
        }
        if let Some(before) = before {
            assert_eq!(names(&folder), before, "a refused job changes no checkpoint");
        }
    }

    /// Checks that the next start can go on, whatever was damaged before this one.
    fn check_newest_checkpoint(&self) {
        let path = list_checkpoints(&self.job).pop().unwrap();
        let checkpoint = CheckpointFile::read(&path);
        assert!(checkpoint.is_some_and(|it| it.has_best_weights), "{} is damaged", path.display());
    }

    /// Starts the job and ends it by a signal, unless it is done before.
    fn interrupt(&self, ending: Ending) {
        let (signal, count) = match ending {
            Ending::Finished => return,
            Ending::Terminated(count) => ("-TERM", count),
            Ending::Killed(count) => ("-KILL", count),
        };
        self.job.configure();
        let mut running = Running::start(&self.job);
        for _ in 0..count {
            running.read_until(|line| line.starts_with("checkpoint at step ").then_some(()));
        }
        running.signal(signal);
        let (log, code) = running.wait();
        assert!(code == Some(0) || (code.is_none() && signal == "-KILL"), "{code:?}: {log}");
    }

    /// Returns the number of epochs that the weights of a finished run come from. A job whose
    /// checkpoint has more epochs than it asks for keeps those.
    fn trained_epochs(&self, run: &Run) -> usize {
        let asked = self.job.hyperparameters()["epochs"].parse().unwrap();
        let Some((_, rest)) = run.stdout.split_once("the job was finished after epoch ") else {
            return asked;
        };
        let done = rest.split(';').next().unwrap().parse().unwrap();
        assert!(done >= asked, "finished after {done} of {asked} epochs");
        done
    }
}

/// Checks the lines of a finished run.
fn check_log(run: &Run, expected: &Expected) {
    let Run { stdout, stderr, .. } = run;
    let went_on = stdout.contains("going on from the checkpoint at step ")
        || stdout.contains("the job was finished after epoch ");
    let has_passed_over = stderr.contains("going on with an older checkpoint");
    let has_content_warning = stderr.contains("did not save what the images and masks hold");
    let (must_go_on, must_pass_over, must_warn) = match expected {
        Expected::GoOn { is_older, knows_content } => (true, *is_older, !knows_content),
        _ => (false, false, false),
    };
    assert_eq!(went_on, must_go_on, "{stdout}{stderr}");
    assert_eq!(has_passed_over, must_pass_over, "{stderr}");
    assert_eq!(has_content_warning, must_warn, "{stderr}");
}
