//! The channels of a training job: each must get its own part of the data.

use serde_json::Value;

use super::StepWithValues;
use super::jobs::find_program;
use crate::pipeline::definition::StepKind;
use crate::pipeline::expression::{Expression, PathPart, Reference};
use crate::pipeline::findings::Findings;

/// Channels that a training job must have.
const REQUIRED_CHANNELS: [&str; 4] =
    ["train", "train_annotation", "validation", "validation_annotation"];

/// Folders that `preprocess` writes, which are named as the channels that they are for.
const PREPROCESS_FOLDERS: [&str; 7] = [
    "train",
    "train_annotation",
    "validation",
    "validation_annotation",
    "test",
    "test_annotation",
    "label_map",
];

/// Pairs of channels that may not have the same data, and why.
const DIFFERENT_CHANNELS: [(&str, &str, &str); 4] = [
    ("train_annotation", "train", "masks would be the images themselves"),
    ("validation_annotation", "validation", "masks would be the images themselves"),
    ("validation", "train", "the scores would be those of images that the model has learned"),
    ("validation_annotation", "train_annotation", "the masks would be those of other images"),
];

/// Channel of a training job.
struct Channel<'a> {
    index: usize,
    name: &'a str,
    /// Place of its data, in the form in which places are compared.
    source: Option<Source<'a>>,
    /// True if a manifest names the images with their masks.
    is_manifest: bool,
}

/// Place of a channel's data.
#[derive(Debug, Clone, PartialEq)]
enum Source<'a> {
    /// Output of a step.
    Output { step: &'a str, folder: &'a str },
    /// Another place.
    Place(Value),
}

/// Checks the channels of a training job. `steps` are all steps of the pipeline.
pub(super) fn check_channels(
    step: &StepWithValues<'_>,
    steps: &[StepWithValues<'_>],
    findings: &mut Findings,
) {
    if step.kind != StepKind::Training || find_program(step).is_none() {
        return;
    }
    // An expression in place of the list, or of a channel's name, hides which channels there are.
    let names_are_known = step.argument(&["InputDataConfig"]).is_none_or(Value::is_array)
        && step.list(&["InputDataConfig"]).iter().all(|value| {
            value.get("ChannelName").is_none_or(|name| Expression::read(name).is_none())
        });
    let mut channels: Vec<Channel<'_>> = Vec::new();
    for (index, value) in step.list(&["InputDataConfig"]).iter().enumerate() {
        let Some(name) = value.get("ChannelName").and_then(Value::as_str) else { continue };
        let s3 = value.get("DataSource").and_then(|source| source.get("S3DataSource"));
        let source = s3.and_then(|s3| s3.get("S3Uri")).map(|uri| find_source(uri, steps));
        let kind = s3.and_then(|s3| s3.get("S3DataType")).and_then(Value::as_str);
        let is_manifest = kind == Some("AugmentedManifestFile");
        channels.push(Channel { index, name, source, is_manifest });
    }
    let find = |name: &str| channels.iter().find(|channel| channel.name == name);
    for required in REQUIRED_CHANNELS {
        let images = required.trim_end_matches("_annotation");
        let is_in_manifest = find(images).is_some_and(|channel| channel.is_manifest);
        if names_are_known && find(required).is_none() && !is_in_manifest {
            findings
                .error(step.place("InputDataConfig"), format!("has no channel {required}; add it"));
        }
    }
    // A channel whose data are another's is not told again for the folder that they lie in.
    let mut told = Vec::new();
    for (later, earlier, why) in DIFFERENT_CHANNELS {
        let (Some(later), Some(earlier)) = (find(later), find(earlier)) else { continue };
        if later.source.is_some() && later.source == earlier.source {
            told.push(later.index);
            findings.error(
                step.place(&source_field(later.index)),
                format!(
                    "channel {} has the data of channel {}: {why}; give it its own place",
                    later.name, earlier.name
                ),
            );
        }
    }
    let is_fed_by_step =
        channels.iter().any(|channel| matches!(channel.source, Some(Source::Output { .. })));
    for channel in &channels {
        match &channel.source {
            Some(Source::Output { step: writer, folder })
                if !told.contains(&channel.index)
                    && PREPROCESS_FOLDERS.contains(folder)
                    && PREPROCESS_FOLDERS.contains(&channel.name)
                    && *folder != channel.name =>
            {
                findings.error(
                    step.place(&source_field(channel.index)),
                    format!(
                        "channel {} takes the folder {folder} of step {writer}; take its folder {}",
                        channel.name, channel.name
                    ),
                );
            }
            Some(Source::Place(_))
                if is_fed_by_step && REQUIRED_CHANNELS.contains(&channel.name) =>
            {
                findings.warning(
                    step.place(&source_field(channel.index)),
                    format!(
                        "no step writes the data of channel {}, though steps write those of others; \
                         take an output of a step, if these data are not fixed",
                        channel.name
                    ),
                );
            }
            _ => {}
        }
    }
}

/// Returns the field with the place of a channel's data.
fn source_field(index: usize) -> String {
    format!("InputDataConfig[{index}].DataSource.S3DataSource.S3Uri")
}

/// Returns where data come from: the output of a step, by reference or because the step writes the
/// same place, or another place.
fn find_source<'a>(uri: &Value, steps: &'a [StepWithValues<'_>]) -> Source<'a> {
    let place = normalize_uri(uri);
    for step in steps {
        let outputs = step.list(&["ProcessingOutputConfig", "Outputs"]);
        for (index, output) in outputs.iter().enumerate() {
            let Some(s3) = output.get("S3Output") else { continue };
            let name = output.get("OutputName").and_then(Value::as_str);
            let is_named = is_output_reference(uri, &step.step.name, name, index);
            let is_same_place =
                s3.get("S3Uri").is_some_and(|written| normalize_uri(written) == place);
            if is_named || is_same_place {
                let folder = s3.get("LocalPath").and_then(Value::as_str).unwrap_or_default();
                let folder = folder.trim_end_matches('/').rsplit('/').next().unwrap_or(folder);
                return Source::Output { step: &step.step.name, folder };
            }
        }
    }
    Source::Place(place)
}

/// Returns true for a reference to this output of this step, by its name or its index.
pub(super) fn is_output_reference(
    uri: &Value,
    step: &str,
    name: Option<&str>,
    index: usize,
) -> bool {
    let Some(Ok(Expression::Get(Reference::Property { step: named, path }))) =
        Expression::read(uri)
    else {
        return false;
    };
    let names_output = |part: &PathPart| match part {
        PathPart::Key(key) => Some(key.as_str()) == name,
        PathPart::Index(other) => *other == index,
        PathPart::Member(_) => false,
    };
    named == step && path.0.iter().any(names_output)
}

/// Returns a place in one form: a slash at its end says nothing, and neither do mistakes in its
/// scheme, which are told with the request.
pub(super) fn normalize_uri(uri: &Value) -> Value {
    let Some(text) = uri.as_str() else { return uri.clone() };
    let text = text.trim_end_matches('/');
    match text.split_once("://") {
        Some((scheme, rest)) if scheme.to_ascii_lowercase().ends_with("s3") => {
            Value::String(format!("s3://{rest}"))
        }
        _ => Value::String(text.to_owned()),
    }
}
