//! Reads exports that Label Studio's server wrote, and compares them with the reference masks
//! beside them.

use std::collections::BTreeMap;

use super::*;
use crate::imaging::{DecodeLimits, decode_mask};

/// Returns the pixels of a reference mask that are not black.
fn reference(name: &str) -> image::GrayImage {
    let mut mask = decode_mask(&fixture(name), DecodeLimits::default()).unwrap();
    mask.pixels_mut().for_each(|pixel| pixel.0[0] = u8::from(pixel.0[0] > 0));
    mask
}

fn mask(region: &Region) -> image::GrayImage {
    let (width, height) = region.image_size.unwrap();
    region.rasterize(width, height, FillRule::default()).unwrap().to_mask()
}

#[test]
fn the_json_export_gives_every_task_and_annotation() {
    for name in ["seg_JSON.json", "seg_JSON_all_tasks.json"] {
        let entries: Vec<TaskSummary> =
            elements(name).iter().map(|one| read_task_summary(one).unwrap()).collect();
        assert_eq!(entries.len(), 7, "{name}");
        assert!(entries.iter().all(|entry| entry.element_type == ElementType::Task));
        let first = &entries[0];
        assert_eq!((first.task_id, first.annotation_count), (Some(1), Some(1)));
        assert_eq!(first.data["image"], "/data/upload/1/a0cba9f4-astronaut.jpg");
        let summary = &first.annotations[0];
        assert_eq!((summary.id, summary.drawn_count()), (Some(1), 4));
        assert_eq!(summary.labels, names(&["road", "car", "árvore 树"]));
        assert_eq!(summary.image_names, names(&["image"]));
        assert_eq!(summary.updated_at, "2026-11-20T20:53:04.355966Z");
        assert!(entries[2].annotations[0].was_cancelled);
        assert_eq!(entries[2].annotation_count, Some(1));
        let truth: Vec<_> = entries[3].annotations.iter().map(|one| one.ground_truth).collect();
        assert_eq!(truth, [false, true]);
        assert_eq!((entries[4].annotations[0].drawn_count(), entries[4].annotations.len()), (0, 1));
        assert_eq!(entries[6].annotations[0].labels, names(&["road", "car", "person/rider"]));
    }
}

