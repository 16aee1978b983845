//! `maskmaker pipeline run --local` with the real program: from annotations to a registered model, and
//! what comes of rounds, kills and wrong input.

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
        let mut pipeline = Self::of(own_definition());
        pipeline.step("Train")["Arguments"]["HyperParameters"]["seed"] = json!("7");
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
            ("Backbone", "resnet-18"),
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

fn own_definition() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipeline.json");
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

#[test]
fn a_round_ends_in_a_registered_model_and_each_change_repeats_what_follows_from_it() {
    let mut pipeline = Pipeline::new();
    let originals = contents(&pipeline.path("data"));
    let first = pipeline.run();
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    let execution = Pipeline::execution(&first);
    assert!(first.stderr.contains("RefuseModel: not run"), "{}", first.stderr);
    let is_registered = |line: &str| {
        line.starts_with("RegisterModel: succeeded")
            && line.ends_with("maskmaker version 1, PendingManualApproval")
    };
    assert!(first.stderr.lines().any(is_registered), "{}", first.stderr);
    assert_eq!(contents(&pipeline.path("data")), originals, "nothing of the user's has changed");
    let leftover = pipeline.path("root/executions").join(&execution).join("Train/ml");
    assert!(!leftover.exists(), "copies of the data are removed");

    // The package: what a person decides by.
    let shown = pipeline.registry(&["show", "maskmaker", "1"]);
    let package: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(package["PipelineExecutionId"], json!(execution));
    assert_eq!(package["CustomerMetadataProperties"]["DataRevision"], json!("r1"));
    for (name, count) in [("TrainImages", "27"), ("ValidationImages", "10"), ("TestImages", "3")] {
        assert_eq!(package["CustomerMetadataProperties"][name], json!(count), "{name}");
    }
    let miou: f64 =
        package["CustomerMetadataProperties"]["mIoU"].as_str().unwrap().parse().unwrap();
    assert!((0.0..=1.0).contains(&miou));
    let statistics = &package["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"];
    let version = pipeline.path("root/registry/maskmaker/1");
    assert!(version.join(statistics.as_str().unwrap()).is_file());
    let approved = pipeline.registry(&["approve", "maskmaker", "1", "--description", "fine"]);
    assert!(approved.stdout.contains("Approved"), "{}", approved.stderr);
    let listed = pipeline.registry(&["list"]);
    assert!(listed.stdout.starts_with("maskmaker  1  Approved"), "{}", listed.stdout);

    // The model can be used where it lies.
    let image = pipeline.path("data/images/scene_0001.jpg");
    let predicted = maskmaker()
        .arg("predict")
        .arg(version.join("model"))
        .arg(&image)
        .arg("--output")
        .arg(pipeline.path("masks"))
        .output()
        .unwrap();
    assert!(predicted.status.success());

    // The same again: another execution, no job, another version of the same model.
    let second = pipeline.run();
    assert_ne!(Pipeline::execution(&second), execution);
    for step in ["Preprocess", "Train", "Evaluate"] {
        let expected = format!("{step}: cached, the result of execution {execution}");
        assert!(second.stderr.contains(&expected), "{}", second.stderr);
    }
    assert_eq!(pipeline.weights("root", 1), pipeline.weights("root", 2));

    // Another hyperparameter: training and what follows.
    pipeline.set("LearningRate", "0.0005");
    let third = pipeline.run();
    let third_execution = Pipeline::execution(&third);
    assert!(third.stderr.contains("Preprocess: cached"), "{}", third.stderr);
    assert_eq!(pipeline.attempts(&third_execution, "Preprocess"), 0);
    assert_eq!(pipeline.attempts(&third_execution, "Train"), 1);
    assert_eq!(pipeline.attempts(&third_execution, "Evaluate"), 1);
    assert_ne!(pipeline.weights("root", 1), pipeline.weights("root", 3));

    // A limit that the model does not reach.
    pipeline.set("MinMiou", "0.99");
    let refused = pipeline.run();
    assert_eq!(refused.code, Some(4), "{}", refused.stderr);
    let message = "error: The model is not registered: its mIoU is 0.";
    assert!(refused.stderr.contains(message), "{}", refused.stderr);
    assert!(refused.stderr.contains("the least is 0.99"), "{}", refused.stderr);
    assert!(refused.stderr.contains("Train: cached"), "{}", refused.stderr);
    assert!(!pipeline.path("root/registry/maskmaker/4").exists());

    // A result that somebody changed does not count.
    let masks = pipeline.path("root/s3/amzn-s3-demo-bucket/maskmaker").join(&execution);
    let masks = masks.join("Preprocess/train/masks");
    let mask = fs::read_dir(&masks).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(&mask).unwrap();
    let repeated = pipeline.run();
    let repeated_execution = Pipeline::execution(&repeated);
    assert_eq!(pipeline.attempts(&repeated_execution, "Preprocess"), 1, "{}", repeated.stderr);
    assert!(repeated.stderr.contains("Train: cached"), "equal masks: {}", repeated.stderr);
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_with_the_same_model() {
    let kills = std::env::var("MASKMAKER_KILLS").ok().and_then(|text| text.parse().ok());
    let kills: u32 = kills.unwrap_or(FEW_KILLS);
    let mut pipeline = Pipeline::new();
    // Enough work that a run does not end before it is killed.
    pipeline.set("Epochs", &(4 + kills).to_string());
    // A checkpoint of every step, so that each attempt gets further.
    pipeline.step("Train")["Arguments"]["HyperParameters"]["checkpoint_interval"] = json!("0");
    let begin = Instant::now();
    let whole = Run::new(&pipeline.command("whole").output().unwrap());
    let duration = begin.elapsed();
    assert_eq!(whole.code, Some(0), "{}", whole.stderr);

    let mut executions = Vec::new();
    let mut killed = 0;
    let mut random = u64::from(std::process::id());
    for _ in 0..kills {
        let mut run = start(&mut pipeline.command("root"));
        // All runs together have as much time as the whole one, so the last ones still have work.
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let share = (random >> 33) as f64 / f64::from(1u32 << 31);
        std::thread::sleep(duration.mul_f64(2.0 * share / f64::from(kills)));
        let has_ended = run.try_wait().unwrap().is_some();
        run.kill().unwrap();
        let output = run.wait_with_output().unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        executions.extend(stdout.split(' ').nth(1).map(str::to_owned));
        if has_ended {
            break;
        }
        killed += 1;
    }
    let has_version = pipeline.path("root/registry/maskmaker/1").exists();
    if !has_version {
        let ended = pipeline.run();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        executions.push(Pipeline::execution(&ended));
    }
    assert!(2 * killed >= kills, "only {killed} of {kills} runs were killed before they ended");
    let execution = executions[0].clone();
    assert!(executions.iter().all(|other| *other == execution), "{executions:?}");
    assert!(pipeline.weights("whole", 1) == pipeline.weights("root", 1), "other weights");
    assert!(!pipeline.path("root/registry/maskmaker/2").exists(), "registered once");

    // Finished steps are not repeated, whatever comes after them.
    let attempts = pipeline.attempts(&execution, "Preprocess");
    let again = pipeline.run();
    assert_eq!(again.code, Some(0));
    assert!(again.stderr.contains("Train: cached"), "{}", again.stderr);
    assert_eq!(pipeline.attempts(&execution, "Preprocess"), attempts);
}

#[test]
fn a_run_that_was_killed_while_outputs_moved_does_not_repeat_the_job() {
    let mut pipeline = Pipeline::new();
    pipeline.set("Epochs", "1");
    let run = pipeline.run();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let execution = Pipeline::execution(&run);
    let weights = pipeline.weights("root", 1);
    // As if the run had been killed after half of the files had moved, before anything was recorded.
    fs::remove_dir_all(pipeline.path("root/cache")).unwrap();
    let folder = pipeline.path("root/executions").join(&execution);
    let masks = "Preprocess/train/masks";
    let place = pipeline.path("root/s3/amzn-s3-demo-bucket/maskmaker").join(&execution).join(masks);
    let output = folder.join("Preprocess/ml/processing/output/train_annotation");
    fs::create_dir_all(&output).unwrap();
    let mask = fs::read_dir(&place).unwrap().next().unwrap().unwrap();
    fs::rename(mask.path(), output.join(mask.file_name())).unwrap();
    let state = folder.join("execution.json");
    let text = fs::read_to_string(&state).unwrap().replace("\"Succeeded\"", "\"Executing\"");
    fs::write(&state, text).unwrap();

    let again = pipeline.run();
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert_eq!(Pipeline::execution(&again), execution);
    for step in ["Preprocess", "Train", "Evaluate"] {
        assert_eq!(pipeline.attempts(&execution, step), 1, "{step}");
    }
    assert!(place.join(mask.file_name()).is_file());
    assert_eq!(pipeline.weights("root", 1), weights);
    assert!(!pipeline.path("root/registry/maskmaker/2").exists(), "registered once");

    // What somebody changed meanwhile is not taken for the job's result: the job is run again.
    let right = fs::read(place.join(mask.file_name())).unwrap();
    fs::write(place.join(mask.file_name()), "changed").unwrap();
    let text = fs::read_to_string(&state).unwrap().replace("\"Succeeded\"", "\"Executing\"");
    fs::write(&state, text).unwrap();
    let again = pipeline.run();
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert_eq!(Pipeline::execution(&again), execution);
    assert_eq!(pipeline.attempts(&execution, "Preprocess"), 2);
    assert_eq!(pipeline.attempts(&execution, "Train"), 1, "the data are the same again");
    assert!(fs::read(place.join(mask.file_name())).unwrap() == right);
}

/// Starts a run whose output is kept.
fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn finished_steps_of_a_killed_run_are_kept_and_its_job_is_gone() {
    let mut pipeline = Pipeline::new();
    pipeline.set("Epochs", "500");
    let mut run = start(&mut pipeline.command("root"));
    wait_for_training(&pipeline);
    let executions = pipeline.path("root/executions");
    let execution = fs::read_dir(&executions).unwrap().next().unwrap().unwrap().file_name();
    // The folder is in use.
    let other = pipeline.run();
    assert_eq!(other.code, Some(3));
    assert!(other.stderr.contains(&format!("process {}", run.id())), "{}", other.stderr);
    run.kill().unwrap();
    run.wait().unwrap();
    let ml = executions.join(&execution).join("Train/ml").canonicalize().unwrap();
    let begin = Instant::now();
    // 500 epochs would take longer.
    wait_for("the end of the job", || find_job(&ml).is_none());
    assert!(begin.elapsed() < Duration::from_secs(10), "the job outlived its run");

    pipeline.set("Epochs", "1");
    let ended = pipeline.run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("Preprocess: cached"), "{}", ended.stderr);
}

