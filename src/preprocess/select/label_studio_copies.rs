//! Copies of annotations and deleted ones, which the exports and storages of Label Studio hold side
//! by side.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::age::AgeMeasure;
use super::equal_drawings::have_equal_drawings;
use super::timestamp::Timestamp;
use super::{Annotation, Selection, UnusedReason};
use crate::preprocess::rasterize::MaskSource;

/// Mark by which copies of one annotation of Label Studio are known.
#[derive(PartialEq, Eq, Hash)]
struct CopyKey {
    id: i64,
    task_id: Option<i64>,
    /// Installations of Label Studio give the same numbers, but not at the same moments.
    created_at: Option<Timestamp>,
    /// `<Image>` tag, where the labeling configuration names it.
    image_name: Option<Arc<str>>,
    /// Index of the image in a list of images.
    list_index: Option<usize>,
}

impl CopyKey {
    /// Returns the key of an annotation, or `None` if it has no number.
    fn from_annotation(annotation: &Annotation) -> Option<Self> {
        let (mut image_name, mut list_index) = (None, None);
        if let MaskSource::Regions { target, .. } = &annotation.mask_source {
            image_name.clone_from(&target.image_name);
            list_index = target.list_item.map(|item| item.index);
        }
        Some(Self {
            id: annotation.id?,
            task_id: annotation.task_id,
            created_at: Timestamp::parse(&annotation.created_at),
            image_name,
            list_index,
        })
    }
}

/// Versions of one annotation.
struct AnnotationCopies {
    latest: Annotation,
    /// Number of annotations that were read before the latest version.
    read_index: usize,
    older: Vec<Annotation>,
}

impl AnnotationCopies {
    /// Adds a copy of the annotation. Gives it back if nothing says whether it is newer and its
    /// drawing differs.
    fn add(&mut self, copy: Annotation, read_index: usize) -> Option<Annotation> {
        let times = (AgeMeasure::Change.time(&self.latest), AgeMeasure::Change.time(&copy));
        let is_newer = match times {
            (Some(latest_time), Some(copy_time)) if latest_time != copy_time => {
                copy_time > latest_time
            }
            _ if have_equal_drawings(&self.latest.mask_source, &copy.mask_source) => true,
            _ => return Some(copy),
        };
        let is_listed = self.latest.is_in_task_list || copy.is_in_task_list;
        if is_newer {
            let older = std::mem::replace(&mut self.latest, copy);
            self.older.push(older);
            self.read_index = read_index;
        } else {
            self.older.push(copy);
        }
        self.latest.is_in_task_list = is_listed;
        None
    }
}

/// Keeps the latest copy of each annotation number: a storage and an export may both hold an
/// annotation, in different versions.
pub(super) fn keep_latest_copies(
    annotations: Vec<Annotation>,
    selection: &mut Selection,
) -> Vec<Annotation> {
    let mut copies: Vec<AnnotationCopies> = Vec::new();
    let mut index_by_key: HashMap<CopyKey, usize> = HashMap::new();
    for (read_index, annotation) in annotations.into_iter().enumerate() {
        let mut latest = annotation;
        if let Some(key) = CopyKey::from_annotation(&latest) {
            match index_by_key.entry(key) {
                Entry::Occupied(entry) => match copies[*entry.get()].add(latest, read_index) {
                    None => continue,
                    Some(other) => latest = other,
                },
                Entry::Vacant(entry) => {
                    entry.insert(copies.len());
                }
            }
        }
        copies.push(AnnotationCopies { latest, read_index, older: Vec::new() });
    }
    copies.sort_by_key(|versions| versions.read_index);
    let mut kept = Vec::new();
    for AnnotationCopies { latest, older, .. } in copies {
        for copy in older {
            selection.leave_out(&copy, UnusedReason::OlderCopy);
            if let Some(unused) = selection.unused.last_mut() {
                unused.by = Some(latest.location.clone());
            }
        }
        kept.push(latest);
    }
    kept
}

/// Removes the annotations that Label Studio keeps in its target storage after they were deleted,
/// which is its default.
///
/// There are two signs: a list of all annotations of the task lacks the annotation but has a
/// younger one, or the task's newest object states a smaller number of annotations than there are.
pub(super) fn remove_deleted(
    annotations: Vec<Annotation>,
    selection: &mut Selection,
) -> Vec<Annotation> {
    let newest_listed = newest_listed_ids(&annotations);
    let mut objects_by_task: HashMap<i64, Vec<usize>> = HashMap::new();
    let mut stale_indexes: HashSet<usize> = HashSet::new();
    for (index, annotation) in annotations.iter().enumerate() {
        let (Some(task), Some(id)) = (annotation.task_id, annotation.id) else { continue };
        if annotation.is_in_task_list {
            continue;
        }
        match newest_listed.get(&task) {
            Some(&newest_id) if id < newest_id => {
                stale_indexes.insert(index);
            }
            Some(_) => {}
            None => objects_by_task.entry(task).or_default().push(index),
        }
    }
    for task_objects in objects_by_task.into_values() {
        add_surplus_objects(&annotations, task_objects, &mut stale_indexes);
    }
    let mut remaining = Vec::new();
    for (index, annotation) in annotations.into_iter().enumerate() {
        if stale_indexes.contains(&index) {
            selection.leave_out(&annotation, UnusedReason::Deleted);
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

/// Adds the indexes of a task's objects that exceed the number of annotations that its newest
/// object states.
fn add_surplus_objects(
    annotations: &[Annotation],
    mut task_objects: Vec<usize>,
    stale_indexes: &mut HashSet<usize>,
) {
    let mut ids = HashSet::new();
    if !task_objects.iter().all(|&index| ids.insert(annotations[index].id)) {
        // Two annotations of one number come from two installations of Label Studio: each counts
        // its own.
        return;
    }
    let newest_object = task_objects
        .iter()
        .map(|&index| &annotations[index])
        .max_by_key(|annotation| AgeMeasure::Change.sort_key(annotation));
    let Some(count) = newest_object.and_then(|object| object.task_annotation_count) else { return };
    // The newest object exists, even if the task's counter says 0.
    let kept_count = usize::try_from(count).unwrap_or(usize::MAX).max(1);
    // Their number is known, but not which ones remain: old ones are removed first, and ground
    // truth last.
    task_objects.sort_by_cached_key(|&index| {
        let object = &annotations[index];
        Reverse((object.ground_truth, AgeMeasure::Change.sort_key(object)))
    });
    stale_indexes.extend(task_objects.iter().skip(kept_count));
}
