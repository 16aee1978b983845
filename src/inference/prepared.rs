//! A network made ready: normalisation folded, weights packed for the processor or halved for a GPU, nothing that
//! training needs.

use std::cmp::Reverse;

use tch::{Device, Kind, Tensor};

use super::fuse::{Step, Work, fuse};
use crate::error::{Error, Result};
use crate::model::graph::{Conv, Graph, Op, Value};
use crate::model::precision::Compute;
use crate::torch::{Geometry, PackedConvolution, channels_last, map};

/// PyTorch's epsilon of BatchNorm.
const EPSILON: f64 = 1e-5;

/// Side of the feature maps that choose the first layout of the weights: 96 pixels, the size of
/// the server's trial, divided by the stride of 8. Inputs of other sizes choose again.
const LIKELY_SIDE: i64 = 12;

/// Weights that are read before the first of them is packed, in sizes of the largest.
const AT_ONCE: i64 = 2;

/// What gives logits on a grid that is coarser than the pixels.
#[derive(Debug)]
pub(super) struct Prepared {
    passes: Vec<Pass>,
    /// The values that no pass after the one at this index reads: they are freed then.
    last_uses: Vec<Vec<Value>>,
    values: usize,
    out: Value,
    kind: Kind,
    device: Device,
}

#[derive(Debug)]
struct Pass {
    work: Layer,
    inputs: Vec<Value>,
    output: Value,
    /// Whether the value that is added may be written over: nobody reads it later.
    sum_is_free: bool,
}

#[derive(Debug)]
enum Layer {
    Conv { kernel: Kernel, relu: bool, exact: bool },
    Plain(Op),
}

#[derive(Debug)]
enum Kernel {
    Packed(PackedConvolution),
    /// Where there is no oneDNN, and on GPUs.
    Plain {
        weight: Tensor,
        bias: Tensor,
        geometry: Geometry,
    },
}

impl Prepared {
    /// Folds and packs what `tensor` gives of `(module, leaf)`, in memory of its own on `device`. It is asked once for each
    /// that is needed, for several at a time but not for all, so that no second copy of all need be in memory.
    pub(super) fn new(
        graph: &Graph,
        device: Device,
        compute: Compute,
        tensor: impl Fn(&str, &str) -> Result<Tensor> + Sync,
    ) -> Result<Self> {
        // The last operation only enlarges what the head answers: it is left to whoever needs pixels.
        let last = graph.nodes.get(graph.out).filter(|node| node.op == Op::ResizeLike);
        let out = last.and_then(|node| node.inputs.first().copied()).unwrap_or(graph.out);
        let steps = fuse(graph, out);
        let exact: Vec<&str> = graph.class_layers().map(|conv| conv.name.as_str()).collect();
        let mut reads = vec![None; graph.nodes.len()];
        for (index, step) in steps.iter().enumerate() {
            step.inputs.iter().for_each(|&input| reads[input] = Some(index));
        }
        reads[out] = None;
        // The largest weights first: what they were made from leaves room for the others.
        let mut steps: Vec<(usize, Step)> = steps.into_iter().enumerate().collect();
        steps.sort_by_key(|(_, step)| Reverse(step.weight()));
        let most = AT_ONCE * steps.first().map_or(0, |(_, step)| step.weight());
        let mut passes: Vec<(usize, Pass)> = Vec::with_capacity(steps.len());
        while !steps.is_empty() {
            let mut weights = 0;
            let fit = |(_, step): &&(usize, Step)| {
                weights += step.weight();
                weights <= most
            };
            let some = steps.iter().take_while(fit).count().max(1);
            let some: Vec<(usize, Step)> = steps.drain(..some).collect();
            let ready = map(&some, |(_, step)| match &step.work {
                Work::Plain(_) => Ok(None),
                Work::Conv { conv, norm, .. } => tch::no_grad(|| {
                    let exact = exact.contains(&conv.name.as_str());
                    let kind = if exact { Kind::Float } else { compute.kind() };
                    let (weight, bias) = folded(&tensor, conv, norm.as_deref())?;
                    Ok(Some((weight.f_to_kind(kind)?, bias.f_to_kind(kind)?, exact)))
                }),
            })?;
            // By one after the other: which layout is best depends on how many threads may share the work.
            for ((index, Step { work, inputs, output }), ready) in some.into_iter().zip(ready) {
                let sum_is_free = inputs.get(1).is_some_and(|&sum| reads[sum] == Some(index));
                let work = match (work, ready) {
                    (Work::Plain(op), _) => Layer::Plain(op),
                    (Work::Conv { conv, relu, .. }, Some((weight, bias, exact))) => {
                        Layer::Conv { kernel: Kernel::new(&conv, weight, bias)?, relu, exact }
                    }
                    (Work::Conv { .. }, None) => return Err(broken()),
                };
                passes.push((index, Pass { work, inputs, output, sum_is_free }));
            }
        }
        passes.sort_by_key(|(index, _)| *index);
        let passes: Vec<Pass> = passes.into_iter().map(|(_, pass)| pass).collect();
        let mut last_uses = vec![Vec::new(); passes.len()];
        for (value, pass) in reads.iter().enumerate() {
            if let Some(pass) = pass {
                last_uses[*pass].push(value);
            }
        }
        Ok(Self { passes, last_uses, values: reads.len(), out, kind: compute.kind(), device })
    }

