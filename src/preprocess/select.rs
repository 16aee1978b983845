//! Which of several annotations of one image counts.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use clap::ValueEnum;

use super::drawing::Drawing;

/// What to do with several annotations of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Several {
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
    pub task: Option<i64>,
    /// Times in ISO 8601, which sort as texts; may be empty.
    pub created_at: String,
    /// When it was changed last.
    pub updated_at: String,
    /// Whether the annotator skipped the task.
    pub was_cancelled: bool,
    /// Whether somebody marked it as the truth.
    pub ground_truth: bool,
    /// Regions, of all images of the task; none is a picture of nothing but background.
    pub regions: usize,
    /// How many annotations its task had when this was written.
    pub counted: Option<u64>,
    /// Whether it stands in a list of all annotations of its task.
    pub is_listed: bool,
    /// The file.
    pub file: Arc<Path>,
    /// Where it stands, for messages: `annotation 7 in tasks.json`.
    pub place: String,
    /// What was drawn.
    pub drawing: Drawing,
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
pub(super) fn select(annotations: Vec<Annotation>, several: Several) -> Selection {
    let mut selection = Selection::default();
    let living = latest_copies(annotations, &mut selection);
    let living = without_deleted(living, &mut selection);
    let (cancelled, mut living): (Vec<_>, Vec<_>) =
        living.into_iter().partition(|annotation| annotation.was_cancelled);
    selection.cancelled = cancelled.len();
    if several == Several::Majority {
        selection.used = living;
        return selection;
    }
    if several == Several::GroundTruth && living.iter().any(|annotation| annotation.ground_truth) {
        let before = living.len();
        living.retain(|annotation| annotation.ground_truth);
        selection.superseded += before - living.len();
    }
    // Without times and numbers the order of reading decides: `min` gives the first of equals, `max` the last.
    let numbered = living.iter().enumerate();
    let chosen = if several == Several::First {
        numbered.min_by_key(|(_, annotation)| (&annotation.created_at, annotation.id))
    } else {
        numbered.max_by_key(|(_, annotation)| age(annotation))
    };
    let chosen = chosen.map(|(place, _)| place);
    selection.used.extend(chosen.map(|place| living.remove(place)));
    selection.superseded += living.len();
    selection
}

/// What grows with every change.
fn age(annotation: &Annotation) -> (&str, Option<i64>) {
    let Annotation { updated_at, created_at, .. } = annotation;
    (if updated_at.is_empty() { created_at } else { updated_at }, annotation.id)
}

/// One annotation of each number: a storage and an export may both hold it, of different age.
fn latest_copies(annotations: Vec<Annotation>, selection: &mut Selection) -> Vec<Annotation> {
    let mut kept: Vec<Annotation> = Vec::new();
    let mut places: HashMap<i64, usize> = HashMap::new();
    for annotation in annotations {
        let Some(id) = annotation.id else {
            kept.push(annotation);
            continue;
        };
        let Some(&place) = places.get(&id) else {
            places.insert(id, kept.len());
            kept.push(annotation);
            continue;
        };
        let is_listed = kept[place].is_listed || annotation.is_listed;
        if age(&annotation) >= age(&kept[place]) {
            kept[place] = annotation;
        }
        kept[place].is_listed = is_listed;
        selection.superseded += 1;
    }
    kept
}

