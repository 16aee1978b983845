//! Every small change of a definition that could be a slip is told, or does no harm: keys that are
//! removed, values of another type, references to other names, values out of their enumerations.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;

const DEFINITIONS: [&str; 5] = [
    include_str!("../../../pipeline.json"),
    include_str!("../../../pipelines/own-test-set.json"),
    include_str!("../../../pipelines/on-demand.json"),
    include_str!("../../../pipelines/tuning.json"),
    include_str!("../../../pipelines/two-steps.json"),
];

/// Keys that may be absent, and what happens without them.
const OPTIONAL_KEYS: &[(&str, &str)] = &[
    ("Metadata", "the service makes nothing of it"),
    ("PipelineExperimentConfig", "runs are no trials of an experiment"),
    ("Description", "people see less"),
    ("DisplayName", "people see the name"),
    ("DefaultValue", "a run must give the value, and `render` asks for it"),
    ("EnumValues", "more values are allowed"),
    ("DependsOn", "the references alone order the steps"),
    ("CacheConfig", "the step always runs"),
    ("ExpireAfter", "results do not grow old"),
    ("Enabled", "the step always runs"),
    ("RetryPolicies", "a step is not tried again"),
    ("IntervalSeconds", "the service waits a second"),
    ("BackoffRate", "the service doubles the waiting time"),
    ("On", "texts are joined without anything between them"),
    ("StoppingCondition", "a processing job may take a day"),
    ("MaxRuntimeInSeconds", "a training job may take a day"),
    ("S3DataType", "the place is a prefix"),
    ("S3InputMode", "files are copied before the job begins"),
    ("S3DataDistributionType", "every instance gets all files"),
    ("S3CompressionType", "files are taken as they are"),
    ("TrainingInputMode", "the channel takes the algorithm's"),
    ("ContentType", "the program knows images by their content"),
    ("CompressionType", "files are taken as they are"),
    ("RecordWrapperType", "there are no records"),
    ("MetricDefinitions", "the service collects no metrics"),
    ("ProfilerConfig", "the service profiles nothing"),
    ("ProfilerRuleConfigurations", "no rules are evaluated"),
    ("ProfilingIntervalInMilliseconds", "the service takes its own"),
    ("DisableProfiler", "the profiler runs"),
    ("S3OutputPath", "of the profiler: the service takes the place of the job's output"),
    ("VolumeSizeInGB", "the service does not require it, and instances may have a disk"),
    ("RuleParameters", "the rule takes its own"),
    ("LocalPath", "checkpoints are at their usual place"),
    ("KeepAlivePeriodInSeconds", "instances are not kept"),
    ("EnableSageMakerMetricsTimeSeries", "metrics have a last value only"),
    ("ModelMetrics", "the registry shows no metrics"),
    ("ModelQuality", "the registry shows no metrics"),
    ("Statistics", "the registry shows no metrics"),
    ("Constraints", "the registry shows no metrics"),
    ("Explainability", "the registry shows no report"),
    ("Report", "the registry shows no report"),
    ("CustomerMetadataProperties", "the registry shows no properties"),
    ("ModelPackageDescription", "people see less"),
    ("ModelPackageGroupName", "the package is in no group"),
    ("ModelApprovalStatus", "a person approves"),
    ("Domain", "people see less"),
    ("Task", "people see less"),
    ("Framework", "people see less"),
    ("FrameworkVersion", "people see less"),
    ("SupportedRealtimeInferenceInstanceTypes", "any type may be taken"),
    ("SupportedTransformInstanceTypes", "any type may be taken"),
    ("SupportedContentTypes", "any type may be sent"),
    ("SupportedResponseMIMETypes", "any type may be asked for"),
    ("InferenceSpecification", "the package cannot be deployed"),
    ("ModelDataUrl", "the package has no model"),
    ("Environment", "variables of a container or job without a cache"),
    ("EnableManagedSpotTraining", "without a waiting time, instances are on demand"),
    ("IfSteps", "the branch is empty"),
    ("ElseSteps", "the branch is empty"),
    ("ProcessingInputs", "a job without data"),
    ("IntegerParameterRanges", "fewer hyperparameters are searched"),
    ("ContinuousParameterRanges", "fewer hyperparameters are searched"),
    ("CategoricalParameterRanges", "fewer hyperparameters are searched"),
    ("ScalingType", "the service chooses the scale"),
    ("RandomSeed", "each search draws other values"),
    ("TrainingJobEarlyStoppingType", "every job trains to its end"),
];

/// Keys of maps whose keys are names of a person.
const MAPS: [&str; 5] = [
    "HyperParameters",
    "StaticHyperParameters",
    "RuleParameters",
    "CustomerMetadataProperties",
    "Environment",
];

