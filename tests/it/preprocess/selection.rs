//! Several annotations of one image: which counts, and what is told about the others.

use maskmaker::imaging::encode_mask;
use serde_json::{Value, json};

use super::{Folders, boxes, object, region, task};

const SIZE: (u32, u32) = (20, 10);

const ROAD: (u8, [u32; 4]) = (1, [0, 0, 12, 6]);
const CAR: (u8, [u32; 4]) = (2, [6, 2, 18, 9]);

/// Folders with the images `a.png` and `b.png`.
fn images() -> Folders {
    let folders = Folders::new();
    for name in ["a.png", "b.png"] {
        folders.noise(name, SIZE.0, SIZE.1);
    }
    folders
}

/// A COCO file of images (id, name, width) and annotations (image, label, box).
fn coco(images: &[(i64, &str, u32)], annotations: &[(i64, &str, [u32; 4])]) -> String {
    let images: Vec<Value> = images
        .iter()
        .map(|(id, name, width)| json!({"id": id, "file_name": name, "width": width, "height": SIZE.1}))
        .collect();
    let annotations: Vec<Value> = annotations
        .iter()
        .zip(1..)
        .map(|((image, label, [left, top, right, bottom]), id)| {
            let category = if *label == "road" { 1 } else { 2 };
            json!({"id": id, "image_id": image, "category_id": category, "iscrowd": 0, "segmentation":
                   [[left, top, right, top, right, bottom, left, bottom]]})
        })
        .collect();
    let categories = json!([{"id": 1, "name": "road"}, {"id": 2, "name": "car"}]);
    json!({"images": images, "annotations": annotations, "categories": categories}).to_string()
}

/// A task of an export whose annotation was changed on a day of March.
fn dated_task(id: i64, image: &str, day: u32, regions: &[Value]) -> Value {
    let mut task = task(id, image, regions);
    task["annotations"][0]["created_at"] = json!("2026-03-01T10:00:00.000000Z");
    task["annotations"][0]["updated_at"] = json!(format!("2026-03-{day:02}T10:00:00.000000Z"));
    task
}

/// The list `superseded` of the report as `what | image | by`, with file names instead of paths.
fn superseded(folders: &Folders) -> Vec<String> {
    let report = folders.report();
    let list = report["superseded"].as_array().unwrap();
    let annotations = folders.path("processing/input/annotations");
    let short = |value: &Value| {
        value.as_str().unwrap_or("-").replace(&format!("{}/", annotations.display()), "")
    };
    list.iter()
        .map(|left| {
            assert!(!left["reason"].as_str().unwrap().is_empty());
            format!("{} | {} | {}", short(&left["what"]), short(&left["image"]), short(&left["by"]))
        })
        .collect()
}

#[test]
fn images_that_a_coco_file_lists_twice_have_the_annotations_of_both_entries() {
    let folders = images();
    // The car is later in the file, and so on top, although its entry is the first.
    let annotations = [(2, "road", ROAD.1), (1, "car", CAR.1), (3, "car", CAR.1)];
    let entries = [(1, "a.png", SIZE.0), (2, "some/where/a.png", SIZE.0), (3, "b.png", SIZE.0)];
    folders.annotation("coco.json", coco(&entries, &annotations));
    folders.done(&["--strict"]);
    assert!(folders.mask("a") == boxes(SIZE.0, SIZE.1, &[ROAD, CAR]));
    assert!(folders.mask("b") == boxes(SIZE.0, SIZE.1, &[CAR]));
    let warnings = folders.warnings().join("\n");
    assert!(
        warnings.contains("1 image has several entries in one COCO file")
            && warnings.contains("a.png (image 1 in ")
            && warnings.contains(", image 2 in "),
        "{warnings}"
    );
}

#[test]
fn entries_of_one_image_with_different_sizes_are_refused() {
    let folders = images();
    let annotations = [(1, "road", ROAD.1), (2, "car", CAR.1), (3, "car", CAR.1)];
    let entries = [(1, "a.png", SIZE.0), (2, "a.png", 21), (3, "b.png", SIZE.0)];
    folders.annotation("coco.json", coco(&entries, &annotations));
    folders.done(&[]);
    assert_eq!(folders.masks().keys().collect::<Vec<_>>(), ["b"]);
    let faults = folders.faults();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(
        faults[0].starts_with("a.png: is listed several times in one file with different sizes")
            && faults[0].contains("(20 x 10), image 2 in ")
            && faults[0].contains("(21 x 10)"),
        "{faults:?}"
    );
}

