//! The data of a job of several hosts: which host has which samples.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::data_record::SplitRecord;
use crate::data::Sample;
use crate::data::audit::{Audit, SizeRange};
use crate::data::dataset::AuditedSplit;
use crate::data::digest::SampleDigest;
use crate::error::{Error, Problems, Result, join_examples, pluralize};

/// Data of a host, as it describes them to the others.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HostData {
    pub training: HostSplit,
    pub validation: HostSplit,
    /// Class names, class 0 first, if any source has names.
    pub class_names: Option<Vec<String>>,
}

/// The samples of one split on one host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HostSplit {
    /// Names of the samples, in the order in which batches count them.
    pub keys: Vec<String>,
    digests: Vec<SampleDigest>,
    /// Label map of the masks, as people read it.
    label_map: Option<String>,
    /// Pixels per mask value, 0 to 255.
    histogram: Vec<u64>,
    size_range: Option<SizeRange>,
}

/// Where the samples of a split are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Every host has all of them (SageMaker's `FullyReplicated`).
    Replicated,
    /// Each host has a part of them (`ShardedByS3Key`).
    Sharded,
}

impl HostSplit {
    /// Describes the samples of this host, as far as the others need it.
    pub fn new(split: &AuditedSplit) -> Self {
        let AuditedSplit { samples, audit } = split;
        let mut keys = Vec::with_capacity(samples.len());
        for sample in samples {
            keys.push(sample.key.clone());
        }
        Self {
            keys,
            digests: audit.digests.clone(),
            label_map: samples.first().and_then(describe_label_map),
            histogram: audit.histogram.to_vec(),
            size_range: audit.size_range,
        }
    }

    /// Adds what the audit found here to that of another host.
    pub fn add_to(&self, audit: &mut Audit) {
        audit.add_host(&self.histogram, self.size_range);
    }

    /// Returns names and digests in the order of the samples.
    pub fn record(&self) -> Result<SplitRecord> {
        let keys: Vec<&str> = self.keys.iter().map(String::as_str).collect();
        SplitRecord::from_keys(&keys, &self.digests)
    }

    /// Returns names and digests of the samples of several hosts, sorted by name as those of a folder
    /// are: it does not depend on which host has which.
    pub fn join_records(parts: &[&Self]) -> Result<SplitRecord> {
        let mut entries: Vec<(&str, SampleDigest)> = Vec::new();
        for part in parts {
            for (key, digest) in part.keys.iter().zip(&part.digests) {
                entries.push((key, *digest));
            }
        }
        entries.sort_by_key(|(key, _)| *key);
        let (keys, digests): (Vec<&str>, Vec<SampleDigest>) = entries.into_iter().unzip();
        SplitRecord::from_keys(&keys, &digests)
    }
}

fn describe_label_map(sample: &Sample) -> Option<String> {
    sample.label_map.as_ref().map(ToString::to_string)
}

/// Checks that the masks of all hosts mean the same classes.
pub fn check_classes(names: &[&str], hosts: &[HostData]) -> Result<()> {
    let mut problems = Problems::new();
    let first = &hosts[0];
    for (name, host) in names.iter().zip(hosts) {
        for (what, ours, theirs) in [
            ("the label map of train", &first.training.label_map, &host.training.label_map),
            (
                "the label map of validation",
                &first.validation.label_map,
                &host.validation.label_map,
            ),
            ("the list of class names", &join_names(first), &join_names(host)),
        ] {
            if ours != theirs {
                let [ours, theirs] = [ours, theirs].map(|text| text.as_deref().unwrap_or("none"));
                problems.push(format!(
                    "{what} is {theirs} on host {name} and {ours} on host {}: give all hosts the \
                     same channel label_map and class_names",
                    names[0]
                ));
            }
        }
    }
    problems.into_result()
}

fn join_names(host: &HostData) -> Option<String> {
    host.class_names.as_ref().map(|names| names.join(", "))
}

