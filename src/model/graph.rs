//! A network as data: a list of operations, each naming the values it reads. The forward pass and
//! everything else that needs to know the layers reads this one description
//! (`docs/architecture.md#one-layer-graph`).

/// Index of a value: the output of the node with that index.
pub type Value = usize;

/// One operation. Tensors are `[batch, channels, height, width]`.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// The normalised image; always node 0.
    Input,
    /// 2-D convolution with weight `<name>.weight` of shape `[output, input, kernel, kernel]`.
    Conv(Conv),
    /// Batch normalisation, eps 1e-5, momentum 0.1.
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
    pub input: i64,
    /// Output channels.
    pub output: i64,
    /// Side of the square kernel.
    pub kernel: i64,
    /// Step between outputs.
    pub stride: i64,
    /// Step between the kernel's taps.
    pub dilation: i64,
    /// Whether there is a `<name>.bias`.
    pub bias: bool,
    /// How torchvision initialises it.
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
    pub inputs: Vec<Value>,
}

/// A whole network.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    /// In an order in which each node comes after its inputs.
    pub nodes: Vec<Node>,
    /// Logits `[batch, classes, height, width]` at the input's height and width.
    pub out: Value,
    /// The auxiliary head's logits, used in training only.
    pub aux: Value,
}

/// What a parameter is for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Role {
    /// Learned; starts uniform in plus and minus this bound.
    Uniform(f64),
    /// Learned; starts normal with this deviation.
    Normal(f64),
    /// Learned; starts at this value.
    Constant(f64),
    /// A running statistic; starts at this value.
    Statistic(f64),
    /// BatchNorm's `num_batches_tracked`: an integer scalar.
    Counter,
}

impl Role {
    /// Whether the optimizer changes it.
    pub fn is_learned(self) -> bool {
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
    pub role: Role,
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
    pub fn class_layers(&self) -> impl Iterator<Item = &Conv> {
        [self.out, self.aux].into_iter().filter_map(|value| self.last_conv(value))
    }

    fn last_conv(&self, mut value: Value) -> Option<&Conv> {
        loop {
            let node = self.nodes.get(value)?;
            if let Op::Conv(conv) = &node.op {
                return Some(conv);
            }
            value = *node.inputs.first()?;
        }
    }

    /// Whether a map of one value per image and channel is normalised: over a batch of one image
    /// such a map has no variance.
    pub fn pools_to_one(&self) -> bool {
        self.nodes.iter().any(|node| node.op == Op::AdaptiveAvgPool { side: 1 })
    }

    /// For each node, the last node that reads it (itself if none does), given that only `wanted`
    /// are asked for; `None` for nodes that need not be computed.
    pub fn last_uses(&self, wanted: &[Value]) -> Vec<Option<Value>> {
        let mut last = vec![None; self.nodes.len()];
        for &value in wanted {
            last[value] = Some(self.nodes.len());
        }
        for (index, node) in self.nodes.iter().enumerate().rev() {
            if last[index].is_some() {
                for &input in &node.inputs {
                    last[input] = last[input].max(Some(index));
                }
            }
        }
        last
    }
}

impl Op {
    fn parameters(&self) -> Vec<ParameterSpec> {
        let spec = |name: &str, leaf: &str, shape: &[i64], role| ParameterSpec {
            name: format!("{name}.{leaf}"),
            shape: shape.to_vec(),
            role,
        };
        match self {
            Self::Conv(conv) => {
                let area = (conv.kernel * conv.kernel) as f64;
                let bound = Role::Uniform(1.0 / (conv.input as f64 * area).sqrt());
                let role = match conv.init {
                    ConvInit::KaimingNormalFanOut => {
                        Role::Normal((2.0 / (conv.output as f64 * area)).sqrt())
                    }
                    ConvInit::UniformFanIn => bound,
                };
                let shape = [conv.output, conv.input, conv.kernel, conv.kernel];
                let weight = spec(&conv.name, "weight", &shape, role);
                let bias = conv.bias.then(|| spec(&conv.name, "bias", &[conv.output], bound));
                std::iter::once(weight).chain(bias).collect()
            }
            Self::BatchNorm { name, channels } => vec![
                spec(name, "weight", &[*channels], Role::Constant(1.0)),
                spec(name, "bias", &[*channels], Role::Constant(0.0)),
                spec(name, "running_mean", &[*channels], Role::Statistic(0.0)),
                spec(name, "running_var", &[*channels], Role::Statistic(1.0)),
                spec(name, "num_batches_tracked", &[], Role::Counter),
            ],
            _ => Vec::new(),
        }
    }
}

/// Builds a graph node by node; each method returns the new value.
#[derive(Debug)]
pub(super) struct Builder {
    nodes: Vec<Node>,
    dropouts: u64,
}

impl Builder {
    /// A graph that holds its input, value 0.
    pub(super) fn new() -> Self {
        Self { nodes: vec![Node { op: Op::Input, inputs: Vec::new() }], dropouts: 0 }
    }

    pub(super) fn push(&mut self, op: Op, inputs: &[Value]) -> Value {
        self.nodes.push(Node { op, inputs: inputs.to_vec() });
        self.nodes.len() - 1
    }

    pub(super) fn conv(&mut self, conv: Conv, input: Value) -> Value {
        self.push(Op::Conv(conv), &[input])
    }

    pub(super) fn batch_norm(&mut self, name: &str, channels: i64, input: Value) -> Value {
        self.push(Op::BatchNorm { name: name.to_owned(), channels }, &[input])
    }

    pub(super) fn relu(&mut self, input: Value) -> Value {
        self.push(Op::Relu, &[input])
    }

    pub(super) fn dropout(&mut self, probability: f64, input: Value) -> Value {
        let index = self.dropouts;
        self.dropouts += 1;
        self.push(Op::Dropout { probability, index }, &[input])
    }

    pub(super) fn finish(self, out: Value, aux: Value) -> Graph {
        Graph { nodes: self.nodes, out, aux }
    }
}
