//! Errors: which type is used where, and how problems are collected.
//!
//! Two rules hold in the whole crate. An [`Error`] is a text for users, which names the file or
//! key, what was found, what is allowed, and the fix; its [`ErrorKind`] decides the exit code. And
//! a check goes on after the first problem: it collects into [`Problems`], so that a user sees
//! everything that is wrong at once (`docs/architecture.md#all-problems-at-once`).
//!
//! # Which error type where
//!
//! A room has an error type of its own only if a caller must tell cases apart before they become a
//! text. From the lowest floor to the highest:
//!
//! | type | made by | becomes |
//! |---|---|---|
//! | [`Error`] | every room | lines on standard error, `output/failure` and the exit code (`src/cli/mod.rs`) |
//! | [`GivenUp`] | [`Problems::check`], steps that are left out | nothing: its reason is in [`Problems`], or the command was asked to stop |
//! | `String` | parsers that do not know their file | a part of an [`Error`]: it completes a sentence whose subject, such as a line or a record, the caller puts first |
//! | `tch::TchError` | libtorch | [`Error`], by `From` in `src/torch/error.rs`, which recognizes that memory ran out |
//! | `S3Error` | `src/aws` | [`Error`]; `src/data/objects` first lists the objects that fail, and separates failures of one object from failures of all |
//! | `DecodeError`, `MaskError` | `src/imaging` | `SampleError`, `ApiError` (status 400 or 413), or a problem of `preprocess` |
//! | `RecordIoError` | `src/data/recordio` | [`Error`], by `src/data/pipe.rs`, which adds advice |
//! | `SampleError` | `Sample` in `src/data/sample.rs` | one list per kind in the audit; [`Error`] in the loader |
//! | errors of formats | `src/annotations` | problems of `preprocess`, which name file and annotation |
//! | `NotFound` | `src/preprocess/file_index/mod.rs` | of an image: `Ambiguous` is a problem of `preprocess` (exit code 3); `Missing` and `OtherFolder` are entries that are skipped (exit code 0, or 3 with `--strict`). Of a mask of Ground Truth: always a skipped entry |
//! | `RestoreError` | `src/train/checkpoint.rs` | a warning, and an older checkpoint is tried; or [`Error`] |
//! | errors of jobs, records and loading | `src/serve` | `ApiError` |
//! | `ApiError` | `src/serve` | the status and JSON body of an answer; never [`Error`] |

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

/// Result of functions in every room, with [`Error`] unless another error is named.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Longest problem of wrong data in a message, in characters. A text of a user that is repeated in
/// it may have megabytes.
pub const MAX_PROBLEM_CHARS: usize = 2000;

/// Longest name, value or reason in a list of examples, and longest path of a report, in
/// characters.
pub const MAX_EXAMPLE_CHARS: usize = 500;

/// Largest number of names that a message lists.
const MAX_EXAMPLES: usize = 5;

/// Longest name of a user that advice is looked up for, in bytes: the search takes its product with
/// each known name.
const MAX_SUGGESTION_BYTES: usize = 200;

/// Origin of an [`Error`], which decides the exit code (`docs/architecture.md#exit-codes`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum ErrorKind {
    /// Data or configuration is wrong. The exit code is 3, and the reason goes to `output/failure`.
    #[default]
    Input,
    /// The data or settings need more memory than there is. The exit code is 3. A caller that knows
    /// which setting lowers the need adds it by [`Error::with_memory_advice`].
    Memory,
    /// A model was evaluated and may not go live. The exit code is 4.
    Rejected,
    /// The program itself is at fault. The exit code is 1.
    Internal,
}

/// One or more problems that ended a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    problems: Vec<String>,
}

impl Error {
    /// Creates the error of wrong data or configuration. The text names the file or key, what was
    /// found, what is allowed, and the fix.
    pub fn input(problem: impl Into<String>) -> Self {
        Self::new(ErrorKind::Input, &problem.into())
    }

    /// Creates the error of a model that may not go live.
    pub fn rejected(reason: impl Into<String>) -> Self {
        Self::new(ErrorKind::Rejected, &reason.into())
    }

