//! Annotations and folders that are wrong: each is named, and what is right is written all the
//! same.

use std::fs;

use serde_json::{Value, json};

use super::{Folders, boxes, object, region, task};

const SIZE: (u32, u32) = (20, 10);
const BOX: [u32; 4] = [2, 3, 12, 9];

/// An image `good.png` with a road, of which nothing may be lost.
fn good() -> Folders {
    let folders = Folders::new();
    folders.noise("good.png", SIZE.0, SIZE.1);
    folders.annotation("1", object(1, "s3://b/good.png", &[region("road", SIZE, BOX)]).to_string());
    folders
}

/// The one fault of a run that wrote the good image and no other.
fn one_fault(folders: &Folders) -> String {
    let run = folders.done(&[]);
    let masks = folders.masks();
    assert_eq!(masks.keys().collect::<Vec<_>>(), ["good"]);
    assert!(masks["good"] == boxes(SIZE.0, SIZE.1, &[(1, BOX)]));
    let faults = folders.faults();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(run.stderr.contains(&faults[0]), "the log says it too: {}", run.stderr);
    faults.into_iter().next().unwrap()
}

/// The fault of a second object.
fn fault_of(content: impl AsRef<[u8]>) -> String {
    let folders = good();
    folders.noise("bad.png", SIZE.0, SIZE.1);
    folders.annotation("2", content);
    one_fault(&folders)
}

fn brush(label: &str, rle: &[u8]) -> Value {
    json!({
        "id": "b1", "type": "brushlabels", "from_name": "brush", "to_name": "image",
        "original_width": SIZE.0, "original_height": SIZE.1,
        "value": {"format": "rle", "rle": rle, "brushlabels": [label]},
    })
}

#[test]
fn one_malformed_object_among_several_is_skipped_and_told() {
    let fault = fault_of("{\"id\": 2, \"result\": [}, \"task\": {}}");
    assert!(fault.contains("annotations/2: "), "{fault}");
    let fault = fault_of("{\"id\": 2, \"result\": [");
    assert!(fault.contains("annotations/2: "), "{fault}");
    let fault = fault_of("binary\0\u{1}");
    assert!(fault.contains("is neither JSON nor PNG"), "{fault}");
    let fault = fault_of("{\"name\": \"x\", \"version\": 3}");
    assert!(fault.contains("keys name, version"), "{fault}");
    let fault = fault_of(
        r#"{"id": 2, "result": [], "result": [], "task": {"data": {"image": "bad.png"}}}"#,
    );
    assert!(fault.contains("result"), "{fault}");
}

#[test]
fn strict_refuses_what_is_else_skipped() {
    let folders = good();
    folders.annotation("2", "{\"id\": 2, \"result\": [");
    let fault = one_fault(&folders);
    let said = folders.refused(&["--strict"]);
    assert!(said.contains(&format!("--strict, and 1 skipped: {fault}")), "{said}");
    assert!(folders.is_marked(), "what was refused is not complete");
    std::fs::remove_file(folders.path("processing/input/annotations/2")).unwrap();
    folders.done(&["--strict"]);
}

#[test]
fn an_export_that_breaks_off_is_refused_because_nobody_knows_what_followed() {
    let folders = good();
    let export = super::read("labelstudio/seg_JSON.json");
    for length in [export.len() / 2, export.len() - 1] {
        folders.annotation("export.json", &export[..length]);
        let said = folders.refused(&[]);
        assert!(said.contains("export.json: ") && said.contains("export it again"), "{said}");
        assert!(!folders.output("train").exists(), "nothing is begun");
    }
}

#[test]
fn run_lengths_that_lie_about_their_size_are_told_without_believing_them() {
    let header = |values: u32| [&values.to_be_bytes()[..], &[0x39, 0x1b, 0xf0, 0, 0]].concat();
    for values in [u32::MAX, 4 * 20 * 10 + 4, 0] {
        let region = brush("road", &header(values));
        let fault = fault_of(object(2, "bad.png", &[region]).to_string());
        assert!(fault.contains("region b1 (road): has brush RLE of"), "{fault}");
        assert!(fault.contains("20 x 10 pixels make 800"), "{fault}");
    }
    let fault = fault_of(object(2, "bad.png", &[brush("road", &header(800))]).to_string());
    assert!(fault.contains("cut off"), "{fault}");
    let fault = fault_of(object(2, "bad.png", &[brush("road", &[1, 2])]).to_string());
    assert!(fault.contains("region b1"), "{fault}");
}

