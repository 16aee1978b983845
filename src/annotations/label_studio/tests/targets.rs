//! Regions by the object on which they lie, their order, and vector paths.

use std::sync::Arc;

use super::*;
use crate::annotations::label_config::parse_label_config;

/// Returns a polygon on an object.
fn polygon(id: &str, to_name: &str) -> serde_json::Value {
    json!({"id": id, "type": "polygonlabels", "to_name": to_name,
           "value": {"points": [[0, 0], [9, 0], [9, 9]], "polygonlabels": ["a"]}})
}

/// Returns the target of an image of a configuration with a photo, another photo that is labeled,
/// one for comparison, and a legend.
fn target(image_name: &str) -> RegionTarget {
    let config = parse_label_config(
        b"<View><Image name='photo' value='$p'/><Image name='second' value='$s'/>
          <Image name='before' value='$b'/><Image name='legend' value='https://x/l.png'/>
          <PolygonLabels name='poly' toName='photo'><Label value='a'/></PolygonLabels>
          <PolygonLabels name='poly2' toName='second'><Label value='a'/></PolygonLabels>
          <PolygonLabels name='both' toName='photo,second'><Label value='a'/></PolygonLabels>
          <PolygonLabels name='poly3' toName='legend'><Label value='a'/></PolygonLabels></View>",
    )
    .unwrap();
    RegionTarget {
        image_name: Some(Arc::from(image_name)),
        objects: Arc::new(config.objects),
        shown_images: Arc::from(["photo", "second"].map(str::to_owned)),
        list_item: None,
        list_indices: Arc::default(),
        tells_strays: image_name == "photo",
    }
}

fn region_ids(regions: &AnnotationRegions) -> Vec<&str> {
    regions.regions.iter().map(|region| region.id.as_str()).collect()
}

#[test]
fn regions_of_other_objects_are_left_out_and_told_once() {
    let bytes = annotation(&json!([
        polygon("p", "photo"), polygon("s", "second"), polygon("l", "legend"),
        polygon("b", "before"), polygon("x", ""),
        {"id": "k", "type": "keypointlabels", "to_name": "second",
         "value": {"x": 1, "y": 2, "keypointlabels": ["a"]}},
    ]));
    let photo = read_target_regions(&bytes, 0, &target("photo")).unwrap();
    assert_eq!(region_ids(&photo), ["p"]);
    assert_eq!(
        photo.skipped_reasons,
        [
            "region l (polygonlabels) lies on legend, which is no image to train on",
            "region b (polygonlabels) lies on before, which is no image to train on",
            "region x (polygonlabels) does not say on which image of its task it lies; export as JSON",
        ]
    );
    let second = read_target_regions(&bytes, 0, &target("second")).unwrap();
    assert_eq!(region_ids(&second), ["s"]);
    assert_eq!(second.skipped_reasons, ["region k (keypointlabels) has no area"]);
    assert_eq!(read_regions(&bytes, 0).unwrap().regions.len(), 5);

    // Regions of an image that the task lacks are told, too.
    let alone = RegionTarget { shown_images: Arc::from(["photo".to_owned()]), ..target("photo") };
    let photo = read_target_regions(&bytes, 0, &alone).unwrap();
    assert_eq!(
        photo.skipped_reasons[0],
        "region s (polygonlabels) lies on second, of which the task's data name no image"
    );
    assert_eq!(photo.skipped_reasons.len(), 5);

    let foreign = annotation(&json!([polygon("r", "picture")]));
    let error = read_target_regions(&foreign, 0, &target("photo")).unwrap_err().to_string();
    assert_eq!(
        error,
        "region r (polygonlabels) lies on the object picture, which the labeling configuration \
         lacks: it has photo, second, before, legend; give the configuration of the project"
    );
}

/// Returns a row of `JSON_MIN` with one region of each of the given controls.
fn row(controls: &[&str]) -> Vec<u8> {
    let mut row = json!({"annotation_id": 1, "id": 1, "p": "p.png", "s": "s.png"});
    for (number, control) in controls.iter().enumerate() {
        row[*control] = json!([{"points": [[0, 0], [9, 0], [9, number]], "polygonlabels": ["a"]}]);
    }
    bytes(&row)
}

#[test]
fn a_row_of_json_min_tells_the_object_by_the_control() {
    let bytes = row(&["poly", "poly2", "both", "poly3", "unknown"]);
    let photo = read_target_regions(&bytes, 0, &target("photo")).unwrap();
    assert_eq!(photo.regions.len(), 1);
    let shared = "a region (polygonlabels) does not say on which image of its task it lies; export as \
                  JSON";
    let legend = "a region (polygonlabels) lies on legend, which is no image to train on";
    // The keys of a row are in the order of the alphabet here.
    assert_eq!(photo.skipped_reasons, [shared, legend, shared]);
    let second = read_target_regions(&bytes, 0, &target("second")).unwrap();
    assert_eq!((second.regions.len(), second.skipped_reasons.len()), (1, 0));
}

