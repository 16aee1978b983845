//! Steps of a pipeline.

use serde_json::{Map, Value};

use super::fields::{Fields, describe};
use crate::error::did_you_mean;
use crate::named_enum::named_enum;
use crate::pipeline::findings::{Findings, Place};

named_enum! {
    /// Type of a step, which says what it does.
    StepKind {
        Processing = "Processing",
        Training = "Training",
        Tuning = "Tuning",
        Transform = "Transform",
        /// Creates a model.
        Model = "Model",
        /// Adds a model package to a group of the registry.
        RegisterModel = "RegisterModel",
        /// Chooses between two lists of steps.
        Condition = "Condition",
        /// Ends the run with an error message.
        Fail = "Fail",
        Lambda = "Lambda",
        Callback = "Callback",
        ClarifyCheck = "ClarifyCheck",
        QualityCheck = "QualityCheck",
        Emr = "EMR",
        EmrServerless = "EMRServerless",
        AutoMl = "AutoML",
        EndpointConfig = "EndpointConfig",
        Endpoint = "Endpoint",
        InferenceComponent = "InferenceComponent",
        Lineage = "Lineage",
    }
}

impl StepKind {
    /// Returns true if the step's arguments are checked in full.
    pub fn is_checked(self) -> bool {
        matches!(
            self,
            Self::Processing
                | Self::Training
                | Self::Tuning
                | Self::Transform
                | Self::Model
                | Self::RegisterModel
                | Self::Condition
                | Self::Fail
        )
    }
}

/// Step of a pipeline.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub name: String,
    pub kind: StepKind,
    /// Request of the job, without its name; of a condition step its `Conditions` alone.
    pub arguments: Value,
    /// Steps that `DependsOn` names.
    pub depends_on: Vec<String>,
    /// JSON files that the step writes and that expressions may read.
    pub property_files: Vec<PropertyFile>,
    /// True if the result of an earlier run with the same arguments may stand for the step's.
    pub is_cached: bool,
    /// Branch of a condition step in which the step stands; none for one that always runs.
    pub branch: Option<Branch>,
}

/// JSON file that a processing step writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PropertyFile {
    pub name: String,
    /// Output of the step that holds the file.
    pub output: String,
    /// Path of the file in the output.
    pub path: String,
}

/// One of the two lists of steps of a condition step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// Name of the condition step.
    pub condition: String,
    /// True for `IfSteps`, false for `ElseSteps`.
    pub is_if: bool,
}

const COMMON_KEYS: [&str; 6] =
    ["Name", "Type", "Arguments", "DependsOn", "DisplayName", "Description"];

/// Longest name, in characters, of the service.
const MAX_NAME_CHARS: usize = 64;

const EXCEPTION_TYPES: [&str; 5] = [
    "Step.SERVICE_FAULT",
    "Step.THROTTLING",
    "SageMaker.JOB_INTERNAL_ERROR",
    "SageMaker.CAPACITY_ERROR",
    "SageMaker.RESOURCE_LIMIT",
];

/// Key of a list of steps in a condition step, and the list.
type StepList<'a> = (&'static str, &'a [Value]);

/// Reads a list of steps, and those in the branches of its condition steps. Names of steps that
/// cannot be read go to `unread`.
pub(super) fn read_steps(
    values: &[Value],
    place: &Place,
    branch: Option<&Branch>,
    steps: &mut Vec<Step>,
    unread: &mut Vec<String>,
    findings: &mut Findings,
) {
    for (index, value) in values.iter().enumerate() {
        let place = place.index(index);
        let Some((step, branches)) = read_step(value, &place, branch, findings) else {
            list_names(value, unread);
            continue;
        };
        if steps.iter().any(|other| other.name == step.name) {
            findings.error(
                Place::step(&step.name, "Name"),
                "another step has the same name; give each step its own",
            );
        }
        let name = step.name.clone();
        steps.push(step);
        for (key, values) in branches {
            let branch = Branch { condition: name.clone(), is_if: key == "IfSteps" };
            let place = Place::step(&name, format!("Arguments.{key}"));
            read_steps(values, &place, Some(&branch), steps, unread, findings);
        }
    }
}

/// Lists the names of a step that cannot be read and of those in its branches, so that references to
/// them are not told, too. A step without a name counts as one.
fn list_names(step: &Value, names: &mut Vec<String>) {
    names.push(step.get("Name").and_then(Value::as_str).unwrap_or_default().to_owned());
    for key in ["IfSteps", "ElseSteps"] {
        let branch = step.get("Arguments").and_then(|arguments| arguments.get(key));
        for inner in branch.and_then(Value::as_array).into_iter().flatten() {
            list_names(inner, names);
        }
    }
}

