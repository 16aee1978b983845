//! Stop and go: a job that was interrupted, in whatever way, ends where it would have ended.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::job::{Job, maskmaker, names};

/// A job of 3 steps per epoch that writes a checkpoint after every step.
fn job(epochs: usize) -> Job {
    Job::new()
        .with("epochs", &epochs.to_string())
        .with("mini_batch_size", "2")
        .with("checkpoint_interval", "0")
}

fn model(job: &Job) -> Vec<u8> {
    fs::read(job.path("model/model.safetensors")).unwrap()
}

/// The step that a line like "checkpoint at step 7 (epoch ..." names.
fn step(line: &str) -> Option<usize> {
    line.split_once("checkpoint at step ")?.1.split(' ').next()?.parse().ok()
}

/// A job at work; killed when a test ends early.
pub(crate) struct Running {
    process: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Running {
    pub(crate) fn start(job: &Job) -> Self {
        Self::start_with(job, &[])
    }

    /// Starts a job with flags of `train`.
    pub(crate) fn start_with(job: &Job, flags: &[&str]) -> Self {
        let mut command = maskmaker();
        command.arg("--ml-root").arg(job.path("")).arg("train").args(flags);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Reads on until `wanted` gives something of a line; none when the job ended.
    pub(crate) fn read_until<T>(&mut self, wanted: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.lines.by_ref().find_map(|line| wanted(&line.unwrap()))
    }

    pub(crate) fn signal(&self, signal: &str) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// What it still says, and its exit code.
    pub(crate) fn wait(mut self) -> (String, Option<i32>) {
        let rest: Vec<String> = self.lines.by_ref().map(Result::unwrap).collect();
        (rest.join("\n"), self.process.wait().unwrap().code())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn torchscript(job: &Job) -> Vec<u8> {
    fs::read(job.path("model/model.pt")).unwrap()
}

fn checkpoints(job: &Job) -> Vec<PathBuf> {
    let names = names(&job.path("checkpoints"));
    let own = names.iter().filter(|name| name.starts_with("checkpoint-"));
    own.map(|name| job.path("checkpoints").join(name)).collect()
}

#[test]
fn a_job_killed_at_twenty_steps_ends_with_the_weights_of_one_never_stopped() {
    let undisturbed = job(10);
    undisturbed.train();

    let disturbed = job(10);
    disturbed.configure();
    let (mut kills, mut written) = (0, 0);
    let log = loop {
        let mut running = Running::start(&disturbed);
        if kills > 0 {
            let resumed = running.read_until(step).unwrap();
            // The interval is one step: nothing that a checkpoint was announced for is repeated.
            assert!(resumed >= written, "went on at {resumed} after {written} was written");
            written = resumed;
        }
        if kills == 20 {
            break running.wait();
        }
        // The line after the one that tells where it went on.
        written = running.read_until(|line| step(line).filter(|&step| step > written)).unwrap();
        running.signal("-KILL");
        assert_eq!(running.wait().1, None, "it was killed");
        kills += 1;
        assert!(checkpoints(&disturbed).len() <= 3, "old ones are removed");
    };
    assert_eq!(log.1, Some(0), "{}", log.0);
    assert!(model(&disturbed) == model(&undisturbed), "the weights are the same bit for bit");
    assert_eq!(checkpoints(&disturbed).len(), 2);
    // What the kills left half written is gone.
    assert!(names(&disturbed.path("checkpoints")).iter().all(|name| !name.starts_with('.')));
}

#[test]
fn an_average_a_loss_scale_and_accumulated_gradients_go_on_bit_for_bit_too() {
    let job = || {
        let settings = [
            ("precision", "fp16"),
            ("ema_decay", "0.9"),
            ("gradient_clip_norm", "1"),
            ("loss", "cross_entropy,dice"),
            ("mini_batch_size", "1"),
            ("gradient_accumulation_steps", "2"),
        ];
        settings.iter().fold(job(2), |job, (name, value)| job.with(name, value))
    };
    let (undisturbed, disturbed) = (job(), job());
    undisturbed.train();
    disturbed.configure();
    let mut running = Running::start(&disturbed);
    running.read_until(|line| line.contains("checkpoint at step 2 ").then_some(())).unwrap();
    running.signal("-KILL");
    running.wait();
    let (log, code) = Running::start(&disturbed).wait();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("going on from the checkpoint at step"), "{log}");
    assert!(model(&disturbed) == model(&undisturbed), "the weights are the same bit for bit");
}

#[test]
fn a_signal_leaves_a_checkpoint_and_a_model_and_the_job_goes_on_from_there() {
    let undisturbed = job(3);
    undisturbed.train();
    // Before the first validation, and after one.
    for (signal, line) in
        [("-TERM", "checkpoint at step 1 "), ("-INT", "epoch 1/3 validation mIOU")]
    {
        let disturbed = job(3);
        disturbed.configure();
        let mut running = Running::start(&disturbed);
        running.read_until(|found| found.contains(line).then_some(())).unwrap();
        running.signal(signal);
        let (log, code) = running.wait();
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("asked to stop in epoch "), "{log}");
        for name in ["config.json", "model.safetensors", "model.pt", "labels.json", "README.md"] {
            assert!(disturbed.path("model").join(name).exists(), "{name} is missing after {line}");
        }
        assert!(!disturbed.path("output/failure").exists());

        // A new machine gets the checkpoints back, and nothing else.
        fs::remove_dir_all(disturbed.path("model")).unwrap();
        let log = disturbed.train().stdout;
        assert!(log.contains("going on from the checkpoint at step "), "{log}");
        assert!(model(&disturbed) == model(&undisturbed));
        assert!(torchscript(&disturbed) == torchscript(&undisturbed));
    }
}

#[test]
fn a_finished_job_puts_its_model_back_and_more_epochs_go_on() {
    let job = job(2);
    job.train();
    let trained = model(&job);
    let read = |name: &str| fs::read(job.path("model").join(name)).unwrap();
    let others = ["metrics.json", "model.pt", "labels.json", "README.md", "config.json"];
    let before = others.map(read);
    fs::remove_dir_all(job.path("model")).unwrap();
    let log = job.train().stdout;
    assert!(log.contains("the job was finished after epoch 2") && !log.contains("train loss"));
    assert!(model(&job) == trained);
    for (name, before) in others.into_iter().zip(before) {
        assert!(read(name) == before, "{name}");
    }

    let log = job.with("epochs", "3").train().stdout;
    assert!(log.contains("epoch 3/3 train loss: ") && !log.contains("epoch 2/3"), "{log}");
}

#[test]
fn a_checkpoint_of_another_job_is_refused_with_the_differences() {
    let job = job(1);
    job.train();
    let job = job.with("learning_rate", "0.02").with("seed", "7");
    let first = job.first("train");
    fs::copy(&first, first.with_file_name("another.jpg")).unwrap();
    let mask = job.first("train_annotation");
    fs::copy(&mask, mask.with_file_name("another.png")).unwrap();
    let reason = job.failure();
    for part in [
        "learning_rate was 0.001, is now 0.02",
        "seed was 0, is now 7",
        "the training data are others (6 samples then, 7 now): 1 added: another",
        "empty the folder to start from the beginning",
    ] {
        assert!(reason.contains(part), "{reason}");
    }
}

#[test]
fn a_damaged_checkpoint_is_passed_over_for_the_older_one() {
    let job = job(2);
    job.train();
    let trained = model(&job);
    let [older, newest] = <[PathBuf; 2]>::try_from(checkpoints(&job)).unwrap();
    let bytes = fs::read(&newest).unwrap();
    fs::write(&newest, &bytes[..bytes.len() / 2]).unwrap();
    let run = job.train();
    assert!(run.stderr.contains(newest.to_str().unwrap()), "{}", run.stderr);
    assert!(run.stderr.contains("going on with an older checkpoint"), "{}", run.stderr);
    assert!(model(&job) == trained);

    for path in checkpoints(&job).into_iter().chain([older]) {
        fs::write(path, b"{}").unwrap();
    }
    let reason = job.failure();
    assert!(
        reason.contains("can be read; empty the folder to start from the beginning"),
        "{reason}"
    );
}

#[test]
fn a_damaged_checkpoint_is_replaced_even_if_nothing_is_left_to_train() {
    let mut job = job(2);
    job.train();
    let [_, newest] = <[PathBuf; 2]>::try_from(checkpoints(&job)).unwrap();
    let bytes = fs::read(&newest).unwrap();
    fs::write(&newest, &bytes[..bytes.len() / 2]).unwrap();
    // The older checkpoint is of the second epoch, so one epoch is done.
    job.set("epochs", "1");
    let run = job.train();
    assert!(run.stderr.contains("going on with an older checkpoint"), "{}", run.stderr);
    assert!(!newest.exists(), "{}", newest.display());
    let run = job.train();
    assert!(run.stdout.contains("the job was finished after epoch 1"), "{}", run.stdout);
    assert!(!run.stderr.contains("older checkpoint"), "{}", run.stderr);
}

#[test]
fn damaged_best_weights_are_written_again_with_the_next_checkpoint() {
    // The older checkpoint is of a step before the first validation, and needs no best weights.
    let mut job = job(1);
    job.train();
    let trained = model(&job);
    let best = job.path("checkpoints/best-000001.safetensors");
    let bytes = fs::read(&best).unwrap();
    fs::write(&best, &bytes[..bytes.len() / 2]).unwrap();
    // No checkpoint comes before the first validation, which would remove the damaged file.
    job.set("checkpoint_interval", "3600");
    let run = job.train();
    assert!(run.stderr.contains("going on with an older checkpoint"), "{}", run.stderr);
    assert!(model(&job) == trained && fs::read(&best).unwrap() == bytes);
    let run = job.train();
    assert!(!run.stderr.contains("older checkpoint"), "{}", run.stderr);
    assert!(run.stdout.contains("the job was finished after epoch 1"), "{}", run.stdout);
}

#[test]
fn a_full_disk_is_an_error_that_leaves_the_last_good_checkpoint() {
    let job = job(1);
    job.train();
    let before = names(&job.path("checkpoints"));
    let job = job.with("epochs", "2");

    // Files of this size fit the model, and not a checkpoint, which holds optimizer state as well.
    let kilobytes = 60_000.to_string();
    let program = maskmaker().get_program().to_owned();
    let mut limited = Command::new("bash");
    limited.args(["-c", "trap '' XFSZ; ulimit -f $1; shift; exec \"$@\"", "bash"]);
    limited.arg(kilobytes).arg(program).env("OMP_NUM_THREADS", "1");
    let run = job.run_with(limited, &["train"]);
    assert_eq!(run.code, Some(3), "{}{}", run.stdout, run.stderr);
    let reason = fs::read_to_string(job.path("output/failure")).unwrap();
    assert!(
        reason.contains("cannot write") && reason.contains("checkpoints/checkpoint-"),
        "{reason}"
    );
    assert_eq!(names(&job.path("checkpoints")), before);

    let log = job.train().stdout;
    assert!(log.contains("going on from the checkpoint at step 3 "), "{log}");
}

#[test]
fn a_job_with_every_augmentation_goes_on_in_the_middle_of_an_epoch() {
    let all = "hflip,vflip,rotate=45,perspective,color_jitter,blur,noise,jpeg,cutout";
    let undisturbed = job(2).with("augmentations", all);
    undisturbed.train();

    let disturbed = job(2).with("augmentations", all);
    disturbed.configure();
    let mut running = Running::start(&disturbed);
    running.read_until(|line| step(line).filter(|&step| step == 2)).unwrap();
    running.signal("-KILL");
    assert_eq!(running.wait().1, None);
    let log = disturbed.train().stdout;
    assert!(log.contains("going on from the checkpoint at step "), "{log}");
    assert!(model(&disturbed) == model(&undisturbed), "the weights are the same bit for bit");

    let other = disturbed.with("augmentations", "none");
    assert!(other.failure().contains("augmentations was hflip=0.5,vflip=0.5,rotate=45,"));
}
