//! Plan of a run: which image goes with which annotations under which name to which channel.

use std::collections::{BTreeMap, BTreeSet};

use super::PreprocessSettings;
use super::annotated_image::AnnotatedImage;
use super::classes::Classes;
use super::file_index::FileIndex;
use super::grouping::group_by_image;
use super::label_classes::build_classes;
use super::reference::FileReference;
use super::report::AnnotationCounts;
use super::select::{Annotation, AnnotationPolicy, select_annotations};
use super::sources::{
    AnnotationSources, SearchOptions, SkippedEntry, join_examples, read_annotations,
};
use crate::annotations::label_config::LabelConfig;
use crate::error::{Error, Problems, Result};

/// Reason of an annotation that Label Studio's storage still holds although it was deleted.
const DELETED_REASON: &str = "seems to be deleted: its task counts or lists fewer annotations";

/// Samples to write, and everything that was learned from the annotations.
#[derive(Debug)]
pub(super) struct Plan {
    pub classes: Classes,
    pub images: FileIndex,
    /// Images to write, in the order of their paths.
    pub items: Vec<AnnotatedImage>,
    pub counts: AnnotationCounts,
    /// Formats, labels, skipped entries and warnings. Its annotations are in `items`.
    pub sources: AnnotationSources,
}

/// Reads the annotations, lists the images and decides what to write.
pub(super) fn plan_samples(
    settings: &PreprocessSettings,
    config: Option<&LabelConfig>,
) -> Result<Plan> {
    let mut problems = Problems::new();
    let search_options = SearchOptions {
        folder: &settings.annotations,
        format: settings.format,
        image_tags: config.map_or(&[], |config| &config.image_tags),
        attribute: settings.attribute.as_deref(),
    };
    let mut sources = read_annotations(&search_options, &mut problems);
    let images = FileIndex::from_folder(&settings.images, &mut problems);
    // If a job has fewer images than instances, some instances have none.
    if images.is_empty() && settings.host.is_none() {
        problems.push(format!("{} holds no images", settings.images.display()));
    }
    let classes = build_classes(settings, config, &mut sources);
    if let Err(error) = &classes {
        problems.record_err::<()>(Err(error.clone()));
    }
    let mut counts = AnnotationCounts::default();
    let items = select_items(&images, settings, &mut sources, &mut counts, &mut problems);
    problems.into_result()?;
    let plan = Plan { classes: classes?, images, items, counts, sources };
    if plan.items.is_empty() && plan.counts.elsewhere == 0 {
        return Err(no_output_error(settings, &plan.sources, &plan.counts));
    }
    Ok(plan)
}

/// Finds the image of each annotation, chooses among the annotations of an image, and names the
/// samples. Entries that are not used are added to `sources`.
fn select_items(
    images: &FileIndex,
    settings: &PreprocessSettings,
    sources: &mut AnnotationSources,
    counts: &mut AnnotationCounts,
    problems: &mut Problems,
) -> Vec<AnnotatedImage> {
    let found = std::mem::take(&mut sources.annotations);
    let grouped = group_by_image(found, images, settings.host.is_some(), problems);
    sources.warnings.extend(grouped.warnings);
    sources.skipped.extend(grouped.conflicts);
    let annotated_images: Vec<usize> = grouped.by_image.keys().copied().collect();

    let mut chosen = Vec::new();
    for (image_index, annotations) in grouped.by_image {
        let key = images.key(image_index);
        match choose_annotations(&key, annotations, settings.annotation_policy, sources, counts) {
            Ok(used) => chosen.push((image_index, key, used)),
            Err(reason) => sources.skipped.push(reason),
        }
    }

    let mut missing_references = Vec::new();
    for name in &grouped.missing {
        missing_references.extend(FileReference::parse(name));
    }
    let chosen_images: Vec<usize> = chosen.iter().map(|(image_index, ..)| *image_index).collect();
    let names = images.mask_names(&chosen_images, &annotated_images, &missing_references, problems);
    let mut items = Vec::new();
    for ((image_index, key, annotations), name) in chosen.into_iter().zip(names) {
        let split = settings.split.assign_split(&key);
        items.push(AnnotatedImage { image_index, key, name, split, annotations });
    }

    if settings.host.is_some() {
        counts.elsewhere = grouped.missing.len();
        if items.is_empty() {
            sources.warnings.extend(other_folder_warning(&grouped.other_folder_paths));
        }
    }
    skip_missing_images(grouped.missing, settings, &mut sources.skipped);
    items
}

