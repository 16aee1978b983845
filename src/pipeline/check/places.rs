//! Places in S3: those that two jobs write, jobs that read what another has not written yet, and
//! caches that do not see that their data changed.

use std::collections::BTreeMap;

use serde_json::Value;

use super::channels::{is_output_reference, normalize_uri};
use super::{ParameterValues, StepWithValues};
use crate::pipeline::definition::{Branch, Definition, ParameterKind, Step, StepKind};
use crate::pipeline::expression::{
    ExecutionVariable, Expression, Reference, resolve, visit_expressions,
};
use crate::pipeline::findings::{Findings, Place};
use crate::pipeline::graph::Graph;

/// Place that a job writes.
struct Output<'a> {
    step: &'a Step,
    place: Place,
    name: Option<&'a str>,
    /// Position among the outputs of the step.
    index: usize,
    /// Value with those of the parameters; what a run gives is still an expression.
    uri: &'a Value,
    /// The value as text, with the names of what a run gives in its place.
    text: String,
}

/// Place that a job reads.
struct Input<'a> {
    step: &'a Step,
    place: Place,
    /// Name of the input or channel.
    name: String,
    /// Value as the definition has it.
    original: &'a Value,
    /// Value with those of the parameters.
    uri: Value,
}

/// Checks the places that jobs read and write.
pub(super) fn check_places(
    steps: &[StepWithValues<'_>],
    definition: &Definition,
    findings: &mut Findings,
) {
    let mut outputs: Vec<Output<'_>> = Vec::new();
    let mut inputs: Vec<Input<'_>> = Vec::new();
    for step in steps {
        list_outputs(step, &mut outputs);
        list_inputs(step, &mut inputs);
    }
    check_shared_places(&outputs, definition, findings);
    check_prefixes(&outputs, &inputs, findings);
    check_order(&outputs, &inputs, definition, findings);
    check_caches(steps, &inputs, definition, findings);
}

/// Lists the places that the job of a step writes.
fn list_outputs<'a>(step: &'a StepWithValues<'_>, outputs: &mut Vec<Output<'a>>) {
    let path = ["ProcessingOutputConfig", "Outputs"];
    for (index, output) in step.list(&path).iter().enumerate() {
        let Some(uri) = output.get("S3Output").and_then(|s3| s3.get("S3Uri")) else { continue };
        outputs.push(Output {
            step: step.step,
            place: step.place(&format!("{}[{index}].S3Output.S3Uri", path.join("."))),
            name: output.get("OutputName").and_then(Value::as_str),
            index,
            uri,
            text: describe_uri(uri),
        });
    }
    // A training job makes a folder of its own name below S3OutputPath, but not for checkpoints.
    if step.kind == StepKind::Training {
        let path = ["CheckpointConfig", "S3Uri"];
        if let Some(uri) = step.argument(&path) {
            let place = step.place(&path.join("."));
            let text = describe_uri(uri);
            outputs.push(Output { step: step.step, place, name: None, index: 0, uri, text });
        }
    }
}

/// Lists the places that the job of a step reads.
fn list_inputs<'a>(step: &StepWithValues<'a>, inputs: &mut Vec<Input<'a>>) {
    for (list, source, name) in [
        ("ProcessingInputs", &["S3Input"][..], "InputName"),
        ("InputDataConfig", &["DataSource", "S3DataSource"], "ChannelName"),
    ] {
        let entries = step.original.get(list).and_then(Value::as_array);
        for (index, entry) in entries.into_iter().flatten().enumerate() {
            let s3 = source.iter().try_fold(entry, |value, key| value.get(key));
            let Some(original) = s3.and_then(|s3| s3.get("S3Uri")) else { continue };
            let resolved = step.list(&[list]).get(index);
            let resolved = source.iter().try_fold(resolved, |value, key| Some(value?.get(key)));
            let resolved = resolved.flatten().and_then(|s3| s3.get("S3Uri"));
            let position = format!("{list}[{index}]");
            let name = entry.get(name).and_then(Value::as_str);
            inputs.push(Input {
                step: step.step,
                place: step.place(&format!("{position}.{}.S3Uri", source.join("."))),
                name: name.map_or(position, str::to_owned),
                original,
                uri: normalize_uri(resolved.unwrap_or(original)),
            });
        }
    }
}

