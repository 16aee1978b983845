//! Tuning steps: ranges of hyperparameters, and objectives that the training jobs must print.

use serde_json::Value;

use super::StepWithValues;
use super::jobs::{Program, find_program, read_hyperparameters};
use crate::error::did_you_mean;
use crate::pipeline::definition::StepKind;
use crate::pipeline::expression::visit_expressions;
use crate::pipeline::findings::{Findings, Place};
use crate::search::{Domain, ProgramRules, find_value_problems, read_parameter_ranges};
use crate::train::Hyperparameters;

/// Key of the settings of the search.
const CONFIG: &str = "HyperParameterTuningJobConfig";

/// Key of the hyperparameters that all training jobs share.
const SHARED: &str = "StaticHyperParameters";

/// Checks a tuning step beyond the shapes of its request. `jobs` are its training jobs.
pub(super) fn check_tuning(
    step: &StepWithValues<'_>,
    jobs: &[StepWithValues<'_>],
    findings: &mut Findings,
) {
    if step.kind != StepKind::Tuning {
        return;
    }
    let has = |key: &str| step.argument(&[key]).is_some();
    match (has("TrainingJobDefinition"), has("TrainingJobDefinitions")) {
        (false, false) => findings.error(
            step.place("TrainingJobDefinition"),
            "is missing; give the training job whose hyperparameters are searched",
        ),
        (true, true) => findings.error(
            step.place("TrainingJobDefinitions"),
            "is given beside TrainingJobDefinition; the service takes one of them",
        ),
        _ => {}
    }
    check_early_stopping(step, findings);
    check_end(step, findings);
    let autotunes = step.text(&["Autotune", "Mode"]) == Some("Enabled");
    for job in jobs {
        let is_one_of_several = job.field.starts_with("TrainingJobDefinitions");
        let (objective, ranges) = if is_one_of_several {
            // The objective and the ranges of several jobs stand with each of them.
            let own = |key: &'static str| job.argument(&[key]).map(|value| (job.place(key), value));
            (own("TuningObjective"), own("HyperParameterRanges"))
        } else {
            let shared = |key: &'static str| {
                let value = step.argument(&[CONFIG, key]);
                value.map(|value| (step.place(&format!("{CONFIG}.{key}")), value))
            };
            (shared("HyperParameterTuningJobObjective"), shared("ParameterRanges"))
        };
        match objective {
            Some((place, objective)) => check_objective(job, &place, objective, findings),
            None if is_one_of_several => findings.error(
                job.place("TuningObjective"),
                "is missing; give {\"Type\": ..., \"MetricName\": ...}",
            ),
            None => findings.error(
                step.place(&format!("{CONFIG}.HyperParameterTuningJobObjective")),
                "is missing; give {\"Type\": ..., \"MetricName\": ...}",
            ),
        }
        if !autotunes || ranges.is_some() {
            check_ranges(step, job, ranges, findings);
        }
    }
}

/// Checks that Hyperband, which stops poor jobs itself, is not given another way of doing so, and that its
/// limits are in order.
fn check_early_stopping(step: &StepWithValues<'_>, findings: &mut Findings) {
    let limits = ["StrategyConfig", "HyperbandStrategyConfig"];
    let limit = |name| {
        let value = step.argument(&[CONFIG, limits[0], limits[1], name]);
        value.and_then(Value::as_i64)
    };
    if let (Some(min), Some(max)) = (limit("MinResource"), limit("MaxResource"))
        && min > max
    {
        findings.error(
            step.place(&format!("{CONFIG}.{}.MinResource", limits.join("."))),
            format!("is {min}; allowed: MaxResource, {max}, or less"),
        );
    }
    let stopping = "TrainingJobEarlyStoppingType";
    if step.text(&[CONFIG, "Strategy"]) == Some("Hyperband")
        && step.text(&[CONFIG, stopping]) == Some("Auto")
    {
        findings.error(
            step.place(&format!("{CONFIG}.{stopping}")),
            "is Auto, and the strategy is Hyperband, which stops poor jobs itself; the service takes \
             it with Off only",
        );
    }
}

/// Checks that something ends the search.
fn check_end(step: &StepWithValues<'_>, findings: &mut Findings) {
    let limit = "MaxNumberOfTrainingJobs";
    let ends = [
        &["ResourceLimits", limit][..],
        &["ResourceLimits", "MaxRuntimeInSeconds"],
        &["TuningJobCompletionCriteria"],
    ];
    let has_end = ends.iter().any(|path| step.argument(&[&[CONFIG], *path].concat()).is_some());
    if !has_end && step.text(&[CONFIG, "Strategy"]) != Some("Grid") {
        findings.warning(
            step.place(&format!("{CONFIG}.ResourceLimits.{limit}")),
            "is missing, and nothing else ends the search; give a number of training jobs",
        );
    }
}

