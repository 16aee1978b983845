//! The search that the request of a tuning step describes.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value, json};

use crate::error::{Error, ErrorContext, Problems, Result};
use crate::pipeline::expression::{Expression, visit_expressions};
use crate::pipeline::findings::Place;
use crate::search::{
    Assignment, HalvingPlan, Objective, ReportLines, SamplerKind, SearchPlan, SearchSpace,
    read_parameter_ranges,
};
use crate::train::{EPOCH_PATTERN, Hyperparameters, METRIC_DEFINITIONS};

/// Share of the trials that go on at each rung of early stopping is one in so many.
const REDUCTION_FACTOR: u64 = 3;

/// Hyperparameter by which the service tells a training job that it is tuned.
const OBJECTIVE_HYPERPARAMETER: &str = "_tuning_objective_metric";

/// Search of a tuning step.
#[derive(Debug)]
pub(in crate::pipeline::local) struct TuningRequest {
    pub objective: Objective,
    /// Name of the metric that is the score.
    pub metric: String,
    /// Training jobs in all.
    pub max_jobs: u64,
    /// Training jobs at one time that the service would run.
    pub max_parallel_jobs: usize,
    /// Lines that tell what a local run does in another way than the service.
    pub notes: Vec<String>,
    sampler: SamplerKind,
    seed: u64,
    ranges: Value,
    early_stopping: Option<HalvingPlan>,
    /// Request of a training job without the hyperparameters that are searched.
    training_job: Value,
}

impl TuningRequest {
    /// Reads the arguments of a tuning step, which the check of the definition found to be right. What
    /// a local run cannot do is an error, all problems at once. Values that only a run knows count as
    /// given.
    pub(in crate::pipeline::local) fn read(arguments: &Value) -> Result<Self> {
        let mut problems = Problems::new();
        for (key, reason) in [
            ("TrainingJobDefinitions", "one TrainingJobDefinition"),
            ("WarmStartConfig", "searches that begin anew"),
        ] {
            if arguments.get(key).is_some() {
                problems.push(format!("{key} is given; a local run has {reason} only"));
            }
        }
        let at = |path: &[&str]| path.iter().try_fold(arguments, |value, key| value.get(key));
        if at(&["Autotune", "Mode"]).and_then(Value::as_str) == Some("Enabled") {
            problems.push(
                "Autotune is Enabled, by which the service chooses ranges; give them in \
                 ParameterRanges for a local run",
            );
        }
        let null = Value::Null;
        let config = at(&["HyperParameterTuningJobConfig"]).unwrap_or(&null);
        let in_config = |path: &[&str]| path.iter().try_fold(config, |value, key| value.get(key));
        let text = |path: &[&str]| in_config(path).and_then(Value::as_str);
        let number = |path: &[&str]| in_config(path).and_then(Value::as_u64);
        let mut notes = Vec::new();
        for key in ["TuningJobCompletionCriteria", "ResourceLimits.MaxRuntimeInSeconds"] {
            let path: Vec<&str> = key.split('.').collect();
            if in_config(&path).is_some() {
                notes.push(format!("{key} is not looked at here"));
            }
        }
        let training_job = make_training_job(arguments);
        let shared = read_texts(training_job.get("HyperParameters"));
        let ranges = in_config(&["ParameterRanges"]).cloned().unwrap_or_default();
        let space = read_known_ranges(&ranges, &mut problems);
        let halving = |space: &SearchSpace, min_epochs| {
            let epochs = Hyperparameters::default_epochs();
            HalvingPlan::for_search(space, &shared, epochs, REDUCTION_FACTOR, min_epochs)
        };
        let mut early_stopping = None;
        let sampler = match text(&["Strategy"]) {
            Some("Grid") => {
                problems
                    .push("Strategy is Grid; a local run has Bayesian, Random and Hyperband only");
                SamplerKind::Random
            }
            Some("Hyperband") => {
                notes.push(
                    "Strategy Hyperband: asynchronous successive halving of random trials here"
                        .to_owned(),
                );
                let limit = ["StrategyConfig", "HyperbandStrategyConfig"];
                let min_epochs = number(&[&limit[..], &["MinResource"]].concat()).unwrap_or(1);
                early_stopping = space.as_ref().map(|space| halving(space, min_epochs.max(1)));
                SamplerKind::Random
            }
            Some("Random") => SamplerKind::Random,
            _ => SamplerKind::Tpe,
        };
        if text(&["TrainingJobEarlyStoppingType"]) == Some("Auto") {
            notes.push(
                "TrainingJobEarlyStoppingType Auto: asynchronous successive halving here"
                    .to_owned(),
            );
            early_stopping = space.as_ref().map(|space| halving(space, 1));
        }
        let (max_jobs, max_parallel_jobs) = read_limits(config, &mut problems);
        if in_config(&["RandomSeed"]).is_none() {
            notes.push(
                "without a RandomSeed the seed is 0 here, so each search draws the same".to_owned(),
            );
        }
        let objective = text(&["HyperParameterTuningJobObjective", "Type"]);
        let metric = text(&["HyperParameterTuningJobObjective", "MetricName"]);
        problems.into_result()?;
        Ok(Self {
            objective: objective.and_then(Objective::from_name).unwrap_or(Objective::Maximize),
            metric: metric.unwrap_or_default().to_owned(),
            max_jobs,
            max_parallel_jobs,
            notes,
            sampler,
            seed: number(&["RandomSeed"]).unwrap_or_default(),
            ranges,
            early_stopping,
            training_job,
        })
    }

