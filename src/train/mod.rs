//! Training: criterion, optimizers, schedules and the epoch loop.

pub mod criterion;
mod curves;
pub mod early_stopping;
pub mod history;
pub mod optimizer;
pub mod schedule;
mod step;
mod trainer;
mod validate;

pub use step::Stepper;
pub use trainer::{Settings, train};
