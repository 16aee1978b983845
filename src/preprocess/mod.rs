//! Annotations become channels: images and masks to train on, to validate with, and to keep for a test.
//!
//! Everything is looked at twice: first what stands where (light enough to keep for every task), then, image by image on
//! all cores, what was drawn. Memory does not grow with what is drawn.

mod annotated_image;
pub mod classes;
mod contact_sheet;
mod file_index;
mod grouping;
mod output;
mod rasterize;
mod reference;
mod report;
mod select;
pub mod sources;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use self::annotated_image::{AnnotatedImage, ImageOutcome};
use self::classes::Classes;
use self::file_index::{FileIndex, check_folder_exists};
use self::grouping::{GroupedAnnotations, group_by_image};
use self::output::{LABEL_MAP_CHANNEL, LABELS_FILE, OutputFolder};
use self::rasterize::RasterizeOptions;
pub use self::report::Report;
pub use self::select::AnnotationPolicy;
pub use self::sources::AnnotationFormat;
use self::sources::{AnnotationSources, SearchOptions, SkippedEntry};
use crate::annotations::label_config::{self, LabelConfig};
use crate::annotations::split::SplitConfig;
use crate::console::print_stderr;
use crate::error::{Error, Problems, Result};
use crate::files;
use crate::imaging::{DecodeLimits, encode_png};
use crate::progress::Progress;
use crate::sagemaker::StopSignal;

/// What is read, what is written, and how.
#[derive(Debug, Clone)]
pub struct PreprocessSettings {
    /// The folder of annotations.
    pub annotations: PathBuf,
    /// The folder of images.
    pub images: PathBuf,
    /// The folder that gets the channels.
    pub output: PathBuf,
    /// Label Studio's labeling configuration, or a `labels.json`.
    pub label_config: Option<PathBuf>,
    /// Only annotations of this format.
    pub format: Option<AnnotationFormat>,
    /// The attribute of Ground Truth's manifests, where a line has several.
    pub attribute: Option<String>,
    /// How images are shared out.
    pub split: SplitConfig,
    /// What to do with several annotations of one image.
    pub annotation_policy: AnnotationPolicy,
    /// Leaves out images on which nothing was drawn.
    pub skip_empty: bool,
    /// Labels whose regions become 255.
    pub ignore: Vec<String>,
    /// Labels that are above all others, the topmost first.
    pub priority: Vec<String>,
    /// Whether anything that had to be skipped is an error.
    pub strict: bool,
    /// Whether images are copied even where a hard link would do.
    pub copy: bool,
    /// Of images and masks.
    pub limits: DecodeLimits,
    /// This instance's name, if there are several.
    pub host: Option<String>,
}

/// Writes the channels and says what is in them.
///
/// # Errors
/// Folders that cannot be used, a labeling configuration that cannot be read, annotations of several formats, names
/// that several images have, nothing that could be used; with `strict` whatever was skipped. After an error, and after
/// `stop`, the output is marked as unfinished.
pub fn write_channels(settings: &PreprocessSettings, stop: &StopSignal) -> Result<Report> {
    let mut problems = Problems::new();
    check_folder_exists(&settings.annotations, "annotations", "--annotations", &mut problems);
    check_folder_exists(&settings.images, "images", "--images", &mut problems);
    let loaded_config = settings.label_config.as_deref().map(read_label_config);
    let config = loaded_config.and_then(|config| problems.record_err(config));
    problems.into_result()?;

    let mut problems = Problems::new();
    let search_options = SearchOptions {
        folder: &settings.annotations,
        format: settings.format,
        image_tags: config.as_ref().map_or(&[], |config| &config.image_tags),
        attribute: settings.attribute.as_deref(),
    };
    let mut sources = sources::read_annotations(&search_options, &mut problems);
    let images = FileIndex::from_folder(&settings.images, &mut problems);
    // Of fewer images than instances some get none.
    if images.is_empty() && settings.host.is_none() {
        problems.push(format!("{} holds no images", settings.images.display()));
    }
    let classes = build_classes(settings, config.as_ref(), &mut sources);
    let classes = problems.record_err(classes);
    let found = std::mem::take(&mut sources.annotations);
    let grouped = group_by_image(found, &images, settings.host.is_some(), &mut problems);
    let selected = select_images(grouped, &images, settings, &mut sources, &mut problems);
    problems.into_result()?;
    let (Some(classes), (items, counts)) = (classes, selected) else {
        return Err(Error::internal("a check failed without a problem"));
    };
    if items.is_empty() && counts.elsewhere == 0 {
        return Err(no_output_error(settings, &sources, &counts));
    }

    let inputs = [settings.annotations.as_path(), settings.images.as_path()];
    let host = settings.host.as_deref();
    let output =
        OutputFolder::create(&settings.output, &settings.split, inputs, (settings.copy, host))?;
    let options = RasterizeOptions {
        classes: &classes,
        has_fixed_classes: config.is_some(),
        limits: settings.limits,
    };
    let outcomes = write_masks(&items, (&images, &output), options, settings, stop)?;
    let classes = trim_unnamed_classes(classes, config.is_none(), &sources, &outcomes);
    let report = Report::new(settings, (&classes, sources, counts), &items, outcomes);
    finish_output(&report, &classes, output, settings)?;
    Ok(report)
}

