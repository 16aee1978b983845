//! Images that a request only names: `s3://bucket/key`.

use std::pin::Pin;

use super::super::options::short;

/// Characters of a key, in UTF-8 (S3's limit), and of a bucket's name.
const LONGEST_KEY: usize = 1024;
const LONGEST_BUCKET: usize = 255;

/// What waits for an answer from elsewhere.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Fetches what requests name.
pub trait Fetch: Send + Sync {
    /// The bytes of `uri`, an `s3://bucket/key`, which may be at most `most`; the error says what went wrong, and is
    /// shown to the client.
    fn fetch(&self, uri: &str, most: usize) -> BoxFuture<'static, Result<Vec<u8>, String>>;
}

/// Checks the form of a reference; the error completes "the record ...".
pub(super) fn check(uri: &str) -> Result<(), String> {
    let wrong =
        |what: &str| Err(format!("names {} {what}; references are s3://bucket/key", short(uri)));
    let Some(path) = uri.strip_prefix("s3://") else { return wrong("which is not in S3") };
    match path.split_once('/') {
        None | Some(("", _) | (_, "")) => wrong("without a bucket or a key"),
        Some((bucket, key)) if bucket.len() > LONGEST_BUCKET || key.len() > LONGEST_KEY => {
            wrong("whose bucket or key is too long")
        }
        Some(_) if uri.chars().any(char::is_control) => wrong("with control characters"),
        Some(_) => Ok(()),
    }
}
