//! A network as data: a list of operations, each of which names the values that it reads. The
//! forward pass, the engine and the exporters all read this one description
//! (`docs/architecture.md#one-layer-graph`).

/// Index of a value, which is the output of the node with the same index.
pub type ValueId = usize;

/// One operation. Tensors are `[batch, channels, height, width]`.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// The normalized images; always node 0.
    Input,
    /// 2-D convolution with weight `<name>.weight` of shape `[output, input, kernel, kernel]`.
    Conv(Conv),
    /// Batch normalization with epsilon 1e-5 and momentum 0.1.
    BatchNorm {
        /// Prefix of the weights' names.
        name: String,
        /// Number of channels.
        channels: i64,
    },
    /// Rectified linear unit, `max(x, 0)`.
    Relu,
    /// Max pooling with a square window.
    MaxPool {
        /// Side of the square window, in pixels of the map.
        kernel: i64,
        /// Step between outputs.
        stride: i64,
        /// Width of the border around the map, which is never the maximum.
        padding: i64,
    },
    /// Sum of two values.
    Add,
    /// Means over a grid of `side` x `side` windows that cover the whole map, whatever its size.
    /// Windows overlap if the map's sides are not multiples of `side` (PyTorch's
    /// `AdaptiveAvgPool2d`).
    AdaptiveAvgPool {
        /// Height and width of the result.
        side: i64,
    },
    /// Concatenation along the channels of values that have the same height and width.
    Concat,
    /// Dropout: training sets some elements to zero and scales the rest so that the mean stays.
    Dropout {
        /// Probability that an element is set to zero, 0 to 1.
        probability: f64,
        /// Number of this dropout in the network, from 0.
        index: u64,
    },
    /// Bilinear resize (corners not aligned) of the first value to the height and width of the
    /// second.
    ResizeLike,
}

/// Settings of a 2-D convolution with a square kernel.
#[derive(Debug, Clone, PartialEq)]
pub struct Conv {
    /// Prefix of the weights' names.
    pub name: String,
    pub in_channels: i64,
    pub out_channels: i64,
    /// Side of the kernel.
    pub kernel: i64,
    /// Step between outputs.
    pub stride: i64,
    /// Step between the kernel's taps.
    pub dilation: i64,
    /// True if the convolution has a `<name>.bias`.
    pub bias: bool,
    /// torchvision's initialization of the weight.
    pub init: ConvInit,
}

impl Conv {
    /// Returns the width of the border of zeros, with which a convolution of stride 1 keeps height
    /// and width.
    pub fn padding(&self) -> i64 {
        self.dilation * (self.kernel - 1) / 2
    }
}

/// Initialization of a convolution's weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConvInit {
    /// Normal distribution with standard deviation `sqrt(2 / (output * kernel^2))`: torchvision's
    /// backbones.
    KaimingNormalFanOut,
    /// Uniform distribution up to `1 / sqrt(input * kernel^2)` on both sides of 0, for the bias
    /// too: PyTorch's default, which torchvision's heads have.
    UniformFanIn,
}

/// An operation and the values it reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub op: Op,
    /// Values that the operation reads.
    pub inputs: Vec<ValueId>,
}

/// A network of a backbone and two heads.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    /// The operations, each after its inputs.
    pub nodes: Vec<Node>,
    /// Output of the backbone's last layer, which the main head reads.
    pub features: ValueId,
    /// The main head's logits `[batch, classes, height, width]`, at the input's height and width.
    pub out: ValueId,
    /// The auxiliary head's logits in the same shape, which training uses.
    pub aux: ValueId,
}

/// Task and initial value of a tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ParameterRole {
    /// Learned; starts uniformly distributed between minus and plus this bound.
    Uniform(f64),
    /// Learned; starts normally distributed around 0 with this standard deviation.
    Normal(f64),
    /// Learned; starts at this value.
    Constant(f64),
    /// Running statistic of BatchNorm; starts at this value.
    RunningStatistic(f64),
    /// BatchNorm's `num_batches_tracked`, an integer scalar that starts at 0.
    BatchCounter,
}

impl ParameterRole {
    /// Returns true if the optimizer changes the tensor.
    pub fn is_trainable(self) -> bool {
        matches!(self, Self::Uniform(_) | Self::Normal(_) | Self::Constant(_))
    }
}

/// Description of one tensor of the state dict.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterSpec {
    /// torchvision's key of the tensor.
    pub name: String,
    /// Shape of the tensor; empty for a scalar.
    pub shape: Vec<i64>,
    pub role: ParameterRole,
}

impl Graph {
    /// Lists every tensor of the state dict, in the order of the nodes.
    pub fn parameters(&self) -> Vec<ParameterSpec> {
        self.nodes.iter().flat_map(|node| node.op.parameters()).collect()
    }

    /// Returns the convolution whose outputs are the main head's logits.
    pub fn classifier(&self) -> Option<&Conv> {
        self.last_conv(self.out)
    }

