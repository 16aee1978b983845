//! Label Studio's annotations, as its exports and its target storages write them.
//!
//! Each element of a document ([`super::json_objects`]) is read twice: once for a summary without
//! the geometry, small enough to keep for every task, and once for the regions of the annotation
//! that was chosen. Format: Label Studio 1.23, <https://labelstud.io/guide/task_format>. The text
//! of an error completes a sentence that begins with the position of the element.

mod document;
mod packing;
mod region_value;
mod result_writer;
mod row_element;
mod target;
mod task_data;
#[cfg(test)]
mod tests;
mod vector_path;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use self::document::{Annotation, JsonMinRow, ResultItem, RowRegion, Task, TaskReference};
use self::packing::pack_rle_lists;
use self::region_value::{
    Geometry, GeometryKeys, GeometryValues, RegionKind, RegionValue, ShapeError,
};
pub use self::result_writer::{PredictedGeometry, PredictedRegion};
pub use self::target::{ListItem, RegionTarget, ResultPlace};
use self::target::{PlaceCounts, Placement};
use self::task_data::TaskData;
use super::error::{Error, Result};
use super::json::{Id, Number, SideLength, StringOrNumber, parse_json};
use super::json_objects::{self, JsonObject, KeyedObjects};
use super::region::Region;

/// Summary of one element, without the geometry of its regions.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskSummary {
    /// Id of the task, if known.
    pub task_id: Option<i64>,
    pub element_type: ElementType,
    /// Values of the task's data that are strings, by key.
    pub data: BTreeMap<String, String>,
    /// Strings within lists and objects of the task's data, by their path: `pages.0.url`.
    pub nested_data: BTreeMap<String, String>,
    /// Annotations, in the order of the document. Skipped ones are among them, drafts and
    /// predictions are not.
    pub annotations: Vec<AnnotationSummary>,
    /// Number of annotations that the task counts, skipped ones included. A target storage embeds
    /// the task as it was when the annotation was written, so its number may be out of date.
    pub annotation_count: Option<u64>,
}

/// Kind of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElementType {
    /// A task with its annotations: the JSON export, and target storages with one file per task.
    Task,
    /// An annotation with its task: the objects of a target storage.
    Annotation,
    /// One annotation, flattened: `JSON_MIN`.
    JsonMinRow,
}

/// Summary of one annotation, without the geometry of its regions.
#[derive(Debug, Clone, PartialEq)]
pub struct AnnotationSummary {
    /// Id of the annotation, if known.
    pub id: Option<i64>,
    /// Time of creation in ISO 8601, as written; empty if unknown.
    pub created_at: String,
    /// Time of the last change, as `created_at`.
    pub updated_at: String,
    /// True if the annotator skipped the task.
    pub was_cancelled: bool,
    /// True if the annotation is marked as ground truth.
    pub ground_truth: bool,
    /// Labels of the regions.
    pub labels: BTreeSet<String>,
    /// Names of the `<Image>` tags on which the regions lie; empty in `JSON_MIN`.
    pub image_names: BTreeSet<String>,
    /// Numbers of drawn results, those that cannot be used among them, by the place of which they
    /// say that they lie there.
    pub drawn_places: Vec<(ResultPlace, usize)>,
}

impl AnnotationSummary {
    /// Returns the number of drawn results: the regions, and those that cannot be used.
    pub fn drawn_count(&self) -> usize {
        self.drawn_places.iter().map(|(_, count)| count).sum()
    }
}

/// Regions of one annotation.
#[derive(Debug, Clone, PartialEq)]
pub struct AnnotationRegions {
    /// Regions in the order of the document, in which later ones were drawn over earlier ones.
    pub regions: Vec<Region>,
    /// Reasons why drawn results cannot be used, one per result.
    pub skipped_reasons: Vec<String>,
}

