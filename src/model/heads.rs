//! Heads, which turn a backbone's features into logits. Each algorithm has a main head on layer 4
//! and an FCN head as the auxiliary one on layer 3. Both outputs are resized to the image.

use super::Architecture;
use super::graph::{Conv, ConvInit, Graph, GraphBuilder, Op, ValueId};
use super::resnet::{self, Features};
use crate::model::Algorithm;

/// Dilations of DeepLabV3's parallel 3x3 convolutions, for features at an eighth of the image's
/// size.
const ATROUS_RATES: [i64; 3] = [12, 24, 36];

/// Number of channels between the layers of DeepLabV3's head.
const ASPP_CHANNELS: i64 = 256;

/// Sides of the maps that PSPNet pools the features to.
const PYRAMID_SIDES: [i64; 4] = [1, 2, 3, 6];

/// Builds the graph of a network with `classes` outputs.
pub(super) fn build_network(architecture: Architecture, classes: i64) -> Graph {
    let mut builder = GraphBuilder::new();
    let features = resnet::build_backbone(&mut builder, architecture.backbone);
    let add_head = match architecture.algorithm {
        Algorithm::Fcn => add_fcn_head,
        Algorithm::Psp => add_psp_head,
        Algorithm::Deeplab => add_deeplab_head,
    };
    let out = add_head(&mut builder, "classifier", features.layer4, classes);
    let out = builder.push(Op::ResizeLike, &[out, 0]);
    let aux = add_fcn_head(&mut builder, "aux_classifier", features.layer3, classes);
    let aux = builder.push(Op::ResizeLike, &[aux, 0]);
    builder.finish(features.layer4.value, out, aux)
}

/// Adds torchvision's `FCNHead`: a 3x3 convolution to a quarter of the channels, BatchNorm, ReLU,
/// dropout, and a 1x1 convolution to the classes.
fn add_fcn_head(
    builder: &mut GraphBuilder,
    name: &str,
    features: Features,
    classes: i64,
) -> ValueId {
    let inner = features.channels / 4;
    let layers = ConvBnRelu {
        sequence: name,
        first_index: 0,
        in_channels: features.channels,
        out_channels: inner,
        kernel: 3,
        dilation: 1,
    };
    let x = add_conv_bn_relu(builder, layers, features.value);
    let x = builder.dropout(0.1, x);
    builder.conv(classifier_conv(format!("{name}.4"), inner, classes), x)
}

/// Adds torchvision's `DeepLabHead`: atrous spatial pyramid pooling, a 3x3 convolution, BatchNorm,
/// ReLU, and a 1x1 convolution to the classes.
fn add_deeplab_head(
    builder: &mut GraphBuilder,
    name: &str,
    features: Features,
    classes: i64,
) -> ValueId {
    let branches = add_atrous_branches(builder, &format!("{name}.0"), features);
    let x = builder.push(Op::Concat, &branches);
    let project = ConvBnRelu {
        sequence: &format!("{name}.0.project"),
        first_index: 0,
        in_channels: branches.len() as i64 * ASPP_CHANNELS,
        out_channels: ASPP_CHANNELS,
        kernel: 1,
        dilation: 1,
    };
    let x = add_conv_bn_relu(builder, project, x);
    let x = builder.dropout(0.5, x);
    let layers = ConvBnRelu {
        sequence: name,
        first_index: 1,
        in_channels: ASPP_CHANNELS,
        out_channels: ASPP_CHANNELS,
        kernel: 3,
        dilation: 1,
    };
    let x = add_conv_bn_relu(builder, layers, x);
    builder.conv(classifier_conv(format!("{name}.4"), ASPP_CHANNELS, classes), x)
}

/// Adds the branches of torchvision's `ASPP`: a 1x1 convolution, dilated 3x3 convolutions, and the
/// pooled features.
fn add_atrous_branches(builder: &mut GraphBuilder, name: &str, features: Features) -> Vec<ValueId> {
    let pointwise = ConvBnRelu {
        sequence: &format!("{name}.convs.0"),
        first_index: 0,
        in_channels: features.channels,
        out_channels: ASPP_CHANNELS,
        kernel: 1,
        dilation: 1,
    };
    let mut branches = vec![add_conv_bn_relu(builder, pointwise, features.value)];
    for (index, dilation) in (1..).zip(ATROUS_RATES) {
        let sequence = format!("{name}.convs.{index}");
        let atrous = ConvBnRelu { sequence: &sequence, kernel: 3, dilation, ..pointwise };
        branches.push(add_conv_bn_relu(builder, atrous, features.value));
    }
    let pooling =
        PoolingBranch { name: &format!("{name}.convs.4"), side: 1, out_channels: ASPP_CHANNELS };
    branches.push(add_pooling_branch(builder, pooling, features));
    branches
}

