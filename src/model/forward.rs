//! The Rust interpreter of a [`Graph`].

use tch::{Kind, Tensor};

use super::graph::{Conv, Graph, Node, Op, ValueId};
use super::weights::Weights;
use crate::error::{Error, Result};
use crate::torch::{BatchNormTensors, ProcessGroup, sync_batch_norm, with_seed};

/// Weight of a batch's statistics in BatchNorm's running ones, as in torchvision.
const MOMENTUM: f64 = 0.1;
/// Addend to BatchNorm's variances, as in torchvision.
const EPSILON: f64 = 1e-5;

/// The mode of a forward pass.
#[derive(Debug, Clone, Copy)]
pub enum ForwardMode<'a> {
    /// BatchNorm uses the running statistics, and nothing is dropped.
    Eval {
        /// True if the auxiliary head is computed too.
        aux: bool,
    },
    /// BatchNorm uses the batch's statistics and updates the running ones, dropout drops, and both
    /// heads are computed.
    Train {
        /// Processes whose images BatchNorm normalizes together; none is this process alone.
        group: Option<&'a ProcessGroup>,
        /// Seed of each image of the batch. An image's dropout masks depend on its seed and the
        /// layer alone (`docs/architecture.md#counted-randomness`).
        dropout_seeds: &'a [u64],
    },
}

/// Logits `[batch, classes, height, width]` of the two heads.
#[derive(Debug)]
pub struct Logits {
    /// Logits of the main head.
    pub out: Tensor,
    /// Logits of the auxiliary head, if the [`ForwardMode`] asks for them.
    pub aux: Option<Tensor>,
}

/// Runs `graph` on normalized images `[batch, 3, height, width]`. Values are freed after their last
/// use, and overwritten if nothing else reads them.
pub fn forward(
    graph: &Graph,
    weights: &Weights,
    input: &Tensor,
    mode: ForwardMode<'_>,
) -> Result<Logits> {
    let requested = match mode {
        ForwardMode::Eval { aux: false } => vec![graph.out],
        ForwardMode::Eval { aux: true } | ForwardMode::Train { .. } => vec![graph.out, graph.aux],
    };
    let mut pass = Pass {
        weights,
        input,
        mode,
        last_uses: graph.last_uses(&requested),
        class_layers: graph.classifier_layers().map(|conv| conv.name.as_str()).collect(),
        values: Vec::with_capacity(graph.nodes.len()),
    };
    for (index, node) in graph.nodes.iter().enumerate() {
        if pass.last_uses[index].is_none() {
            pass.values.push(None);
            continue;
        }
        let value = pass.compute(index, node)?;
        pass.values.push(Some(value));
        for &input in &node.inputs {
            if pass.last_uses[input] == Some(index) {
                pass.values[input] = None;
            }
        }
    }
    let Some(out) = pass.values[graph.out].take() else {
        return Err(missing_value_error(graph.out));
    };
    Ok(Logits { out, aux: pass.values[graph.aux].take() })
}

/// A forward pass under way.
struct Pass<'a> {
    weights: &'a Weights,
    /// Normalized images `[batch, 3, height, width]`.
    input: &'a Tensor,
    mode: ForwardMode<'a>,
    last_uses: Vec<Option<ValueId>>,
    /// Names of the convolutions whose outputs are logits.
    class_layers: Vec<&'a str>,
    /// Values of the nodes so far; `None` for those that are freed or not needed.
    values: Vec<Option<Tensor>>,
}