#[test]
fn brush_regions_of_the_export_are_the_reference_masks() {
    let elements = elements("seg_JSON.json");
    let mut compared = 0;
    for element in &elements {
        let entry = read_task_summary(element).unwrap();
        for (number, summary) in entry.annotations.iter().enumerate() {
            let mut count: BTreeMap<String, usize> = BTreeMap::new();
            for region in read_regions(element, number).unwrap().regions {
                let Shape::Brush { .. } = region.shape else { continue };
                let label = region.labels.join("-").replace('/', "-");
                let of_label = count.entry(label.clone()).or_default();
                let (task, annotation) = (entry.task_id.unwrap(), summary.id.unwrap());
                let name = format!(
                    "exports/seg_BRUSH_TO_PNG/task-{task}-annotation-{annotation}-by-1-brush-{label}-\
                     {of_label}.png"
                );
                *of_label += 1;
                assert_eq!(mask(&region), reference(&name), "{name}");
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 10);
}

#[test]
fn polygons_of_the_export_are_the_reference_masks() {
    let polygons = elements("seg_JSON.json").into_iter().flat_map(|element| {
        let drawn = read_regions(&element, 0).unwrap().regions;
        drawn.into_iter().filter(|region| matches!(region.shape, Shape::Polygon { .. }))
    });
    let names = ["task1_ann1_region2", "task2_ann2_region2", "task6_ann7_region1"];
    let mut compared = 0;
    for (region, name) in polygons.zip(names) {
        let name = format!("masks/geometry/seg_{name}_polygonlabels.png");
        assert_eq!(mask(&region), reference(&name), "{name}");
        compared += 1;
    }
    assert_eq!(compared, 3);
}

#[test]
fn json_min_gives_the_same_regions_without_the_order_of_tags() {
    let rows = elements("seg_JSON_MIN.json");
    let whole = elements("seg_JSON.json");
    assert_eq!(rows.len(), 7);
    for row in &rows {
        let entry = read_task_summary(row).unwrap();
        assert_eq!((entry.element_type, entry.annotations.len()), (ElementType::JsonMinRow, 1));
        // This export escapes slashes.
        assert!(entry.data["image"].starts_with("/data/upload/1/"), "{:?}", entry.data);
        let known = whole.iter().find_map(|element| {
            let known = read_task_summary(element).unwrap();
            let same = |one: &AnnotationSummary| one.id == entry.annotations[0].id;
            known.annotations.iter().position(same).map(|number| (element, number, known.task_id))
        });
        let (element, number, task) = known.unwrap();
        assert_eq!(entry.task_id, task);
        let (found, expected) =
            (read_regions(row, 0).unwrap(), read_regions(element, number).unwrap());
        assert_eq!(found.skipped_reasons, [""; 0]);
        assert_eq!(found.regions.len(), expected.regions.len());
        assert_eq!(found.regions.len(), entry.annotations[0].drawn_count());
        for region in found.regions {
            let same = |other: &&Region| {
                (&other.labels, &other.shape, other.image_size)
                    == (&region.labels, &region.shape, region.image_size)
            };
            assert!(expected.regions.iter().any(|other| same(&other)), "{region:?}");
        }
    }
}

#[test]
fn target_objects_are_annotations_with_their_task() {
    let read = |name: &str| {
        let element = elements(name).remove(0);
        (read_task_summary(&element).unwrap(), read_regions(&element, 0).unwrap())
    };
    let (entry, drawn) = read("target_object_labels__22");
    assert_eq!(
        (entry.element_type, entry.task_id, entry.annotation_count),
        (ElementType::Annotation, Some(12), Some(1))
    );
    assert_eq!(entry.data["image"], "s3://ls-data/images/astronaut.jpg");
    assert_eq!(entry.annotations[0].id, Some(22));
    let ids: Vec<&str> = drawn.regions.iter().map(|region| region.id.as_str()).collect();
    assert_eq!(ids, ["aa", "bb"]);
    for region in &drawn.regions {
        assert!(!region.rasterize(256, 256, FillRule::default()).unwrap().is_empty());
    }

    let (entry, drawn) = read("target_object_labels__23");
    assert_eq!((entry.element_type, entry.annotations[0].id), (ElementType::Annotation, Some(23)));
    let drawn_count = drawn.regions.len() + drawn.skipped_reasons.len();
    assert_eq!(drawn_count, entry.annotations[0].drawn_count());

    let (entry, drawn) = read("target_object_labels__24");
    assert!(entry.annotations[0].was_cancelled);
    assert_eq!(
        (entry.task_id, entry.annotation_count, drawn.regions.len()),
        (Some(13), Some(1), 0)
    );

    let element = elements("target_object_FUTURE_SAVE_TASK__labels__15.json").remove(0);
    let entry = read_task_summary(&element).unwrap();
    assert_eq!(
        (entry.element_type, entry.task_id, entry.annotation_count),
        (ElementType::Task, Some(15), Some(2))
    );
    assert_eq!(
        entry.annotations.iter().map(|one| one.id).collect::<Vec<_>>(),
        [Some(26), Some(27)]
    );
    assert_eq!(read_regions(&element, 1).unwrap().regions[0].labels, ["car"]);
}

#[test]
fn an_export_of_s3_tasks_has_their_uris_unescaped() {
    let entries: Vec<_> =
        elements("project_export.json").iter().map(|one| read_task_summary(one).unwrap()).collect();
    let images: Vec<_> = entries.iter().map(|entry| entry.data["image"].as_str()).collect();
    assert_eq!(images, ["s3://ls-data/images/astronaut.jpg", "s3://ls-data/images/coffee.jpg"]);
    assert_eq!(entries[0].annotations[0].labels, names(&["car"]));
}
