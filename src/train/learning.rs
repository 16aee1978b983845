//! How a network learns: all that decides what a step does with a batch.

use tch::Device;

use super::criterion::Criterion;
use super::optimizer::Rule;
use crate::model::precision::Compute;
use crate::sagemaker::Hyperparameters;

/// How a network learns.
#[derive(Debug, Clone)]
pub struct Learning {
    /// The update rule.
    pub rule: Rule,
    /// What is minimised.
    pub criterion: Criterion,
    /// The number format of the network's computations.
    pub compute: Compute,
    /// Images that are computed at a time; a batch of more is computed in parts, whose gradients add up.
    pub images_at_a_time: usize,
    /// The largest norm of all gradients together, if there is a limit.
    pub clip_norm: Option<f64>,
    /// The decay of an average of the weights, if there is to be one.
    pub ema_decay: Option<f64>,
}

impl Learning {
    /// Plain learning in 32 bits, each batch at once.
    pub fn new(rule: Rule) -> Self {
        Self {
            rule,
            criterion: Criterion::default(),
            compute: Compute::Fp32,
            images_at_a_time: usize::MAX,
            clip_norm: None,
            ema_decay: None,
        }
    }

    /// What hyperparameters ask for, on a device, for classes with so many training pixels.
    pub fn of(hyperparameters: &Hyperparameters, pixels: &[u64], device: Device) -> Self {
        let h = hyperparameters;
        let given = |value: f64| (value > 0.0).then_some(value);
        Self {
            rule: Rule::of(h),
            criterion: Criterion {
                loss: h.loss.clone(),
                class_weights: h.class_weights.as_ref().map(|weights| weights.resolve(pixels)),
                focal_gamma: h.focal_gamma,
            },
            compute: Compute::of(h.precision, device),
            images_at_a_time: h.mini_batch_size,
            clip_norm: given(h.gradient_clip_norm),
            ema_decay: given(h.ema_decay),
        }
    }
}
