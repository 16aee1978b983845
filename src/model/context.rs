//! Contexts of errors, such as the file that a problem is about.

use std::fmt::Display;

use crate::error::Result;

/// Adds contexts to the errors of results.
pub(super) trait ErrorContext {
    /// Puts `context` and a colon before each problem of an error.
    fn error_context(self, context: impl Display) -> Self;
}

impl<T> ErrorContext for Result<T> {
    fn error_context(self, context: impl Display) -> Self {
        self.map_err(|error| error.with_context(context))
    }
}