/// Reads a step, and the lists of steps of a condition step.
fn read_step<'a>(
    value: &'a Value,
    place: &Place,
    branch: Option<&Branch>,
    findings: &mut Findings,
) -> Option<(Step, Vec<StepList<'a>>)> {
    let mut fields = Fields::of(value, place, findings)?;
    let name = fields.required_text("Name", "the name of the step")?.to_owned();
    // From here on the step is known by its name and not by its number.
    let place = Place::step(&name, "");
    let mut fields = Fields::of(value, &place, findings)?;
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > MAX_NAME_CHARS || !name.chars().all(is_word) {
        fields.error(
            "Name",
            format!("is {name:?}; allowed: 1 to {MAX_NAME_CHARS} letters, digits, - and _"),
        );
    }
    let kind = read_kind(&mut fields)?;
    check_step_keys(kind, &mut fields);
    for key in ["DisplayName", "Description"] {
        fields.text(key);
    }
    let mut depends_on = Vec::new();
    for (index, entry) in fields.list("DependsOn").iter().enumerate() {
        if let Some(step) = entry.as_str() {
            depends_on.push(step.to_owned());
        } else {
            let place = fields.place("DependsOn").index(index);
            let problem = format!("is {}; allowed: the name of a step", describe(entry));
            fields.findings().error(place, problem);
        }
    }
    let mut property_files = Vec::new();
    for (index, entry) in fields.list("PropertyFiles").iter().enumerate() {
        let place = fields.place("PropertyFiles").index(index);
        property_files.extend(read_property_file(entry, &place, fields.findings()));
    }
    let is_cached = read_cache_config(&mut fields);
    check_retry_policies(&mut fields);
    let mut branches = Vec::new();
    let mut arguments = Value::Object(Map::new());
    match fields.get("Arguments") {
        Some(Value::Object(given)) => {
            let mut given = given.clone();
            if kind == StepKind::Condition {
                for key in ["IfSteps", "ElseSteps"] {
                    if let Some(list) = given.remove(key)
                        && !list.is_array()
                    {
                        fields.error(&format!("Arguments.{key}"), "is no list of steps");
                    }
                    let list = fields.get("Arguments").and_then(|arguments| arguments.get(key));
                    branches.extend(list.and_then(Value::as_array).map(|list| (key, &list[..])));
                }
            }
            arguments = Value::Object(given);
        }
        Some(other) => {
            fields.error("Arguments", format!("is {}; allowed: an object", describe(other)));
        }
        // A Lambda or Callback step may have no inputs.
        None if !kind.is_checked() => {}
        None => fields.error("Arguments", "is missing; give the request of the step"),
    }
    let branch = branch.cloned();
    let step = Step { name, kind, arguments, depends_on, property_files, is_cached, branch };
    Some((step, branches))
}

fn read_kind(fields: &mut Fields<'_, '_>) -> Option<StepKind> {
    let name = fields.required_text("Type", "the type of the step, such as Training")?;
    let kind = StepKind::from_name(name);
    if kind.is_none() {
        let names = StepKind::ALL.map(StepKind::name);
        let hint = did_you_mean(name, names);
        let mut checked = Vec::new();
        for kind in StepKind::ALL.into_iter().filter(|kind| kind.is_checked()) {
            checked.push(kind.name());
        }
        fields.error(
            "Type",
            format!(
                "is {name:?}{hint}; the service has {}; the arguments of {} are checked in full",
                names.join(", "),
                checked.join(", ")
            ),
        );
    }
    kind
}

/// Finds keys that steps of this kind do not have.
fn check_step_keys(kind: StepKind, fields: &mut Fields<'_, '_>) {
    let further: &[&str] = match kind {
        StepKind::Processing => &["RetryPolicies", "CacheConfig", "PropertyFiles"],
        StepKind::Training | StepKind::Tuning | StepKind::Transform => {
            &["RetryPolicies", "CacheConfig"]
        }
        StepKind::Model | StepKind::RegisterModel => &["RetryPolicies"],
        StepKind::Condition | StepKind::Fail => &[],
        _ => return,
    };
    fields.check_keys(&[&COMMON_KEYS[..], further].concat());
}

