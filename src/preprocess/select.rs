//! Choice among several annotations of one image.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use clap::ValueEnum;

use super::rasterize::MaskSource;

/// Choice among several annotations of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum AnnotationPolicy {
    /// The newest that is marked as ground truth; without one the newest
    #[default]
    GroundTruth,
    /// The one that was changed last
    Newest,
    /// The one that was made first
    First,
    /// Each pixel is what most of them say; where two are equal it is ignored (255)
    Majority,
}

/// Annotation of one image.
#[derive(Debug)]
pub struct Annotation {
    /// Number of the annotation in Label Studio.
    pub id: Option<i64>,
    /// Number of the task in Label Studio.
    pub task_id: Option<i64>,
    /// Time of creation in ISO 8601, which sorts as text; empty if unknown.
    pub created_at: String,
    /// Time of the last change in ISO 8601; empty if unknown.
    pub updated_at: String,
    /// True if the annotator skipped the task.
    pub was_cancelled: bool,
    /// True if the annotation is marked as ground truth in Label Studio.
    pub ground_truth: bool,
    /// Number of annotations that the task had when this one was written.
    pub task_annotation_count: Option<u64>,
    /// True if the annotation comes from a list of all annotations of its task.
    pub is_in_task_list: bool,
    pub file: Arc<Path>,
    /// Location for messages, such as `annotation 7 in tasks.json`.
    pub location: String,
    pub mask_source: MaskSource,
}

impl Annotation {
    /// Makes an annotation that is not Label Studio's: without numbers, dates and marks.
    pub(super) fn without_metadata(
        file: Arc<Path>,
        location: String,
        mask_source: MaskSource,
    ) -> Self {
        Self {
            id: None,
            task_id: None,
            created_at: String::new(),
            updated_at: String::new(),
            was_cancelled: false,
            ground_truth: false,
            task_annotation_count: None,
            is_in_task_list: false,
            file,
            location,
            mask_source,
        }
    }

    /// Returns true if neither an id nor a date tells the age of the annotation.
    pub(super) fn is_undated(&self) -> bool {
        self.id.is_none() && self.updated_at.is_empty() && self.created_at.is_empty()
    }
}

/// Annotations of one image, sorted by what became of them.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// One annotation, or all that vote.
    pub used: Vec<Annotation>,
    /// Number of annotations that their annotators skipped.
    pub cancelled: usize,
    /// Locations of annotations that were deleted but are still in Label Studio's storage.
    pub stale: Vec<String>,
    /// Number of annotations for which another one was chosen.
    pub superseded: usize,
}

/// Chooses among the annotations of one image, which are in the order in which they were read.
pub(super) fn select_annotations(
    annotations: Vec<Annotation>,
    policy: AnnotationPolicy,
) -> Selection {
    let mut selection = Selection::default();
    let latest = keep_latest_copies(annotations, &mut selection);
    let remaining = remove_deleted(latest, &mut selection);
    let (cancelled, mut remaining): (Vec<_>, Vec<_>) =
        remaining.into_iter().partition(|annotation| annotation.was_cancelled);
    selection.cancelled = cancelled.len();
    if policy == AnnotationPolicy::Majority {
        selection.used = remaining;
        return selection;
    }
    if policy == AnnotationPolicy::GroundTruth
        && remaining.iter().any(|annotation| annotation.ground_truth)
    {
        let before = remaining.len();
        remaining.retain(|annotation| annotation.ground_truth);
        selection.superseded += before - remaining.len();
    }
    let chosen = if policy == AnnotationPolicy::First {
        index_of_first(&remaining)
    } else {
        index_of_newest(&remaining)
    };
    if let Some(index) = chosen {
        selection.used.push(remaining.remove(index));
    }
    selection.superseded += remaining.len();
    selection
}

/// Returns the index of the annotation that was created first, or of the first one that was read if
/// neither dates nor numbers decide.
fn index_of_first(annotations: &[Annotation]) -> Option<usize> {
    let indexes = 0..annotations.len();
    // Returns the first of equals.
    indexes.min_by_key(|&index| (&annotations[index].created_at, annotations[index].id))
}

/// Returns the index of the annotation that was changed last, or of the last one that was read if
/// neither dates nor numbers decide.
fn index_of_newest(annotations: &[Annotation]) -> Option<usize> {
    let indexes = 0..annotations.len();
    // Returns the last of equals.
    indexes.max_by_key(|&index| last_change(&annotations[index]))
}

/// Returns a key that grows with every change of an annotation.
fn last_change(annotation: &Annotation) -> (&str, Option<i64>) {
    let has_update = !annotation.updated_at.is_empty();
    let date = if has_update { &annotation.updated_at } else { &annotation.created_at };
    (date, annotation.id)
}

/// Keeps the latest copy of each annotation number: a storage and an export may both hold an
/// annotation, in different versions.
fn keep_latest_copies(annotations: Vec<Annotation>, selection: &mut Selection) -> Vec<Annotation> {
    let mut kept: Vec<Annotation> = Vec::new();
    let mut index_by_id: HashMap<i64, usize> = HashMap::new();
    for annotation in annotations {
        let Some(id) = annotation.id else {
            kept.push(annotation);
            continue;
        };
        let Some(&index) = index_by_id.get(&id) else {
            index_by_id.insert(id, kept.len());
            kept.push(annotation);
            continue;
        };
        let is_listed = kept[index].is_in_task_list || annotation.is_in_task_list;
        if last_change(&annotation) >= last_change(&kept[index]) {
            kept[index] = annotation;
        }
        kept[index].is_in_task_list = is_listed;
        selection.superseded += 1;
    }
    kept
}

