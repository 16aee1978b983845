//! Plan of a run: which image goes with which annotations under which name to which channel.

use std::collections::BTreeMap;

use super::PreprocessSettings;
use super::annotated_image::AnnotatedImage;
use super::classes::Classes;
use super::file_index::FileIndex;
use super::grouping::group_by_image;
use super::label_classes::build_classes;
use super::near_names::NearNames;
use super::reference::FileReference;
use super::repeated_listings::{JoinedListings, join_repeated_listings};
use super::report::AnnotationCounts;
use super::select::{
    Annotation, AnnotationPolicy, UnusedReason, count_regions, describe_contradiction,
    select_annotations,
};
use super::sources::{AnnotationSources, SearchOptions, SkippedEntry, read_annotations};
use super::superseded::{SelectionLog, SupersededEntry};
use super::totals::Totals;
use crate::annotations::label_config::LabelConfig;
use crate::error::{Error, MAX_EXAMPLE_CHARS, Problems, Result, join_examples, shorten_text};
use crate::sagemaker::StopSignal;

/// Samples to write, and everything that was learned from the annotations.
#[derive(Debug)]
pub(super) struct Plan {
    pub classes: Classes,
    pub images: FileIndex,
    /// Images to write, in the order of their paths.
    pub items: Vec<AnnotatedImage>,
    pub counts: AnnotationCounts,
    /// Images and regions that came in, and those that are not used.
    pub totals: Totals,
    /// Annotations that make no mask because of others, or because they do not count.
    pub superseded: Vec<SupersededEntry>,
    /// Formats, labels, skipped entries and warnings. Its annotations are in `items`.
    pub sources: AnnotationSources,
}

/// Reads the annotations, lists the images and decides what to write. Ends with an error after
/// `stop`.
pub(super) fn plan_samples(
    settings: &PreprocessSettings,
    config: Option<&LabelConfig>,
    stop: &StopSignal,
) -> Result<Plan> {
    let mut problems = Problems::new();
    let search_options = SearchOptions {
        folder: &settings.annotations,
        format: settings.format,
        label_config: config,
        attribute: settings.attribute.as_deref(),
        named_files: &settings.named_files(),
        stop,
    };
    let mut sources = read_annotations(&search_options, &mut problems);
    let images = FileIndex::from_folder(&settings.images, stop, &mut problems);
    // The lists are not complete after a request to stop, and neither are their problems.
    if stop.is_requested() {
        return Err(Error::input(format!(
            "asked to stop while annotations and images were listed: nothing was written to {}; run \
             again",
            settings.output.display()
        )));
    }
    // If a job has fewer images than instances, some instances have none.
    if images.is_empty() && settings.host.is_none() {
        problems.push(format!("{} holds no images", settings.images.display()));
    }
    let classes = build_classes(settings, config, &mut sources);
    if let Err(error) = &classes {
        problems.record_err::<()>(Err(error.clone()));
    }
    let mut log = SelectionLog::default();
    let items = select_items(&images, settings, &mut sources, &mut log, &mut problems);
    problems.into_result()?;
    sources.warnings.extend(log.warnings());
    let SelectionLog { counts, totals, superseded, .. } = log;
    let plan = Plan { classes: classes?, images, items, counts, totals, superseded, sources };
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
    log: &mut SelectionLog,
    problems: &mut Problems,
) -> Vec<AnnotatedImage> {
    log.totals.regions.read = sources.region_count();
    for entry in &sources.skipped {
        log.totals.images.annotated += entry.lost_images;
    }
    let found = std::mem::take(&mut sources.annotations);
    let grouped = group_by_image(found, images, settings.host.is_some(), problems);
    log.totals.images.annotated += grouped.image_count();
    sources.warnings.extend(grouped.warnings);
    sources.skipped.extend(grouped.conflicts);
    let annotated_images: Vec<usize> = grouped.by_image.keys().copied().collect();

    let mut chosen = Vec::new();
    for (image_index, annotations) in grouped.by_image {
        let key = images.key(image_index);
        match choose_annotations(&key, annotations, settings.annotation_policy, sources, log) {
            Ok(used) => chosen.push((image_index, key, used)),
            Err(reason) => sources.skipped.push(reason),
        }
    }

    let mut missing_references = Vec::new();
    for name in grouped.missing.keys() {
        missing_references.extend(FileReference::parse(name));
    }
    let chosen_images: Vec<usize> = chosen.iter().map(|(image_index, ..)| *image_index).collect();
    let names = images.mask_names(&chosen_images, &annotated_images, &missing_references, problems);
    let mut items = Vec::new();
    for ((image_index, key, annotations), name) in chosen.into_iter().zip(names) {
        let split = settings.split.assign_split(&key);
        let policy = settings.annotation_policy;
        items.push(AnnotatedImage { image_index, key, name, split, annotations, policy });
    }

    if settings.host.is_some() {
        log.counts.elsewhere = grouped.missing.len();
        for &region_count in grouped.missing.values() {
            log.totals.add_elsewhere(region_count);
        }
        if items.is_empty() {
            sources.warnings.extend(other_folder_warning(&grouped.other_folder_paths));
        }
    }
    skip_missing_images(grouped.missing, images, settings, &mut sources.skipped);
    items
}

