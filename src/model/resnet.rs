//! ResNet backbones in torchvision's layout, dilated to output stride 8.
//!
//! Layers 3 and 4 keep the resolution of layer 2. In place of their strides the convolutions behind
//! them are dilated, so that every 3x3 kernel sees what it would have seen in the strided network
//! (torchvision: `replace_stride_with_dilation=[False, True, True]`). torchvision refuses this for
//! the basic blocks of ResNet-18 and -34; here both of their 3x3 convolutions follow the same rule.

use super::graph::{Conv, ConvInit, GraphBuilder, Op, ValueId};
use crate::model::Backbone;

/// A value of the graph that heads read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Features {
    pub(super) value: ValueId,
    pub(super) channels: i64,
}

/// Features that a backbone gives to the heads.
#[derive(Debug, Clone, Copy)]
pub(super) struct BackboneFeatures {
    /// Output of layer 3, for the auxiliary head.
    pub(super) layer3: Features,
    /// Output of layer 4, for the main head.
    pub(super) layer4: Features,
}

#[derive(Debug, Clone, Copy)]
struct ResNetConfig {
    blocks: [usize; 4],
    /// True if a block has three convolutions (1x1, 3x3, 1x1) and not two of 3x3.
    bottleneck: bool,
}

fn resnet_config(backbone: Backbone) -> ResNetConfig {
    let (blocks, bottleneck) = match backbone {
        Backbone::Resnet18 => ([2, 2, 2, 2], false),
        Backbone::Resnet34 => ([3, 4, 6, 3], false),
        Backbone::Resnet50 => ([3, 4, 6, 3], true),
        Backbone::Resnet101 => ([3, 4, 23, 3], true),
    };
    ResNetConfig { blocks, bottleneck }
}

/// Settings of one residual block.
struct Block {
    name: String,
    in_channels: i64,
    /// Number of channels between the convolutions.
    planes: i64,
    stride: i64,
    /// Dilation of the strided 3x3 convolution.
    entry_dilation: i64,
    /// Dilation of the 3x3 convolution after it.
    dilation: i64,
}

/// Adds the backbone, which reads value 0.
pub(super) fn build_backbone(builder: &mut GraphBuilder, backbone: Backbone) -> BackboneFeatures {
    let config = resnet_config(backbone);
    let stem = ConvShape { in_channels: 3, out_channels: 64, kernel: 7, stride: 2, dilation: 1 };
    let x = add_conv_bn(builder, "backbone.conv1", "backbone.bn1", stem, 0);
    let x = builder.relu(x);
    let mut x = builder.push(Op::MaxPool { kernel: 3, stride: 2, padding: 1 }, &[x]);
    let expansion = if config.bottleneck { 4 } else { 1 };
    let mut channels = 64;
    let mut features = [Features { value: x, channels }; 4];
    for (stage, &blocks) in config.blocks.iter().enumerate() {
        let planes = 64 << stage;
        // Dilations of the first convolution of this layer and of the others. They grow to 1, 1, 2,
        // 4 where the strided network would have strides.
        let (previous_dilation, dilation) = [(1, 1), (1, 1), (1, 2), (2, 4)][stage];
        for index in 0..blocks {
            let is_first = index == 0;
            let block = Block {
                name: format!("backbone.layer{}.{index}", stage + 1),
                in_channels: channels,
                planes,
                stride: if is_first && stage == 1 { 2 } else { 1 },
                entry_dilation: if is_first { previous_dilation } else { dilation },
                dilation,
            };
            x = if config.bottleneck {
                add_bottleneck_block(builder, &block, x)
            } else {
                add_basic_block(builder, &block, x)
            };
            channels = planes * expansion;
        }
        features[stage] = Features { value: x, channels };
    }
    BackboneFeatures { layer3: features[2], layer4: features[3] }
}

