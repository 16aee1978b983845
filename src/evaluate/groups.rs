//! Scores of parts of a test set: the images that share the value of an attribute of the manifest,
//! such as the camera or the weather.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};

use super::EvaluateSettings;
use super::document::Score;
use super::reliability::doubt_set;
use super::scoring::Scored;
use super::test_set::TestSet;
use crate::data::manifest_lines::{ManifestLine, ManifestLines};
use crate::error::{Error, Result, did_you_mean};
use crate::files::PathContext;
use crate::metrics::{ImageScores, Totals};

/// Value of lines that lack the attribute.
const NO_VALUE: &str = "(none)";

/// Largest number of groups; an attribute with more values tells images apart, and no groups.
const MAX_GROUPS: usize = 200;

/// Scores by the values of an attribute.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Groups {
    /// Name of the attribute.
    pub key: String,
    /// Groups by value.
    pub groups: Vec<Group>,
}

/// Scores of the images with one value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    pub value: String,
    pub images: usize,
    pub miou: Score,
    pub pixel_accuracy: Score,
    pub reliable: bool,
    pub reliable_reason: Option<String>,
}

/// Reads the value of an attribute of each line of a manifest, in its order. A key such as
/// `meta.camera` leads into an attribute that is an object.
///
/// # Errors
///
/// No line has the attribute, it is an object or a list, or it has more than 200 values.
pub(super) fn read_values(manifest: &Path, key: &str) -> Result<Vec<String>> {
    let file = File::open(manifest).with_path("read", manifest)?;
    let (mut values, mut names) = (Vec::new(), Vec::new());
    for line in ManifestLines::new(BufReader::new(file)) {
        // Lines that cannot be read are told where the samples are read.
        let Ok(ManifestLine { object: Ok(object), .. }) = line else { continue };
        if names.is_empty() {
            names = object.keys().cloned().collect();
        }
        values.push(match find_value(&object, key) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(value @ (Value::Object(_) | Value::Array(_))) => {
                let kind = if value.is_object() { "an object" } else { "a list" };
                return Err(Error::input(format!(
                    "--group {key}: {key} is {kind} in {}, and groups need a text or a number: name one of \
                     its keys, such as {key}.camera",
                    manifest.display()
                )));
            }
            Some(value) => Some(value.to_string()),
        });
    }
    if !values.is_empty() && values.iter().all(Option::is_none) {
        return Err(Error::input(format!(
            "--group {key}: no line of {} has this attribute{}; the first line has {}",
            manifest.display(),
            did_you_mean(key, names.iter().map(String::as_str)),
            names.join(", ")
        )));
    }
    let values: Vec<String> =
        values.into_iter().map(|value| value.unwrap_or_else(|| NO_VALUE.to_owned())).collect();
    let mut different: Vec<&String> = values.iter().collect();
    different.sort();
    different.dedup();
    if different.len() > MAX_GROUPS {
        return Err(Error::input(format!(
            "--group {key}: {} has {} values of this attribute, and allowed are {MAX_GROUPS}: choose an \
             attribute that many images share",
            manifest.display(),
            different.len()
        )));
    }
    Ok(values)
}

/// Finds an attribute by its name, or by the names that lead to it.
fn find_value<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    if let Some(value) = object.get(key) {
        return Some(value);
    }
    let (first, rest) = key.split_once('.')?;
    find_value(object.get(first)?.as_object()?, rest)
}

/// Scores the images of each value, if the settings ask for groups.
pub(super) fn score_groups(
    settings: &EvaluateSettings,
    test_set: &TestSet,
    scored: &Scored,
    classes: usize,
) -> Option<Groups> {
    let (key, values) = (settings.group.as_ref()?, test_set.group_values.as_ref()?);
    let mut images_by_value: BTreeMap<&str, Vec<ImageScores>> = BTreeMap::new();
    for (image, scores) in scored.images.iter().zip(&scored.models[0].images) {
        images_by_value.entry(&values[image.sample]).or_default().push(scores.clone());
    }
    let list = |totals: &Totals| vec![totals.mean_iou(), totals.pixel_accuracy()];
    let mut groups = Vec::with_capacity(images_by_value.len());
    for (value, images) in images_by_value {
        let estimates = settings.bootstrap.estimate(&images, classes, list);
        let reliable_reason = doubt_set(images.len());
        groups.push(Group {
            value: value.to_owned(),
            images: images.len(),
            miou: estimates[0].into(),
            pixel_accuracy: estimates[1].into(),
            reliable: reliable_reason.is_none(),
            reliable_reason,
        });
    }
    Some(Groups { key: key.clone(), groups })
}
