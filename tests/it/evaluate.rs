//! `maskmaker evaluate` on the command line, with models that the program trained.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use maskmaker::data::synthetic::SampleData;
use serde_json::Value;

use crate::job::{Job, Run, maskmaker};

/// A job whose model was trained, with the validation images as a test set in `processing/input`.
fn trained_job() -> Job {
    let job = Job::new();
    job.train();
    let input = job.path("processing/input");
    fs::create_dir_all(&input).unwrap();
    for (channel, folder) in [("validation", "test"), ("validation_annotation", "test_annotation")]
    {
        copy_folder(&job.path("input/data").join(channel), &input.join(folder));
    }
    job
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// Packs a folder as SageMaker does, by tar.
fn pack(folder: &Path, archive: &Path, inside: &str) {
    let (parent, name) = (folder.parent().unwrap(), folder.file_name().unwrap());
    let mut command = Command::new("tar");
    command.arg("-czf").arg(archive);
    match inside {
        "." => command.arg("-C").arg(folder).arg("."),
        _ => command.arg("-C").arg(parent).arg(name),
    };
    assert!(command.status().unwrap().success());
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Checks a document against the part of JSON schema that the schema of `evaluation.json` uses.
fn check_schema(document: &Value, schema: &Value, root: &Value, place: &str) {
    for keyword in schema.as_object().into_iter().flat_map(|schema| schema.keys()) {
        let known = [
            "$schema",
            "title",
            "description",
            "$defs",
            "$ref",
            "type",
            "required",
            "properties",
            "additionalProperties",
            "items",
            "minItems",
            "maxItems",
            "const",
            "enum",
            "minimum",
        ];
        assert!(known.contains(&keyword.as_str()), "{keyword} is not checked here");
    }
    if let Some(allowed) = schema["enum"].as_array() {
        assert!(allowed.contains(document), "{place}");
    }
    assert!(schema["const"].is_null() || schema["const"] == *document, "{place}");
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root.pointer(reference.trim_start_matches('#')).unwrap();
        return check_schema(document, target, root, place);
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().map(|name| name.as_str().unwrap()).collect(),
        _ => Vec::new(),
    };
    let kind = match document {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let is_allowed =
        types.contains(&kind) || kind == "integer" && types.contains(&"number") || types.is_empty();
    assert!(is_allowed, "{place} is {kind}, and {types:?} are allowed");
    if let Value::Array(items) = document {
        let length = items.len() as u64;
        assert!(schema["minItems"].as_u64().is_none_or(|least| length >= least), "{place}");
        assert!(schema["maxItems"].as_u64().is_none_or(|most| length <= most), "{place}");
        for (index, item) in items.iter().enumerate() {
            check_schema(item, &schema["items"], root, &format!("{place}[{index}]"));
        }
    }
    let Value::Object(fields) = document else { return };
    for required in schema["required"].as_array().into_iter().flatten() {
        assert!(fields.contains_key(required.as_str().unwrap()), "{place} has no {required}");
    }
    for (name, value) in fields {
        let place = format!("{place}.{name}");
        match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Bool(false)) => panic!("{place} is not in the schema"),
            (Value::Null, other) => check_schema(value, other, root, &place),
            (property, _) => check_schema(value, property, root, &place),
        }
    }
}

fn check_evaluation(evaluation: &Value) {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/evaluation.schema.json");
    let schema = read_json(&schema);
    check_schema(evaluation, &schema, &schema, "evaluation");
}

