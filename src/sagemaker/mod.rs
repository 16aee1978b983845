//! The `/opt/ml` contract: paths, hyperparameters, channels, cluster, failure file, signals.
//!
//! Everything here goes from raw to validated (`docs/architecture.md#raw-to-validated`): files are
//! read as strings, then checked together, and every problem is reported at once.

pub mod channels;
pub mod cluster;
pub mod failure;
pub mod hyperparameter_spec;
pub mod hyperparameters;
pub mod paths;
pub mod processing;
mod raw;
mod signals;

pub use channels::Channels;
pub use hyperparameters::Hyperparameters;
pub use paths::MlRoot;
pub use processing::ProcessingJob;
pub use signals::StopSignal;
