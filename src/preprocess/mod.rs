//! Conversion of annotations to channels: images and masks for training, validation and tests.
//!
//! Annotations are read twice: first their references and positions for all tasks, which take
//! little memory, and then, image by image on all cores, their regions. So the memory does not grow
//! with the regions.
//!
//! | step | files |
//! |---|---|
//! | read the references and positions of annotations | `sources/`, `reference.rs` |
//! | list the images | `file_index.rs` |
//! | number the classes | `label_classes.rs`, `classes.rs` |
//! | find each annotation's image | `grouping.rs` |
//! | choose among several annotations of an image | `select.rs` |
//! | name the samples and assign them to channels | `plan.rs`, which calls the steps above |
//! | clear and mark the output folder | `output.rs` |
//! | draw masks and write samples | `annotated_image.rs`, `rasterize.rs` |
//! | write the report and a contact sheet | `report.rs`, `class_counts.rs`, `contact_sheet.rs` |

mod annotated_image;
mod class_counts;
pub mod classes;
mod contact_sheet;
mod file_index;
mod grouping;
mod label_classes;
mod output;
mod plan;
mod rasterize;
mod reference;
mod report;
mod select;
pub mod sources;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use self::annotated_image::ImageOutcome;
use self::classes::Classes;
use self::contact_sheet::draw_annotation_sheet;
use self::file_index::check_folder_exists;
use self::label_classes::{read_label_config, trim_unnamed_classes};
use self::output::{LABEL_MAP_CHANNEL, LABELS_FILE, OutputFolder, OutputOptions};
use self::plan::{Plan, plan_samples};
use self::rasterize::RasterizeOptions;
pub use self::report::Report;
pub use self::select::AnnotationPolicy;
pub use self::sources::AnnotationFormat;
use crate::annotations::label_config::LabelConfig;
use crate::annotations::split::SplitConfig;
use crate::console::print_stderr;
use crate::error::{Error, Problems, Result};
use crate::files;
use crate::imaging::{DecodeLimits, encode_png};
use crate::model::labels::Labels;
use crate::progress::Progress;
use crate::sagemaker::StopSignal;

/// Settings of one run.
#[derive(Debug, Clone)]
pub struct PreprocessSettings {
    /// Folder that is searched for annotations.
    pub annotations: PathBuf,
    /// Folder of the images that annotations refer to.
    pub images: PathBuf,
    /// Folder that gets the channels.
    pub output: PathBuf,
    /// Label Studio's labeling configuration, or a `labels.json`.
    pub label_config: Option<PathBuf>,
    /// Only format to read; `None` detects it.
    pub format: Option<AnnotationFormat>,
    /// Attribute of Ground Truth's manifests, needed if a line has several.
    pub attribute: Option<String>,
    /// Shares of the images for validation and test.
    pub split: SplitConfig,
    /// Choice among several annotations of one image.
    pub annotation_policy: AnnotationPolicy,
    /// Leaves out images whose mask is all background.
    pub skip_empty: bool,
    /// Labels whose regions become 255.
    pub ignore: Vec<String>,
    /// Labels that are painted over all others, the topmost first.
    pub priority: Vec<String>,
    /// Makes a skipped entry with a fault an error.
    pub strict: bool,
    /// Copies images even where a hard link is possible.
    pub copy: bool,
    /// Limits on the pixels of images and masks.
    pub limits: DecodeLimits,
    /// Name of this instance if the job has several.
    pub host: Option<String>,
}

/// Writes the channels and returns the report.
///
/// # Errors
/// Folders that cannot be used, a labeling configuration that cannot be read, annotations of
/// several formats, equal names of several images, no usable image; with `strict` any skipped entry
/// with a fault. After an error, and after `stop`, the output is marked as unfinished.
pub fn write_channels(settings: &PreprocessSettings, stop: &StopSignal) -> Result<Report> {
    let config = check_inputs(settings)?;
    let plan = plan_samples(settings, config.as_ref())?;
    let output = OutputFolder::create(&OutputOptions {
        root: &settings.output,
        inputs: [&settings.annotations, &settings.images],
        has_test_images: settings.split.test_percent > 0.0,
        copy: settings.copy,
        host: settings.host.as_deref(),
    })?;
    let options = RasterizeOptions {
        classes: &plan.classes,
        has_fixed_classes: config.is_some(),
        limits: settings.limits,
    };
    let outcomes = write_samples(&plan, &output, options, settings, stop)?;
    let classes = if config.is_none() && plan.sources.has_only_unnamed_masks() {
        trim_unnamed_classes(&outcomes)
    } else {
        plan.classes.clone()
    };
    let report = Report::new(settings, plan, &classes, outcomes);
    finish_output(&report, &classes, output, settings)?;
    Ok(report)
}

