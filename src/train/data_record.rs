//! The samples that a job was trained on, as its checkpoints hold them: by name and by content.
//!
//! The fingerprint of a job holds one digest per split, which decides if two data sets are the
//! same. The list of the samples beside it only names those that changed, so it keeps 8 bytes of
//! each digest: 100 bytes or so per sample, less than 1 percent of a checkpoint at 10,000.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::data::Sample;
use crate::data::digest::{ContentDigest, SampleDigest};
use crate::data::image_hashes::ImageHashes;
use crate::error::{Error, Result, join_examples, pluralize};

/// Number of bytes of a file's digest that the list of samples keeps.
const LISTED_DIGEST_BYTES: usize = 8;

/// Number of bytes of a split's digest.
const SPLIT_DIGEST_BYTES: usize = 16;

/// The samples of both splits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataRecord {
    pub training: SplitRecord,
    pub validation: SplitRecord,
}

/// The samples of one split, in the order in which batches count them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitRecord {
    /// Digest of the names, images and masks, in hexadecimal digits.
    digest: String,
    samples: Vec<SampleRecord>,
    /// Hashes of the images, for the artifact; checkpoints hold none.
    #[serde(skip)]
    image_hashes: Vec<u64>,
}

impl DataRecord {
    /// Returns the hashes of all images. Those of records from checkpoints are not known.
    pub fn image_hashes(&self) -> ImageHashes {
        ImageHashes::new(self.training.image_hashes.clone(), self.validation.image_hashes.clone())
    }
}

/// Name and digests of one sample, written as a list of three texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "[String; 3]", into = "[String; 3]")]
struct SampleRecord {
    key: String,
    image: String,
    mask: String,
}

impl From<[String; 3]> for SampleRecord {
    fn from([key, image, mask]: [String; 3]) -> Self {
        Self { key, image, mask }
    }
}

impl From<SampleRecord> for [String; 3] {
    fn from(SampleRecord { key, image, mask }: SampleRecord) -> Self {
        [key, image, mask]
    }
}

impl SampleRecord {
    fn has_content_of(&self, other: &Self) -> bool {
        self.image == other.image && self.mask == other.mask
    }
}

impl SplitRecord {
    /// Describes samples whose files have these digests, in the same order.
    pub fn new(samples: &[Sample], digests: &[SampleDigest]) -> Result<Self> {
        let mut keys = Vec::with_capacity(samples.len());
        for sample in samples {
            keys.push(sample.key.as_str());
        }
        Self::from_keys(&keys, digests)
    }

    /// Describes samples of these names whose files have these digests, in the same order.
    pub fn from_keys(keys: &[&str], digests: &[SampleDigest]) -> Result<Self> {
        if keys.len() != digests.len() {
            return Err(Error::internal(format!(
                "{} samples with {} digests",
                keys.len(),
                digests.len()
            )));
        }
        let mut hasher = Sha256::new();
        let mut records = Vec::with_capacity(keys.len());
        let image_hashes = digests.iter().map(|digest| digest.image_hash).collect();
        for (key, digest) in keys.iter().zip(digests) {
            hasher.update((key.len() as u64).to_le_bytes());
            hasher.update(key.as_bytes());
            hasher.update(digest.image);
            hasher.update(digest.mask);
            records.push(SampleRecord {
                key: (*key).to_owned(),
                image: to_hex(&digest.image, LISTED_DIGEST_BYTES),
                mask: to_hex(&digest.mask, LISTED_DIGEST_BYTES),
            });
        }
        let digest: ContentDigest = hasher.finalize().into();
        Ok(Self { digest: to_hex(&digest, SPLIT_DIGEST_BYTES), samples: records, image_hashes })
    }