    /// Creates the error of a state that no input should be able to cause.
    pub fn internal(problem: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, &problem.into())
    }

    /// Creates the error that another process of the job ended with. `is_input` says if wrong data
    /// or configuration was the reason.
    pub fn from_process(problems: Vec<String>, is_input: bool) -> Self {
        let kind = if is_input { ErrorKind::Input } else { ErrorKind::Internal };
        Self { kind, problems }
    }

    /// Creates the error of a task that needs more memory than there is.
    pub fn out_of_memory(reason: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Memory, &format!("not enough memory ({reason})"))
    }

    /// Returns true if memory ran out, so that the same task may succeed with more of it.
    pub fn is_out_of_memory(&self) -> bool {
        self.kind == ErrorKind::Memory
    }

    /// Replaces control characters by spaces, and cuts a problem of wrong data that is too long.
    /// Names and values come from users: none of their control characters may reach a terminal, and
    /// a problem must stay one line that people can read.
    fn new(kind: ErrorKind, problem: &str) -> Self {
        let problem = match kind {
            ErrorKind::Input | ErrorKind::Rejected => shorten_text(problem, MAX_PROBLEM_CHARS),
            ErrorKind::Memory | ErrorKind::Internal => Cow::Borrowed(problem),
        };
        Self { kind, problems: vec![replace_control_characters(&problem).into_owned()] }
    }

    /// Creates the error of a failed file operation. `operation` completes "cannot ... PATH", for
    /// example "read".
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

    /// Appends `advice` if the error says that memory ran out.
    #[must_use]
    pub fn with_memory_advice(mut self, advice: &str) -> Self {
        if self.kind == ErrorKind::Memory {
            for problem in &mut self.problems {
                problem.push_str(advice);
            }
        }
        self
    }

    /// Returns every problem, in the order they were found; there is at least one.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Puts `context` and a colon before each problem.
    #[must_use]
    pub fn with_context(mut self, context: impl fmt::Display) -> Self {
        for problem in &mut self.problems {
            *problem = format!("{context}: {problem}");
        }
        self
    }

    /// Returns the process exit code (`docs/architecture.md#exit-codes`).
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            ErrorKind::Input | ErrorKind::Memory => 3,
            ErrorKind::Rejected => 4,
            ErrorKind::Internal => 1,
        }
    }
}

/// Adds contexts to the errors of results.
pub trait ErrorContext {
    /// Puts `context` and a colon before each problem of an error.
    #[must_use]
    fn error_context(self, context: impl fmt::Display) -> Self;

    /// Appends `advice` to an error that says that memory ran out.
    #[must_use]
    fn memory_advice(self, advice: &str) -> Self;
}

impl<T> ErrorContext for Result<T> {
    fn error_context(self, context: impl fmt::Display) -> Self {
        self.map_err(|error| error.with_context(context))
    }

    fn memory_advice(self, advice: &str) -> Self {
        self.map_err(|error| error.with_memory_advice(advice))
    }
}

/// Shows the first problem in the first line, and further ones as a list below.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [only] => f.write_str(only),
            [first, rest @ ..] => {
                let (count, s) = (rest.len(), if rest.len() == 1 { "" } else { "s" });
                write!(f, "{first} (and {count} more problem{s}, below)")?;
                for problem in rest {
                    write!(f, "\n- {problem}")?;
                }
                Ok(())
            }
            [] => f.write_str("unknown problem"),
        }
    }
}

impl std::error::Error for Error {}

/// Problems that checks found. Checking goes on after the first one.
#[derive(Debug, Default)]
pub struct Problems {
    /// Worst kind of all problems.
    worst_kind: ErrorKind,
    messages: Vec<String>,
}

impl Problems {
    /// Creates an empty collection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one problem of wrong data or configuration.
    pub fn push(&mut self, problem: impl Into<String>) {
        self.push_error(Error::input(problem));
    }

    /// Adds the problems of a failed result, and returns its value until all checks are done:
    /// [`Problems::finish_with`] gives the values of several checks back.
    pub fn check<T>(&mut self, result: Result<T>) -> Checked<T> {
        match result {
            Ok(value) => Ok(value),
            Err(error) => {
                self.push_error(error.clone());
                Err(GivenUp(error))
            }
        }
    }

    /// Adds the problems of a failed result, and returns the value of a good one. Unlike
    /// [`Problems::check`], this is for values that may be left out, such as one file of many.
    pub fn record_err<T>(&mut self, result: Result<T>) -> Option<T> {
        self.check(result).ok()
    }

