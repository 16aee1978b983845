//! From files to batches: sources of samples, the audit, augmentation, the loader; and sample data.

pub mod absent_classes;
pub mod audit;
pub mod augment;
pub mod batch_parts;
pub mod class_names;
pub mod color_map;
pub mod content;
pub mod dataset;
pub mod digest;
pub mod fifo;
pub mod image_hashes;
pub mod label_map;
pub mod listener;
pub mod loader;
pub mod manifest;
pub mod manifest_lines;
pub mod objects;
pub mod pairing;
pub mod pipe;
pub mod random;
pub mod recordio;
pub mod sample;
pub mod shards;
pub mod synthetic;
mod wait_timer;

pub use sample::Sample;
