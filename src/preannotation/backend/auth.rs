//! Name and password, by which Label Studio shows who asks (RFC 7617).

use std::fmt;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// Name and password that requests must have. Neither is ever shown.
#[derive(Clone)]
pub struct BasicAuth {
    /// SHA-256 of `name:password`: comparing digests takes as long whatever was given.
    digest: [u8; 32],
}

impl BasicAuth {
    pub fn new(name: &str, password: &str) -> Self {
        Self { digest: Sha256::digest(format!("{name}:{password}")).into() }
    }

    /// Returns true if a request has the name and the password.
    pub(super) fn allows(&self, headers: &HeaderMap) -> bool {
        let Some(value) = headers.get(AUTHORIZATION) else { return false };
        let Some((scheme, credentials)) = value.to_str().ok().and_then(|text| text.split_once(' '))
        else {
            return false;
        };
        let Ok(given) = STANDARD.decode(credentials.trim()) else { return false };
        let given: [u8; 32] = Sha256::digest(given).into();
        scheme.eq_ignore_ascii_case("basic") && given == self.digest
    }
}

impl fmt::Debug for BasicAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BasicAuth")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_and_the_password_alone_are_let_in() {
        let auth = BasicAuth::new("lsuser", "lspass");
        let allows = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            auth.allows(&headers)
        };
        // As Label Studio sent it.
        assert!(allows("Basic bHN1c2VyOmxzcGFzcw=="));
        assert!(allows("basic bHN1c2VyOmxzcGFzcw=="));
        for refused in ["Bearer bHN1c2VyOmxzcGFzcw==", "Basic", "Basic *", "Basic bHN1c2VyOng=", ""]
        {
            assert!(!allows(refused), "{refused}");
        }
        assert!(!auth.allows(&HeaderMap::new()));
    }
}
