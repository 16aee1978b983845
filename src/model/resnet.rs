//! ResNet backbones in torchvision's layout, dilated to output stride 8.
//!
//! Layers 3 and 4 keep the resolution of layer 2; in place of their strides the convolutions behind
//! them are dilated, so that every 3x3 kernel sees what it would have seen in the strided network
//! (torchvision: `replace_stride_with_dilation=[False, True, True]`). torchvision refuses this for
//! the basic blocks of ResNet-18 and -34; here both of their 3x3 convolutions follow the same rule.

use super::graph::{Builder, Conv, ConvInit, Op, Value};
use crate::sagemaker::hyperparameters::Backbone;

/// The features that heads read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Features {
    /// Output of layer 3 and its channels, for the auxiliary head.
    pub(super) layer3: (Value, i64),
    /// Output of layer 4 and its channels.
    pub(super) layer4: (Value, i64),
}

#[derive(Debug, Clone, Copy)]
struct Layout {
    blocks: [usize; 4],
    /// Three convolutions (1x1, 3x3, 1x1) in place of two 3x3.
    bottleneck: bool,
}

fn layout(backbone: Backbone) -> Layout {
    let (blocks, bottleneck) = match backbone {
        Backbone::Resnet18 => ([2, 2, 2, 2], false),
        Backbone::Resnet34 => ([3, 4, 6, 3], false),
        Backbone::Resnet50 => ([3, 4, 6, 3], true),
        Backbone::Resnet101 => ([3, 4, 23, 3], true),
    };
    Layout { blocks, bottleneck }
}

/// One residual block; `entry` dilates its strided 3x3 convolution, `dilation` what follows.
struct Block {
    name: String,
    input: i64,
    planes: i64,
    stride: i64,
    entry: i64,
    dilation: i64,
}

/// Adds the whole backbone behind value 0.
pub(super) fn build(builder: &mut Builder, backbone: Backbone) -> Features {
    let layout = layout(backbone);
    let stem = conv("backbone.conv1".to_owned(), (3, 64), 7, 2, 1);
    let x = conv_bn_relu(builder, stem, "backbone.bn1", 0);
    let mut x = builder.push(Op::MaxPool { kernel: 3, stride: 2, padding: 1 }, &[x]);
    let expansion = if layout.bottleneck { 4 } else { 1 };
    let mut channels = 64;
    let mut features = [(x, channels); 4];
    for (stage, &blocks) in layout.blocks.iter().enumerate() {
        let planes = 64 << stage;
        // Dilation before and in this layer: 1, 1, 2, 4 in the place of strides.
        let (before, dilation) = [(1, 1), (1, 1), (1, 2), (2, 4)][stage];
        for index in 0..blocks {
            let first = index == 0;
            let block = Block {
                name: format!("backbone.layer{}.{index}", stage + 1),
                input: channels,
                planes,
                stride: if first && stage == 1 { 2 } else { 1 },
                entry: if first { before } else { dilation },
                dilation,
            };
            x = residual(builder, &block, layout.bottleneck, x);
            channels = planes * expansion;
        }
        features[stage] = (x, channels);
    }
    Features { layer3: features[2], layer4: features[3] }
}

fn residual(builder: &mut Builder, block: &Block, bottleneck: bool, input: Value) -> Value {
    let Block { name, planes, stride, .. } = block;
    let part = |leaf: &str| format!("{name}.{leaf}");
    let output = if bottleneck { planes * 4 } else { *planes };
    let x = if bottleneck {
        let reduce = conv(part("conv1"), (block.input, *planes), 1, 1, 1);
        let x = conv_bn_relu(builder, reduce, &part("bn1"), input);
        let spatial = conv(part("conv2"), (*planes, *planes), 3, *stride, block.entry);
        let x = conv_bn_relu(builder, spatial, &part("bn2"), x);
        let expand = conv(part("conv3"), (*planes, output), 1, 1, 1);
        conv_bn(builder, expand, &part("bn3"), x)
    } else {
        let first = conv(part("conv1"), (block.input, *planes), 3, *stride, block.entry);
        let x = conv_bn_relu(builder, first, &part("bn1"), input);
        let second = conv(part("conv2"), (*planes, *planes), 3, 1, block.dilation);
        conv_bn(builder, second, &part("bn2"), x)
    };
    let shortcut = if *stride != 1 || block.input != output {
        let project = conv(part("downsample.0"), (block.input, output), 1, *stride, 1);
        conv_bn(builder, project, &part("downsample.1"), input)
    } else {
        input
    };
    let sum = builder.push(Op::Add, &[x, shortcut]);
    builder.relu(sum)
}

fn conv(
    name: String,
    (input, output): (i64, i64),
    kernel: i64,
    stride: i64,
    dilation: i64,
) -> Conv {
    let init = ConvInit::KaimingNormalFanOut;
    Conv { name, input, output, kernel, stride, dilation, bias: false, init }
}

fn conv_bn(builder: &mut Builder, conv: Conv, norm: &str, input: Value) -> Value {
    let channels = conv.output;
    let x = builder.conv(conv, input);
    builder.batch_norm(norm, channels, x)
}

fn conv_bn_relu(builder: &mut Builder, conv: Conv, norm: &str, input: Value) -> Value {
    let x = conv_bn(builder, conv, norm, input);
    builder.relu(x)
}