/// Chooses among the annotations of the image `key`. The error is the reason why the image is
/// skipped.
fn choose_annotations(
    key: &str,
    annotations: Vec<Annotation>,
    policy: AnnotationPolicy,
    sources: &mut AnnotationSources,
    log: &mut SelectionLog,
) -> Result<Vec<Annotation>, SkippedEntry> {
    let region_count = count_regions(&annotations);
    let JoinedListings { annotations, joined } = join_repeated_listings(annotations)
        .map_err(|reason| SkippedEntry::fault(key, reason).with_losses(1, region_count))?;
    for locations in joined {
        log.add_repeated_image(key, &locations);
    }
    let selection = select_annotations(annotations, policy);
    log.add_selection(key, &selection);
    for location in selection.locations_left_out(UnusedReason::Deleted) {
        sources.skipped.push(SkippedEntry::expected(location, UnusedReason::Deleted.text()));
    }
    if !selection.contradicting.is_empty() {
        let reason = describe_contradiction(&selection.contradicting);
        let region_count = count_regions(&selection.contradicting);
        return Err(SkippedEntry::fault(key, reason).with_losses(1, region_count));
    }
    if selection.used.is_empty() {
        let reason = "every annotation was skipped by its annotator";
        // Its regions are counted with the annotations.
        return Err(SkippedEntry::expected(key, reason).with_losses(1, 0));
    }
    Ok(selection.used)
}

/// Adds the images that annotations name but the folder lacks. In a job of several instances that
/// is expected, because other instances have them.
fn skip_missing_images(
    missing: BTreeMap<String, usize>,
    images: &FileIndex,
    settings: &PreprocessSettings,
    skipped: &mut Vec<SkippedEntry>,
) {
    if missing.is_empty() {
        return;
    }
    if settings.host.is_some() {
        for name in missing.into_keys() {
            skipped.push(SkippedEntry::expected(name, "not on this instance"));
        }
        return;
    }
    let near_names = NearNames::new(images);
    for (name, region_count) in missing {
        let folder = settings.images.display();
        let reason = format!("no such image below {folder}{}", near_names.hint(&name));
        skipped.push(SkippedEntry::fault(name, reason).with_losses(1, region_count));
    }
}

/// Returns the warning of an instance that uses none of its images, if the folders of its images
/// may be the reason. `other_folder_paths` maps missing images to files of their names.
fn other_folder_warning(other_folder_paths: &BTreeMap<String, String>) -> Option<String> {
    let (missing_image, similar_path) = other_folder_paths.first_key_value()?;
    let missing_image = shorten_text(missing_image, MAX_EXAMPLE_CHARS);
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
