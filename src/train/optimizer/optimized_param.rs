//! One parameter, its state, and its update.

use tch::{Device, Tensor};

use super::config::OptimizerConfig;
use crate::error::{Error, Result};

/// Adam's decay of the average gradient.
const BETA1: f64 = 0.9;
/// Adam's decay of the average of squared gradients.
const BETA2: f64 = 0.999;
/// Addend to adam's and rmsprop's divisors, so that they are not 0.
const EPSILON: f64 = 1e-8;
/// Addend to adagrad's divisors.
const ADAGRAD_EPSILON: f64 = 1e-10;

/// Factors that all parameters share in a step. They are one-element tensors on the parameters'
/// device, made once per step: tch binds neither `_foreach_` operations nor an addition with a
/// factor, and `addcmul` with such a tensor is one pass over memory without a temporary.
#[derive(Debug)]
pub(super) struct StepFactors {
    config: OptimizerConfig,
    /// Factor of an update: minus the learning rate, which adam divides by the correction of its
    /// average gradient.
    update_factor: Tensor,
    /// Factor of the L2 penalty.
    weight_decay: Tensor,
    /// Factor of a parameter for decoupled weight decay, 0 to 1.
    decay_multiplier: f64,
    /// Square root of the correction of adam's average of squares.
    bias_correction2_sqrt: f64,
}

impl StepFactors {
    /// Computes the factors of step `step`, counted from 1.
    pub(super) fn new(config: OptimizerConfig, lr: f64, step: i64, device: Device) -> Result<Self> {
        let on_device = |value: f64| -> Result<Tensor> {
            Ok(Tensor::f_from_slice(&[value as f32])?.f_to_device(device)?)
        };
        // Averages that start at zero are too small at first; adam divides them by this correction.
        let bias_correction = |beta: f64| 1.0 - beta.powf(step as f64);
        let (update_factor, weight_decay, decay_multiplier) = match config {
            OptimizerConfig::Sgd { weight_decay, .. }
            | OptimizerConfig::Nag { weight_decay, .. } => (-lr, weight_decay, 1.0),
            OptimizerConfig::Adam => (-lr / bias_correction(BETA1), 0.0, 1.0),
            OptimizerConfig::Adamw { weight_decay } => {
                (-lr / bias_correction(BETA1), 0.0, 1.0 - lr * weight_decay)
            }
            OptimizerConfig::Adagrad | OptimizerConfig::Rmsprop { .. } => (-lr, 0.0, 1.0),
        };
        let bias_correction2_sqrt = bias_correction(BETA2).sqrt();
        let (update_factor, weight_decay) = (on_device(update_factor)?, on_device(weight_decay)?);
        Ok(Self { config, update_factor, weight_decay, decay_multiplier, bias_correction2_sqrt })
    }
}

/// A parameter with its state.
#[derive(Debug)]
pub(super) struct OptimizedParam {
    name: String,
    pub(super) parameter: Tensor,
    /// Tensors that the rule keeps, by PyTorch's names, in the order of
    /// [`OptimizerConfig::state_names`]. All rules start from zeros.
    pub(super) state: Vec<(&'static str, Tensor)>,
}

impl OptimizedParam {
    pub(super) fn new(config: OptimizerConfig, name: String, parameter: Tensor) -> Result<Self> {
        // The state has the parameter's memory format, which makes the update faster.
        let zeros =
            |state_name: &&'static str| Ok((*state_name, parameter.f_detach()?.f_zeros_like()?));
        let state: Result<Vec<_>> = config.state_names().iter().map(zeros).collect();
        Ok(Self { name, state: state?, parameter })
    }

    /// Returns the name of a state tensor in the optimizer's state dict.
    pub(super) fn state_key(&self, state_name: &str) -> String {
        format!("{}.{state_name}", self.name)
    }

    pub(super) fn update(&mut self, factors: &StepFactors, mut gradient: Tensor) -> Result<()> {
        let parameter = &mut self.parameter;
        let mut state = self.state.iter_mut().map(|(_, tensor)| tensor);
        let mut next_state =
            || state.next().ok_or_else(|| Error::internal("an optimizer slot is empty"));
        let update = match factors.config {
            OptimizerConfig::Sgd { momentum, .. } => {
                let gradient = gradient.f_addcmul_(parameter, &factors.weight_decay)?;
                next_state()?.f_mul_scalar_(momentum)?.f_add_(&gradient)?
            }
            OptimizerConfig::Nag { momentum, .. } => {
                let mut gradient = gradient.f_addcmul_(parameter, &factors.weight_decay)?;
                let momentum_buffer = next_state()?.f_mul_scalar_(momentum)?.f_add_(&gradient)?;
                gradient.f_add_(&momentum_buffer.f_mul_scalar(momentum)?)?
            }
            OptimizerConfig::Adam | OptimizerConfig::Adamw { .. } => {
                if matches!(factors.config, OptimizerConfig::Adamw { .. }) {
                    let _ = parameter.f_mul_scalar_(factors.decay_multiplier)?;
                }
                let exp_avg = next_state()?.f_lerp_(&gradient, 1.0 - BETA1)?;
                let exp_avg_sq = next_state()?.f_lerp_(&gradient.f_square_()?, 1.0 - BETA2)?;
                let mut denominator =
                    exp_avg_sq.f_sqrt()?.f_div_scalar_(factors.bias_correction2_sqrt)?;
                exp_avg.f_div(&denominator.f_add_scalar_(EPSILON)?)?
            }
            OptimizerConfig::Adagrad => {
                let sum = next_state()?.f_addcmul_(&gradient, &gradient)?;
                gradient.f_div_(&sum.f_sqrt()?.f_add_scalar_(ADAGRAD_EPSILON)?)?
            }
            OptimizerConfig::Rmsprop { alpha, momentum } => {
                let square_avg = next_state()?.f_lerp_(&gradient.f_square()?, 1.0 - alpha)?;
                let denominator = square_avg.f_sqrt()?.f_add_scalar_(EPSILON)?;
                next_state()?.f_mul_scalar_(momentum)?.f_addcdiv_(&gradient, &denominator)?
            }
        };
        let _ = parameter.f_addcmul_(&update, &factors.update_factor)?;
        Ok(())
    }
}
