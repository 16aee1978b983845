//! Checks of jobs: paths in the container, names that stand twice, spot instances, and
//! the arguments and hyperparameters of this project's image and of Amazon's built-in algorithm.

use std::collections::BTreeMap;

use serde_json::Value;

use super::images::find_job_image;
use super::{ArgumentsCheck, StepWithValues};
use crate::pipeline::definition::StepKind;
use crate::pipeline::expression::Expression;
use crate::pipeline::findings::{Findings, Place};
use crate::sagemaker::hyperparameter_spec::DefaultValue;
use crate::train::Hyperparameters;
use crate::train::hyperparameters::HYPERPARAMETER_SPECS;

/// Text in place of an argument that only a run knows.
pub const UNKNOWN_ARGUMENT: &str = "(a value of the run)";

/// Folder of the container below which processing jobs have their inputs and outputs.
const PROCESSING_FOLDER: &str = "/opt/ml/processing/";

/// Program that an image runs, as far as its name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    /// This project's.
    Maskmaker,
    /// Amazon's built-in algorithm `semantic-segmentation`.
    BuiltIn,
}

/// Returns the program of a step's job; nothing for images of other names.
pub(super) fn find_program(step: &StepWithValues<'_>) -> Option<Program> {
    let repository = find_job_image(step)?.repository;
    let name = repository.rsplit('/').next().unwrap_or(repository);
    if name == "semantic-segmentation" {
        Some(Program::BuiltIn)
    } else if name.contains("maskmaker") {
        Some(Program::Maskmaker)
    } else {
        None
    }
}

/// Checks the job of a step.
pub(super) fn check_job(
    step: &StepWithValues<'_>,
    check_arguments: ArgumentsCheck<'_>,
    findings: &mut Findings,
) {
    match step.kind {
        StepKind::Processing => {
            check_alternatives(
                step,
                &["ProcessingInputs"],
                &["S3Input", "DatasetDefinition"],
                findings,
            );
            let outputs = ["ProcessingOutputConfig", "Outputs"];
            check_alternatives(step, &outputs, &["S3Output", "FeatureStoreOutput"], findings);
            check_folders(step, findings);
            check_names(step, &["ProcessingInputs"], "InputName", findings);
            check_names(step, &["ProcessingOutputConfig", "Outputs"], "OutputName", findings);
            check_command(step, check_arguments, findings);
        }
        StepKind::Training => {
            check_training_members(step, findings);
            check_names(step, &["InputDataConfig"], "ChannelName", findings);
            check_spot(step, findings);
            if !step.is_tuned() {
                check_hyperparameters(step, findings);
            }
        }
        _ => {}
    }
}

/// Checks that each entry of a list has one of the keys by which it names its data. The shapes of the
/// service require none of them, its jobs do.
fn check_alternatives(
    step: &StepWithValues<'_>,
    path: &[&str],
    keys: &[&str],
    findings: &mut Findings,
) {
    for (index, entry) in step.list(path).iter().enumerate() {
        if entry.is_object() && keys.iter().all(|key| entry.get(key).is_none()) {
            let place = step.place(&format!("{}[{index}]", path.join(".")));
            findings.error(place, format!("says no place of its data; give {}", keys.join(" or ")));
        }
    }
}

/// Checks what a training job on instances needs. The shapes of the service do not require it, as
/// other kinds of jobs do without.
fn check_training_members(step: &StepWithValues<'_>, findings: &mut Findings) {
    let has = |path: &[&str]| step.argument(path).is_some();
    let algorithm = "AlgorithmSpecification";
    if !has(&[algorithm, "TrainingImage"]) && !has(&[algorithm, "AlgorithmName"]) {
        findings.error(
            step.place(&format!("{algorithm}.TrainingImage")),
            "is missing; give the image's URI",
        );
    }
    let has_instances = has(&["ResourceConfig", "InstanceType"])
        || has(&["ResourceConfig", "InstanceGroups"])
        || (step.is_tuned() && has(&["HyperParameterTuningResourceConfig"]));
    if !has_instances {
        findings.error(
            step.place("ResourceConfig.InstanceType"),
            "is missing; give a type such as ml.g5.xlarge",
        );
    }
    for (index, channel) in step.list(&["InputDataConfig"]).iter().enumerate() {
        let Some(source) = channel.get("DataSource").filter(|source| source.is_object()) else {
            continue;
        };
        // An expression stands for all of it.
        if Expression::read(source).is_none()
            && source.get("S3DataSource").is_none()
            && source.get("FileSystemDataSource").is_none()
        {
            findings.error(
                step.place(&format!("InputDataConfig[{index}].DataSource")),
                "says no place of its data; give S3DataSource or FileSystemDataSource",
            );
        }
    }
}

