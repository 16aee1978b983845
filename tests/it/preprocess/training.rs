//! What preprocess writes is what train reads.

use std::fs;

use maskmaker::files::UNFINISHED_MARKER;
use serde_json::{Value, json};

use super::{Folders, read};
use crate::job::{Job, Run};

/// The export of the fixtures several times over, as tasks and images of their own.
fn copies(count: usize) -> Folders {
    let folders = Folders::new();
    folders.images_of_fixtures();
    let export: Vec<Value> = serde_json::from_slice(&read("labelstudio/seg_JSON.json")).unwrap();
    let mut tasks = Vec::new();
    for copy in 0..count {
        for task in &export {
            let image = task["data"]["image"].as_str().unwrap();
            let name = image.rsplit('/').next().unwrap();
            let name = name.replace("%C3%BC", "ü").replace("%C3%AF", "ï");
            let original = name[9..].replace("odd_size_", "odd size ");
            let bytes = read(&format!("labelstudio/images/{original}"));
            folders.image(&format!("copy{copy}_{original}"), bytes);
            let mut task = task.clone();
            task["data"]["image"] = json!(format!("s3://b/copy{copy}_{original}"));
            task["id"] = json!(1000 * copy as i64 + task["id"].as_i64().unwrap());
            for annotation in task["annotations"].as_array_mut().unwrap() {
                annotation["id"] = json!(1000 * copy as i64 + annotation["id"].as_i64().unwrap());
            }
            tasks.push(task);
        }
    }
    folders.annotation("export.json", Value::from(tasks).to_string());
    folders
}

/// A job whose channels are the output.
fn job(folders: &Folders) -> Job {
    let job = Job::without_data().with("num_classes", "5");
    fs::create_dir_all(job.path("input/data")).unwrap();
    let channels =
        ["train", "train_annotation", "validation", "validation_annotation", "label_map"];
    for channel in channels {
        let target = job.path("input/data").join(channel);
        std::os::unix::fs::symlink(folders.output(channel), target).unwrap();
    }
    job
}

#[test]
fn the_output_trains_as_it_is_and_the_audit_is_silent() {
    let folders = copies(2);
    // A seed by which both sides have every class.
    folders.done(&["--train-test-split-ratio", "40", "--seed", "5", "--strict"]);
    assert_eq!(folders.warnings(), Vec::<String>::new());
    // So many are in training; a batch that is not full would be told.
    let job = job(&folders).with("mini_batch_size", "7");
    let Run { stdout, stderr, .. } = job.train();
    assert_eq!(stderr, "", "nothing is warned of");
    assert!(!stdout.contains("warning"), "{stdout}");
    let config = fs::read(job.path("model/config.json")).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    let names = ["background", "road", "car", "árvore 树", "person/rider"];
    assert_eq!(config["class_names"], json!(names));
}

#[test]
fn train_refuses_channels_that_were_not_finished() {
    let folders = copies(1);
    folders.done(&["--train-test-split-ratio", "40"]);
    fs::write(folders.output("train_annotation").join(UNFINISHED_MARKER), b"").unwrap();
    let reason = job(&folders).failure();
    assert!(
        reason.contains("channel train_annotation is not complete")
            && reason.contains("run preprocess again"),
        "{reason}"
    );
}