/// Checks that the training jobs print the metric that is the objective. Algorithms of Amazon and of the
/// account have their metrics without a definition of them, so only this program is known to need one.
fn check_objective(
    job: &StepWithValues<'_>,
    place: &Place,
    objective: &Value,
    findings: &mut Findings,
) {
    if find_program(job) != Some(Program::Maskmaker) {
        return;
    }
    let Some(name) = objective.get("MetricName").and_then(Value::as_str) else { return };
    let path = ["AlgorithmSpecification", "MetricDefinitions"];
    if job.argument(&path).is_some_and(|value| !value.is_array()) {
        return;
    }
    let mut known = Vec::new();
    for metric in job.list(&path) {
        // Only a run knows a name that is no text.
        let Some(name) = metric.get("Name").and_then(Value::as_str) else { return };
        known.push(name);
    }
    if known.contains(&name) {
        return;
    }
    let hint = did_you_mean(name, known.iter().copied());
    let allowed = if known.is_empty() {
        format!(
            "add it to {}{}, with the Regex that finds it in the log",
            job.field,
            path.join(".")
        )
    } else {
        format!("allowed: one of MetricDefinitions, {}", known.join(", "))
    };
    findings.error(place.key("MetricName"), format!("is {name:?}{hint}; {allowed}"));
}