/// Reads the summary of an element.
pub fn read_task_summary(element: &[u8]) -> Result<TaskSummary> {
    let element_type = detect_element_type(element)?;
    let element = &pack_rle_lists(element);
    Ok(match element_type {
        ElementType::Task => {
            let task: Task<GeometryKeys> = parse_json(element)?;
            let data = task.data.unwrap_or_default();
            TaskSummary {
                task_id: numeric_id(task.id),
                element_type: ElementType::Task,
                data: data.texts,
                nested_data: data.nested_texts,
                annotations: task.annotations.iter().flatten().map(summarize_annotation).collect(),
                annotation_count: count_annotations(
                    task.total_annotations,
                    task.cancelled_annotations,
                ),
            }
        }
        ElementType::Annotation => {
            let annotation: Annotation<GeometryKeys> = parse_json(element)?;
            let annotations = vec![summarize_annotation(&annotation)];
            let (task_id, data, annotation_count) = match annotation.task {
                Some(TaskReference::Task(task)) => (
                    task.id,
                    task.data.unwrap_or_default(),
                    count_annotations(task.total_annotations, task.cancelled_annotations),
                ),
                Some(TaskReference::Id(id)) => (Some(id), TaskData::default(), None),
                None => (None, TaskData::default(), None),
            };
            TaskSummary {
                task_id: numeric_id(task_id),
                element_type: ElementType::Annotation,
                data: data.texts,
                nested_data: data.nested_texts,
                annotations,
                annotation_count,
            }
        }
        ElementType::JsonMinRow => {
            let JsonMinRow { task_id, annotation_id, created_at, updated_at, data, regions } =
                parse_json::<JsonMinRow<GeometryKeys>>(element)?;
            let annotation = Annotation {
                id: annotation_id.map(|id| Id(Some(id))),
                result: Some(regions.into_iter().map(result_from_row).collect()),
                was_cancelled: None,
                ground_truth: None,
                created_at: Some(created_at),
                updated_at: Some(updated_at),
                task: None,
            };
            let annotations = vec![summarize_annotation(&annotation)];
            TaskSummary {
                task_id,
                element_type: ElementType::JsonMinRow,
                data: data.texts,
                nested_data: data.nested_texts,
                annotations,
                annotation_count: None,
            }
        }
    })
}

/// Reads the regions of an element's annotation on every object. The index counts the annotations
/// of [`TaskSummary::annotations`].
pub fn read_regions(element: &[u8], annotation_index: usize) -> Result<AnnotationRegions> {
    read_target_regions(element, annotation_index, &RegionTarget::default())
}

/// Reads the regions of an element's annotation on one image of the task. Results on objects that
/// are no images to train on are skipped with a reason.
pub fn read_target_regions(
    element: &[u8],
    annotation_index: usize,
    target: &RegionTarget,
) -> Result<AnnotationRegions> {
    let element_type = detect_element_type(element)?;
    let results = match element_type {
        ElementType::Task => {
            let mut annotations = KeyedObjects::new(element, &["annotations"], element.len());
            let Some(annotation_object) = annotations.nth(annotation_index) else {
                return Err(missing_annotation_error(annotation_index));
            };
            let (_, JsonObject { bytes, .. }) = annotation_object?;
            parse_json::<Annotation<GeometryValues>>(&pack_rle_lists(&bytes))
                .map_err(|error| error.located(format!("annotations[{annotation_index}]."), ""))?
                .result
        }
        ElementType::Annotation | ElementType::JsonMinRow if annotation_index > 0 => {
            return Err(missing_annotation_error(annotation_index));
        }
        ElementType::Annotation => {
            parse_json::<Annotation<GeometryValues>>(&pack_rle_lists(element))?.result
        }
        ElementType::JsonMinRow => {
            let row = parse_json::<JsonMinRow<GeometryValues>>(&pack_rle_lists(element))?;
            Some(row.regions.into_iter().map(result_from_row).collect())
        }
    };
    build_regions(results.unwrap_or_default(), target)
}

fn missing_annotation_error(annotation_index: usize) -> Error {
    Error::InvalidValue(format!("has no annotation number {annotation_index}"))
}

/// Detects the kind of an element by its keys.
fn detect_element_type(element: &[u8]) -> Result<ElementType> {
    let keys = json_objects::read_object_keys(element)?;
    if contains_key(&keys, "annotation_id") {
        return Ok(ElementType::JsonMinRow);
    }
    if contains_key(&keys, "images") && contains_key(&keys, "categories") {
        let message = "is a COCO document, no task of Label Studio";
        return Err(Error::UnexpectedFormat(message.to_owned()));
    }
    if contains_key(&keys, "annotations") {
        return Ok(ElementType::Task);
    }
    if contains_key(&keys, "result") {
        return Ok(ElementType::Annotation);
    }
    if contains_key(&keys, "data") {
        return Ok(ElementType::Task);
    }
    let mut listed_keys = keys.iter().take(8).map(String::as_str).collect::<Vec<_>>().join(", ");
    if listed_keys.is_empty() {
        listed_keys.push_str("none");
    }
    Err(Error::UnexpectedFormat(format!(
        "is neither a task (annotations), an annotation (result) nor a row of JSON_MIN \
         (annotation_id); its keys are {listed_keys}; export as JSON or JSON_MIN"
    )))
}

