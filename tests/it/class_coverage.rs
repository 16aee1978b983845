//! Masks that leave classes out, or hold nothing that counts; and names of classes as lists.

use std::fs;

use crate::job::Job;

#[test]
fn validation_masks_that_count_for_nothing_are_refused_as_training_masks_are() {
    let job = Job::new();
    job.change_masks("validation_annotation", |_| 255);
    let reason = job.failure();
    assert!(
        reason.contains("channel validation_annotation: every pixel is 255 (ignored)"),
        "{reason}"
    );
    assert!(reason.contains("nothing to score"), "{reason}");

    // Where training masks ignore pixels too, this may be meant, and a warning says what is not
    // scored.
    let job = Job::new();
    job.change_masks("validation_annotation", |id| if id == 0 { 0 } else { 255 });
    let run = job.train();
    let said = "only in training masks, so never scored (3): class 1 with ";
    assert!(run.stderr.contains(said), "{}", run.stderr);

    let job = Job::new();
    job.change_masks("train_annotation", |id| if id == 255 { 0 } else { id });
    job.change_masks("validation_annotation", |id| if id == 0 { 0 } else { 255 });
    let reason = job.failure();
    assert!(reason.contains("channel validation_annotation: the masks hold only the values 0"));
    assert!(reason.contains("validation_label_map.json"), "{reason}");
}

#[test]
fn classes_without_a_pixel_are_one_warning_with_names_and_counts() {
    let job = Job::new().with("num_classes", "6").with("class_names", "none,disc,box,tri,sky,sea");
    job.change_masks("train_annotation", |id| if id == 3 { 0 } else { id });
    let run = job.train();
    let warnings: Vec<&str> =
        run.stderr.lines().filter(|line| line.contains("without a pixel")).collect();
    let [warning] = warnings[..] else { panic!("{}", run.stderr) };
    assert!(warning.contains("in no mask (2): sky (class 4), sea (class 5)"), "{warning}");
    assert!(
        warning.contains("only in validation masks, so never learned (1): tri (class 3) with ")
    );

    let job = Job::new();
    for channel in ["train_annotation", "validation_annotation"] {
        job.change_masks(channel, |_| 0);
    }
    let run = job.train();
    assert!(run.stderr.contains("the training masks hold only class 0 with "), "{}", run.stderr);
}

#[test]
fn lists_of_python_and_json_are_read_and_other_brackets_refused() {
    for list in ["['a', \"b's\", 'c', 'd']", r#"["a", "b's", "c", "d"]"#] {
        let job = Job::new().with("class_names", list).with("augmentations", "['hflip', 'blur']");
        job.train();
        let config = fs::read_to_string(job.path("model/config.json")).unwrap();
        let config: serde_json::Value = serde_json::from_str(&config).unwrap();
        assert_eq!(config["class_names"], serde_json::json!(["a", "b's", "c", "d"]));
    }
    let reason = Job::new().with("class_names", "['a' 'b' 'c' 'd']").failure();
    assert!(reason.contains("class_names has '\\'' after item 1"), "{reason}");
    let reason = Job::new().with("class_names", "a, \"b\", c, d").failure();
    assert!(reason.contains("class_names has the item"), "{reason}");
}
