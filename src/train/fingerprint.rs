//! The fingerprint of a job: everything that decides what its next step computes. A checkpoint of a
//! job with another fingerprint is refused.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::data_record::DataRecord;
use super::hyperparameters::Hyperparameters;
use crate::data::{Sample, color_map};
use crate::error::{Error, Result};

/// Settings that a resumed job may change: the length of the run and the times of checkpoints.
const CHANGEABLE_SETTINGS: [&str; 2] = ["epochs", "checkpoint_interval"];

/// Settings that older programs did not have, with the values by which those trained.
const LATER_SETTINGS: [(&str, &str); 2] = [("allow_tf32", "true"), ("deterministic", "false")];

/// Text of an entry that is absent.
const UNSET: &str = "unset";

/// The splits, as the names of entries begin.
const SPLITS: [&str; 2] = ["training", "validation"];

/// Settings and data of a job, as text by name. Paths are not among them, and neither is the number
/// of ranks (`docs/architecture.md#counted-randomness`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint {
    entries: BTreeMap<String, String>,
    /// Samples of the job, whose digests are among the entries. The list is large, and is saved
    /// apart from them.
    #[serde(skip)]
    data: DataRecord,
}

impl Fingerprint {
    /// Describes a job with these settings and samples.
    pub fn new(
        hyperparameters: &Hyperparameters,
        training: &[Sample],
        validation: &[Sample],
    ) -> Result<Self> {
        let settings = serde_json::to_value(hyperparameters)
            .map_err(|cause| Error::internal(format!("hyperparameters: {cause}")))?;
        let Value::Object(settings) = settings else {
            return Err(Error::internal("hyperparameters are not an object"));
        };
        let mut entries = BTreeMap::new();
        for (name, value) in settings {
            if CHANGEABLE_SETTINGS.contains(&name.as_str()) {
                continue;
            }
            let text = match value {
                Value::String(text) => text,
                Value::Null => UNSET.to_owned(),
                other => other.to_string(),
            };
            entries.insert(name, text);
        }
        for (name, samples) in SPLITS.into_iter().zip([training, validation]) {
            entries.insert(names_entry(name), describe_samples(samples));
            // All samples of a split have the same map.
            if let Some(map) = samples.first().and_then(|sample| sample.label_map.as_ref()) {
                entries.insert(format!("{name} label map"), map.to_string());
            }
            if let Some(maps) = color_map::describe_color_maps(samples) {
                entries.insert(format!("{name} color maps"), maps);
            }
        }
        Ok(Self { entries, data: DataRecord::default() })
    }

    /// Adds the weights that a job starts from; `weights` is a description with their checksum.
    #[must_use]
    pub fn starting_from(mut self, weights: String) -> Self {
        self.entries.insert("initial weights".to_owned(), weights);
        self
    }

    /// Adds the content of the samples.
    #[must_use]
    pub fn with_data(mut self, data: DataRecord) -> Self {
        let records = [&data.training, &data.validation];
        for (split, record) in SPLITS.into_iter().zip(records) {
            self.entries.insert(data_entry(split), record.digest().to_owned());
        }
        self.data = data;
        self
    }

    /// Adds the list of the samples whose digests are among the entries.
    #[must_use]
    pub(super) fn with_sample_list(self, data: DataRecord) -> Self {
        Self { data, ..self }
    }

    /// Returns the list of the samples.
    pub(super) fn data(&self) -> &DataRecord {
        &self.data
    }

    /// Returns true if the content of the samples is known. Older programs saved only their
    /// names.
    pub(super) fn knows_content(&self) -> bool {
        SPLITS.into_iter().all(|split| self.entries.contains_key(&data_entry(split)))
    }

    /// Returns one sentence for each setting that differs from `saved`, and one for each split that
    /// does. The content of samples is compared if both know it, else their names are.
    pub fn describe_differences(&self, saved: &Self) -> Vec<String> {
        let compares_content = self.knows_content() && saved.knows_content();
        let names: BTreeSet<&String> = self.entries.keys().chain(saved.entries.keys()).collect();
        let mut differences = Vec::new();
        for name in names {
            let is_of_content = SPLITS.into_iter().any(|split| *name == data_entry(split));
            let is_of_names = SPLITS.into_iter().any(|split| *name == names_entry(split));
            if is_of_content || (is_of_names && compares_content) {
                continue;
            }
            let (old, new) = (saved.value(name), self.value(name));
            if old != new {
                differences.push(format!("{name} was {old}, is now {new}"));
            }
        }
        if compares_content {
            self.add_content_differences(saved, &mut differences);
        }
        differences
    }

