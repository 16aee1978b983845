//! Training: criterion, optimizers, schedules and the epoch loop.

mod agreement;
pub mod card;
pub mod checkpoint;
pub mod criterion;
mod curves;
pub mod early_stopping;
mod ema;
pub mod fingerprint;
mod gradients;
pub mod history;
mod learning;
mod loss_scale;
pub mod optimizer;
mod predictions;
pub mod schedule;
mod state;
mod step;
mod tensorboard;
mod trainer;
mod validate;

pub use learning::Learning;
pub use state::State;
pub use step::Stepper;
pub use tensorboard::Board;
pub use trainer::{End, Settings, Trainer};
