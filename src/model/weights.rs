//! The tensors of a network: how they start, and how they are written and read (safetensors, in
//! torchvision's key names).

use std::collections::HashMap;

use safetensors::tensor::{Dtype, TensorView};
use tch::{Device, Kind, Tensor};

use super::graph::{ParameterSpec, Role};
use super::tensor_file::Tensors;
use crate::error::{Error, Problems, Result};
use crate::torch::{channels_last, with_seed, written};

/// Every tensor of a network's state dict, on one device, 4-D ones in channels-last memory.
#[derive(Debug)]
pub struct Weights {
    specs: Vec<ParameterSpec>,
    tensors: HashMap<String, Tensor>,
    /// Training passes so far: the value of every `num_batches_tracked`. Counting once and not in
    /// 60 tensors saves as many kernel launches per step.
    batches: i64,
}

impl Weights {
    /// Random weights as torchvision initialises them; `seed` fixes them.
    pub fn random(specs: Vec<ParameterSpec>, seed: u64, device: Device) -> Result<Self> {
        let options = (Kind::Float, Device::Cpu);
        let tensors = with_seed(seed, || {
            let mut tensors = HashMap::new();
            for spec in &specs {
                let mut tensor = Tensor::f_empty(&spec.shape, options)?;
                let tensor = match spec.role {
                    Role::Uniform(bound) => tensor.f_uniform_(-bound, bound)?,
                    Role::Normal(deviation) => tensor.f_normal_(0.0, deviation)?,
                    Role::Constant(value) | Role::Statistic(value) => tensor.f_fill_(value)?,
                    Role::Counter => continue,
                };
                tensors.insert(spec.name.clone(), place(&tensor, spec, device)?);
            }
            Ok(tensors)
        })?;
        Ok(Self { specs, tensors, batches: 0 })
    }

    /// The tensors whose names start with `prefix`: every tensor of `specs` must be there in its shape, and no other.
    pub fn from_tensors(
        file: &dyn Tensors,
        prefix: &str,
        specs: Vec<ParameterSpec>,
        device: Device,
    ) -> Result<Self> {
        check(file, prefix, &specs)?;
        let mut tensors = HashMap::new();
        let mut batches = 0;
        for spec in &specs {
            let (_, kind) = elements(spec.role);
            let tensor = read(file, &format!("{prefix}{}", spec.name), kind)?;
            if spec.role == Role::Counter {
                batches = tensor.f_int64_value(&[])?;
            } else {
                tensors.insert(spec.name.clone(), place(&tensor, spec, device)?);
            }
        }
        Ok(Self { specs, tensors, batches })
    }

    /// The same in memory of its own, of which nothing is learned; the convolutions' in this format, but
    /// for those of the modules in `exact`, which stay in 32 bits.
    pub fn copy(&self, convolutions: Kind, exact: &[&str]) -> Result<Self> {
        let copy = |(name, tensor): (&String, &Tensor)| {
            let module = name.rsplit_once('.').map_or("", |(module, _)| module);
            let convolution = tensor.dim() == 4 && !exact.contains(&module);
            let kind = if convolution { convolutions } else { Kind::Float };
            let mut own = tensor.f_detach()?.f_to_kind(kind)?;
            if own.data_ptr() == tensor.data_ptr() {
                own = own.f_empty_like()?;
                own.f_copy_(&tensor.f_detach()?)?;
            }
            Ok((name.clone(), own))
        };
        let tensors: Result<_> = self.tensors.iter().map(copy).collect();
        Ok(Self { specs: self.specs.clone(), tensors: tensors?, batches: self.batches })
    }

    /// Moves every tensor by `share`, 0 to 1, of its way to `other`'s, and takes its count of passes.
    pub fn move_towards(&mut self, other: &Self, share: f64) -> Result<()> {
        tch::no_grad(|| -> Result<()> {
            for (name, own) in &mut self.tensors {
                let _ = own.f_lerp_(other.tensor(name)?, share)?;
            }
            Ok(())
        })?;
        self.batches = other.batches;
        Ok(())
    }

    /// Whether all elements are numbers; else the first tensor that has others is named.
    pub fn check_finite(&self) -> Result<()> {
        for spec in self.specs.iter().filter(|spec| spec.role != Role::Counter) {
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
            let (dtype, bytes) = if spec.role == Role::Counter {
                (Dtype::I64, self.batches.to_le_bytes().to_vec())
            } else {
                (Dtype::F32, bytes_of(self.tensor(&spec.name)?)?)
            };
            contents.push((spec, dtype, bytes));
        }
        let mut views = Vec::with_capacity(contents.len());
        for (spec, dtype, bytes) in &contents {
            let shape = spec.shape.iter().map(|&side| side as usize).collect();
            let view = TensorView::new(*dtype, shape, bytes).map_err(|e| unwritable(&e))?;
            views.push((spec.name.as_str(), view));
        }
        safetensors::serialize(views, None).map_err(|e| unwritable(&e))
    }