fn read_property_file(
    value: &Value,
    place: &Place,
    findings: &mut Findings,
) -> Option<PropertyFile> {
    let mut fields = Fields::of(value, place, findings)?;
    fields.check_keys(&["PropertyFileName", "OutputName", "FilePath"]);
    let name = fields.required_text("PropertyFileName", "the name by which expressions read it");
    let output = fields.required_text("OutputName", "the step's output that holds the file");
    let path = fields.required_text("FilePath", "the path of the file in the output");
    let (name, output, path) = (name?.to_owned(), output?.to_owned(), path?.to_owned());
    Some(PropertyFile { name, output, path })
}

/// Returns true if the step's results may be taken from an earlier run.
fn read_cache_config(fields: &mut Fields<'_, '_>) -> bool {
    let Some(value) = fields.get("CacheConfig") else { return false };
    let place = fields.place("CacheConfig");
    let Some(mut config) = Fields::of(value, &place, fields.findings()) else { return false };
    config.check_keys(&["Enabled", "ExpireAfter"]);
    if let Some(duration) = config.text("ExpireAfter")
        && !is_duration(duration)
    {
        config.error(
            "ExpireAfter",
            format!("is {duration:?}; allowed: a duration such as P30D, 30d or PT12H"),
        );
    }
    match config.get("Enabled") {
        Some(Value::Bool(is_enabled)) => *is_enabled,
        Some(other) => {
            config.error("Enabled", format!("is {}; allowed: true or false", describe(other)));
            false
        }
        None => false,
    }
}

/// Returns true for a duration of ISO 8601, whose `P` the service's documentation leaves out.
fn is_duration(text: &str) -> bool {
    let text = text.to_ascii_uppercase();
    let text = text.strip_prefix('P').unwrap_or(&text);
    let (date, time) = match text.split_once('T') {
        Some((date, time)) if !time.is_empty() => (date, time),
        Some(_) => return false,
        None => (text, ""),
    };
    !text.is_empty() && has_units(date, "YMWD") && has_units(time, "HMS")
}

/// Returns true if a text is numbers with units, in the order of `units`, each at most once.
fn has_units(text: &str, units: &str) -> bool {
    let mut rest = text;
    let mut units = units;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let Some(unit) = rest[digits..].chars().next() else { return false };
        let Some(position) = units.find(unit) else { return false };
        if digits == 0 {
            return false;
        }
        units = &units[position + 1..];
        rest = &rest[digits + 1..];
    }
    true
}

fn check_retry_policies(fields: &mut Fields<'_, '_>) {
    for (index, value) in fields.list("RetryPolicies").iter().enumerate() {
        let place = fields.place("RetryPolicies").index(index);
        let Some(mut policy) = Fields::of(value, &place, fields.findings()) else { continue };
        policy.check_keys(&[
            "ExceptionType",
            "IntervalSeconds",
            "BackoffRate",
            "MaxAttempts",
            "ExpireAfterMin",
        ]);
        if policy.get("ExceptionType").is_none() {
            let allowed = EXCEPTION_TYPES.join(", ");
            policy.error("ExceptionType", format!("is missing; give some of {allowed}"));
        }
        for (index, value) in policy.list("ExceptionType").iter().enumerate() {
            let name = value.as_str().unwrap_or_default();
            if !EXCEPTION_TYPES.contains(&name) {
                let hint = did_you_mean(name, EXCEPTION_TYPES);
                let place = policy.place("ExceptionType").index(index);
                policy.findings().error(
                    place,
                    format!(
                        "is {}{hint}; allowed: {}",
                        describe(value),
                        EXCEPTION_TYPES.join(", ")
                    ),
                );
            }
        }
        for (key, least, most) in [
            ("IntervalSeconds", 1.0, Some(43_200.0)),
            ("BackoffRate", 1.0, None),
            ("MaxAttempts", 1.0, Some(20.0)),
            ("ExpireAfterMin", 1.0, Some(14_400.0)),
        ] {
            let Some(value) = policy.get(key) else { continue };
            let fits = |number: f64| number >= least && most.is_none_or(|most| number <= most);
            if !value.as_f64().is_some_and(fits) {
                let range = match most {
                    Some(most) => format!("a number, {least} to {most}"),
                    None => format!("a number from {least}"),
                };
                policy.error(key, format!("is {}; allowed: {range}", describe(value)));
            }
        }
        if policy.get("MaxAttempts").is_some() == policy.get("ExpireAfterMin").is_some() {
            policy.error("MaxAttempts", "give MaxAttempts or ExpireAfterMin, one of them");
        }
    }
}
