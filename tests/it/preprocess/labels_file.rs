//! `labels.json` as the labeling configuration: it means what it means in a training job.

use maskmaker::imaging::{encode_mask, encode_png};
use serde_json::{Value, json};

use super::{Folders, boxes, region, task};

const SIZE: (u32, u32) = (20, 10);

/// Returns folders with an image, and the given file in place of the labeling configuration.
fn folders_with(labels: &str) -> Folders {
    let folders = Folders::new();
    folders.noise("a.png", SIZE.0, SIZE.1);
    folders.put("config.xml", labels);
    folders
}

/// Returns the class names that were written, class 0 first.
fn written_names(folders: &Folders) -> Vec<String> {
    let labels = std::fs::read(folders.output("label_map/labels.json")).unwrap();
    let labels: Value = serde_json::from_slice(&labels).unwrap();
    let count = labels.as_object().unwrap().len();
    (0..count).map(|id| labels[id.to_string()]["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_list_begins_with_class_zero_of_masks() {
    let mask = boxes(SIZE.0, SIZE.1, &[(1, [0, 0, 5, 5]), (2, [5, 5, 9, 9])]);
    for (labels, expected) in [
        (r#"["unlabeled", "road", "car"]"#, ["unlabeled", "road", "car"]),
        (r#"[{"name": "_background_"}, "road", "car"]"#, ["_background_", "road", "car"]),
        (r#"{"2": "car", "0": "bg", "1": "road"}"#, ["bg", "road", "car"]),
        (r#"{"2": "car", "1": {"name": "road"}}"#, ["background", "road", "car"]),
    ] {
        let folders = folders_with(labels);
        folders.annotation("a.png", encode_mask(&mask));
        let run = folders.done(&["--strict"]);
        assert_eq!(written_names(&folders), expected);
        assert!(folders.mask("a") == mask);
        assert!(!run.stderr.contains("class 0"), "{}", run.stderr);
    }
    let folders = folders_with(r#"["road", "car", "sky"]"#);
    folders.annotation("a.png", encode_mask(&mask));
    let run = folders.done(&["--strict"]);
    assert_eq!(written_names(&folders), ["road", "car", "sky"]);
    assert!(run.stderr.contains("names class 0, the value 0 of the masks, road"), "{}", run.stderr);
    // A list that is one name short.
    let folders = folders_with(r#"["road", "car"]"#);
    folders.annotation("a.png", encode_mask(&mask));
    let said = folders.refused(&[]);
    assert!(said.contains("with 2 classes allowed are 0 to 1"), "{said}");
}

#[test]
fn labels_of_annotations_get_a_background_in_front_of_a_list_without_one() {
    for (labels, names, is_told) in [
        (r#"["road", "car"]"#, ["background", "road", "car"], true),
        (r#"["background", "road", "car"]"#, ["background", "road", "car"], false),
        (r#"["Unlabelled", "road", "car"]"#, ["Unlabelled", "road", "car"], false),
        (r#"{"0": "other", "1": "road", "2": "car"}"#, ["other", "road", "car"], true),
    ] {
        let folders = folders_with(labels);
        let regions = [region("car", SIZE, [0, 0, 5, 5])];
        folders.annotation("export.json", json!([task(1, "a.png", &regions)]).to_string());
        let run = folders.done(&["--strict"]);
        assert_eq!(written_names(&folders), names);
        assert!(folders.mask("a") == boxes(SIZE.0, SIZE.1, &[(2, [0, 0, 5, 5])]));
        assert_eq!(run.stderr.contains("class 0"), is_told, "{labels}: {}", run.stderr);
    }
}

#[test]
fn a_list_of_one_label_gets_a_background_and_one_of_the_background_is_refused() {
    let folders = folders_with(r#"["car"]"#);
    let regions = [region("car", SIZE, [0, 0, 5, 5])];
    folders.annotation("export.json", json!([task(1, "a.png", &regions)]).to_string());
    folders.done(&["--strict"]);
    assert_eq!(written_names(&folders), ["background", "car"]);
    assert!(folders.mask("a") == boxes(SIZE.0, SIZE.1, &[(1, [0, 0, 5, 5])]));
    folders.put("config.xml", r#"["background"]"#);
    assert!(folders.refused(&[]).contains("has no label that areas of an image can have"));
}

#[test]
fn the_color_of_class_zero_is_the_backgrounds() {
    let colors = [[48, 112, 32], [0, 0, 0], [176, 112, 32]];
    let mask = boxes(SIZE.0, SIZE.1, &[(1, [0, 0, 5, 5]), (2, [5, 5, 9, 9])]);
    let painted = image::RgbImage::from_fn(SIZE.0, SIZE.1, |x, y| {
        image::Rgb(colors[usize::from(mask.get_pixel(x, y).0[0])])
    });
    for labels in [
        r##"[{"name": "nothing", "color": "#307020"}, {"name": "cat", "color": "black"},
             {"name": "dog", "color": [176, 112, 32]}]"##,
        r#"{"0": {"name": "nothing", "colour": [48, 112, 32]}, "1": {"name": "cat", "color": [0, 0, 0]},
            "2": {"name": "dog", "color": [176, 112, 32]}}"#,
    ] {
        let folders = folders_with(labels);
        folders.annotation("a.png", encode_png(&painted));
        folders.done(&["--strict"]);
        assert_eq!(written_names(&folders), ["nothing", "cat", "dog"]);
        assert!(folders.mask("a") == mask);
        let written = std::fs::read_to_string(folders.output("label_map/labels.json")).unwrap();
        let written: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(written["0"]["color"], json!([48, 112, 32]));
        // The written file is one of the forms, and means the same.
        folders.put("config.xml", written.to_string());
        folders.done(&["--strict"]);
        assert!(folders.mask("a") == mask);
    }
}

#[test]
fn class_zero_may_be_ignored() {
    let mask = boxes(SIZE.0, SIZE.1, &[(1, [0, 0, 5, 5]), (2, [5, 5, 9, 9])]);
    let folders = folders_with(r#"["void", "road", "car"]"#);
    folders.annotation("a.png", encode_mask(&mask));
    folders.done(&["--ignore", "void"]);
    assert_eq!(written_names(&folders), ["background", "road", "car"]);
    let expected: Vec<u8> = mask.iter().map(|id| if *id == 0 { 255 } else { *id }).collect();
    assert!(folders.mask("a").into_raw() == expected);
    let said = folders.refused_without_config(&["--ignore", "void", "--priority", "car"]);
    assert!(said.contains("--ignore names void, but the classes of the masks have no names"));
    assert!(said.contains("--priority names car, but the classes"), "{said}");
}

#[test]
fn everything_wrong_with_the_file_is_told_at_once_and_as_train_tells_it() {
    let labels = r#"{"0": "a", "2": 7, "4": "b", "x": "c", "4": "d"}"#;
    let folders = folders_with(labels);
    folders.annotation("a.png", encode_mask(&boxes(SIZE.0, SIZE.1, &[])));
    let said = folders.refused(&[]);
    let job = crate::job::Job::new();
    let label_map = job.path("input/data/label_map");
    std::fs::create_dir(&label_map).unwrap();
    std::fs::write(label_map.join("labels.json"), labels).unwrap();
    let reason = job.failure();
    for part in [
        "has the number 7 for class 2",
        "has the key \"x\", which is no class; allowed: whole numbers from 0 to 254",
        "has class 4 twice",
        "has no class 1 but a class 2",
        "has no class 3 but a class 4",
    ] {
        assert!(said.contains(part), "{part}: {said}");
        assert!(reason.contains(part), "{part}: {reason}");
    }
}
