//! An annotation finds its image whatever wrote the name, and only the image that it means.

use maskmaker::imaging::encode_mask;
use serde_json::{Value, json};

use super::{Folders, boxes, object, region, task};

const SIZE: (u32, u32) = (20, 10);

/// A box of which the height tells the number of the task.
fn mark(number: u32) -> [u32; 4] {
    [0, 0, 5, number]
}

/// A folder of images, and an export whose tasks refer to them in turn.
fn export(images: &[&str], references: &[&str]) -> Folders {
    let folders = Folders::new();
    for image in images {
        folders.noise(image, SIZE.0, SIZE.1);
    }
    let mut tasks = Vec::new();
    for (number, reference) in (1..).zip(references) {
        let region = region("road", SIZE, mark(number));
        tasks.push(task(i64::from(number), reference, &[region]));
    }
    folders.annotation("export.json", Value::from(tasks).to_string());
    folders
}

/// Asserts that each task of an export was drawn on the image of the given name.
fn assert_drawn(images: &[&str], references: &[&str], names: &[&str]) {
    let folders = export(images, references);
    folders.done(&["--strict"]);
    for (number, name) in (1..).zip(names) {
        let expected = boxes(SIZE.0, SIZE.1, &[(1, mark(number))]);
        assert!(folders.mask(name) == expected, "{name} of {references:?}");
    }
    assert_eq!(folders.masks().len(), names.len());
}

/// A COCO file about one image.
fn coco(file_name: &str, contributor: &str) -> String {
    json!({
        "images": [{"id": 1, "file_name": file_name}],
        "categories": [{"id": 1, "name": "road"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1,
                         "segmentation": [[0, 0, 5, 0, 5, 5, 0, 5]]}],
        "info": {"contributor": contributor},
    })
    .to_string()
}

#[test]
fn paths_of_windows_lead_to_the_same_folders_here() {
    assert_drawn(
        &["train/leaf_1.png", "set/a.png", "set/b.JPG", "set/c.png", "deep/er/d.png"],
        &[
            "/data/local-files/?d=Ml%5Ctrain%5Cleaf_1.png",
            r"C:\Users\me\set\a.png",
            r"\\server\share\set\b.JPG",
            "file:///D:/data/set/c.png",
            r"..\deep/er\d.png",
        ],
        &["leaf_1", "a", "b", "c", "d"],
    );
    // A file that has the backslash in its name is meant before the one in a folder.
    assert_drawn(&[r"set\a.png", "set/a.png"], &[r"set\a.png", "set/a.png"], &[r"set\a", "a"]);

    let folders = Folders::new();
    folders.noise("val/a.png", SIZE.0, SIZE.1);
    folders.noise("train/a.png", SIZE.0, SIZE.1);
    folders.annotation("coco.json", coco(r"D:\dataset\val\a.png", "somebody"));
    folders.done(&["--strict"]);
    assert!(folders.mask("a") == boxes(SIZE.0, SIZE.1, &[(1, [0, 0, 5, 5])]));
    assert!(folders.report()["masks"][0]["image"] == "val/a.png");
}

#[test]
fn a_plus_sign_is_a_space_where_no_file_has_it() {
    let web = "https://b.s3.eu-west-1.amazonaws.com/roads/wet+road+1.png?X-Amz-Expires=60";
    assert_drawn(
        &["roads/wet road 1.png", "my photo.png", "1+1 a.png"],
        &[web, "/data/local-files/?d=my+photo.png", "https://h/x/1%2B1+a.png"],
        &["wet road 1", "my photo", "1+1 a"],
    );
    assert_drawn(
        &["roads/wet road 1.png", "roads/wet+road+1.png"],
        &[web, "s3://b/roads/wet road 1.png"],
        &["wet+road+1", "wet road 1"],
    );
    // A key of S3 is what it is.
    let folders = export(&["a b.png", "good.png"], &["s3://b/a+b.png", "good.png"]);
    folders.done(&[]);
    let faults = folders.faults().join("\n");
    assert!(faults.starts_with("s3://b/a+b.png: no such image below"), "{faults}");
    assert!(faults.contains("near it is a b.png"), "{faults}");
}

