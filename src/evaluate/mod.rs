//! Evaluation of a model on a test set: scores with their uncertainty, a comparison with another
//! model, and a decision.
//!
//! | step | files |
//! |---|---|
//! | find the test images and their masks | `test_set.rs` |
//! | compute and compare masks, image by image | `scoring.rs` |
//! | estimate scores of the whole set | `estimates.rs`, `reliability.rs` |
//! | score parts of the set by an attribute | `groups.rs` |
//! | show where the model looks | `explain/` |
//! | score disturbed images | `robustness/` |
//! | find test images that the model has seen | `leaks.rs` |
//! | compare with another model | `comparison.rs` |
//! | decide if the model may go live | `gate.rs` |
//! | write `evaluation.json` and the files beside it | `document.rs`, `monitor.rs`, `image_lines.rs` |
//! | draw the report for people | `examples.rs`, `report/` |

mod comparison;
mod document;
mod estimates;
mod examples;
mod explain;
mod gate;
mod groups;
mod image_lines;
mod leaks;
mod monitor;
mod reliability;
mod report;
mod robustness;
mod scoring;
mod test_set;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use self::document::Evaluation;
use self::document::{DataSection, ModelSection, SegmentationMetrics};
use self::estimates::estimate_scores;
use self::examples::draw_examples;
use self::explain::{ExplainOptions, Explained, explain_model};
pub use self::gate::{Gate, GateRules};
use self::groups::score_groups;
use self::leaks::Leaks;
use self::report::{ReportContent, write_report};
use self::robustness::{RobustnessOptions, measure_robustness};
use self::scoring::{ScoringOptions, score_samples};
use self::test_set::{TestSet, TestSetRequest};
use crate::data::image_hashes::SeenImages;
use crate::data::objects::ConnectStore;
use crate::error::{Error, Problems, Result};
use crate::files::{self, remove_file_if_exists, write_json};
use crate::inference::Segment;
use crate::metrics::Bootstrap;
use crate::model::{ModelConfig, Network};
use crate::sagemaker::StopSignal;

/// File with the scores and the decision.
pub const EVALUATION_FILE: &str = "evaluation.json";
/// File with a line about each image.
pub const IMAGES_FILE: &str = "images.jsonl";
/// Files that the model registry takes as a model's quality.
pub const STATISTICS_FILE: &str = "statistics.json";
pub const CONSTRAINTS_FILE: &str = "constraints.json";

/// File with the explanations, which the model registry takes too.
pub const EXPLAINABILITY_FILE: &str = "explainability.json";
/// The report for people, and the folder with its pictures.
pub const REPORT_FILE: &str = "report.html";
pub const PICTURES_FOLDER: &str = "pictures";

/// Folder with the model's masks, if they are wanted.
pub const MASKS_FOLDER: &str = "masks";

/// Settings of an evaluation.
#[derive(Debug, Clone)]
pub struct EvaluateSettings {
    /// Folder with `test` and `test_annotation`, or with a manifest, or a manifest.
    pub data: PathBuf,
    /// Folder of the files that are written.
    pub output: PathBuf,
    pub gate: GateRules,
    /// Tolerance of borders, relative to the image's diagonal.
    pub boundary_tolerance: f64,
    pub bootstrap: Bootstrap,
    /// Largest number of images that are disturbed to measure robustness; none if it is not measured.
    pub robustness_images: Option<usize>,
    /// Explanations; none if they are not wanted.
    pub explain: Option<ExplainSettings>,
    /// Attribute of the manifest by whose values the images are grouped.
    pub group: Option<String>,
    /// Writes the model's masks into the folder `masks`.
    pub save_masks: bool,
    /// Fails if a sample cannot be read, instead of leaving it out.
    pub strict: bool,
}

/// Settings of explanations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExplainSettings {
    /// Number of the worst, of typical and of the best images.
    pub images: usize,
    /// Number of patches along each side of an image.
    pub grid: u32,
}

