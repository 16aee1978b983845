use super::*;

/// Makes an annotation that was created and updated on the given days.
fn annotation(id: i64, created_day: u32, updated_day: u32) -> Annotation {
    Annotation {
        id: Some(id),
        task_id: Some(1),
        created_at: format!("2026-11-{created_day:02}T10:00:00Z"),
        updated_at: format!("2026-11-{updated_day:02}T10:00:00.5Z"),
        was_cancelled: false,
        ground_truth: false,
        task_annotation_count: None,
        is_in_task_list: false,
        file: Arc::from(Path::new("a.json")),
        location: format!("annotation {id}"),
        mask_source: MaskSource::Mask(format!("{id} {created_day} {updated_day}").into()),
    }
}

fn used_ids(annotations: Vec<Annotation>, policy: AnnotationPolicy) -> Vec<i64> {
    select_annotations(annotations, policy).used.iter().filter_map(|a| a.id).collect()
}

#[test]
fn each_rule_takes_what_it_says() {
    let all = || {
        let mut all = vec![
            annotation(4, 2, 9),
            annotation(3, 1, 3),
            annotation(9, 5, 5),
            annotation(8, 4, 4),
        ];
        all[2].ground_truth = true;
        all[3].ground_truth = true;
        all
    };
    assert_eq!(used_ids(all(), AnnotationPolicy::Newest), [4]);
    assert_eq!(used_ids(all(), AnnotationPolicy::First), [3]);
    assert_eq!(used_ids(all(), AnnotationPolicy::GroundTruth), [9]);
    assert_eq!(used_ids(all(), AnnotationPolicy::Majority), [4, 3, 9, 8]);
    assert_eq!(used_ids(all(), AnnotationPolicy::Last), [8]);
    assert_eq!(used_ids(all(), AnnotationPolicy::Union), [3, 8, 9, 4]);
    let selection = select_annotations(all(), AnnotationPolicy::GroundTruth);
    assert_eq!(selection.unused.len(), 3);
    assert!(selection.unused.iter().all(|unused| unused.by.as_deref() == Some("annotation 9")));
    let without = vec![annotation(1, 1, 1), annotation(2, 2, 2)];
    assert_eq!(used_ids(without, AnnotationPolicy::GroundTruth), [2]);
}

#[test]
fn without_times_numbers_decide_and_without_those_nothing() {
    let bare = |id: Option<i64>, place: &str| Annotation {
        id,
        created_at: String::new(),
        updated_at: String::new(),
        location: place.to_owned(),
        mask_source: MaskSource::Mask(place.into()),
        ..annotation(0, 1, 1)
    };
    let used_locations = |ids: [Option<i64>; 2], policy| {
        let both = vec![bare(ids[0], "one"), bare(ids[1], "two")];
        let selection = select_annotations(both, policy);
        assert_eq!(selection.used.is_empty(), selection.contradicting.len() == 2);
        selection.used.into_iter().map(|used| used.location).collect::<Vec<_>>()
    };
    let numbered = [Some(5), Some(2)];
    assert_eq!(used_locations(numbered, AnnotationPolicy::Newest), ["one"]);
    assert_eq!(used_locations(numbered, AnnotationPolicy::First), ["two"]);
    assert_eq!(used_locations(numbered, AnnotationPolicy::Union), ["two", "one"]);
    for policy in [AnnotationPolicy::Newest, AnnotationPolicy::First, AnnotationPolicy::GroundTruth]
    {
        assert!(used_locations([None, None], policy).is_empty());
    }
    assert_eq!(used_locations([None, None], AnnotationPolicy::Last), ["two"]);
    assert_eq!(used_locations([None, None], AnnotationPolicy::Union), ["one", "two"]);
    assert_eq!(used_locations([None, None], AnnotationPolicy::Majority), ["one", "two"]);
}

#[test]
fn skipped_annotations_are_left_out_and_counted() {
    let mut skipped = annotation(2, 2, 2);
    skipped.was_cancelled = true;
    let selection =
        select_annotations(vec![annotation(1, 1, 1), skipped], AnnotationPolicy::Newest);
    assert_eq!(selection.used[0].id, Some(1));
    assert_eq!(selection.locations_left_out(UnusedReason::Cancelled), ["annotation 2"]);
    let mut only = annotation(3, 3, 3);
    only.was_cancelled = true;
    let selection = select_annotations(vec![only], AnnotationPolicy::Majority);
    assert!(selection.used.is_empty());
    assert_eq!(selection.locations_left_out(UnusedReason::Cancelled), ["annotation 3"]);
}

#[test]
fn of_two_copies_of_one_annotation_the_newer_counts() {
    let mut old = annotation(1, 1, 1);
    old.location = "export".to_owned();
    let mut new = annotation(1, 1, 2);
    new.location = "storage".to_owned();
    for pair in [[0, 1], [1, 0]] {
        let copies = [&old, &new].map(|a| Annotation {
            location: a.location.clone(),
            ..annotation(1, 1, if a.location == "export" { 1 } else { 2 })
        });
        let mut copies: Vec<_> = copies.into_iter().map(Some).collect();
        let ordered = pair.map(|n| copies[n].take().unwrap()).into_iter().collect();
        assert_eq!(
            select_annotations(ordered, AnnotationPolicy::Majority).used[0].location,
            "storage"
        );
    }
}

