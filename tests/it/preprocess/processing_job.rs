//! What a processing job of SageMaker sees: defaults, the message and the instances.

use std::fs;

use serde_json::{Value, json};

use super::{Folders, object, task};

#[test]
fn a_job_says_what_became_of_it() {
    let folders = Folders::of("labelstudio/seg_JSON.json");
    folders.done(&[]);
    assert!(!folders.path("output").exists(), "no job, no message");
    folders.put("config/processingjobconfig.json", "{}");
    let run = folders.done(&[]);
    let message = fs::read_to_string(folders.path("output/message")).unwrap();
    assert!(message.contains("6 images: "), "{message}");
    assert!(message.contains("3 árvore 树"), "{message}");
    for line in message.lines() {
        assert!(run.stdout.contains(line), "{}", run.stdout);
    }

    folders.annotation("seg_JSON.json", "[{");
    let stderr = folders.refused(&[]);
    let message = fs::read_to_string(folders.path("output/message")).unwrap();
    assert!(message.contains("export it again"), "{message}");
    assert!(stderr.contains(message.lines().next().unwrap()), "{stderr}");
}

#[test]
fn a_long_message_is_cut_to_what_sagemaker_keeps_and_remains_text() {
    let folders = Folders::new();
    folders.noise("x/a.png", 3, 3);
    folders.noise("y/a.png", 3, 3);
    folders.put("config/processingjobconfig.json", "{}");
    let tasks: Vec<Value> =
        (0..90).map(|n| task(n, &format!("s3://b/{}{n}/a.png", "é海".repeat(9)), &[])).collect();
    folders.annotation("export.json", json!(tasks).to_string());
    folders.refused(&[]);
    let message = fs::read(folders.path("output/message")).unwrap();
    assert!((1000..=1024).contains(&message.len()), "{}", message.len());
    let message = String::from_utf8(message).unwrap();
    assert!(message.contains("may be x/a.png, y/a.png"), "{message}");
}

#[test]
fn several_instances_need_a_configuration_and_a_file_that_says_which_is_which() {
    let folders = Folders::new();
    folders.noise("a.png", 3, 3);
    folders.annotation("1", object(1, "a.png", &[]).to_string());
    folders.put("config/processingjobconfig.json", "{}");
    let hosts = |hosts: &[&str]| {
        let config = json!({"current_host": "algo-1", "hosts": hosts}).to_string();
        folders.put("config/resourceconfig.json", config);
    };
    hosts(&["algo-1", "algo-2"]);
    let said = folders.refused_without_config(&[]);
    assert!(said.contains("algo-1 is one of several instances"), "{said}");
    assert!(said.contains("--label-config"), "{said}");
    hosts(&["algo-1"]);
    folders.done_without_config(&[]);
    folders.put("config/resourceconfig.json", "{");
    let said = folders.refused(&[]);
    assert!(said.contains("resourceconfig.json"), "{said}");
}