/// Removes the annotations that Label Studio keeps in its target storage after they were deleted,
/// which is its default.
///
/// There are two signs: a list of all annotations of the task lacks the annotation but has a
/// younger one, or the task's newest object states a smaller number of annotations than there are.
fn remove_deleted(annotations: Vec<Annotation>, selection: &mut Selection) -> Vec<Annotation> {
    let newest_listed = newest_listed_ids(&annotations);
    let mut objects_by_task: HashMap<i64, Vec<&Annotation>> = HashMap::new();
    let mut stale_ids: HashSet<i64> = HashSet::new();
    for annotation in &annotations {
        let (Some(task), Some(id)) = (annotation.task_id, annotation.id) else { continue };
        if annotation.is_in_task_list {
            continue;
        }
        match newest_listed.get(&task) {
            Some(&newest_id) if id < newest_id => {
                stale_ids.insert(id);
            }
            Some(_) => {}
            None => objects_by_task.entry(task).or_default().push(annotation),
        }
    }
    for task_objects in objects_by_task.into_values() {
        add_surplus_ids(task_objects, &mut stale_ids);
    }
    let mut remaining = Vec::new();
    for annotation in annotations {
        if annotation.id.is_some_and(|id| stale_ids.contains(&id)) {
            selection.stale.push(annotation.location);
        } else {
            remaining.push(annotation);
        }
    }
    remaining
}

/// Returns by task the largest number of an annotation in a list of all of the task's annotations.
fn newest_listed_ids(annotations: &[Annotation]) -> HashMap<i64, i64> {
    let mut newest_ids = HashMap::new();
    for annotation in annotations {
        if let (true, Some(task), Some(id)) =
            (annotation.is_in_task_list, annotation.task_id, annotation.id)
        {
            let newest_id = newest_ids.entry(task).or_insert(id);
            *newest_id = id.max(*newest_id);
        }
    }
    newest_ids
}

/// Adds the ids of a task's objects that exceed the number of annotations that its newest object
/// states.
fn add_surplus_ids(mut task_objects: Vec<&Annotation>, stale_ids: &mut HashSet<i64>) {
    let newest_object = task_objects.iter().max_by_key(|annotation| last_change(annotation));
    let Some(count) = newest_object.and_then(|object| object.task_annotation_count) else { return };
    // The newest object exists, even if the task's counter says 0.
    let kept_count = usize::try_from(count).unwrap_or(usize::MAX).max(1);
    // Their number is known, but not which ones remain: old ones are removed first, and ground
    // truth last.
    task_objects
        .sort_by_key(|annotation| Reverse((annotation.ground_truth, last_change(annotation))));
    for object in task_objects.iter().skip(kept_count) {
        stale_ids.extend(object.id);
    }
}

#[cfg(test)]
mod tests {
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
            mask_source: MaskSource::placeholder(),
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
        assert_eq!(select_annotations(all(), AnnotationPolicy::GroundTruth).superseded, 3);
        let without = vec![annotation(1, 1, 1), annotation(2, 2, 2)];
        assert_eq!(used_ids(without, AnnotationPolicy::GroundTruth), [2]);
    }

    #[test]
    fn without_times_numbers_decide_and_without_those_the_order() {
        let bare = |id: Option<i64>, place: &str| Annotation {
            id,
            created_at: String::new(),
            updated_at: String::new(),
            location: place.to_owned(),
            ..annotation(0, 1, 1)
        };
        let used_location = |ids: [Option<i64>; 2], policy| {
            let both = vec![bare(ids[0], "one"), bare(ids[1], "two")];
            select_annotations(both, policy).used.remove(0).location
        };
        assert_eq!(used_location([Some(5), Some(2)], AnnotationPolicy::Newest), "one");
        assert_eq!(used_location([Some(5), Some(2)], AnnotationPolicy::First), "two");
        assert_eq!(used_location([None, None], AnnotationPolicy::Newest), "two");
        assert_eq!(used_location([None, None], AnnotationPolicy::First), "one");
    }

    #[test]
    fn skipped_annotations_are_left_out_and_counted() {
        let mut skipped = annotation(2, 2, 2);
        skipped.was_cancelled = true;
        let selection =
            select_annotations(vec![annotation(1, 1, 1), skipped], AnnotationPolicy::Newest);
        assert_eq!((selection.used[0].id, selection.cancelled), (Some(1), 1));
        let mut only = annotation(3, 3, 3);
        only.was_cancelled = true;
        let selection = select_annotations(vec![only], AnnotationPolicy::Majority);
        assert!(selection.used.is_empty() && selection.cancelled == 1);
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
        assert_eq!((selection.used[0].id, selection.stale.len()), (Some(2), 1));
        // Without counters no annotation can be called deleted.
        let mut unknown = objects();
        unknown[2].task_annotation_count = None;
        assert_eq!(select_annotations(unknown, AnnotationPolicy::First).stale.len(), 0);
        // A list holds only annotation 2: annotation 1 is older, so it was deleted; annotation 3
        // may be younger than the list.
        let mut listed = objects();
        listed[1].is_in_task_list = true;
        assert_eq!(used_ids(listed, AnnotationPolicy::Majority), [2, 3]);
    }
}