#[test]
fn a_processing_step_needs_no_arguments() {
    let job = trained_job();
    let model = job.path("processing/model");
    fs::create_dir_all(&model).unwrap();
    pack(&job.path("model"), &model.join("model.tar.gz"), ".");
    fs::create_dir_all(job.path("config")).unwrap();
    fs::write(job.path("config/processingjobconfig.json"), "{}").unwrap();
    let run = job.run(&["evaluate"]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);

    let evaluation = read_json(&job.path("processing/output/evaluation.json"));
    check_evaluation(&evaluation);
    // The test images are those that validation scored.
    let metrics = read_json(&job.path("model/metrics.json"));
    let miou = evaluation["segmentation_metrics"]["miou"]["value"].as_f64().unwrap();
    assert!((miou - metrics["mIOU"].as_f64().unwrap()).abs() < 0.02, "{miou} {metrics}");
    assert_eq!(evaluation["segmentation_metrics"]["images"], 2);
    assert_eq!(evaluation["data"]["leaks"]["in_train"]["images"], 0);
    assert_eq!(evaluation["data"]["leaks"]["in_validation"]["images"], 2);
    assert!(run.stderr.contains("2 test images were in validation"), "{}", run.stderr);
    assert!(run.stdout.contains(&format!("test_miou={miou:.6} low=")), "{}", run.stdout);
    let message = fs::read_to_string(job.path("output/message")).unwrap();
    assert!(message.starts_with("gate passed: no rule was given\ntest_miou="), "{message}");
    for name in ["images.jsonl", "statistics.json", "constraints.json", "report.html"] {
        assert!(job.path("processing/output").join(name).is_file(), "{name}");
    }
    // The same again gives the same bytes.
    let read = |name: &str| fs::read(job.path("processing/output").join(name)).unwrap();
    let first = ["evaluation.json", "report.html"].map(read);
    assert_eq!(job.run(&["evaluate"]).code, Some(0));
    assert!(["evaluation.json", "report.html"].map(read) == first);
}

/// Runs `evaluate` on the job's model, data and output.
fn evaluate(job: &Job, arguments: &[&str]) -> Run {
    let model = job.path("model");
    let mut all = vec!["evaluate", "--model", model.to_str().unwrap()];
    all.extend(arguments);
    job.run(&all)
}

#[test]
fn a_gate_that_fails_has_an_exit_code_of_its_own() {
    let job = trained_job();
    let passed = |job: &Job| {
        read_json(&job.path("processing/output/evaluation.json"))["gate"]["passed"].clone()
    };
    let run = evaluate(&job, &["--min-miou", "0.999"]);
    assert_eq!((run.code, passed(&job)), (Some(0), false.into()), "{}", run.stderr);
    let run = evaluate(&job, &["--min-miou", "0.999", "--fail"]);
    assert_eq!((run.code, passed(&job)), (Some(4), false.into()), "{}", run.stderr);
    assert!(run.stderr.contains("error: gate failed: mIoU 0."), "{}", run.stderr);

    // No model is better than itself.
    let model = job.path("model");
    let run = evaluate(&job, &["--compare", model.to_str().unwrap(), "--must-improve", "--fail"]);
    assert_eq!(run.code, Some(4), "{}", run.stderr);
    check_evaluation(&read_json(&job.path("processing/output/evaluation.json")));
    assert!(run.stdout.contains("test_miou_difference=0.000000"), "{}", run.stdout);
    let none_yet = job.path("none-yet");
    fs::create_dir(&none_yet).unwrap();
    let run =
        evaluate(&job, &["--compare", none_yet.to_str().unwrap(), "--must-improve", "--fail"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stdout.contains("there is no other model yet"), "{}", run.stdout);
    // The last approved version of a group of the registry, and none while none is approved.
    let version = job.path("registry/scenes/1");
    copy_folder(&model, &version.join("model"));
    let package = serde_json::json!({
        "ModelPackageGroupName": "scenes", "ModelPackageVersion": 1,
        "ModelApprovalStatus": "PendingManualApproval", "CreationTime": "2026-01-01T00:00:00Z",
        "PipelineExecutionId": "e", "StepName": "RegisterModel",
    });
    fs::write(version.join("package.json"), package.to_string()).unwrap();
    let registry = job.path("registry").to_str().unwrap().to_owned();
    let of_registry = ["--compare", "registry:scenes", "--registry", &registry, "--must-improve"];
    let run = evaluate(&job, &of_registry);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("has no approved version of scenes"), "{}", run.stderr);
    let approve = ["registry", "approve", "scenes", "1", "--registry", &registry];
    assert!(maskmaker().args(approve).status().unwrap().success());
    let run = evaluate(&job, &of_registry);
    assert!(run.stdout.contains("test_miou_difference=0.000000"), "{}", run.stdout);
    let run = evaluate(&job, &["--min-miou", "75"]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("for 75 percent write 0.75"), "{}", run.stderr);
}