#[test]
fn regions_of_a_list_lie_on_the_image_of_their_index() {
    let with_index = |id: &str, index: serde_json::Value| {
        let mut region = polygon(id, "photo");
        region["item_index"] = index;
        region
    };
    let bytes = annotation(&json!([
        with_index("first", json!(0)),
        with_index("none", json!(null)),
        with_index("two", json!(1)),
        with_index("gap", json!(2)),
        with_index("far", json!(4)),
        with_index("odd", json!(0.5)),
        with_index("minus", json!(-1)),
    ]));
    let item = |index: usize| {
        let target = RegionTarget {
            list_item: Some(ListItem { index, count: 4 }),
            list_indices: Arc::new(BTreeSet::from([0, 1, 3])),
            tells_strays: index == 0,
            ..target("photo")
        };
        read_target_regions(&bytes, 0, &target).unwrap()
    };
    assert_eq!(region_ids(&item(0)), ["first", "none"]);
    assert_eq!(region_ids(&item(1)), ["two"]);
    let gap = "region gap (polygonlabels) lies on the element with the index 2 of a list, which names \
               no image";
    let far = "region far (polygonlabels) lies on the image with the index 4 of a list of 4 images";
    assert_eq!(
        (item(0).skipped_reasons.len(), &item(0).skipped_reasons[..2]),
        (4, &[gap, far].map(str::to_owned)[..])
    );
    assert_eq!(item(1).skipped_reasons, [""; 0]);
}

#[test]
fn drawn_results_are_counted_by_object_control_and_index() {
    let with_place = |control: usize, index: usize| {
        let mut region = polygon("r", "photo");
        region["from_name"] = json!(format!("c{control}"));
        region["item_index"] = json!(index);
        region
    };
    let mut results = Vec::new();
    for repetition in 0..3 {
        for control in 0..2000 {
            results.push(with_place(control, control % 2));
        }
        results.push(with_place(0, repetition));
    }
    let summary = &read_task_summary(&annotation(&json!(results))).unwrap().annotations[0];
    let counts: Vec<usize> = summary.drawn_places.iter().map(|(_, count)| *count).collect();
    // The first control has one more result on its own place, and one each on two others.
    assert_eq!((counts.len(), counts[0], counts[1]), (2002, 4, 3));
    assert_eq!(counts[2000..], [1, 1]);
    let item = ListItem { index: 0, count: 2 };
    let first = RegionTarget { list_item: Some(item), ..RegionTarget::default() };
    assert_eq!(first.count_results(summary), 3001);
}

#[test]
fn the_order_is_lost_only_between_tags_of_json_min() {
    let groups = |bytes: &[u8]| -> Vec<Option<u32>> {
        let regions = read_regions(bytes, 0).unwrap().regions;
        regions.iter().map(|region| region.order_group).collect()
    };
    let several = bytes(&json!({"annotation_id": 1, "image": "a.png",
        "one": [{"points": [], "polygonlabels": ["a"]}, {"points": [], "polygonlabels": ["a"]}],
        "text": ["x"], "two": [{"points": [], "polygonlabels": ["b"]}]}));
    let found = groups(&several);
    assert!(found[0].is_some() && found[0] == found[1] && found[1] != found[2], "{found:?}");
    assert_eq!(groups(&row(&["poly"])), [None]);
    let labeled = annotation(&json!([polygon("a", "x"), polygon("b", "y")]));
    assert_eq!(groups(&labeled), [None, None]);
}

