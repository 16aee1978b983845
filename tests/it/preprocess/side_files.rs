//! Files among the annotations that are none: what is expected there, what other tools wrote, and
//! the folders of labeling jobs as they lie in S3.

use image::GrayImage;
use serde_json::{Value, json};

use super::{Folders, boxes, object, region};

const SIZE: (u32, u32) = (20, 10);
const BOX: [u32; 4] = [2, 3, 12, 9];

/// An image `good.png` with a road in an object of Label Studio.
fn good() -> Folders {
    let folders = Folders::new();
    folders.noise("good.png", SIZE.0, SIZE.1);
    let road = object(1, "s3://b/good.png", &[region("road", SIZE, BOX)]);
    folders.annotation("1", road.to_string());
    folders
}

/// Entries that were skipped and need no repair, as `what: reason`.
fn expected_entries(folders: &Folders) -> Vec<String> {
    let report = folders.report();
    let mut entries = Vec::new();
    for entry in report["skipped"].as_array().unwrap() {
        if entry["fault"] == false {
            let text = |key: &str| entry[key].as_str().unwrap().to_owned();
            entries.push(format!("{}: {}", text("what"), text("reason")));
        }
    }
    entries
}

#[test]
fn texts_for_people_are_no_faults_whatever_their_place() {
    let folders = good();
    let texts = [
        ("README.md", "[x] read me"),
        ("notes/classes.txt", "road\ncar\n"),
        ("export.csv", "id,image\n1,a.png\n"),
        ("LICENSE", "Do as you like.\n"),
        ("data.yaml", "names: [road, car]\n"),
        ("Thumbs.db", "binary\0"),
        (".DS_Store", "binary\0"),
        ("docs/README.md", "<p align=\"center\">\n  <img src=\"logo.png\">\n</p>\n"),
        ("notes.html", "<!DOCTYPE html>\n<html><body>notes</body></html>\n"),
        ("notes.txt", "{ask the annotators about the bridge}\n"),
    ];
    for (name, text) in texts {
        folders.annotation(name, text);
    }
    folders.done(&["--strict"]);
    assert!(folders.mask("good") == boxes(SIZE.0, SIZE.1, &[(1, BOX)]));
    let entries = expected_entries(&folders);
    assert_eq!(entries.len(), 8, "{entries:?}");

    // Alone they are no annotations, and the message lists them.
    let folders = Folders::new();
    folders.noise("good.png", 3, 3);
    folders.annotation("README.md", "# read me");
    let said = folders.refused(&[]);
    assert!(said.contains("holds no annotations"), "{said}");
    assert!(said.contains("is neither JSON nor PNG") && said.contains("README.md"), "{said}");
}