    /// Returns the request of a training job without the hyperparameters that are searched.
    pub(in crate::pipeline::local) fn training_job(&self) -> &Value {
        &self.training_job
    }

    /// Returns the plan of the search. `data` is a digest of everything else on which the training jobs
    /// depend.
    pub(super) fn plan(&self, data: String) -> SearchPlan {
        SearchPlan {
            parameter_ranges: self.ranges.clone(),
            sampler: self.sampler,
            seed: self.seed,
            objective: self.objective,
            metric: self.metric.clone(),
            early_stopping: self.early_stopping.clone(),
            hyperparameters: read_texts(self.training_job.get("HyperParameters")),
            data,
        }
    }

    /// Returns the patterns of the lines that report the score: that of `MetricDefinitions`, else that
    /// of Amazon's algorithm, which needs no definitions.
    pub(super) fn report_lines(&self) -> Result<ReportLines> {
        ReportLines::new(EPOCH_PATTERN, &self.metric_pattern()?)
    }

    /// Returns the pattern of a line with the score.
    pub(super) fn metric_regex(&self) -> Result<Regex> {
        let pattern = self.metric_pattern()?;
        Regex::new(&pattern).map_err(|cause| Error::input(format!("{pattern}: {cause}")))
    }

    fn metric_pattern(&self) -> Result<String> {
        let definitions = self
            .training_job
            .get("AlgorithmSpecification")
            .and_then(|specification| specification.get("MetricDefinitions"));
        for metric in definitions.and_then(Value::as_array).into_iter().flatten() {
            if metric.get("Name").and_then(Value::as_str) == Some(&self.metric)
                && let Some(pattern) = metric.get("Regex").and_then(Value::as_str)
            {
                return Ok(pattern.to_owned());
            }
        }
        for (name, pattern) in METRIC_DEFINITIONS {
            if name == self.metric {
                return Ok(pattern.to_owned());
            }
        }
        Err(Error::input(format!(
            "MetricDefinitions has no metric {}, which is the objective; add it",
            self.metric
        )))
    }
}

/// Returns the request of a training job with these values of the searched hyperparameters.
/// `arguments` are those of the tuning step.
pub(super) fn make_trial_request(
    arguments: &Value,
    trial: u64,
    values: &Assignment,
    metric: &str,
) -> Value {
    let mut request = make_training_job(arguments);
    // No trial may go on from the checkpoints of another one.
    if let Some(place) = request.pointer_mut("/CheckpointConfig/S3Uri")
        && let Some(uri) = place.as_str()
    {
        *place = json!(format!("{}/{trial:04}", uri.trim_end_matches('/')));
    }
    request["HyperParameters"][OBJECTIVE_HYPERPARAMETER] = json!(metric);
    for (name, value) in values.iter() {
        request["HyperParameters"][name] = json!(value);
    }
    request
}