#[test]
fn a_closed_vector_path_is_an_area_and_an_open_one_is_told() {
    let vector = |id: &str, kind: &str, closed: serde_json::Value| {
        let mut value = json!({
            "vertices": [{"id": "p", "x": 10, "y": 20, "prevPointId": null, "isBezier": false},
                         {"id": "q", "x": 60, "y": 20, "prevPointId": "p", "isBezier": false},
                         {"id": "r", "x": 60, "y": 70, "prevPointId": "q", "isBezier": false}],
            "closed": closed,
        });
        value[kind] = json!(["road"]);
        json!({"id": id, "type": kind, "value": value})
    };
    let result = json!([
        vector("c", "vectorlabels", json!(true)),
        vector("o", "vectorlabels", json!(false)),
        vector("n", "vectorlabels", json!(null)),
        vector("l", "labels", json!(true)),
        vector("m", "labels", json!("yes")),
    ]);
    let found = drawn(&result);
    assert_eq!(region_ids(&found), ["c", "l"]);
    let points = vec![[10.0, 20.0], [60.0, 20.0], [60.0, 70.0]];
    assert_eq!(found.regions[0].shape, Shape::Polygon { points });
    assert_eq!(
        found.skipped_reasons,
        [
            "region o (vectorlabels) is a vector path that is not closed, so nothing is filled",
            "region n (vectorlabels) is a vector path that is not closed, so nothing is filled",
            "region m (labels) is a vector path that is not closed, so nothing is filled",
        ]
    );
    let summary = &read_task_summary(&annotation(&result)).unwrap().annotations[0];
    assert_eq!(summary.drawn_count(), 5);
    let row = json!({"annotation_id": 1, "image": "a.png",
        "vec": [vector("", "vectorlabels", json!(true))["value"].clone()]});
    assert_eq!(read_regions(&bytes(&row), 0).unwrap().regions.len(), 1);

    let mut branches = vector("b", "vectorlabels", json!(true));
    branches["value"]["vertices"][2]["prevPointId"] = json!("p");
    let error = regions_error(&json!([branches]));
    assert!(error.starts_with("region b (vectorlabels) is a vector path with branches"), "{error}");
    let mut no_number = vector("b", "vectorlabels", json!(true));
    no_number["value"]["vertices"][1]["x"] = json!("far");
    let error = regions_error(&json!([no_number]));
    assert!(error.starts_with("result[0].value.vertices[1].x: invalid type"), "{error}");
}

#[test]
fn texts_within_lists_and_objects_of_the_data_are_kept_by_their_path() {
    let data = json!({"pages": ["a.png", "b.png"], "scan": {"url": "c.png"}, "image": "d.png"});
    let task = bytes(&json!({"id": 1, "data": data, "annotations": []}));
    let mut row = data;
    row["annotation_id"] = json!(1);
    for document in [task, bytes(&row)] {
        let summary = read_task_summary(&document).unwrap();
        assert_eq!(summary.data.keys().collect::<Vec<_>>(), ["image"]);
        let nested: Vec<&str> = summary.nested_data.keys().map(String::as_str).collect();
        assert_eq!(nested, ["pages.0", "pages.1", "scan.url"]);
    }
}

#[test]
fn objects_in_lists_of_a_row_are_regions_by_their_content_only() {
    let document = bytes(&json!({
        "annotation_id": 1, "image": "a.png",
        "pages": [{"url": "p.png", "width": 100, "height": "80px", "more": [["q.png"]]}, ["r.png"]],
        "meta": [{"x": "left", "y": 2, "points": "12", "labels": "day", "rle": "raw"}],
        "poly": [{"points": [[0, 0], [9, 0], [9, 9]], "polygonlabels": ["a"]}],
        "box": [{"x": 1, "y": 2, "width": 3, "height": 4, "rectanglelabels": ["b"]},
                {"x": 1, "y": 2, "width": 3, "height": 4}],
    }));
    let summary = read_task_summary(&document).unwrap();
    let mut nested = Vec::new();
    for (path, text) in &summary.nested_data {
        nested.push(format!("{path}={text}"));
    }
    assert_eq!(
        nested,
        [
            "meta.0.labels=day",
            "meta.0.points=12",
            "meta.0.rle=raw",
            "meta.0.x=left",
            "pages.0.height=80px",
            "pages.0.more.0.0=q.png",
            "pages.0.url=p.png",
            "pages.1.0=r.png",
        ]
    );
    assert_eq!(summary.annotations[0].labels, names(&["a", "b"]));
    let found = read_regions(&document, 0).unwrap();
    assert_eq!(found.regions.len(), 2);
    assert_eq!(found.skipped_reasons, ["a region (one without type) has no label"]);
}

#[test]
fn a_region_of_a_row_with_a_wrong_value_is_told_with_its_key() {
    let document = bytes(&json!({
        "annotation_id": 1, "poly": [{"points": [[0, "far"]], "polygonlabels": ["a"]}],
    }));
    let error = read_regions(&document, 0).unwrap_err().to_string();
    assert!(error.starts_with("poly[0]") && error.contains("points[0][1]: "), "{error}");
    let twice = br#"{"annotation_id": 1, "b": [{"brushlabels": [], "brushlabels": ["a"]}]}"#;
    let error = read_task_summary(twice).unwrap_err().to_string();
    assert!(error.ends_with("duplicate field `brushlabels`"), "{error}");
}
