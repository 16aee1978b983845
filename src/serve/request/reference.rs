//! Images that a request names by `s3://bucket/key`.

use std::pin::Pin;

use crate::serve::request::options::quote_truncated;

/// Longest key (S3's limit) and bucket name, in bytes of UTF-8.
const MAX_KEY_BYTES: usize = 1024;
const MAX_BUCKET_BYTES: usize = 255;

/// A boxed future.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Fetches the objects that requests name.
pub trait ObjectFetcher: Send + Sync {
    /// Returns the bytes of `uri`, an `s3://bucket/key`, of which at most `max_bytes` are allowed.
    /// The error says what went wrong, and is shown to the client.
    fn fetch(&self, uri: &str, max_bytes: usize) -> BoxFuture<'static, Result<Vec<u8>, String>>;
}

/// Checks the form of a reference; the error completes "the record ...".
pub(super) fn check_s3_uri(uri: &str) -> Result<(), String> {
    let problem = match uri.strip_prefix("s3://").map(|path| path.split_once('/')) {
        None => "which is not in S3",
        Some(None | Some(("", _) | (_, ""))) => "without a bucket or a key",
        Some(Some((bucket, key)))
            if bucket.len() > MAX_BUCKET_BYTES || key.len() > MAX_KEY_BYTES =>
        {
            "whose bucket or key is too long"
        }
        Some(Some(_)) if uri.chars().any(char::is_control) => "with control characters",
        Some(Some(_)) => return Ok(()),
    };
    Err(format!("names {} {problem}; references are s3://bucket/key", quote_truncated(uri)))
}