/// Returns the training job of a tuning step's arguments in the form of a training step's.
fn make_training_job(arguments: &Value) -> Value {
    let mut request = arguments
        .get("TrainingJobDefinition")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    let shared = request.remove("StaticHyperParameters");
    let shared = shared.filter(Value::is_object).unwrap_or_else(|| Value::Object(Map::new()));
    request.insert("HyperParameters".to_owned(), shared);
    Value::Object(request)
}

/// Reads ranges. Returns nothing if only a run knows them, or if they are wrong.
fn read_known_ranges(ranges: &Value, problems: &mut Problems) -> Option<SearchSpace> {
    let mut is_known = true;
    let place = Place::definition("ParameterRanges");
    visit_expressions(ranges, &place, &mut |_, _| is_known = false);
    if !is_known {
        return None;
    }
    problems.check(read_parameter_ranges(ranges).error_context("ParameterRanges")).ok()
}

/// Reads the numbers of training jobs in all and at one time. One that only a run knows counts as 1.
fn read_limits(config: &Value, problems: &mut Problems) -> (u64, usize) {
    let limits = config.get("ResourceLimits");
    let mut counts = [1, 1];
    for (count, name) in
        counts.iter_mut().zip(["MaxNumberOfTrainingJobs", "MaxParallelTrainingJobs"])
    {
        match limits.and_then(|limits| limits.get(name)) {
            None if name == "MaxNumberOfTrainingJobs" => problems.push(
                "ResourceLimits has no MaxNumberOfTrainingJobs, without which a local run would not \
                 end",
            ),
            Some(value) if Expression::read(value).is_none() => match read_count(value) {
                Some(given) => *count = given,
                None => problems.push(format!(
                    "ResourceLimits.{name} is {value}; allowed: a whole number from 1"
                )),
            },
            _ => {}
        }
    }
    let [jobs, parallel_jobs] = counts;
    (jobs, parallel_jobs as usize)
}

/// Reads a count of at least 1, which expressions make a text of at times.
fn read_count(value: &Value) -> Option<u64> {
    let count = value.as_u64().or_else(|| value.as_str()?.trim().parse().ok());
    count.filter(|count| *count > 0)
}