#[test]
fn objects_of_deleted_annotations_do_not_count() {
    // The newest object says that its task has two annotations, but there are three objects.
    let objects = || {
        let mut objects = vec![annotation(1, 1, 1), annotation(2, 2, 2), annotation(3, 3, 3)];
        objects[2].task_annotation_count = Some(2);
        objects[0].task_annotation_count = Some(1);
        objects
    };
    let selection = select_annotations(objects(), AnnotationPolicy::First);
    assert_eq!(selection.used[0].id, Some(2));
    assert_eq!(selection.locations_left_out(UnusedReason::Deleted), ["annotation 1"]);
    // Without counters no annotation can be called deleted.
    let mut unknown = objects();
    unknown[2].task_annotation_count = None;
    let selection = select_annotations(unknown, AnnotationPolicy::First);
    assert!(selection.locations_left_out(UnusedReason::Deleted).is_empty());
    // A list holds only annotation 2: annotation 1 is older, so it was deleted; annotation 3
    // may be younger than the list.
    let mut listed = objects();
    listed[1].is_in_task_list = true;
    assert_eq!(used_ids(listed, AnnotationPolicy::Majority), [2, 3]);
}

/// Makes an annotation of Ground Truth, whose mask is a file.
fn dated_mask(location: &str, date: &str, mask: &str) -> Annotation {
    let source = MaskSource::Mask(mask.into());
    let file = Arc::from(Path::new("output.manifest"));
    let mut annotation = Annotation::without_metadata(file, location.to_owned(), source);
    annotation.created_at = date.to_owned();
    annotation
}

#[test]
fn dates_of_any_form_decide_and_equal_ones_contradict() {
    let used = |dates: [&str; 2]| {
        let lines = vec![dated_mask("line 1", dates[0], "a"), dated_mask("line 2", dates[1], "b")];
        let selection = select_annotations(lines, AnnotationPolicy::GroundTruth);
        selection.used.first().map(|used| used.location.clone())
    };
    let line = |number: u32| Some(format!("line {number}"));
    assert_eq!(used(["2026-02-02T00:00:00.1", "2026-01-01T00:00:00.1"]), line(1));
    assert_eq!(used(["2026-02-02T00:00:00", "2026-02-02T00:00:00.5Z"]), line(2));
    assert_eq!(used(["2026-02-02 00:00:00", "2026-02-02T00:30:00+01:00"]), line(1));
    assert_eq!(used(["2026-02-02T00:00:00", "2026-02-02T01:00:00+01:00"]), None);
    assert_eq!(used(["2026-02-02T00:00:00", ""]), None);
    assert_eq!(used(["later", "sooner"]), None);
}

#[test]
fn a_contradiction_is_told_with_all_places_and_the_way_out() {
    let lines = vec![
        dated_mask("line 1", "2026-02-02T00:00:00", "a"),
        dated_mask("line 2", "2026-02-02T00:00:00Z", "b"),
        dated_mask("line 3", "2026-01-01T00:00:00", "c"),
        dated_mask("line 4", "2026-02-02T00:00:00Z", "b"),
    ];
    let selection = select_annotations(lines, AnnotationPolicy::Newest);
    let reason = describe_contradiction(&selection.contradicting);
    let places = "line 1 (2026-02-02T00:00:00), line 4 (2026-02-02T00:00:00Z);";
    assert!(reason.contains(places) && reason.contains("--several union"), "{reason}");
    assert_eq!(selection.locations_left_out(UnusedReason::Older), ["line 3"]);
    assert_eq!(selection.locations_left_out(UnusedReason::Equal), ["line 2"]);
}

#[test]
fn a_line_that_is_repeated_is_no_contradiction_and_no_second_vote() {
    let lines = || {
        vec![
            dated_mask("line 1", "", "a"),
            dated_mask("line 2", "", "b"),
            dated_mask("line 3", "", "a"),
        ]
    };
    let used = |annotations, policy| {
        let used = select_annotations(annotations, policy).used;
        used.into_iter().map(|used| used.location).collect::<Vec<_>>()
    };
    assert_eq!(used(lines(), AnnotationPolicy::Majority), ["line 2", "line 3"]);
    assert_eq!(used(lines(), AnnotationPolicy::Union), ["line 2", "line 3"]);
    assert_eq!(used(lines(), AnnotationPolicy::Last), ["line 3"]);
    let mut equal = lines();
    equal.remove(1);
    assert_eq!(used(equal, AnnotationPolicy::GroundTruth), ["line 3"]);
}

#[test]
fn work_on_other_tasks_is_marked_and_other_annotations_of_a_task_are_not() {
    let mut road = annotation(1, 1, 1);
    let is_marked = |road: &Annotation| {
        let road = Annotation {
            location: String::new(),
            created_at: road.created_at.clone(),
            task_id: road.task_id,
            id: road.id,
            ..annotation(1, 1, 1)
        };
        let both = vec![road, annotation(2, 2, 2)];
        let selection = select_annotations(both, AnnotationPolicy::Newest);
        assert_eq!(selection.unused.len(), 1);
        selection.unused[0].is_other_work
    };
    assert!(!is_marked(&road));
    road.task_id = Some(7);
    assert!(is_marked(&road));
    // Two installations number alike.
    road.task_id = Some(1);
    road.id = Some(2);
    assert!(is_marked(&road));
}
