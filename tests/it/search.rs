//! `maskmaker search` with real trainings: kills, stops, failures, and what it leaves.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::job::{Job, Run, maskmaker};

/// Number of kills in `make test`; `MASKMAKER_KILLS` sets another one.
const FEW_KILLS: u32 = 3;

/// A search on the sample data of a job.
struct Search {
    job: Job,
    ranges: Value,
    trials: &'static str,
}

impl Search {
    /// Five trials of at most three epochs, which take some seconds.
    fn new() -> Self {
        let ranges = json!({"ContinuousParameterRanges": [
                {"Name": "learning_rate", "MinValue": "0.0001", "MaxValue": "0.1"}],
            "CategoricalParameterRanges": [{"Name": "optimizer", "Values": ["adam", "sgd"]}]});
        let job = Job::new().with("epochs", "3").with("seed", "7").with("checkpoint_interval", "1");
        Self { job, ranges, trials: "5" }
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.job.path(name)
    }

    fn command(&self, folder: &str, flags: &[&str]) -> Command {
        self.job.configure();
        let ranges = self.job.path("ranges.json");
        fs::write(&ranges, self.ranges.to_string()).unwrap();
        let mut command = maskmaker();
        command.arg("--ml-root").arg(self.job.path("")).arg("search").arg(ranges);
        command
            .arg("--output")
            .arg(self.folder(folder))
            .args(["--trials", self.trials])
            .args(flags);
        command
    }

    fn run(&self, folder: &str, flags: &[&str]) -> Run {
        Run::new(&self.command(folder, flags).output().unwrap())
    }

    /// The records of the trials, in the order of their numbers.
    fn records(&self, folder: &str) -> Vec<Value> {
        let mut records = Vec::new();
        loop {
            let file = self.trial(folder, records.len()).join("trial.json");
            let Ok(bytes) = fs::read(file) else { return records };
            records.push(serde_json::from_slice(&bytes).unwrap());
        }
    }

    fn trial(&self, folder: &str, number: usize) -> PathBuf {
        self.folder(folder).join(format!("trials/{number:04}"))
    }

