//! A network prepared for inference: BatchNorm folded, weights packed for the processor or
//! converted for a GPU, without the state of training.

use std::cmp::Reverse;

use tch::{Device, Kind, Tensor};

use super::conv_kernel::ConvKernel;
use super::fold::{FoldedConv, WeightFolder};
use super::fuse::{FusedNode, FusedOp, fuse_graph};
use super::liveness::Liveness;
use crate::error::{Error, Result};
use crate::model::graph::{Graph, Op, ValueId};
use crate::model::precision::ComputePrecision;
use crate::torch::parallel_map;

/// Largest total size of the weights that are loaded at a time, in multiples of the largest weight.
const MAX_LOADED_WEIGHTS: i64 = 2;

/// A network that computes logits on a grid that is coarser than the pixels.
#[derive(Debug)]
pub(super) struct FusedNetwork {
    layers: Vec<FusedLayer>,
    /// Values that are freed after the layer at each index, because no later layer reads them.
    values_to_free: Vec<Vec<ValueId>>,
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
    /// True if the addend may be overwritten, because no later layer reads it.
    add_in_place: bool,
}

#[derive(Debug)]
enum LayerOp {
    Conv { kernel: ConvKernel, relu: bool, in_fp32: bool },
    Unfused(Op),
}

/// A node of the fused graph and its index in the order of computing.
type IndexedNode = (usize, FusedNode);

impl FusedNetwork {
    /// Folds and packs the tensors that `load_tensor` returns for `(module, leaf)`. They must lie
    /// on `device`, in memory that no other code shares. Each needed tensor is loaded once, several
    /// at a time but never all, so that no second copy of all weights is in memory.
    pub(super) fn new(
        graph: &Graph,
        device: Device,
        precision: ComputePrecision,
        load_tensor: impl Fn(&str, &str) -> Result<Tensor> + Sync,
    ) -> Result<Self> {
        let output = find_coarse_output(graph);
        let nodes = fuse_graph(graph, output);
        let liveness = Liveness::new(&nodes, graph.nodes.len(), output);
        let values_to_free = liveness.values_to_free(nodes.len());
        let folder = WeightFolder::new(graph, precision.kind(), load_tensor);
        let mut layers = Vec::with_capacity(nodes.len());
        for group in group_by_weight_size(nodes) {
            let folded = parallel_map(&group, |(_, node)| folder.fold(node))?;
            // Weights are packed one after the other, because oneDNN chooses a layout by the number
            // of threads that may share the work.
            for ((index, node), folded) in group.into_iter().zip(folded) {
                layers.push((index, FusedLayer::new(index, node, folded, &liveness)?));
            }
        }
        layers.sort_by_key(|(index, _)| *index);
        Ok(Self {
            layers: layers.into_iter().map(|(_, layer)| layer).collect(),
            values_to_free,
            value_count: liveness.value_count(),
            output,
            kind: precision.kind(),
            device,
        })
    }

    pub(super) fn device(&self) -> Device {
        self.device
    }

