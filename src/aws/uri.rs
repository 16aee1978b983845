//! URIs of the form `s3://bucket/key`.

use std::fmt;
use std::str::FromStr;

const SCHEME: &str = "s3://";

/// Longest key that S3 allows, in bytes.
const MAX_KEY_BYTES: usize = 1024;

const ALLOWED_FORM: &str = "allowed: s3://BUCKET/KEY";

/// Bucket and key. The key is used as written: no percent-decoding, no query.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct S3Uri {
    bucket: String,
    key: String,
}

impl S3Uri {
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Returns the key, which is empty for the bucket itself.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns true if the key is empty or ends with a slash: it names a folder and not one object.
    pub fn is_prefix(&self) -> bool {
        self.key.is_empty() || self.key.ends_with('/')
    }

    /// Returns the part of the key after its last slash.
    pub fn file_name(&self) -> &str {
        match self.key.rsplit_once('/') {
            Some((_, name)) => name,
            None => &self.key,
        }
    }

    /// Returns the URI of the object `name` in this folder.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        Self { bucket: self.bucket.clone(), key: format!("{}{name}", self.key) }
    }
}

impl fmt::Display for S3Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.bucket, self.key)
    }
}

impl FromStr for S3Uri {
    type Err = String;

    /// Parses a URI. The error text follows the URI in a sentence and names the allowed form.
    fn from_str(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix(SCHEME) else {
            return Err(format!("is no S3 URI; {ALLOWED_FORM}"));
        };
        // A bucket without a key may lack its slash.
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if !is_bucket_name(bucket) {
            return Err(format!(
                "names the bucket {bucket:?}, and a bucket's name has 3 to 63 lower-case letters, \
                 digits, dots and hyphens, with a letter or digit at both ends; {ALLOWED_FORM}"
            ));
        }
        if key.len() > MAX_KEY_BYTES {
            return Err(format!(
                "has a key of {} bytes; S3's keys have up to {MAX_KEY_BYTES}",
                key.len()
            ));
        }
        Ok(Self { bucket: bucket.to_owned(), key: key.to_owned() })
    }
}

fn is_bucket_name(name: &str) -> bool {
    (3..=63).contains(&name.len())
        && name.chars().all(|c| is_lowercase_alphanumeric(c) || matches!(c, '.' | '-'))
        && name.starts_with(is_lowercase_alphanumeric)
        && name.ends_with(is_lowercase_alphanumeric)
        && !name.contains("..")
}

fn is_lowercase_alphanumeric(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_key_and_name_are_told_apart() {
        let uri: S3Uri = "s3://my-bucket.1/a b/c%20+?.jpg".parse().unwrap();
        assert_eq!((uri.bucket(), uri.key()), ("my-bucket.1", "a b/c%20+?.jpg"));
        assert_eq!((uri.file_name(), uri.is_prefix()), ("c%20+?.jpg", false));
        for folder in ["s3://bucket", "s3://bucket/", "s3://bucket/a/"] {
            assert!(folder.parse::<S3Uri>().unwrap().is_prefix(), "{folder}");
        }
        let folder: S3Uri = "s3://bucket/a/".parse().unwrap();
        assert_eq!(folder.join("b.pth").to_string(), "s3://bucket/a/b.pth");
    }

    #[test]
    fn what_is_wrong_is_said_with_what_is_allowed() {
        let long = format!("s3://bucket/{}", "k".repeat(MAX_KEY_BYTES + 1));
        for (text, said) in [
            ("S3://bucket/a", "is no S3 URI; allowed: s3://BUCKET/KEY"),
            ("https://bucket/a", "is no S3 URI"),
            ("s3:///key", "names the bucket \"\""),
            ("s3://ab/key", "3 to 63 lower-case letters"),
            ("s3://My_Bucket/key", "names the bucket \"My_Bucket\""),
            ("s3://-bucket/key", "a letter or digit at both ends"),
            (&long, "has a key of 1025 bytes"),
        ] {
            let error = text.parse::<S3Uri>().unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_text_never_panics_and_what_is_taken_reads_back(text: String) {
            for text in [text.clone(), format!("s3://{text}"), format!("s3://bucket/{text}")] {
                if let Ok(uri) = text.parse::<S3Uri>() {
                    // Only the slash after a bucket without a key may differ.
                    let written = uri.to_string();
                    let same = written == text || written == [&text, "/"].concat();
                    proptest::prop_assert!(same, "{} became {}", text, written);
                    proptest::prop_assert_eq!(written.parse::<S3Uri>().unwrap(), uri);
                }
            }
        }

        #[test]
        fn every_bucket_with_every_key_is_taken(
            bucket in "[a-z0-9][a-z0-9-]{1,61}[a-z0-9]",
            key in "\\PC{0,200}",
        ) {
            let text = format!("s3://{bucket}/{key}");
            let uri: S3Uri = text.parse().unwrap();
            proptest::prop_assert_eq!((uri.bucket(), uri.key()), (&*bucket, &*key));
            proptest::prop_assert_eq!(uri.to_string(), text);
        }
    }
}
