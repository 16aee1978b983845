//! Architectures of networks.

use crate::model::{Algorithm, Backbone};

/// An architecture of networks, whatever their classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Architecture {
    /// Algorithm, which is the kind of the main head.
    pub algorithm: Algorithm,
    /// Backbone, whose features the heads read.
    pub backbone: Backbone,
}
