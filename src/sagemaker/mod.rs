//! The contract of `/opt/ml`: paths, raw settings, channels, cluster, failure file, signals.
//!
//! Files are read as strings and then validated (`docs/architecture.md#raw-to-validated`). All
//! problems are reported at once.

pub mod channels;
pub mod cluster;
pub mod failure;
pub mod hyperparameter_spec;
pub(crate) mod list_text;
pub mod output_folders;
pub mod paths;
pub mod processing;
pub(crate) mod raw;
mod signals;

pub use channels::{Channels, LabelMapChannel};
pub use output_folders::OutputFolders;
pub use paths::MlRoot;
pub use processing::ProcessingJob;
pub use signals::StopSignal;