#[test]
fn labels_that_nobody_defined_are_told_with_the_nearest_that_is() {
    let regions = [region("raod", SIZE, BOX), region("bicycle", SIZE, [0, 0, 1, 1])];
    let fault = fault_of(object(2, "bad.png", &regions).to_string());
    assert!(
        fault.contains("unknown label \"raod\" (did you mean \"road\"?); known are"),
        "{fault}"
    );
    assert!(fault.contains("unknown label \"bicycle\"; known are"), "{fault}");
}

#[test]
fn sizes_that_disagree_are_told_with_both() {
    let fault = fault_of(object(2, "bad.png", &[region("car", (30, 20), BOX)]).to_string());
    assert!(
        fault.contains("was drawn on 30 x 20 pixels, the image has 20 x 10 upright"),
        "{fault}"
    );
    let fault =
        fault_of(object(2, "bad.png", &[region("car", (10, 20), [0, 0, 5, 5])]).to_string());
    assert!(fault.contains("EXIF"), "{fault}");
}

#[test]
fn images_that_are_not_there_are_listed_and_paths_lead_nowhere_else() {
    let folders = good();
    folders.put("secret.png", maskmaker::imaging::encode_png(&super::noise(20, 10)));
    let outside = [
        "s3://b/gone.png",
        "../../../secret.png",
        "../../../../../../../../etc/passwd",
        "/data/local-files/?d=../../../secret.png",
        "/data/local-files/?d=..%2F..%2F..%2Fsecret.png",
    ];
    for (number, image) in outside.iter().enumerate() {
        let number = 2 + number as i64;
        folders.annotation(&number.to_string(), object(number, image, &[]).to_string());
    }
    // This one leads back to where it may.
    folders.noise("back.png", 9, 9);
    folders.annotation("20", object(20, "../images/./../back.png", &[]).to_string());
    folders.done(&[]);
    assert_eq!(folders.masks().keys().collect::<Vec<_>>(), ["back", "good"]);
    let faults = folders.faults();
    for image in outside {
        let said = format!("{image}: no such image below ");
        assert!(faults.iter().any(|fault| fault.starts_with(&said)), "{faults:?}");
    }
    assert_eq!(faults.len(), outside.len());
}

#[test]
fn names_that_several_images_have_are_refused_unless_folders_tell() {
    let folders = good();
    folders.noise("x/a.png", 8, 8);
    folders.noise("y/a.png", 8, 8);
    let size = (8, 8);
    let export = |one: &str, other: &str| {
        let one = task(2, one, &[region("road", size, [0, 0, 4, 8])]);
        let other = task(3, other, &[region("car", size, [0, 0, 8, 4])]);
        json!([one, other]).to_string()
    };
    folders.annotation("export.json", export("s3://b/a.png", "s3://b/y/a.png"));
    let said = folders.refused(&[]);
    assert!(said.contains("s3://b/a.png may be x/a.png, y/a.png"), "{said}");

    folders.annotation("export.json", export("s3://b/x/a.png", "http://h/y/a.png?version=2"));
    folders.done(&[]);
    let masks = folders.masks();
    assert_eq!(masks.keys().collect::<Vec<_>>(), ["good", "x/a", "y/a"]);
    assert!(masks["x/a"] == boxes(8, 8, &[(1, [0, 0, 4, 8])]));
    assert!(masks["y/a"] == boxes(8, 8, &[(2, [0, 0, 8, 4])]));
}