#[test]
fn names_are_equal_in_every_unicode_normalization() {
    let (composed, decomposed) = ("caf\u{e9}", "cafe\u{301}");
    for (file, reference) in [(composed, decomposed), (decomposed, composed)] {
        let folder = format!("{file}/{file}.png");
        for reference in [
            format!("s3://b/{reference}/{reference}.png"),
            format!("/data/upload/1/0a1b2c3d-{reference}.png"),
        ] {
            assert_drawn(&[&folder], &[&reference], &[file]);
        }
    }
    // Spaces of an upload became underscores, and accents that stand apart were dropped.
    assert_drawn(
        &["caf\u{e9} 1.png", "e\u{301}te\u{301} 2.png"],
        &["/data/upload/1/0a1b2c3d-cafe_1.png", "/data/upload/1/0a1b2c3d-%C3%A9t%C3%A9_2.png"],
        &["caf\u{e9} 1", "e\u{301}te\u{301} 2"],
    );
    // Two files are two: the exact name counts, and without one nothing is guessed.
    let both = [format!("x/{composed}.png"), format!("y/{decomposed}.png")];
    let both: Vec<&str> = both.iter().map(String::as_str).collect();
    let folders = export(&both, &[&format!("s3://b/{composed}.png")]);
    folders.done(&["--strict"]);
    assert_eq!(folders.report()["masks"][0]["image"], both[0]);
    let (hook, hook_apart) = ("a\u{328}\u{301}", "\u{105}\u{301}");
    let both = [format!("x/{hook}.png"), format!("y/{hook_apart}.png")];
    let both: Vec<&str> = both.iter().map(String::as_str).collect();
    let folders = export(&both, &["s3://b/a\u{301}\u{328}.png"]);
    let said = folders.refused(&[]);
    assert!(said.contains(both[0]) && said.contains(both[1]), "{said}");

    // Masks and labels too.
    let folders = Folders::new();
    folders.noise(&format!("{composed}.jpg"), SIZE.0, SIZE.1);
    let mask = boxes(SIZE.0, SIZE.1, &[(1, [0, 0, 5, 5])]);
    folders.annotation(&format!("{decomposed}.png"), encode_mask(&mask));
    folders.done(&["--strict"]);
    assert!(folders.mask(composed) == mask);

    let folders = Folders::new();
    folders.noise("a.png", SIZE.0, SIZE.1);
    let regions =
        [region("a\u{301}rvore 树", SIZE, [0, 0, 5, 5]), region("árvore 树", SIZE, [6, 0, 9, 5])];
    folders.annotation("1", object(1, "a.png", &regions).to_string());
    folders.done(&["--strict"]);
    let tree = [(3, [0, 0, 5, 5]), (3, [6, 0, 9, 5])];
    assert!(folders.mask("a") == boxes(SIZE.0, SIZE.1, &tree));
    folders.done(&["--strict", "--ignore", "a\u{301}rvore 树"]);
    folders.done_without_config(&["--strict"]);
    let tree = [(1, [0, 0, 5, 5]), (1, [6, 0, 9, 5])];
    assert!(folders.mask("a") == boxes(SIZE.0, SIZE.1, &tree));
}

#[test]
fn the_prefix_of_uploads_is_undone_only_where_label_studio_put_it() {
    for reference in [
        "/data/upload/3/20260102-cam1.png",
        "https://ls.example.com/sub/data/upload/3/deadbeef-cam1.png",
        "upload/3/0123abcd-cam1.png",
    ] {
        assert_drawn(&["set/cam1.png"], &[reference], &["cam1"]);
    }
    for reference in [
        "s3://b/cam/20260102-cam1.png",
        "gs://b/data/upload/3/20260102-cam1.png",
        "/data/local-files/?d=cam/20260102-cam1.png",
        "https://cdn.example.com/cam/20260102-cam1.png",
        "20260102-cam1.png",
    ] {
        let folders = export(&["cam1.png", "good.png"], &[reference, "good.png"]);
        folders.done(&[]);
        assert_eq!(folders.masks().keys().collect::<Vec<_>>(), ["good"], "{reference}");
        let faults = folders.faults().join("\n");
        assert!(faults.starts_with(&format!("{reference}: no such image below")), "{faults}");
        assert!(faults.contains("could be cam1.png, but those are taken off only"), "{faults}");
        folders.refused(&["--strict"]);
    }
    for (file_name, contributor, is_drawn) in [
        ("images/deadbeef-cam1.png", "Label Studio", true),
        (r"images\3\deadbeef-cam1.png", "Label Studio Converter", true),
        ("deadbeef-cam1.png", "somebody", false),
        ("images/3/20260102-cam1.png", "", false),
        ("20260102-cam1.png", "Label Studio", false),
    ] {
        let folders = Folders::new();
        folders.noise("cam1.png", SIZE.0, SIZE.1);
        folders.annotation("coco.json", coco(file_name, contributor));
        let run = folders.run(&["--label-config", folders.config().to_str().unwrap()]);
        assert_eq!(run.code, Some(if is_drawn { 0 } else { 3 }), "{file_name}: {}", run.stderr);
    }
    // Two files whose names Label Studio would change to one name.
    let folders = export(&["a b.png", "a_b.png"], &["/data/upload/1/0123abcd-a_b.png"]);
    let said = folders.refused(&[]);
    assert!(said.contains("may be a b.png, a_b.png"), "{said}");
}

