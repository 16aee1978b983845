//! Revision of the data that an execution reads: a hash of the keys and ETags of its objects. The
//! service's step cache compares places and not what is there, so a step takes this hash into its
//! environment, and runs anew when an object was added, changed or removed.

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::aws::{S3Client, S3Uri};
use crate::error::{Error, Result};
use crate::pipeline::check::{ParameterValues, find_revision_inputs};
use crate::pipeline::definition::Definition;
use crate::pipeline::digest::to_hex;

/// Parameter that tells the state of data, and the places of the data.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RevisionParameter {
    pub name: String,
    pub places: Vec<S3Uri>,
}

/// Finds the parameters that name the revision of data and that the start does not give, and the
/// places of those data. A default is no revision: it would be the same for all data.
pub(super) fn find_revision_parameters(
    definition: &Definition,
    given: &BTreeMap<String, Value>,
    values: &ParameterValues,
) -> Result<Vec<RevisionParameter>> {
    let mut found = Vec::new();
    for (name, inputs) in find_revision_inputs(definition, values) {
        if given.contains_key(&name) {
            continue;
        }
        let mut places = Vec::new();
        for input in inputs {
            let uri: S3Uri = input.parse().map_err(|problem| {
                Error::input(format!(
                    "the parameter {name} stands for the data in {input}, which {problem}"
                ))
            })?;
            places.push(uri);
        }
        places.sort();
        places.dedup();
        found.push(RevisionParameter { name, places });
    }
    Ok(found)
}

/// Objects of some places, and their hash.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DataRevision {
    /// SHA-256 in 64 hexadecimal digits.
    pub hash: String,
    pub objects: u64,
}

/// Lists the objects of some places, and hashes their keys and ETags. A place without objects is an
/// error: most likely it is misspelled.
pub(super) fn compute_data_revision(places: &[S3Uri], s3: &S3Client) -> Result<DataRevision> {
    let mut digest = Sha256::new();
    let mut objects = 0;
    for place in places {
        let objects_before = objects;
        add_text(&mut digest, &place.to_string());
        s3.visit_objects(place, |object| {
            add_text(&mut digest, object.key);
            add_text(&mut digest, object.etag);
            objects += 1;
        })?;
        if objects == objects_before {
            return Err(Error::input(format!("{place}: there are no objects; look at the place")));
        }
    }
    Ok(DataRevision { hash: to_hex(&digest.finalize()), objects })
}

/// Adds a text whose end is known, so that no two lists of texts have the same bytes.
fn add_text(digest: &mut Sha256, text: &str) {
    digest.update((text.len() as u64).to_le_bytes());
    digest.update(text);
}
