//! Rounds: a pipeline that runs to its end, and what a change repeats.

use super::*;

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
