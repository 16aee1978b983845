//! The Rust interpreter of a [`Graph`].

use tch::{Kind, Tensor};

use super::graph::{Conv, Graph, Op, ValueId};
use super::weights::Weights;
use crate::error::{Error, Result};
use crate::torch::with_seed;

/// How a pass is run.
#[derive(Debug, Clone, Copy)]
pub enum ForwardMode<'a> {
    /// Running statistics, no dropout.
    Eval {
        /// Whether the auxiliary head is computed too.
        aux: bool,
    },
    /// Batch statistics (which update the running ones), dropout, both outputs.
    Train {
        /// One seed per image of the batch, so that its dropout masks depend on nothing else
        /// (`docs/architecture.md#counted-randomness`).
        dropout_seeds: &'a [u64],
    },
}

/// Logits `[batch, classes, height, width]` of the main head and, in training, of the auxiliary one.
#[derive(Debug)]
pub struct Logits {
    /// The main head's.
    pub out: Tensor,
    /// The auxiliary head's.
    pub aux: Option<Tensor>,
}

/// Runs `graph` on a normalized image `[batch, 3, height, width]`. Values are freed after their
/// last use, and overwritten where nothing else reads them.
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
    let last_uses = graph.last_uses(&requested);
    // Logits are made, resized and compared in 32 bits whatever the format before them: with the 8 bits
    // of bfloat16 many would be equal.
    let class_layers: Vec<&str> =
        graph.classifier_layers().map(|conv| conv.name.as_str()).collect();
    let is_class_layer = |conv: &Conv| class_layers.contains(&conv.name.as_str());
    let mut values: Vec<Option<Tensor>> = Vec::with_capacity(graph.nodes.len());
    for (index, node) in graph.nodes.iter().enumerate() {
        if last_uses[index].is_none() {
            values.push(None);
            continue;
        }
        let input_tensor = |position: usize| -> Result<&Tensor> {
            let value = node.inputs.get(position).and_then(|&input| values.get(input));
            value.and_then(Option::as_ref).ok_or_else(|| missing_value_error(index))
        };
        // Written over only when this node is the last to read it, and never the input itself.
        let is_last_use = |position: usize| {
            node.inputs.get(position).is_some_and(|&v| v != 0 && last_uses[v] == Some(index))
        };
        let value = match &node.op {
            Op::Input => input.shallow_clone(),
            Op::Conv(conv) if is_class_layer(conv) => {
                conv2d(conv, weights, &input_tensor(0)?.f_to_kind(Kind::Float)?)?
            }
            Op::Conv(conv) => conv2d(conv, weights, input_tensor(0)?)?,
            Op::BatchNorm { name, .. } => batch_norm(name, weights, input_tensor(0)?, mode)?,
            Op::Relu if is_last_use(0) => input_tensor(0)?.shallow_clone().f_relu_()?,
            Op::Relu => input_tensor(0)?.f_relu()?,
            &Op::MaxPool { kernel, stride, padding } => input_tensor(0)?.f_max_pool2d(
                [kernel; 2],
                [stride; 2],
                [padding; 2],
                [1; 2],
                false,
            )?,
            Op::Add if is_last_use(0) => {
                input_tensor(0)?.shallow_clone().f_add_(input_tensor(1)?)?
            }
            Op::Add => input_tensor(0)?.f_add(input_tensor(1)?)?,
            &Op::AdaptiveAvgPool { side } => input_tensor(0)?.f_adaptive_avg_pool2d([side; 2])?,
            Op::Concat => {
                let parts: Result<Vec<&Tensor>> =
                    (0..node.inputs.len()).map(input_tensor).collect();
                Tensor::f_cat(&parts?, 1)?
            }
            &Op::Dropout { probability, index } => match mode {
                ForwardMode::Eval { .. } => input_tensor(0)?.shallow_clone(),
                ForwardMode::Train { dropout_seeds } => {
                    dropout(input_tensor(0)?, probability, index, dropout_seeds)?
                }
            },
            Op::ResizeLike => {
                let size = input_tensor(1)?.size();
                input_tensor(0)?.f_upsample_bilinear2d([size[2], size[3]], false, None, None)?
            }
        };
        values.push(Some(value));
        for &input in &node.inputs {
            if last_uses[input] == Some(index) {
                values[input] = None;
            }
        }
    }
    let mut take_value = |value: ValueId| values.get_mut(value).and_then(Option::take);
    let out = take_value(graph.out).ok_or_else(|| missing_value_error(graph.out))?;
    Ok(Logits { out, aux: take_value(graph.aux) })
}

fn missing_value_error(index: ValueId) -> Error {
    Error::internal(format!("node {index} of the graph reads a value that is not there"))
}

fn conv2d(conv: &Conv, weights: &Weights, input: &Tensor) -> Result<Tensor> {
    // Weights are kept in 32 bits and computed with in the format of the input.
    let parameter = |leaf| Ok::<_, Error>(weights.get(&conv.name, leaf)?.f_to_kind(input.kind())?);
    let weight = parameter("weight")?;
    let bias = if conv.bias { Some(parameter("bias")?) } else { None };
    let (stride, padding, dilation) = ([conv.stride; 2], [conv.padding(); 2], [conv.dilation; 2]);
    Ok(input.f_conv2d(&weight, bias.as_ref(), stride, padding, dilation, 1)?)
}

fn batch_norm(
    name: &str,
    weights: &Weights,
    input: &Tensor,
    mode: ForwardMode<'_>,
) -> Result<Tensor> {
    let training = matches!(mode, ForwardMode::Train { .. });
    let size = input.size();
    if training && size[0] * size[2] * size[3] <= 1 {
        // libtorch would divide by zero and put NaN into the running variance.
        return Err(Error::input(
            "BatchNorm was given one value per channel to train on: psp and deeplab pool an image \
             to one; give a batch at least 2 images",
        ));
    }
    let parameter = |leaf| weights.get(name, leaf).map(Some);
    let (weight, bias) = (parameter("weight")?, parameter("bias")?);
    let (mean, variance) = (parameter("running_mean")?, parameter("running_var")?);
    Ok(input.f_batch_norm(weight, bias, mean, variance, training, 0.1, 1e-5, true)?)
}

/// Dropout whose mask for an image depends on that image's seed and the layer alone.
fn dropout(input: &Tensor, probability: f64, layer: u64, seeds: &[u64]) -> Result<Tensor> {
    let size = input.size();
    let (channels, height, width) = (size[1], size[2], size[3]);
    let keep = 1.0 - probability;
    // Channels last, as the values it multiplies.
    let options = (Kind::Float, input.device());
    let mut mask = Tensor::f_empty([size[0], height, width, channels], options)?;
    for (image, seed) in seeds.iter().enumerate() {
        // Odd constant of splitmix64: layers of one image get unrelated streams.
        let seed = seed.wrapping_add(layer.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let _ = with_seed(seed, || Ok(mask.f_get(image as i64)?.f_bernoulli_float_(keep)?))?;
    }
    let mask = mask.f_div_scalar_(keep)?.f_permute([0, 3, 1, 2])?.f_to_kind(input.kind())?;
    Ok(input.f_mul(&mask)?)
}