#[test]
fn one_image_in_several_coco_files_is_refused_until_the_user_chooses() {
    let folders = images();
    let entry = [(1, "a.png", SIZE.0)];
    folders.annotation("1-roads.json", coco(&entry, &[(1, "road", ROAD.1)]));
    folders.annotation("2-cars.json", coco(&entry, &[(1, "car", CAR.1)]));
    folders.annotation("3-others.json", coco(&[(1, "b.png", SIZE.0)], &[(1, "car", CAR.1)]));
    folders.done(&[]);
    assert_eq!(folders.masks().keys().collect::<Vec<_>>(), ["b"]);
    let faults = folders.faults();
    assert_eq!(faults.len(), 1, "{faults:?}");
    for part in [
        "a.png: has several annotations",
        "1-roads.json (no date)",
        "2-cars.json (no date)",
        "--several last",
        "--several union",
    ] {
        assert!(faults[0].contains(part), "{part}: {faults:?}");
    }
    let said = folders.refused(&["--strict"]);
    assert!(said.contains("2-cars.json"), "{said}");

    folders.done(&["--strict", "--several", "union"]);
    assert!(folders.mask("a") == boxes(SIZE.0, SIZE.1, &[ROAD, CAR]));
    folders.done(&["--strict", "--several", "union", "--priority", "road"]);
    assert!(folders.mask("a") == boxes(SIZE.0, SIZE.1, &[CAR, ROAD]));
    folders.done(&["--strict", "--several", "last"]);
    assert!(folders.mask("a") == boxes(SIZE.0, SIZE.1, &[CAR]));
    assert_eq!(superseded(&folders), ["image 1 in 1-roads.json | a.png | image 1 in 2-cars.json"]);
}

#[test]
fn equal_annotations_are_no_contradiction() {
    let folders = images();
    let entry = [(1, "a.png", SIZE.0)];
    folders.annotation("one.json", coco(&entry, &[(1, "road", ROAD.1)]));
    folders.annotation("two.json", coco(&[(9, "a.png", SIZE.0)], &[(9, "road", ROAD.1)]));
    folders.done(&["--strict"]);
    assert!(folders.mask("a") == boxes(SIZE.0, SIZE.1, &[ROAD]));
    assert_eq!(superseded(&folders), ["image 1 in one.json | a.png | image 9 in two.json"]);
}

#[test]
fn masks_of_one_image_are_combined_only_when_asked_for() {
    let folders = images();
    let [road, car] = [ROAD, CAR].map(|one| boxes(SIZE.0, SIZE.1, &[one]));
    folders.annotation("a.PNG", encode_mask(&road));
    folders.annotation("a.png", encode_mask(&car));
    let said = folders.refused(&[]);
    assert!(said.contains("/a.PNG (no date), ") && said.contains("/a.png (no date)"), "{said}");
    folders.done(&["--several", "union"]);
    assert!(folders.mask("a") == boxes(SIZE.0, SIZE.1, &[ROAD, CAR]));
    folders.done(&["--several", "last"]);
    assert!(folders.mask("a") == car);
    // Equal files contradict nothing.
    folders.annotation("a.PNG", encode_mask(&car));
    folders.done(&["--strict"]);
    assert!(folders.mask("a") == car);
}

#[test]
fn projects_that_share_an_image_are_told_and_can_be_united() {
    let folders = images();
    let [road, car] =
        [("road", ROAD), ("car", CAR)].map(|(label, (_, place))| [region(label, SIZE, place)]);
    let cars = json!([dated_task(7, "a.png", 9, &car), dated_task(8, "b.png", 9, &car)]);
    let roads = json!([dated_task(1, "a.png", 2, &road), dated_task(2, "b.png", 2, &road)]);
    folders.annotation("cars.json", cars.to_string());
    folders.annotation("roads.json", roads.to_string());
    let run = folders.done(&["--strict"]);
    assert!(folders.mask("a") == boxes(SIZE.0, SIZE.1, &[CAR]));
    assert_eq!(
        superseded(&folders),
        [
            "annotation 101 in roads.json, element 1 | a.png | annotation 107 in cars.json, element 1",
            "annotation 102 in roads.json, element 2 | b.png | annotation 108 in cars.json, element 2",
        ]
    );
    for part in
        ["2 images have", "a.png has annotation 107 in ", "annotation 101 in ", "--several union"]
    {
        assert!(run.stderr.contains(part), "{part}: {}", run.stderr);
    }
    // The newest is on top, whatever the names of the files.
    folders.done(&["--several", "union", "--strict"]);
    assert!(folders.mask("a") == boxes(SIZE.0, SIZE.1, &[ROAD, CAR]));
    assert!(superseded(&folders).is_empty());
    assert!(!folders.warnings().join("\n").contains("--several union"));
    let masks = folders.report()["masks"].clone();
    assert_eq!(masks[0]["annotations"].as_array().unwrap().len(), 2);
}

