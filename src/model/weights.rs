//! The tensors of a network: how they start, and how they are written and read (safetensors, in
//! torchvision's key names).

use std::collections::HashMap;

use safetensors::tensor::{Dtype, TensorView};
use tch::{Device, Kind, Tensor};

use super::graph::{ParameterRole, ParameterSpec};
use super::tensor_file::TensorSource;
use crate::error::{Error, Problems, Result};
use crate::torch::{build_tensor, to_channels_last, with_seed};

/// Every tensor of a network's state dict, on one device, 4-D ones in channels-last memory.
#[derive(Debug)]
pub struct Weights {
    specs: Vec<ParameterSpec>,
    tensors: HashMap<String, Tensor>,
    /// Training passes so far: the value of every `num_batches_tracked`. Counting once and not in
    /// 60 tensors saves as many kernel launches per step.
    batches_tracked: i64,
}

impl Weights {
    /// Random weights as torchvision initializes them; `seed` fixes them.
    pub fn random(specs: Vec<ParameterSpec>, seed: u64, device: Device) -> Result<Self> {
        let options = (Kind::Float, Device::Cpu);
        let tensors = with_seed(seed, || {
            let mut tensors = HashMap::new();
            for spec in &specs {
                let mut tensor = Tensor::f_empty(&spec.shape, options)?;
                let tensor = match spec.role {
                    ParameterRole::Uniform(bound) => tensor.f_uniform_(-bound, bound)?,
                    ParameterRole::Normal(std) => tensor.f_normal_(0.0, std)?,
                    ParameterRole::Constant(value) | ParameterRole::RunningStatistic(value) => {
                        tensor.f_fill_(value)?
                    }
                    ParameterRole::BatchCounter => continue,
                };
                tensors.insert(spec.name.clone(), prepare_tensor(&tensor, spec, device)?);
            }
            Ok(tensors)
        })?;
        Ok(Self { specs, tensors, batches_tracked: 0 })
    }

    /// The tensors whose names start with `prefix`: every tensor of `specs` must be there in its shape, and no other.
    pub fn from_tensors(
        file: &dyn TensorSource,
        prefix: &str,
        specs: Vec<ParameterSpec>,
        device: Device,
    ) -> Result<Self> {
        check_tensors(file, prefix, &specs)?;
        let mut tensors = HashMap::new();
        let mut batches_tracked = 0;
        for spec in &specs {
            let (_, kind) = element_type(spec.role);
            let tensor = read_tensor(file, &format!("{prefix}{}", spec.name), kind)?;
            if spec.role == ParameterRole::BatchCounter {
                batches_tracked = tensor.f_int64_value(&[])?;
            } else {
                tensors.insert(spec.name.clone(), prepare_tensor(&tensor, spec, device)?);
            }
        }
        Ok(Self { specs, tensors, batches_tracked })
    }

    /// The same in memory of its own, of which nothing is learned; the convolutions' in this format, but
    /// for those of the modules in `exact`, which stay in 32 bits.
    pub fn copy(&self, conv_kind: Kind, fp32_modules: &[&str]) -> Result<Self> {
        let copy_tensor = |(name, tensor): (&String, &Tensor)| {
            let module = name.rsplit_once('.').map_or("", |(module, _)| module);
            let is_converted = tensor.dim() == 4 && !fp32_modules.contains(&module);
            let kind = if is_converted { conv_kind } else { Kind::Float };
            let mut copied = tensor.f_detach()?.f_to_kind(kind)?;
            if copied.data_ptr() == tensor.data_ptr() {
                copied = copied.f_empty_like()?;
                copied.f_copy_(&tensor.f_detach()?)?;
            }
            Ok((name.clone(), copied))
        };
        let tensors: Result<_> = self.tensors.iter().map(copy_tensor).collect();
        Ok(Self {
            specs: self.specs.clone(),
            tensors: tensors?,
            batches_tracked: self.batches_tracked,
        })
    }

    /// Moves every tensor by `share`, 0 to 1, of its way to `other`'s, and takes its count of passes.
    pub fn lerp_towards(&mut self, other: &Self, weight: f64) -> Result<()> {
        tch::no_grad(|| -> Result<()> {
            for (name, tensor) in &mut self.tensors {
                let _ = tensor.f_lerp_(other.tensor(name)?, weight)?;
            }
            Ok(())
        })?;
        self.batches_tracked = other.batches_tracked;
        Ok(())
    }

