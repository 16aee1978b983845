//! Mistakes of a definition: errors and warnings with the step and field that they are about.

use std::collections::HashSet;
use std::fmt;

use crate::error::{MAX_PROBLEM_CHARS, Problems, Result, shorten_text};

/// Weight of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The service refuses the definition, or a step of it fails.
    Error,
    /// The pipeline runs, but probably not as meant.
    Warning,
}

/// Step and field that a finding is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Place {
    /// Name of the step; none for what is outside of steps.
    pub step: Option<String>,
    /// Path of the field below the step or the definition, such as `Arguments.RoleArn` or
    /// `Arguments.InputDataConfig[0].ChannelName`. It is empty for the whole.
    pub field: String,
}

impl Place {
    /// Creates the place of a field outside of steps.
    pub fn definition(field: impl Into<String>) -> Self {
        Self { step: None, field: field.into() }
    }

    /// Creates the place of a field of a step.
    pub fn step(step: &str, field: impl Into<String>) -> Self {
        Self { step: Some(step.to_owned()), field: field.into() }
    }

    /// Returns the place of a key below this one. A key that would not be one word is quoted.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        if !is_word(key) {
            let field = format!("{}[{key:?}]", self.field);
            return Self { step: self.step.clone(), field };
        }
        let separator = if self.field.is_empty() { "" } else { "." };
        Self { step: self.step.clone(), field: format!("{}{separator}{key}", self.field) }
    }

    /// Returns the place of an entry of the list that is here.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self { step: self.step.clone(), field: format!("{}[{index}]", self.field) }
    }
}

/// Shows `step Train, Arguments.RoleArn`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = self
            .step
            .as_ref()
            .map(|step| if is_word(step) { step.clone() } else { format!("{step:?}") });
        match (step, self.field.as_str()) {
            (Some(step), "") => write!(f, "step {step}"),
            (Some(step), field) => write!(f, "step {step}, {field}"),
            (None, "") => f.write_str("the definition"),
            (None, field) => f.write_str(field),
        }
    }
}

/// Returns true for a key that needs no quotes in a path, and that a terminal shows as it is. `::` and
/// the like stand in names of metrics.
fn is_word(key: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ':');
    !key.is_empty() && key.chars().all(is_plain)
}

/// One mistake of a definition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Finding {
    pub severity: Severity,
    pub place: Place,
    /// Text that says what was found, what is allowed, and the fix.
    pub problem: String,
}

/// Shows `error: step Train, Arguments.RoleArn: ...`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: {}: {}", self.place, self.problem)
    }
}

/// Mistakes of a definition, in the order in which they were found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    list: Vec<Finding>,
    /// The same findings, to be looked up.
    known: HashSet<Finding>,
}

impl Findings {
    /// Creates an empty collection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an error.
    pub fn error(&mut self, place: Place, problem: impl Into<String>) {
        self.add(Severity::Error, place, &problem.into());
    }

    /// Adds a warning.
    pub fn warning(&mut self, place: Place, problem: impl Into<String>) {
        self.add(Severity::Warning, place, &problem.into());
    }

    /// Adds a finding, unless the same one is there: a value that two fields take from one parameter
    /// is told once for each of them, but not twice for one.
    fn add(&mut self, severity: Severity, place: Place, problem: &str) {
        let problem = shorten_text(problem, MAX_PROBLEM_CHARS).into_owned();
        let finding = Finding { severity, place, problem };
        if self.known.insert(finding.clone()) {
            self.list.push(finding);
        }
    }

    /// Returns all findings.
    pub fn as_slice(&self) -> &[Finding] {
        &self.list
    }

    /// Returns true if one of the findings is an error.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// Returns true if one of the findings is an error at this place or below it.
    pub fn have_errors_below(&self, place: &Place) -> bool {
        self.list.iter().any(|finding| {
            let rest = finding.place.field.strip_prefix(&place.field);
            finding.severity == Severity::Error
                && finding.place.step == place.step
                && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }

    /// Returns how many findings have this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.list.iter().filter(|finding| finding.severity == severity).count()
    }

    /// Fails with all errors, if there are any. Warnings are left out.
    pub fn into_result(self) -> Result<()> {
        let mut problems = Problems::new();
        for finding in self.list {
            if finding.severity == Severity::Error {
                problems.push(format!("{}: {}", finding.place, finding.problem));
            }
        }
        problems.into_result()
    }
}
