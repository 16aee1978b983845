//! Training: criterion, optimizers, schedules and the epoch loop.

pub mod checkpoint;
pub mod criterion;
mod curves;
pub mod early_stopping;
pub mod fingerprint;
pub mod history;
pub mod optimizer;
pub mod schedule;
mod state;
mod step;
mod trainer;
mod validate;

pub use state::State;
pub use step::Stepper;
pub use trainer::{End, Settings, Trainer};