/// Chooses among the annotations of the image `key`. The error is the reason why the image is
/// skipped.
fn choose_annotations(
    key: &str,
    annotations: Vec<Annotation>,
    policy: AnnotationPolicy,
    sources: &mut AnnotationSources,
    counts: &mut AnnotationCounts,
) -> Result<Vec<Annotation>, SkippedEntry> {
    if policy != AnnotationPolicy::Majority {
        let undated_files = undated_annotation_files(&annotations);
        if undated_files.len() > 1 {
            let reason = format!(
                "has annotations in {}, and nothing says which are newer: leave one, or join the \
                 files",
                join_examples(undated_files)
            );
            return Err(SkippedEntry::fault(key, reason));
        }
    }
    let selection = select_annotations(annotations, policy);
    counts.add(&selection);
    for location in selection.stale {
        sources.skipped.push(SkippedEntry::expected(location, DELETED_REASON));
    }
    if selection.used.is_empty() {
        let reason = "every annotation was skipped by its annotator";
        return Err(SkippedEntry::expected(key, reason));
    }
    Ok(selection.used)
}

/// Returns the files that hold annotations of one image without id and dates.
fn undated_annotation_files(annotations: &[Annotation]) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for annotation in annotations {
        if annotation.is_undated() {
            files.insert(annotation.file.display().to_string());
        }
    }
    files
}

/// Adds the images that annotations name but the folder lacks. In a job of several instances that
/// is expected, because other instances have them.
fn skip_missing_images(
    missing: BTreeSet<String>,
    settings: &PreprocessSettings,
    skipped: &mut Vec<SkippedEntry>,
) {
    for name in missing {
        skipped.push(if settings.host.is_some() {
            SkippedEntry::expected(name, "not on this instance")
        } else {
            let reason = format!("no such image below {}", settings.images.display());
            SkippedEntry::fault(name, reason)
        });
    }
}

/// Returns the warning of an instance that uses none of its images, if the folders of its images
/// may be the reason. `other_folder_paths` maps missing images to files of their names.
fn other_folder_warning(other_folder_paths: &BTreeMap<String, String>) -> Option<String> {
    let (missing_image, similar_path) = other_folder_paths.first_key_value()?;
    Some(format!(
        "no annotation is of an image of this instance; {similar_path} has the name of \
         {missing_image}, and lies in another folder: if it is that image, mount the folder above \
         as --images so that paths end as annotations say"
    ))
}

/// Makes the error of a run that has nothing to write.
fn no_output_error(
    settings: &PreprocessSettings,
    sources: &AnnotationSources,
    counts: &AnnotationCounts,
) -> Error {
    let annotations_folder = settings.annotations.display();
    let mut parts = vec![format!("{annotations_folder} gives no image with an annotation")];
    if sources.unlabeled_tasks > 0 {
        parts.push(format!("{} tasks are not labeled yet", sources.unlabeled_tasks));
    }
    if counts.cancelled > 0 {
        parts.push(format!("{} annotations were skipped by their annotators", counts.cancelled));
    }
    if !sources.skipped.is_empty() {
        parts.push(format!(
            "skipped: {}",
            join_examples(sources.skipped.iter().map(ToString::to_string))
        ));
    }
    Error::input(parts.join("; "))
}