    /// Returns logits `[batch, classes, height, width]` in 32 bits for normalized images
    /// `[batch, 3, height, width]` in channels-last memory. Height and width of the result are an
    /// eighth of the images', rounded up.
    pub(super) fn logits(&self, input: &Tensor) -> Result<Tensor> {
        let mut values = Vec::new();
        values.resize_with(self.value_count, || None);
        values[0] = Some(input.f_to_kind(self.kind)?);
        for (layer, unused) in self.layers.iter().zip(&self.values_to_free) {
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

/// Returns the value of the logits before they are enlarged to the image's size, which is left to
/// the caller.
fn find_coarse_output(graph: &Graph) -> ValueId {
    if let Some(node) = graph.nodes.get(graph.out)
        && node.op == Op::ResizeLike
        && let Some(&input) = node.inputs.first()
    {
        return input;
    }
    graph.out
}

/// Groups nodes whose weights are loaded together. The largest weights come first: the memory of
/// their plain forms is free again when the others are loaded.
fn group_by_weight_size(nodes: Vec<FusedNode>) -> Vec<Vec<IndexedNode>> {
    let mut nodes: Vec<IndexedNode> = nodes.into_iter().enumerate().collect();
    nodes.sort_by_key(|(_, node)| Reverse(node.weight_elements()));
    let largest = nodes.first().map_or(0, |(_, node)| node.weight_elements());
    let mut groups: Vec<Vec<IndexedNode>> = Vec::new();
    let mut group_elements = 0;
    for (index, node) in nodes {
        let elements = node.weight_elements();
        group_elements += elements;
        match groups.last_mut() {
            Some(group) if group_elements <= MAX_LOADED_WEIGHTS * largest => {
                group.push((index, node));
            }
            _ => {
                group_elements = elements;
                groups.push(vec![(index, node)]);
            }
        }
    }
    groups
}

impl FusedLayer {
    /// Makes the layer of a node. `folded` is the weight of a convolution.
    fn new(
        index: usize,
        node: FusedNode,
        folded: Option<FoldedConv>,
        liveness: &Liveness,
    ) -> Result<Self> {
        let FusedNode { op, inputs, output } = node;
        let addend = inputs.get(1);
        let add_in_place = addend.is_some_and(|&addend| liveness.is_last_reader(index, addend));
        let op = match (op, folded) {
            (FusedOp::Unfused(op), _) => LayerOp::Unfused(op),
            (FusedOp::Conv { conv, relu, .. }, Some(folded)) => {
                let FoldedConv { weight, bias, in_fp32 } = folded;
                LayerOp::Conv { kernel: ConvKernel::new(&conv, weight, bias)?, relu, in_fp32 }
            }
            (FusedOp::Conv { .. }, None) => return Err(missing_value_error()),
        };
        Ok(Self { op, inputs, output, add_in_place })
    }

    fn forward(&self, values: &[Option<Tensor>]) -> Result<Tensor> {
        let inputs = LayerInputs { ids: &self.inputs, values };
        match &self.op {
            LayerOp::Conv { kernel, relu, in_fp32 } => {
                let input = inputs.get(0)?;
                let input =
                    if *in_fp32 { input.f_to_kind(Kind::Float)? } else { input.shallow_clone() };
                let addend = match self.inputs.len() {
                    2 if self.add_in_place => Some(inputs.get(1)?.shallow_clone()),
                    2 => Some(copy_tensor(inputs.get(1)?)?),
                    _ => None,
                };
                kernel.forward(&input, addend, *relu)
            }
            LayerOp::Unfused(op) => apply_op(op, &inputs),
        }
    }
}

/// Values that a layer reads.
struct LayerInputs<'a> {
    ids: &'a [ValueId],
    /// All values that are computed so far.
    values: &'a [Option<Tensor>],
}

impl<'a> LayerInputs<'a> {
    /// Returns the input at this position of the layer's inputs.
    fn get(&self, position: usize) -> Result<&'a Tensor> {
        let id = self.ids.get(position).copied().unwrap_or(usize::MAX);
        self.values.get(id).and_then(Option::as_ref).ok_or_else(missing_value_error)
    }
}

fn apply_op(op: &Op, inputs: &LayerInputs<'_>) -> Result<Tensor> {
    match *op {
        Op::Relu => Ok(inputs.get(0)?.f_relu()?),
        Op::MaxPool { kernel, stride, padding } => {
            let (kernel, stride, padding) = ([kernel; 2], [stride; 2], [padding; 2]);
            Ok(inputs.get(0)?.f_max_pool2d(kernel, stride, padding, [1; 2], false)?)
        }
        Op::Add => Ok(inputs.get(0)?.f_add(inputs.get(1)?)?),
        Op::AdaptiveAvgPool { side } => Ok(inputs.get(0)?.f_adaptive_avg_pool2d([side; 2])?),
        Op::Concat => {
            let mut parts = Vec::with_capacity(inputs.ids.len());
            for position in 0..inputs.ids.len() {
                parts.push(inputs.get(position)?);
            }
            Ok(Tensor::f_cat(&parts, 1)?)
        }
        Op::ResizeLike => {
            let size = inputs.get(1)?.size();
            Ok(inputs.get(0)?.f_upsample_bilinear2d([size[2], size[3]], false, None, None)?)
        }
        Op::Input | Op::Conv(_) | Op::BatchNorm { .. } | Op::Dropout { .. } => {
            Err(Error::internal(format!("{op:?} is left after folding")))
        }
    }
}

/// Copies a tensor into memory of its own, in the same memory format.
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
    use crate::model::{Algorithm, Architecture, Backbone};
    use crate::model::{ModelConfig, Network};

    /// Makes a network with running statistics that differ from a new network's.
    fn network(architecture: Architecture) -> Network {
        let mut network = Network::random(architecture, 5, 7, Device::Cpu).unwrap();
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
        kind: Architecture,
        compute: ComputePrecision,
    ) -> FusedNetwork {
        let folder = tempfile::tempdir().unwrap();
        artifact::write_model(folder.path(), &ModelConfig::new(kind, 5, None), network).unwrap();
        let stored = StoredModel::open(folder.path()).unwrap();
        let tensor = |module: &str, leaf: &str| stored.tensor(module, leaf);
        FusedNetwork::new(&stored.graph, Device::Cpu, compute, tensor).unwrap()
    }

    /// Makes a tensor of numbers from -1 to 1 in no order, the same in every run.
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
                let architecture = Architecture { algorithm, backbone };
                let network = network(architecture);
                let fused = fused_network(&network, architecture, ComputePrecision::Fp32);
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
        let kind = Architecture { algorithm: Algorithm::Fcn, backbone: Backbone::Resnet18 };
        let network = network(kind);
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