#[test]
fn images_inside_of_tasks_and_other_long_texts_are_not_repeated() {
    let data_url = format!("data:image/png;base64,{}", "iVBORw0KGgo".repeat(20_000));
    let long_name = format!("s3://b/{}.png", "long/".repeat(20_000));
    let folders = export(&["good.png", "x.png"], &[&data_url, &long_name, "good.png"]);
    let label = "road".repeat(20_000);
    let region = region(&label, SIZE, [0, 0, 5, 5]);
    folders.annotation("2", object(9, "x.png", &[region]).to_string());
    folders.annotation("3", json!({"id": 1, "result": label, "task": {}}).to_string());
    let config = folders.config();
    let arguments = ["--label-config", config.to_str().unwrap(), "--strict"];
    for arguments in [&arguments[..2], &arguments[..]] {
        let run = folders.run(arguments);
        for line in run.stderr.lines().chain(run.stdout.lines()) {
            assert!(line.chars().count() < 3000, "{} characters: {line:.200}", line.len());
        }
    }
    folders.done(&[]);
    assert_eq!(folders.masks().keys().collect::<Vec<_>>(), ["good"]);
    let faults = folders.faults();
    assert_eq!(faults.len(), 4);
    for fault in &faults {
        assert!(fault.chars().count() < 2700, "{fault:.200}");
    }
    let inside = faults.iter().find(|fault| fault.contains("a data URL")).unwrap();
    assert!(inside.starts_with("annotation 101 in ") && inside.len() < 500, "{inside}");
    assert!(faults.iter().any(|fault| fault.contains("characters left out")), "{faults:?}");

    // Without a configuration the task is one with an image too.
    let run = folders.run(&[]);
    assert!(run.stderr.contains("a data URL"), "{}", run.stderr);
}

#[test]
fn masks_may_be_named_after_the_whole_name_of_their_image() {
    let folders = Folders::new();
    for name in ["a.jpg", "sub/b.jpeg", "c.png", "two.jpg", "d.jpg"] {
        folders.noise(name, SIZE.0, SIZE.1);
    }
    let masks: Vec<_> = (1..=5).map(|row| boxes(SIZE.0, SIZE.1, &[(1, [0, 0, 9, row])])).collect();
    for (name, mask) in
        ["a.jpg.png", "sub/b.jpeg.png", "c.png.png", "two.png", "two.jpg.png"].iter().zip(&masks)
    {
        folders.annotation(name, encode_mask(mask));
    }
    folders.annotation("D.JPG.png", encode_mask(&masks[0]));
    folders.done(&[]);
    for (name, mask) in ["a", "b", "c", "two"].iter().zip(&masks) {
        assert!(folders.mask(name) == *mask, "{name}");
    }
    let faults = folders.faults();
    assert_eq!(faults.len(), 2, "{faults:?}");
    let says = |parts: &[&str]| faults.iter().any(|f| parts.iter().all(|part| f.contains(part)));
    assert!(says(&["two.jpg.png: ", "two.jpg, which has the mask", "two.png"]), "{faults:?}");
    assert!(says(&["D.JPG: no such image", "near it is d.jpg"]), "{faults:?}");
}

#[test]
fn near_names_are_hinted_at() {
    for (file, reference) in [
        ("set/cam 1.PNG", "s3://b/set/cam 1.png"),
        ("cam_1.png", "cam 1.png"),
        ("CAM1.jpg", "/data/upload/1/0123abcd-cam1.png"),
        ("cam.jpeg", "https://h/cam.jpg?x=1"),
    ] {
        let folders = export(&[file, "good.png"], &[reference, "good.png"]);
        folders.done(&[]);
        let faults = folders.faults().join("\n");
        assert!(faults.contains(&format!("; near it is {file}, whose name differs")), "{faults}");
    }
}
