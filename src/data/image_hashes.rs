//! `data.json` in an artifact: which images a model was trained and validated on, as hashes of their
//! bytes. `evaluate` finds by it the test images that the model has seen before.

use std::collections::HashSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorContext, Result};
use crate::files::read_file;

/// Version of the layout of `data.json` that this program writes and reads.
const FORMAT_VERSION: u32 = 1;

/// Name of [`super::digest::hash_bytes`] in the file.
const HASH_NAME: &str = "crc32,crc32c";

/// The content of `data.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageHashes {
    format_version: u32,
    /// Name of the hash, of which each is 16 hexadecimal digits.
    hash: String,
    train: Vec<String>,
    validation: Vec<String>,
}

/// Hashes by split, to look images up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeenImages {
    pub train: HashSet<u64>,
    pub validation: HashSet<u64>,
}

impl ImageHashes {
    /// Lists the hashes of the images of both splits in ascending order, so that the file tells
    /// nothing about the order of the images.
    pub fn new(mut train: Vec<u64>, mut validation: Vec<u64>) -> Self {
        train.sort_unstable();
        validation.sort_unstable();
        let to_text = |hashes: Vec<u64>| {
            hashes.into_iter().map(|hash| format!("{hash:016x}")).collect::<Vec<String>>()
        };
        Self {
            format_version: FORMAT_VERSION,
            hash: HASH_NAME.to_owned(),
            train: to_text(train),
            validation: to_text(validation),
        }
    }

    /// Reads the file; returns nothing if there is none.
    pub fn read(path: &Path) -> Result<Option<SeenImages>> {
        if !path.exists() {
            return Ok(None);
        }
        Self::parse(&read_file(path)?).error_context(path.display()).map(Some)
    }

    fn parse(bytes: &[u8]) -> Result<SeenImages> {
        let hashes: Self =
            serde_json::from_slice(bytes).map_err(|cause| Error::input(cause.to_string()))?;
        if hashes.format_version != FORMAT_VERSION || hashes.hash != HASH_NAME {
            return Err(Error::input(format!(
                "format_version is {} and hash is {:?}; this version of maskmaker reads \
                 {FORMAT_VERSION} and {HASH_NAME:?}: evaluate with the maskmaker that wrote the model",
                hashes.format_version, hashes.hash
            )));
        }
        Ok(SeenImages {
            train: parse_hashes(&hashes.train)?,
            validation: parse_hashes(&hashes.validation)?,
        })
    }
}

fn parse_hashes(texts: &[String]) -> Result<HashSet<u64>> {
    let mut hashes = HashSet::with_capacity(texts.len());
    for text in texts {
        match u64::from_str_radix(text, 16) {
            Ok(hash) => hashes.insert(hash),
            Err(_) => {
                return Err(Error::input(format!(
                    "{text:?} is no hash, which has 16 hexadecimal digits"
                )));
            }
        };
    }
    Ok(hashes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_hashes_read_back_whatever_their_order() {
        let written = ImageHashes::new(vec![u64::MAX, 1, 1], vec![7]);
        assert_eq!(written.train[0], "0000000000000001");
        let read = ImageHashes::parse(&serde_json::to_vec(&written).unwrap()).unwrap();
        assert_eq!(read.train, HashSet::from([1, u64::MAX]));
        assert_eq!(read.validation, HashSet::from([7]));
        assert_eq!(ImageHashes::read(Path::new("/nonexistent")).unwrap(), None);
    }

    #[test]
    fn other_files_are_told() {
        for (text, said) in [
            ("{", "EOF"),
            (
                r#"{"format_version": 2, "hash": "x", "train": [], "validation": []}"#,
                "format_version is 2",
            ),
            (
                r#"{"format_version": 1, "hash": "crc32,crc32c", "train": ["x"], "validation": []}"#,
                "\"x\" is no hash",
            ),
        ] {
            let error = ImageHashes::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = ImageHashes::parse(&bytes);
        }
    }
}
