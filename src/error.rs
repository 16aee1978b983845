//! The one error type: what is wrong, in words that name the fix, and whose fault it is.
//!
//! Checks collect into [`Problems`], so that a user sees everything that is wrong at once and not
//! one thing per attempt.

use std::fmt;
use std::path::Path;

/// Shorthand used by every room.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whose fault an [`Error`] is; it decides the exit code (`docs/architecture.md#exit-codes`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum ErrorKind {
    /// Data or configuration is wrong: exit code 3, and the reason goes to `output/failure`.
    #[default]
    Input,
    /// The data or settings ask for more memory than there is: exit code 3. Whoever knows the
    /// setting that mends it says so with [`Error::when_out_of_memory`].
    Memory,
    /// Ours: exit code 1.
    Internal,
}

/// One or more problems that ended a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    problems: Vec<String>,
}

impl Error {
    /// Wrong data or configuration. The text names the file or key, what was found, what is
    /// allowed, and the fix.
    pub fn input(problem: impl Into<String>) -> Self {
        Self::new(ErrorKind::Input, &problem.into())
    }

    /// Something that no input should be able to cause.
    pub fn internal(problem: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, &problem.into())
    }

    /// There is not enough memory for what was asked.
    pub fn out_of_memory(reason: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Memory, &format!("not enough memory ({reason})"))
    }

    /// Whether memory ran out, so that the same may succeed with more of it.
    pub fn is_out_of_memory(&self) -> bool {
        self.kind == ErrorKind::Memory
    }

    /// Names and values come from users: no control character of theirs reaches a terminal, and a
    /// problem stays one line.
    fn new(kind: ErrorKind, problem: &str) -> Self {
        let replace_control = |c: char| if c.is_control() { ' ' } else { c };
        Self { kind, problems: vec![problem.chars().map(replace_control).collect()] }
    }

    /// A file operation failed. `doing` completes "cannot ... PATH", for example "read".
    pub fn io(operation: &str, path: &Path, cause: &std::io::Error) -> Self {
        // Temporary files wrap the system's reason in a text with their own name.
        let reason = match cause.get_ref().and_then(std::error::Error::source) {
            Some(source) => source.to_string(),
            None => cause.to_string(),
        };
        let is_denied = cause.kind() == std::io::ErrorKind::PermissionDenied;
        let hint =
            if is_denied { " (check its owner and mode, and how it is mounted)" } else { "" };
        Self::input(format!("cannot {operation} {}: {reason}{hint}", path.display()))
    }

    /// The same error with `advice` if it says that memory ran out.
    #[must_use]
    pub fn with_memory_advice(mut self, advice: &str) -> Self {
        if self.kind == ErrorKind::Memory {
            self.problems.iter_mut().for_each(|problem| problem.push_str(advice));
        }
        self
    }

    /// Every problem, in the order it was found; never empty.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// The same error with `context` and a colon before each problem.
    #[must_use]
    pub fn with_context(mut self, context: impl fmt::Display) -> Self {
        for problem in &mut self.problems {
            *problem = format!("{context}: {problem}");
        }
        self
    }

    /// The process exit code (`docs/architecture.md#exit-codes`).
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            ErrorKind::Input | ErrorKind::Memory => 3,
            ErrorKind::Internal => 1,
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

/// Collects problems while checking goes on.
#[derive(Debug, Default)]
pub struct Problems {
    /// The worst of all.
    worst_kind: ErrorKind,
    messages: Vec<String>,
}

impl Problems {
    /// An empty collection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes one problem.
    pub fn push(&mut self, problem: impl Into<String>) {
        self.push_error(Error::input(problem));
    }

    /// Notes the problems of a failed result and hands on the value of a good one.
    pub fn record_err<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.push_error(error)).ok()
    }

    fn push_error(&mut self, error: Error) {
        self.worst_kind = self.worst_kind.max(error.kind);
        self.messages.extend(error.problems);
    }

    /// Whether nothing was noted.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// All problems as one error, or nothing when there were none.
    pub fn into_result(self) -> Result<()> {
        if self.messages.is_empty() {
            return Ok(());
        }
        Err(Error { kind: self.worst_kind, problems: self.messages })
    }
}

/// The name among `known` that `got` was most likely meant to be, as ` (did you mean "x"?)`, or
/// nothing when none is near.
pub fn did_you_mean<'a>(
    unknown_name: &str,
    known_names: impl IntoIterator<Item = &'a str>,
) -> String {
    let normalize = |name: &str| name.to_lowercase().replace(['-', '.', ' '], "_");
    let nearest = known_names
        .into_iter()
        .map(|name| {
            (
                strsim::normalized_damerau_levenshtein(&normalize(unknown_name), &normalize(name)),
                name,
            )
        })
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((similarity, name)) if similarity >= 0.6 => format!(" (did you mean {name:?}?)"),
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
    fn the_worst_fault_decides_and_control_characters_of_users_are_taken_out() {
        let mut problems = Problems::new();
        problems.push("key\n\u{1b}[31m");
        problems.record_err(Err::<(), _>(Error::internal("ours")));
        problems.push("more");
        let error = problems.into_result().unwrap_err();
        assert_eq!(error.exit_code(), 1);
        assert_eq!(error.problems(), ["key  [31m", "ours", "more"]);
    }

    #[test]
    fn near_names_are_suggested_and_far_ones_are_not() {
        let known_names = ["learning_rate", "epochs"];
        assert_eq!(did_you_mean("learnin-rate", known_names), " (did you mean \"learning_rate\"?)");
        assert_eq!(did_you_mean("zebra", known_names), "");
    }
}