fn read_label_config(path: &Path) -> Result<LabelConfig> {
    let input_error = |message: String| Error::input(format!("{}: {message}", path.display()));
    let config = label_config::parse_label_config(&files::read_file(path)?).map_err(input_error)?;
    if config.labels.is_empty() {
        let mut reasons = vec!["has no label that areas of an image can have".to_owned()];
        reasons.extend(config.warnings);
        return Err(input_error(reasons.join("; it ")));
    }
    Ok(config)
}

/// The classes by the labeling configuration; without one the labels' names, sorted.
fn build_classes(
    settings: &PreprocessSettings,
    config: Option<&LabelConfig>,
    sources: &mut AnnotationSources,
) -> Result<Classes> {
    let ignored_and_priority = (&settings.ignore[..], &settings.priority[..]);
    if let (Some(config), Some(path)) = (config, &settings.label_config) {
        let with_path = |text: &String| format!("{} {text}", path.display());
        sources.warnings.extend(config.warnings.iter().map(with_path));
        let labels = config.labels.iter().map(|label| (label.name.clone(), label.color)).collect();
        return Classes::new(labels, ignored_and_priority, &path.display().to_string());
    }
    if let Some(host) = &settings.host {
        return Err(Error::input(format!(
            "{host} is one of several instances, and the annotations of one of them may lack a label: without a \
             labeling configuration their classes could differ; give it with --label-config"
        )));
    }
    if sources.labels.is_empty() && sources.formats.contains(&AnnotationFormat::Masks) {
        return Ok(Classes::unnamed(254));
    }
    let labels = sources.labels.iter().map(|name| (name.clone(), None)).collect();
    let classes = Classes::new(labels, ignored_and_priority, "the annotations")?;
    let numbered_names: Vec<String> =
        classes.names().iter().enumerate().map(|(id, name)| format!("{id} {name}")).collect();
    sources.warnings.push(format!(
        "no labeling configuration: the classes are the labels' names in the order of the alphabet ({}); a label \
         that comes later would change their numbers, so give --label-config",
        numbered_names.join(", ")
    ));
    Ok(classes)
}

/// Chooses among the annotations of each image, and names what is written.
fn select_images(
    grouped: GroupedAnnotations,
    images: &FileIndex,
    settings: &PreprocessSettings,
    sources: &mut AnnotationSources,
    problems: &mut Problems,
) -> (Vec<AnnotatedImage>, report::AnnotationCounts) {
    let mut counts = report::AnnotationCounts::default();
    let mut items = Vec::new();
    let annotated: Vec<usize> = grouped.by_image.keys().copied().collect();
    sources.warnings.extend(grouped.warnings);
    sources.skipped.extend(grouped.conflicts);
    for (image_index, annotations) in grouped.by_image {
        let key = images.key(image_index);
        if settings.annotation_policy != AnnotationPolicy::Majority
            && let Some(undated_files) = undated_annotation_files(&annotations)
        {
            sources.skipped.push(SkippedEntry::fault(key, format!(
                "has annotations in {}, and nothing says which are newer: leave one, or join the files",
                sources::join_examples(undated_files)
            )));
            continue;
        }
        let selection = select::select_annotations(annotations, settings.annotation_policy);
        counts.add(&selection);
        let deleted_reason = "seems to be deleted: its task counts or lists fewer annotations";
        sources.skipped.extend(
            selection
                .stale
                .into_iter()
                .map(|location| SkippedEntry::expected(location, deleted_reason)),
        );
        if selection.used.is_empty() {
            sources
                .skipped
                .push(SkippedEntry::expected(key, "every annotation was skipped by its annotator"));
        } else {
            let split = settings.split.assign_split(&key);
            items.push(AnnotatedImage {
                image_index,
                key,
                name: String::new(),
                split,
                annotations: selection.used,
            });
        }
    }
    let missing_references: Vec<_> =
        grouped.missing.iter().filter_map(|name| reference::FileReference::parse(name)).collect();
    let used_images: Vec<usize> = items.iter().map(|item| item.image_index).collect();
    for (item, name) in items.iter_mut().zip(images.mask_names(
        (&used_images, &annotated),
        &missing_references,
        problems,
    )) {
        item.name = name;
    }
    if settings.host.is_some() {
        // They are another instance's share.
        counts.elsewhere = grouped.missing.len();
        let not_here =
            grouped.missing.iter().map(|name| SkippedEntry::expected(name, "not on this instance"));
        sources.skipped.extend(not_here);
        if items.is_empty()
            && let Some((missing_image, similar_path)) =
                grouped.other_folder_paths.first_key_value()
        {
            sources.warnings.push(format!(
                "no annotation is of an image of this instance; {similar_path} has the name of {missing_image}, and lies in another \
                 folder: if it is that image, mount the folder above as --images so that paths end as annotations say"
            ));
        }
    } else {
        let reason = format!("no such image below {}", settings.images.display());
        sources.skipped.extend(
            grouped.missing.into_iter().map(|name| SkippedEntry::fault(name, reason.clone())),
        );
    }
    (items, counts)
}