/// Adds torchvision's `BasicBlock`, of two 3x3 convolutions.
fn add_basic_block(builder: &mut GraphBuilder, block: &Block, input: ValueId) -> ValueId {
    let Block { name, in_channels, planes, stride, .. } = block;
    let first = ConvShape {
        in_channels: *in_channels,
        out_channels: *planes,
        kernel: 3,
        stride: *stride,
        dilation: block.entry_dilation,
    };
    let x = add_conv_bn(builder, &format!("{name}.conv1"), &format!("{name}.bn1"), first, input);
    let x = builder.relu(x);
    let second = ConvShape {
        in_channels: *planes,
        out_channels: *planes,
        kernel: 3,
        stride: 1,
        dilation: block.dilation,
    };
    let x = add_conv_bn(builder, &format!("{name}.conv2"), &format!("{name}.bn2"), second, x);
    add_shortcut(builder, block, *planes, input, x)
}

/// Adds torchvision's `Bottleneck`, of a 1x1, a 3x3 and a 1x1 convolution.
fn add_bottleneck_block(builder: &mut GraphBuilder, block: &Block, input: ValueId) -> ValueId {
    let Block { name, in_channels, planes, stride, .. } = block;
    let out_channels = planes * 4;
    let reduce = ConvShape {
        in_channels: *in_channels,
        out_channels: *planes,
        kernel: 1,
        stride: 1,
        dilation: 1,
    };
    let x = add_conv_bn(builder, &format!("{name}.conv1"), &format!("{name}.bn1"), reduce, input);
    let x = builder.relu(x);
    let spatial = ConvShape {
        in_channels: *planes,
        out_channels: *planes,
        kernel: 3,
        stride: *stride,
        dilation: block.entry_dilation,
    };
    let x = add_conv_bn(builder, &format!("{name}.conv2"), &format!("{name}.bn2"), spatial, x);
    let x = builder.relu(x);
    let expand =
        ConvShape { in_channels: *planes, out_channels, kernel: 1, stride: 1, dilation: 1 };
    let x = add_conv_bn(builder, &format!("{name}.conv3"), &format!("{name}.bn3"), expand, x);
    add_shortcut(builder, block, out_channels, input, x)
}

/// Adds the input of a block to its last value `x`, through a 1x1 convolution if their shapes
/// differ, and a ReLU.
fn add_shortcut(
    builder: &mut GraphBuilder,
    block: &Block,
    out_channels: i64,
    input: ValueId,
    x: ValueId,
) -> ValueId {
    let Block { name, in_channels, stride, .. } = block;
    let shortcut = if *stride != 1 || *in_channels != out_channels {
        let project = ConvShape {
            in_channels: *in_channels,
            out_channels,
            kernel: 1,
            stride: *stride,
            dilation: 1,
        };
        let (conv, norm) = (format!("{name}.downsample.0"), format!("{name}.downsample.1"));
        add_conv_bn(builder, &conv, &norm, project, input)
    } else {
        input
    };
    let sum = builder.push(Op::Add, &[x, shortcut]);
    builder.relu(sum)
}

/// Settings of a convolution without bias.
#[derive(Debug, Clone, Copy)]
struct ConvShape {
    in_channels: i64,
    out_channels: i64,
    /// Side of the kernel.
    kernel: i64,
    /// Step between outputs.
    stride: i64,
    /// Step between the kernel's taps.
    dilation: i64,
}

/// Adds a convolution without bias, and BatchNorm.
fn add_conv_bn(
    builder: &mut GraphBuilder,
    conv_name: &str,
    norm_name: &str,
    shape: ConvShape,
    input: ValueId,
) -> ValueId {
    let ConvShape { in_channels, out_channels, kernel, stride, dilation } = shape;
    let conv = Conv {
        name: conv_name.to_owned(),
        in_channels,
        out_channels,
        kernel,
        stride,
        dilation,
        bias: false,
        init: ConvInit::KaimingNormalFanOut,
    };
    let x = builder.conv(conv, input);
    builder.batch_norm(norm_name, out_channels, x)
}
