//! The reason why a job of several processes ends, which every host reports alike.

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Exit code of a process that failed because of its data or configuration
/// (`docs/architecture.md#exit-codes`).
pub(super) const INPUT_EXIT_CODE: u8 = 3;

/// The first failure of a job. Failures that follow from it are not told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Problems, of which the first names host and rank, if the fault is of one.
    pub problems: Vec<String>,
    /// Exit code that every host ends with.
    pub exit_code: u8,
}

impl Fault {
    /// Returns the fault that an error is, with its problems as they are.
    pub fn from_error(error: &Error) -> Self {
        Self { problems: error.problems().to_vec(), exit_code: error.exit_code() }
    }

    /// Returns a fault of a machine, a network or a worker, which is not one of data.
    pub fn new(problem: String) -> Self {
        Self { problems: vec![problem], exit_code: 1 }
    }

    /// Returns the error that a parent ends with.
    pub fn into_error(self) -> Error {
        Error::from_process(self.problems, self.exit_code == INPUT_EXIT_CODE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Problems;

    #[test]
    fn every_host_reports_the_problems_and_the_exit_code_of_one() {
        let mut problems = Problems::new();
        problems.push("a.png is damaged");
        problems.push("b.png is damaged");
        let error = problems.into_result().unwrap_err();
        for error in [error, Error::internal("a bug")] {
            let fault = Fault::from_error(&error);
            let text = serde_json::to_string(&fault).unwrap();
            let told = serde_json::from_str::<Fault>(&text).unwrap().into_error();
            assert_eq!(told.exit_code(), error.exit_code());
            assert_eq!(told, error);
        }
    }
}