/// Leaves out what Label Studio keeps in its target storage after an annotation was deleted (its default). Two
/// things tell: a list of all annotations of the task in which it is missing although younger ones stand there, and
/// the number of annotations that the task had when its newest object was written.
fn without_deleted(annotations: Vec<Annotation>, selection: &mut Selection) -> Vec<Annotation> {
    let mut youngest_listed: HashMap<i64, i64> = HashMap::new();
    for annotation in annotations.iter().filter(|annotation| annotation.is_listed) {
        if let (Some(task), Some(id)) = (annotation.task, annotation.id) {
            let youngest = youngest_listed.entry(task).or_insert(id);
            *youngest = id.max(*youngest);
        }
    }
    let mut objects: HashMap<i64, Vec<&Annotation>> = HashMap::new();
    let mut stale: HashSet<i64> = HashSet::new();
    for annotation in annotations.iter().filter(|annotation| !annotation.is_listed) {
        let (Some(task), Some(id)) = (annotation.task, annotation.id) else { continue };
        match youngest_listed.get(&task) {
            Some(&youngest) if id < youngest => {
                stale.insert(id);
            }
            Some(_) => {}
            None => objects.entry(task).or_default().push(annotation),
        }
    }
    for mut objects in objects.into_values() {
        let counted = objects.iter().max_by_key(|annotation| age(annotation));
        let counted = counted.and_then(|newest| newest.counted);
        // How many are left is known, and not which: what is marked as the truth is the last to be given up.
        objects.sort_by_key(|annotation| Reverse((annotation.ground_truth, age(annotation))));
        // The newest itself is there, whatever the task's counters say.
        let counted =
            counted.map_or(objects.len(), |n| usize::try_from(n).unwrap_or(usize::MAX).max(1));
        stale.extend(objects.iter().skip(counted).filter_map(|annotation| annotation.id));
    }
    let (stale, living): (Vec<_>, Vec<_>) =
        annotations.into_iter().partition(|a| a.id.is_some_and(|id| stale.contains(&id)));
    selection.stale = stale.into_iter().map(|annotation| annotation.place).collect();
    living
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made on the given day, changed on the other.
    fn annotation(id: i64, made: u32, changed: u32) -> Annotation {
        Annotation {
            id: Some(id),
            task: Some(1),
            created_at: format!("2026-11-{made:02}T10:00:00Z"),
            updated_at: format!("2026-11-{changed:02}T10:00:00.5Z"),
            was_cancelled: false,
            ground_truth: false,
            regions: 1,
            counted: None,
            is_listed: false,
            file: Arc::from(Path::new("a.json")),
            place: format!("annotation {id}"),
            drawing: Drawing::none(),
        }
    }

    fn used(annotations: Vec<Annotation>, several: Several) -> Vec<i64> {
        select(annotations, several).used.iter().filter_map(|a| a.id).collect()
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
        assert_eq!(used(all(), Several::Newest), [4]);
        assert_eq!(used(all(), Several::First), [3]);
        assert_eq!(used(all(), Several::GroundTruth), [9]);
        assert_eq!(used(all(), Several::Majority), [4, 3, 9, 8]);
        assert_eq!(select(all(), Several::GroundTruth).superseded, 3);
        let without = vec![annotation(1, 1, 1), annotation(2, 2, 2)];
        assert_eq!(used(without, Several::GroundTruth), [2]);
    }

    #[test]
    fn without_times_numbers_decide_and_without_those_the_order() {
        let bare = |id: Option<i64>, place: &str| Annotation {
            id,
            created_at: String::new(),
            updated_at: String::new(),
            place: place.to_owned(),
            ..annotation(0, 1, 1)
        };
        let places = |ids: [Option<i64>; 2], several| {
            let both = vec![bare(ids[0], "one"), bare(ids[1], "two")];
            select(both, several).used.remove(0).place
        };
        assert_eq!(places([Some(5), Some(2)], Several::Newest), "one");
        assert_eq!(places([Some(5), Some(2)], Several::First), "two");
        assert_eq!(places([None, None], Several::Newest), "two");
        assert_eq!(places([None, None], Several::First), "one");
    }

    #[test]
    fn skipped_annotations_are_left_out_and_counted() {
        let mut skipped = annotation(2, 2, 2);
        skipped.was_cancelled = true;
        let selection = select(vec![annotation(1, 1, 1), skipped], Several::Newest);
        assert_eq!((selection.used[0].id, selection.cancelled), (Some(1), 1));
        let mut only = annotation(3, 3, 3);
        only.was_cancelled = true;
        let selection = select(vec![only], Several::Majority);
        assert!(selection.used.is_empty() && selection.cancelled == 1);
    }

    #[test]
    fn of_two_copies_of_one_annotation_the_newer_counts() {
        let mut old = annotation(1, 1, 1);
        old.place = "export".to_owned();
        let mut new = annotation(1, 1, 2);
        new.place = "storage".to_owned();
        for pair in [[0, 1], [1, 0]] {
            let copies = [&old, &new].map(|a| Annotation {
                place: a.place.clone(),
                ..annotation(1, 1, if a.place == "export" { 1 } else { 2 })
            });
            let mut copies: Vec<_> = copies.into_iter().map(Some).collect();
            let ordered = pair.map(|n| copies[n].take().unwrap()).into_iter().collect();
            assert_eq!(select(ordered, Several::Majority).used[0].place, "storage");
        }
    }

    #[test]
    fn objects_of_deleted_annotations_do_not_count() {
        // The newest object says that its task has two annotations, and three objects are there.
        let objects = || {
            let mut objects = vec![annotation(1, 1, 1), annotation(2, 2, 2), annotation(3, 3, 3)];
            objects[2].counted = Some(2);
            objects[0].counted = Some(1);
            objects
        };
        let selection = select(objects(), Several::First);
        assert_eq!((selection.used[0].id, selection.stale.len()), (Some(2), 1));
        // Without counters nothing is known, and nothing left out.
        let mut unknown = objects();
        unknown[2].counted = None;
        assert_eq!(select(unknown, Several::First).stale.len(), 0);
        // A list in which it is missing; what is younger than the list may have come after it.
        let mut listed = objects();
        listed[1].is_listed = true;
        assert_eq!(used(listed, Several::Majority), [2, 3]);
    }
}
