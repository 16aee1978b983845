//! A network made ready: normalization folded, weights packed for the processor or halved for a GPU, nothing that
//! training needs.

use std::cmp::Reverse;

use tch::{Device, Kind, Tensor};

use super::fuse::{FusedNode, FusedOp, fuse_graph};
use crate::error::{Error, Result};
use crate::model::graph::{Conv, Graph, Op, ValueId};
use crate::model::precision::ComputePrecision;
use crate::torch::{Geometry, PackedConvolution, parallel_map, to_channels_last};

/// PyTorch's epsilon of BatchNorm.
const BATCH_NORM_EPSILON: f64 = 1e-5;

/// Side of the feature maps that choose the first layout of the weights: 96 pixels, the size of
/// the server's trial, divided by the stride of 8. Inputs of other sizes choose again.
const INITIAL_LAYOUT_SIDE: i64 = 12;

/// Weights that are read before the first of them is packed, in sizes of the largest.
const MAX_LOADED_WEIGHTS: i64 = 2;

/// What gives logits on a grid that is coarser than the pixels.
#[derive(Debug)]
pub(super) struct FusedNetwork {
    layers: Vec<FusedLayer>,
    /// The values that no pass after the one at this index reads: they are freed then.
    last_uses: Vec<Vec<ValueId>>,
    value_count: usize,
    output: ValueId,
    kind: Kind,
    device: Device,
}

#[derive(Debug)]
struct FusedLayer {
    op: LayerOp,
    inputs: Vec<ValueId>,
    output: ValueId,
    /// Whether the value that is added may be written over: nobody reads it later.
    add_in_place: bool,
}

#[derive(Debug)]
enum LayerOp {
    Conv { kernel: ConvKernel, relu: bool, in_fp32: bool },
    Unfused(Op),
}

#[derive(Debug)]
enum ConvKernel {
    Packed(PackedConvolution),
    /// Where there is no oneDNN, and on GPUs.
    Native {
        weight: Tensor,
        bias: Tensor,
        geometry: Geometry,
    },
}

impl FusedNetwork {
    /// Folds and packs what `tensor` gives of `(module, leaf)`, in memory of its own on `device`. It is asked once for each
    /// that is needed, for several at a time but not for all, so that no second copy of all need be in memory.
    pub(super) fn new(
        graph: &Graph,
        device: Device,
        precision: ComputePrecision,
        load_tensor: impl Fn(&str, &str) -> Result<Tensor> + Sync,
    ) -> Result<Self> {
        // The last operation only enlarges what the head answers: it is left to whoever needs pixels.
        let last = graph.nodes.get(graph.out).filter(|node| node.op == Op::ResizeLike);
        let output = last.and_then(|node| node.inputs.first().copied()).unwrap_or(graph.out);
        let nodes = fuse_graph(graph, output);
        let fp32_layers: Vec<&str> =
            graph.classifier_layers().map(|conv| conv.name.as_str()).collect();
        let mut last_reads = vec![None; graph.nodes.len()];
        for (index, step) in nodes.iter().enumerate() {
            step.inputs.iter().for_each(|&input| last_reads[input] = Some(index));
        }
        last_reads[output] = None;
        // The largest weights first: what they were made from leaves room for the others.
        let mut remaining: Vec<(usize, FusedNode)> = nodes.into_iter().enumerate().collect();
        remaining.sort_by_key(|(_, step)| Reverse(step.weight_elements()));
        let max_elements =
            MAX_LOADED_WEIGHTS * remaining.first().map_or(0, |(_, step)| step.weight_elements());
        let mut layers: Vec<(usize, FusedLayer)> = Vec::with_capacity(remaining.len());
        while !remaining.is_empty() {
            let mut elements = 0;
            let fits = |(_, step): &&(usize, FusedNode)| {
                elements += step.weight_elements();
                elements <= max_elements
            };
            let group_len = remaining.iter().take_while(fits).count().max(1);
            let group: Vec<(usize, FusedNode)> = remaining.drain(..group_len).collect();
            let prepared = parallel_map(&group, |(_, step)| match &step.op {
                FusedOp::Unfused(_) => Ok(None),
                FusedOp::Conv { conv, norm, .. } => tch::no_grad(|| {
                    let in_fp32 = fp32_layers.contains(&conv.name.as_str());
                    let kind = if in_fp32 { Kind::Float } else { precision.kind() };
                    let (weight, bias) = fold_batch_norm(&load_tensor, conv, norm.as_deref())?;
                    Ok(Some((weight.f_to_kind(kind)?, bias.f_to_kind(kind)?, in_fp32)))
                }),
            })?;
            // By one after the other: which layout is best depends on how many threads may share the work.
            for ((index, FusedNode { op, inputs, output }), prepared) in
                group.into_iter().zip(prepared)
            {
                let add_in_place =
                    inputs.get(1).is_some_and(|&addend| last_reads[addend] == Some(index));
                let op = match (op, prepared) {
                    (FusedOp::Unfused(op), _) => LayerOp::Unfused(op),
                    (FusedOp::Conv { conv, relu, .. }, Some((weight, bias, in_fp32))) => {
                        LayerOp::Conv {
                            kernel: ConvKernel::new(&conv, weight, bias)?,
                            relu,
                            in_fp32,
                        }
                    }
                    (FusedOp::Conv { .. }, None) => return Err(missing_value_error()),
                };
                layers.push((index, FusedLayer { op, inputs, output, add_in_place }));
            }
        }
        layers.sort_by_key(|(index, _)| *index);
        let layers: Vec<FusedLayer> = layers.into_iter().map(|(_, pass)| pass).collect();
        let mut last_uses = vec![Vec::new(); layers.len()];
        for (value, last_reader) in last_reads.iter().enumerate() {
            if let Some(last_reader) = last_reader {
                last_uses[*last_reader].push(value);
            }
        }
        Ok(Self {
            layers,
            last_uses,
            value_count: last_reads.len(),
            output,
            kind: precision.kind(),
            device,
        })
    }

