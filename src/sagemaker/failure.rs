//! `output/failure`: the reason that SageMaker shows for a failed job.

use std::path::Path;

use crate::error::{Error, Result};
use crate::files::write_atomically;
use crate::sagemaker::MlRoot;

/// Number of characters of the file that SageMaker keeps as `FailureReason`.
pub const MAX_REASON_CHARS: usize = 1024;

/// Writes the message of an error as the reason of a failure: to SageMaker's file below the root
/// ([`MlRoot::failure_file`]), or to a file that the parent of a worker reads. A root that is not
/// there is not made.
pub fn write_failure_reason(file: &Path, error: &Error) -> Result<()> {
    if file.ancestors().nth(2).is_some_and(|root| !root.is_dir()) {
        return Ok(());
    }
    write_atomically(file, shorten_reason(&error.to_string()).as_bytes())
}

/// Removes the reason that an earlier run in the same folder left.
pub fn clear_failure_reason(root: &MlRoot) -> Result<()> {
    match std::fs::remove_file(root.failure_file()) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", &root.failure_file(), &cause))
        }
        _ => Ok(()),
    }
}

/// Cuts a reason to [`MAX_REASON_CHARS`] characters. A reason that was cut ends with an ellipsis.
fn shorten_reason(reason: &str) -> String {
    if reason.chars().count() <= MAX_REASON_CHARS {
        return reason.to_owned();
    }
    reason.chars().take(MAX_REASON_CHARS - 4).chain("\n...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_reasons_are_cut_at_characters_not_bytes() {
        let short = shorten_reason(&"ü".repeat(2000));
        assert_eq!(short.chars().count(), MAX_REASON_CHARS);
        assert!(short.ends_with("..."));
        assert_eq!(shorten_reason("brief"), "brief");
    }
}
