//! Integration tests: one binary, one module per behaviour.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod serve;