#[test]
fn installations_that_number_alike_are_not_taken_for_copies() {
    let folders = images();
    let [road, car] =
        [("road", ROAD), ("car", CAR)].map(|(label, (_, place))| [region(label, SIZE, place)]);
    for (file, regions, created) in [("one", &road, "2026-03-01"), ("two", &car, "2026-03-02")] {
        let mut object = object(1, "a.png", regions);
        object["created_at"] = json!(format!("{created}T10:00:00Z"));
        folders.annotation(file, object.to_string());
    }
    let run = folders.done(&[]);
    assert!(folders.mask("a") == boxes(SIZE.0, SIZE.1, &[CAR]));
    assert!(run.stderr.contains("--several union"), "{}", run.stderr);
    folders.done(&["--several", "union"]);
    assert!(folders.mask("a") == boxes(SIZE.0, SIZE.1, &[ROAD, CAR]));
}

#[test]
fn annotations_without_numbers_and_dates_contradict_each_other_in_one_file_too() {
    let folders = images();
    let bare = |label: &str, place: [u32; 4]| json!({"result": [region(label, SIZE, place)]});
    let tasks = json!([
        {"data": {"image": "a.png"}, "annotations": [bare("road", ROAD.1)]},
        {"data": {"image": "b.png"}, "annotations": [bare("car", CAR.1)]},
        {"data": {"image": "a.png"}, "annotations": [bare("car", CAR.1)]},
        {"data": {"image": "b.png"}, "annotations": [bare("car", CAR.1)]},
    ]);
    folders.annotation("tasks.json", tasks.to_string());
    folders.done(&[]);
    assert_eq!(folders.masks().keys().collect::<Vec<_>>(), ["b"]);
    let faults = folders.faults();
    assert!(
        faults.len() == 1
            && faults[0].contains("element 1 (no date), ")
            && faults[0].contains("element 3 (no date)"),
        "{faults:?}"
    );
    folders.done(&["--several", "last", "--strict"]);
    assert!(folders.mask("a") == boxes(SIZE.0, SIZE.1, &[CAR]));
}

#[test]
fn annotations_of_one_task_without_numbers_are_told_apart() {
    let folders = images();
    let bare = |label: &str, place: [u32; 4]| json!({"result": [region(label, SIZE, place)]});
    let tasks = json!([
        {"data": {"image": "a.png"}, "annotations": [bare("road", ROAD.1), bare("car", CAR.1)]},
        {"data": {"image": "b.png"}, "annotations": [bare("car", CAR.1)]},
    ]);
    folders.annotation("tasks.json", tasks.to_string());
    folders.done(&[]);
    let faults = folders.faults();
    assert!(
        faults.len() == 1
            && faults[0].contains("annotation 1 of 2 (no id) in ")
            && faults[0].contains("annotation 2 of 2 (no id) in "),
        "{faults:?}"
    );
}

#[test]
fn deleted_skipped_and_older_annotations_are_listed_by_name() {
    let folders = images();
    for day in 1..=3 {
        let mut object = object(7, "a.png", &[region("car", SIZE, [0, 0, 5, day])]);
        object["id"] = json!(day);
        object["updated_at"] = json!(format!("2026-11-0{day}T00:00:00Z"));
        // One of the three was deleted.
        object["task"]["total_annotations"] = json!(2);
        folders.annotation(&format!("{day}"), object.to_string());
    }
    let mut skipped = object(8, "a.png", &[]);
    skipped["was_cancelled"] = json!(true);
    folders.annotation("4", skipped.to_string());
    folders.done(&["--strict"]);
    assert_eq!(
        superseded(&folders),
        [
            "annotation 1 in 1 | a.png | -",
            "annotation 108 in 4 | a.png | -",
            "annotation 2 in 2 | a.png | annotation 3 in 3",
        ]
    );
    let counts = folders.report()["annotations"].clone();
    assert_eq!((&counts["stale"], &counts["cancelled"]), (&json!(1), &json!(1)));
    assert_eq!((&counts["superseded"], &counts["used"]), (&json!(1), &json!(1)));
}

