//! Panics of foreign code as errors.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Error, Result};

/// Runs `operation`; a panic in it becomes an error that `what` begins.
pub(in crate::serve) fn catch_panic<T>(
    what: &str,
    operation: impl FnOnce() -> Result<T>,
) -> Result<T> {
    catch_unwind(AssertUnwindSafe(operation)).unwrap_or_else(|panic| {
        let error = Error::internal(format!("{what} panicked: {}", panic_message(&*panic)));
        // The payload of a panic may be of any type, and may panic again when it is dropped.
        std::mem::forget(panic);
        Err(error)
    })
}

/// Returns the message of a panic.
fn panic_message(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else if let Some(text) = panic.downcast_ref::<&str>() {
        text
    } else {
        "without words"
    }
}