    fn add_content_differences(&self, saved: &Self, differences: &mut Vec<String>) {
        let (now, then) = (&self.data, &saved.data);
        let records = [(&now.training, &then.training), (&now.validation, &then.validation)];
        for (split, (new, old)) in SPLITS.into_iter().zip(records) {
            let entry = data_entry(split);
            if self.value(&entry) != saved.value(&entry) {
                differences.push(new.describe_changes(old, split));
            }
        }
    }

    fn value(&self, name: &str) -> &str {
        if let Some(value) = self.entries.get(name) {
            return value;
        }
        let later = LATER_SETTINGS.iter().find(|(later_name, _)| *later_name == name);
        later.map_or(UNSET, |(_, value)| value)
    }
}

/// Returns the name of the entry that holds the names of a split's samples.
fn names_entry(split: &str) -> String {
    format!("{split} images")
}

/// Returns the name of the entry that holds the content of a split's samples.
fn data_entry(split: &str) -> String {
    format!("{split} data")
}

/// Describes samples by count and names, because a resumed epoch must not mix two data sets.
fn describe_samples(samples: &[Sample]) -> String {
    let mut hasher = crc32fast::Hasher::new();
    for sample in samples {
        hasher.update(sample.key.as_bytes());
        hasher.update(&[0]);
    }
    format!("{} (checksum of their names {:08x})", samples.len(), hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::digest::SampleDigest;
    use crate::data::label_map::LabelMap;
    use crate::train::data_record::SplitRecord;
    use std::sync::Arc;

    fn settings(changed: &[(&str, &str)]) -> Hyperparameters {
        let mut raw = BTreeMap::from(
            [("num_classes", "4"), ("use_pretrained_model", "False")]
                .map(|(k, v)| (k.to_owned(), v.to_owned())),
        );
        raw.extend(changed.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        Hyperparameters::parse(&raw).unwrap()
    }

    fn samples(keys: &[&str]) -> Vec<Sample> {
        let sample = |key: &&str| Sample {
            key: (*key).to_owned(),
            image: format!("/somewhere/{key}").into(),
            mask: "/elsewhere".into(),
            label_map: None,
            color_map: None,
        };
        keys.iter().map(sample).collect()
    }

    #[test]
    fn every_setting_that_differs_is_named_with_both_values() {
        let data = samples(&["a", "b"]);
        let saved = Fingerprint::new(&settings(&[]), &data, &data).unwrap();
        let now = settings(&[("learning_rate", "0.01"), ("optimizer", "rmsprop")]);
        let now = Fingerprint::new(&now, &samples(&["a", "c", "d"]), &data).unwrap();
        let differences = now.describe_differences(&saved);
        assert_eq!(differences[0], "learning_rate was 0.001, is now 0.01");
        assert_eq!(differences[1], "optimizer was sgd, is now rmsprop");
        assert!(differences[2].starts_with("training images was 2 (checksum of their names "));
        assert_eq!(differences.len(), 3);
    }

    #[test]
    fn other_content_of_the_same_names_is_a_difference_if_both_know_it() {
        let data = samples(&["a", "b"]);
        let names_only = Fingerprint::new(&settings(&[]), &data, &data).unwrap();
        let with_masks = |masks: [u8; 2]| {
            let digests = masks.map(|mask| SampleDigest::new(b"image", None, &[mask]));
            let record = SplitRecord::new(&data, &digests).unwrap();
            let record = DataRecord { training: record.clone(), validation: record };
            names_only.clone().with_data(record)
        };
        let saved = with_masks([1, 2]);
        assert_eq!(with_masks([1, 2]).describe_differences(&saved), [""; 0]);
        let said = with_masks([1, 3]).describe_differences(&saved);
        assert!(said.len() == 2 && said[0].contains("1 changed: b (mask)"), "{said:?}");

        // A fingerprint that an older program saved is compared by names.
        assert!(!names_only.knows_content());
        assert_eq!(saved.describe_differences(&names_only), [""; 0]);
        let other = Fingerprint::new(&settings(&[]), &samples(&["a", "c"]), &data).unwrap();
        assert_eq!(saved.describe_differences(&other).len(), 1);

        // The list is saved apart from the entries.
        let text = serde_json::to_string(&saved).unwrap();
        let read: Fingerprint = serde_json::from_str(&text).unwrap();
        assert!(!text.contains("image\"") && read.knows_content());
        assert_eq!(with_masks([1, 3]).describe_differences(&read).len(), 2);
        assert_eq!(read.with_sample_list(saved.data().clone()), saved);
    }

    #[test]
    fn other_initial_weights_are_a_difference_and_random_ones_are_the_seeds() {
        let data = samples(&["a"]);
        let random = || Fingerprint::new(&settings(&[]), &data, &data).unwrap();
        let given = |weights: &str| random().starting_from(weights.to_owned());
        assert_eq!(given("pretrained (1)").describe_differences(&given("pretrained (1)")).len(), 0);
        let said = given("pretrained (2)").describe_differences(&given("pretrained (1)"));
        assert_eq!(said, ["initial weights was pretrained (1), is now pretrained (2)"]);
        let said = random().describe_differences(&given("pretrained (1)"));
        assert_eq!(said, ["initial weights was pretrained (1), is now unset"]);
    }

    #[test]
    fn a_checkpoint_of_a_program_without_a_setting_has_the_value_by_which_that_trained() {
        let mut saved = Fingerprint::new(&settings(&[]), &[], &[]).unwrap();
        for (name, _) in LATER_SETTINGS {
            assert!(saved.entries.remove(name).is_some(), "{name} is no setting");
        }
        let differences = |changed: &[(&str, &str)]| {
            let now = Fingerprint::new(&settings(changed), &[], &[]).unwrap();
            now.describe_differences(&saved)
        };
        assert!(differences(&[]).is_empty());
        let changed = [("allow_tf32", "False"), ("deterministic", "True")];
        assert_eq!(
            differences(&changed),
            ["allow_tf32 was true, is now false", "deterministic was false, is now true"]
        );
    }

    #[test]
    fn epochs_and_paths_may_differ() {
        let data = samples(&["a", "b"]);
        let saved = Fingerprint::new(&settings(&[]), &data, &data).unwrap();
        let mut moved = data.clone();
        moved[0].image = "/other/a".into();
        let now = settings(&[("epochs", "99")]);
        assert_eq!(Fingerprint::new(&now, &moved, &data).unwrap(), saved);
    }

    #[test]
    fn another_label_map_is_another_job() {
        let data = samples(&["a"]);
        let mapped = |scale: &str| {
            let mut data = data.clone();
            let map = LabelMap::parse(format!("{{\"scale\": {scale}}}").as_bytes(), 4).unwrap();
            data[0].label_map = map.map(Arc::new);
            Fingerprint::new(&settings(&[]), &data, &samples(&["a"])).unwrap()
        };
        let none = Fingerprint::new(&settings(&[]), &data, &data).unwrap();
        assert_eq!(mapped("1"), none, "a scale of 1 changes nothing");
        assert_eq!(
            mapped("3").describe_differences(&none),
            ["training label map was unset, is now class = pixel value / 3, rounded down"]
        );
        assert_ne!(mapped("3"), mapped("4"));
    }

    #[test]
    fn other_colors_are_another_job() {
        let painted = |hex: &str| {
            let mut data = samples(&["a"]);
            let map = serde_json::json!({"1": {"class-name": "road", "hex-color": hex}});
            let metadata = serde_json::json!({"internal-color-map": map});
            data[0].color_map = color_map::ColorMaps::default().parse_metadata(&metadata).unwrap();
            Fingerprint::new(&settings(&[]), &data, &samples(&["a"])).unwrap()
        };
        let said = painted("#000001").describe_differences(&painted("#000002"));
        assert!(said.len() == 1 && said[0].starts_with("training color maps was of 1 line"));
    }

    #[test]
    fn names_that_only_run_together_differ() {
        let data = samples(&["a"]);
        let fingerprint =
            |keys: &[&str]| Fingerprint::new(&settings(&[]), &samples(keys), &data).unwrap();
        assert_ne!(fingerprint(&["ab", "c"]), fingerprint(&["a", "bc"]));
    }
}