/// A model that is evaluated.
pub struct Candidate<'a> {
    pub engine: &'a mut dyn Segment,
    /// The same model with its layers, in 32 bits and without gradients of its weights, if it is to
    /// be explained and its layers are known.
    pub network: Option<&'a Network>,
    /// Path of the folder or archive, as the user gave it.
    pub path: &'a Path,
    /// Images that the model was trained and validated on, if that is known.
    pub seen_images: Option<SeenImages>,
}

/// Evaluates a model, beside `other` if there is one, and writes the results. Returns them.
///
/// # Errors
///
/// The test set does not fit the model or the models do not fit each other, no sample can be used,
/// the output cannot be written, or `stop` was requested. Then no result is left but masks that were
/// wanted. The caller calls [`prepare_output`] before it reads the models.
pub fn evaluate<'a>(
    settings: &EvaluateSettings,
    model: Candidate<'a>,
    other: Option<Candidate<'a>>,
    connect: ConnectStore,
    stop: &StopSignal,
) -> Result<Evaluation> {
    let mut problems = Problems::new();
    if let Some(other) = &other {
        comparison::check_same_classes(&model, other, &mut problems);
    }
    let class_names = model.engine.info().class_names.clone();
    let colors = model.engine.info().colors.clone();
    let num_classes = class_names.len();
    let are_names_made_up = class_names == ModelConfig::default_class_names(num_classes);
    let request = TestSetRequest {
        data: &settings.data,
        class_names: &class_names,
        are_names_made_up,
        group: settings.group.as_deref(),
        connect,
    };
    let test_set = TestSet::find(&request, &mut problems);
    let test_set = problems.finish_with(test_set)?;

    let model_section = ModelSection::new(&model);
    let (network, seen_images) = (model.network, model.seen_images);
    let mut engines = vec![model.engine];
    let mut other_model = None;
    if let Some(Candidate { engine, path, seen_images, .. }) = other {
        engines.push(engine);
        other_model = Some((path.display().to_string(), seen_images));
    }
    let masks = settings.output.join(MASKS_FOLDER);
    let options = ScoringOptions {
        num_classes,
        boundary_tolerance: settings.boundary_tolerance,
        strict: settings.strict,
        masks: settings.save_masks.then_some(&masks),
        stop,
    };
    let scored = score_samples(&mut engines, &test_set, &options)?;
    let scores = &scored.models[0];
    let estimates = estimate_scores(&settings.bootstrap, &scores.images, num_classes);
    let comparison = match (&other_model, scored.models.get(1)) {
        (Some((path, seen_images)), Some(other)) => Some(comparison::compare_models(
            &settings.bootstrap,
            path,
            Leaks::find(&scored.images, seen_images.as_ref()),
            [other, scores].map(|model| &model.images[..]),
            &class_names,
        )),
        _ => None,
    };
    let robustness = match settings.robustness_images {
        Some(images) => {
            let seed = settings.bootstrap.seed;
            let options = RobustnessOptions { images, seed, num_classes, stop };
            Some(measure_robustness(&mut *engines[0], &test_set, &scored, &options)?)
        }
        None => None,
    };
    let mut explainability = None;
    if let Some(ExplainSettings { images, grid }) = settings.explain {
        let seed = settings.bootstrap.seed;
        let model = Explained { engine: &mut *engines[0], network, stop };
        let options = ExplainOptions { images, grid, seed };
        explainability = Some(explain_model(model, &test_set, &scored, options)?);
    }
    let groups = score_groups(settings, &test_set, &scored, num_classes);
    let leaks = Leaks::find(&scored.images, seen_images.as_ref());
    let gate = Gate::decide(&settings.gate, estimates.miou.value, comparison.as_ref());
    let evaluation = Evaluation {
        format_version: document::FORMAT_VERSION,
        maskmaker_version: env!("CARGO_PKG_VERSION"),
        multiclass_classification_metrics: monitor::metrics_section(&scores.matrix, &estimates),
        segmentation_metrics: SegmentationMetrics::new(&scored, &estimates, &class_names),
        robustness,
        groups,
        comparison,
        gate,
        model: model_section,
        data: DataSection::new(&settings.data, &scored, seen_images.as_ref(), leaks),
        settings: document::SettingsSection::new(settings),
    };
    if stop.is_requested() {
        return Err(stopped_error());
    }
    let examples = draw_examples(&mut *engines[0], &test_set, &scored)?;
    let report = ReportContent {
        evaluation: &evaluation,
        estimates: &estimates,
        matrix: &scores.matrix,
        class_names: &class_names,
        colors: &colors,
        examples: &examples,
        explainability: explainability.as_ref(),
    };
    if let Err(error) = write_results(&settings.output, &report, &scored) {
        let _ = remove_results(&settings.output);
        return Err(error);
    }
    Ok(evaluation)
}

