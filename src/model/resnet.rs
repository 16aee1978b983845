//! ResNet backbones in torchvision's layout, dilated to output stride 8.
//!
//! Layers 3 and 4 keep the resolution of layer 2; in place of their strides the convolutions behind
//! them are dilated, so that every 3x3 kernel sees what it would have seen in the strided network
//! (torchvision: `replace_stride_with_dilation=[False, True, True]`). torchvision refuses this for
//! the basic blocks of ResNet-18 and -34; here both of their 3x3 convolutions follow the same rule.

use super::graph::{Conv, ConvInit, GraphBuilder, Op, ValueId};
use crate::sagemaker::hyperparameters::Backbone;

/// The features that heads read.
#[derive(Debug, Clone, Copy)]
pub(super) struct BackboneFeatures {
    /// Output of layer 3 and its channels, for the auxiliary head.
    pub(super) layer3: (ValueId, i64),
    /// Output of layer 4 and its channels.
    pub(super) layer4: (ValueId, i64),
}

#[derive(Debug, Clone, Copy)]
struct ResNetConfig {
    blocks: [usize; 4],
    /// Three convolutions (1x1, 3x3, 1x1) in place of two 3x3.
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

/// One residual block; `entry` dilates its strided 3x3 convolution, `dilation` what follows.
struct Block {
    name: String,
    in_channels: i64,
    planes: i64,
    stride: i64,
    entry_dilation: i64,
    dilation: i64,
}

/// Adds the whole backbone behind value 0.
pub(super) fn build_backbone(builder: &mut GraphBuilder, backbone: Backbone) -> BackboneFeatures {
    let config = resnet_config(backbone);
    let stem = conv_layer("backbone.conv1".to_owned(), (3, 64), 7, 2, 1);
    let x = add_conv_bn_relu(builder, stem, "backbone.bn1", 0);
    let mut x = builder.push(Op::MaxPool { kernel: 3, stride: 2, padding: 1 }, &[x]);
    let expansion = if config.bottleneck { 4 } else { 1 };
    let mut channels = 64;
    let mut features = [(x, channels); 4];
    for (stage, &blocks) in config.blocks.iter().enumerate() {
        let planes = 64 << stage;
        // Dilation before and in this layer: 1, 1, 2, 4 in the place of strides.
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
            x = add_residual_block(builder, &block, config.bottleneck, x);
            channels = planes * expansion;
        }
        features[stage] = (x, channels);
    }
    BackboneFeatures { layer3: features[2], layer4: features[3] }
}

fn add_residual_block(
    builder: &mut GraphBuilder,
    block: &Block,
    bottleneck: bool,
    input: ValueId,
) -> ValueId {
    let Block { name, planes, stride, .. } = block;
    let layer_name = |leaf: &str| format!("{name}.{leaf}");
    let output = if bottleneck { planes * 4 } else { *planes };
    let x = if bottleneck {
        let reduce = conv_layer(layer_name("conv1"), (block.in_channels, *planes), 1, 1, 1);
        let x = add_conv_bn_relu(builder, reduce, &layer_name("bn1"), input);
        let spatial =
            conv_layer(layer_name("conv2"), (*planes, *planes), 3, *stride, block.entry_dilation);
        let x = add_conv_bn_relu(builder, spatial, &layer_name("bn2"), x);
        let expand = conv_layer(layer_name("conv3"), (*planes, output), 1, 1, 1);
        add_conv_bn(builder, expand, &layer_name("bn3"), x)
    } else {
        let first = conv_layer(
            layer_name("conv1"),
            (block.in_channels, *planes),
            3,
            *stride,
            block.entry_dilation,
        );
        let x = add_conv_bn_relu(builder, first, &layer_name("bn1"), input);
        let second = conv_layer(layer_name("conv2"), (*planes, *planes), 3, 1, block.dilation);
        add_conv_bn(builder, second, &layer_name("bn2"), x)
    };
    let shortcut = if *stride != 1 || block.in_channels != output {
        let project =
            conv_layer(layer_name("downsample.0"), (block.in_channels, output), 1, *stride, 1);
        add_conv_bn(builder, project, &layer_name("downsample.1"), input)
    } else {
        input
    };
    let sum = builder.push(Op::Add, &[x, shortcut]);
    builder.relu(sum)
}

fn conv_layer(
    name: String,
    (in_channels, out_channels): (i64, i64),
    kernel: i64,
    stride: i64,
    dilation: i64,
) -> Conv {
    let init = ConvInit::KaimingNormalFanOut;
    Conv { name, in_channels, out_channels, kernel, stride, dilation, bias: false, init }
}

fn add_conv_bn(builder: &mut GraphBuilder, conv: Conv, norm_name: &str, input: ValueId) -> ValueId {
    let channels = conv.out_channels;
    let x = builder.conv(conv, input);
    builder.batch_norm(norm_name, channels, x)
}

fn add_conv_bn_relu(
    builder: &mut GraphBuilder,
    conv: Conv,
    norm_name: &str,
    input: ValueId,
) -> ValueId {
    let x = add_conv_bn(builder, conv, norm_name, input);
    builder.relu(x)
}