/// Checks that the input folders exist and reads the labeling configuration, if there is one.
fn check_inputs(settings: &PreprocessSettings) -> Result<Option<LabelConfig>> {
    let mut problems = Problems::new();
    check_folder_exists(&settings.annotations, "annotations", "--annotations", &mut problems);
    check_folder_exists(&settings.images, "images", "--images", &mut problems);
    let mut config = None;
    if let Some(path) = &settings.label_config {
        config = problems.record_err(read_label_config(path));
    }
    problems.into_result()?;
    Ok(config)
}

/// Writes image and mask of all items on all cores. The outcomes are in the order of the items.
fn write_samples(
    plan: &Plan,
    output: &OutputFolder,
    options: RasterizeOptions<'_>,
    settings: &PreprocessSettings,
    stop: &StopSignal,
) -> Result<Vec<ImageOutcome>> {
    let progress = Mutex::new(Progress::new("masks", plan.items.len()));
    let outcomes = plan
        .items
        .par_iter()
        .map(|item| {
            if stop.is_requested() {
                return Err(Error::input(format!(
                    "asked to stop: {} is not complete and is marked so; run again",
                    settings.output.display()
                )));
            }
            let outcome = item.write_sample(&plan.images, output, options, settings.skip_empty)?;
            progress.lock().unwrap_or_else(PoisonError::into_inner).advance(1, || None);
            Ok(outcome)
        })
        .collect();
    progress.lock().unwrap_or_else(PoisonError::into_inner).finish();
    outcomes
}

/// Writes the files that describe the channels, the report last, and removes the marks only if the
/// result is what the settings ask for.
fn finish_output(
    report: &Report,
    classes: &Classes,
    output: OutputFolder,
    settings: &PreprocessSettings,
) -> Result<()> {
    write_label_map(classes, &output)?;
    if let Some(contact_sheet) = draw_annotation_sheet(report, classes, &output)? {
        files::write_atomically(&output.contact_sheet_path(), &encode_png(&contact_sheet))?;
    }
    let report_path = output.report_path();
    files::write_atomically(&report_path, &report.to_json()?)?;
    check_report(report, &report_path, settings.strict)?;
    output.finish()?;
    for warning in report.warnings() {
        print_stderr(format_args!("warning: {warning}"));
    }
    if report.has_faults() {
        print_stderr(format_args!("warning: {}", report.fault_summary(&report_path)));
    }
    Ok(())
}

/// Writes names and colors of the classes as the model folder has them.
fn write_label_map(classes: &Classes, output: &OutputFolder) -> Result<()> {
    let mut colors = Vec::new();
    for id in 0..=u8::MAX {
        colors.push(classes.color(id));
    }
    let labels = Labels { names: classes.names(), colors: Some(&colors) };
    let json =
        serde_json::to_vec_pretty(&labels).map_err(|cause| Error::internal(cause.to_string()))?;
    files::write_atomically(&output.root().join(LABEL_MAP_CHANNEL).join(LABELS_FILE), &json)
}

/// Fails if no sample was written, except where other instances have all images, and with `strict`
/// if an entry was skipped that a user should repair.
fn check_report(report: &Report, report_path: &Path, strict: bool) -> Result<()> {
    if report.image_count() == 0 && !report.is_on_other_instances() {
        return Err(Error::input(format!(
            "no image could be used: {}",
            report.fault_summary(report_path)
        )));
    }
    if strict && report.has_faults() {
        return Err(Error::input(format!("--strict, and {}", report.fault_summary(report_path))));
    }
    Ok(())
}