    pub(super) fn device(&self) -> Device {
        self.device
    }

    /// Logits `[batch, classes, height, width]` in 32 bits for normalized images `[batch, 3, height, width]` in
    /// channels-last memory; height and width of the result are an eighth of the images', rounded up.
    pub(super) fn logits(&self, input: &Tensor) -> Result<Tensor> {
        let mut values: Vec<Option<Tensor>> = (0..self.value_count).map(|_| None).collect();
        values[0] = Some(input.f_to_kind(self.kind)?);
        for (layer, unused) in self.layers.iter().zip(&self.last_uses) {
            let result = layer.forward(&values)?;
            values[layer.output] = Some(result);
            for &value in unused {
                values[value] = None;
            }
        }
        let output =
            values.get_mut(self.output).and_then(Option::take).ok_or_else(missing_value_error)?;
        Ok(output.f_to_kind(Kind::Float)?)
    }
}

impl FusedLayer {
    fn forward(&self, values: &[Option<Tensor>]) -> Result<Tensor> {
        let input_at = |position: usize| -> Result<&Tensor> {
            let value = self.inputs.get(position).and_then(|&input| values.get(input));
            value.and_then(Option::as_ref).ok_or_else(missing_value_error)
        };
        match &self.op {
            LayerOp::Conv { kernel, relu, in_fp32 } => {
                let input = input_at(0)?;
                let input =
                    if *in_fp32 { input.f_to_kind(Kind::Float)? } else { input.shallow_clone() };
                let addend = match self.inputs.len() {
                    2 if self.add_in_place => Some(input_at(1)?.shallow_clone()),
                    2 => Some(copy_tensor(input_at(1)?)?),
                    _ => None,
                };
                kernel.forward(&input, addend, *relu)
            }
            LayerOp::Unfused(op) => apply_op(op, input_at, self.inputs.len()),
        }
    }
}

