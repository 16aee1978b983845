//! The data of a job of several hosts: which host has which samples.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::data_record::SplitRecord;
use crate::data::audit::{Audit, SizeRange};
use crate::error::{Error, Result, join_examples, pluralize};

/// What a host tells the others of its samples.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HostData {
    pub training: HostSplit,
    pub validation: HostSplit,
}

/// The samples of one split on one host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HostSplit {
    /// Names and digests.
    pub record: SplitRecord,
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
    pub fn new(record: SplitRecord, audit: &Audit) -> Self {
        Self { record, histogram: audit.histogram.to_vec(), size_range: audit.size_range }
    }

    /// Adds what the audit found here to that of another host.
    pub fn add_to(&self, audit: &mut Audit) {
        audit.add_host(&self.histogram, self.size_range);
    }
}

/// Finds out where the samples of a split are, by comparing what the hosts have. SageMaker tells it
/// in a setting, which the local mode of its SDK leaves out.
///
/// # Errors
///
/// Some samples are on several hosts and others are not, or files of one name differ.
pub fn find_placement(split: &str, hosts: &[&str], records: &[&SplitRecord]) -> Result<Placement> {
    let first = records[0];
    if records.iter().all(|record| record.digest() == first.digest()) {
        return Ok(Placement::Replicated);
    }
    let mut hosts_by_key: HashMap<&str, usize> = HashMap::new();
    for record in records {
        for key in record.keys() {
            *hosts_by_key.entry(key).or_default() += 1;
        }
    }
    if hosts_by_key.values().all(|count| *count == 1) {
        return Ok(Placement::Sharded);
    }
    if hosts_by_key.values().all(|count| *count == records.len()) {
        for (host, record) in hosts.iter().zip(records) {
            if record.digest() != first.digest() {
                return Err(Error::input(format!(
                    "channel {split}: files of the same names differ between host {} and host \
                     {host}: {}; give all hosts the same files",
                    hosts[0],
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
    use crate::data::Sample;
    use crate::data::digest::SampleDigest;

    /// Describes samples by names, whose images are `content`.
    fn record(keys: &[&str], content: &[u8]) -> SplitRecord {
        let sample = |key: &&str| Sample {
            key: (*key).to_owned(),
            image: "/image".into(),
            mask: "/mask".into(),
            label_map: None,
            color_map: None,
        };
        let samples: Vec<Sample> = keys.iter().map(sample).collect();
        let digests = vec![SampleDigest::new(content, None, b"mask"); keys.len()];
        SplitRecord::new(&samples, &digests).unwrap()
    }

    fn place(records: &[SplitRecord]) -> Result<Placement> {
        let hosts = ["algo-1", "algo-2", "algo-3"];
        find_placement("train", &hosts[..records.len()], &records.iter().collect::<Vec<_>>())
    }

    #[test]
    fn equal_samples_are_replicated_and_disjoint_ones_sharded() {
        let all = record(&["a", "b"], b"x");
        assert_eq!(place(&[all.clone(), all.clone()]).unwrap(), Placement::Replicated);
        assert_eq!(place(&[all.clone(), record(&["c"], b"x")]).unwrap(), Placement::Sharded);
        assert_eq!(place(std::slice::from_ref(&all)).unwrap(), Placement::Replicated);
    }

    #[test]
    fn anything_else_is_told_with_examples() {
        let all = record(&["a", "b"], b"x");
        let error = place(&[all.clone(), record(&["b", "c"], b"x")]).unwrap_err().to_string();
        assert!(error.contains("1 image on several hosts (b) and 2 images on one alone (a, c)"));
        let error = place(&[all.clone(), all, record(&["a", "b"], b"y")]).unwrap_err().to_string();
        assert!(error.contains("differ between host algo-1 and host algo-3"), "{error}");
        assert!(error.contains("a (image)"), "{error}");
    }
}