/// A mask of Ground Truth with one class, and its line of a manifest.
fn mask_line(folders: &Folders, name: &str, label: &str, date: Option<&str>) -> Value {
    let (_, place) = if label == "road" { ROAD } else { CAR };
    folders.annotation(name, encode_mask(&boxes(SIZE.0, SIZE.1, &[(1, place)])));
    // The color of class 1 in the palette of masks.
    let mut metadata = json!({"internal-color-map": {
        "0": {"class-name": "BACKGROUND", "hex-color": "#000000"},
        "1": {"class-name": label, "hex-color": "#800000"},
    }});
    if let Some(date) = date {
        metadata["creation-date"] = json!(date);
    }
    json!({
        "source-ref": "s3://bucket/images/a.png", "seg-ref": format!("s3://bucket/out/{name}"),
        "seg-ref-metadata": metadata,
    })
}

#[test]
fn lines_of_a_manifest_about_one_image_are_equal_or_contradict_each_other() {
    let folders = images();
    let road = mask_line(&folders, "m/0.png", "road", None);
    let car = mask_line(&folders, "m/1.png", "car", None);
    folders.annotation("manifests/intermediate/1/output.manifest", format!("{road}\n"));
    folders.annotation("manifests/output/output.manifest", format!("{road}\n"));
    folders.done(&["--strict"]);
    assert!(folders.mask("a") == boxes(SIZE.0, SIZE.1, &[ROAD]));
    folders.annotation("manifests/output/output.manifest", format!("{road}\n{car}\n"));
    let said = folders.refused(&[]);
    assert!(said.contains("line 1 of ") && said.contains("line 2 of "), "{said}");
    folders.done(&["--several", "union"]);
    assert!(folders.mask("a") == boxes(SIZE.0, SIZE.1, &[ROAD, CAR]));
}

#[test]
fn a_mask_that_a_newer_line_names_again_counts() {
    let folders = images();
    let car = mask_line(&folders, "m/1.png", "car", Some("2026-01-02T00:00:00"));
    let road = |day: u32| {
        let date = format!("2026-01-0{day}T00:00:00");
        mask_line(&folders, "m/0.png", "road", Some(&date))
    };
    folders.annotation("all.manifest", format!("{}\n{car}\n{}\n", road(1), road(3)));
    folders.done(&["--strict"]);
    assert!(folders.mask("a") == boxes(SIZE.0, SIZE.1, &[ROAD]));
}

#[test]
fn the_newer_line_of_a_manifest_counts_whatever_the_order() {
    let folders = images();
    let road = mask_line(&folders, "m/0.png", "road", Some("2026-02-02T00:00:00.1"));
    let car = mask_line(&folders, "m/1.png", "car", Some("2026-02-01T23:00:00.100000+00:00"));
    for lines in [[&road, &car], [&car, &road]] {
        folders.annotation("all.manifest", format!("{}\n{}\n", lines[0], lines[1]));
        let run = folders.done(&["--strict"]);
        assert!(folders.mask("a") == boxes(SIZE.0, SIZE.1, &[ROAD]));
        assert_eq!(superseded(&folders).len(), 1);
        assert!(run.stderr.contains("a.png has line "), "{}", run.stderr);
    }
    let same = mask_line(&folders, "m/1.png", "car", Some("2026-02-02 01:00:00.10+01:00"));
    folders.annotation("all.manifest", format!("{road}\n{same}\n"));
    let said = folders.refused(&[]);
    assert!(
        said.contains("line 2 of ") && said.contains("(2026-02-02 01:00:00.10+01:00)"),
        "{said}"
    );
}

#[test]
fn entries_of_one_coco_file_are_no_votes() {
    let folders = images();
    let images = [(1, "a.png", SIZE.0), (2, "a.png", SIZE.0)];
    folders.annotation("coco.json", coco(&images, &[(1, "road", ROAD.1), (2, "car", CAR.1)]));
    folders.done(&["--several", "majority"]);
    assert!(folders.mask("a") == boxes(SIZE.0, SIZE.1, &[ROAD, CAR]));
}

#[test]
fn copies_of_one_date_with_other_drawings_are_refused() {
    let folders = images();
    let mut first = dated_task(1, "a.png", 3, &[region("road", SIZE, ROAD.1)]);
    folders.annotation("new.json", json!([first]).to_string());
    first["annotations"][0]["result"] = json!([region("car", SIZE, CAR.1)]);
    folders.annotation("old.json", json!([first]).to_string());
    folders.annotation("other.json", json!([task(2, "b.png", &[])]).to_string());
    folders.done(&[]);
    let faults = folders.faults();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains("new.json") && faults[0].contains("old.json"), "{faults:?}");
}
