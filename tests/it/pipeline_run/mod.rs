//! `maskmaker pipeline run --local` with the real program: from annotations to a registered model, and
//! what comes of rounds, kills and wrong input. Here: a pipeline with its data, for all of these tests.

mod inputs;
mod kills;
mod rounds;
mod tuning;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::job::{Run, maskmaker};

/// Number of kills in `make test`; `MASKMAKER_KILLS` sets another one.
const FEW_KILLS: u32 = 2;

/// Longest time of a run in these tests.
const RUN_TIMEOUT: Duration = Duration::from_mins(4);

/// A pipeline with its data and its local root in a temporary folder.
struct Pipeline {
    folder: tempfile::TempDir,
    definition: Value,
    parameters: BTreeMap<String, String>,
}

impl Pipeline {
    /// `pipeline.json` with a small network and 40 annotated images of 64 pixels.
    fn new() -> Self {
        let mut pipeline = Self::small("pipeline.json");
        pipeline.step("Train")["Arguments"]["HyperParameters"]["seed"] = json!("7");
        pipeline.set("Backbone", "resnet-18");
        pipeline
    }

    /// A definition of this project with 40 annotated images of 64 pixels, without explanations.
    fn small(file: &str) -> Self {
        let mut pipeline = Self::of(own_definition(file));
        // Explanations take ten times as long as the scores.
        let arguments = &mut pipeline.step("Evaluate")["Arguments"]["AppSpecification"];
        let arguments = arguments["ContainerArguments"].as_array_mut().unwrap();
        let explain = arguments.iter().position(|argument| argument == "--explain").unwrap();
        arguments.drain(explain..explain + 2);
        let branch = &mut pipeline.step("CheckQuality")["Arguments"]["IfSteps"][0];
        let metrics = branch["Arguments"]["ModelMetrics"].as_object_mut().unwrap();
        metrics.remove("Explainability");
        for (name, value) in [
            ("DataRevision", "r1"),
            ("UsePretrainedModel", "False"),
            ("Epochs", "2"),
            ("MiniBatchSize", "4"),
            ("BaseSize", "64"),
            ("CropSize", "32"),
            ("MinMiou", "0.01"),
        ] {
            pipeline.set(name, value);
        }
        let data = pipeline.path("data");
        let made = maskmaker()
            .args(["sample-data", data.to_str().unwrap(), "--annotations"])
            .args(["--images", "40", "--size", "64"])
            .output()
            .unwrap();
        assert!(made.status.success());
        pipeline
    }

    /// A pipeline without data.
    fn of(definition: Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, definition, parameters: BTreeMap::new() }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    fn set(&mut self, parameter: &str, value: &str) {
        self.parameters.insert(parameter.to_owned(), value.to_owned());
    }

    fn step(&mut self, name: &str) -> &mut Value {
        let steps = self.definition["Steps"].as_array_mut().unwrap();
        steps.iter_mut().find(|step| step["Name"] == name).unwrap()
    }

    fn command(&self, root: &str) -> Command {
        let file = self.path("pipeline.json");
        fs::write(&file, self.definition.to_string()).unwrap();
        let mut command = maskmaker();
        command.args(["pipeline", "run", "--local"]).arg(&file);
        command.arg("--root").arg(self.path(root));
        for name in ["annotations", "images"] {
            let folder = self.path("data").join(name);
            let map = format!("s3://amzn-s3-demo-bucket/{name}={}", folder.display());
            command.arg("--map").arg(map);
        }
        for (name, value) in &self.parameters {
            command.arg("--parameter").arg(format!("{name}={value}"));
        }
        command
    }

    fn run(&self) -> Run {
        Run::new(&self.command("root").output().unwrap())
    }

    /// The execution that a run began or went on with, by what it printed.
    fn execution(run: &Run) -> String {
        let line = run.stdout.lines().find(|line| line.starts_with("execution ")).unwrap();
        line.split(' ').nth(1).unwrap().to_owned()
    }

    /// How often a step's job was begun in an execution.
    fn attempts(&self, execution: &str, step: &str) -> usize {
        let log = self.path("root/executions").join(execution).join(step).join("log.txt");
        let text = fs::read_to_string(log).unwrap_or_default();
        text.lines().filter(|line| line.starts_with("== ")).count()
    }

    /// The weights of a version in the registry of a root.
    fn weights(&self, root: &str, version: u32) -> Vec<u8> {
        let folder = self.path(root).join("registry/maskmaker").join(version.to_string());
        fs::read(folder.join("model/model.safetensors")).unwrap()
    }

    fn registry(&self, arguments: &[&str]) -> Run {
        let mut command = maskmaker();
        command.arg("registry").args(arguments).arg("--registry").arg(self.path("root/registry"));
        Run::new(&command.output().unwrap())
    }
}

fn own_definition(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Contents of all files below a folder, by their paths.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else {
            all.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    all
}

fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_there() {
        assert!(begin.elapsed() < RUN_TIMEOUT, "{what} did not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Starts a run whose output is kept.
fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}