/// Finds out where the samples of a split are, by comparing what the hosts have. SageMaker tells it
/// in a setting, which the local mode of its SDK leaves out.
///
/// # Errors
///
/// Some samples are on several hosts and others are not, or files of one name differ.
pub fn find_placement(split: &str, names: &[&str], hosts: &[&HostSplit]) -> Result<Placement> {
    let mut records = Vec::new();
    for host in hosts {
        records.push(host.record()?);
    }
    let first = &records[0];
    if records.iter().all(|record| record.digest() == first.digest()) {
        return Ok(Placement::Replicated);
    }
    let mut hosts_by_key: HashMap<&str, usize> = HashMap::new();
    for host in hosts {
        for key in &host.keys {
            *hosts_by_key.entry(key).or_default() += 1;
        }
    }
    if hosts_by_key.values().all(|count| *count == 1) {
        return Ok(Placement::Sharded);
    }
    if hosts_by_key.values().all(|count| *count == records.len()) {
        for (name, record) in names.iter().zip(&records) {
            if record.digest() != first.digest() {
                return Err(Error::input(format!(
                    "channel {split}: files of the same names differ between host {} and host \
                     {name}: {}; give all hosts the same files",
                    names[0],
                    record.describe_changes(first, split)
                )));
            }
        }
    }
    let mut repeated = Vec::new();
    let mut missing = Vec::new();
    for (key, count) in hosts_by_key {
        let list = if count == 1 { &mut missing } else { &mut repeated };
        list.push(key.to_owned());
    }
    repeated.sort();
    missing.sort();
    Err(Error::input(format!(
        "channel {split}: {} on several hosts ({}) and {} on one alone ({}); either all hosts have \
         all files (S3DataDistributionType FullyReplicated), or each has its own (ShardedByS3Key)",
        pluralize(repeated.len(), "image"),
        join_examples(repeated),
        pluralize(missing.len(), "image"),
        join_examples(missing)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Describes samples by names, whose images are `content`.
    fn split(keys: &[&str], content: &[u8]) -> HostSplit {
        HostSplit {
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            digests: vec![SampleDigest::new(content, None, b"mask"); keys.len()],
            label_map: None,
            histogram: vec![0; 256],
            size_range: None,
        }
    }

    fn place(hosts: &[HostSplit]) -> Result<Placement> {
        let names = ["algo-1", "algo-2", "algo-3"];
        find_placement("train", &names[..hosts.len()], &hosts.iter().collect::<Vec<_>>())
    }

    #[test]
    fn equal_samples_are_replicated_and_disjoint_ones_sharded() {
        let all = split(&["a", "b"], b"x");
        assert_eq!(place(&[all.clone(), all.clone()]).unwrap(), Placement::Replicated);
        assert_eq!(place(&[all.clone(), split(&["c"], b"x")]).unwrap(), Placement::Sharded);
        assert_eq!(place(std::slice::from_ref(&all)).unwrap(), Placement::Replicated);
    }

    #[test]
    fn anything_else_is_told_with_examples() {
        let all = split(&["a", "b"], b"x");
        let error = place(&[all.clone(), split(&["b", "c"], b"x")]).unwrap_err().to_string();
        assert!(error.contains("1 image on several hosts (b) and 2 images on one alone (a, c)"));
        let error = place(&[all.clone(), all, split(&["a", "b"], b"y")]).unwrap_err().to_string();
        assert!(error.contains("differ between host algo-1 and host algo-3"), "{error}");
        assert!(error.contains("a (image)"), "{error}");
    }

    #[test]
    fn the_record_of_all_samples_does_not_depend_on_which_host_has_which() {
        let whole = split(&["a", "b", "c"], b"x");
        for parts in [[&["a", "c"][..], &["b"]], [&["b", "c"], &["a"]], [&[], &["a", "b", "c"]]] {
            let parts = parts.map(|keys| split(keys, b"x"));
            let joined = HostSplit::join_records(&[&parts[0], &parts[1]]).unwrap();
            assert_eq!(joined, whole.record().unwrap());
        }
    }

    #[test]
    fn masks_that_mean_other_classes_on_another_host_are_told() {
        let host = |label_map: Option<&str>, names: Option<&str>| {
            let training =
                HostSplit { label_map: label_map.map(str::to_owned), ..split(&["a"], b"x") };
            let class_names = names.map(|names| vec![names.to_owned()]);
            HostData { validation: split(&["v"], b"x"), training, class_names }
        };
        let names = ["algo-1", "algo-2"];
        let check = |first, second| check_classes(&names, &[first, second]);
        assert!(check(host(None, Some("road")), host(None, Some("road"))).is_ok());
        let error = check(host(Some("value / 3"), Some("road")), host(None, None)).unwrap_err();
        let problems = error.problems();
        let map = "the label map of train is none on host algo-2 and value / 3 on host algo-1";
        assert!(problems[0].starts_with(map), "{problems:?}");
        assert!(problems[1].starts_with("the list of class names is none on host algo-2 and road"));
    }
}