#[test]
fn a_job_that_is_killed_is_named_with_its_log_and_the_next_run_goes_on() {
    let mut pipeline = Pipeline::new();
    pipeline.set("Epochs", "500");
    // By the system, for want of memory.
    let run = start(&mut pipeline.command("root"));
    send_signal("-KILL", wait_for_training(&pipeline));
    let output = run.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("error: step Train: it was ended by signal 9 (its log: "), "{stderr}");
    // By somebody who asks it to stop: training ends well then, but not as the pipeline meant.
    let run = start(&mut pipeline.command("root"));
    send_signal("-TERM", wait_for_training(&pipeline));
    let output = run.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("it was asked to stop, by something else"), "{stderr}");
    // With the whole run, which passes the signal on.
    let run = start(&mut pipeline.command("root"));
    wait_for_training(&pipeline);
    send_signal("-TERM", run.id());
    let output = run.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("the run was stopped; the same command goes on"), "{stderr}");
    let executions: Vec<_> = fs::read_dir(pipeline.path("root/executions")).unwrap().collect();
    assert_eq!(executions.len(), 1, "one execution all the while");
    let execution = executions[0].as_ref().unwrap().file_name().into_string().unwrap();
    assert_eq!(pipeline.attempts(&execution, "Train"), 3);
    assert_eq!(pipeline.attempts(&execution, "Preprocess"), 1);
}

