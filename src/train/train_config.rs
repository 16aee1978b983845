//! Settings of a training step: all that decides what a step does with a batch.

use tch::Device;

use super::criterion::Criterion;
use super::hyperparameters::Hyperparameters;
use super::optimizer::OptimizerConfig;
use crate::model::precision::ComputePrecision;
use crate::torch::GpuMath;

/// Settings of a training step.
#[derive(Debug, Clone)]
pub struct TrainConfig {
    pub optimizer: OptimizerConfig,
    pub criterion: Criterion,
    /// Number format of the network's computations.
    pub compute: ComputePrecision,
    /// Arithmetic of a GPU. A step follows it, and libtorch from `TrainStep::apply_gpu_math` on.
    pub gpu_math: GpuMath,
    /// True if BatchNorm normalizes the images of all ranks together.
    pub sync_batch_norm: bool,
    /// Largest norm of all gradients together, if there is a limit.
    pub clip_norm: Option<f64>,
    /// Decay of an average of the weights; without it no average is kept.
    pub ema_decay: Option<f64>,
}

impl TrainConfig {
    /// Returns settings of plain training in 32 bits, without an average of the weights.
    pub fn new(optimizer: OptimizerConfig) -> Self {
        Self {
            optimizer,
            criterion: Criterion::default(),
            compute: ComputePrecision::Fp32,
            gpu_math: GpuMath { allow_tf32: true, deterministic: false },
            sync_batch_norm: false,
            clip_norm: None,
            ema_decay: None,
        }
    }

    /// Returns the settings that hyperparameters ask for. `class_pixels` are the numbers of
    /// training pixels of each class, for automatic class weights.
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
            gpu_math: GpuMath {
                allow_tf32: h.allow_tf32,
                // A processor gives the same bits each time anyway.
                deterministic: h.deterministic && device != Device::Cpu,
            },
            sync_batch_norm: h.syncbn,
            clip_norm: if_positive(h.gradient_clip_norm),
            ema_decay: if_positive(h.ema_decay),
        }
    }

    /// Returns what to do if a batch does not fit into the device's memory.
    pub(super) fn memory_advice(&self) -> String {
        let precision_advice = match self.compute {
            ComputePrecision::Fp32 | ComputePrecision::Fp64 => ", set precision to bf16",
            ComputePrecision::Bf16 | ComputePrecision::Fp16 => "",
        };
        format!(
            ": lower mini_batch_size (gradient_accumulation_steps makes up for it) or \
             crop_size{precision_advice}, or take a larger instance"
        )
    }
}
