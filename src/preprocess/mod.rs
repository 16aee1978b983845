//! Conversion of annotations to channels: images and masks for training, validation and tests.
//!
//! Annotations are read twice: first their references and positions for all tasks, which take
//! little memory, and then, image by image on all cores, their regions. So the memory does not grow
//! with the regions.
//!
//! | step | files |
//! |---|---|
//! | read the references and positions of annotations | `sources/`, `reference/` |
//! | list the images | `file_index/` |
//! | number the classes | `label_classes.rs`, `classes.rs`, `label_list.rs` |
//! | find each annotation's image | `grouping.rs`, `near_names.rs` |
//! | choose among several annotations of an image | `select/` |
//! | join what a COCO file lists twice | `repeated_listings.rs` |
//! | record what was not chosen | `superseded.rs` |
//! | name the samples and assign them to channels | `plan.rs`, which calls the steps above |
//! | clear and mark the output folder | `output.rs` |
//! | draw masks and write samples | `annotated_image.rs`, `orientation.rs`, `rasterize.rs`, `painting.rs`, `mask_file/`, `mask_union.rs` |
//! | write the report and a contact sheet | `report.rs`, `totals.rs`, `region_warnings.rs`, `mask_warnings.rs`, `class_counts.rs`, `contact_sheet.rs` |

mod annotated_image;
mod class_counts;
pub mod classes;
mod contact_sheet;
mod file_index;
mod grouping;
mod label_classes;
mod label_list;
mod mask_file;
mod mask_union;
mod mask_warnings;
mod near_names;
mod orientation;
mod output;
mod painting;
mod plan;
mod rasterize;
mod reference;
mod region_warnings;
mod repeated_listings;
mod report;
mod select;
pub mod sources;
mod superseded;
mod totals;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use self::annotated_image::ImageOutcome;
use self::classes::Classes;
use self::contact_sheet::draw_annotation_sheet;
use self::file_index::check_folder_exists;
use self::label_classes::{read_label_config, trim_unnamed_classes};
pub use self::orientation::AnnotatedAs;
use self::output::{LABEL_MAP_CHANNEL, LABELS_FILE, OutputFolder, OutputOptions};
use self::plan::{Plan, plan_samples};
use self::rasterize::RasterizeOptions;
pub use self::reference::{FileReference, PathReading};
pub use self::report::Report;
pub use self::select::AnnotationPolicy;
pub use self::sources::AnnotationFormat;
use crate::annotations::label_config::LabelConfig;
use crate::annotations::shapes::FillRule;
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
    /// Picture that annotators of masks and COCO saw of an image with an EXIF orientation; `None`
    /// takes the upright one and warns where that is a guess.
    pub annotated_as: Option<AnnotatedAs>,
    /// Leaves out images whose mask is all background.
    pub skip_empty: bool,
    /// Labels whose regions become 255. Each value may name several, separated by commas.
    pub ignore: Vec<String>,
    /// Labels that are painted over all others, the topmost first. Each value may name several,
    /// separated by commas.
    pub priority: Vec<String>,
    /// Makes a skipped entry with a fault an error.
    pub strict: bool,
    /// Copies images even where a hard link is possible.
    pub copy: bool,
    /// Limits on the pixels of images and masks.
    pub limits: DecodeLimits,
    /// Rule that fills Label Studio's polygons; COCO has a rule of its own.
    pub polygon_rule: FillRule,
    /// Name of this instance if the job has several.
    pub host: Option<String>,
}

impl PreprocessSettings {
    /// Returns the files that flags name, which are no annotations wherever they lie.
    fn named_files(&self) -> Vec<&Path> {
        self.label_config.iter().map(PathBuf::as_path).collect()
    }
}

/// Writes the channels and returns the report.
///
/// # Errors
/// Folders that cannot be used, a labeling configuration that cannot be read, annotations of
/// several formats, equal names of several images, no usable image; with `strict` any skipped entry
/// with a fault. `stop` is an error too. After an error the output is marked as unfinished, unless
/// nothing was written yet.
pub fn write_channels(settings: &PreprocessSettings, stop: &StopSignal) -> Result<Report> {
    let config = check_inputs(settings)?;
    let plan = plan_samples(settings, config.as_ref(), stop)?;
    let output = OutputFolder::create(&OutputOptions {
        root: &settings.output,
        inputs: [&settings.annotations, &settings.images],
        has_test_images: settings.split.test_percent > 0.0,
        copy: settings.copy,
        host: settings.host.as_deref(),
    })?;
    let options = RasterizeOptions {
        classes: &plan.classes,
        has_fixed_classes: config.is_some() || !plan.sources.has_only_unnamed_masks(),
        annotated_as: settings.annotated_as,
        limits: settings.limits,
        polygon_rule: settings.polygon_rule,
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

/// Fails if no sample was written, except where other instances have all images; if the masks are
/// probably not meant as they were read; and with `strict` if an entry was skipped that a user
/// should repair.
fn check_report(report: &Report, report_path: &Path, strict: bool) -> Result<()> {
    if report.image_count() == 0 && !report.is_on_other_instances() {
        return Err(Error::input(format!(
            "no image could be used: {}",
            report.fault_summary(report_path)
        )));
    }
    if let Some(problem) = report.unusable_problem() {
        let mut problems = Problems::new();
        problems.push(problem);
        if report.has_faults() {
            problems.push(report.fault_summary(report_path));
        }
        return problems.into_result();
    }
    if strict && report.has_faults() {
        return Err(Error::input(format!("--strict, and {}", report.fault_summary(report_path))));
    }
    Ok(())
}
