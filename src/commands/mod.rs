//! Subcommands: one file or folder for each, which connects rooms.

pub mod augment_preview;
pub mod export;
pub mod predict;
pub mod preprocess;
pub mod sample_data;
pub mod serve;
pub mod train;
