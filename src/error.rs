//! The one error type: what is wrong, in words that name the fix, and whose fault it is.
//!
//! Checks collect into [`Problems`], so that a user sees everything that is wrong at once and not
//! one thing per attempt.

use std::fmt;
use std::path::Path;

/// Shorthand used by every room.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whose fault an [`Error`] is; it decides the exit code (design: 18).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Data or configuration is wrong: exit code 3, and the reason goes to `output/failure`.
    Input,
    /// Ours: exit code 1.
    Internal,
}

/// One or more problems that ended a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    fault: Fault,
    problems: Vec<String>,
}

impl Error {
    /// Wrong data or configuration. The text names the file or key, what was found, what is
    /// allowed, and the fix.
    pub fn input(problem: impl Into<String>) -> Self {
        Self { fault: Fault::Input, problems: vec![problem.into()] }
    }

    /// Something that no input should be able to cause.
    pub fn internal(problem: impl Into<String>) -> Self {
        Self { fault: Fault::Internal, problems: vec![problem.into()] }
    }

    /// A file operation failed. `doing` completes "cannot ... PATH", for example "read".
    pub fn io(doing: &str, path: &Path, cause: &std::io::Error) -> Self {
        let mut text = format!("cannot {doing} {}: {cause}", path.display());
        if cause.kind() == std::io::ErrorKind::PermissionDenied {
            text.push_str(" (check the owner and the mode of the folder, or mount it writable)");
        }
        Self::input(text)
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// Every problem, in the order it was found; never empty.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// The same error with `context` and a colon before each problem.
    #[must_use]
    pub fn within(mut self, context: impl fmt::Display) -> Self {
        for problem in &mut self.problems {
            *problem = format!("{context}: {problem}");
        }
        self
    }

    /// The process exit code (design: 18).
    pub fn exit_code(&self) -> u8 {
        match self.fault {
            Fault::Input => 3,
            Fault::Internal => 1,
        }
    }
}

/// The first line says the first problem; further ones follow as a list.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [only] => f.write_str(only),
            [first, rest @ ..] => {
                let (count, s) = (rest.len(), if rest.len() == 1 { "" } else { "s" });
                write!(f, "{first} (and {count} more problem{s}, below)")?;
                rest.iter().try_for_each(|problem| write!(f, "\n- {problem}"))
            }
            [] => f.write_str("unknown problem"),
        }
    }
}

impl std::error::Error for Error {}

/// An error of libtorch: ours unless a boundary says otherwise.
impl From<tch::TchError> for Error {
    fn from(error: tch::TchError) -> Self {
        let text = error.to_string();
        // The C++ backtrace that libtorch appends helps nobody at a terminal.
        let reason = text.split("\nException raised from").next().unwrap_or(&text);
        Self::internal(format!("libtorch: {}", reason.trim()))
    }
}

/// Collects problems while checking goes on.
#[derive(Debug, Default)]
pub struct Problems(Vec<String>);

impl Problems {
    /// An empty collection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes one problem.
    pub fn push(&mut self, problem: impl Into<String>) {
        self.0.push(problem.into());
    }

    /// Notes the problems of a failed result and hands on the value of a good one.
    pub fn check<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.0.extend(error.problems)).ok()
    }

    /// Whether nothing was noted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All problems as one input error, or nothing when there were none.
    pub fn into_result(self) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(Error { fault: Fault::Input, problems: self.0 })
    }
}

/// The name among `known` that `got` was most likely meant to be, as ` (did you mean "x"?)`, or
/// nothing when none is near.
pub fn did_you_mean<'a>(got: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let fold = |name: &str| name.to_lowercase().replace(['-', '.', ' '], "_");
    let nearest = known
        .into_iter()
        .map(|name| (strsim::normalized_damerau_levenshtein(&fold(got), &fold(name)), name))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((likeness, name)) if likeness >= 0.6 => format!(" (did you mean {name:?}?)"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_tells_the_first_problem_and_how_many_follow() {
        let mut problems = Problems::new();
        problems.push("a is wrong");
        problems.push("b is wrong");
        let error = problems.into_result().unwrap_err();
        assert_eq!(error.to_string(), "a is wrong (and 1 more problem, below)\n- b is wrong");
        assert_eq!(error.exit_code(), 3);
    }

    #[test]
    fn near_names_are_suggested_and_far_ones_are_not() {
        let known = ["learning_rate", "epochs"];
        assert_eq!(did_you_mean("learnin-rate", known), " (did you mean \"learning_rate\"?)");
        assert_eq!(did_you_mean("zebra", known), "");
    }
}
