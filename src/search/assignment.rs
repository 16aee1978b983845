//! The values of one trial's hyperparameters.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Values of one trial by the hyperparameters' names, as texts, which is how SageMaker passes them.
/// Whole numbers have no point, and other numbers are the shortest text that reads back as the same
/// number. A hyperparameter whose condition does not hold is absent. Its JSON form is an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Assignment {
    values: BTreeMap<String, String>,
}

impl Assignment {
    /// Creates an assignment without values.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the value of a hyperparameter, and replaces an earlier one.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.values.insert(name.into(), value.into());
    }

    /// Returns the value of a hyperparameter, or `None` if it is absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Returns names and values in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns the number of values.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Returns true if there are no values.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Assignment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(values: I) -> Self {
        let mut assignment = Self::new();
        for (name, value) in values {
            assignment.set(name, value);
        }
        assignment
    }
}