/// Checks the folders of the container from which and to which a processing job's data go.
fn check_folders(step: &StepWithValues<'_>, findings: &mut Findings) {
    for (path, inner) in [
        (&["ProcessingInputs"][..], "S3Input"),
        (&["ProcessingOutputConfig", "Outputs"], "S3Output"),
    ] {
        let mut folders: Vec<&str> = Vec::new();
        for (index, entry) in step.list(path).iter().enumerate() {
            let folder = entry.get(inner).and_then(|s3| s3.get("LocalPath"));
            let Some(folder) = folder.and_then(Value::as_str) else { continue };
            let place = step.place(&format!("{}[{index}].{inner}.LocalPath", path.join(".")));
            if !folder.starts_with(PROCESSING_FOLDER) {
                findings.error(
                    place,
                    format!("is {folder:?}; allowed: a folder below {PROCESSING_FOLDER}"),
                );
            } else if folders.contains(&folder) {
                findings.error(
                    place,
                    format!("is {folder:?}, as of another entry; give each a folder of its own"),
                );
            }
            folders.push(folder);
        }
    }
}

/// Finds names that stand twice in a list.
fn check_names(step: &StepWithValues<'_>, path: &[&str], key: &str, findings: &mut Findings) {
    let mut names: Vec<&str> = Vec::new();
    for (index, entry) in step.list(path).iter().enumerate() {
        let Some(name) = entry.get(key).and_then(Value::as_str) else { continue };
        if names.contains(&name) {
            let place = step.place(&format!("{}[{index}].{key}", path.join(".")));
            findings.error(place, format!("is {name:?}, as of another entry; names are unique"));
        }
        names.push(name);
    }
}

/// Checks what the container of a processing job is called with.
fn check_command(
    step: &StepWithValues<'_>,
    check_arguments: ArgumentsCheck<'_>,
    findings: &mut Findings,
) {
    if find_program(step) != Some(Program::Maskmaker) {
        return;
    }
    if step.argument(&["AppSpecification", "ContainerEntrypoint"]).is_some() {
        findings.warning(
            step.place("AppSpecification.ContainerEntrypoint"),
            "takes the place of the image's program; give its subcommand and flags in \
             ContainerArguments alone",
        );
        return;
    }
    let field = "AppSpecification.ContainerArguments";
    let mut arguments = Vec::new();
    for argument in step.list(&["AppSpecification", "ContainerArguments"]) {
        arguments.push(argument.as_str().unwrap_or(UNKNOWN_ARGUMENT).to_owned());
    }
    if arguments.is_empty() {
        findings.error(
            step.place(field),
            "is missing; give the subcommand and its flags, such as [\"preprocess\"]",
        );
        return;
    }
    if let Err(problem) = check_arguments(&arguments) {
        findings.error(step.place(field), problem);
    }
    let count = ["ProcessingResources", "ClusterConfig", "InstanceCount"];
    let instances = step.argument(&count).and_then(Value::as_u64).unwrap_or(1);
    if arguments[0] == "evaluate" && instances > 1 {
        findings.error(
            step.place(&count.join(".")),
            format!("is {instances}; evaluate scores a test set as a whole, on one instance"),
        );
    }
}