    fn best(&self, folder: &str) -> Value {
        let bytes = fs::read(self.folder(folder).join("best-hyperparameters.json")).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    /// The lengths of the logs of finished trials, which a further process must leave alone.
    fn finished_logs(&self, folder: &str) -> BTreeMap<usize, u64> {
        let mut logs = BTreeMap::new();
        for (number, record) in self.records(folder).iter().enumerate() {
            if record["state"] != "Running" {
                let log = self.trial(folder, number).join("log.txt");
                logs.insert(number, fs::metadata(log).map_or(0, |log| log.len()));
            }
        }
        logs
    }
}

fn has_model(trial: &Path) -> bool {
    trial.join("ml/model/model.safetensors").is_file()
}

#[test]
fn a_search_that_is_killed_again_and_again_repeats_no_finished_trial() {
    let kills = std::env::var("MASKMAKER_KILLS").ok().and_then(|text| text.parse().ok());
    let kills: u32 = kills.unwrap_or(FEW_KILLS);
    let search = Search::new();
    let began = Instant::now();
    let whole = search.run("whole", &[]);
    assert_eq!(whole.code, Some(0), "{}", whole.stderr);
    let duration = began.elapsed();
    let mut killed = 0;
    let mut finished = BTreeMap::new();
    for number in 0..kills {
        let mut command = search.command("killed", &[]);
        let mut run = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Moments that are spread over the search, and not the same in two runs of the test.
        let nanoseconds = f64::from(began.elapsed().subsec_nanos()) / 1e9;
        let share = (f64::from(number % 3) + nanoseconds) / 3.0;
        std::thread::sleep(
            duration.mul_f64(1.6 * share / f64::from(kills)).max(Duration::from_millis(50)),
        );
        killed += u32::from(run.try_wait().unwrap().is_none());
        run.kill().unwrap();
        run.wait().unwrap();
        let logs = search.finished_logs("killed");
        for (trial, length) in &finished {
            assert_eq!(logs.get(trial), Some(length), "trial {trial} was run again");
        }
        finished = logs;
    }
    assert!(2 * killed >= kills, "only {killed} of {kills} searches were killed before they ended");
    let end = search.run("killed", &[]);
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    let logs = search.finished_logs("killed");
    for (trial, length) in &finished {
        assert_eq!(logs.get(trial), Some(length), "trial {trial} was run again");
    }
    assert_eq!(search.records("killed"), search.records("whole"));
    assert_eq!(search.best("killed"), search.best("whole"));
}

#[test]
fn a_search_leaves_the_best_model_alone_its_values_and_pictures() {
    let search = Search::new();
    let run = search.run("search", &["--early-stopping", "none"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let records = search.records("search");
    assert_eq!(records.len(), 5);
    let mut best = 0;
    for (number, record) in records.iter().enumerate() {
        assert_eq!(record["state"], "Completed", "{record}");
        assert_eq!(record["reports"].as_object().unwrap().len(), 3);
        if record["score"].as_f64() > records[best]["score"].as_f64() {
            best = number;
        }
        assert!(!search.trial("search", number).join("ml/checkpoints").exists());
    }
    let told = search.best("search");
    assert_eq!(told["trial"], json!(best));
    assert_eq!(told["objective"]["name"], "validation:mIOU");
    assert_eq!(told["hyperparameters"], records[best]["hyperparameters"]);
    for number in 0..5 {
        assert_eq!(has_model(&search.trial("search", number)), number == best, "{number}");
    }
    for picture in ["trials.svg", "importance.svg"] {
        let text = fs::read_to_string(search.folder("search").join(picture)).unwrap();
        assert!(text.contains("learning_rate") && text.contains("optimizer"), "{picture}");
    }
    assert!(
        run.stdout.contains(&format!("best: trial {best}, validation:mIOU ")),
        "{}",
        run.stdout
    );
    // The same command has nothing to do; with more trials it goes on, and keeps the best model.
    let again = Search { trials: "6", ..search };
    let run = again.run("search", &["--early-stopping", "none"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(again.records("search")[..5], records);
    let kept: Vec<usize> =
        (0..6).filter(|&number| has_model(&again.trial("search", number))).collect();
    assert_eq!(json!(kept), json!([again.best("search")["trial"]]));
    // The values are parameters of a pipeline.
    let file = again.folder("search").join("best-hyperparameters.json");
    let rendered = maskmaker()
        .args(["pipeline", "render", concat!(env!("CARGO_MANIFEST_DIR"), "/pipeline.json")])
        .args(["--parameter", "DataRevision=r1", "--best-hyperparameters"])
        .arg(&file)
        .output()
        .unwrap();
    let rendered = Run::new(&rendered);
    assert_eq!(rendered.code, Some(0), "{}", rendered.stderr);
    let requests: Value = serde_json::from_str(&rendered.stdout).unwrap();
    let values = &again.best("search")["hyperparameters"];
    assert_eq!(requests["Parameters"]["Optimizer"], values["optimizer"]);
    let rate: f64 = values["learning_rate"].as_str().unwrap().parse().unwrap();
    let parameter = &requests["Parameters"]["LearningRate"];
    let parameter =
        parameter.as_f64().unwrap_or_else(|| parameter.as_str().unwrap().parse().unwrap());
    assert!((parameter - rate).abs() < 1e-12, "{parameter} {rate}");
}

#[test]
fn poor_trials_stop_early_and_are_told_why() {
    let mut search = Search::new();
    search.trials = "8";
    search.ranges = json!({"ContinuousParameterRanges": [
        {"Name": "learning_rate", "MinValue": "1e-7", "MaxValue": "0.01"}]});
    let run = search.run("search", &["--sampler", "random", "--parallel", "2"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let records = search.records("search");
    let stopped: Vec<&Value> =
        records.iter().filter(|record| record["state"] == "Stopped").collect();
    assert!(!stopped.is_empty() && stopped.len() < 8, "{records:?}");
    for record in stopped {
        assert!(record["reports"].as_object().unwrap().len() < 3, "{record}");
        assert!(record["reason"].as_str().unwrap().contains("after 1 epoch,"), "{record}");
    }
}

#[test]
fn a_search_that_is_asked_to_stop_goes_on_later() {
    let mut search = Search::new();
    search.job.set("epochs", "12");
    search.trials = "1";
    let mut run = search.command("search", &["--early-stopping", "none"]).spawn().unwrap();
    let log = search.trial("search", 0).join("log.txt");
    let deadline = Instant::now() + Duration::from_mins(2);
    while !fs::read_to_string(&log).unwrap_or_default().contains("epoch 2/12 validation mIOU") {
        assert!(Instant::now() < deadline && run.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(20));
    }
    let sent = Command::new("kill").args(["-TERM", &run.id().to_string()]).status().unwrap();
    assert!(sent.success());
    assert_eq!(run.wait().unwrap().code(), Some(1));
    assert_eq!(search.records("search")[0]["state"], "Running");
    let reports = search.records("search")[0]["reports"].as_object().unwrap().len();
    let end = search.run("search", &["--early-stopping", "none"]);
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    let text = fs::read_to_string(&log).unwrap();
    // It went on where it was.
    assert_eq!(text.matches("epoch 1/12 validation mIOU").count(), 1, "{text}");
    assert!(reports >= 2);
}

#[test]
fn wrong_ranges_folders_and_metrics_are_told_before_anything_runs() {
    let mut search = Search::new();
    search.ranges = json!({"ContinuousParameterRanges": [
            {"Name": "learning_rat", "MinValue": "0.1", "MaxValue": "0.2"},
            {"Name": "momentum", "MinValue": "0.1", "MaxValue": "7"}],
        "CategoricalParameterRanges": [{"Name": "optimizer", "Values": ["adam", "sdg"]}]});
    let run = search.run("search", &[]);
    assert_eq!(run.code, Some(3));
    for text in ["did you mean \"learning_rate\"", "momentum", "sdg"] {
        assert!(run.stderr.contains(text), "{text}: {}", run.stderr);
    }
    assert!(!search.folder("search").join("trials/0000").exists());
    let search = Search::new();
    let run = search.run("search", &["--metric", "validation:miou"]);
    assert!(run.code == Some(3) && run.stderr.contains("validation:mIOU"), "{}", run.stderr);
    assert!(!search.folder("search").exists());
    let first = Search { trials: "1", ..search };
    assert_eq!(first.run("search", &[]).code, Some(0));
    let run = first.run("search", &["--seed", "4"]);
    assert!(run.code == Some(3) && run.stderr.contains("which differs in seed"), "{}", run.stderr);
    fs::remove_file(first.job.first("train")).unwrap();
    let run = first.run("search", &[]);
    assert!(run.code == Some(3) && run.stderr.contains("differs in data"), "{}", run.stderr);
}

#[test]
fn ranges_that_depend_on_each_other_are_taken_and_fractions_of_epochs_are_not() {
    let mut search = Search::new();
    search.trials = "1";
    search.ranges = json!({
        "IntegerParameterRanges": [{"Name": "epochs", "MinValue": "1", "MaxValue": "2"}],
        "CategoricalParameterRanges": [
            {"Name": "lr_scheduler", "Values": ["poly", "step"]},
            {"Name": "lr_scheduler_step", "Values": ["1", "1,2"],
             "Condition": {"Name": "lr_scheduler", "Values": ["step"]}}]});
    let run = search.run("search", &[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    search.ranges = json!({"ContinuousParameterRanges": [
        {"Name": "epochs", "MinValue": "5", "MaxValue": "20"}]});
    let run = search.run("other", &[]);
    assert_eq!(run.code, Some(3));
    assert!(run.stderr.contains("move its range to IntegerParameterRanges"), "{}", run.stderr);
}

#[test]
fn a_search_whose_trials_all_fail_ends_with_the_reason() {
    let search = Search::new();
    search.job.change_masks("train_annotation", |_| 200);
    let run = search.run("search", &[]);
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    assert!(run.stderr.contains("the first 3 trials all failed"), "{}", run.stderr);
    assert!(run.stderr.contains("trial 0 failed: "), "{}", run.stderr);
    assert_eq!(search.records("search").len(), 3);
}
