//! The tensors of a network: their initial values, and their file (safetensors, in torchvision's
//! key names).

use std::collections::HashMap;

use safetensors::tensor::{Dtype, TensorView};
use tch::{Device, Kind, Tensor};

use super::graph::{ParameterRole, ParameterSpec};
use super::tensor_file::TensorSource;
use crate::error::{Error, Problems, Result};
use crate::torch::{build_tensor, foreach, to_channels_last, with_seed};

/// The tensors of a network's state dict, all on one device. Those of 4 dimensions lie in
/// channels-last memory.
#[derive(Debug)]
pub struct Weights {
    specs: Vec<ParameterSpec>,
    tensors: HashMap<String, Tensor>,
    /// Number of training passes so far, which is the value of every `num_batches_tracked`. One
    /// count in place of 60 tensors saves as many kernel launches per step.
    batches_tracked: i64,
}

impl Weights {
    /// Makes random weights as torchvision initializes them. `seed` fixes them.
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

    /// Reads the tensors whose names start with `prefix`. Every tensor of `specs` must be there in
    /// its shape, and no other.
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

    /// Copies the weights to memory of their own that requires no gradient. Convolutions are
    /// converted to `conv_kind`, except those of `fp32_modules`, which stay in 32 bits as all other
    /// tensors do.
    pub fn copy(&self, conv_kind: Kind, fp32_modules: &[&str]) -> Result<Self> {
        let mut tensors = HashMap::with_capacity(self.tensors.len());
        for (name, tensor) in &self.tensors {
            let (module, _) = name.rsplit_once('.').unwrap_or_default();
            let is_converted = tensor.dim() == 4 && !fp32_modules.contains(&module);
            let kind = if is_converted { conv_kind } else { Kind::Float };
            let mut copied = tensor.f_detach()?.f_to_kind(kind)?;
            if copied.data_ptr() == tensor.data_ptr() {
                copied = copied.f_empty_like()?;
                copied.f_copy_(&tensor.f_detach()?)?;
            }
            tensors.insert(name.clone(), copied);
        }
        let (specs, batches_tracked) = (self.specs.clone(), self.batches_tracked);
        Ok(Self { specs, tensors, batches_tracked })
    }

    /// Moves every tensor towards `other`'s by the share `weight`, 0 to 1, of the difference, and
    /// takes over its count of passes.
    pub fn lerp_towards(&mut self, other: &Self, weight: f64) -> Result<()> {
        tch::no_grad(|| foreach::lerp(&mut self.tensors()?, &other.tensors()?, weight))?;
        self.batches_tracked = other.batches_tracked;
        Ok(())
    }

    /// Checks that all elements are finite. The error names the first tensor with others.
    pub fn check_finite(&self) -> Result<()> {
        for spec in &self.specs {
            if spec.role == ParameterRole::BatchCounter {
                continue;
            }
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

    /// Returns the bytes of a safetensors file, which depend on the weights alone
    /// (`docs/architecture.md#the-kept-model`).
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
            let view = TensorView::new(*dtype, shape, bytes).map_err(serialize_error)?;
            views.push((spec.name.as_str(), view));
        }
        safetensors::serialize(views, None).map_err(serialize_error)
    }

    /// Lists every tensor with its name, in the order of the network. The tensors share the
    /// weights' memory.
    pub fn named_tensors(&self) -> Result<Vec<(String, Tensor)>> {
        let mut named = Vec::with_capacity(self.specs.len());
        for spec in &self.specs {
            let tensor = match spec.role {
                ParameterRole::BatchCounter => Tensor::from(self.batches_tracked),
                _ => self.tensor(&spec.name)?.f_detach()?,
            };
            named.push((spec.name.clone(), tensor));
        }
        Ok(named)
    }

    /// Returns the tensor `<module>.<leaf>`.
    pub fn get(&self, module: &str, leaf: &str) -> Result<&Tensor> {
        self.tensor(&format!("{module}.{leaf}"))
    }

    fn tensor(&self, name: &str) -> Result<&Tensor> {
        self.tensors.get(name).ok_or_else(|| missing_tensor_error(name))
    }

