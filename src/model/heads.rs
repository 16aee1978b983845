//! Heads: what turns a backbone's features into logits. Each algorithm is a main head on layer 4
//! and an auxiliary one on layer 3, both resized to the image.

use super::graph::{Conv, ConvInit, Graph, GraphBuilder, Op, ValueId};
use super::resnet;
use crate::sagemaker::hyperparameters::{Algorithm, Backbone};

/// Dilations of DeepLabV3's parallel 3x3 convolutions, on features at an eighth of the image's
/// size.
const ATROUS_RATES: [i64; 3] = [12, 24, 36];

/// Channels between the layers of DeepLabV3's head.
const ASPP_CHANNELS: i64 = 256;

/// Sides of the maps that PSPNet pools the features to.
const PYRAMID_SIDES: [i64; 4] = [1, 2, 3, 6];

/// The graph of `algorithm` over `backbone` with `classes` outputs.
pub(super) fn build_network(algorithm: Algorithm, backbone: Backbone, classes: i64) -> Graph {
    let mut builder = GraphBuilder::new();
    let features = resnet::build_backbone(&mut builder, backbone);
    let add_head = match algorithm {
        Algorithm::Fcn => add_fcn_head,
        Algorithm::Psp => add_psp_head,
        Algorithm::Deeplab => add_deeplab_head,
    };
    let out = add_head(&mut builder, "classifier", features.layer4, classes);
    let out = builder.push(Op::ResizeLike, &[out, 0]);
    let aux = add_fcn_head(&mut builder, "aux_classifier", features.layer3, classes);
    let aux = builder.push(Op::ResizeLike, &[aux, 0]);
    builder.finish(out, aux)
}

/// torchvision's `FCNHead`: 3x3 convolution to a quarter of the channels, BatchNorm, ReLU, dropout,
/// 1x1 convolution to classes.
fn add_fcn_head(
    builder: &mut GraphBuilder,
    name: &str,
    (x, channels): (ValueId, i64),
    classes: i64,
) -> ValueId {
    let inner = channels / 4;
    let x = add_conv_bn_relu(builder, (name, 0), (channels, inner), (3, 1), x);
    let x = builder.dropout(0.1, x);
    builder.conv(classifier_conv(format!("{name}.4"), inner, classes), x)
}

/// torchvision's `DeepLabHead`: atrous spatial pyramid pooling, 3x3 convolution, BatchNorm, ReLU,
/// 1x1 convolution to classes.
fn add_deeplab_head(
    builder: &mut GraphBuilder,
    name: &str,
    (x, channels): (ValueId, i64),
    classes: i64,
) -> ValueId {
    let in_out_channels = (channels, ASPP_CHANNELS);
    let branch_name = |index: usize| format!("{name}.0.convs.{index}");
    let mut branches =
        vec![add_conv_bn_relu(builder, (&branch_name(0), 0), in_out_channels, (1, 1), x)];
    for (index, dilation) in (1..).zip(ATROUS_RATES) {
        branches.push(add_conv_bn_relu(
            builder,
            (&branch_name(index), 0),
            in_out_channels,
            (3, dilation),
            x,
        ));
    }
    branches.push(add_pooling_branch(builder, &branch_name(4), 1, in_out_channels, x));
    let x = builder.push(Op::Concat, &branches);
    let project_channels = (branches.len() as i64 * ASPP_CHANNELS, ASPP_CHANNELS);
    let x =
        add_conv_bn_relu(builder, (&format!("{name}.0.project"), 0), project_channels, (1, 1), x);
    let x = builder.dropout(0.5, x);
    let x = add_conv_bn_relu(builder, (name, 1), (ASPP_CHANNELS, ASPP_CHANNELS), (3, 1), x);
    builder.conv(classifier_conv(format!("{name}.4"), ASPP_CHANNELS, classes), x)
}

/// PSPNet's head (Zhao et al. 2017): the features beside four pooled views of them, each a quarter
/// of the channels, then an FCN head over both. torchvision has none; names and order follow its
/// `DeepLabHead`: `classifier.0` holds the pooled branches.
fn add_psp_head(
    builder: &mut GraphBuilder,
    name: &str,
    (x, channels): (ValueId, i64),
    classes: i64,
) -> ValueId {
    let (branch_channels, inner) = (channels / PYRAMID_SIDES.len() as i64, channels / 4);
    let mut parts = vec![x];
    for (index, side) in PYRAMID_SIDES.into_iter().enumerate() {
        parts.push(add_pooling_branch(
            builder,
            &format!("{name}.0.convs.{index}"),
            side,
            (channels, branch_channels),
            x,
        ));
    }
    let x = builder.push(Op::Concat, &parts);
    let x = add_conv_bn_relu(builder, (name, 1), (2 * channels, inner), (3, 1), x);
    let x = builder.dropout(0.1, x);
    builder.conv(classifier_conv(format!("{name}.5"), inner, classes), x)
}

/// torchvision's `ASPPPooling`, to any side: the features pooled to a square, a 1x1 convolution,
/// BatchNorm, ReLU, and back to the features' size.
fn add_pooling_branch(
    builder: &mut GraphBuilder,
    name: &str,
    side: i64,
    in_out_channels: (i64, i64),
    x: ValueId,
) -> ValueId {
    let pooled = builder.push(Op::AdaptiveAvgPool { side }, &[x]);
    let pooled = add_conv_bn_relu(builder, (name, 1), in_out_channels, (1, 1), pooled);
    builder.push(Op::ResizeLike, &[pooled, x])
}

/// A convolution without bias, BatchNorm and ReLU, numbered from `first` in the sequence `name`.
fn add_conv_bn_relu(
    builder: &mut GraphBuilder,
    (name, first_index): (&str, usize),
    (in_channels, out_channels): (i64, i64),
    (kernel, dilation): (i64, i64),
    x: ValueId,
) -> ValueId {
    let init = ConvInit::UniformFanIn;
    let layer_name = |index: usize| format!("{name}.{index}");
    let name = layer_name(first_index);
    let conv =
        Conv { name, in_channels, out_channels, kernel, stride: 1, dilation, bias: false, init };
    let x = builder.conv(conv, x);
    let x = builder.batch_norm(&layer_name(first_index + 1), out_channels, x);
    builder.relu(x)
}

/// The 1x1 convolution with bias that ends every head.
fn classifier_conv(name: String, in_channels: i64, out_channels: i64) -> Conv {
    let init = ConvInit::UniformFanIn;
    Conv { name, in_channels, out_channels, kernel: 1, stride: 1, dilation: 1, bias: true, init }
}
