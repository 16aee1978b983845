//! Training: criterion, optimizers, schedules and the epoch loop.

mod bf16_agreement;
pub mod checkpoint;
pub mod criterion;
pub mod data_parallel;
pub mod data_record;
mod device_batch;
pub mod early_stopping;
mod ema;
pub mod fingerprint;
mod gradients;
pub mod history;
pub mod host_data;
pub mod hyperparameters;
mod learning_curves;
mod loss_scale;
pub mod metric_definitions;
pub mod model_card;
pub mod observer;
pub mod optimizer;
mod predictions;
#[cfg(test)]
mod restart_tests;
pub mod schedule;
mod tensorboard;
mod train_config;
mod train_state;
mod train_step;
mod trainer;
mod validate;

pub use device_batch::DeviceBatch;
pub use hyperparameters::Hyperparameters;
pub use learning_curves::{LearningCurves, describe_learning_curves, write_learning_curves};
pub use metric_definitions::{EPOCH_PATTERN, METRIC_DEFINITIONS};
pub use tensorboard::{SummaryWriter, write_scalars};
pub use train_config::TrainConfig;
pub use train_state::TrainState;
pub use train_step::TrainStep;
pub use trainer::{TrainOutcome, Trainer, TrainerSettings};
