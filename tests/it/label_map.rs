//! Masks with other values than the class ids, and the `label_map` channel that says what they are.

use std::fs;

use crate::job::{Job, names};
use maskmaker::imaging::{DecodeLimits, decode_mask, encode_mask};

/// A job whose masks hold `value(id)` for each class id of [`Job::new`]'s masks; 255 stays.
fn encoded(channels: &[&str], value: impl Fn(u8) -> u8) -> Job {
    let job = Job::new();
    for channel in channels {
        for name in names(&job.path("input/data").join(channel)) {
            let path = job.file(channel, &name);
            let mut mask = decode_mask(&fs::read(&path).unwrap(), DecodeLimits::default()).unwrap();
            mask.iter_mut().filter(|id| **id != 255).for_each(|id| *id = value(*id));
            fs::write(path, encode_mask(&mask)).unwrap();
        }
    }
    job
}

fn map(job: &Job, name: &str, text: &str) {
    fs::create_dir_all(job.path("input/data/label_map")).unwrap();
    fs::write(job.file("label_map", name), text).unwrap();
}

fn trained(job: &Job) -> Vec<u8> {
    job.train();
    fs::read(job.path("model/model.safetensors")).unwrap()
}

fn confusion(job: &Job) -> serde_json::Value {
    let metrics = fs::read(job.path("model/metrics.json")).unwrap();
    serde_json::from_slice::<serde_json::Value>(&metrics).unwrap()["confusion_matrix"].clone()
}

const ALL: [&str; 2] = ["train_annotation", "validation_annotation"];

#[test]
fn mapped_masks_train_to_the_weights_and_scores_of_plain_ones() {
    let plain = Job::new();
    let weights = trained(&plain);
    let matrix = confusion(&plain);

    let scaled = encoded(&ALL, |id| id * 3 + 1);
    map(&scaled, "label_map.json", r#"{"scale": "3"}"#);
    assert!(trained(&scaled) == weights);
    assert_eq!(confusion(&scaled), matrix);

    let turned = encoded(&ALL, |id| 90 - id);
    map(&turned, "train_label_map.json", r#"{"map": {"0": 90, "1": 89, "2": 88, "3": 87}}"#);
    map(
        &turned,
        "validation_label_map.json",
        r#"{"map": {"0": "90", "1": [89], "2": 88, "3": 87}}"#,
    );
    map(&turned, "labels.json", r#"["background", "disc", "box", "triangle"]"#);
    assert!(trained(&turned) == weights);

    // The validation masks alone.
    let one = encoded(&ALL[1..], |id| id * 3);
    map(&one, "validation_label_map.json", r#"{"scale": 3}"#);
    assert!(trained(&one) == weights);
    assert_eq!(confusion(&one), matrix);
}

#[test]
fn values_that_a_map_does_not_name_are_counted_before_the_first_step() {
    let job = encoded(&ALL, |id| id * 10);
    map(&job, "label_map.json", r#"{"map": {"0": 0, "1": 10, "2": 20}}"#);
    let reason = job.failure();
    assert!(reason.contains("channel train_annotation: "), "{reason}");
    assert!(reason.contains("values without a class; the label map has no entry"), "{reason}");
    assert!(reason.contains(".png: value 30 in "), "{reason}");
}

#[test]
fn wrong_maps_are_told_with_their_path_together_with_the_other_problems_of_the_data() {
    let job = Job::new();
    map(&job, "label_map.json", r#"{"scale": "0"}"#);
    fs::remove_file(job.first("train_annotation")).unwrap();
    let reason = job.failure();
    assert!(reason.contains("label_map/label_map.json: scale is \"0\"; allowed"), "{reason}");
    assert_eq!(reason.matches("scale is").count(), 1, "one file for both is wrong once: {reason}");
    assert!(reason.contains("channel train: 1 image without a mask"), "{reason}");
}

#[test]
fn a_checkpoint_is_not_gone_on_with_under_another_map() {
    let job = Job::new();
    job.train();
    map(&job, "train_label_map.json", r#"{"map": {"0": [0], "1": [1], "2": [3], "3": [2]}}"#);
    let reason = job.failure();
    assert!(reason.contains("training label map was unset, is now 0 is class 0"), "{reason}");
}

#[test]
fn without_num_classes_the_classes_of_labels_json_are_counted() {
    let job = Job::new();
    let given = trained(&job);

    let mut counted = Job::new();
    counted.remove("num_classes");
    let error = counted.failure();
    assert!(
        error.contains("num_classes is missing, and so is `labels.json` in channel `label_map`"),
        "{error}"
    );
    map(&counted, "labels.json", r#"["background", "disc", "box", "triangle"]"#);
    let log = counted.train().stderr;
    assert!(log.contains("num_classes is 4, the number of classes in "), "{log}");
    assert!(fs::read(counted.path("model/model.safetensors")).unwrap() == given);
    map(&counted, "labels.json", r#"["background", "disc"#);
    let error = counted.failure();
    assert!(error.contains("labels.json") && error.contains("is no JSON"), "{error}");
    assert!(!error.contains("num_classes is missing"), "{error}");
}
