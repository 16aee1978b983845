//! Augmented manifests as files of a channel.

use std::fs;

use crate::job::{Job, names};

/// Moves the pairs of a split into a manifest, in the order of their names.
fn into_manifest(job: &Job, split: &str) {
    let annotation = format!("{split}_annotation");
    let data = job.path("input/data");
    let mut lines = String::new();
    for (image, mask) in names(&data.join(split)).into_iter().zip(names(&data.join(&annotation))) {
        let mask = data.join("masks").join(&annotation).join(mask);
        let line = serde_json::json!({"source-ref": format!("images/{image}"), "labels-ref": mask,
            "labels-ref-metadata": {"type": "groundtruth/semantic-segmentation"}});
        lines += &line.to_string();
        lines.push('\n');
    }
    fs::rename(data.join(split), data.join("moved")).unwrap();
    fs::create_dir_all(data.join(split)).unwrap();
    fs::rename(data.join("moved"), data.join(split).join("images")).unwrap();
    fs::create_dir_all(data.join("masks")).unwrap();
    fs::rename(data.join(&annotation), data.join("masks").join(&annotation)).unwrap();
    fs::write(job.file(split, "output.manifest"), lines).unwrap();
}

#[test]
fn manifests_train_to_the_weights_of_folders() {
    let model = |job: &Job| {
        job.train();
        fs::read(job.path("model/model.safetensors")).unwrap()
    };
    let folders = model(&Job::new());
    let job = Job::new();
    into_manifest(&job, "train");
    into_manifest(&job, "validation");
    assert!(model(&job) == folders, "the weights are the same bit for bit");
}

#[test]
fn wrong_lines_are_told_before_the_first_step_with_the_other_problems() {
    let job = Job::new();
    into_manifest(&job, "train");
    let file = job.file("train", "output.manifest");
    let text = fs::read_to_string(&file).unwrap();
    let line = r#"{"source-ref": "https://host/a.jpg", "labels-ref": "s3://bucket/a.png"}"#;
    fs::write(&file, format!("{text}{line}\n{{\n")).unwrap();
    fs::remove_file(job.first("validation")).unwrap();
    let reason = job.failure();
    assert!(
        reason.contains("output.manifest: 2 lines cannot be used: line 7 has source-ref https://")
    );
    assert!(reason.contains("line 8 is no JSON object"), "{reason}");
    assert!(reason.contains("channel validation_annotation: 1 mask without an image"), "{reason}");
}