/// Path of keys and indices in a document.
type ValuePath = Vec<Value>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutation {
    Remove,
    ChangeType,
    RenameReference,
    LeaveEnumeration,
}

fn list_paths(value: &Value, path: &ValuePath, paths: &mut Vec<ValuePath>) {
    let children: Vec<(Value, &Value)> = match value {
        Value::Object(object) => object.iter().map(|(key, child)| (json!(key), child)).collect(),
        Value::Array(list) => list.iter().enumerate().map(|(i, child)| (json!(i), child)).collect(),
        _ => return,
    };
    for (key, child) in children {
        let mut path = path.clone();
        path.push(key);
        paths.push(path.clone());
        list_paths(child, &path, paths);
    }
}

fn at<'a>(document: &'a mut Value, path: &[Value]) -> &'a mut Value {
    path.iter().fold(document, |value, key| match key {
        Value::String(key) => &mut value[key.as_str()],
        key => &mut value[key.as_u64().unwrap() as usize],
    })
}

/// Changes the value at a path; returns false if it has nothing of this kind.
fn mutate(document: &mut Value, path: &[Value], mutation: Mutation) -> bool {
    let (key, parent) = path.split_last().unwrap();
    let value = at(document, path).clone();
    match (mutation, key, &value) {
        (Mutation::Remove, Value::String(key), _) => {
            at(document, parent).as_object_mut().unwrap().remove(key);
        }
        (Mutation::ChangeType, _, Value::Object(_)) => *at(document, path) = json!([1, 2]),
        (Mutation::ChangeType, _, Value::Array(_)) => *at(document, path) = json!({"Odd": 1}),
        (Mutation::ChangeType, _, Value::String(_)) => *at(document, path) = json!([]),
        (Mutation::ChangeType, _, _) => *at(document, path) = json!("text of a kind"),
        (Mutation::RenameReference, Value::String(key), Value::String(text)) if key == "Get" => {
            *at(document, path) = json!(format!("{text}x"));
        }
        (Mutation::LeaveEnumeration, Value::String(key), Value::String(_))
            if ["Type", "InstanceType", "S3DataType", "S3UploadMode", "TrainingInputMode"]
                .contains(&key.as_str()) =>
        {
            *at(document, path) = json!("Nonsense");
        }
        _ => return false,
    }
    true
}

fn check(document: &Value) -> Option<Vec<String>> {
    let (definition, mut findings) = Definition::parse(document.to_string().as_bytes()).ok()?;
    let given = match definition.parameter("DataRevision") {
        Some(_) => BTreeMap::from([("DataRevision".to_owned(), json!("r1"))]),
        None => BTreeMap::new(),
    };
    let values = ParameterValues::choose(&definition, &given, &mut findings);
    check_definition(&definition, &values, &|_| Ok(()), &mut findings);
    Some(findings.as_slice().iter().map(ToString::to_string).collect())
}

#[test]
fn every_slip_is_told_or_does_no_harm() {
    let mut told = 0;
    let mut harmless = 0;
    let mut silent = Vec::new();
    // A prime number of steps through all paths meets keys of all kinds in every definition.
    for (number, text) in DEFINITIONS.into_iter().enumerate() {
        let document: Value = serde_json::from_str(text).unwrap();
        let before = check(&document).unwrap();
        let mut paths = Vec::new();
        list_paths(&document, &Vec::new(), &mut paths);
        for path in paths.iter().skip(number).step_by(if number == 0 { 2 } else { 7 }) {
            for mutation in [
                Mutation::Remove,
                Mutation::ChangeType,
                Mutation::RenameReference,
                Mutation::LeaveEnumeration,
            ] {
                let mut changed = document.clone();
                if !mutate(&mut changed, path, mutation) {
                    continue;
                }
                let key = path.last().unwrap().as_str().unwrap_or_default();
                let findings = check(&changed);
                if findings.is_none_or(|after| after.iter().any(|new| !before.contains(new))) {
                    told += 1;
                } else if mutation == Mutation::Remove && is_optional(path, key)
                    || path[0] == "Metadata"
                {
                    harmless += 1;
                } else {
                    silent.push(format!("{number}: {mutation:?} {}", json!(path)));
                }
            }
        }
    }
    assert_eq!(silent, [""; 0]);
    assert!(told >= 200 && harmless > 0, "{told} told, {harmless} harmless");
}

/// Returns true for a key without which the definition means the same or a little less. Keys of
/// maps, such as hyperparameters, have defaults of their own.
fn is_optional(path: &[Value], key: &str) -> bool {
    let in_map =
        path.iter().rev().nth(1).is_some_and(|parent| MAPS.iter().any(|map| parent == map));
    in_map || OPTIONAL_KEYS.iter().any(|(optional, _)| *optional == key)
}