    /// Returns the digest of all names and files, in hexadecimal digits.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Returns a sentence about what differs from `saved`, with examples. `split` is the name of
    /// the split. Samples with the same content under another name have not changed, because a
    /// line that is added to a manifest renames all those below it.
    pub fn describe_changes(&self, saved: &Self, split: &str) -> String {
        if saved.samples.is_empty() {
            return format!("the {split} images or masks are others");
        }
        let old = samples_without_counterpart(saved, self);
        let new = samples_without_counterpart(self, saved);
        if old.is_empty() && new.is_empty() {
            let count = self.samples.len();
            return format!(
                "{split} has the same {} and masks in another order or under other names",
                pluralize(count, "image")
            );
        }
        let old_by_key: BTreeMap<&str, &SampleRecord> =
            old.iter().map(|sample| (&sample.key[..], *sample)).collect();
        let (mut changed, mut added, mut changed_keys) = (Vec::new(), Vec::new(), HashSet::new());
        for sample in new {
            let Some(before) = old_by_key.get(&sample.key[..]) else {
                added.push(sample.key.clone());
                continue;
            };
            changed_keys.insert(&sample.key[..]);
            let part = match (before.image == sample.image, before.mask == sample.mask) {
                (true, _) => "mask",
                (_, true) => "image",
                _ => "image and mask",
            };
            changed.push(format!("{} ({part})", sample.key));
        }
        let mut removed = Vec::new();
        for sample in old {
            if !changed_keys.contains(&sample.key[..]) {
                removed.push(sample.key.clone());
            }
        }
        let mut parts = Vec::new();
        for (verb, names) in [("changed", changed), ("added", added), ("removed", removed)] {
            if !names.is_empty() {
                parts.push(format!(
                    "{} {verb}: {}",
                    names.len(),
                    join_examples(names.iter().cloned())
                ));
            }
        }
        format!(
            "the {split} data are others ({} then, {} now): {}",
            pluralize(saved.samples.len(), "sample"),
            self.samples.len(),
            parts.join("; ")
        )
    }
}

/// Lists the samples of `record` for which `other` has none with the same image and mask. Of several
/// with the same content, those of the same name are counterparts first.
fn samples_without_counterpart<'a>(
    record: &'a SplitRecord,
    other: &SplitRecord,
) -> Vec<&'a SampleRecord> {
    let mut others_by_key: HashMap<&str, &SampleRecord> = HashMap::new();
    let mut counts: HashMap<[&str; 2], usize> = HashMap::new();
    for sample in &other.samples {
        others_by_key.insert(&sample.key, sample);
        *counts.entry([&sample.image, &sample.mask]).or_default() += 1;
    }
    let mut renamed = Vec::new();
    for sample in &record.samples {
        match others_by_key.get(&sample.key[..]) {
            Some(same) if same.has_content_of(sample) => {
                if let Some(count) = counts.get_mut(&[&sample.image[..], &sample.mask[..]]) {
                    *count = count.saturating_sub(1);
                }
            }
            _ => renamed.push(sample),
        }
    }
    renamed.retain(|sample| match counts.get_mut(&[&sample.image[..], &sample.mask[..]]) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        _ => true,
    });
    renamed
}

