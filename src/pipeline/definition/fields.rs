//! The keys of one object of a definition, read with the mistakes that they have.

use serde_json::{Map, Value};

use crate::error::did_you_mean;
use crate::pipeline::findings::{Findings, Place};

/// Object of a definition, and where its mistakes go.
pub(super) struct Fields<'a, 'f> {
    object: &'a Map<String, Value>,
    place: Place,
    findings: &'f mut Findings,
}

impl<'a, 'f> Fields<'a, 'f> {
    /// Reads a value as an object. A value that is none is an error.
    pub(super) fn of(value: &'a Value, place: &Place, findings: &'f mut Findings) -> Option<Self> {
        if let Some(object) = value.as_object() {
            return Some(Self { object, place: place.clone(), findings });
        }
        findings.error(place.clone(), format!("is {}; allowed: an object", describe(value)));
        None
    }

    /// Finds keys that are not among the known ones.
    pub(super) fn check_keys(&mut self, known: &[&str]) {
        for key in self.object.keys() {
            if !known.contains(&key.as_str()) {
                let hint = did_you_mean(key, known.iter().copied());
                self.findings.error(
                    self.place.key(key),
                    format!("the key is unknown{hint}; allowed: {}", known.join(", ")),
                );
            }
        }
    }

    /// Returns the value of a key that may be absent.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key)
    }

    /// Returns a text that may be absent.
    pub(super) fn text(&mut self, key: &str) -> Option<&'a str> {
        let value = self.object.get(key)?;
        if value.as_str().is_none() {
            self.error(key, format!("is {}; allowed: a text", describe(value)));
        }
        value.as_str()
    }

    /// Returns a text; an absent one is an error.
    pub(super) fn required_text(&mut self, key: &str, meaning: &str) -> Option<&'a str> {
        if !self.object.contains_key(key) {
            self.error(key, format!("is missing; give {meaning}"));
        }
        self.text(key)
    }

    /// Returns a list, which is empty if the key is absent.
    pub(super) fn list(&mut self, key: &str) -> &'a [Value] {
        let Some(value) = self.object.get(key) else { return &[] };
        let Some(list) = value.as_array() else {
            self.error(key, format!("is {}; allowed: a list", describe(value)));
            return &[];
        };
        list
    }

    /// Returns the place of a key.
    pub(super) fn place(&self, key: &str) -> Place {
        self.place.key(key)
    }

    /// Adds an error about a key.
    pub(super) fn error(&mut self, key: &str, problem: impl Into<String>) {
        self.findings.error(self.place.key(key), problem);
    }

    /// Returns where the mistakes go.
    pub(super) fn findings(&mut self) -> &mut Findings {
        self.findings
    }
}

/// Returns how a message names a value: by itself if it is short, else by its type.
pub(in crate::pipeline) fn describe(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        other => other.to_string(),
    }
}
