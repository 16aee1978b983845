//! References to files, named for people without what may be secret.

use std::fmt::Write;

use reqwest::Url;
use sha2::{Digest, Sha256};

use super::error::show_url;

/// Longest name of a reference, in characters.
const MAX_NAME_CHARS: usize = 300;

/// Names a reference for people and for lists: without what may be secret, such as the
/// signature in an address, and with a part of the whole reference's SHA-256 in its place.
pub fn name_reference(reference: &str) -> String {
    let mut name = reference.to_owned();
    if let Ok(url) = reference.parse::<Url>()
        && matches!(url.scheme(), "http" | "https")
    {
        name = show_url(&url);
        if url.query().is_some() || !url.username().is_empty() || url.password().is_some() {
            name = format!("{name}?{}", short_digest(reference));
        }
    }
    if name.chars().count() > MAX_NAME_CHARS || name.chars().any(char::is_control) {
        let start: String = name.chars().filter(|sign| !sign.is_control()).take(100).collect();
        name = format!("{start}...{}", short_digest(reference));
    }
    name
}

/// Returns the first 16 digits of a text's SHA-256.
pub fn short_digest(text: &str) -> String {
    let mut digits = String::new();
    for byte in &Sha256::digest(text.as_bytes())[..8] {
        // Writing to a text does not fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_named_without_secrets_and_stay_apart() {
        assert_eq!(name_reference("/data/local-files/?d=a b.jpg"), "/data/local-files/?d=a b.jpg");
        assert_eq!(name_reference("s3://bucket/a?b.jpg"), "s3://bucket/a?b.jpg");
        let (first, second) = (
            name_reference("https://host/a.jpg?signature=x"),
            name_reference("https://user:pw@host/a.jpg?signature=y"),
        );
        assert!(
            first.starts_with("https://host/a.jpg?") && !first.contains("signature"),
            "{first}"
        );
        assert!(second.starts_with("https://host/a.jpg?") && !second.contains("pw"), "{second}");
        assert_ne!(first, second);
        assert!(!name_reference("/data/\u{1b}[2J.jpg").contains('\u{1b}'));
        assert!(name_reference(&"n".repeat(5000)).len() < 200);
    }
}