/// The process that has this folder as its root.
fn find_job(ml_root: &Path) -> Option<u32> {
    let variable = format!("MASKMAKER_ML_ROOT={}", ml_root.display());
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment.split(|&byte| byte == 0).any(|entry| entry == variable.as_bytes()) {
            return entry.file_name().to_str()?.parse().ok();
        }
    }
    None
}

/// Waits until the training job of the only execution is at work, and returns its process.
fn wait_for_training(pipeline: &Pipeline) -> u32 {
    let executions = pipeline.path("root/executions");
    let mut job = None;
    wait_for("the training job", || {
        let Ok(mut entries) = fs::read_dir(&executions) else { return false };
        let Some(Ok(entry)) = entries.next() else { return false };
        let events = entry.path().join("Train/ml/output/tensorboard");
        let has_begun = fs::read_dir(&events).is_ok_and(|mut files| files.next().is_some());
        let ml = entry.path().join("Train/ml").canonicalize();
        job = ml.ok().filter(|_| has_begun).and_then(|ml| find_job(&ml));
        job.is_some()
    });
    job.unwrap()
}

fn send_signal(signal: &str, process: u32) {
    let sent = Command::new("kill").args([signal, &process.to_string()]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn a_second_round_sees_images_that_were_added_corrected_and_removed() {
    let mut pipeline = Pipeline::new();
    pipeline.set("Epochs", "1");
    let first = pipeline.run();
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    let count = |run: &Run| {
        let line = run.stderr.lines().find(|line| line.starts_with("Preprocess: succeeded"));
        line.unwrap().split(", ").nth(1).unwrap().to_owned()
    };
    assert_eq!(count(&first), "40 images: 3 test");

    // An export of the same project after a day of work, without a new revision.
    let export = pipeline.path("data/annotations/export.json");
    let mut tasks: Vec<Value> = serde_json::from_slice(&fs::read(&export).unwrap()).unwrap();
    let corrected = tasks[0]["annotations"][0]["result"][0]["value"]["brushlabels"].take();
    tasks[0]["annotations"][0]["result"][0]["value"]["brushlabels"] =
        if corrected == json!(["disc"]) { json!(["box"]) } else { json!(["disc"]) };
    let mut added = tasks[1].clone();
    added["id"] = json!(1000);
    added["annotations"][0]["id"] = json!(1000);
    added["data"]["image"] = json!("s3://amzn-s3-demo-bucket/images/added.jpg");
    tasks.push(added);
    let removed = tasks.remove(2);
    fs::write(&export, json!(tasks).to_string()).unwrap();
    let images = pipeline.path("data/images");
    fs::copy(images.join("scene_0002.jpg"), images.join("added.jpg")).unwrap();
    let name = removed["data"]["image"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    fs::remove_file(images.join(&name)).unwrap();

    let second = pipeline.run();
    assert_eq!(second.code, Some(0), "{}", second.stderr);
    assert!(second.stderr.contains("Preprocess: succeeded"), "{}", second.stderr);
    assert!(second.stderr.contains("maskmaker version 2"), "{}", second.stderr);
    let root = pipeline.path("root/s3/amzn-s3-demo-bucket/maskmaker");
    let masks = |run: &Run| contents(&root.join(Pipeline::execution(run)).join("Preprocess"));
    let names = |run: &Run| -> Vec<String> {
        let files = masks(run);
        files.keys().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    };
    assert!(names(&second).contains(&"added.png".to_owned()));
    assert!(!names(&second).contains(&name));
    assert!(names(&first).contains(&name), "the first round's data stay as they were");
    let mask = |run: &Run, name: &str| {
        let files = masks(run);
        files.into_iter().find(|(path, _)| path.ends_with(name)).unwrap().1
    };
    assert_ne!(mask(&first, "scene_0001.png"), mask(&second, "scene_0001.png"));
    assert_eq!(mask(&first, "scene_0002.png"), mask(&second, "scene_0002.png"));
}

#[test]
fn several_workers_train_in_a_run() {
    let mut pipeline = Pipeline::new();
    pipeline.set("Epochs", "1");
    let output = pipeline.command("root").env("MASKMAKER_WORKERS", "2").output().unwrap();
    let run = Run::new(&output);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("Train: succeeded"), "{}", run.stderr);
}

/// A definition of processing steps, each with its arguments, inputs and outputs as pairs of a place
/// and a folder below `/opt/ml/processing`.
type ProcessingStep<'a> =
    (&'a str, &'a [&'a str], &'a [(&'a str, &'a str)], &'a [(&'a str, &'a str)]);

fn processing_pipeline(steps: &[ProcessingStep<'_>]) -> Value {
    let mut list = Vec::new();
    for (name, arguments, inputs, outputs) in steps {
        let in_container = |folder: &str| format!("/opt/ml/processing/{folder}");
        let mut input_list = Vec::new();
        for (index, (uri, folder)) in inputs.iter().enumerate() {
            input_list.push(json!({"InputName": format!("input-{index}"), "S3Input": {
                "S3Uri": uri, "LocalPath": in_container(folder), "S3DataType": "S3Prefix",
                "S3InputMode": "File"}}));
        }
        let mut output_list = Vec::new();
        for (index, (uri, folder)) in outputs.iter().enumerate() {
            output_list.push(json!({"OutputName": format!("output-{index}"), "S3Output": {
                "S3Uri": uri, "LocalPath": in_container(folder), "S3UploadMode": "EndOfJob"}}));
        }
        list.push(json!({"Name": name, "Type": "Processing", "Arguments": {
            "ProcessingResources": {"ClusterConfig": {
                "InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30}},
            "AppSpecification": {
                "ImageUri": "111122223333.dkr.ecr.us-east-2.amazonaws.com/maskmaker:0.1.0",
                "ContainerArguments": arguments},
            "RoleArn": "arn:aws:iam::111122223333:role/service-role/SageMakerPipelineRole",
            "ProcessingInputs": input_list,
            "ProcessingOutputConfig": {"Outputs": output_list}}}));
    }
    json!({"Version": "2020-12-01", "Metadata": {}, "Parameters": [], "Steps": list})
}

const SAMPLES: [&str; 5] =
    ["sample-data", "/opt/ml/processing/data/new", "--images", "2", "--size=64"];

#[test]
fn a_job_that_writes_into_its_input_changes_no_file_of_the_user() {
    let pipeline = Pipeline::of(processing_pipeline(&[(
        "Extend",
        &SAMPLES,
        &[("s3://mine/data", "data")],
        &[("s3://mine/extended", "data")],
    )]));
    let data = pipeline.path("mine");
    fs::create_dir_all(data.join("deep")).unwrap();
    fs::write(data.join("deep/original.txt"), "kept").unwrap();
    let before = contents(&data);
    let map = format!("s3://mine/data={}", data.display());
    let run = Run::new(&pipeline.command("root").arg("--map").arg(map).output().unwrap());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(contents(&data), before);
    let extended = pipeline.path("root/s3/mine/extended");
    assert!(extended.join("deep/original.txt").is_file());
    assert!(extended.join("new/train/scene_0001.jpg").is_file());
    assert!(pipeline.run().stderr.contains("Extend: failed"), "without the map there is no data");
}

#[test]
fn steps_that_do_not_wait_for_each_other_run_side_by_side() {
    let names = ["First", "Second", "Third"];
    let places: Vec<String> = names.iter().map(|name| format!("s3://b/{name}")).collect();
    let outputs: Vec<[(&str, &str); 1]> =
        places.iter().map(|place| [(place.as_str(), "data")]).collect();
    let mut steps: Vec<ProcessingStep<'_>> = Vec::new();
    for (name, outputs) in names.iter().zip(&outputs) {
        steps.push((name, &SAMPLES, &[], outputs));
    }
    let pipeline = Pipeline::of(processing_pipeline(&steps));
    let run = pipeline.run();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    // All begin before one of them ends.
    let execution = Pipeline::execution(&run);
    let mut starts = Vec::new();
    let mut ends = Vec::new();
    for name in names {
        let file = pipeline.path("root/executions").join(&execution).join(name).join("result.json");
        let result: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        starts.push(result["StartTime"].as_str().unwrap().to_owned());
        ends.push(result["EndTime"].as_str().unwrap().to_owned());
    }
    assert!(starts.iter().max() < ends.iter().min(), "{starts:?} {ends:?}");
}

#[test]
fn what_cannot_run_here_is_told_before_anything_begins() {
    // All steps of types that only the service has, at once.
    let mut definition = processing_pipeline(&[("Make", &SAMPLES, &[], &[("s3://b/x", "data")])]);
    let steps = definition["Steps"].as_array_mut().unwrap();
    steps.push(json!({"Name": "Call", "Type": "Lambda", "Arguments": {}}));
    steps.push(json!({"Name": "Wait", "Type": "Callback", "Arguments": {}}));
    let run = Pipeline::of(definition).run();
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    for part in ["step Call: has the type Lambda", "step Wait: has the type Callback"] {
        assert!(run.stderr.contains(part), "{}", run.stderr);
    }
    assert!(!run.stdout.contains("begins"), "{}", run.stdout);

    // A definition with an error, and parameters without a value.
    let mut pipeline = Pipeline::of(own_definition());
    pipeline.set("Epoch", "3");
    let run = pipeline.run();
    assert_eq!(run.code, Some(3));
    assert!(run.stderr.contains("no such parameter"), "{}", run.stderr);
    let run = Pipeline::of(own_definition()).run();
    assert!(run.stderr.contains("the parameter DataRevision has no value"), "{}", run.stderr);
}

#[test]
fn data_that_is_not_there_and_outputs_that_were_not_written_are_named() {
    let run = Pipeline::of(processing_pipeline(&[(
        "Make",
        &SAMPLES,
        &[("s3://b/none", "input")],
        &[("s3://b/x", "data")],
    )]))
    .run();
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    assert!(
        run.stderr.contains("error: step Make: s3://b/none: there is no file"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("--map s3://b/none=DIR"), "{}", run.stderr);

    // The first step writes elsewhere; the second one waits for nothing that comes.
    let mut definition = processing_pipeline(&[
        ("Make", &SAMPLES, &[], &[("s3://b/made", "elsewhere")]),
        ("Use", &SAMPLES, &[("s3://b/made", "input")], &[("s3://b/used", "data")]),
    ]);
    definition["Steps"][1]["DependsOn"] = json!(["Make"]);
    let run = Pipeline::of(definition).run();
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    let note = "Make: the job wrote nothing to /opt/ml/processing/elsewhere";
    assert!(run.stderr.contains(note), "{}", run.stderr);
    assert!(run.stderr.contains("step Use: s3://b/made: there is no file"), "{}", run.stderr);

    // Nothing begins if a later step cannot run here: another program's image, outputs in each other.
    let mut definition = processing_pipeline(&[
        ("First", &SAMPLES, &[], &[("s3://b/first", "data")]),
        ("Other", &SAMPLES, &[], &[("s3://b/other", "data")]),
        ("Nested", &SAMPLES, &[], &[("s3://b/all", "data"), ("s3://b/part", "data/new")]),
    ]);
    let other = "111122223333.dkr.ecr.us-east-2.amazonaws.com/sklearn:1";
    definition["Steps"][1]["Arguments"]["AppSpecification"]["ImageUri"] = json!(other);
    let run = Pipeline::of(definition).run();
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    for part in ["step Other: the image is 1111", "step Nested: the outputs", "lie in each other"] {
        assert!(run.stderr.contains(part), "{}", run.stderr);
    }
    assert!(!run.stderr.contains("First: running"), "{}", run.stderr);
}

/// A stand-in for docker's client: it knows one image, and runs containers as processes.
const DOCKER: &str = r#"#!/bin/bash
printf '%s\n' "$*" >>"$DOCKER_CALLS"
case $1 in
  image) [ "${@: -1}" = known:1 ] && echo sha256:1 && exit 0; echo "Error: No such image" >&2; exit 1 ;;
  pull) echo "pull access denied" >&2; exit 1 ;;
  ps) echo left-over ;;
  run)
    while [ "$2" != known:1 ]; do
      case $2 in source=* | type=bind,source=*,target=/opt/ml) ml=${2#*source=} ml=${ml%%,*} ;; esac
      shift
    done
    shift 2
    MASKMAKER_ML_ROOT=$ml exec "$PROGRAM" "${@//\/opt\/ml/$ml}" ;;
esac
"#;

#[test]
fn containers_get_the_folder_the_user_and_the_name_and_are_removed_after_a_kill() {
    let pipeline =
        Pipeline::of(processing_pipeline(&[("Make", &SAMPLES, &[], &[("s3://b/made", "data")])]));
    let tools = pipeline.path("tools");
    fs::create_dir_all(&tools).unwrap();
    let docker = tools.join("docker");
    fs::write(&docker, DOCKER).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&docker, mode).unwrap();
    let calls = pipeline.path("calls");
    let run = |image: &[&str]| {
        let mut command = pipeline.command("root");
        let program = command.get_program().to_owned();
        let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
        command.env("PATH", path).env("DOCKER_CALLS", &calls).env("PROGRAM", program);
        Run::new(&command.arg("--docker").args(image).output().unwrap())
    };
    let done = run(&["--image", "known:1"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(pipeline.path("root/s3/b/made/new/train/scene_0001.jpg").is_file());
    let execution = Pipeline::execution(&done);
    let called = fs::read_to_string(&calls).unwrap();
    let root = pipeline.path("root").canonicalize().unwrap();
    let ml = root.join("executions").join(&execution).join("Make/ml");
    for part in [
        format!("--name maskmaker-{execution}-Make"),
        format!("--label maskmaker-local-root={}", root.display()),
        format!("--mount type=bind,source={},target=/opt/ml", ml.display()),
        "--user ".to_owned(),
        "--env PROCESSING_JOB_NAME=pipelines-".to_owned(),
        "known:1 sample-data /opt/ml/processing/data/new --images 2".to_owned(),
        "rm --force left-over".to_owned(),
    ] {
        assert!(called.contains(&part), "{part}: {called}");
    }
    assert!(run(&["--image", "known:1"]).stderr.contains("Make: cached"));
    // An image that cannot be had is no other job: nothing is removed for it.
    let missing = run(&[]);
    assert_eq!(missing.code, Some(3), "{}", missing.stderr);
    assert!(
        missing.stderr.contains("is not here, and docker cannot pull it"),
        "{}",
        missing.stderr
    );
}