    fn push_error(&mut self, error: Error) {
        self.worst_kind = self.worst_kind.max(error.kind);
        self.messages.extend(error.problems);
    }

    /// Returns true if there are no problems so far.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Fails if there are problems so far. A step that takes minutes begins with this check.
    pub fn check_empty(&self) -> Checked<()> {
        if self.messages.is_empty() {
            return Ok(());
        }
        Err(GivenUp(Error { kind: self.worst_kind, problems: self.messages.clone() }))
    }

    /// Returns all problems as one error, or nothing if there are none.
    pub fn into_result(self) -> Result<()> {
        if self.messages.is_empty() {
            return Ok(());
        }
        Err(Error { kind: self.worst_kind, problems: self.messages })
    }

    /// Returns all problems as one error, or the values of the checks if there are none.
    pub fn finish_with<C: CheckedValues>(self, checked: C) -> Result<C::Values> {
        self.into_result()?;
        checked.into_values()
    }
}

/// Result of a check whose problems, if any, are in [`Problems`] already.
pub type Checked<T> = Result<T, GivenUp>;

/// Error of a step that was given up for a reason that is told in another place: by [`Problems`],
/// which hold the same problems, or by a command that was asked to stop. It keeps the reason, so
/// that [`Problems::finish_with`] always has one to return.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenUp(Error);

impl GivenUp {
    /// Creates the error of a step that ends because the command was asked to stop.
    pub fn asked_to_stop() -> Self {
        Self(Error::input("asked to stop"))
    }
}

/// Results of checks, one or a tuple, that become values together.
pub trait CheckedValues {
    /// The value, or a tuple of the values.
    type Values;

    /// Returns the values, or the reason of the first check that failed.
    fn into_values(self) -> Result<Self::Values>;
}

impl<A> CheckedValues for Checked<A> {
    type Values = A;

    fn into_values(self) -> Result<A> {
        self.map_err(|GivenUp(error)| error)
    }
}

impl<A, B> CheckedValues for (Checked<A>, Checked<B>) {
    type Values = (A, B);

    fn into_values(self) -> Result<(A, B)> {
        Ok((self.0.into_values()?, self.1.into_values()?))
    }
}

impl<A, B, C> CheckedValues for (Checked<A>, Checked<B>, Checked<C>) {
    type Values = (A, B, C);

    fn into_values(self) -> Result<(A, B, C)> {
        Ok((self.0.into_values()?, self.1.into_values()?, self.2.into_values()?))
    }
}

/// Returns a text with spaces in place of control characters, which could change colors and lines
/// of a terminal.
fn replace_control_characters(text: &str) -> Cow<'_, str> {
    if text.contains(char::is_control) {
        Cow::Owned(text.replace(char::is_control, " "))
    } else {
        Cow::Borrowed(text)
    }
}

/// Returns a text for a message: whole if it has at most `max_chars` characters, else without its
/// middle, and with the number of characters that were left out. The end stays, because names
/// differ there and messages end with the fix. Control characters become spaces.
pub fn shorten_text(text: &str, max_chars: usize) -> Cow<'_, str> {
    match shorten_middle(text, max_chars) {
        Cow::Borrowed(text) => replace_control_characters(text),
        Cow::Owned(text) => Cow::Owned(replace_control_characters(&text).into_owned()),
    }
}

fn shorten_middle(text: &str, max_chars: usize) -> Cow<'_, str> {
    if text.len() <= max_chars {
        return Cow::Borrowed(text);
    }
    let char_count = text.chars().count();
    if char_count <= max_chars {
        return Cow::Borrowed(text);
    }
    let tail_chars = max_chars / 3;
    let left_out = char_count - max_chars;
    let mut head = String::new();
    head.extend(text.chars().take(max_chars - tail_chars));
    let mut tail = String::new();
    tail.extend(text.chars().skip(char_count - tail_chars));
    Cow::Owned(format!("{head}... ({left_out} characters left out) ...{tail}"))
}