    /// Lists the tensors that the optimizer changes with their names, in the order of the network.
    pub fn trainable_tensors(&self) -> Result<Vec<(String, Tensor)>> {
        let mut trainable = Vec::new();
        for spec in &self.specs {
            if spec.role.is_trainable() {
                trainable.push((spec.name.clone(), self.tensor(&spec.name)?.shallow_clone()));
            }
        }
        Ok(trainable)
    }

    /// Converts all tensors to 64 bits, for [`ComputePrecision::Fp64`].
    ///
    /// [`ComputePrecision::Fp64`]: super::precision::ComputePrecision::Fp64
    #[cfg(test)]
    pub(crate) fn convert_to_double(&mut self) {
        for tensor in self.tensors.values_mut() {
            let is_trainable = tensor.requires_grad();
            *tensor = tensor.detach().to_kind(Kind::Double).set_requires_grad(is_trainable);
        }
    }

    /// Lists every tensor but the counters, in the order of the network. They share the weights'
    /// memory.
    pub fn tensors(&self) -> Result<Vec<Tensor>> {
        let mut tensors = Vec::new();
        for spec in &self.specs {
            if spec.role != ParameterRole::BatchCounter {
                tensors.push(self.tensor(&spec.name)?.f_detach()?);
            }
        }
        Ok(tensors)
    }

    /// Returns the number of training passes so far.
    pub fn batches_tracked(&self) -> i64 {
        self.batches_tracked
    }

    /// Lists BatchNorm's running statistics, in the order of the network. They share the weights'
    /// memory.
    pub fn running_statistics(&self) -> Result<Vec<Tensor>> {
        let mut statistics = Vec::new();
        for spec in &self.specs {
            if matches!(spec.role, ParameterRole::RunningStatistic(_)) {
                statistics.push(self.tensor(&spec.name)?.f_detach()?);
            }
        }
        Ok(statistics)
    }

    /// Replaces the elements of a tensor that is not a counter by 32-bit floats in its shape.
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

    pub fn set_batches_tracked(&mut self, batches_tracked: i64) {
        self.batches_tracked = batches_tracked;
    }

    pub fn count_batch(&mut self) {
        self.batches_tracked += 1;
    }
}

#[expect(clippy::needless_pass_by_value, reason = "map_err passes a value")]
fn serialize_error(cause: safetensors::SafeTensorError) -> Error {
    Error::internal(format!("safetensors: {cause}"))
}

fn missing_tensor_error(name: &str) -> Error {
    Error::internal(format!("no tensor named {name}"))
}

/// Moves a tensor to the device and memory layout of the weights, and makes it require a gradient
/// if it is trainable.
fn prepare_tensor(tensor: &Tensor, spec: &ParameterSpec, device: Device) -> Result<Tensor> {
    let tensor = tensor.f_to_device(device)?;
    let tensor = if spec.shape.len() == 4 { to_channels_last(&tensor)? } else { tensor };
    Ok(tensor.f_set_requires_grad(spec.role.is_trainable())?)
}

/// Checks that the tensors whose names start with `prefix` are exactly those of `specs`, with their
/// types and shapes.
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
    for stored_name in file.names() {
        let Some(name) = stored_name.strip_prefix(prefix) else { continue };
        if specs.iter().all(|spec| spec.name != name) {
            problems.push(format!("tensor {name} is not part of the network"));
        }
    }
    problems.into_result()
}

/// Returns the element type of a tensor as safetensors and as libtorch name it.
fn element_type(role: ParameterRole) -> (Dtype, Kind) {
    match role {
        ParameterRole::BatchCounter => (Dtype::I64, Kind::Int64),
        _ => (Dtype::F32, Kind::Float),
    }
}

/// Reads a tensor of a file that was checked, to the CPU and in the file's order of elements.
pub(super) fn read_tensor(file: &dyn TensorSource, name: &str, kind: Kind) -> Result<Tensor> {
    let (_, shape) = file.dtype_and_shape(name).ok_or_else(|| missing_tensor_error(name))?;
    build_tensor(&shape, kind, |bytes| file.read_into(name, bytes))
}

/// Returns a tensor's elements as little-endian bytes in row-major (not channels-last) order.
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