    pub(super) fn device(&self) -> Device {
        self.device
    }

    /// Logits `[batch, classes, height, width]` in 32 bits for normalised images `[batch, 3, height, width]` in
    /// channels-last memory; height and width of the result are an eighth of the images', rounded up.
    pub(super) fn logits(&self, input: &Tensor) -> Result<Tensor> {
        let mut values: Vec<Option<Tensor>> = (0..self.values).map(|_| None).collect();
        values[0] = Some(input.f_to_kind(self.kind)?);
        for (pass, done) in self.passes.iter().zip(&self.last_uses) {
            let result = pass.run(&values)?;
            values[pass.output] = Some(result);
            for &value in done {
                values[value] = None;
            }
        }
        let out = values.get_mut(self.out).and_then(Option::take).ok_or_else(broken)?;
        Ok(out.f_to_kind(Kind::Float)?)
    }
}

impl Pass {
    fn run(&self, values: &[Option<Tensor>]) -> Result<Tensor> {
        let get = |position: usize| -> Result<&Tensor> {
            let value = self.inputs.get(position).and_then(|&input| values.get(input));
            value.and_then(Option::as_ref).ok_or_else(broken)
        };
        match &self.work {
            Layer::Conv { kernel, relu, exact } => {
                let input = get(0)?;
                let input =
                    if *exact { input.f_to_kind(Kind::Float)? } else { input.shallow_clone() };
                let sum = match self.inputs.len() {
                    2 if self.sum_is_free => Some(get(1)?.shallow_clone()),
                    2 => Some(own_copy(get(1)?)?),
                    _ => None,
                };
                kernel.run(&input, sum, *relu)
            }
            Layer::Plain(op) => plain(op, get, self.inputs.len()),
        }
    }
}

fn plain<'a>(op: &Op, get: impl Fn(usize) -> Result<&'a Tensor>, inputs: usize) -> Result<Tensor> {
    match *op {
        Op::Relu => Ok(get(0)?.f_relu()?),
        Op::MaxPool { kernel, stride, padding } => {
            Ok(get(0)?.f_max_pool2d([kernel; 2], [stride; 2], [padding; 2], [1; 2], false)?)
        }
        Op::Add => Ok(get(0)?.f_add(get(1)?)?),
        Op::AdaptiveAvgPool { side } => Ok(get(0)?.f_adaptive_avg_pool2d([side; 2])?),
        Op::Concat => {
            let parts: Result<Vec<&Tensor>> = (0..inputs).map(get).collect();
            Ok(Tensor::f_cat(&parts?, 1)?)
        }
        Op::ResizeLike => {
            let size = get(1)?.size();
            Ok(get(0)?.f_upsample_bilinear2d([size[2], size[3]], false, None, None)?)
        }
        Op::Input | Op::Conv(_) | Op::BatchNorm { .. } | Op::Dropout { .. } => {
            Err(Error::internal(format!("{op:?} is left after folding")))
        }
    }
}

/// BatchNorm in inference is `(x - mean) / sqrt(variance + eps) * weight + bias`: a scale and an offset per channel.
fn folded(
    tensor: impl Fn(&str, &str) -> Result<Tensor>,
    conv: &Conv,
    norm: Option<&str>,
) -> Result<(Tensor, Tensor)> {
    let mut weight = tensor(&conv.name, "weight")?;
    let double =
        |module: &str, leaf: &str| Ok::<_, Error>(tensor(module, leaf)?.f_to_kind(Kind::Double)?);
    let mut bias = if conv.bias {
        double(&conv.name, "bias")?
    } else {
        Tensor::f_zeros([conv.output], (Kind::Double, weight.device()))?
    };
    if let Some(norm) = norm {
        let deviation = (double(norm, "running_var")?.f_add_scalar(EPSILON)?).f_sqrt()?;
        let scale = double(norm, "weight")?.f_div(&deviation)?;
        let offset = bias.f_sub(&double(norm, "running_mean")?)?.f_mul(&scale)?;
        bias = offset.f_add(&double(norm, "bias")?)?;
        let _ = weight.f_mul_(&scale.f_to_kind(Kind::Float)?.f_reshape([-1, 1, 1, 1])?)?;
    }
    Ok((weight, bias.f_to_kind(Kind::Float)?))
}

