//! Images that a request only names: `s3://bucket/key`.

use std::pin::Pin;

use super::super::options::quote_truncated;

/// Characters of a key, in UTF-8 (S3's limit), and of a bucket's name.
const MAX_KEY_BYTES: usize = 1024;
const MAX_BUCKET_BYTES: usize = 255;

/// What waits for an answer from elsewhere.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Fetches what requests name.
pub trait ObjectFetcher: Send + Sync {
    /// The bytes of `uri`, an `s3://bucket/key`, which may be at most `most`; the error says what went wrong, and is
    /// shown to the client.
    fn fetch(&self, uri: &str, max_bytes: usize) -> BoxFuture<'static, Result<Vec<u8>, String>>;
}

/// Checks the form of a reference; the error completes "the record ...".
pub(super) fn check_s3_uri(uri: &str) -> Result<(), String> {
    let invalid_uri = |what: &str| {
        Err(format!("names {} {what}; references are s3://bucket/key", quote_truncated(uri)))
    };
    let Some(path) = uri.strip_prefix("s3://") else { return invalid_uri("which is not in S3") };
    match path.split_once('/') {
        None | Some(("", _) | (_, "")) => invalid_uri("without a bucket or a key"),
        Some((bucket, key)) if bucket.len() > MAX_BUCKET_BYTES || key.len() > MAX_KEY_BYTES => {
            invalid_uri("whose bucket or key is too long")
        }
        Some(_) if uri.chars().any(char::is_control) => invalid_uri("with control characters"),
        Some(_) => Ok(()),
    }
}
