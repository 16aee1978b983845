//! A training job in a temporary folder, run with the real program.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use maskmaker::data::synthetic::SampleData;
use maskmaker::imaging::{DecodeLimits, decode_mask, encode_mask};

/// The program under test, without this machine's own settings.
pub(crate) fn maskmaker() -> Command {
    // Tests that were built on another machine are told where the program lies.
    let program = std::env::var_os("TEST_PROGRAM");
    let mut command = Command::new(program.unwrap_or(env!("CARGO_BIN_EXE_maskmaker").into()));
    for (name, _) in std::env::vars() {
        if name.starts_with("MASKMAKER_") || name.starts_with("SAGEMAKER_") {
            command.env_remove(name);
        }
    }
    // Several tests run side by side; more threads each would only get in each other's way.
    command.env("OMP_NUM_THREADS", "1");
    command
}

/// An `/opt/ml` of its own with sample data: 6 training images, 2 to validate on.
pub(crate) struct Job {
    folder: tempfile::TempDir,
    hyperparameters: BTreeMap<String, String>,
}

impl Job {
    /// A job that takes a second or two.
    pub(crate) fn new() -> Self {
        let job = Self::without_data();
        let data = SampleData { images: 8, size: 64, seed: 3 };
        data.write(&job.path("input/data")).unwrap();
        job
    }

    /// The same without channels.
    pub(crate) fn without_data() -> Self {
        let settings = [
            ("algorithm", "fcn"),
            ("backbone", "resnet-18"),
            ("use_pretrained_model", "False"),
            ("num_classes", "4"),
            ("epochs", "1"),
            ("mini_batch_size", "3"),
            ("base_size", "64"),
            ("crop_size", "32"),
        ];
        let hyperparameters =
            settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Self { folder: tempfile::tempdir().unwrap(), hyperparameters }
    }

    /// Sets a hyperparameter.
    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        self.set(key, value);
        self
    }

    /// Sets a hyperparameter of the runs to come.
    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.hyperparameters.insert(key.to_owned(), value.to_owned());
    }

    /// Removes a hyperparameter from the runs to come.
    pub(crate) fn remove(&mut self, key: &str) {
        self.hyperparameters.remove(key);
    }

    /// Returns the hyperparameters that were set.
    pub(crate) fn hyperparameters(&self) -> &BTreeMap<String, String> {
        &self.hyperparameters
    }

    /// A path below the root.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    /// A file of a channel.
    pub(crate) fn file(&self, channel: &str, name: &str) -> PathBuf {
        self.path("input/data").join(channel).join(name)
    }

    /// The first file of a channel.
    pub(crate) fn first(&self, channel: &str) -> PathBuf {
        let mut files: Vec<PathBuf> = fs::read_dir(self.path("input/data").join(channel))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        files.remove(0)
    }

    /// Replaces every value of every mask of a channel, under the same names.
    pub(crate) fn change_masks(&self, channel: &str, change: impl Fn(u8) -> u8) {
        for name in names(&self.path("input/data").join(channel)) {
            let path = self.file(channel, &name);
            let bytes = fs::read(&path).unwrap();
            let mut mask = decode_mask(&bytes, DecodeLimits::default()).unwrap();
            for pixel in mask.pixels_mut() {
                pixel.0[0] = change(pixel.0[0]);
            }
            fs::write(path, encode_mask(&mask)).unwrap();
        }
    }

    /// Runs a prepared command, whose output goes where it says, and gives the exit code.
    pub(crate) fn run_to_the_end(&self, mut command: Command, arguments: &[&str]) -> Option<i32> {
        self.configure();
        let folder = self.folder.path();
        command.arg("--ml-root").arg(folder).args(arguments).status().unwrap().code()
    }

    /// Writes `hyperparameters.json`.
    pub(crate) fn configure(&self) {
        let config = self.path("input/config");
        fs::create_dir_all(&config).unwrap();
        let text = serde_json::to_string(&self.hyperparameters).unwrap();
        fs::write(config.join("hyperparameters.json"), text).unwrap();
    }

    /// Runs `maskmaker --ml-root ROOT ARGUMENTS`.
    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        self.run_with(maskmaker(), arguments)
    }

    /// The same with a prepared command.
    pub(crate) fn run_with(&self, mut command: Command, arguments: &[&str]) -> Run {
        self.configure();
        let output =
            command.arg("--ml-root").arg(self.folder.path()).args(arguments).output().unwrap();
        Run::new(&output)
    }

    /// Trains and expects success.
    pub(crate) fn train(&self) -> Run {
        let run = self.run(&["train"]);
        assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
        run
    }

    /// Trains, expects exit code 3, and gives what is in `output/failure`.
    pub(crate) fn failure(&self) -> String {
        let run = self.run(&["train"]);
        assert_eq!(run.code, Some(3), "{}{}", run.stdout, run.stderr);
        assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
        let reason = fs::read_to_string(self.path("output/failure")).unwrap();
        assert!(reason.chars().count() <= 1024, "{reason}");
        let first = reason.lines().next().unwrap();
        assert!(run.stderr.contains(first), "the log says it too: {}", run.stderr);
        reason
    }
}

/// What a run of the program left.
pub(crate) struct Run {
    /// The exit code; none when a signal ended it.
    pub(crate) code: Option<i32>,
    /// Its standard output.
    pub(crate) stdout: String,
    /// Its standard error.
    pub(crate) stderr: String,
}

impl Run {
    /// Reads a finished process's output.
    pub(crate) fn new(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The names in a folder, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