impl Kernel {
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
                packed.lay_out([1, conv.input, LIKELY_SIDE, LIKELY_SIDE])?;
                return Ok(Self::Packed(packed));
            }
        }
        Ok(Self::Plain { weight: channels_last(&weight)?, bias, geometry })
    }

    fn run(&self, input: &Tensor, sum: Option<Tensor>, relu: bool) -> Result<Tensor> {
        match self {
            Self::Packed(packed) => match sum {
                None => packed.forward(input, relu),
                Some(sum) => packed.forward_onto(input, &sum, relu),
            },
            Self::Plain { weight, bias, geometry } => {
                let Geometry { padding, stride, dilation } = *geometry;
                let mut out = input.f_conv2d(
                    weight,
                    Some(bias),
                    [stride; 2],
                    [padding; 2],
                    [dilation; 2],
                    1,
                )?;
                if let Some(sum) = sum {
                    out = out.f_add_(&sum)?;
                }
                Ok(if relu { out.f_relu_()? } else { out })
            }
        }
    }
}

/// The same elements in memory of their own.
fn own_copy(tensor: &Tensor) -> Result<Tensor> {
    let mut copy = tensor.f_empty_like()?;
    copy.f_copy_(tensor)?;
    Ok(copy)
}

fn broken() -> Error {
    Error::internal("a pass reads a value that is not there")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::artifact::{self, Stored};
    use crate::model::forward::{Mode, forward};
    use crate::model::{Config, Network};
    use crate::sagemaker::hyperparameters::{Algorithm, Backbone};

    /// A network whose running statistics are not those of a fresh one.
    fn network(algorithm: Algorithm, backbone: Backbone) -> Network {
        let mut network = Network::random((algorithm, backbone), 5, 7, Device::Cpu).unwrap();
        for (name, tensor) in network.weights.named().unwrap() {
            if name.ends_with("running_var") {
                network.weights.replace(&name, &(waves(&tensor.size()) + 1.5)).unwrap();
            } else if name.ends_with("running_mean") {
                network.weights.replace(&name, &(waves(&tensor.size()) * 0.1)).unwrap();
            }
        }
        network
    }

    fn prepared(network: &Network, kind: (Algorithm, Backbone), compute: Compute) -> Prepared {
        let folder = tempfile::tempdir().unwrap();
        artifact::write(folder.path(), &Config::new(kind, 5, None), network).unwrap();
        let stored = Stored::open(folder.path()).unwrap();
        let tensor = |module: &str, leaf: &str| stored.tensor(module, leaf);
        Prepared::new(&stored.graph, Device::Cpu, compute, tensor).unwrap()
    }

    /// Numbers from -1 to 1 in no order, the same in every run.
    fn waves(size: &[i64]) -> Tensor {
        let count = size.iter().product::<i64>();
        (Tensor::arange(count, (Kind::Float, Device::Cpu)) * 12.9898).sin().reshape(size)
    }

    fn channels_last(size: &[i64]) -> Tensor {
        let input = waves(size);
        input.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
    }

    #[test]
    fn a_prepared_network_answers_what_the_network_does() {
        for algorithm in [Algorithm::Fcn, Algorithm::Psp, Algorithm::Deeplab] {
            for backbone in [Backbone::Resnet18, Backbone::Resnet50] {
                let network = network(algorithm, backbone);
                let prepared = prepared(&network, (algorithm, backbone), Compute::Fp32);
                for (height, width) in [(33, 50), (64, 40)] {
                    let input = channels_last(&[2, 3, height, width]);
                    let (graph, weights) = (network.graph(), &network.weights);
                    let mode = Mode::Evaluate { aux: false };
                    let expected =
                        tch::no_grad(|| forward(graph, weights, &input, mode)).unwrap().out;
                    let small = tch::no_grad(|| prepared.logits(&input)).unwrap();
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
        let input = channels_last(&[1, 3, 64, 64]);
        let logits =
            |compute| tch::no_grad(|| prepared(&network, kind, compute).logits(&input)).unwrap();
        let (exact, fast) = (logits(Compute::Fp32), logits(Compute::Bf16));
        let largest = exact.abs().max().double_value(&[]);
        let difference = (exact - fast).abs().max().double_value(&[]);
        assert!(difference > 0.0 && difference < 0.05 * largest, "{difference} of {largest}");
    }
}