fn contains_key(keys: &[String], key: &str) -> bool {
    keys.iter().any(|present| present == key)
}

fn numeric_id(id: Option<Id>) -> Option<i64> {
    let Id(id) = id?;
    id
}

fn count_annotations(total: Option<u64>, cancelled: Option<u64>) -> Option<u64> {
    Some(total?.saturating_add(cancelled.unwrap_or(0)))
}

/// Returns the result from which the region of a `JSON_MIN` row was made.
fn result_from_row<G>(region: RowRegion<G>) -> ResultItem<G> {
    ResultItem {
        id: None,
        result_type: None,
        from_name: Some(region.from_name),
        to_name: None,
        value: Some(region.value),
        image_rotation: None,
        original_width: None,
        original_height: None,
        item_index: None,
        order_group: Some(region.order_group),
    }
}

fn summarize_annotation<G: Geometry>(annotation: &Annotation<G>) -> AnnotationSummary {
    let results = annotation.result.as_deref().unwrap_or_default();
    let labeled_ids = collect_labeled_ids(results);
    let mut summary = AnnotationSummary {
        id: numeric_id(annotation.id),
        created_at: annotation.created_at.clone().unwrap_or_default(),
        updated_at: annotation.updated_at.clone().unwrap_or_default(),
        was_cancelled: annotation.was_cancelled.unwrap_or(false),
        ground_truth: annotation.ground_truth.unwrap_or(false),
        labels: BTreeSet::new(),
        image_names: BTreeSet::new(),
        drawn_places: Vec::new(),
    };
    let mut place_counts = PlaceCounts::default();
    for result in results {
        let outcome = classify_result(result, &labeled_ids);
        if !matches!(outcome, ResultOutcome::Ignored) {
            place_counts.add(ResultPlace::from_result(result));
        }
        if let ResultOutcome::Region(_) = outcome {
            summary.labels.extend(result_labels(result).cloned());
            if let Some(image_name) = &result.to_name
                && !image_name.is_empty()
            {
                summary.image_names.insert(image_name.clone());
            }
        }
    }
    summary.drawn_places = place_counts.counts;
    summary
}

/// Classification of one result of an annotation.
enum ResultOutcome {
    Region(RegionKind),
    /// The result was drawn but cannot be used, with the reason.
    Skipped(String),
    /// The result has no drawing, or another result holds the same drawing.
    Ignored,
}

fn classify_result<G: Geometry>(
    result: &ResultItem<G>,
    labeled_ids: &HashSet<&str>,
) -> ResultOutcome {
    let Some(value) = &result.value else { return ResultOutcome::Ignored };
    let result_type = infer_result_type(result);
    let is_labeled = result_labels(result).next().is_some();
    // A region may have two results of one id: the drawing alone, and the drawing with its label.
    // The labeled result is used.
    let has_labeled_id =
        result.id.as_ref().is_some_and(|StringOrNumber(id)| labeled_ids.contains(id.as_str()));
    match RegionKind::detect(result_type, &value.geometry) {
        Some(region_kind) if is_labeled => ResultOutcome::Region(region_kind),
        _ if has_labeled_id && !is_labeled => ResultOutcome::Ignored,
        Some(_) => ResultOutcome::Skipped(format!("{} has no label", describe_result(result))),
        None if value.geometry.has_key("vertices") => ResultOutcome::Skipped(format!(
            "{} is a vector path that is not closed, so nothing is filled",
            describe_result(result)
        )),
        None if is_labeled || matches!(result_type, "keypoint" | "vector") => {
            ResultOutcome::Skipped(format!("{} has no area", describe_result(result)))
        }
        // Choices, texts, ratings and relations.
        None => ResultOutcome::Ignored,
    }
}

/// Returns the ids of the results that have labels.
fn collect_labeled_ids<G>(results: &[ResultItem<G>]) -> HashSet<&str> {
    let mut labeled_ids = HashSet::new();
    for result in results {
        if let Some(StringOrNumber(id)) = &result.id
            && !id.is_empty()
            && result_labels(result).next().is_some()
        {
            labeled_ids.insert(id.as_str());
        }
    }
    labeled_ids
}

