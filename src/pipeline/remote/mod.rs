//! Pipelines in Amazon SageMaker: making them, and starting, following and stopping executions.
//!
//! | module | task |
//! |---|---|
//! | `upsert` | making a pipeline, or bringing it up to date |
//! | `difference` | differences of two definitions |
//! | `start` | starting an execution with the revision of its data |
//! | `data_revision` | a hash of the objects that an execution would read |
//! | `execution` | finding an execution, its steps, and stopping it |
//! | `status` | showing how far an execution is |
//! | `logs` | the log of a step's job |

mod data_revision;
mod difference;
mod execution;
mod logs;
mod start;
mod status;
mod upsert;

pub use self::execution::{ExecutionChoice, stop_execution};
pub use self::logs::{LogsOptions, print_logs};
pub use self::start::{StartOptions, start_execution};
pub use self::status::{StatusOptions, show_status};
pub use self::upsert::{UpsertOptions, Upserted, upsert_pipeline};

use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::digest::to_hex;

/// Makes a token for a call that must have its effect once only, however often it is tried: 64
/// characters that no other call has.
fn make_token() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    to_hex(&Sha256::digest(format!("{} {}", now.as_nanos(), std::process::id())))
}

/// Returns the last part of an ARN or path, such as a job's name.
fn last_part(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}
