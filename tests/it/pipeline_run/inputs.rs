//! Data and outputs that are not there, that jobs change, or that containers get.

use super::*;

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
    let mut pipeline = Pipeline::of(own_definition("pipeline.json"));
    pipeline.set("Epoch", "3");
    let run = pipeline.run();
    assert_eq!(run.code, Some(3));
    assert!(run.stderr.contains("no such parameter"), "{}", run.stderr);
    let run = Pipeline::of(own_definition("pipeline.json")).run();
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