/// Returns the type of a result. `JSON_MIN` leaves the type out, so it is taken from the key of the
/// labels.
fn infer_result_type<G>(result: &ResultItem<G>) -> &str {
    if let Some(result_type) = &result.result_type {
        return result_type;
    }
    if let Some(value) = &result.value
        && let Some((key, _)) = value.labels.first()
    {
        return key;
    }
    ""
}

/// Iterates over the labels of a result: those under the key of its type.
fn result_labels<G>(result: &ResultItem<G>) -> impl Iterator<Item = &String> {
    let result_type_name = infer_result_type(result);
    let lists = result.value.iter().flat_map(|value| &value.labels);
    lists.filter(move |(key, _)| key == result_type_name).flat_map(|(_, names)| names)
}

/// Describes a result for messages.
fn describe_result<G>(result: &ResultItem<G>) -> String {
    let type_name = infer_result_type(result);
    let type_name = if type_name.is_empty() { "one without type" } else { type_name };
    match &result.id {
        Some(StringOrNumber(id)) if !id.is_empty() => format!("region {id} ({type_name})"),
        _ => format!("a region ({type_name})"),
    }
}

fn build_regions(
    results: Vec<ResultItem<GeometryValues>>,
    target: &RegionTarget,
) -> Result<AnnotationRegions> {
    let mut built = AnnotationRegions { regions: Vec::new(), skipped_reasons: Vec::new() };
    let outcomes: Vec<ResultOutcome> = {
        let labeled_ids = collect_labeled_ids(&results);
        results.iter().map(|result| classify_result(result, &labeled_ids)).collect()
    };
    for (result, outcome) in results.into_iter().zip(outcomes) {
        if matches!(outcome, ResultOutcome::Ignored) {
            continue;
        }
        let placement = target
            .place(&ResultPlace::from_result(&result))
            .map_err(|error| error.located(format!("{} ", describe_result(&result)), ""))?;
        match placement {
            Placement::Here => {}
            Placement::OtherImage => continue,
            Placement::Stray(reason) => {
                if target.tells_strays {
                    built.skipped_reasons.push(format!("{} {reason}", describe_result(&result)));
                }
                continue;
            }
        }
        match outcome {
            ResultOutcome::Region(kind) => built.regions.push(build_region(result, kind)?),
            ResultOutcome::Skipped(reason) => built.skipped_reasons.push(reason),
            ResultOutcome::Ignored => {}
        }
    }
    drop_single_order_group(&mut built.regions);
    Ok(built)
}

/// Removes the order groups of regions that are all of one group: their order is kept.
fn drop_single_order_group(regions: &mut [Region]) {
    let Some(first) = regions.first() else { return };
    let first_group = first.order_group;
    if regions.iter().all(|region| region.order_group == first_group) {
        for region in regions {
            region.order_group = None;
        }
    }
}

fn build_region(result: ResultItem<GeometryValues>, kind: RegionKind) -> Result<Region> {
    let description = describe_result(&result);
    if let Some(Number(degrees)) = result.image_rotation
        && degrees % 360.0 != 0.0
    {
        return Err(Error::Unsupported(format!(
            "{description} was drawn on the image turned by {degrees} degrees (image_rotation), \
             which is not supported; allowed: 0; turn the image file itself and annotate that"
        )));
    }
    let labels = result_labels(&result).cloned().collect();
    let (width, height) = (result.original_width, result.original_height);
    let Some(RegionValue { mut geometry, .. }) = result.value else {
        return Err(Error::InvalidValue(format!("{description} has no value")));
    };
    let image_size = match (width, height) {
        (Some(SideLength(width)), Some(SideLength(height))) => Some((width, height)),
        _ => geometry.take_image_size(),
    };
    let shape = match geometry.into_shape(kind) {
        Ok(shape) => shape,
        Err(ShapeError::MissingKey(key)) => {
            return Err(Error::InvalidValue(format!(
                "{description} has no {key}; it needs {} in its value",
                kind.required_keys()
            )));
        }
        Err(ShapeError::Unusable(error)) => return Err(error.located(description + " ", "")),
    };
    Ok(Region {
        id: result.id.map(|StringOrNumber(id)| id).unwrap_or_default(),
        labels,
        shape,
        image_size,
        to_name: result.to_name.unwrap_or_default(),
        order_group: result.order_group,
    })
}
