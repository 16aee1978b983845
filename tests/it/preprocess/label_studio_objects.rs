//! Objects of a labeling configuration: which images are trained on, and which regions are theirs.

use serde_json::{Value, json};

use super::{Folders, boxes, region, task};

const SIZE: (u32, u32) = (20, 10);

const CAR_BOX: [u32; 4] = [1, 1, 6, 6];
const ROAD_BOX: [u32; 4] = [8, 2, 18, 9];

/// Returns folders with an annotation of a task with these data, and a labeling configuration of
/// these tags.
fn folders_of(data: &Value, regions: &[Value], tags: &str) -> Folders {
    let folders = Folders::new();
    for name in ["now.png", "then.png"] {
        folders.noise(name, SIZE.0, SIZE.1);
    }
    let mut task = task(1, "", regions);
    task["data"] = data.clone();
    folders.annotation("export.json", json!([task]).to_string());
    folders.put("config.xml", format!("<View>{tags}</View>"));
    folders
}

/// Returns a region on an object.
fn region_on(object: &str, label: &str, place: [u32; 4]) -> Value {
    let mut region = region(label, SIZE, place);
    region["to_name"] = json!(object);
    region
}

const POLYGONS: &str = "<PolygonLabels name='poly' toName='photo'><Label value='road'/>\
                        <Label value='car'/></PolygonLabels>";

#[test]
fn an_image_that_is_only_shown_is_not_trained_on() {
    let data = json!({"photo": "now.png", "before": "then.png"});
    let tags = format!(
        "<Image name='before' value='$before'/><Image name='photo' value='$photo'/>{POLYGONS}\
         <Rating name='stars' toName='before'/>"
    );
    let folders = folders_of(&data, &[region_on("photo", "car", CAR_BOX)], &tags);
    folders.done(&["--strict"]);
    assert!(folders.masks().keys().eq(["now"]));
    assert!(folders.mask("now") == boxes(SIZE.0, SIZE.1, &[(2, CAR_BOX)]));
}

#[test]
fn regions_on_another_object_are_left_out_and_told() {
    let data = json!({"photo": "now.png", "before": "then.png"});
    let regions = [
        region_on("photo", "car", CAR_BOX),
        region_on("legend", "road", [0, 0, 20, 10]),
        region_on("before", "road", [0, 0, 20, 9]),
    ];
    let tags = format!(
        "<Image name='photo' value='$photo'/><Image name='before' value='$before'/>\
         <Image name='legend' value='https://static.invalid/l.png'/>{POLYGONS}\
         <PolygonLabels name='poly2' toName='legend'><Label value='north'/></PolygonLabels>"
    );
    let folders = folders_of(&data, &regions, &tags);
    let run = folders.done(&["--strict"]);
    assert!(folders.masks().keys().eq(["now"]));
    assert!(folders.mask("now") == boxes(SIZE.0, SIZE.1, &[(2, CAR_BOX)]));
    for part in ["lies on legend", "lies on before"] {
        assert!(run.stderr.contains(part), "{}", run.stderr);
        assert!(folders.report()["masks"][0]["left_out"].to_string().contains(part));
    }
}

#[test]
fn regions_of_an_object_that_the_configuration_lacks_are_refused() {
    let regions = [region_on("picture", "car", CAR_BOX)];
    let tags = format!("<Image name='photo' value='$photo'/>{POLYGONS}");
    let folders = folders_of(&json!({"photo": "now.png"}), &regions, &tags);
    let said = folders.refused(&[]);
    assert!(
        said.contains("lies on the object picture, which the labeling configuration"),
        "{said}"
    );
    assert!(said.contains("it has photo; give the configuration of the project"), "{said}");
}

#[test]
fn regions_on_several_objects_need_the_configuration() {
    let regions = [region_on("a", "car", CAR_BOX), region_on("b", "road", ROAD_BOX)];
    let folders = folders_of(&json!({"photo": "now.png"}), &regions, "");
    let said = folders.refused_without_config(&[]);
    assert!(said.contains("regions lie on several objects (a, b)"), "{said}");
    // One of them has the name of the key.
    let regions = [region_on("photo", "car", CAR_BOX), region_on("b", "road", ROAD_BOX)];
    let folders = folders_of(&json!({"photo": "now.png"}), &regions, "");
    let run = folders.done_without_config(&[]);
    assert!(run.stderr.contains("lies on b, which is no image to train on"), "{}", run.stderr);
    assert!(folders.mask("now") == boxes(SIZE.0, SIZE.1, &[(1, CAR_BOX)]));
}

#[test]
fn attributes_in_any_case_and_controls_of_the_only_object_are_read() {
    let polygons = POLYGONS.replace("toName", "TONAME").replace("value", "VALUE");
    for polygons in [polygons, POLYGONS.replace("toName='photo'", "")] {
        let tags = format!("<Image NAME='photo' Value='$photo'/>{polygons}");
        let regions = [region_on("photo", "car", CAR_BOX)];
        let folders = folders_of(&json!({"photo": "now.png"}), &regions, &tags);
        folders.done(&["--strict"]);
        assert!(folders.mask("now") == boxes(SIZE.0, SIZE.1, &[(2, CAR_BOX)]));
    }
}

