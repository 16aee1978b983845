//! One file per subcommand; each wires rooms together.

pub mod augment_preview;
pub mod export;
pub mod predict;
pub mod preprocess;
pub mod sample_data;
pub mod serve;
pub mod train;
