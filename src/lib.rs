//! maskmaker trains, evaluates and serves semantic-segmentation models by SageMaker's container
//! contract, from one binary.
//!
//! The crate is a house with rooms; each module owns one idea and imports point downward only:
//! [`cli`] -> [`commands`] -> [`serve`] -> [`inference`], [`train`] -> [`data`], [`model`] ->
//! [`imaging`], [`render`], [`metrics`], [`sagemaker`].

// In tests a failed expectation is the message.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod cli;
pub mod commands;
pub mod data;
pub mod error;
pub mod files;
pub mod imaging;
pub mod inference;
pub mod metrics;
pub mod model;
pub mod render;
pub mod sagemaker;
pub mod serve;
pub mod train;
