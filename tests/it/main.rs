//! Integration tests: one binary, so that libtorch is linked once; one module per behavior.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod architecture;
mod augment_preview;
mod changed_data;
mod checkpoints;
mod class_coverage;
mod device;
mod distributed;
mod evaluate;
mod export;
mod fetch;
mod gallery;
mod golden;
mod gpu;
mod ground_truth;
mod hyperparameters;
mod initial_weights;
mod job;
mod label_map;
mod manifest;
mod mask_orientation;
mod matrix;
mod metric_definitions;
mod pictures;
mod pipe;
mod pipeline;
mod pipeline_run;
mod preprocess;
mod processes;
mod restarts;
mod s3;
mod search;
mod serve;
mod settings;
mod train;
mod variables;
