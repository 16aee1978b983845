//! Update rules, equal to PyTorch's `torch.optim` in f32. They are written here because their state
//! must go into checkpoints, and tch does not give the state of its optimizers away
//! (`docs/architecture.md#our-own-optimizers`).

mod config;
mod param_list;

pub use config::{OptimizerConfig, OptimizerKind};

use std::collections::BTreeMap;

use tch::{Device, Tensor};

use crate::error::{Error, Problems, Result};
use param_list::ParamList;

/// Name of the number of steps in the state.
const STEP_KEY: &str = "step";

/// An update rule with its state for a list of parameters.
#[derive(Debug)]
pub struct Optimizer {
    config: OptimizerConfig,
    params: Vec<OptimizedParam>,
    /// Number of parameters that are updated together.
    params_per_list: usize,
    /// Number of steps so far.
    steps: i64,
}

/// A parameter with its state.
#[derive(Debug)]
struct OptimizedParam {
    name: String,
    parameter: Tensor,
    /// Tensors that the rule keeps, by PyTorch's names, in the order of
    /// [`OptimizerConfig::state_names`]. All rules start from zeros.
    state: Vec<(&'static str, Tensor)>,
}

impl OptimizedParam {
    fn new(config: OptimizerConfig, name: String, parameter: Tensor) -> Result<Self> {
        let mut state = Vec::new();
        for &state_name in config.state_names() {
            // The state has the parameter's memory format, which makes the update faster.
            state.push((state_name, parameter.f_detach()?.f_zeros_like()?));
        }
        Ok(Self { name, parameter, state })
    }

    /// Returns the name of a state tensor in the optimizer's state dict.
    fn state_key(&self, state_name: &str) -> String {
        format!("{}.{state_name}", self.name)
    }
}

impl Optimizer {
    /// Returns an optimizer without state for these parameters, named as in the network's state
    /// dict.
    pub fn new(config: OptimizerConfig, parameters: Vec<(String, Tensor)>) -> Result<Self> {
        // A GPU updates all parameters by a few kernels. A processor passes over one parameter
        // after the other, which is in its caches from one operation to the next.
        let is_on_processor =
            parameters.iter().all(|(_, parameter)| parameter.device() == Device::Cpu);
        let params_per_list = if is_on_processor { 1 } else { parameters.len().max(1) };
        let mut params = Vec::with_capacity(parameters.len());
        for (name, parameter) in parameters {
            params.push(OptimizedParam::new(config, name, parameter)?);
        }
        Ok(Self { config, params, params_per_list, steps: 0 })
    }

    /// Changes the parameters by their gradients, which are in the parameters' order. The gradients
    /// are overwritten. Nothing waits for the device.
    pub fn step(&mut self, lr: f64, gradients: Vec<Tensor>) -> Result<()> {
        self.steps += 1;
        tch::no_grad(|| -> Result<()> {
            let mut list = ParamList::new(self.config);
            for (param, gradient) in self.params.iter().zip(gradients) {
                if !gradient.defined() {
                    continue;
                }
                list.gradients.push(gradient);
                list.parameters.push(param.parameter.shallow_clone());
                for (tensors, (_, tensor)) in list.state.iter_mut().zip(&param.state) {
                    tensors.push(tensor.shallow_clone());
                }
                if list.parameters.len() == self.params_per_list {
                    list.update(self.config, lr, self.steps)?;
                    list = ParamList::new(self.config);
                }
            }
            list.update(self.config, lr, self.steps)
        })
    }

    /// Returns the number of steps so far, those of an interrupted job included.
    pub fn steps(&self) -> i64 {
        self.steps
    }

    /// Replaces the number of steps so far.
    pub(super) fn set_steps(&mut self, steps: i64) {
        self.steps = steps;
    }

    /// Lists the tensors of [`state_dict`](Self::state_dict) that share the optimizer's memory.
    pub(super) fn state_tensors(&self) -> Vec<Tensor> {
        let mut tensors = Vec::new();
        for param in &self.params {
            for (_, tensor) in &param.state {
                tensors.push(tensor.shallow_clone());
            }
        }
        tensors
    }

    /// Returns everything that the next step depends on besides the parameters, in a fixed order:
    /// the count `step`, and then for each parameter the tensors that PyTorch keeps for it, named
    /// `<parameter>.<PyTorch's name>`, for example `classifier.0.weight.momentum_buffer`. The
    /// tensors share the optimizer's memory: the next step changes them.
    pub fn state_dict(&self) -> Vec<(String, Tensor)> {
        let mut tensors = vec![(STEP_KEY.to_owned(), Tensor::from(self.steps))];
        for param in &self.params {
            for (state_name, tensor) in &param.state {
                tensors.push((param.state_key(state_name), tensor.shallow_clone()));
            }
        }
        tensors
    }

    /// Takes over a state of [`state_dict`](Self::state_dict), in any order. The next step is then
    /// bit-equal to the step that would have followed. If a name, shape or kind does not fit,
    /// nothing changes.
    pub fn load_state_dict(&mut self, state: Vec<(String, Tensor)>) -> Result<()> {
        let mut problems = Problems::new();
        let mut loaded = BTreeMap::new();
        for (name, tensor) in state {
            if loaded.insert(name.clone(), tensor).is_some() {
                problems.push(format!("optimizer state {name} is there twice"));
            }
        }
        let mut state_pairs = Vec::new();
        let steps = Tensor::from(self.steps);
        for (name, current) in
            self.state_dict().into_iter().skip(1).chain([(STEP_KEY.to_owned(), steps)])
        {
            match loaded.remove(&name) {
                Some(tensor) if has_same_kind_and_shape(&tensor, &current) => {
                    state_pairs.push((current, tensor));
                }
                Some(tensor) => problems.push(format!(
                    "optimizer state {name} is {:?} of shape {:?}; {} needs {:?} of shape {:?}",
                    tensor.kind(),
                    tensor.size(),
                    self.config.name(),
                    current.kind(),
                    current.size()
                )),
                None => problems.push(format!(
                    "optimizer state {name} is missing; {} needs it",
                    self.config.name()
                )),
            }
        }
        for name in loaded.keys() {
            let optimizer_name = self.config.name();
            problems.push(format!(
                "optimizer state {name} is not part of {optimizer_name} on this network"
            ));
        }
        problems.into_result()?;
        tch::no_grad(|| -> Result<()> {
            for (current, tensor) in &mut state_pairs {
                current.f_copy_(tensor)?;
            }
            Ok(())
        })?;
        // `step` is the last pair, and a tensor of its own.
        let (steps, _) = state_pairs.last().ok_or_else(|| Error::internal("no optimizer state"))?;
        self.steps = steps.f_int64_value(&[])?;
        Ok(())
    }
}

fn has_same_kind_and_shape(tensor: &Tensor, current: &Tensor) -> bool {
    tensor.kind() == current.kind() && tensor.size() == current.size()
}

#[cfg(test)]
mod tests;