fn apply_op<'a>(
    op: &Op,
    input_at: impl Fn(usize) -> Result<&'a Tensor>,
    input_count: usize,
) -> Result<Tensor> {
    match *op {
        Op::Relu => Ok(input_at(0)?.f_relu()?),
        Op::MaxPool { kernel, stride, padding } => {
            Ok(input_at(0)?.f_max_pool2d([kernel; 2], [stride; 2], [padding; 2], [1; 2], false)?)
        }
        Op::Add => Ok(input_at(0)?.f_add(input_at(1)?)?),
        Op::AdaptiveAvgPool { side } => Ok(input_at(0)?.f_adaptive_avg_pool2d([side; 2])?),
        Op::Concat => {
            let parts: Result<Vec<&Tensor>> = (0..input_count).map(input_at).collect();
            Ok(Tensor::f_cat(&parts?, 1)?)
        }
        Op::ResizeLike => {
            let size = input_at(1)?.size();
            Ok(input_at(0)?.f_upsample_bilinear2d([size[2], size[3]], false, None, None)?)
        }
        Op::Input | Op::Conv(_) | Op::BatchNorm { .. } | Op::Dropout { .. } => {
            Err(Error::internal(format!("{op:?} is left after folding")))
        }
    }
}

/// BatchNorm in inference is `(x - mean) / sqrt(variance + eps) * weight + bias`: a scale and an offset per channel.
fn fold_batch_norm(
    load_tensor: impl Fn(&str, &str) -> Result<Tensor>,
    conv: &Conv,
    norm: Option<&str>,
) -> Result<(Tensor, Tensor)> {
    let mut weight = load_tensor(&conv.name, "weight")?;
    let load_double = |module: &str, leaf: &str| {
        Ok::<_, Error>(load_tensor(module, leaf)?.f_to_kind(Kind::Double)?)
    };
    let mut bias = if conv.bias {
        load_double(&conv.name, "bias")?
    } else {
        Tensor::f_zeros([conv.out_channels], (Kind::Double, weight.device()))?
    };
    if let Some(norm) = norm {
        let std = (load_double(norm, "running_var")?.f_add_scalar(BATCH_NORM_EPSILON)?).f_sqrt()?;
        let scale = load_double(norm, "weight")?.f_div(&std)?;
        let offset = bias.f_sub(&load_double(norm, "running_mean")?)?.f_mul(&scale)?;
        bias = offset.f_add(&load_double(norm, "bias")?)?;
        let _ = weight.f_mul_(&scale.f_to_kind(Kind::Float)?.f_reshape([-1, 1, 1, 1])?)?;
    }
    Ok((weight, bias.f_to_kind(Kind::Float)?))
}

impl ConvKernel {
    /// As this device likes it.
    fn new(conv: &Conv, weight: Tensor, bias: Tensor) -> Result<Self> {
        let geometry =
            Geometry { padding: conv.padding(), stride: conv.stride, dilation: conv.dilation };
        if weight.device() == Device::Cpu && weight.kind() != Kind::Half {
            // A processor or a libtorch without these kernels computes the same, slower.
            let packed = PackedConvolution::new(&weight, Some(bias.shallow_clone()), geometry);
            if let Ok(packed) = packed {
                // One by one, so that no two forms of all weights are in memory.
                drop(weight);
                packed.choose_layout([
                    1,
                    conv.in_channels,
                    INITIAL_LAYOUT_SIDE,
                    INITIAL_LAYOUT_SIDE,
                ])?;
                return Ok(Self::Packed(packed));
            }
        }
        Ok(Self::Native { weight: to_channels_last(&weight)?, bias, geometry })
    }

    fn forward(&self, input: &Tensor, addend: Option<Tensor>, relu: bool) -> Result<Tensor> {
        match self {
            Self::Packed(packed) => match addend {
                None => packed.forward(input, relu),
                Some(sum) => packed.forward_add_inplace(input, &sum, relu),
            },
            Self::Native { weight, bias, geometry } => {
                let Geometry { padding, stride, dilation } = *geometry;
                let mut out = input.f_conv2d(
                    weight,
                    Some(bias),
                    [stride; 2],
                    [padding; 2],
                    [dilation; 2],
                    1,
                )?;
                if let Some(addend) = addend {
                    out = out.f_add_(&addend)?;
                }
                Ok(if relu { out.f_relu_()? } else { out })
            }
        }
    }
}