/// The files with annotations of one image of which nothing says how old they are, if there are several.
fn undated_annotation_files(annotations: &[select::Annotation]) -> Option<BTreeSet<String>> {
    let undated = annotations.iter().filter(|annotation| annotation.is_undated());
    let files: BTreeSet<String> =
        undated.map(|annotation| annotation.file.display().to_string()).collect();
    (files.len() > 1).then_some(files)
}

/// Why there is nothing to write.
fn no_output_error(
    settings: &PreprocessSettings,
    sources: &AnnotationSources,
    counts: &report::AnnotationCounts,
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
        let reasons =
            sources.skipped.iter().map(|entry| format!("{}: {}", entry.subject, entry.reason));
        parts.push(format!("skipped: {}", sources::join_examples(reasons)));
    }
    Error::input(parts.join("; "))
}

/// Draws every item on all cores; in the order of the items.
fn write_masks(
    items: &[AnnotatedImage],
    images_and_output: (&FileIndex, &OutputFolder),
    options: RasterizeOptions<'_>,
    settings: &PreprocessSettings,
    stop: &StopSignal,
) -> Result<Vec<ImageOutcome>> {
    let progress = Mutex::new(Progress::new("masks", items.len()));
    let outcomes = items
        .par_iter()
        .map(|item| {
            if stop.is_requested() {
                return Err(Error::input(format!(
                    "asked to stop: {} is not complete and is marked so; run again",
                    settings.output.display()
                )));
            }
            let outcome = item.write_sample(images_and_output, options, settings.skip_empty)?;
            progress.lock().unwrap_or_else(PoisonError::into_inner).advance(1, || None);
            Ok(outcome)
        })
        .collect();
    progress.lock().unwrap_or_else(PoisonError::into_inner).finish();
    outcomes
}

/// Of masks without names the classes end with the largest id that occurs.
fn trim_unnamed_classes(
    classes: Classes,
    has_no_config: bool,
    sources: &AnnotationSources,
    outcomes: &[ImageOutcome],
) -> Classes {
    if !(has_no_config
        && sources.labels.is_empty()
        && sources.formats.contains(&AnnotationFormat::Masks))
    {
        return classes;
    }
    let ids = outcomes
        .iter()
        .filter_map(ImageOutcome::as_written)
        .flat_map(|written| &written.pixel_counts);
    let largest_id = ids.map(|(id, _)| *id).filter(|id| *id != classes::IGNORE_INDEX).max();
    Classes::unnamed(largest_id.unwrap_or(0))
}

/// Writes what describes the channels; the report last, and the marks go only if all is as it was asked for.
fn finish_output(
    report: &Report,
    classes: &Classes,
    output: OutputFolder,
    settings: &PreprocessSettings,
) -> Result<()> {
    let colors: Vec<[u8; 3]> = (0..=u8::MAX).map(|id| classes.color(id)).collect();
    let labels = crate::model::labels::Labels { names: classes.names(), colors: Some(&colors) };
    let labels =
        serde_json::to_vec_pretty(&labels).map_err(|cause| Error::internal(cause.to_string()))?;
    files::write_atomically(&output.root().join(LABEL_MAP_CHANNEL).join(LABELS_FILE), &labels)?;
    if let Some(contact_sheet) = contact_sheet::draw_annotation_sheet(report, classes, &output)? {
        files::write_atomically(&output.contact_sheet_path(), &encode_png(&contact_sheet))?;
    }
    files::write_atomically(&output.report_path(), &report.to_json()?)?;
    let report_path = output.report_path();
    if report.image_count() == 0 && !report.is_on_other_instances() {
        return Err(Error::input(format!(
            "no image could be used: {}",
            report.fault_summary(&report_path)
        )));
    }
    if settings.strict && report.has_faults() {
        return Err(Error::input(format!("--strict, and {}", report.fault_summary(&report_path))));
    }
    output.finish()?;
    for warning in report.warnings() {
        print_stderr(format_args!("warning: {warning}"));
    }
    if report.has_faults() {
        print_stderr(format_args!("warning: {}", report.fault_summary(&report_path)));
    }
    Ok(())
}
