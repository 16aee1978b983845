//! Restarted jobs whose data changed meanwhile, and folders that the user chooses.

use std::fs;
use std::path::{Path, PathBuf};

use crate::job::{Job, names};

/// Exchanges two classes in every mask of a channel, under the same names.
fn exchange_classes(job: &Job, channel: &str) {
    job.change_masks(channel, |id| match id {
        1 => 2,
        2 => 1,
        other => other,
    });
}

fn model(job: &Job) -> Vec<u8> {
    fs::read(job.path("model/model.safetensors")).unwrap()
}

fn newest_checkpoint(job: &Job) -> PathBuf {
    let folder = job.path("checkpoints");
    let names = names(&folder);
    folder.join(names.iter().rfind(|name| name.starts_with("checkpoint-")).unwrap())
}

/// Takes the content of the samples out of a checkpoint, as versions before it wrote them.
pub(crate) fn forget_content(checkpoint: &Path) {
    let bytes = fs::read(checkpoint).unwrap();
    let header_bytes = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let (header, tensors) = bytes[8..].split_at(header_bytes);
    let mut header: serde_json::Value = serde_json::from_slice(header).unwrap();
    let text = header["__metadata__"]["maskmaker"].as_str().unwrap();
    let mut metadata: serde_json::Value = serde_json::from_str(text).unwrap();
    let entries = metadata["fingerprint"].as_object_mut().unwrap();
    assert!(entries.remove("training data").is_some());
    assert!(entries.remove("validation data").is_some());
    header["__metadata__"]["maskmaker"] = metadata.to_string().into();
    let mut header = header.to_string().into_bytes();
    header.resize(header_bytes, b' ');
    let bytes = [&(header_bytes as u64).to_le_bytes()[..], &header, tensors].concat();
    fs::write(checkpoint, bytes).unwrap();
}

#[test]
fn corrected_masks_and_images_under_the_same_names_are_refused_by_name() {
    let job = Job::new();
    job.train();
    let weights = model(&job);
    // The same data again, even if the files are new.
    let first = job.first("train");
    let bytes = fs::read(&first).unwrap();
    fs::remove_file(&first).unwrap();
    fs::write(&first, &bytes).unwrap();
    let log = job.train().stdout;
    assert!(log.contains("the job was finished after epoch 1") && model(&job) == weights);

    exchange_classes(&job, "train_annotation");
    fs::remove_dir_all(job.path("model")).unwrap();
    let reason = job.failure();
    let stem = first.file_stem().unwrap().to_str().unwrap();
    assert!(reason.contains("the training data are others (6 samples then, 6 now): "), "{reason}");
    assert!(reason.contains(&format!("{stem} (mask)")), "{reason}");
    assert!(reason.contains("use those again to go on, or empty the folder to start"), "{reason}");
    assert!(!reason.contains("validation data"), "{reason}");

    // In the middle of a job as well, and of an image of the validation split too.
    exchange_classes(&job, "train_annotation");
    let image = job.first("validation");
    let mut bytes = fs::read(&image).unwrap();
    bytes.extend_from_slice(b"behind the image");
    fs::write(&image, bytes).unwrap();
    let job = job.with("epochs", "2");
    let reason = job.failure();
    assert!(reason.contains("the validation data are others (2 samples then, 2 now): 1 changed: "));
    assert!(reason.contains("(image)") && !reason.contains("training data"), "{reason}");

    // The advice helps.
    fs::remove_dir_all(job.path("checkpoints")).unwrap();
    job.train();
    assert!(model(&job) != weights);
}

#[test]
fn a_checkpoint_that_knows_names_only_is_gone_on_from_with_a_warning() {
    let job = Job::new();
    job.train();
    forget_content(&newest_checkpoint(&job));
    let job = job.with("epochs", "2");
    let run = job.train();
    assert!(run.stdout.contains("going on from the checkpoint at step 2 "), "{}", run.stdout);
    assert!(run.stderr.contains("did not save what the images and masks hold"), "{}", run.stderr);
    // From then on the content is known.
    let run = job.train();
    assert!(!run.stderr.contains("did not save"), "{}", run.stderr);
    exchange_classes(&job, "validation_annotation");
    assert!(job.failure().contains("the validation data are others"));
}

#[test]
fn checkpoints_and_event_files_go_where_local_path_says() {
    let job = Job::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let (checkpoints, board) = (elsewhere.path().join("a/b"), elsewhere.path().join("board"));
    let config = job.path("input/config");
    fs::create_dir_all(&config).unwrap();
    for (file, path) in
        [("checkpointconfig.json", &checkpoints), ("tensorboardoutputconfig.json", &board)]
    {
        let text = serde_json::json!({"S3Uri": "s3://bucket/prefix", "LocalPath": path});
        fs::write(config.join(file), text.to_string()).unwrap();
    }
    let run = job.train();
    let told = format!("checkpoints go to {} (LocalPath of", checkpoints.display());
    assert!(run.stderr.contains(&told), "{}", run.stderr);
    assert!(names(&checkpoints).iter().any(|name| name.starts_with("checkpoint-")));
    assert!(!names(&board).is_empty());
    assert!(!job.path("checkpoints").exists() && !job.path("output/tensorboard").exists());
    // Another container finds them there.
    fs::remove_dir_all(job.path("model")).unwrap();
    let run = job.with("epochs", "2").train();
    assert!(run.stdout.contains("going on from the checkpoint at step 2 "), "{}", run.stdout);
}

#[test]
fn a_local_path_that_cannot_be_written_to_is_an_error_by_its_name() {
    let job = Job::new();
    let config = job.path("input/config");
    fs::create_dir_all(&config).unwrap();
    let text = r#"{"LocalPath": "/proc/nowhere"}"#;
    fs::write(config.join("checkpointconfig.json"), text).unwrap();
    let reason = job.failure();
    assert!(reason.contains("LocalPath of checkpointconfig.json"), "{reason}");
    assert!(reason.contains("/proc/nowhere"), "{reason}");
    // A path that is not absolute is without effect.
    fs::write(config.join("checkpointconfig.json"), r#"{"LocalPath": "here"}"#).unwrap();
    let run = job.train();
    assert!(run.stderr.contains("checkpointconfig.json is without effect"), "{}", run.stderr);
    assert!(job.path("checkpoints").exists());
}
