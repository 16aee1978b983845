//! Update rules, equal to PyTorch's `torch.optim` in f32. They are ours because their state must
//! go into checkpoints, which tch's own does not allow (`docs/architecture.md#our-own-optimizers`).

mod rule;
mod slot;

pub use rule::Rule;

use std::collections::BTreeMap;

use tch::Tensor;

use crate::error::{Error, Problems, Result};
use slot::{Numbers, Slot};

/// The name under which the number of steps taken stands in the state.
const STEP: &str = "step";

/// An update rule with its state for a list of parameters.
#[derive(Debug)]
pub struct Optimizer {
    rule: Rule,
    slots: Vec<Slot>,
    /// Steps taken.
    steps: i64,
}

impl Optimizer {
    /// A fresh optimizer of these parameters, which are named as in the state dict.
    pub fn new(rule: Rule, parameters: Vec<(String, Tensor)>) -> Result<Self> {
        let slots: Result<Vec<Slot>> = parameters
            .into_iter()
            .map(|(name, parameter)| Slot::new(rule, name, parameter))
            .collect();
        Ok(Self { rule, slots: slots?, steps: 0 })
    }

    /// Changes the parameters by their gradients, given in the parameters' order; the gradients'
    /// memory is used for scratch.
    pub fn step(&mut self, rate: f64, gradients: Vec<Tensor>) -> Result<()> {
        self.steps += 1;
        let Some(first) = self.slots.first() else { return Ok(()) };
        let numbers = Numbers::new(self.rule, rate, self.steps, first.parameter.device())?;
        tch::no_grad(|| {
            let mut slots = self.slots.iter_mut().zip(gradients);
            slots.try_for_each(|(slot, gradient)| {
                if gradient.defined() { slot.update(&numbers, gradient) } else { Ok(()) }
            })
        })
    }

    /// Steps taken.
    pub fn steps(&self) -> i64 {
        self.steps
    }

    /// Everything that the next step depends on besides the parameters, in a fixed order: `step`,
    /// a count, and then for each parameter what PyTorch keeps for it, named
    /// `<parameter>.<PyTorch's name>`, for example `classifier.0.weight.momentum_buffer`. The
    /// tensors are the optimizer's own: the next step changes them.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let held = self.slots.iter().flat_map(|slot| {
            slot.state.iter().map(|(leaf, tensor)| (slot.key(leaf), tensor.shallow_clone()))
        });
        std::iter::once((STEP.to_owned(), Tensor::from(self.steps))).chain(held).collect()
    }

    /// Takes over what [`state`](Self::state) gave, in any order; the next step is then bit-equal
    /// to the one that would have followed. Every name, shape and kind must fit, or nothing changes.
    pub fn load_state(&mut self, state: Vec<(String, Tensor)>) -> Result<()> {
        let mut problems = Problems::new();
        let mut given = BTreeMap::new();
        for (name, tensor) in state {
            if given.insert(name.clone(), tensor).is_some() {
                problems.push(format!("optimizer state {name} is there twice"));
            }
        }
        let mut pairs = Vec::new();
        let steps = Tensor::from(self.steps);
        for (name, own) in self.state().into_iter().skip(1).chain([(STEP.to_owned(), steps)]) {
            match given.remove(&name) {
                Some(tensor) if fits(&tensor, &own) => pairs.push((own, tensor)),
                Some(tensor) => problems.push(format!(
                    "optimizer state {name} is {:?} of shape {:?}; {} needs {:?} of shape {:?}",
                    tensor.kind(),
                    tensor.size(),
                    self.rule.name(),
                    own.kind(),
                    own.size()
                )),
                None => problems.push(format!(
                    "optimizer state {name} is missing; {} needs it",
                    self.rule.name()
                )),
            }
        }
        for name in given.keys() {
            let rule = self.rule.name();
            problems.push(format!("optimizer state {name} is not part of {rule} on this network"));
        }
        problems.into_result()?;
        tch::no_grad(|| {
            pairs.iter_mut().try_for_each(|(own, tensor)| -> Result<()> {
                own.f_copy_(tensor)?;
                Ok(())
            })
        })?;
        // `step` is the last pair, and a tensor of its own.
        let (steps, _) = pairs.last().ok_or_else(|| Error::internal("no optimizer state"))?;
        self.steps = steps.f_int64_value(&[])?;
        Ok(())
    }
}

fn fits(tensor: &Tensor, own: &Tensor) -> bool {
    tensor.kind() == own.kind() && tensor.size() == own.size()
}

#[cfg(test)]
mod tests;