#[test]
fn a_model_is_disturbed_and_explained_where_that_is_asked_for() {
    let job = trained_job();
    let events = job.path("events");
    let run = evaluate(
        &job,
        &[
            "--robustness",
            "--explain",
            "1",
            "--occlusion-grid",
            "3",
            "--save-masks",
            "--tensorboard",
            events.to_str().unwrap(),
        ],
    );
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    let output = job.path("processing/output");
    let evaluation = read_json(&output.join("evaluation.json"));
    check_evaluation(&evaluation);
    let kinds = evaluation["robustness"]["perturbations"].as_array().unwrap();
    assert_eq!((kinds.len(), &evaluation["robustness"]["images"]), (8, &2.into()));
    assert!(run.stdout.contains("test_drop_haze="), "{}", run.stdout);
    let explainability = read_json(&output.join("explainability.json"));
    assert_eq!(explainability["has_grad_cam"], true);
    let class = &explainability["images"][0]["classes"][0];
    assert_eq!(class["occlusion"].as_array().unwrap().len(), 3);
    assert_eq!(class["grad_cam"][2].as_array().unwrap().len(), 3, "{class}");
    assert_eq!(explainability["deletion_check"], Value::Null, "two images are too few");
    assert_eq!(fs::read_dir(output.join("masks")).unwrap().count(), 2);
    assert_eq!(fs::read_dir(events).unwrap().count(), 1);
    // A TorchScript file does not tell its layers.
    let script = job.path("script");
    fs::create_dir(&script).unwrap();
    fs::copy(job.path("model/model.pt"), script.join("model.pt")).unwrap();
    let run = job.run(&["evaluate", "--model", script.to_str().unwrap(), "--explain", "1"]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    assert!(run.stderr.contains("it is explained by occlusion alone"), "{}", run.stderr);
    assert_eq!(read_json(&output.join("explainability.json"))["has_grad_cam"], false);
}

#[test]
fn what_cannot_be_evaluated_is_told_with_the_fix() {
    let job = trained_job();
    let output = job.path("processing/output");
    let said = |arguments: &[&str]| {
        // Nobody must take the results of an earlier evaluation for those of one that failed.
        fs::create_dir_all(&output).unwrap();
        fs::write(output.join("evaluation.json"), "of before").unwrap();
        let run = job.run(&[&["evaluate"], arguments].concat());
        assert_eq!(run.code, Some(3), "{}{}", run.stdout, run.stderr);
        assert!(!output.join("evaluation.json").exists());
        run.stderr
    };
    assert!(said(&[]).contains("processing/model holds no model"));
    let archive = job.path("nested.tar.gz");
    pack(&job.path("model"), &archive, "model");
    let text = said(&["--model", archive.to_str().unwrap()]);
    assert!(text.contains("lies in a folder: pack what is in it, by tar -C model"), "{text}");
    fs::write(&archive, "no archive").unwrap();
    assert!(said(&["--model", archive.to_str().unwrap()]).contains("not compressed by gzip"));

    // A model of other classes.
    let other = Job::new().with("num_classes", "5");
    other.train();
    let (model, other) = (job.path("model"), other.path("model"));
    let compared = ["--model", model.to_str().unwrap(), "--compare", other.to_str().unwrap()];
    assert!(said(&compared).contains("the models have other classes"), "{}", said(&compared));
    // A file in the place of the output's folder.
    let file = job.path("model/config.json");
    let run = evaluate(&job, &["--output", file.to_str().unwrap()]);
    assert_eq!(run.code, Some(3));
    assert!(run.stderr.contains("config.json"), "{}", run.stderr);
}

#[test]
fn sigterm_leaves_no_half_written_results() {
    let job = trained_job();
    let many = job.path("many");
    SampleData { images: 1200, size: 96, seed: 5 }.write(&many).unwrap();
    for name in ["", "_annotation"] {
        fs::rename(many.join(format!("train{name}")), many.join(format!("test{name}"))).unwrap();
    }
    let mut command = maskmaker();
    command.arg("--ml-root").arg(job.path("")).arg("evaluate");
    command.arg("--model").arg(job.path("model")).arg("--data").arg(&many);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let output = job.path("processing/output");
    while !output.is_dir() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it began");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let ended = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("asked to stop"), "{stderr}");
    assert_eq!(fs::read_dir(output).unwrap().count(), 0);
}
