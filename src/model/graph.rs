//! A network as data: a list of operations, each naming the values it reads. The forward pass and
//! everything else that needs to know the layers reads this one description
//! (`docs/architecture.md#one-layer-graph`).

/// Index of a value: the output of the node with that index.
pub type ValueId = usize;

/// One operation. Tensors are `[batch, channels, height, width]`.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// The normalized image; always node 0.
    Input,
    /// 2-D convolution with weight `<name>.weight` of shape `[output, input, kernel, kernel]`.
    Conv(Conv),
    /// Batch normalization, eps 1e-5, momentum 0.1.
    BatchNorm {
        /// Prefix of its weights.
        name: String,
        /// Channels of its input.
        channels: i64,
    },
    /// `max(x, 0)`.
    Relu,
    /// Max pooling.
    MaxPool {
        /// Side of the square window.
        kernel: i64,
        /// Step between outputs.
        stride: i64,
        /// Border around the image that never wins.
        padding: i64,
    },
    /// Sum of two values.
    Add,
    /// Mean over a grid of `side` x `side` windows that cover the whole map, whatever its size;
    /// windows overlap where the map's sides are not multiples (PyTorch's `AdaptiveAvgPool2d`).
    AdaptiveAvgPool {
        /// Height and width of the result.
        side: i64,
    },
    /// Values of one height and width, one after the other along the channels.
    Concat,
    /// Zeroes elements while training and scales the rest so that the mean stays.
    Dropout {
        /// The share that is zeroed.
        probability: f64,
        /// Tells the dropouts of a network apart.
        index: u64,
    },
    /// Bilinear resize (corners not aligned) of the first value to the height and width of the
    /// second.
    ResizeLike,
}

/// A convolution's settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Conv {
    /// Prefix of its weights.
    pub name: String,
    /// Input channels.
    pub in_channels: i64,
    /// Output channels.
    pub out_channels: i64,
    /// Side of the square kernel.
    pub kernel: i64,
    /// Step between outputs.
    pub stride: i64,
    /// Step between the kernel's taps.
    pub dilation: i64,
    /// Whether there is a `<name>.bias`.
    pub bias: bool,
    /// How torchvision initializes it.
    pub init: ConvInit,
}

impl Conv {
    /// Zeros around the image, so that stride 1 keeps height and width.
    pub fn padding(&self) -> i64 {
        self.dilation * (self.kernel - 1) / 2
    }
}

/// How a convolution's weight starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConvInit {
    /// Normal with deviation `sqrt(2 / (output * kernel^2))`: torchvision's backbones.
    KaimingNormalFanOut,
    /// Uniform in `1 / sqrt(input * kernel^2)`, bias alike: PyTorch's default, torchvision's heads.
    UniformFanIn,
}

/// An operation and the values it reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What is computed.
    pub op: Op,
    /// From which values.
    pub inputs: Vec<ValueId>,
}

/// A whole network.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    /// In an order in which each node comes after its inputs.
    pub nodes: Vec<Node>,
    /// Logits `[batch, classes, height, width]` at the input's height and width.
    pub out: ValueId,
    /// The auxiliary head's logits, used in training only.
    pub aux: ValueId,
}

/// What a parameter is for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ParameterRole {
    /// Learned; starts uniform in plus and minus this bound.
    Uniform(f64),
    /// Learned; starts normal with this deviation.
    Normal(f64),
    /// Learned; starts at this value.
    Constant(f64),
    /// A running statistic; starts at this value.
    RunningStatistic(f64),
    /// BatchNorm's `num_batches_tracked`: an integer scalar.
    BatchCounter,
}

impl ParameterRole {
    /// Whether the optimizer changes it.
    pub fn is_trainable(self) -> bool {
        matches!(self, Self::Uniform(_) | Self::Normal(_) | Self::Constant(_))
    }
}

/// Name, shape and role of one tensor of the state dict.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterSpec {
    /// torchvision's key.
    pub name: String,
    /// Its shape; empty for a scalar.
    pub shape: Vec<i64>,
    /// What it is for.
    pub role: ParameterRole,
}

impl Graph {
    /// Every tensor of the state dict, in the order of the nodes.
    pub fn parameters(&self) -> Vec<ParameterSpec> {
        self.nodes.iter().flat_map(|node| node.op.parameters()).collect()
    }

    /// The convolution whose outputs are the classes' logits.
    pub fn classifier(&self) -> Option<&Conv> {
        self.last_conv(self.out)
    }

    /// The convolutions of both heads whose outputs are logits.
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

    /// Whether a map of one value per image and channel is normalized: over a batch of one image
    /// such a map has no variance.
    pub fn pools_to_1x1(&self) -> bool {
        self.nodes.iter().any(|node| node.op == Op::AdaptiveAvgPool { side: 1 })
    }

    /// For each node, the last node that reads it (itself if none does), given that only `wanted`
    /// are asked for; `None` for nodes that need not be computed.
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
        let make_spec = |name: &str, leaf: &str, shape: &[i64], role| ParameterSpec {
            name: format!("{name}.{leaf}"),
            shape: shape.to_vec(),
            role,
        };
        match self {
            Self::Conv(conv) => {
                let kernel_area = (conv.kernel * conv.kernel) as f64;
                let bound =
                    ParameterRole::Uniform(1.0 / (conv.in_channels as f64 * kernel_area).sqrt());
                let role = match conv.init {
                    ConvInit::KaimingNormalFanOut => ParameterRole::Normal(
                        (2.0 / (conv.out_channels as f64 * kernel_area)).sqrt(),
                    ),
                    ConvInit::UniformFanIn => bound,
                };
                let shape = [conv.out_channels, conv.in_channels, conv.kernel, conv.kernel];
                let weight = make_spec(&conv.name, "weight", &shape, role);
                let bias =
                    conv.bias.then(|| make_spec(&conv.name, "bias", &[conv.out_channels], bound));
                std::iter::once(weight).chain(bias).collect()
            }
            Self::BatchNorm { name, channels } => vec![
                make_spec(name, "weight", &[*channels], ParameterRole::Constant(1.0)),
                make_spec(name, "bias", &[*channels], ParameterRole::Constant(0.0)),
                make_spec(name, "running_mean", &[*channels], ParameterRole::RunningStatistic(0.0)),
                make_spec(name, "running_var", &[*channels], ParameterRole::RunningStatistic(1.0)),
                make_spec(name, "num_batches_tracked", &[], ParameterRole::BatchCounter),
            ],
            _ => Vec::new(),
        }
    }
}

/// Builds a graph node by node; each method returns the new value.
#[derive(Debug)]
pub(super) struct GraphBuilder {
    nodes: Vec<Node>,
    dropout_count: u64,
}

impl GraphBuilder {
    /// A graph that holds its input, value 0.
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

    pub(super) fn finish(self, out: ValueId, aux: ValueId) -> Graph {
        Graph { nodes: self.nodes, out, aux }
    }
}
