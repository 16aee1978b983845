use proptest::prelude::*;
use serde_json::json;

use super::*;

fn fixture(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/annotations/labelstudio/");
    std::fs::read(format!("{folder}{name}")).unwrap()
}

fn read(value: &serde_json::Value) -> Result<CocoAnnotation> {
    parse_annotation(&serde_json::to_vec(value).unwrap())
}

/// Returns every annotation of an image, read from its position in the index.
fn annotations_of_image(
    bytes: &[u8],
    index: &CocoIndex,
    image: impl Into<CocoId>,
) -> Vec<CocoAnnotation> {
    let image = image.into();
    let places = index.annotation_spans.get(&image).cloned().unwrap_or_default();
    let at = |(offset, length): (u64, usize)| &bytes[offset as usize..][..length];
    places.into_iter().map(|place| parse_annotation(at(place)).unwrap()).collect()
}

#[test]
fn label_studios_coco_export_is_read() {
    let bytes = fixture("result.json");
    assert!(is_coco(&bytes[..]));
    let index = read_coco_index(&bytes[..]).unwrap();
    assert_eq!(index.images.len(), 6);
    let first = &index.images[0];
    assert_eq!(first.file_name, "../lsrun/data/media/upload/1/a0cba9f4-astronaut.jpg");
    assert_eq!((first.width, first.height, &first.path), (Some(256), Some(256), &None));
    let expected_names = [(0, "car"), (1, "person/rider"), (2, "road"), (3, "árvore 树")];
    assert_eq!(
        index.categories,
        expected_names.map(|(id, name)| (CocoId::from(id), name.to_owned()))
    );
    assert_eq!(index.orphan_annotations, 0);
    let drawn = annotations_of_image(&bytes, &index, 1);
    assert_eq!((drawn.len(), &drawn[0].category_id), (1, &CocoId::from(2)));
    assert_eq!(drawn[0].rasterize(300, 200).unwrap().area(), 60_000);
    // The polygon is that of Label Studio's region, so the pixels are the same.
    let polygon = &annotations_of_image(&bytes, &index, 0)[0];
    assert_eq!(polygon.rasterize(256, 256).unwrap().area(), 15_862);
}

#[test]
fn label_studios_brush_to_coco_is_read() {
    let bytes = fixture("result_coco.json");
    assert!(is_coco(&bytes[..]));
    let index = read_coco_index(&bytes[..]).unwrap();
    assert_eq!(index.images[5].file_name, "ecb42193-odd_size_%C3%BCn%C3%AFcode.png");
    let path = index.images[0].path.as_deref();
    assert_eq!(path, Some("/data/upload/1/a0cba9f4-astronaut.jpg"));
    assert_eq!(index.annotation_spans.values().map(Vec::len).sum::<usize>(), 19);
    for image in &index.images {
        let (width, height) = (image.width.unwrap(), image.height.unwrap());
        for drawn in annotations_of_image(&bytes, &index, image.id.clone()) {
            assert!(drawn.rasterize(width, height).unwrap().area() <= u64::from(width * height));
        }
    }
    // (80, 120) to (179, 199): by pixel centers, 99 x 79.
    let square = &annotations_of_image(&bytes, &index, 0)[1];
    assert_eq!(square.rasterize(256, 256).unwrap().area(), 99 * 79);
}

#[test]
fn masks_are_read_as_lists_and_as_text_and_their_size_is_height_first() {
    let runs = Runs::from_sorted(4, 3, [1..3, 6..8]);
    let counts = coco_rle::encode_counts(&runs);
    let text = coco_rle::encode_compressed(&runs);
    for counts in [json!(counts), json!(text)] {
        let said = json!({"category_id": 1, "iscrowd": 1,
            "segmentation": {"size": [3, 4], "counts": counts}});
        let read = read(&said).unwrap();
        assert_eq!(read.image_size, Some((4, 3)));
        assert_eq!(read.rasterize(4, 3).unwrap(), runs);
        let told = read.rasterize(3, 4).unwrap_err().to_string();
        assert!(told.starts_with("is of an image of 4 x 3 pixels (width x height)"), "{told}");
    }
}