/// Checks that spot instances and the time to wait for them go together.
fn check_spot(step: &StepWithValues<'_>, findings: &mut Findings) {
    let spot = step.argument(&["EnableManagedSpotTraining"]).and_then(Value::as_bool);
    let wait = step.argument(&["StoppingCondition", "MaxWaitTimeInSeconds"]);
    let runtime = step.argument(&["StoppingCondition", "MaxRuntimeInSeconds"]);
    let place = step.place("StoppingCondition.MaxWaitTimeInSeconds");
    match (spot, wait) {
        (Some(true), None) => findings.error(
            place,
            "is missing; spot instances need it, and it is at least MaxRuntimeInSeconds",
        ),
        (Some(false), Some(_)) => findings.error(
            place,
            "is given without spot instances, which the service refuses; remove it, or set \
             EnableManagedSpotTraining to true",
        ),
        (None, Some(_)) if step.argument(&["EnableManagedSpotTraining"]).is_none() => findings
            .error(
                place,
                "is given without EnableManagedSpotTraining, which the service refuses; remove it, \
                 or add \"EnableManagedSpotTraining\": true",
            ),
        (_, Some(wait)) => {
            let (wait, runtime) = (wait.as_i64(), runtime.and_then(Value::as_i64));
            if let (Some(wait), Some(runtime)) = (wait, runtime)
                && wait < runtime
            {
                findings.error(
                    place,
                    format!("is {wait}; allowed: MaxRuntimeInSeconds, {runtime}, or more"),
                );
            }
        }
        _ => {}
    }
    let has_checkpoints = step.argument(&["CheckpointConfig"]).is_some();
    if step.kind == StepKind::Tuning {
        if has_checkpoints {
            findings.warning(
                step.place("CheckpointConfig"),
                "is one place for all training jobs of the search; no public source says that the \
                 service keeps their checkpoints apart, and a job that finds those of another one is \
                 refused by train; leave it out",
            );
        }
        return;
    }
    if spot == Some(true) && !has_checkpoints {
        findings.warning(
            step.place("CheckpointConfig"),
            "is missing, so a job on spot instances begins anew after each interruption; give \
             {\"S3Uri\": ...}",
        );
    }
}

/// Checks the hyperparameters of a training job.
fn check_hyperparameters(step: &StepWithValues<'_>, findings: &mut Findings) {
    let key = "HyperParameters";
    let Some(values) = read_hyperparameters(step, key, findings) else { return };
    for problem in Hyperparameters::find_problems(&values) {
        findings.error(step.place(key), problem);
    }
}

/// Reads the hyperparameters that a training job is given under a key, as the program would see them: a
/// value that only a run knows is one that is allowed, and the number of classes is at least two where
/// the job counts it. Returns nothing for other programs, or if only a run knows which there are.
pub(super) fn read_hyperparameters(
    step: &StepWithValues<'_>,
    key: &str,
    findings: &mut Findings,
) -> Option<BTreeMap<String, String>> {
    let program = find_program(step)?;
    // One expression in place of all of them, or of all channels, says nothing of what is in it.
    let is_unknown =
        |key: &str| step.argument(&[key]).is_some_and(|v| Expression::read(v).is_some());
    if is_unknown(key) || is_unknown("InputDataConfig") {
        return None;
    }
    let mut values = BTreeMap::new();
    if let Some(given) = step.argument(&[key]).and_then(Value::as_object) {
        for (name, value) in given {
            // Values that are no texts are told with the request; of one that only a run knows the
            // name can be checked.
            let text = value.as_str().or_else(|| find_allowed_value(name));
            values.extend(text.map(|text| (name.clone(), text.to_owned())));
        }
    }
    match program {
        Program::Maskmaker => {
            let has_labels = step
                .list(&["InputDataConfig"])
                .iter()
                .any(|channel| channel["ChannelName"] == "label_map");
            if has_labels {
                // The job counts the classes of labels.json, two at least.
                values.entry("num_classes".to_owned()).or_insert_with(|| "2".to_owned());
            }
        }
        Program::BuiltIn => {
            check_built_in(&values, &step.place(key), findings);
            values.entry("num_classes".to_owned()).or_insert_with(|| "2".to_owned());
        }
    }
    Some(values)
}

/// Returns a value that a hyperparameter may have. Of an unknown name it does not matter.
fn find_allowed_value(name: &str) -> Option<&'static str> {
    let Some(spec) = HYPERPARAMETER_SPECS.iter().find(|spec| spec.name == name) else {
        return Some("");
    };
    match spec.default {
        DefaultValue::Value(text) => Some(text),
        DefaultValue::RequiredWithout(_) => Some("2"),
        DefaultValue::None => None,
    }
}

/// Checks what Amazon's algorithm needs, and what only this project's program has.
fn check_built_in(values: &BTreeMap<String, String>, place: &Place, findings: &mut Findings) {
    for name in ["num_classes", "num_training_samples"] {
        if !values.contains_key(name) {
            findings.error(
                place.key(name),
                "is missing; Amazon's semantic-segmentation needs it, this project's image counts by \
                 itself",
            );
        }
    }
    for spec in HYPERPARAMETER_SPECS {
        if spec.is_extension && values.contains_key(spec.name) {
            findings.error(
                place.key(spec.name),
                "is no hyperparameter of Amazon's semantic-segmentation; remove it, or take this \
                 project's image",
            );
        }
    }
}