/// Checks the ranges, and that the program takes their ends.
fn check_ranges(
    step: &StepWithValues<'_>,
    job: &StepWithValues<'_>,
    ranges: Option<(Place, &Value)>,
    findings: &mut Findings,
) {
    let Some((place, ranges)) = ranges else {
        let place = if job.field.starts_with("TrainingJobDefinitions") {
            job.place("HyperParameterRanges")
        } else {
            step.place(&format!("{CONFIG}.ParameterRanges"))
        };
        findings
            .error(place, "is missing; give the ranges of the hyperparameters that are searched");
        return;
    };
    let mut is_known = true;
    visit_expressions(ranges, &place, &mut |_, _| is_known = false);
    // The check of the request's shapes tells what they do not allow.
    if !is_known || findings.have_errors_below(&place) {
        return;
    }
    let space = match read_parameter_ranges(ranges) {
        Ok(space) => space,
        Err(error) => {
            for problem in error.problems() {
                findings.error(place.clone(), problem.as_str());
            }
            return;
        }
    };
    if step.text(&[CONFIG, "Strategy"]) == Some("Grid") {
        for parameter in space.parameters() {
            if matches!(parameter.domain, Domain::Number(_)) {
                findings.error(
                    place.clone(),
                    format!(
                        "{} is a range of numbers, and the strategy is Grid, which the service takes \
                         with CategoricalParameterRanges only; list the values there",
                        parameter.name
                    ),
                );
            }
        }
    }
    let given = job.argument(&[SHARED]).and_then(Value::as_object);
    for parameter in space.parameters() {
        if given.is_some_and(|given| given.contains_key(&parameter.name)) {
            findings.error(
                job.place(SHARED).key(&parameter.name),
                "is given here and has a range; the service takes one of them",
            );
        }
    }
    let Some(mut shared) = read_hyperparameters(job, SHARED, findings) else { return };
    for parameter in space.parameters() {
        shared.remove(&parameter.name);
    }
    let rules = ProgramRules {
        find_problems: &Hyperparameters::find_problems,
        is_whole_number: &Hyperparameters::is_whole_number,
    };
    let problems = find_value_problems(&space, &shared, rules);
    for problem in problems.of_shared {
        findings.error(job.place(SHARED), problem);
    }
    for problem in problems.of_ranges {
        findings.error(place.clone(), problem);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{check, step};
    use super::*;

    /// Changes the arguments of the tuning step, and checks that a finding begins so.
    #[track_caller]
    fn assert_found(change: impl FnOnce(&mut Value), expected: &str) {
        let mut document: Value =
            serde_json::from_str(include_str!("../../../pipelines/tuning.json")).unwrap();
        change(&mut step(&mut document, "Tune")["Arguments"]);
        let findings = check(&document);
        let expected = format!("error: step Tune, Arguments.{expected}");
        let is_found = findings.iter().any(|finding| finding.starts_with(&expected));
        assert!(is_found, "{expected}: {findings:#?}");
    }

    fn ranges(arguments: &mut Value) -> &mut Value {
        &mut arguments[CONFIG]["ParameterRanges"]
    }

    #[test]
    fn the_training_job_of_a_tuning_step_is_checked_as_that_of_a_training_step() {
        let job = "TrainingJobDefinition";
        assert_found(
            |arguments| {
                arguments[job]["HyperParameterTuningResourceConfig"]["InstanceType"] =
                    json!("ml.m7g.large");
            },
            "TrainingJobDefinition.HyperParameterTuningResourceConfig.InstanceType: is \"ml.m7g.large\", whose processor",
        );
        assert_found(
            |arguments| {
                arguments[job]["AlgorithmSpecification"]["TrainingImage"] = json!("maskmaker:cpu");
            },
            "TrainingJobDefinition.AlgorithmSpecification.TrainingImage: is \"maskmaker:cpu\"",
        );
        assert_found(
            |arguments| {
                let channels = arguments[job]["InputDataConfig"].as_array_mut().unwrap();
                channels.retain(|channel| channel["ChannelName"] != "validation");
            },
            "TrainingJobDefinition.InputDataConfig: has no channel validation; add it",
        );
        assert_found(
            |arguments| arguments[job]["EnableManagedSpotTraining"] = json!(true),
            "TrainingJobDefinition.StoppingCondition.MaxWaitTimeInSeconds: is missing",
        );
        assert_found(
            |arguments| arguments[job]["StaticHyperParameters"]["crop_size"] = json!("9"),
            "TrainingJobDefinition.StaticHyperParameters: crop_size",
        );
    }

    #[test]
    fn ranges_are_what_the_program_takes() {
        assert_found(
            |arguments| {
                ranges(arguments)["CategoricalParameterRanges"][0]["Values"] = json!(["sdg"]);
                ranges(arguments)["CategoricalParameterRanges"][0]["Name"] = json!("optimizer");
            },
            "HyperParameterTuningJobConfig.ParameterRanges: optimizer",
        );
        assert_found(
            |arguments| {
                ranges(arguments)["ContinuousParameterRanges"][0]["MaxValue"] = json!("0.000001");
            },
            "HyperParameterTuningJobConfig.ParameterRanges: ContinuousParameterRanges[0]",
        );
        assert_found(
            |arguments| {
                ranges(arguments)["ContinuousParameterRanges"][0]["Name"] = json!("crop_size");
            },
            "TrainingJobDefinition.StaticHyperParameters.crop_size: is given here and has a range",
        );
        assert_found(
            |arguments| {
                let own = &mut arguments["TrainingJobDefinition"]["StaticHyperParameters"];
                own.as_object_mut().unwrap().remove("epochs");
                ranges(arguments)["ContinuousParameterRanges"][0]["Name"] = json!("epochs");
            },
            "HyperParameterTuningJobConfig.ParameterRanges: epochs is a whole number",
        );
        assert_found(
            |arguments| {
                arguments[CONFIG].as_object_mut().unwrap().remove("ParameterRanges");
            },
            "HyperParameterTuningJobConfig.ParameterRanges: is missing",
        );
    }

    #[test]
    fn the_objective_is_a_metric_that_the_jobs_print() {
        assert_found(
            |arguments| {
                arguments[CONFIG]["HyperParameterTuningJobObjective"]["MetricName"] =
                    json!("validation:mIoU");
            },
            "HyperParameterTuningJobConfig.HyperParameterTuningJobObjective.MetricName: is \
             \"validation:mIoU\" (did you mean \"validation:mIOU\"?)",
        );
        assert_found(
            |arguments| arguments[CONFIG]["Strategy"] = json!("Hyperband"),
            "HyperParameterTuningJobConfig.TrainingJobEarlyStoppingType: is Auto",
        );
        assert_found(
            |arguments| {
                arguments[CONFIG]["StrategyConfig"] =
                    json!({"HyperbandStrategyConfig": {"MinResource": 5, "MaxResource": 4}});
            },
            "HyperParameterTuningJobConfig.StrategyConfig.HyperbandStrategyConfig.MinResource: is 5; \
             allowed: MaxResource, 4, or less",
        );
        assert_found(
            |arguments| arguments[CONFIG]["Strategy"] = json!("Grid"),
            "HyperParameterTuningJobConfig.ParameterRanges: learning_rate is a range of numbers, and the \
             strategy is Grid",
        );
        assert_found(
            |arguments| {
                let job = arguments.as_object_mut().unwrap().remove("TrainingJobDefinition");
                arguments["TrainingJobDefinitions"] = json!([job]);
            },
            "TrainingJobDefinitions[0].TuningObjective: is missing",
        );
        assert_found(
            |arguments| {
                let job = arguments.as_object_mut().unwrap().remove("TrainingJobDefinition");
                arguments["TrainingJobDefinitions"] = json!([job]);
            },
            "TrainingJobDefinitions[0].HyperParameterRanges: is missing",
        );
    }
}