/// Makes the folder of the output, and removes the results of an earlier evaluation, which a failure
/// of this one would leave there.
///
/// # Errors
///
/// The folder cannot be written; the data lie right in it, of which a file could be taken for a
/// result; or masks are wanted and there are some already.
pub fn prepare_output(settings: &EvaluateSettings) -> Result<()> {
    let EvaluateSettings { output, data, save_masks, .. } = settings;
    let save_masks = *save_masks;
    files::create_folder(output)?;
    let data_folder = if data.is_file() { data.parent().unwrap_or(data) } else { data };
    let canonical = [output, data_folder].map(std::fs::canonicalize);
    if let [Ok(output_folder), Ok(data_folder)] = canonical
        && output_folder == data_folder
    {
        return Err(Error::input(format!(
            "--output {} is the folder of the data: write the results to another folder",
            output.display()
        )));
    }
    files::check_writable(output)?;
    remove_results(output)?;
    let masks = output.join(MASKS_FOLDER);
    if save_masks && masks.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Error::input(format!(
            "{} holds masks already, maybe of another model: remove them, or write the results to another \
             folder",
            masks.display()
        )));
    }
    Ok(())
}

/// Removes the results of an evaluation but the masks.
fn remove_results(output: &Path) -> Result<()> {
    for name in [
        EVALUATION_FILE,
        IMAGES_FILE,
        STATISTICS_FILE,
        CONSTRAINTS_FILE,
        EXPLAINABILITY_FILE,
        REPORT_FILE,
    ] {
        remove_file_if_exists(&output.join(name))?;
    }
    for name in report::list_pictures() {
        remove_file_if_exists(&output.join(PICTURES_FOLDER).join(name))?;
    }
    // Files of others may lie there, too.
    let _ = std::fs::remove_dir(output.join(PICTURES_FOLDER));
    Ok(())
}

/// Writes all files, `evaluation.json` last: where it lies, the others are whole.
fn write_results(
    output: &Path,
    report: &ReportContent<'_>,
    scored: &scoring::Scored,
) -> Result<()> {
    let evaluation = report.evaluation;
    image_lines::write_image_lines(&output.join(IMAGES_FILE), scored, report.class_names)?;
    write_report(&output.join(REPORT_FILE), &output.join(PICTURES_FOLDER), report)?;
    let statistics = monitor::statistics(evaluation);
    write_json(&output.join(STATISTICS_FILE), &statistics)?;
    write_json(&output.join(CONSTRAINTS_FILE), &monitor::constraints(evaluation))?;
    if let Some(explainability) = report.explainability {
        write_json(&output.join(EXPLAINABILITY_FILE), explainability)?;
    }
    write_json(&output.join(EVALUATION_FILE), evaluation)
}

/// Returns the error of an evaluation that was asked to stop.
fn stopped_error() -> Error {
    Error::input("asked to stop before the end: no scores were written; run again")
}