fn read_texts(values: Option<&Value>) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    for (name, value) in values.and_then(Value::as_object).into_iter().flatten() {
        texts.extend(value.as_str().map(|text| (name.clone(), text.to_owned())));
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments() -> Value {
        json!({
            "HyperParameterTuningJobConfig": {
                "Strategy": "Bayesian",
                "RandomSeed": 7,
                "HyperParameterTuningJobObjective": {
                    "Type": "Minimize", "MetricName": "train:loss"
                },
                "ResourceLimits": {"MaxNumberOfTrainingJobs": 5, "MaxParallelTrainingJobs": 2},
                "ParameterRanges": {
                    "ContinuousParameterRanges": [
                        {"Name": "learning_rate", "MinValue": "0.001", "MaxValue": "0.1"}
                    ]
                }
            },
            "TrainingJobDefinition": {
                "StaticHyperParameters": {"epochs": "4"},
                "AlgorithmSpecification": {"TrainingImage": "maskmaker"}
            }
        })
    }

    #[test]
    fn a_request_becomes_the_plan_of_a_search() {
        let request = TuningRequest::read(&arguments()).unwrap();
        assert_eq!((request.max_jobs, request.max_parallel_jobs), (5, 2));
        let plan = request.plan("digest".to_owned());
        assert_eq!((plan.sampler, plan.seed), (SamplerKind::Tpe, 7));
        assert_eq!((plan.objective, plan.metric.as_str()), (Objective::Minimize, "train:loss"));
        assert_eq!(plan.early_stopping, None);
        assert_eq!(plan.hyperparameters, BTreeMap::from([("epochs".into(), "4".into())]));
        assert_eq!(
            request.report_lines().unwrap().read("epoch 2/4 train loss: 0.5"),
            Some((2, 0.5))
        );
    }

    #[test]
    fn early_stopping_is_halving_over_the_epochs_of_a_job() {
        let mut auto = arguments();
        auto["HyperParameterTuningJobConfig"]["TrainingJobEarlyStoppingType"] = json!("Auto");
        let plan = TuningRequest::read(&auto).unwrap().plan(String::new());
        let expected = HalvingPlan { reduction_factor: 3, min_epochs: 1, max_epochs: 4 };
        assert_eq!(plan.early_stopping, Some(expected.clone()));
        let mut hyperband = arguments();
        hyperband["HyperParameterTuningJobConfig"]["Strategy"] = json!("Hyperband");
        hyperband["HyperParameterTuningJobConfig"]["StrategyConfig"] =
            json!({"HyperbandStrategyConfig": {"MinResource": 2, "MaxResource": 4}});
        let plan = TuningRequest::read(&hyperband).unwrap().plan(String::new());
        assert_eq!(plan.early_stopping, Some(HalvingPlan { min_epochs: 2, ..expected }));
        assert_eq!(plan.sampler, SamplerKind::Random);
    }

    #[test]
    fn a_trial_gets_its_values_and_the_name_of_the_objective() {
        let values = Assignment::from_iter([("learning_rate", "0.01")]);
        let mut own = arguments();
        own["TrainingJobDefinition"]["CheckpointConfig"] =
            json!({"S3Uri": "s3://bucket/checkpoints/"});
        let request = make_trial_request(&own, 12, &values, "train:loss");
        assert_eq!(request["CheckpointConfig"]["S3Uri"], "s3://bucket/checkpoints/0012");
        let expected = json!({
            "epochs": "4", "learning_rate": "0.01", "_tuning_objective_metric": "train:loss"
        });
        assert_eq!(request["HyperParameters"], expected);
        assert!(request.get("StaticHyperParameters").is_none());
    }

    #[test]
    fn limits_are_whole_numbers_or_texts_of_them_and_only_a_run_may_know_them() {
        let read = |limit: Value| {
            let mut own = arguments();
            let config = &mut own["HyperParameterTuningJobConfig"];
            config["ResourceLimits"]["MaxNumberOfTrainingJobs"] = limit;
            config["ParameterRanges"]["ContinuousParameterRanges"][0]["MaxValue"] =
                json!({"Get": "Steps.Look.Value"});
            TuningRequest::read(&own).map(|request| request.max_jobs)
        };
        assert_eq!(read(json!("12")), Ok(12));
        assert_eq!(read(json!({"Get": "Steps.Look.Value"})), Ok(1));
        for limit in [json!(0), json!("many"), json!(1.5)] {
            let error = read(limit.clone()).unwrap_err().to_string();
            let expected =
                format!("MaxNumberOfTrainingJobs is {limit}; allowed: a whole number from 1");
            assert!(error.contains(&expected), "{error}");
        }
    }

    #[test]
    fn what_only_the_service_does_is_told_at_once() {
        let mut wrong = arguments();
        wrong["Autotune"] = json!({"Mode": "Enabled"});
        wrong["WarmStartConfig"] = json!({});
        let config = &mut wrong["HyperParameterTuningJobConfig"];
        config["Strategy"] = json!("Grid");
        config["ResourceLimits"].as_object_mut().unwrap().remove("MaxNumberOfTrainingJobs");
        let error = TuningRequest::read(&wrong).unwrap_err();
        for (problem, expected) in error.problems().iter().zip([
            "WarmStartConfig is given",
            "Autotune is Enabled",
            "Strategy is Grid",
            "ResourceLimits has no MaxNumberOfTrainingJobs",
        ]) {
            assert!(problem.starts_with(expected), "{problem}");
        }
        assert_eq!(error.problems().len(), 4);
    }
}