/// Adds PSPNet's head (Zhao et al. 2017): the features beside four pooled views of them, each with
/// a quarter of the channels, and an FCN head over both. torchvision has no such head; names and
/// order follow its `DeepLabHead`, so `classifier.0` holds the pooled branches.
fn add_psp_head(
    builder: &mut GraphBuilder,
    name: &str,
    features: Features,
    classes: i64,
) -> ValueId {
    let inner = features.channels / 4;
    let mut parts = vec![features.value];
    for (index, side) in PYRAMID_SIDES.into_iter().enumerate() {
        let pooling = PoolingBranch {
            name: &format!("{name}.0.convs.{index}"),
            side,
            out_channels: features.channels / PYRAMID_SIDES.len() as i64,
        };
        parts.push(add_pooling_branch(builder, pooling, features));
    }
    let x = builder.push(Op::Concat, &parts);
    let layers = ConvBnRelu {
        sequence: name,
        first_index: 1,
        in_channels: 2 * features.channels,
        out_channels: inner,
        kernel: 3,
        dilation: 1,
    };
    let x = add_conv_bn_relu(builder, layers, x);
    let x = builder.dropout(0.1, x);
    builder.conv(classifier_conv(format!("{name}.5"), inner, classes), x)
}

/// Settings of a branch that pools the features.
#[derive(Debug, Clone, Copy)]
struct PoolingBranch<'a> {
    /// Name of the branch, which is a sequence of layers.
    name: &'a str,
    /// Side of the map that the features are pooled to, in pixels.
    side: i64,
    out_channels: i64,
}

/// Adds torchvision's `ASPPPooling` generalized to any side: the features are pooled to a square,
/// go through a 1x1 convolution, BatchNorm and ReLU, and are resized back.
fn add_pooling_branch(
    builder: &mut GraphBuilder,
    branch: PoolingBranch<'_>,
    features: Features,
) -> ValueId {
    let pooled = builder.push(Op::AdaptiveAvgPool { side: branch.side }, &[features.value]);
    let layers = ConvBnRelu {
        sequence: branch.name,
        first_index: 1,
        in_channels: features.channels,
        out_channels: branch.out_channels,
        kernel: 1,
        dilation: 1,
    };
    let pooled = add_conv_bn_relu(builder, layers, pooled);
    builder.push(Op::ResizeLike, &[pooled, features.value])
}

/// Settings of a convolution without bias that BatchNorm and ReLU follow.
#[derive(Debug, Clone, Copy)]
struct ConvBnRelu<'a> {
    /// Name of the sequence of layers that holds the convolution and BatchNorm.
    sequence: &'a str,
    /// Index of the convolution in the sequence; BatchNorm has the next one.
    first_index: usize,
    in_channels: i64,
    out_channels: i64,
    /// Side of the kernel.
    kernel: i64,
    /// Step between the kernel's taps.
    dilation: i64,
}

fn add_conv_bn_relu(builder: &mut GraphBuilder, layers: ConvBnRelu<'_>, x: ValueId) -> ValueId {
    let ConvBnRelu { sequence, first_index, in_channels, out_channels, kernel, dilation } = layers;
    let conv = Conv {
        name: format!("{sequence}.{first_index}"),
        in_channels,
        out_channels,
        kernel,
        stride: 1,
        dilation,
        bias: false,
        init: ConvInit::UniformFanIn,
    };
    let x = builder.conv(conv, x);
    let x = builder.batch_norm(&format!("{sequence}.{}", first_index + 1), out_channels, x);
    builder.relu(x)
}

/// Returns the 1x1 convolution with bias that ends every head.
fn classifier_conv(name: String, in_channels: i64, out_channels: i64) -> Conv {
    let init = ConvInit::UniformFanIn;
    Conv { name, in_channels, out_channels, kernel: 1, stride: 1, dilation: 1, bias: true, init }
}
