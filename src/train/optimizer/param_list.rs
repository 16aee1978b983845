//! Parameters, their gradients and their state, which are updated together.

use tch::Tensor;

use super::config::OptimizerConfig;
use crate::error::{Error, Result};
use crate::torch::foreach;

/// Adam's decay of the average gradient.
const BETA1: f64 = 0.9;
/// Adam's decay of the average of squared gradients.
const BETA2: f64 = 0.999;
/// Addend to adam's and rmsprop's divisors, so that they are not 0.
const EPSILON: f64 = 1e-8;
/// Addend to adagrad's divisors.
const ADAGRAD_EPSILON: f64 = 1e-10;

/// Parameters with their gradients and what a rule keeps for them. All lists are in the same order,
/// and share the memory of the optimizer's tensors.
#[derive(Debug)]
pub(super) struct ParamList {
    pub(super) parameters: Vec<Tensor>,
    /// Gradients, which the update overwrites.
    pub(super) gradients: Vec<Tensor>,
    /// A list for each of [`OptimizerConfig::state_names`].
    pub(super) state: Vec<Vec<Tensor>>,
}

impl ParamList {
    /// Returns a list without parameters.
    pub(super) fn new(config: OptimizerConfig) -> Self {
        let state = config.state_names().iter().map(|_| Vec::new()).collect();
        Self { parameters: Vec::new(), gradients: Vec::new(), state }
    }

    /// Changes the parameters and their state by step `step`, counted from 1. The operations are
    /// those of PyTorch's `_multi_tensor_sgd` and its kin, in their order.
    pub(super) fn update(&mut self, config: OptimizerConfig, lr: f64, step: i64) -> Result<()> {
        let Self { parameters, gradients, state } = self;
        // Averages that start at zero are too small at first; adam divides them by this correction.
        let bias_correction = |beta: f64| 1.0 - beta.powf(step as f64);
        match (config, &mut state[..]) {
            (OptimizerConfig::Sgd { momentum, weight_decay }, [momentum_buffer]) => {
                foreach::add(gradients, parameters, weight_decay)?;
                foreach::scale(momentum_buffer, momentum)?;
                foreach::add(momentum_buffer, gradients, 1.0)?;
                foreach::add(parameters, momentum_buffer, -lr)
            }
            (OptimizerConfig::Nag { momentum, weight_decay }, [momentum_buffer]) => {
                foreach::add(gradients, parameters, weight_decay)?;
                foreach::scale(momentum_buffer, momentum)?;
                foreach::add(momentum_buffer, gradients, 1.0)?;
                foreach::add(gradients, momentum_buffer, momentum)?;
                foreach::add(parameters, gradients, -lr)
            }
            (
                OptimizerConfig::Adam | OptimizerConfig::Adamw { .. },
                [average, average_of_squares],
            ) => {
                if let OptimizerConfig::Adamw { weight_decay } = config {
                    foreach::scale(parameters, 1.0 - lr * weight_decay)?;
                }
                foreach::lerp(average, gradients, 1.0 - BETA1)?;
                foreach::scale(average_of_squares, BETA2)?;
                foreach::add_product(average_of_squares, gradients, gradients, 1.0 - BETA2)?;
                let mut divisors = foreach::sqrt(average_of_squares)?;
                foreach::divide(&mut divisors, bias_correction(BETA2).sqrt())?;
                foreach::add_scalar(&mut divisors, EPSILON)?;
                foreach::add_quotient(parameters, average, &divisors, -lr / bias_correction(BETA1))
            }
            (OptimizerConfig::Adagrad, [sum_of_squares]) => {
                foreach::add_product(sum_of_squares, gradients, gradients, 1.0)?;
                let mut divisors = foreach::sqrt(sum_of_squares)?;
                foreach::add_scalar(&mut divisors, ADAGRAD_EPSILON)?;
                foreach::add_quotient(parameters, gradients, &divisors, -lr)
            }
            (
                OptimizerConfig::Rmsprop { alpha, momentum },
                [average_of_squares, momentum_buffer],
            ) => {
                foreach::scale(average_of_squares, alpha)?;
                foreach::add_product(average_of_squares, gradients, gradients, 1.0 - alpha)?;
                let mut divisors = foreach::sqrt(average_of_squares)?;
                foreach::add_scalar(&mut divisors, EPSILON)?;
                foreach::scale(momentum_buffer, momentum)?;
                foreach::add_quotient(momentum_buffer, gradients, &divisors, 1.0)?;
                foreach::add(parameters, momentum_buffer, -lr)
            }
            _ => Err(Error::internal("an optimizer keeps another number of tensors")),
        }
    }
}