    /// Whether all elements are numbers; else the first tensor that has others is named.
    pub fn check_finite(&self) -> Result<()> {
        for spec in self.specs.iter().filter(|spec| spec.role != ParameterRole::BatchCounter) {
            let sum = self.tensor(&spec.name)?.f_detach()?.f_sum(Kind::Double)?;
            if !sum.f_double_value(&[])?.is_finite() {
                return Err(Error::input(format!(
                    "tensor {} has elements that are no numbers: training diverged; lower \
                     learning_rate",
                    spec.name
                )));
            }
        }
        Ok(())
    }

    /// The file's bytes; they depend on the weights alone (`docs/architecture.md#the-kept-model`).
    pub fn to_safetensors(&self) -> Result<Vec<u8>> {
        let mut contents = Vec::with_capacity(self.specs.len());
        for spec in &self.specs {
            let (dtype, bytes) = if spec.role == ParameterRole::BatchCounter {
                (Dtype::I64, self.batches_tracked.to_le_bytes().to_vec())
            } else {
                (Dtype::F32, tensor_bytes(self.tensor(&spec.name)?)?)
            };
            contents.push((spec, dtype, bytes));
        }
        let mut views = Vec::with_capacity(contents.len());
        for (spec, dtype, bytes) in &contents {
            let shape = spec.shape.iter().map(|&side| side as usize).collect();
            let view = TensorView::new(*dtype, shape, bytes).map_err(|e| serialize_error(&e))?;
            views.push((spec.name.as_str(), view));
        }
        safetensors::serialize(views, None).map_err(|e| serialize_error(&e))
    }

    /// Every tensor with its name, in the order of the network, as it is in memory.
    pub fn named_tensors(&self) -> Result<Vec<(String, Tensor)>> {
        let named = self.specs.iter().map(|spec| {
            let tensor = match spec.role {
                ParameterRole::BatchCounter => Tensor::from(self.batches_tracked),
                _ => self.tensor(&spec.name)?.f_detach()?,
            };
            Ok((spec.name.clone(), tensor))
        });
        named.collect()
    }

    /// The tensor `<module>.<leaf>`.
    pub fn get(&self, module: &str, leaf: &str) -> Result<&Tensor> {
        self.tensor(&format!("{module}.{leaf}"))
    }

    fn tensor(&self, name: &str) -> Result<&Tensor> {
        self.tensors.get(name).ok_or_else(|| missing_tensor_error(name))
    }

    /// What the optimizer changes, by name, in the order of the network.
    pub fn trainable_tensors(&self) -> Result<Vec<(String, Tensor)>> {
        let learned = self.specs.iter().filter(|spec| spec.role.is_trainable());
        learned
            .map(|spec| Ok((spec.name.clone(), self.tensor(&spec.name)?.shallow_clone())))
            .collect()
    }

    /// Gives a tensor that is not a counter other elements: 32-bit floats in its shape.
    pub fn replace(&mut self, name: &str, elements: &Tensor) -> Result<()> {
        let spec = self.specs.iter().find(|spec| spec.name == name);
        let (Some(spec), Some(current)) = (spec, self.tensors.get(name)) else {
            return Err(missing_tensor_error(name));
        };
        if elements.size() != spec.shape || elements.kind() != Kind::Float {
            return Err(Error::internal(format!(
                "elements for {name} are of another shape or type"
            )));
        }
        let prepared = prepare_tensor(elements, spec, current.device())?;
        self.tensors.insert(name.to_owned(), prepared);
        Ok(())
    }

    /// Sets the count of training passes.
    pub fn set_batches_tracked(&mut self, batches_tracked: i64) {
        self.batches_tracked = batches_tracked;
    }

    /// Counts a training pass.
    pub fn count_batch(&mut self) {
        self.batches_tracked += 1;
    }
}

fn serialize_error(cause: &safetensors::SafeTensorError) -> Error {
    Error::internal(format!("safetensors: {cause}"))
}

fn missing_tensor_error(name: &str) -> Error {
    Error::internal(format!("no tensor named {name}"))
}

/// Moves a tensor to where training wants it.
fn prepare_tensor(tensor: &Tensor, spec: &ParameterSpec, device: Device) -> Result<Tensor> {
    let tensor = tensor.f_to_device(device)?;
    let tensor = if spec.shape.len() == 4 { to_channels_last(&tensor)? } else { tensor };
    Ok(tensor.f_set_requires_grad(spec.role.is_trainable())?)
}