    /// Lists the convolutions of both heads whose outputs are logits.
    pub fn classifier_layers(&self) -> impl Iterator<Item = &Conv> {
        [self.out, self.aux].into_iter().filter_map(|value| self.last_conv(value))
    }

    fn last_conv(&self, mut value: ValueId) -> Option<&Conv> {
        loop {
            let node = self.nodes.get(value)?;
            if let Op::Conv(conv) = &node.op {
                return Some(conv);
            }
            value = *node.inputs.first()?;
        }
    }

    /// Returns true if a map of one value per image and channel is normalized: over a batch of one
    /// image such a map has no variance.
    pub fn pools_to_1x1(&self) -> bool {
        self.nodes.iter().any(|node| node.op == Op::AdaptiveAvgPool { side: 1 })
    }

    /// Returns for each node the index of the last node that reads it, given that only `requested`
    /// are asked for. Requested values are read after the last node and get the number of nodes;
    /// nodes that need not be computed get `None`.
    pub fn last_uses(&self, requested: &[ValueId]) -> Vec<Option<ValueId>> {
        let mut last_uses = vec![None; self.nodes.len()];
        for &value in requested {
            last_uses[value] = Some(self.nodes.len());
        }
        for (index, node) in self.nodes.iter().enumerate().rev() {
            if last_uses[index].is_some() {
                for &input in &node.inputs {
                    last_uses[input] = last_uses[input].max(Some(index));
                }
            }
        }
        last_uses
    }
}

impl Op {
    fn parameters(&self) -> Vec<ParameterSpec> {
        match self {
            Self::Conv(conv) => conv.parameters(),
            Self::BatchNorm { name, channels } => {
                let shape = [*channels];
                let (one, zero) =
                    (ParameterRole::RunningStatistic(1.0), ParameterRole::RunningStatistic(0.0));
                vec![
                    parameter_spec(name, "weight", &shape, ParameterRole::Constant(1.0)),
                    parameter_spec(name, "bias", &shape, ParameterRole::Constant(0.0)),
                    parameter_spec(name, "running_mean", &shape, zero),
                    parameter_spec(name, "running_var", &shape, one),
                    parameter_spec(name, "num_batches_tracked", &[], ParameterRole::BatchCounter),
                ]
            }
            _ => Vec::new(),
        }
    }
}

impl Conv {
    fn parameters(&self) -> Vec<ParameterSpec> {
        let kernel_area = (self.kernel * self.kernel) as f64;
        let bound = ParameterRole::Uniform(1.0 / (self.in_channels as f64 * kernel_area).sqrt());
        let role = match self.init {
            ConvInit::KaimingNormalFanOut => {
                ParameterRole::Normal((2.0 / (self.out_channels as f64 * kernel_area)).sqrt())
            }
            ConvInit::UniformFanIn => bound,
        };
        let shape = [self.out_channels, self.in_channels, self.kernel, self.kernel];
        let mut specs = vec![parameter_spec(&self.name, "weight", &shape, role)];
        if self.bias {
            specs.push(parameter_spec(&self.name, "bias", &[self.out_channels], bound));
        }
        specs
    }
}

fn parameter_spec(module: &str, leaf: &str, shape: &[i64], role: ParameterRole) -> ParameterSpec {
    ParameterSpec { name: format!("{module}.{leaf}"), shape: shape.to_vec(), role }
}

/// A graph under construction. Each method adds a node and returns the index of its value.
#[derive(Debug)]
pub(super) struct GraphBuilder {
    nodes: Vec<Node>,
    dropout_count: u64,
}

impl GraphBuilder {
    /// Starts a graph with its input, value 0.
    pub(super) fn new() -> Self {
        Self { nodes: vec![Node { op: Op::Input, inputs: Vec::new() }], dropout_count: 0 }
    }

    pub(super) fn push(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        self.nodes.push(Node { op, inputs: inputs.to_vec() });
        self.nodes.len() - 1
    }

    pub(super) fn conv(&mut self, conv: Conv, input: ValueId) -> ValueId {
        self.push(Op::Conv(conv), &[input])
    }

    pub(super) fn batch_norm(&mut self, name: &str, channels: i64, input: ValueId) -> ValueId {
        self.push(Op::BatchNorm { name: name.to_owned(), channels }, &[input])
    }

    pub(super) fn relu(&mut self, input: ValueId) -> ValueId {
        self.push(Op::Relu, &[input])
    }

    pub(super) fn dropout(&mut self, probability: f64, input: ValueId) -> ValueId {
        let index = self.dropout_count;
        self.dropout_count += 1;
        self.push(Op::Dropout { probability, index }, &[input])
    }

    pub(super) fn finish(self, features: ValueId, out: ValueId, aux: ValueId) -> Graph {
        Graph { nodes: self.nodes, features, out, aux }
    }
}