#[test]
fn an_annotation_is_not_drawn_on_another_image_of_the_same_name() {
    let folders = good();
    folders.noise("x/a.png", 8, 8);
    let of = |number: i64, folder: &str, label: &str| {
        let region = region(label, (8, 8), [0, 0, 4, 8]);
        task(number, &format!("s3://b/{folder}/a.png"), &[region])
    };
    // The image of the second, which is the newer, is missing.
    let export = json!([of(2, "x", "road"), of(3, "y", "car")]);
    folders.annotation("export.json", export.to_string());
    folders.done(&[]);
    assert!(folders.mask("x/a") == boxes(8, 8, &[(1, [0, 0, 4, 8])]));
    let faults = folders.faults();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].starts_with("s3://b/y/a.png: no such image below "), "{faults:?}");
}

#[test]
fn names_may_have_spaces_other_scripts_and_percent_signs() {
    let folders = Folders::new();
    let names = ["été à la 海.png", "100%.png", "a+b&c.png", "a%20b.png", " lead.png"];
    let references = [
        "s3://b/%C3%A9t%C3%A9%20%C3%A0%20la%20%E6%B5%B7.png",
        "s3://b/100%.png",
        "/data/local-files/?d=a%2Bb%26c.png",
        "s3://b/a%20b.png",
        "/data/upload/3/0123abcd-lead.png",
    ];
    let mut tasks = Vec::new();
    for (number, (name, image)) in (1..).zip(names.iter().zip(references)) {
        let size = (10 + number as u32, 10);
        folders.noise(name, size.0, size.1);
        tasks.push(task(number, image, &[region("road", size, [0, 0, 1 + number as u32, 5])]));
    }
    folders.annotation("ex port é.json", Value::from(tasks).to_string());
    folders.done(&["--strict"]);
    for (number, name) in (1_u32..).zip(names) {
        let mask = folders.mask(name.strip_suffix(".png").unwrap());
        assert!(mask == boxes(10 + number, 10, &[(1, [0, 0, 1 + number, 5])]), "{name}");
    }
}

#[test]
fn folders_without_annotations_or_images_are_told() {
    let folders = Folders::new();
    let said = folders.refused(&[]);
    assert!(said.contains("annotations holds no annotations; expected are objects"), "{said}");
    assert!(said.contains("images holds no images"), "{said}");
    // What storage leaves is no annotation.
    folders.annotation("labels", "");
    folders.annotation(".DS_Store", "x");
    assert!(folders.refused(&[]).contains("holds no annotations"));

    let said = folders.refused(&["--annotations", "/nowhere/to/be/found"]);
    assert!(said.contains("/nowhere/to/be/found") && said.contains("--annotations"), "{said}");
    let config = folders.config();
    let said = folders.refused(&["--images", config.to_str().unwrap()]);
    assert!(said.contains("config.xml is a file") && said.contains("--images"), "{said}");

    let folders = good();
    folders.annotation("1", json!([{"id": 1, "data": {"image": "good.png"}}]).to_string());
    let said = folders.refused(&[]);
    assert!(said.contains("gives no image with an annotation; 1 tasks are not labeled"), "{said}");
    folders.annotation("1", "[]");
    assert!(folders.refused(&[]).contains("gives no image with an annotation"));
}

#[test]
fn output_and_input_must_be_apart_and_nothing_strange_is_overwritten() {
    let folders = good();
    let path = |below: &str| folders.path(below).to_str().unwrap().to_owned();
    for output in ["processing/input/images/out", "processing/input", "processing/input/images"] {
        let said = folders.refused(&["--output", &path(output)]);
        assert!(said.contains("lie in one another"), "{said}");
    }
    let links = folders.path("link");
    std::os::unix::fs::symlink(folders.path("processing/input/images"), &links).unwrap();
    let said = folders.refused(&["--output", &path("link/out")]);
    assert!(said.contains("lie in one another"), "{said}");
    assert_eq!(crate::job::names(&folders.path("processing/input")), ["annotations", "images"]);
    assert_eq!(crate::job::names(&folders.path("processing/input/images")), ["good.png"]);

    folders.put("processing/output/train/mine.jpg", "mine");
    let said = folders.refused(&[]);
    assert!(said.contains("output/train holds 1 files or folders that no run of"), "{said}");
    assert_eq!(fs::read_to_string(folders.output("train/mine.jpg")).unwrap(), "mine");
    fs::remove_file(folders.output("train/mine.jpg")).unwrap();
    folders.put("processing/output/report.json", "{}");
    let said = folders.refused(&[]);
    assert!(said.contains("report.json is there, and no run of preprocess left it"), "{said}");
    assert_eq!(fs::read_to_string(folders.output("report.json")).unwrap(), "{}");
    fs::remove_file(folders.output("report.json")).unwrap();
    folders.done(&[]);
    // A run's own files are replaced.
    folders.done(&[]);
}