/// Whether every tensor of `specs` is among those whose names start with `prefix`, as it must be, and no other.
pub(super) fn check_tensors(
    file: &dyn TensorSource,
    prefix: &str,
    specs: &[ParameterSpec],
) -> Result<()> {
    let mut problems = Problems::new();
    for ParameterSpec { name, shape, role } in specs {
        let (dtype, _) = element_type(*role);
        match file.dtype_and_shape(&format!("{prefix}{name}")) {
            None => problems.push(format!("tensor {name} is missing")),
            Some((_, found)) if found != *shape => problems
                .push(format!("tensor {name} has shape {found:?}; the network needs {shape:?}")),
            Some((found, _)) if found != dtype => problems
                .push(format!("tensor {name} holds {found:?}; this version reads {dtype:?}")),
            Some(_) => {}
        }
    }
    for name in file.names().iter().filter_map(|name| name.strip_prefix(prefix)) {
        if specs.iter().all(|spec| spec.name != name) {
            problems.push(format!("tensor {name} is not part of the network"));
        }
    }
    problems.into_result()
}

/// What a file holds a tensor's elements as, and libtorch's name of it.
fn element_type(role: ParameterRole) -> (Dtype, Kind) {
    match role {
        ParameterRole::BatchCounter => (Dtype::I64, Kind::Int64),
        _ => (Dtype::F32, Kind::Float),
    }
}

/// A tensor of a file that was checked, on the processor and in the file's order.
pub(super) fn read_tensor(file: &dyn TensorSource, name: &str, kind: Kind) -> Result<Tensor> {
    let (_, shape) = file.dtype_and_shape(name).ok_or_else(|| missing_tensor_error(name))?;
    build_tensor(&shape, kind, |bytes| file.read_into(name, bytes))
}

/// Little-endian bytes in the usual (not channels-last) order.
pub(crate) fn tensor_bytes(tensor: &Tensor) -> Result<Vec<u8>> {
    let tensor = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?;
    let elements = tensor.numel();
    let mut bytes = vec![0; elements * tensor.kind().elt_size_in_bytes()];
    tensor.f_copy_data_u8(&mut bytes, elements)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tensor_file::parse_safetensors;

    fn read_weights(bytes: &[u8], specs: Vec<ParameterSpec>) -> Result<Weights> {
        Weights::from_tensors(&parse_safetensors(bytes)?, "", specs, Device::Cpu)
    }

    fn specs() -> Vec<ParameterSpec> {
        let spec = |name: &str, shape: &[i64], role| ParameterSpec {
            name: name.to_owned(),
            shape: shape.to_vec(),
            role,
        };
        vec![
            spec("a.weight", &[2, 3, 2, 2], ParameterRole::Normal(1.0)),
            spec("a.bias", &[2], ParameterRole::Uniform(0.5)),
            spec("a.num_batches_tracked", &[], ParameterRole::BatchCounter),
        ]
    }

    #[test]
    fn written_weights_are_read_back_bit_for_bit() {
        let mut weights = Weights::random(specs(), 7, Device::Cpu).unwrap();
        weights.count_batch();
        let bytes = weights.to_safetensors().unwrap();
        let again = read_weights(&bytes, specs()).unwrap();
        assert_eq!(again.to_safetensors().unwrap(), bytes);
        assert_eq!(again.batches_tracked, 1);
        assert!(again.get("a", "weight").unwrap().equal(weights.get("a", "weight").unwrap()));
    }

    #[test]
    fn every_tensor_that_does_not_fit_is_named() {
        let bytes = Weights::random(specs(), 7, Device::Cpu).unwrap().to_safetensors().unwrap();
        let mut other = specs();
        other[0].shape = vec![4, 3, 2, 2];
        other[1].name = "b.bias".to_owned();
        let error = read_weights(&bytes, other).unwrap_err();
        let mut counted = specs();
        counted[1].role = ParameterRole::BatchCounter;
        assert_eq!(
            read_weights(&bytes, counted).unwrap_err().problems(),
            ["tensor a.bias holds F32; this version reads I64"]
        );
        assert_eq!(
            error.problems(),
            [
                "tensor a.weight has shape [2, 3, 2, 2]; the network needs [4, 3, 2, 2]",
                "tensor b.bias is missing",
                "tensor a.bias is not part of the network",
            ]
        );
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_are_an_error_not_a_panic(bytes: Vec<u8>) {
            proptest::prop_assert!(read_weights(&bytes, specs()).is_err());
        }
    }
}
