//! Update rules, equal to PyTorch's `torch.optim` in f32. They are ours because their state must
//! go into checkpoints, which tch's own does not allow (design: 3).

use tch::Tensor;

use crate::error::{Error, Result};
use crate::sagemaker::Hyperparameters;
use crate::sagemaker::hyperparameters::Optimizer as Kind;

/// The rule and its constants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// `torch.optim.SGD(momentum, weight_decay)`.
    Sgd {
        /// Share of the last update that is kept.
        momentum: f64,
        /// L2 penalty.
        weight_decay: f64,
    },
    /// `torch.optim.RMSprop(alpha, momentum, eps=1e-8)`.
    Rmsprop {
        /// Decay of the average of squared gradients.
        alpha: f64,
        /// Share of the last update that is kept.
        momentum: f64,
    },
}

impl Rule {
    /// The rule that hyperparameters ask for.
    pub fn of(hyperparameters: &Hyperparameters) -> Self {
        let Hyperparameters { momentum, weight_decay, gamma1, gamma2, .. } = *hyperparameters;
        match hyperparameters.optimizer {
            Kind::Sgd => Self::Sgd { momentum, weight_decay },
            Kind::Rmsprop => Self::Rmsprop { alpha: gamma1, momentum: gamma2 },
        }
    }
}

/// An update rule with its state for a list of parameters.
#[derive(Debug)]
pub struct Optimizer {
    rule: Rule,
    slots: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    parameter: Tensor,
    /// The last update; absent before the first step.
    momentum: Option<Tensor>,
    /// The average of squared gradients.
    square: Option<Tensor>,
}

impl Optimizer {
    /// A fresh optimizer of these parameters.
    pub fn new(rule: Rule, parameters: Vec<Tensor>) -> Self {
        let slot = |parameter| Slot { parameter, momentum: None, square: None };
        Self { rule, slots: parameters.into_iter().map(slot).collect() }
    }

    /// Changes the parameters by their gradients, given in the parameters' order; the gradients'
    /// memory is used for scratch.
    pub fn step(&mut self, rate: f64, gradients: Vec<Tensor>) -> Result<()> {
        let rule = self.rule;
        tch::no_grad(|| {
            let mut slots = self.slots.iter_mut().zip(gradients);
            slots.try_for_each(|(slot, gradient)| {
                if gradient.defined() { slot.update(rule, rate, gradient) } else { Ok(()) }
            })
        })
    }
}

impl Slot {
    fn update(&mut self, rule: Rule, rate: f64, mut gradient: Tensor) -> Result<()> {
        let update = match rule {
            Rule::Sgd { momentum, weight_decay } => {
                add_scaled(&mut gradient, &self.parameter, weight_decay)?;
                match &mut self.momentum {
                    Some(last) => last.f_mul_scalar_(momentum)?.f_add_(&gradient)?,
                    none => none.insert(gradient).shallow_clone(),
                }
            }
            Rule::Rmsprop { alpha, momentum } => {
                let square = or_zeros(&mut self.square, &gradient)?;
                let _ = square.f_lerp_(&gradient.f_square()?, 1.0 - alpha)?;
                let root = square.f_sqrt()?.f_add_scalar_(1e-8)?;
                let last = or_zeros(&mut self.momentum, &gradient)?;
                last.f_mul_scalar_(momentum)?.f_addcdiv_(&gradient, &root)?
            }
        };
        add_scaled(&mut self.parameter, &update, -rate)
    }
}

/// The state in a slot, zeros like `gradient` before the first step.
fn or_zeros<'a>(state: &'a mut Option<Tensor>, gradient: &Tensor) -> Result<&'a mut Tensor> {
    if state.is_none() {
        *state = Some(gradient.f_zeros_like()?);
    }
    state.as_mut().ok_or_else(|| Error::internal("an optimizer slot is empty"))
}

/// `target += factor * source` in one pass over memory: tch binds no `add` with a factor, and a
/// product with a one-element tensor needs no temporary of the parameter's size.
fn add_scaled(target: &mut Tensor, source: &Tensor, factor: f64) -> Result<()> {
    let factor = Tensor::f_from_slice(&[factor as f32])?.f_to_device(target.device())?;
    let _ = target.f_addcmul_(source, &factor)?;
    Ok(())
}
