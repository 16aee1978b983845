//! Tuning steps: a search on this machine, whose best model is evaluated and registered.

use super::*;

/// `pipelines/tuning.json` with four short training jobs of small networks.
fn tuning_pipeline() -> Pipeline {
    let mut pipeline = Pipeline::small("pipelines/tuning.json");
    let arguments = &mut pipeline.step("Tune")["Arguments"];
    arguments["TrainingJobDefinition"]["StaticHyperParameters"]["seed"] = json!("7");
    let ranges = &mut arguments["HyperParameterTuningJobConfig"]["ParameterRanges"];
    for range in ranges["CategoricalParameterRanges"].as_array_mut().unwrap() {
        if range["Name"] == "backbone" {
            range["Values"] = json!(["resnet-18", "resnet-34"]);
        }
    }
    pipeline.set("MaxTrainingJobs", "4");
    pipeline
}

impl Pipeline {
    fn tuning_folder(&self, execution: &str) -> PathBuf {
        self.path("root/executions").join(execution).join("Tune")
    }

    /// Records of the trials of a tuning step.
    fn trials(&self, execution: &str) -> Vec<Value> {
        let mut trials = Vec::new();
        for number in 0.. {
            let folder = self.tuning_folder(execution).join(format!("search/trials/{number:04}"));
            let Ok(text) = fs::read(folder.join("trial.json")) else { break };
            trials.push(serde_json::from_slice(&text).unwrap());
        }
        trials
    }
}

/// Execution of the only run so far.
fn find_execution(pipeline: &Pipeline) -> Option<String> {
    let mut entries = fs::read_dir(pipeline.path("root/executions")).ok()?;
    Some(entries.next()?.ok()?.file_name().to_str()?.to_owned())
}

#[test]
fn a_search_that_was_killed_goes_on_and_its_best_model_is_registered() {
    let mut pipeline = tuning_pipeline();
    let mut killed = start(&mut pipeline.command("root"));
    wait_for("the second training job", || {
        let execution = find_execution(&pipeline);
        execution.is_some_and(|execution| {
            let second = pipeline.tuning_folder(&execution).join("search/trials/0001/log.txt");
            fs::read_to_string(second).is_ok_and(|log| log.contains("begins at"))
        })
    });
    killed.kill().unwrap();
    killed.wait().unwrap();
    let execution = find_execution(&pipeline).unwrap();
    let before = pipeline.trials(&execution);
    assert_eq!(before[0]["state"], json!("Completed"));

    let run = pipeline.run();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(Pipeline::execution(&run), execution);
    let trials = pipeline.trials(&execution);
    assert_eq!(trials.len(), 4);
    assert_eq!(trials[0], before[0]);
    assert_eq!(trials[1]["hyperparameters"], before[1]["hyperparameters"]);
    assert_eq!(pipeline.attempts(&execution, "Tune/search/trials/0000"), 1);
    assert_eq!(pipeline.attempts(&execution, "Tune/search/trials/0001"), 2);

    // The step's properties are those of the service.
    let result = pipeline.tuning_folder(&execution).join("result.json");
    let result: Value = serde_json::from_slice(&fs::read(result).unwrap()).unwrap();
    let properties = &result["Properties"];
    let summaries = properties["TrainingJobSummaries"].as_array().unwrap();
    assert_eq!(summaries.len(), 4);
    assert_eq!(properties["BestTrainingJob"], summaries[0]);
    let score =
        |summary: &Value| summary["FinalHyperParameterTuningJobObjectiveMetric"]["Value"].as_f64();
    let scores: Vec<f64> = summaries.iter().filter_map(score).collect();
    assert!(scores.is_sorted_by(|better, worse| better >= worse), "{scores:?}");
    let best = trials.iter().filter_map(|trial| trial["score"].as_f64()).fold(0.0, f64::max);
    assert!((scores[0] - best).abs() < 1e-12, "{scores:?}");
    let counters = &properties["TrainingJobStatusCounters"];
    let count = |state: &str| trials.iter().filter(|trial| trial["state"] == state).count();
    assert_eq!(counters["Completed"], json!(count("Completed")));
    assert_eq!(counters["Stopped"], json!(count("Stopped")));

    // The model that is registered is that of the best training job.
    let shown = pipeline.registry(&["show", "maskmaker", "1"]);
    let package: Value = serde_json::from_str(&shown.stdout).unwrap();
    let name = &summaries[0]["TrainingJobName"];
    assert_eq!(package["CustomerMetadataProperties"]["TrainingJobName"], *name);
    let archive = pipeline.path("root/s3/amzn-s3-demo-bucket/maskmaker").join(&execution);
    let archive = archive.join("Tune").join(name.as_str().unwrap()).join("output/model.tar.gz");
    let model = pipeline.path("unpacked");
    fs::create_dir(&model).unwrap();
    let unpacked = Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(&model).status();
    assert!(unpacked.unwrap().success());
    let weights = fs::read(model.join("model.safetensors")).unwrap();
    assert!(weights == pipeline.weights("root", 1), "the best model is registered");

    // Another limit: no training job runs again.
    pipeline.set("MinMiou", "0.99");
    let refused = pipeline.run();
    assert_eq!(refused.code, Some(4), "{}", refused.stderr);
    let expected = format!("Tune: cached, the result of execution {execution}");
    assert!(refused.stderr.contains(&expected), "{}", refused.stderr);
}

#[test]
fn what_only_the_service_searches_is_told_before_anything_runs() {
    let mut pipeline = tuning_pipeline();
    let arguments = &mut pipeline.step("Tune")["Arguments"];
    let config = &mut arguments["HyperParameterTuningJobConfig"];
    config["Strategy"] = json!("Grid");
    config["ParameterRanges"]["ContinuousParameterRanges"] = json!([]);
    arguments["Autotune"] = json!({"Mode": "Enabled"});
    let run = pipeline.run();
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    for expected in ["step Tune: Strategy is Grid", "step Tune: Autotune is Enabled"] {
        assert!(run.stderr.contains(expected), "{}", run.stderr);
    }
    assert!(!pipeline.path("root/executions").exists());
}