/// The same elements in memory of their own.
fn copy_tensor(tensor: &Tensor) -> Result<Tensor> {
    let mut copy = tensor.f_empty_like()?;
    copy.f_copy_(tensor)?;
    Ok(copy)
}

fn missing_value_error() -> Error {
    Error::internal("a pass reads a value that is not there")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::artifact::{self, StoredModel};
    use crate::model::forward::{ForwardMode, forward};
    use crate::model::{ModelConfig, Network};
    use crate::sagemaker::hyperparameters::{Algorithm, Backbone};

    /// A network whose running statistics are not those of a fresh one.
    fn network(algorithm: Algorithm, backbone: Backbone) -> Network {
        let mut network = Network::random((algorithm, backbone), 5, 7, Device::Cpu).unwrap();
        for (name, tensor) in network.weights.named_tensors().unwrap() {
            if name.ends_with("running_var") {
                network.weights.replace(&name, &(sine_tensor(&tensor.size()) + 1.5)).unwrap();
            } else if name.ends_with("running_mean") {
                network.weights.replace(&name, &(sine_tensor(&tensor.size()) * 0.1)).unwrap();
            }
        }
        network
    }

    fn fused_network(
        network: &Network,
        kind: (Algorithm, Backbone),
        compute: ComputePrecision,
    ) -> FusedNetwork {
        let folder = tempfile::tempdir().unwrap();
        artifact::write_model(folder.path(), &ModelConfig::new(kind, 5, None), network).unwrap();
        let stored = StoredModel::open(folder.path()).unwrap();
        let tensor = |module: &str, leaf: &str| stored.tensor(module, leaf);
        FusedNetwork::new(&stored.graph, Device::Cpu, compute, tensor).unwrap()
    }

    /// Numbers from -1 to 1 in no order, the same in every run.
    fn sine_tensor(size: &[i64]) -> Tensor {
        let count = size.iter().product::<i64>();
        (Tensor::arange(count, (Kind::Float, Device::Cpu)) * 12.9898).sin().reshape(size)
    }

    fn channels_last_input(size: &[i64]) -> Tensor {
        let input = sine_tensor(size);
        input.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
    }

    #[test]
    fn a_prepared_network_answers_what_the_network_does() {
        for algorithm in [Algorithm::Fcn, Algorithm::Psp, Algorithm::Deeplab] {
            for backbone in [Backbone::Resnet18, Backbone::Resnet50] {
                let network = network(algorithm, backbone);
                let fused = fused_network(&network, (algorithm, backbone), ComputePrecision::Fp32);
                for (height, width) in [(33, 50), (64, 40)] {
                    let input = channels_last_input(&[2, 3, height, width]);
                    let (graph, weights) = (network.graph(), &network.weights);
                    let mode = ForwardMode::Eval { aux: false };
                    let expected =
                        tch::no_grad(|| forward(graph, weights, &input, mode)).unwrap().out;
                    let small = tch::no_grad(|| fused.logits(&input)).unwrap();
                    let grid = [height, width].map(|side| (side + 7) / 8);
                    assert_eq!(small.size()[2..], grid);
                    let out = small.upsample_bilinear2d([height, width], false, None, None);
                    let largest = expected.abs().max().double_value(&[]);
                    let difference = (out - expected).abs().max().double_value(&[]);
                    assert!(difference <= 1e-4 * largest, "{algorithm:?} {difference}");
                }
            }
        }
    }

    #[test]
    fn bfloat16_stays_near() {
        let kind = (Algorithm::Fcn, Backbone::Resnet18);
        let network = network(kind.0, kind.1);
        let input = channels_last_input(&[1, 3, 64, 64]);
        let logits = |compute| {
            tch::no_grad(|| fused_network(&network, kind, compute).logits(&input)).unwrap()
        };
        let (exact, fast) = (logits(ComputePrecision::Fp32), logits(ComputePrecision::Bf16));
        let largest = exact.abs().max().double_value(&[]);
        let difference = (exact - fast).abs().max().double_value(&[]);
        assert!(difference > 0.0 && difference < 0.05 * largest, "{difference} of {largest}");
    }
}