#[test]
fn the_parts_of_an_object_are_joined_and_overlaps_stay() {
    let square = |x: i32| json!([x, 0, x + 4, 0, x + 4, 4, x, 4]);
    let said = json!({"category_id": 1, "segmentation": [square(0), square(2), square(8)]});
    assert_eq!(read(&said).unwrap().rasterize(16, 4).unwrap().area(), 24 + 16);
    let many = json!({"category_id": 1, "segmentation": vec![json!([]); MAX_POLYGONS + 1]});
    let told = read(&many).unwrap().rasterize(1, 1).unwrap_err().to_string();
    assert_eq!(told, "has 100001 polygons, and 100000 are allowed; write a mask instead");
}

#[test]
fn annotations_without_a_drawing_say_so() {
    for (said, why) in [
        (json!({"category_id": 1, "bbox": [1, 2, 3, 4]}), "has a box (bbox) and no segmentation"),
        (json!({"category_id": 1, "bbox": [], "segmentation": []}), "has a box (bbox) and no"),
        (json!({"category_id": 1, "bbox": [1], "keypoints": [1]}), "has key points and no"),
        (json!({"category_id": 1, "segmentation": null}), "has no segmentation"),
    ] {
        let read = read(&said).unwrap();
        assert!(matches!(read.segmentation, CocoSegmentation::Missing(_)), "{said}");
        assert!(read.rasterize(1, 1).unwrap_err().to_string().starts_with(why), "{said}");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let index_error = |text: &str| read_coco_index(text.as_bytes()).unwrap_err().to_string();
    assert!(index_error("{}").starts_with("lists no images"));
    assert_eq!(
        index_error(r#"{"images": [{"id": 1, "file_name": 3}]}"#),
        "has at byte 12 in images: file_name: invalid type: integer `3`, expected a string"
    );
    assert_eq!(
        index_error(r#"{"images": [{"id": 1, "file_name": "a"}, {"id": "1", "file_name": "b"}]}"#),
        "has at byte 41 in images: the id 1, which another one has already"
    );
    assert!(
        index_error(r#"{"images": [{"id": null, "file_name": ""}]}"#)
            .contains("id: invalid type: null, expected an id, a number or a text")
    );
    assert!(index_error(r#"{"images": [{"file_name": ""}]}"#).contains("missing field `id`"));
    assert!(
        index_error(r#"{"categories": [{"id": 1, "id": 2}]}"#).contains("duplicate field `id`")
    );
    assert!(index_error(r#"{"annotations": [{"id": 1}]}"#).contains("missing field `image_id`"));
    for (segmentation, expected) in [
        (
            json!([[1, 2, 3]]),
            "segmentation[0]: invalid length 3, expected a polygon as a list of x",
        ),
        (json!([1, 2, 3, 4]), "segmentation[0]: invalid type: integer `1`, expected a polygon"),
        (json!([["a", 2]]), "segmentation[0][0]: invalid type: string \"a\", expected a number"),
        (
            json!("a"),
            "segmentation: invalid type: string \"a\", expected a list of polygons, or an",
        ),
        (json!({"counts": [-1], "size": [1, 1]}), "segmentation.counts[0]: invalid value"),
        (
            json!({"counts": [1], "size": [0, 1]}),
            "segmentation.size[0]: invalid value: integer `0`",
        ),
        (json!({"counts": [1]}), "segmentation: missing field `size`"),
    ] {
        let told =
            read(&json!({"category_id": 1, "segmentation": segmentation})).unwrap_err().to_string();
        assert!(told.starts_with(expected), "{told}");
    }
    assert!(
        read(&json!({"segmentation": []}))
            .unwrap_err()
            .to_string()
            .contains("missing field `category_id`")
    );
}

#[test]
fn annotations_may_come_first_and_those_of_unknown_images_are_counted() {
    let text = r#"{"annotations": [{"image_id": 2, "segmentation": [[1]]}, {"image_id": 9},
        {"image_id": "9.0"}], "images": [{"id": "2", "file_name": "a.png"}]}"#;
    let index = read_coco_index(text.as_bytes()).unwrap();
    assert_eq!((index.annotation_spans.len(), index.orphan_annotations), (1, 2));
    assert!(index.undrawn_images.is_empty());
}

#[test]
fn images_without_a_segmentation_are_told_and_files_without_any_are_refused() {
    let file = |annotations: &str| {
        let images = r#"[{"id": 1, "file_name": "a"}, {"id": "b", "file_name": "b"}]"#;
        let text = format!(r#"{{"images": {images}, "annotations": [{annotations}]}}"#);
        read_coco_index(text.as_bytes())
    };
    let drawn = r#"{"image_id": 1, "segmentation": {"size": [1, 1], "counts": "a"}}"#;
    for undrawn in [
        r#"{"image_id": "b", "bbox": [0, 0, 1, 1]}"#,
        r#"{"image_id": "b", "segmentation": null}"#,
        r#"{"image_id": "b", "segmentation": NaN, "area": -Infinity}"#,
        r#"{"image_id": "b", "segmentation": []}, {"image_id": "b", "keypoints": [1, 2, 2]}"#,
    ] {
        let index = file(&format!("{drawn}, {undrawn}")).unwrap();
        let expected: Vec<CocoId> = vec![CocoId::from_text("b")];
        assert_eq!(index.undrawn_images.into_iter().collect::<Vec<_>>(), expected, "{undrawn}");
        let told = file(undrawn).unwrap_err();
        assert!(matches!(&told, Error::Unsupported(_)), "{told}");
        assert!(told.to_string().contains("none of them with a segmentation"), "{told}");
    }
    assert!(file("").unwrap().undrawn_images.is_empty());
    let told = |annotations: &str| file(annotations).unwrap_err().to_string();
    assert!(told(r#"{"image_id": 1, "caption": "x"}"#).contains("caption format"));
    let panoptic = r#"{"image_id": 1, "segments_info": [{"id": 7, "category_id": 1}]}"#;
    assert!(told(panoptic).contains("panoptic format (segments_info)"));
}

#[test]
fn a_coordinate_that_is_no_number_is_refused_by_its_name() {
    for text in
        ["[[1, 2, NaN, 4, 5, 6]]", "[[1, 2, -Infinity, 4, 5, 6]]", "[[1, 2, null, 4, 5, 6]]"]
    {
        let text = format!(r#"{{"category_id": 1, "segmentation": {text}, "area": NaN}}"#);
        let read = parse_annotation(text.as_bytes()).unwrap();
        let told = read.rasterize(9, 9).unwrap_err().to_string();
        assert!(told.starts_with("has x = NaN"), "{told}");
    }
}

#[test]
fn only_cocos_documents_are_taken_for_one() {
    for not in [
        "",
        "[]",
        "{",
        r#"{"images": ["a.png"]}"#,
        r#"{"data": {"images": [{}]}}"#,
        r#"{"id": 1, "annotations": [{}]}"#,
        r#"{"images": 1}"#,
    ] {
        assert!(!is_coco(not.as_bytes()), "{not}");
    }
    assert!(is_coco(&br#"{"info": {}, "categories": [{"#[..]));
    assert!(!is_coco(&fixture("target_object_labels__22")[..]));
    assert!(!is_coco(&fixture("seg_JSON.json")[..]));
}

fn read_all(bytes: &[u8]) {
    is_coco(bytes);
    let Ok(index) = read_coco_index(bytes) else { return };
    for &(offset, length) in index.annotation_spans.values().flatten() {
        if let Ok(read) = parse_annotation(&bytes[offset as usize..][..length]) {
            let _ = read.rasterize(64, 48);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let _ = parse_annotation(&bytes);
        read_all(&bytes);
    }

    #[test]
    fn damaged_documents_are_read_or_refused(
        name in prop_oneof![Just("result.json"), Just("result_coco.json")],
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = fixture(name);
        for (place, byte) in changes {
            let at = place.index(bytes.len());
            bytes[at] = if byte < 128 { byte } else { b"{}[]\",:0e-\\n"[usize::from(byte) % 12] };
        }
        read_all(&bytes);
    }
}
