//! One file or folder per subcommand, which connects rooms.

pub mod augment_preview;
mod device;
pub mod doctor;
pub mod evaluate;
pub mod export;
pub mod fetch;
pub mod label_studio;
mod open_model;
pub mod pipeline;
pub mod predict;
pub mod preprocess;
pub mod registry;
pub mod remote_pipeline;
pub mod sample_data;
pub mod search;
pub mod serve;
pub mod train;
mod training_job;
