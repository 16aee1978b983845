//! How a network learns: all that decides what a step does with a batch.

use tch::Device;

use super::criterion::Criterion;
use super::optimizer::OptimizerConfig;
use crate::model::precision::ComputePrecision;
use crate::sagemaker::Hyperparameters;

/// How a network learns.
#[derive(Debug, Clone)]
pub struct TrainConfig {
    /// The update rule.
    pub optimizer: OptimizerConfig,
    /// What is minimized.
    pub criterion: Criterion,
    /// The number format of the network's computations.
    pub compute: ComputePrecision,
    /// Images that are computed at a time; a batch of more is computed in parts, whose gradients add up.
    pub micro_batch_size: usize,
    /// The largest norm of all gradients together, if there is a limit.
    pub clip_norm: Option<f64>,
    /// The decay of an average of the weights, if there is to be one.
    pub ema_decay: Option<f64>,
}

impl TrainConfig {
    /// Plain learning in 32 bits, each batch at once.
    pub fn new(optimizer: OptimizerConfig) -> Self {
        Self {
            optimizer,
            criterion: Criterion::default(),
            compute: ComputePrecision::Fp32,
            micro_batch_size: usize::MAX,
            clip_norm: None,
            ema_decay: None,
        }
    }

    /// What hyperparameters ask for, on a device, for classes with so many training pixels.
    pub fn from_hyperparameters(
        hyperparameters: &Hyperparameters,
        class_pixels: &[u64],
        device: Device,
    ) -> Self {
        let h = hyperparameters;
        let if_positive = |value: f64| (value > 0.0).then_some(value);
        Self {
            optimizer: OptimizerConfig::from_hyperparameters(h),
            criterion: Criterion {
                loss: h.loss.clone(),
                class_weights: h
                    .class_weights
                    .as_ref()
                    .map(|weights| weights.resolve(class_pixels)),
                focal_gamma: h.focal_gamma,
            },
            compute: ComputePrecision::from_setting(h.precision, device),
            micro_batch_size: h.mini_batch_size,
            clip_norm: if_positive(h.gradient_clip_norm),
            ema_decay: if_positive(h.ema_decay),
        }
    }
}
