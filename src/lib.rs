//! maskmaker trains, evaluates and serves semantic-segmentation models by SageMaker's container
//! contract, from one binary.
//!
//! The crate is a house with rooms, and imports point downward only. From the top:
//!
//! | floor | rooms |
//! |---|---|
//! | the program | [`cli`] |
//! | one file per subcommand, which wires rooms together | [`commands`] |
//! | HTTP | [`serve`] |
//! | artifact and image to class ids | [`inference`] |
//! | criterion, optimizers, the epoch loop | [`train`] |
//! | annotated images to channels | [`preprocess`] |
//! | files to batches, the audit, sample data | [`data`] |
//! | regions, masks and outlines; the stable split | [`annotations`] |
//! | networks, weights, the artifact | [`model`] |
//! | the ground floor, whose rooms know nothing of each other | [`imaging`], [`render`], [`metrics`], [`sagemaker`], [`aws`], [`torch`] |
//!
//! Everyone uses [`error`], [`files`], [`colours`], [`console`] and [`progress`].

// In tests a failed expectation is the message.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod annotations;
pub mod aws;
pub mod cli;
pub mod colours;
pub mod commands;
pub mod console;
pub mod data;
pub mod error;
pub mod files;
pub mod imaging;
pub mod inference;
pub mod metrics;
pub mod model;
pub mod preprocess;
pub mod progress;
pub mod render;
pub mod sagemaker;
pub mod serve;
pub mod torch;
pub mod train;