#[test]
fn a_configuration_that_a_flag_names_is_neither_fault_nor_entry() {
    let folders = good();
    let config = std::fs::read(folders.config()).unwrap();
    folders.annotation("deep/config.xml", &config);
    let annotations = folders.path("processing/input/annotations");
    for name in ["deep/config.xml", "deep/../deep/config.xml"] {
        let path = annotations.join(name);
        folders.annotation("labels.json", "[]");
        folders.done_without_config(&["--strict", "--label-config", path.to_str().unwrap()]);
        assert_eq!(folders.report()["skipped"], json!([]));
    }
    // A list of names is no export, and named by the flag it is no annotation.
    folders.annotation("labels.json", r#"["background", "road", "car"]"#);
    let labels = annotations.join("labels.json");
    std::fs::remove_file(annotations.join("deep/config.xml")).unwrap();
    folders.done_without_config(&["--strict", "--label-config", labels.to_str().unwrap()]);
    assert_eq!(folders.report()["skipped"], json!([]));
    // A list that no flag names is a fault.
    let said = folders.refused(&["--strict"]);
    assert!(said.contains("labels.json: is a JSON list that holds no objects"), "{said}");
}

#[test]
fn files_of_other_tools_are_named_with_what_to_do() {
    let labelme = json!({"version": "5.2.1", "flags": {}, "shapes": [], "imagePath": "a.jpg"});
    let results = json!([{"image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5], "score": 0.5}]);
    let supervisely = json!({"description": "", "tags": [], "size": {}, "objects": []});
    for (name, content, said) in [
        ("a.json", labelme.to_string(), "LabelMe"),
        ("results.json", results.to_string(), "detection results"),
        ("a.jpg.json", supervisely.to_string(), "Supervisely"),
        ("a.ndjson", json!({"data_row": {"id": "c"}}).to_string(), "Labelbox"),
        ("a.xml", "<annotation><object/></annotation>".to_owned(), "Pascal VOC"),
        ("cvat.xml", "<annotations><version>1.1</version></annotations>".to_owned(), "CVAT"),
        ("a.txt", "0 0.5 0.5 0.25 0.25\n".to_owned(), "YOLO"),
        (
            "via.json",
            json!({"a.jpg9": {"filename": "a.jpg", "regions": [],
            "file_attributes": {}}})
            .to_string(),
            "VIA",
        ),
    ] {
        let folders = good();
        folders.annotation(name, &content);
        folders.done(&[]);
        let faults = folders.faults();
        assert!(faults.len() == 1 && faults[0].contains(said), "{name}: {faults:?}");
        folders.refused(&["--strict"]);
        // Alone it is told too.
        let folders = Folders::new();
        folders.noise("a.jpg", 20, 10);
        folders.annotation(name, &content);
        let told = folders.refused(&[]);
        assert!(told.contains(said), "{name}: {told}");
    }
}

/// A mask in three colors.
fn paint(mask: &GrayImage) -> Vec<u8> {
    let colors = [[255; 3], [44, 160, 44], [31, 119, 180]];
    let paint_pixel = |x, y| image::Rgb(colors[usize::from(mask.get_pixel(x, y).0[0])]);
    let colored = image::RgbImage::from_fn(mask.width(), mask.height(), paint_pixel);
    maskmaker::imaging::encode_png(&colored)
}

/// A line of a manifest.
fn line(image: &str, mask: &str, date: &str) -> Value {
    let class = |name: &str, color: &str| json!({"class-name": name, "hex-color": color});
    json!({
        "source-ref": format!("s3://bucket/images/{image}"), "seg-ref": mask,
        "seg-ref-metadata": {
            "internal-color-map": {"0": class("BACKGROUND", "#ffffff"),
                "1": class("road", "#2ca02c"), "2": class("car", "#1f77b4")},
            "type": "groundtruth/semantic-segmentation", "creation-date": date,
        },
    })
}

fn join_lines(lines: &[Value]) -> String {
    lines.iter().map(Value::to_string).collect::<Vec<_>>().join("\n") + "\n"
}

/// Writes the output folder of a job below `folder` as it lies in S3: a mask per image.
fn put_job(
    folders: &Folders,
    folder: &str,
    name: &str,
    masks: &[(&str, &GrayImage)],
) -> Vec<Value> {
    let mut lines = Vec::new();
    for (number, (image, mask)) in masks.iter().enumerate() {
        let place = format!("annotations/consolidated-annotation/output/{number}_2026.png");
        folders.annotation(&format!("{folder}{place}"), paint(mask));
        lines.push(line(
            image,
            &format!("s3://bucket/out/{name}/{place}"),
            "2026-01-01T00:00:00.1",
        ));
    }
    folders.annotation(&format!("{folder}manifests/output/output.manifest"), join_lines(&lines));
    let first = join_lines(&lines[..1]);
    folders.annotation(&format!("{folder}manifests/intermediate/1/output.manifest"), &first);
    let request = "annotations/consolidated-annotation/consolidation-request/iteration-1/1.json";
    let answers = json!({"answers": [{"workerId": "private.1"}]});
    let worker = "annotations/worker-response/iteration-1/0/2026.json";
    for (name, content) in [
        (request, json!([{"datasetObjectId": "0", "annotations": []}]).to_string()),
        (worker, answers.to_string()),
        ("annotation-tool/data.json", json!([{"source-ref": "s3://b/a.png"}]).to_string()),
        ("annotation-tool/template.liquid", "<script/>".to_owned()),
    ] {
        folders.annotation(&format!("{folder}{name}"), content);
    }
    lines
}

fn two_masks() -> [GrayImage; 2] {
    [boxes(SIZE.0, SIZE.1, &[(1, BOX)]), boxes(SIZE.0, SIZE.1, &[(2, [0, 0, 9, 9])])]
}

#[test]
fn the_output_folder_of_a_job_is_read_at_any_depth() {
    let masks = two_masks();
    for folder in ["", "job/", "prefix/labels/job/"] {
        let folders = Folders::new();
        folders.noise("a.png", SIZE.0, SIZE.1);
        folders.noise("b.png", SIZE.0, SIZE.1);
        put_job(&folders, folder, "job", &[("a.png", &masks[0]), ("b.png", &masks[1])]);
        folders.done(&["--strict"]);
        assert!(folders.mask("a") == masks[0] && folders.mask("b") == masks[1], "{folder}");
        let entries = expected_entries(&folders);
        assert_eq!(entries.len(), 4, "{entries:?}");
    }
}

#[test]
fn jobs_side_by_side_have_their_own_masks() {
    let masks = two_masks();
    let folders = Folders::new();
    folders.noise("a.png", SIZE.0, SIZE.1);
    folders.noise("b.png", SIZE.0, SIZE.1);
    // The local folders have other names than those in S3, and the masks have equal names.
    put_job(&folders, "first/", "job-1", &[("a.png", &masks[0])]);
    put_job(&folders, "second/", "job-2", &[("b.png", &masks[1])]);
    folders.done(&["--strict"]);
    assert!(folders.mask("a") == masks[0] && folders.mask("b") == masks[1]);
}

#[test]
fn lines_that_say_the_same_are_no_contradiction() {
    let masks = two_masks();
    let folders = Folders::new();
    folders.noise("a.png", SIZE.0, SIZE.1);
    let lines = put_job(&folders, "", "job", &[("a.png", &masks[0])]);
    // A copy of the manifest, and the same line twice in it.
    folders.annotation("copy.manifest", join_lines(&[lines[0].clone(), lines[0].clone()]));
    folders.done(&["--strict"]);
    assert!(folders.mask("a") == masks[0]);
    let entries = expected_entries(&folders);
    let repeats = entries.iter().filter(|entry| entry.contains("repeat earlier ones"));
    assert_eq!(repeats.count(), 2, "{entries:?}");
}

#[test]
fn without_an_output_manifest_the_intermediate_ones_are_read() {
    let masks = two_masks();
    let folders = Folders::new();
    folders.noise("a.png", SIZE.0, SIZE.1);
    put_job(&folders, "job/", "job", &[("a.png", &masks[0])]);
    let output = "processing/input/annotations/job/manifests/output/output.manifest";
    std::fs::remove_file(folders.path(output)).unwrap();
    folders.done(&["--strict"]);
    assert!(folders.mask("a") == masks[0]);
}

#[test]
fn of_two_jobs_the_newer_mask_counts_in_any_order_of_lines() {
    let masks = two_masks();
    let folders = Folders::new();
    folders.noise("a.png", SIZE.0, SIZE.1);
    folders.annotation("m/new.png", paint(&masks[0]));
    folders.annotation("m/old.png", paint(&masks[1]));
    let new = line("a.png", "s3://bucket/m/new.png", "2026-02-02T00:00:00.1");
    let old = line("a.png", "s3://bucket/m/old.png", "2026-01-01T00:00:00.123456");
    for lines in [[&new, &old], [&old, &new]] {
        folders.annotation("all.manifest", join_lines(&lines.map(Value::clone)));
        folders.done(&[]);
        assert!(folders.mask("a") == masks[0]);
        folders.done(&["--several", "first"]);
        assert!(folders.mask("a") == masks[1]);
    }
}

#[test]
fn a_manifest_of_a_job_for_boxes_is_named() {
    let folders = Folders::new();
    folders.noise("a.png", SIZE.0, SIZE.1);
    let line = json!({
        "source-ref": "s3://bucket/a.png", "box": {"annotations": []},
        "box-metadata": {"type": "groundtruth/object-detection", "confidence": null},
    });
    // Python writes what JSON has not.
    let text = line.to_string().replace("null", "NaN");
    folders.annotation("output.manifest", text);
    let said = folders.refused(&[]);
    assert!(said.contains("groundtruth/object-detection"), "{said}");
}
