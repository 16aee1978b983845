//! COCO as many programs write it: ids of all kinds, numbers that JSON has not, and files without
//! areas.

use serde_json::{Value, json};

use super::{Folders, boxes, region, task};

const SIZE: (u32, u32) = (20, 10);

fn polygon([left, top, right, bottom]: [u32; 4]) -> Value {
    json!([[left, top, right, top, right, bottom, left, bottom]])
}

/// Writes a file of two images with these ids, and annotations of road and car.
fn write_file(image_ids: [Value; 2], category_ids: [Value; 2], annotations: &[Value]) -> Folders {
    let folders = Folders::new();
    let mut images = Vec::new();
    for (name, id) in ["a.png", "b.png"].iter().zip(image_ids) {
        folders.noise(name, SIZE.0, SIZE.1);
        images.push(json!({"id": id, "file_name": name, "width": SIZE.0, "height": SIZE.1}));
    }
    let [road, car] = category_ids;
    let categories = [json!({"id": road, "name": "road"}), json!({"id": car, "name": "car"})];
    let file = json!({"images": images, "annotations": annotations, "categories": categories});
    folders.annotation("coco.json", file.to_string());
    folders
}

fn drawn(image: &Value, category: &Value, place: [u32; 4]) -> Value {
    json!({"id": 1, "image_id": image, "category_id": category, "segmentation": polygon(place)})
}

#[test]
fn ids_are_joined_as_numbers_or_as_texts() {
    let (one, two) = ([0, 0, 12, 6], [6, 2, 18, 9]);
    for (images, categories, used_images, used_categories) in [
        // Texts, of which one begins with zeros.
        (json!(["007", "7"]), json!(["r", "c"]), json!(["007", "7"]), json!(["r", "c"])),
        // One number in several forms.
        (json!([1.0, "2"]), json!(["1", 2]), json!(["1", 2.0]), json!([1.0, "2.0"])),
        (json!(["x/a b", "é"]), json!([0, 1.5]), json!(["x/a b", "é"]), json!(["0", 1.5])),
    ] {
        let pair = |ids: &Value| [ids[0].clone(), ids[1].clone()];
        let [first, second] = pair(&used_images);
        let [road, car] = pair(&used_categories);
        let folders = write_file(
            pair(&images),
            pair(&categories),
            &[drawn(&first, &road, one), drawn(&second, &car, two)],
        );
        folders.done(&["--strict"]);
        assert!(folders.mask("a") == boxes(SIZE.0, SIZE.1, &[(1, one)]), "{images}");
        assert!(folders.mask("b") == boxes(SIZE.0, SIZE.1, &[(2, two)]), "{images}");
    }
}

#[test]
fn numbers_that_python_writes_do_no_harm_but_as_coordinates() {
    let place = [0, 0, 12, 6];
    let ids = || [json!(1), json!(2)];
    let mut annotation = drawn(&json!(1), &json!(1), place);
    annotation["area"] = json!("N1");
    annotation["bbox"] = json!(["N2", "N3", 1, 1]);
    annotation["note"] = json!("NaN \"Infinity\" stays");
    let mut broken = drawn(&json!(2), &json!(2), place);
    broken["segmentation"][0][3] = json!("N1");
    let folders = write_file(ids(), ids(), &[annotation, broken]);
    let path = "processing/input/annotations/coco.json";
    let mut text = std::fs::read_to_string(folders.path(path)).unwrap();
    for (mark, number) in [("\"N1\"", "NaN"), ("\"N2\"", "-Infinity"), ("\"N3\"", "Infinity")] {
        text = text.replace(mark, number);
    }
    folders.annotation("coco.json", text);
    folders.done(&[]);
    assert!(folders.mask("a") == boxes(SIZE.0, SIZE.1, &[(1, place)]));
    let faults = folders.faults();
    assert!(faults.len() == 1 && faults[0].contains("NaN"), "{faults:?}");
    assert!(faults[0].contains("b.png") && faults[0].contains("car"), "{faults:?}");
}

