//! The Rust interpreter of a [`Graph`].

use tch::{Kind, TchError, Tensor};

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
        /// True if the gradients are computed without operations that a GPU adds up in another
        /// order each time.
        deterministic: bool,
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
    run_graph(graph, weights, input, mode, |_| Ok(()))
}

/// Logits that can be differentiated by the features that they were computed from.
#[derive(Debug)]
pub struct DifferentiableLogits {
    /// Output of the backbone's last layer, `[batch, channels, height, width]`.
    pub features: Tensor,
    /// Logits of the main head, `[batch, classes, height, width]`.
    pub out: Tensor,
}

/// Runs `graph` on normalized images `[batch, 3, height, width]` in evaluation mode. What follows the
/// backbone's features records gradients, and what comes before them does not.
pub fn forward_from_features(
    graph: &Graph,
    weights: &Weights,
    input: &Tensor,
) -> Result<DifferentiableLogits> {
    let mut features = None;
    let mode = ForwardMode::Eval { aux: false };
    let logits = run_graph(graph, weights, input, mode, |value| {
        *value = value.f_detach()?.set_requires_grad(true);
        features = Some(value.shallow_clone());
        Ok(())
    })?;
    match features {
        Some(features) => Ok(DifferentiableLogits { features, out: logits.out }),
        None => Err(missing_value_error(graph.features)),
    }
}

/// Runs `graph`, and calls `on_features` with the output of the backbone's last layer.
fn run_graph(
    graph: &Graph,
    weights: &Weights,
    input: &Tensor,
    mode: ForwardMode<'_>,
    mut on_features: impl FnMut(&mut Tensor) -> Result<()>,
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
        let mut value = pass.compute(index, node)?;
        if index == graph.features {
            on_features(&mut value)?;
        }
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
            // libtorch computes a side of 1 as a mean, whose gradient is the same bits each time.
            &Op::AdaptiveAvgPool { side } if side > 1 && self.is_deterministic() => {
                apply_by_axis(x, [side; 2], Tensor::f_adaptive_avg_pool2d)?
            }
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
                let size = [size[2], size[3]];
                if self.is_deterministic() {
                    apply_by_axis(x, size, resize)?
                } else {
                    resize(x, size)?
                }
            }
        })
    }

    fn is_deterministic(&self) -> bool {
        matches!(self.mode, ForwardMode::Train { deterministic: true, .. })
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

fn resize(input: &Tensor, size: [i64; 2]) -> Result<Tensor, TchError> {
    input.f_upsample_bilinear2d(size, false, None, None)
}

/// Applies a linear operation that computes `[.., height, width]` as `size`, and each axis by
/// itself, by multiplying with its matrices. The matrix of an axis is what the operation makes of
/// the columns of an identity matrix. On a GPU the gradient is the same bits each time, and that of
/// the operation itself is not.
fn apply_by_axis(
    input: &Tensor,
    size: [i64; 2],
    operation: impl Fn(&Tensor, [i64; 2]) -> Result<Tensor, TchError>,
) -> Result<Tensor> {
    let ([height, width], input_size) = (size, input.size());
    // As within the operation, values are added up in at least 32 bits and rounded once.
    let kind = if input.kind() == Kind::Double { Kind::Double } else { Kind::Float };
    let matrix = |length: i64, input_length: i64| -> Result<Tensor> {
        let identity = Tensor::f_eye(input_length, (Kind::Float, input.device()))?;
        let identity = identity.f_view([1, 1, input_length, input_length])?;
        let matrix = operation(&identity, [length, input_length])?;
        Ok(matrix.f_view([length, input_length])?.f_to_kind(kind)?)
    };
    let rows = matrix(height, input_size[2])?.f_matmul(&input.f_to_kind(kind)?)?;
    let values = rows.f_matmul(&matrix(width, input_size[3])?.f_transpose(0, 1)?)?;
    Ok(values.f_to_kind(input.kind())?)
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

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    /// Returns a map in channels-last memory, and weights of the same shape as a result.
    fn example(kind: Kind, size: [i64; 4]) -> Tensor {
        let count = size.iter().product::<i64>();
        let values = (Tensor::arange(count, (Kind::Double, Device::Cpu)) * 0.7).sin();
        let [batch, channels, height, width] = size;
        values.view([batch, height, width, channels]).permute([0, 3, 1, 2]).to_kind(kind)
    }

    #[test]
    fn an_operation_by_axis_has_the_values_and_gradients_of_the_whole() {
        type Operation = fn(&Tensor, [i64; 2]) -> Result<Tensor, TchError>;
        let operations: [(Operation, [i64; 2]); 6] = [
            (resize, [24, 40]),
            (resize, [7, 3]),
            (resize, [3, 5]),
            (Tensor::f_adaptive_avg_pool2d, [1, 1]),
            (Tensor::f_adaptive_avg_pool2d, [2, 2]),
            (Tensor::f_adaptive_avg_pool2d, [3, 3]),
        ];
        for (operation, size) in operations {
            let run = |is_by_axis: bool| {
                let input = example(Kind::Double, [2, 3, 3, 5]).set_requires_grad(true);
                let result = if is_by_axis {
                    apply_by_axis(&input, size, operation).unwrap()
                } else {
                    operation(&input, size).unwrap()
                };
                let weights = example(Kind::Double, [2, 3, size[0], size[1]]);
                (&result * weights).sum(Kind::Double).backward();
                (result.detach(), input.grad())
            };
            let (value, gradient) = run(true);
            let (expected_value, expected_gradient) = run(false);
            // Matrices are made in 32 bits.
            assert!(value.allclose(&expected_value, 1e-6, 1e-6, false), "{size:?}");
            assert!(gradient.allclose(&expected_gradient, 1e-6, 1e-6, false), "{size:?}");
        }
        // In 16 bits both round the same values once.
        for operation in [resize as Operation, Tensor::f_adaptive_avg_pool2d] {
            let input = example(Kind::BFloat16, [1, 2, 15, 15]);
            let found = apply_by_axis(&input, [6, 6], operation).unwrap();
            let expected = operation(&input, [6, 6]).unwrap();
            assert_eq!((found.kind(), found.size()), (Kind::BFloat16, vec![1, 2, 6, 6]));
            let (found, expected) = (found.to_kind(Kind::Float), expected.to_kind(Kind::Float));
            assert!(found.allclose(&expected, 4e-3, 1e-4, false), "{found:?} {expected:?}");
        }
    }
}