/// Returns the first bytes of a digest in hexadecimal digits.
fn to_hex(digest: &ContentDigest, byte_count: usize) -> String {
    use std::fmt::Write;

    let mut text = String::with_capacity(2 * byte_count);
    for byte in digest.iter().take(byte_count) {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the record of samples that are given as a name, an image and a mask.
    fn record(samples: &[(&str, u8, u8)]) -> SplitRecord {
        let (mut listed, mut digests) = (Vec::new(), Vec::new());
        for (key, image, mask) in samples {
            listed.push(Sample {
                key: (*key).to_owned(),
                image: "/somewhere".into(),
                mask: "/elsewhere".into(),
                label_map: None,
                color_map: None,
            });
            digests.push(SampleDigest::new(&[*image], None, &[*mask]));
        }
        SplitRecord::new(&listed, &digests).unwrap()
    }

    fn changes(now: &[(&str, u8, u8)]) -> String {
        let saved = record(&[("a", 1, 1), ("b", 2, 2), ("c", 3, 3)]);
        let now = record(now);
        assert_ne!(now.digest(), saved.digest());
        now.describe_changes(&saved, "training")
    }

    #[test]
    fn what_changed_is_named_by_kind() {
        let start = "the training data are others (3 samples then, 3 now): ";
        for (now, said) in [
            ([("a", 1, 1), ("b", 2, 9), ("c", 3, 3)], "1 changed: b (mask)"),
            ([("a", 9, 1), ("b", 8, 8), ("c", 3, 3)], "2 changed: a (image), b (image and mask)"),
            ([("a", 1, 1), ("c", 3, 3), ("d", 4, 4)], "1 added: d; 1 removed: b"),
        ] {
            assert_eq!(changes(&now), format!("{start}{said}"));
        }
        assert!(changes(&[("a", 1, 1)]).ends_with("2 removed: b, c"));
    }

    #[test]
    fn another_order_and_other_names_of_the_same_files_are_told_as_such() {
        let said = "training has the same 3 images and masks in another order or under other names";
        assert_eq!(changes(&[("b", 2, 2), ("a", 1, 1), ("c", 3, 3)]), said);
        assert_eq!(changes(&[("x", 1, 1), ("y", 2, 2), ("z", 3, 3)]), said);
        // A line that is added renames those below it.
        assert_eq!(
            changes(&[("a", 4, 4), ("b", 1, 1), ("c", 2, 2), ("d", 3, 3)]),
            "the training data are others (3 samples then, 4 now): 1 added: a"
        );
        // One of two equal files is gone.
        let saved = record(&[("a", 1, 1), ("b", 1, 1)]);
        let said = record(&[("a", 1, 1)]).describe_changes(&saved, "training");
        assert!(said.ends_with("1 removed: b"), "{said}");
    }

    #[test]
    fn the_same_samples_have_the_same_digest_and_a_record_reads_back() {
        let samples = [("a", 1, 1), ("b", 2, 2)];
        let split = record(&samples);
        assert_eq!(split, record(&samples));
        assert_ne!(split.digest(), record(&[("a", 1, 1)]).digest());
        assert_ne!(record(&[("ab", 1, 1)]).digest(), record(&[("a", 1, 1)]).digest());
        let data = DataRecord { training: split.clone(), validation: SplitRecord::default() };
        let text = serde_json::to_string(&data).unwrap();
        assert!(text.len() < 100 * samples.len() + 120, "{text}");
        let mut reread: DataRecord = serde_json::from_str(&text).unwrap();
        // Hashes of images are for the artifact alone.
        reread.training.image_hashes.clone_from(&data.training.image_hashes);
        assert_eq!(reread, data);
        // A list that was lost leaves the digests.
        let lost = SplitRecord { samples: Vec::new(), ..split.clone() };
        assert_eq!(
            split.describe_changes(&lost, "validation"),
            "the validation images or masks are others"
        );
    }

    proptest::proptest! {
        #[test]
        fn any_change_is_told_and_every_name_is_one_that_is_there(
            before in proptest::collection::btree_map("[a-e]", (0..3_u8, 0..3_u8), 1..5),
            after in proptest::collection::btree_map("[a-e]", (0..3_u8, 0..3_u8), 1..5),
        ) {
            let list = |samples: &BTreeMap<String, (u8, u8)>| {
                let samples: Vec<_> =
                    samples.iter().map(|(key, (image, mask))| (&key[..], *image, *mask)).collect();
                record(&samples)
            };
            let (saved, now) = (list(&before), list(&after));
            proptest::prop_assert_eq!(saved.digest() == now.digest(), before == after);
            if before != after {
                let said = now.describe_changes(&saved, "training");
                proptest::prop_assert!(said.contains("other"), "{}", said);
            }
        }
    }
}