impl Pass<'_> {
    /// Computes the value of a node.
    fn compute(&self, index: ValueId, node: &Node) -> Result<Tensor> {
        if node.op == Op::Input {
            return Ok(self.input.shallow_clone());
        }
        self.compute_from(index, node, self.value(index, node, 0)?)
    }

    /// Computes the value of a node whose first input is `x`.
    fn compute_from(&self, index: ValueId, node: &Node, x: &Tensor) -> Result<Tensor> {
        // A value may be overwritten if this node is the last to read it. Value 0, the input,
        // belongs to the caller and is never overwritten.
        let first = node.inputs[0];
        let is_overwritable = first != 0 && self.last_uses[first] == Some(index);
        Ok(match &node.op {
            Op::Input => x.shallow_clone(),
            // Logits are computed, resized and compared in at least 32 bits, whatever the format before:
            // with the 8 bits of bfloat16's mantissa many of them would be equal.
            Op::Conv(conv) if self.class_layers.contains(&conv.name.as_str()) => {
                let kind = if x.kind() == Kind::Double { Kind::Double } else { Kind::Float };
                conv2d(conv, self.weights, &x.f_to_kind(kind)?)?
            }
            Op::Conv(conv) => conv2d(conv, self.weights, x)?,
            Op::BatchNorm { name, .. } => batch_norm(name, self.weights, x, self.mode)?,
            Op::Relu if is_overwritable => x.shallow_clone().f_relu_()?,
            Op::Relu => x.f_relu()?,
            &Op::MaxPool { kernel, stride, padding } => {
                x.f_max_pool2d([kernel; 2], [stride; 2], [padding; 2], [1; 2], false)?
            }
            Op::Add if is_overwritable => x.shallow_clone().f_add_(self.value(index, node, 1)?)?,
            Op::Add => x.f_add(self.value(index, node, 1)?)?,
            &Op::AdaptiveAvgPool { side } => x.f_adaptive_avg_pool2d([side; 2])?,
            Op::Concat => {
                let mut parts = Vec::with_capacity(node.inputs.len());
                for position in 0..node.inputs.len() {
                    parts.push(self.value(index, node, position)?);
                }
                Tensor::f_cat(&parts, 1)?
            }
            &Op::Dropout { probability, index } => match self.mode {
                ForwardMode::Eval { .. } => x.shallow_clone(),
                ForwardMode::Train { dropout_seeds, .. } => {
                    dropout(x, probability, index, dropout_seeds)?
                }
            },
            Op::ResizeLike => {
                let size = self.value(index, node, 1)?.size();
                x.f_upsample_bilinear2d([size[2], size[3]], false, None, None)?
            }
        })
    }

    /// Returns the value that the node at `index` reads at a position.
    fn value(&self, index: ValueId, node: &Node, position: usize) -> Result<&Tensor> {
        let Some(&input) = node.inputs.get(position) else {
            return Err(missing_value_error(index));
        };
        match self.values.get(input) {
            Some(Some(value)) => Ok(value),
            _ => Err(missing_value_error(index)),
        }
    }
}

fn missing_value_error(index: ValueId) -> Error {
    Error::internal(format!("node {index} of the graph reads a value that is not there"))
}

fn conv2d(conv: &Conv, weights: &Weights, input: &Tensor) -> Result<Tensor> {
    // Weights are kept in 32 bits; the convolution converts them to the format of its input.
    let weight = weights.get(&conv.name, "weight")?.f_to_kind(input.kind())?;
    let bias = if conv.bias {
        Some(weights.get(&conv.name, "bias")?.f_to_kind(input.kind())?)
    } else {
        None
    };
    let (stride, padding, dilation) = ([conv.stride; 2], [conv.padding(); 2], [conv.dilation; 2]);
    Ok(input.f_conv2d(&weight, bias.as_ref(), stride, padding, dilation, 1)?)
}

fn batch_norm(
    name: &str,
    weights: &Weights,
    input: &Tensor,
    mode: ForwardMode<'_>,
) -> Result<Tensor> {
    let (weight, bias) = (weights.get(name, "weight")?, weights.get(name, "bias")?);
    let running_mean = weights.get(name, "running_mean")?;
    let running_var = weights.get(name, "running_var")?;
    if let ForwardMode::Train { group: Some(group), .. } = mode {
        let tensors = BatchNormTensors { weight, bias, running_mean, running_var };
        return sync_batch_norm(input, tensors, MOMENTUM, EPSILON, group);
    }
    let training = matches!(mode, ForwardMode::Train { .. });
    let size = input.size();
    if training && size[0] * size[2] * size[3] <= 1 {
        // libtorch would divide by zero and write NaN into the running variance.
        return Err(Error::input(
            "BatchNorm was given one value per channel to train on: psp and deeplab pool an image \
             to one; give a batch at least 2 images",
        ));
    }
    Ok(input.f_batch_norm(
        Some(weight),
        Some(bias),
        Some(running_mean),
        Some(running_var),
        training,
        MOMENTUM,
        EPSILON,
        true,
    )?)
}

/// Applies dropout. The mask of an image depends on that image's seed and the layer alone.
fn dropout(input: &Tensor, probability: f64, layer: u64, seeds: &[u64]) -> Result<Tensor> {
    let size = input.size();
    let (channels, height, width) = (size[1], size[2], size[3]);
    let keep = 1.0 - probability;
    // The mask is in channels-last memory, as the values that it multiplies.
    let options = (Kind::Float, input.device());
    let mut mask = Tensor::f_empty([size[0], height, width, channels], options)?;
    for (image, seed) in seeds.iter().enumerate() {
        // The odd constant of splitmix64 gives the layers of one image unrelated streams.
        let seed = seed.wrapping_add(layer.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let _ = with_seed(seed, || Ok(mask.f_get(image as i64)?.f_bernoulli_float_(keep)?))?;
    }
    let mask = mask.f_div_scalar_(keep)?.f_permute([0, 3, 1, 2])?.f_to_kind(input.kind())?;
    Ok(input.f_mul(&mask)?)
}