#[test]
fn numbers_that_python_writes_are_read_in_label_studios_exports() {
    let folders = Folders::new();
    folders.noise("a.png", SIZE.0, SIZE.1);
    folders.noise("b.png", SIZE.0, SIZE.1);
    let place = [2, 3, 12, 9];
    let mut good = task(1, "a.png", &[region("road", SIZE, place)]);
    good["data"]["score"] = json!("MARK");
    let mut bad = task(2, "b.png", &[region("road", SIZE, place)]);
    bad["annotations"][0]["result"][0]["value"]["points"][1][0] = json!("MARK");
    let text = json!([good, bad]).to_string().replace("\"MARK\"", "NaN");
    folders.annotation("export.json", text);
    folders.done(&[]);
    assert!(folders.mask("a") == boxes(SIZE.0, SIZE.1, &[(1, place)]));
    let faults = folders.faults();
    assert!(faults.len() == 1 && faults[0].contains("region r2_3"), "{faults:?}");
    assert!(faults[0].contains("NaN"), "{faults:?}");
}

#[test]
fn images_with_boxes_alone_do_not_become_background() {
    let ids = || [json!(1), json!(2)];
    let boxed = json!({"id": 2, "image_id": 2, "category_id": 1, "bbox": [1, 1, 5, 5]});
    let mut empty = boxed.clone();
    empty["segmentation"] = json!([]);
    let place = [0, 0, 12, 6];
    let folders =
        write_file(ids(), ids(), &[drawn(&json!(1), &json!(1), place), boxed.clone(), empty]);
    folders.done(&[]);
    assert_eq!(folders.masks().keys().collect::<Vec<_>>(), ["a"]);
    let faults = folders.faults();
    assert!(faults.len() == 1 && faults[0].starts_with("b.png: image 2 in "), "{faults:?}");
    folders.refused(&["--strict"]);

    // An image without any annotation is background.
    let folders = write_file(ids(), ids(), &[drawn(&json!(1), &json!(1), place)]);
    folders.done(&["--strict"]);
    assert!(folders.mask("b") == boxes(SIZE.0, SIZE.1, &[]));

    // A file without any segmentation would make background of all.
    let folders = write_file(ids(), ids(), &[boxed]);
    let said = folders.refused(&[]);
    assert!(said.contains("has 1 annotations, none of them with a segmentation"), "{said}");
}

#[test]
fn the_other_kinds_of_coco_are_named_and_instances_beside_them_are_read() {
    let place = [0, 0, 12, 6];
    let images = json!([{"id": 1, "file_name": "a.png", "width": SIZE.0, "height": SIZE.1}]);
    let categories = json!([{"id": 1, "name": "road"}]);
    let file = |annotation: Value| {
        json!({"images": images, "annotations": [annotation], "categories": categories}).to_string()
    };
    let panoptic = json!({"image_id": 1, "file_name": "a.png", "segments_info": [{"id": 1}]});
    let captions = json!({"id": 1, "image_id": 1, "caption": "A road."});
    let points = json!({"id": 1, "image_id": 1, "category_id": 1, "keypoints": [1, 1, 2]});
    for (annotation, said) in [
        (panoptic, "panoptic format (segments_info)"),
        (captions, "caption format"),
        (points, "none of them with a segmentation"),
    ] {
        let folders = Folders::new();
        folders.noise("a.png", SIZE.0, SIZE.1);
        folders.annotation("other.json", file(annotation));
        let told = folders.refused(&[]);
        assert!(told.contains(said), "{told}");
        folders.annotation("instances.json", file(drawn(&json!(1), &json!(1), place)));
        folders.done(&[]);
        assert!(folders.mask("a") == boxes(SIZE.0, SIZE.1, &[(1, place)]));
        let faults = folders.faults();
        assert!(faults.len() == 1 && faults[0].contains("other.json: "), "{faults:?}");
    }
}
