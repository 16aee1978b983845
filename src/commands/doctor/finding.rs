//! `maskmaker doctor` reports each of its checks as a finding.

use serde::Serialize;

/// How a finding bears on a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// All is well.
    Ok,
    /// Some jobs will be slow, or cannot run.
    Warning,
    /// Training or serving will fail.
    Problem,
}

impl Level {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// Name of the check, such as `memory`.
    pub(super) check: &'static str,
    pub(super) level: Level,
    /// Text that says what the check found, and how to mend it.
    pub(super) message: String,
}

impl Finding {
    pub(super) fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, message: message.into() }
    }

    pub(super) fn warning(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, level: Level::Warning, message: message.into() }
    }

    pub(super) fn problem(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, level: Level::Problem, message: message.into() }
    }
}