#[test]
fn each_image_of_a_list_has_the_regions_of_its_index() {
    let on_page = |page: u32, label: &str, place: [u32; 4]| {
        let mut region = region_on("photo", label, place);
        region["item_index"] = json!(page);
        region
    };
    let regions =
        [on_page(0, "car", CAR_BOX), on_page(1, "road", ROAD_BOX), on_page(7, "road", ROAD_BOX)];
    let tags = format!("<Image name='photo' valuelist='$pages'/>{POLYGONS}");
    let data = json!({"pages": ["now.png", "then.png"]});
    let folders = folders_of(&data, &regions, &tags);
    let run = folders.done(&["--strict"]);
    assert!(folders.mask("now") == boxes(SIZE.0, SIZE.1, &[(2, CAR_BOX)]));
    assert!(folders.mask("then") == boxes(SIZE.0, SIZE.1, &[(1, ROAD_BOX)]));
    assert!(run.stderr.contains("the index 7 of a list of 2 images"), "{}", run.stderr);

    // JSON_MIN has lost the index.
    let row = json!([{"annotation_id": 1, "id": 1, "pages": ["now.png", "then.png"],
        "poly": [regions[0]["value"]]}]);
    folders.annotation("export.json", row.to_string());
    let said = folders.refused(&[]);
    assert!(said.contains("shows a list of images (valueList), and JSON_MIN does not"), "{said}");
    // Nor is a list one image.
    let folders = folders_of(&data, &regions, "");
    let said = folders.refused_without_config(&[]);
    assert!(said.contains("name several images (pages.0, pages.1)"), "{said}");
}

#[test]
fn an_image_may_be_named_within_the_data_or_within_an_address() {
    for (value, data) in [
        ("$shot.image[0]", json!({"shot": {"image": ["now.png"]}, "other": "then.png"})),
        ("s3://bucket/$path", json!({"path": "now.png", "other": "then.png"})),
    ] {
        let tags = format!("<Image name='photo' value='{value}'/>{POLYGONS}");
        let folders = folders_of(&data, &[region_on("photo", "car", CAR_BOX)], &tags);
        folders.done(&["--strict"]);
        assert!(folders.masks().keys().eq(["now"]), "{value}");
    }
}

#[test]
fn a_closed_vector_path_is_filled_and_an_open_one_told() {
    let vector = |id: &str, closed: bool, place: [u32; 4]| {
        let mut region = region("road", SIZE, place);
        let points = region["value"]["points"].as_array().unwrap().clone();
        let mut vertices = Vec::new();
        for (number, point) in points.iter().enumerate() {
            vertices.push(json!({"id": number.to_string(), "x": point[0], "y": point[1],
                "prevPointId": number.checked_sub(1).map(|before| before.to_string())}));
        }
        region["id"] = json!(id);
        region["type"] = json!("vectorlabels");
        region["to_name"] = json!("photo");
        region["value"] = json!({"vertices": vertices, "closed": closed, "vectorlabels": ["road"]});
        region
    };
    let tags = format!(
        "<Image name='photo' value='$photo'/>{POLYGONS}<VectorLabels name='v' toName='photo' \
         closable='true'><Label value='road'/><Label value='lane'/></VectorLabels>"
    );
    let regions = [vector("c", true, ROAD_BOX), vector("o", false, CAR_BOX)];
    let folders = folders_of(&json!({"photo": "now.png"}), &regions, &tags);
    let run = folders.done(&["--strict"]);
    assert!(folders.mask("now") == boxes(SIZE.0, SIZE.1, &[(1, ROAD_BOX)]));
    assert!(run.stderr.contains("region o (vectorlabels) is a vector path that is not closed"));
    assert!(run.stdout.contains("3 lane"), "a class of the vectors: {}", run.stdout);
}

#[test]
fn labels_with_commas_may_be_ignored_and_put_on_top() {
    let regions = [
        region_on("photo", "a, b", [0, 0, 10, 10]),
        region_on("photo", "b", [5, 0, 15, 10]),
        region_on("photo", "R&D, c,d", [12, 0, 20, 10]),
    ];
    let tags = "<Image name='photo' value='$photo'/><PolygonLabels name='p' toName='photo'>\
                <Label value='a, b'/><Label value='b'/><Label value='R&amp;D, c,d'/></PolygonLabels>";
    let folders = folders_of(&json!({"photo": "now.png"}), &regions, tags);
    folders.done(&["--ignore", "R&D, c,d,b"]);
    let ignored = [(1, [0, 0, 10, 10]), (255, [5, 0, 15, 10]), (255, [12, 0, 20, 10])];
    assert!(folders.mask("now") == boxes(SIZE.0, SIZE.1, &ignored));
    assert_eq!(folders.report()["settings"]["ignore"], json!(["R&D, c,d", "b"]));
    folders.done(&["--priority", "b", "--priority", "a, b"]);
    let order = [(1, [0, 0, 10, 10]), (3, [12, 0, 20, 10]), (2, [5, 0, 15, 10])];
    assert!(folders.mask("now") == boxes(SIZE.0, SIZE.1, &order));
    let said = folders.refused(&["--ignore", "a, c"]);
    assert!(said.contains("--ignore names \"a, c\" (did you mean \"a, b\"?)"), "{said}");
}
