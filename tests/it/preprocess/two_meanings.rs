//! What may mean two things is told, and nothing of it guessed.

use std::fs;

use maskmaker::imaging::encode_mask;
use serde_json::json;

use super::{Folders, boxes, object, region, task};

const SIZE: (u32, u32) = (20, 10);

#[test]
fn annotations_of_two_images_are_not_drawn_on_the_one_that_is_here() {
    for (one, other) in [
        ("s3://b/day1/f.png", "s3://b/day2/f.png"),
        ("/data/upload/1/aaaaaaaa-f.png", "/data/upload/1/bbbbbbbb-f.png"),
    ] {
        let folders = Folders::new();
        for name in ["f.png", "good.png"] {
            folders.noise(name, SIZE.0, SIZE.1);
        }
        let car = [region("car", SIZE, [0, 0, 5, 5])];
        let tasks = json!([task(1, one, &car), task(2, other, &car), task(3, "good.png", &car)]);
        folders.annotation("export.json", tasks.to_string());
        folders.done(&[]);
        assert_eq!(folders.masks().keys().collect::<Vec<_>>(), ["good"]);
        let said = folders.faults().join("\n");
        assert!(
            said.starts_with("f.png: is the only image that") && said.contains(other),
            "{said}"
        );
        folders.refused(&["--strict"]);
    }
}

#[test]
fn files_of_others_in_the_output_are_never_removed() {
    let folders = Folders::of("labelstudio/seg_JSON.json");
    folders.done(&[]);
    for mine in ["test/mine.png", "train/mine.jpg"] {
        folders.put(&format!("processing/output/{mine}"), "mine");
        let said = folders.refused(&[]);
        assert!(said.contains("holds 1 files or folders that no run"), "{said}");
        assert_eq!(fs::read(folders.output(mine)).unwrap(), b"mine");
        fs::remove_file(folders.output(mine)).unwrap();
    }
    folders.done(&[]);
}

#[test]
fn an_ignored_label_is_ignored_in_masks_of_ids_too() {
    let folders = Folders::new();
    folders.noise("a.png", SIZE.0, SIZE.1);
    let all = boxes(SIZE.0, SIZE.1, &[(1, [0, 0, 5, 5]), (2, [5, 0, 9, 5]), (3, [9, 0, 12, 5])]);
    folders.annotation("a.png", encode_mask(&all));
    folders.done(&["--ignore", "car"]);
    let expected =
        boxes(SIZE.0, SIZE.1, &[(1, [0, 0, 5, 5]), (255, [5, 0, 9, 5]), (2, [9, 0, 12, 5])]);
    assert!(folders.mask("a") == expected);
}

#[test]
fn a_ground_truth_outlives_the_count_of_its_task() {
    let folders = Folders::new();
    folders.noise("a.png", SIZE.0, SIZE.1);
    for (id, changed, truth) in [(1, 1, true), (2, 2, false), (3, 3, false)] {
        let mut object = object(7, "a.png", &[region("car", SIZE, [0, 0, 5, id])]);
        object["id"] = json!(id);
        object["updated_at"] = json!(format!("2026-11-0{changed}T00:00:00Z"));
        object["ground_truth"] = json!(truth);
        // One of the three was deleted.
        object["task"]["total_annotations"] = json!(2);
        folders.annotation(&id.to_string(), object.to_string());
    }
    folders.done(&[]);
    assert!(folders.mask("a") == boxes(SIZE.0, SIZE.1, &[(2, [0, 0, 5, 1])]));
    let report = folders.report();
    let skipped = report["skipped"].as_array().unwrap();
    assert_eq!(skipped.len(), 1);
    assert!(skipped[0]["what"].as_str().unwrap().contains("annotation 2 in"), "{skipped:?}");
}

#[test]
fn files_about_one_image_of_which_nothing_says_the_age_are_told() {
    let folders = Folders::new();
    folders.noise("a.png", SIZE.0, SIZE.1);
    for (name, category) in [("one.json", "car"), ("two.json", "road")] {
        let file = json!({
            "images": [{"id": 1, "file_name": "a.png"}],
            "categories": [{"id": 1, "name": category}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[0, 0, 5, 0, 5, 5]]}],
        });
        folders.annotation(name, file.to_string());
    }
    let said = folders.refused(&[]);
    assert!(
        said.contains("one.json") && said.contains("two.json") && said.contains("which are newer"),
        "{said}"
    );
    folders.done(&["--several", "majority"]);
}

#[test]
fn images_without_an_extension_that_training_takes_get_one() {
    let folders = Folders::new();
    folders.image("photo", maskmaker::imaging::encode_png(&super::noise(SIZE.0, SIZE.1)));
    folders.image("other.jfif", maskmaker::imaging::encode_jpeg(&super::noise(SIZE.0, SIZE.1), 90));
    let car = [region("car", SIZE, [0, 0, 5, 5])];
    let tasks = json!([task(1, "s3://b/photo", &car), task(2, "s3://b/other.jfif", &car)]);
    folders.annotation("export.json", tasks.to_string());
    folders.done(&["--train-test-split-ratio", "0"]);
    for name in ["photo.png", "other.jpg"] {
        assert!(folders.output("train").join(name).exists(), "{name}");
    }
}

#[test]
fn formats_are_known_whatever_the_order_of_keys_and_the_columns_of_tasks() {
    let folders = Folders::new();
    folders.noise("a.png", SIZE.0, SIZE.1);
    let region = json!({"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[0, 0, 5, 0, 5, 5]],
                        "note": "x".repeat(100_000)});
    folders.annotation(
        "sorted.json",
        json!({"annotations": [region], "categories": [{"id": 1, "name": "car"}],
               "images": [{"id": 1, "file_name": "a.png"}]})
        .to_string(),
    );
    folders.done(&[]);
    assert_eq!(folders.masks().len(), 1);

    let folders = Folders::new();
    folders.noise("a.png", SIZE.0, SIZE.1);
    let row = json!([{"info": "x", "image": "a.png", "annotation_id": 3, "id": 1, "poly": [
        {"points": [[0, 0], [50, 0], [50, 50]], "polygonlabels": ["car"],
         "original_width": SIZE.0, "original_height": SIZE.1}]}]);
    folders.annotation("rows.json", row.to_string());
    folders.done(&[]);
    assert_eq!(folders.masks().len(), 1);
}