#[test]
fn several_formats_in_one_folder_are_told_and_one_can_be_asked_for() {
    let folders = good();
    let coco = json!({
        "images": [{"id": 1, "file_name": "good.png", "width": 20, "height": 10}],
        "categories": [{"id": 1, "name": "car"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1,
                         "segmentation": [[0, 0, 5, 0, 5, 5, 0, 5]], "iscrowd": 0}],
    });
    folders.annotation("coco.json", coco.to_string());
    let said = folders.refused(&[]);
    assert!(said.contains("several formats: Label Studio (") && said.contains("COCO ("), "{said}");
    assert!(said.contains("--format"), "{said}");
    folders.done(&["--format", "coco"]);
    assert!(folders.mask("good") == boxes(20, 10, &[(2, [0, 0, 5, 5])]));
    folders.done(&["--format", "label-studio"]);
    assert!(folders.mask("good") == boxes(20, 10, &[(1, BOX)]));
    let said = folders.refused(&["--format", "ground-truth"]);
    assert!(said.contains("no annotations of the format Ground Truth"), "{said}");
}

#[test]
fn tasks_with_several_images_need_the_configuration() {
    let folders = Folders::new();
    folders.noise("left.png", 20, 10);
    folders.noise("right.png", 20, 10);
    let mut regions = [region("road", SIZE, BOX), region("car", SIZE, [0, 0, 3, 3])];
    for (region, name) in regions.iter_mut().zip(["one", "two"]) {
        region["to_name"] = json!(name);
    }
    let mut task = task(1, "", &regions);
    task["data"] = json!({"first": "left.png", "second": "right.png", "note": "x"});
    folders.annotation("export.json", json!([task]).to_string());
    let said = folders.refused_without_config(&[]);
    assert!(said.contains("name several images (first, second)"), "{said}");
    assert!(said.contains("--label-config"), "{said}");

    let said = folders.refused(&[]);
    assert!(said.contains("the task's data have no image, which the labeling"), "{said}");
    assert!(said.contains("they have first, note, second"), "{said}");

    let tags = r#"<View><Image name="one" value="$first"/><Image name="two" value="$second"/>
        <PolygonLabels name="poly" toName="one,two"><Label value="road"/><Label value="car"/></PolygonLabels></View>"#;
    folders.put("config.xml", tags);
    folders.done(&["--strict"]);
    assert!(folders.mask("left") == boxes(20, 10, &[(1, BOX)]));
    assert!(folders.mask("right") == boxes(20, 10, &[(2, [0, 0, 3, 3])]));
}

#[test]
fn a_broken_labeling_configuration_is_refused_by_name() {
    let folders = good();
    for config in ["<View><Label", "<View/>", "", "{\"a\": 1}", "road, car", "\u{0}"] {
        folders.put("config.xml", config);
        let said = folders.refused(&[]);
        assert!(said.contains("config.xml: "), "{config:?}: {said}");
        assert!(!folders.output("").exists());
    }
    fs::remove_file(folders.config()).unwrap();
    let said = folders.refused(&[]);
    assert!(said.contains("config.xml") && said.contains("No such file"), "{said}");
}

#[test]
fn shares_that_leave_nothing_to_train_on_are_refused() {
    let folders = good();
    let said = folders.refused(&["--train-test-split-ratio", "60", "--test-ratio", "40"]);
    assert!(said.contains("leave nothing to train on"), "{said}");
    let run = folders.run(&["--train-test-split-ratio", "0.2"]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("for 20 percent write 20"), "{}", run.stderr);
}