/// Returns the most similar of the known names, as ` (did you mean "x"?)`, or nothing if none is
/// similar.
pub fn did_you_mean<'a>(
    unknown_name: &str,
    known_names: impl IntoIterator<Item = &'a str>,
) -> String {
    if unknown_name.len() > MAX_SUGGESTION_BYTES {
        return String::new();
    }
    let unknown_name = unify_separators(unknown_name);
    let mut nearest = None;
    let mut highest_similarity = 0.6;
    for name in known_names {
        let similarity =
            strsim::normalized_damerau_levenshtein(&unknown_name, &unify_separators(name));
        if similarity >= highest_similarity {
            highest_similarity = similarity;
            nearest = Some(name);
        }
    }
    match nearest {
        Some(name) => format!(" (did you mean {name:?}?)"),
        None => String::new(),
    }
}

/// Returns a name in lower case, with one separator between its words.
fn unify_separators(name: &str) -> String {
    name.to_lowercase().replace(['-', '.', ' '], "_")
}

/// Joins the first few names, each cut if it is long, and appends the number of further ones.
pub fn join_examples(names: impl IntoIterator<Item = String>) -> String {
    let names: Vec<String> = names.into_iter().collect();
    let mut shown = Vec::new();
    for name in names.iter().take(MAX_EXAMPLES) {
        shown.push(shorten_text(name, MAX_EXAMPLE_CHARS));
    }
    let shown = shown.join(", ");
    if names.len() <= MAX_EXAMPLES {
        return shown;
    }
    format!("{shown} and {} more", names.len() - MAX_EXAMPLES)
}

/// Returns a count with its noun, such as `3 images` or `1 image`.
pub fn pluralize(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
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
    fn values_come_back_once_all_checks_are_done_and_only_without_problems() {
        let mut problems = Problems::new();
        let (one, two) = (problems.check(Ok(1)), problems.check(Ok("two")));
        assert_eq!(problems.finish_with((one, two)).unwrap(), (1, "two"));

        let mut problems = Problems::new();
        let one = problems.check(Ok(1));
        let two = problems.check(Err::<(), _>(Error::input("two is wrong")));
        assert!(problems.check_empty().is_err(), "a step that takes minutes is given up");
        problems.push("so is three");
        let error = problems.finish_with((one, two)).unwrap_err();
        assert_eq!(error.problems(), ["two is wrong", "so is three"]);

        // The reason of a check of another collection is told too.
        let stopped = Err::<u8, _>(GivenUp::asked_to_stop());
        let error = Problems::new().finish_with((Ok(1), stopped)).unwrap_err();
        assert_eq!(error.problems(), ["asked to stop"]);
    }

    #[test]
    fn near_names_are_suggested_and_far_ones_are_not() {
        let known_names = ["learning_rate", "epochs"];
        assert_eq!(did_you_mean("learnin-rate", known_names), " (did you mean \"learning_rate\"?)");
        assert_eq!(did_you_mean("zebra", known_names), "");
    }
    #[test]
    fn long_texts_of_users_lose_their_middle_and_say_so() {
        assert_eq!(shorten_text("short", 5), "short");
        assert_eq!(shorten_text("ünï", 3), "ünï");
        assert_eq!(shorten_text("ro\nad\u{1b}[31m\u{9b}", 12), "ro ad [31m ");
        assert_eq!(join_examples(["a\tb".to_owned(), "c".to_owned()]), "a b, c");
        let long = format!("{}{}", "ä".repeat(60), "z".repeat(40));
        let expected =
            format!("{}... (70 characters left out) ...{}", "ä".repeat(20), "z".repeat(10));
        assert_eq!(shorten_text(&long, 30), expected);

        let error = Error::input(format!("the key {} is wrong; remove it", "x".repeat(1 << 20)));
        let text = error.to_string();
        assert!(text.len() < MAX_PROBLEM_CHARS + 60, "{} characters", text.len());
        assert!(text.starts_with("the key x") && text.ends_with("is wrong; remove it"), "{text}");
        assert_eq!(did_you_mean(&"epochs".repeat(100_000), ["epochs"]), "");
    }

    proptest::proptest! {
        #[test]
        fn a_shortened_text_keeps_its_ends_within_the_limit(text in "\\PC{0,80}", limit in 0..90_usize) {
            let short = shorten_text(&text, limit);
            let tail: String = text.chars().rev().take(limit / 3).collect::<Vec<_>>().into_iter().rev().collect();
            proptest::prop_assert!(short.ends_with(&tail));
            proptest::prop_assert!(short.chars().count() <= limit + 50);
            proptest::prop_assert_eq!(short == text, text.chars().count() <= limit);
        }
    }
}