/// Finds outputs that are in one place, and those that are in the same place in each run.
fn check_shared_places(outputs: &[Output<'_>], definition: &Definition, findings: &mut Findings) {
    for (index, output) in outputs.iter().enumerate() {
        let earlier = outputs[..index].iter().find(|other| {
            other.uri == output.uri && !exclude_each_other(definition, other.step, output.step)
        });
        if let Some(other) = earlier {
            findings.error(
                output.place.clone(),
                format!(
                    "is the place that step {} writes ({}); one would overwrite the other; give each \
                     output a place of its own",
                    other.step.name, other.place.field
                ),
            );
        } else if !differs_by_run(output.uri) {
            findings.warning(
                output.place.clone(),
                "is the same place in each run, where files of earlier runs stay and mix with those \
                 of later ones; join Execution.PipelineExecutionId into it",
            );
        }
    }
}

/// Returns true for steps of opposite branches of one condition, of which one runs only.
fn exclude_each_other(definition: &Definition, first: &Step, second: &Step) -> bool {
    for branch in list_branches(definition, first) {
        let opposite = Branch { is_if: !branch.is_if, ..branch.clone() };
        if list_branches(definition, second).contains(&&opposite) {
            return true;
        }
    }
    false
}

/// Lists the branches in which a step stands, the inner one first.
fn list_branches<'a>(definition: &'a Definition, step: &'a Step) -> Vec<&'a Branch> {
    let mut branches = Vec::new();
    let mut branch = step.branch.as_ref();
    while let Some(own) = branch {
        if branches.contains(&own) {
            break;
        }
        branches.push(own);
        branch = definition.step(&own.condition).and_then(|condition| condition.branch.as_ref());
    }
    branches
}

/// Finds a place that is read as a prefix and whose name is the beginning of another's: a job that
/// reads `s3://b/train` gets the objects of `s3://b/train_annotation`, too.
fn check_prefixes(outputs: &[Output<'_>], inputs: &[Input<'_>], findings: &mut Findings) {
    let mut sorted: Vec<&Output<'_>> = outputs.iter().collect();
    sorted.sort_by(|first, second| first.text.cmp(&second.text));
    for (position, output) in sorted.iter().enumerate() {
        if output.text.ends_with('/') {
            continue;
        }
        // Texts that begin with this one follow it.
        for other in &sorted[position + 1..] {
            let Some(rest) = other.text.strip_prefix(&output.text) else { break };
            if rest.is_empty() || rest.starts_with('/') {
                continue;
            }
            if let Some(reader) = inputs.iter().find(|input| reads(input, output)) {
                findings.error(
                    output.place.clone(),
                    format!(
                        "is the beginning of the place that step {} writes ({}), so that {} of step \
                         {}, which reads it as a prefix, gets the objects of both; end it with a \
                         slash, or name it otherwise",
                        other.step.name, other.place.field, reader.name, reader.step.name
                    ),
                );
            }
            break;
        }
    }
}

/// Returns true if an input is this output, by reference or by its place.
fn reads(input: &Input<'_>, output: &Output<'_>) -> bool {
    is_output_reference(input.original, &output.step.name, output.name, output.index)
        || input.uri == normalize_uri(output.uri)
}

/// Finds jobs that read what another one writes and do not wait for it.
fn check_order(
    outputs: &[Output<'_>],
    inputs: &[Input<'_>],
    definition: &Definition,
    findings: &mut Findings,
) {
    // A cycle is told with the references.
    let Ok(graph) = Graph::new(definition) else { return };
    let position = |step: &Step| definition.steps.iter().position(|other| other.name == step.name);
    for input in inputs {
        let input_text = describe_uri(&input.uri);
        for output in outputs {
            let output_text = output.text.trim_end_matches('/');
            let rest = input_text.strip_prefix(output_text).unwrap_or("no");
            let is_below = rest.is_empty() || rest.starts_with('/');
            if !is_below || output.step.name == input.step.name {
                continue;
            }
            let (Some(reader), Some(writer)) = (position(input.step), position(output.step)) else {
                continue;
            };
            if !graph.waits_for(reader, writer) {
                findings.error(
                    input.place.clone(),
                    format!(
                        "is what step {} writes ({}), and this step does not wait for it; take its \
                         property, or add it to DependsOn",
                        output.step.name, output.place.field
                    ),
                );
            }
        }
    }
}

/// Returns a place as text, with the names of what only a run knows in its place.
fn describe_uri(uri: &Value) -> String {
    match Expression::read(uri) {
        Some(Ok(Expression::Join { on, values })) => {
            values.iter().map(describe_uri).collect::<Vec<_>>().join(on)
        }
        Some(Ok(Expression::Get(reference))) => format!("{{{reference}}}"),
        _ => uri.as_str().map_or_else(|| uri.to_string(), str::to_owned),
    }
}

/// Returns true if a place depends on a variable of the run or on the result of a step.
fn differs_by_run(uri: &Value) -> bool {
    let mut differs = false;
    visit_expressions(uri, &Place::default(), &mut |_, expression| {
        differs |= matches!(
            expression,
            Ok(Expression::Get(
                Reference::Execution(
                    ExecutionVariable::PipelineExecutionId
                        | ExecutionVariable::PipelineExecutionArn
                        | ExecutionVariable::StartDateTime
                        | ExecutionVariable::CurrentDateTime
                        | ExecutionVariable::TrainingJobName
                        | ExecutionVariable::ProcessingJobName
                ) | Reference::Property { .. }
            ))
        );
    });
    differs
}

/// Finds cached steps that read data from outside of the pipeline, and whose request would be the
/// same if these data changed: the service compares the places and not what is there.
fn check_caches(
    steps: &[StepWithValues<'_>],
    inputs: &[Input<'_>],
    definition: &Definition,
    findings: &mut Findings,
) {
    for step in definition.steps.iter().filter(|step| step.is_cached) {
        let mut outside = Vec::new();
        for input in inputs.iter().filter(|input| input.step.name == step.name) {
            let says_content = differs_by_run(input.original)
                || names_revision(input.original, definition)
                || has_digest(&input.uri);
            if !says_content {
                outside.push(input.name.as_str());
            }
        }
        let has_revision = steps.iter().any(|job| {
            let environment = job.original.get("Environment");
            job.step.name == step.name
                && environment.is_some_and(|value| names_revision(value, definition))
        });
        if outside.is_empty() || has_revision {
            continue;
        }
        findings.error(
            Place::step(&step.name, "CacheConfig"),
            format!(
                "is enabled, and the step reads {} from outside of the pipeline: the service compares \
                 the places and not what is there, so new data would get the results of old ones; \
                 take a parameter such as DataRevision into Environment, which each run sets to a \
                 hash of keys and ETags, or switch the cache off",
                outside.join(", ")
            ),
        );
    }
}

/// Returns true if a value has a text parameter whose name says that it tells the state of data.
fn names_revision(value: &Value, definition: &Definition) -> bool {
    !list_revisions(value, definition).is_empty()
}

/// Lists the text parameters in a value whose names say that they tell the state of data.
fn list_revisions(value: &Value, definition: &Definition) -> Vec<String> {
    let mut names = Vec::new();
    visit_expressions(value, &Place::default(), &mut |_, expression| {
        if let Ok(Expression::Get(Reference::Parameter(name))) = expression {
            let parameter = definition.parameter(&name);
            let is_text = parameter.is_some_and(|found| found.kind == ParameterKind::String);
            if is_text && name.to_lowercase().contains("revision") {
                names.push(name);
            }
        }
    });
    names
}

/// Returns the parameters that tell the state of data, and the places of those data: what the steps
/// that have the parameter in their environment read from outside of the pipeline.
pub(in crate::pipeline) fn find_revision_inputs(
    definition: &Definition,
    values: &ParameterValues,
) -> BTreeMap<String, Vec<String>> {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for job in definition.steps.iter().flat_map(|step| StepWithValues::list_jobs(step, values)) {
        let Some(environment) = job.original.get("Environment") else { continue };
        let mut inputs = Vec::new();
        list_inputs(&job, &mut inputs);
        for name in list_revisions(environment, definition) {
            let places = places.entry(name).or_default();
            for input in &inputs {
                if !differs_by_run(input.original) {
                    // As it is written: a slash at its end keeps other prefixes out.
                    places.push(describe_uri(&resolve(input.original, values)));
                }
            }
        }
    }
    places
}

/// Returns true if a part of a place is a digest of what is there, as Amazon's SDK names the folders
/// of scripts.
fn has_digest(uri: &Value) -> bool {
    let is_digest = |part: &str| {
        matches!(part.len(), 32 | 40 | 64) && part.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    uri.as_str().is_some_and(|text| text.split('/').any(is_digest))
}