    /// Every tensor with its name, in the order of the network, as it is in memory.
    pub fn named(&self) -> Result<Vec<(String, Tensor)>> {
        let named = self.specs.iter().map(|spec| {
            let tensor = match spec.role {
                Role::Counter => Tensor::from(self.batches),
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
        self.tensors.get(name).ok_or_else(|| no_tensor(name))
    }

    /// What the optimizer changes, by name, in the order of the network.
    pub fn learned(&self) -> Result<Vec<(String, Tensor)>> {
        let learned = self.specs.iter().filter(|spec| spec.role.is_learned());
        learned
            .map(|spec| Ok((spec.name.clone(), self.tensor(&spec.name)?.shallow_clone())))
            .collect()
    }

    /// Gives a tensor that is not a counter other elements: 32-bit floats in its shape.
    pub fn replace(&mut self, name: &str, elements: &Tensor) -> Result<()> {
        let spec = self.specs.iter().find(|spec| spec.name == name);
        let (Some(spec), Some(own)) = (spec, self.tensors.get(name)) else {
            return Err(no_tensor(name));
        };
        if elements.size() != spec.shape || elements.kind() != Kind::Float {
            return Err(Error::internal(format!(
                "elements for {name} are of another shape or type"
            )));
        }
        let placed = place(elements, spec, own.device())?;
        self.tensors.insert(name.to_owned(), placed);
        Ok(())
    }

    /// Sets the count of training passes.
    pub fn set_batches(&mut self, batches: i64) {
        self.batches = batches;
    }

    /// Counts a training pass.
    pub fn count_batch(&mut self) {
        self.batches += 1;
    }
}

fn unwritable(cause: &safetensors::SafeTensorError) -> Error {
    Error::internal(format!("safetensors: {cause}"))
}

fn no_tensor(name: &str) -> Error {
    Error::internal(format!("no tensor named {name}"))
}

/// Moves a tensor to where training wants it.
fn place(tensor: &Tensor, spec: &ParameterSpec, device: Device) -> Result<Tensor> {
    let tensor = tensor.f_to_device(device)?;
    let tensor = if spec.shape.len() == 4 { channels_last(&tensor)? } else { tensor };
    Ok(tensor.f_set_requires_grad(spec.role.is_learned())?)
}

/// Whether every tensor of `specs` is among those whose names start with `prefix`, as it must be, and no other.
pub(super) fn check(file: &dyn Tensors, prefix: &str, specs: &[ParameterSpec]) -> Result<()> {
    let mut problems = Problems::new();
    for ParameterSpec { name, shape, role } in specs {
        let (dtype, _) = elements(*role);
        match file.describe(&format!("{prefix}{name}")) {
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
fn elements(role: Role) -> (Dtype, Kind) {
    match role {
        Role::Counter => (Dtype::I64, Kind::Int64),
        _ => (Dtype::F32, Kind::Float),
    }
}

/// A tensor of a file that was checked, on the processor and in the file's order.
pub(super) fn read(file: &dyn Tensors, name: &str, kind: Kind) -> Result<Tensor> {
    let (_, shape) = file.describe(name).ok_or_else(|| no_tensor(name))?;
    written(&shape, kind, |bytes| file.read(name, bytes))
}

/// Little-endian bytes in the usual (not channels-last) order.
pub(crate) fn bytes_of(tensor: &Tensor) -> Result<Vec<u8>> {
    let tensor = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?;
    let elements = tensor.numel();
    let mut bytes = vec![0; elements * tensor.kind().elt_size_in_bytes()];
    tensor.f_copy_data_u8(&mut bytes, elements)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tensor_file::open;

    fn read(bytes: &[u8], specs: Vec<ParameterSpec>) -> Result<Weights> {
        Weights::from_tensors(&open(bytes)?, "", specs, Device::Cpu)
    }

    fn specs() -> Vec<ParameterSpec> {
        let spec = |name: &str, shape: &[i64], role| ParameterSpec {
            name: name.to_owned(),
            shape: shape.to_vec(),
            role,
        };
        vec![
            spec("a.weight", &[2, 3, 2, 2], Role::Normal(1.0)),
            spec("a.bias", &[2], Role::Uniform(0.5)),
            spec("a.num_batches_tracked", &[], Role::Counter),
        ]
    }

    #[test]
    fn written_weights_are_read_back_bit_for_bit() {
        let mut weights = Weights::random(specs(), 7, Device::Cpu).unwrap();
        weights.count_batch();
        let bytes = weights.to_safetensors().unwrap();
        let again = read(&bytes, specs()).unwrap();
        assert_eq!(again.to_safetensors().unwrap(), bytes);
        assert_eq!(again.batches, 1);
        assert!(again.get("a", "weight").unwrap().equal(weights.get("a", "weight").unwrap()));
    }

    #[test]
    fn every_tensor_that_does_not_fit_is_named() {
        let bytes = Weights::random(specs(), 7, Device::Cpu).unwrap().to_safetensors().unwrap();
        let mut other = specs();
        other[0].shape = vec![4, 3, 2, 2];
        other[1].name = "b.bias".to_owned();
        let error = read(&bytes, other).unwrap_err();
        let mut counted = specs();
        counted[1].role = Role::Counter;
        assert_eq!(
            read(&bytes, counted).unwrap_err().problems(),
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
            proptest::prop_assert!(read(&bytes, specs()).is_err());
        }
    }
}
