//! One parameter, its state, and its update.

use tch::{Device, Tensor};

use super::rule::Rule;
use crate::error::{Error, Result};

/// Adam's decay of the average gradient.
const BETA1: f64 = 0.9;
/// Adam's decay of the average of squared gradients.
const BETA2: f64 = 0.999;
/// What keeps adam's and rmsprop's divisors from 0.
const EPSILON: f64 = 1e-8;
/// The same for adagrad.
const ADAGRAD_EPSILON: f64 = 1e-10;

/// What all parameters of a step share. Factors are one-element tensors on the parameters' device,
/// made once per step: tch binds neither `_foreach_` operations nor an addition with a factor, and
/// `addcmul` with such a tensor is one pass over memory without a temporary.
#[derive(Debug)]
pub(super) struct Numbers {
    rule: Rule,
    /// What an update is multiplied by: minus the learning rate; adam's divided by the correction
    /// of its average gradient.
    factor: Tensor,
    /// The L2 penalty's factor.
    decay: Tensor,
    /// What is left of a parameter after decoupled weight decay.
    kept: f64,
    /// Square root of the correction of adam's average of squares.
    root_correction: f64,
}

impl Numbers {
    /// The numbers of step `step`, counted from 1.
    pub(super) fn new(rule: Rule, rate: f64, step: i64, device: Device) -> Result<Self> {
        let on_device = |value: f64| -> Result<Tensor> {
            Ok(Tensor::f_from_slice(&[value as f32])?.f_to_device(device)?)
        };
        // Averages that start at zero are too small at first; adam divides by what is missing.
        let correction = |beta: f64| 1.0 - beta.powf(step as f64);
        let (factor, decay, kept) = match rule {
            Rule::Sgd { weight_decay, .. } | Rule::Nag { weight_decay, .. } => {
                (-rate, weight_decay, 1.0)
            }
            Rule::Adam => (-rate / correction(BETA1), 0.0, 1.0),
            Rule::Adamw { weight_decay } => {
                (-rate / correction(BETA1), 0.0, 1.0 - rate * weight_decay)
            }
            Rule::Adagrad | Rule::Rmsprop { .. } => (-rate, 0.0, 1.0),
        };
        let root_correction = correction(BETA2).sqrt();
        let (factor, decay) = (on_device(factor)?, on_device(decay)?);
        Ok(Self { rule, factor, decay, kept, root_correction })
    }
}

/// A parameter with its state.
#[derive(Debug)]
pub(super) struct Slot {
    name: String,
    /// What is learned.
    pub(super) parameter: Tensor,
    /// By PyTorch's names, in [`Rule::leaves`]' order. Zeros at first: all rules start as if their
    /// state had been zero.
    pub(super) state: Vec<(&'static str, Tensor)>,
}

impl Slot {
    pub(super) fn new(rule: Rule, name: String, parameter: Tensor) -> Result<Self> {
        // In the parameter's memory order, for speed.
        let zeros = |leaf: &&'static str| Ok((*leaf, parameter.f_detach()?.f_zeros_like()?));
        let state: Result<Vec<_>> = rule.leaves().iter().map(zeros).collect();
        Ok(Self { name, state: state?, parameter })
    }

    /// The state's name among all parameters'.
    pub(super) fn key(&self, leaf: &str) -> String {
        format!("{}.{leaf}", self.name)
    }

    pub(super) fn update(&mut self, numbers: &Numbers, mut gradient: Tensor) -> Result<()> {
        let parameter = &mut self.parameter;
        let mut state = self.state.iter_mut().map(|(_, tensor)| tensor);
        let mut next = || state.next().ok_or_else(|| Error::internal("an optimizer slot is empty"));
        let update = match numbers.rule {
            Rule::Sgd { momentum, .. } => {
                let gradient = gradient.f_addcmul_(parameter, &numbers.decay)?;
                next()?.f_mul_scalar_(momentum)?.f_add_(&gradient)?
            }
            Rule::Nag { momentum, .. } => {
                let mut gradient = gradient.f_addcmul_(parameter, &numbers.decay)?;
                let last = next()?.f_mul_scalar_(momentum)?.f_add_(&gradient)?;
                gradient.f_add_(&last.f_mul_scalar(momentum)?)?
            }
            Rule::Adam | Rule::Adamw { .. } => {
                if matches!(numbers.rule, Rule::Adamw { .. }) {
                    let _ = parameter.f_mul_scalar_(numbers.kept)?;
                }
                let average = next()?.f_lerp_(&gradient, 1.0 - BETA1)?;
                let square = next()?.f_lerp_(&gradient.f_square_()?, 1.0 - BETA2)?;
                let mut root = square.f_sqrt()?.f_div_scalar_(numbers.root_correction)?;
                average.f_div(&root.f_add_scalar_(EPSILON)?)?
            }
            Rule::Adagrad => {
                let sum = next()?.f_addcmul_(&gradient, &gradient)?;
                gradient.f_div_(&sum.f_sqrt()?.f_add_scalar_(ADAGRAD_EPSILON)?)?
            }
            Rule::Rmsprop { alpha, momentum } => {
                let square = next()?.f_lerp_(&gradient.f_square()?, 1.0 - alpha)?;
                let root = square.f_sqrt()?.f_add_scalar_(EPSILON)?;
                next()?.f_mul_scalar_(momentum)?.f_addcdiv_(&gradient, &root)?
            }
        };
        let _ = parameter.f_addcmul_(&update, &numbers.factor)?;
        Ok(())
    }
}
