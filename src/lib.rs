//! maskmaker trains, evaluates and serves semantic-segmentation models by SageMaker's container
//! contract, from one binary.
//!
//! The crate is a house with rooms on floors. A room imports rooms of lower floors only, so rooms
//! of one floor do not know each other. From the top:
//!
//! | floor | rooms |
//! |---|---|
//! | the program | [`cli`] |
//! | one file per subcommand, which wires rooms together | [`commands`] |
//! | the server of models; scores and comparisons of models; pipelines; data from elsewhere; predictions for annotators | [`serve`], [`evaluate`], [`pipeline`], [`fetch`], [`preannotation`] |
//! | artifact and image to class ids; training; annotated images to channels; search for hyperparameters; Label Studio's API | [`inference`], [`train`], [`preprocess`], [`search`], [`label_studio`] |
//! | files to batches; networks and weights; convolutions on the processor; regions and outlines; processes of one job | [`data`], [`model`], [`kernels`], [`annotations`], [`distributed`] |
//! | the ground floor | [`imaging`], [`render`], [`metrics`], [`sagemaker`], [`aws`], [`http`], [`web_client`], [`torch`] |
//!
//! Every room may use [`error`], [`files`], [`labels_json`], [`colors`], [`console`], [`progress`],
//! [`machine`], [`parent_process`], [`python_json`], [`settings`], `logged_process`, `status_table` and the macro
//! `named_enum!`.
//! `docs/architecture.md` lists the task of each room, the decisions that hold in all of them, and
//! the way of an image through them. `tests/it/architecture.rs` checks the imports.
//!
//! A first reader may begin with [`commands`], whose functions read as tables of contents.
//! [`error`] lists all error types, and [`data::class_names`] the sources of class names.

// In tests a failed expectation is the message.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod annotations;
pub mod aws;
pub mod cli;
pub mod colors;
pub mod commands;
pub mod console;
pub mod data;
pub mod distributed;
pub mod error;
pub mod evaluate;
pub mod fetch;
pub mod files;
pub mod http;
pub mod imaging;
pub mod inference;
pub mod kernels;
pub mod label_studio;
pub mod labels_json;
mod logged_process;
pub mod machine;
pub mod metrics;
pub mod model;
mod named_enum;
pub mod parent_process;
pub mod pipeline;
pub mod preannotation;
pub mod preprocess;
pub mod progress;
pub mod python_json;
pub mod render;
pub mod sagemaker;
pub mod search;
pub mod serve;
pub mod settings;
mod status_table;
pub mod torch;
pub mod train;
pub mod web_client;
