//! Which of several annotations of one image counts.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use clap::ValueEnum;

use super::rasterize::MaskSource;

/// What to do with several annotations of one image.
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

/// One annotation of an image.
#[derive(Debug)]
pub struct Annotation {
    /// Its number, and that of its task, in Label Studio.
    pub id: Option<i64>,
    /// The task's number.
    pub task_id: Option<i64>,
    /// Times in ISO 8601, which sort as texts; may be empty.
    pub created_at: String,
    /// When it was changed last.
    pub updated_at: String,
    /// Whether the annotator skipped the task.
    pub was_cancelled: bool,
    /// Whether somebody marked it as the truth.
    pub ground_truth: bool,
    /// Regions, of all images of the task; none is a picture of nothing but background.
    pub region_count: usize,
    /// How many annotations its task had when this was written.
    pub task_annotation_count: Option<u64>,
    /// Whether it stands in a list of all annotations of its task.
    pub is_in_task_list: bool,
    /// The file.
    pub file: Arc<Path>,
    /// Where it stands, for messages: `annotation 7 in tasks.json`.
    pub location: String,
    /// What was drawn.
    pub mask_source: MaskSource,
}

impl Annotation {
    /// Whether nothing says how old it is.
    pub(super) fn is_undated(&self) -> bool {
        self.id.is_none() && self.updated_at.is_empty() && self.created_at.is_empty()
    }
}

/// What became of the annotations of one image.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// One, or all that vote.
    pub used: Vec<Annotation>,
    /// Skipped by their annotators.
    pub cancelled: usize,
    /// Where those stand that were left in the storage after they were deleted.
    pub stale: Vec<String>,
    /// Others were taken.
    pub superseded: usize,
}

/// Chooses among the annotations of one image, in the order in which they were read.
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
    // Without times and numbers the order of reading decides: `min` gives the first of equals, `max` the last.
    let indexed = remaining.iter().enumerate();
    let chosen = if policy == AnnotationPolicy::First {
        indexed.min_by_key(|(_, annotation)| (&annotation.created_at, annotation.id))
    } else {
        indexed.max_by_key(|(_, annotation)| last_change(annotation))
    };
    let chosen_index = chosen.map(|(index, _)| index);
    selection.used.extend(chosen_index.map(|index| remaining.remove(index)));
    selection.superseded += remaining.len();
    selection
}

/// What grows with every change.
fn last_change(annotation: &Annotation) -> (&str, Option<i64>) {
    let Annotation { updated_at, created_at, .. } = annotation;
    (if updated_at.is_empty() { created_at } else { updated_at }, annotation.id)
}

/// One annotation of each number: a storage and an export may both hold it, of different age.
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

/// Leaves out what Label Studio keeps in its target storage after an annotation was deleted (its default). Two
/// things tell: a list of all annotations of the task in which it is missing although younger ones stand there, and
/// the number of annotations that the task had when its newest object was written.
fn remove_deleted(annotations: Vec<Annotation>, selection: &mut Selection) -> Vec<Annotation> {
    let mut newest_listed: HashMap<i64, i64> = HashMap::new();
    for annotation in annotations.iter().filter(|annotation| annotation.is_in_task_list) {
        if let (Some(task), Some(id)) = (annotation.task_id, annotation.id) {
            let newest_id = newest_listed.entry(task).or_insert(id);
            *newest_id = id.max(*newest_id);
        }
    }
    let mut objects_by_task: HashMap<i64, Vec<&Annotation>> = HashMap::new();
    let mut stale_ids: HashSet<i64> = HashSet::new();
    for annotation in annotations.iter().filter(|annotation| !annotation.is_in_task_list) {
        let (Some(task), Some(id)) = (annotation.task_id, annotation.id) else { continue };
        match newest_listed.get(&task) {
            Some(&newest_id) if id < newest_id => {
                stale_ids.insert(id);
            }
            Some(_) => {}
            None => objects_by_task.entry(task).or_default().push(annotation),
        }
    }
    for mut task_objects in objects_by_task.into_values() {
        let newest_object = task_objects.iter().max_by_key(|annotation| last_change(annotation));
        let annotation_count = newest_object.and_then(|object| object.task_annotation_count);
        // How many are left is known, and not which: what is marked as the truth is the last to be given up.
        task_objects
            .sort_by_key(|annotation| Reverse((annotation.ground_truth, last_change(annotation))));
        // The newest itself is there, whatever the task's counters say.
        let kept_count = annotation_count
            .map_or(task_objects.len(), |n| usize::try_from(n).unwrap_or(usize::MAX).max(1));
        stale_ids
            .extend(task_objects.iter().skip(kept_count).filter_map(|annotation| annotation.id));
    }
    let (stale, remaining): (Vec<_>, Vec<_>) = annotations
        .into_iter()
        .partition(|annotation| annotation.id.is_some_and(|id| stale_ids.contains(&id)));
    selection.stale = stale.into_iter().map(|annotation| annotation.location).collect();
    remaining
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made on the given day, changed on the other.
    fn annotation(id: i64, created_day: u32, updated_day: u32) -> Annotation {
        Annotation {
            id: Some(id),
            task_id: Some(1),
            created_at: format!("2026-11-{created_day:02}T10:00:00Z"),
            updated_at: format!("2026-11-{updated_day:02}T10:00:00.5Z"),
            was_cancelled: false,
            ground_truth: false,
            region_count: 1,
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
        // The newest object says that its task has two annotations, and three objects are there.
        let objects = || {
            let mut objects = vec![annotation(1, 1, 1), annotation(2, 2, 2), annotation(3, 3, 3)];
            objects[2].task_annotation_count = Some(2);
            objects[0].task_annotation_count = Some(1);
            objects
        };
        let selection = select_annotations(objects(), AnnotationPolicy::First);
        assert_eq!((selection.used[0].id, selection.stale.len()), (Some(2), 1));
        // Without counters nothing is known, and nothing left out.
        let mut unknown = objects();
        unknown[2].task_annotation_count = None;
        assert_eq!(select_annotations(unknown, AnnotationPolicy::First).stale.len(), 0);
        // A list in which it is missing; what is younger than the list may have come after it.
        let mut listed = objects();
        listed[1].is_in_task_list = true;
        assert_eq!(used_ids(listed, AnnotationPolicy::Majority), [2, 3]);
    }
}
