//! Heads: what turns a backbone's features into logits. Each algorithm is a main head on layer 4
//! and an auxiliary one on layer 3, both resized to the image.

use super::graph::{Builder, Conv, ConvInit, Graph, Op, Value};
use super::resnet;
use crate::sagemaker::hyperparameters::{Algorithm, Backbone};

/// Dilations of DeepLabV3's parallel 3x3 convolutions, on features at an eighth of the image's
/// size.
const ATROUS_RATES: [i64; 3] = [12, 24, 36];

/// Channels between the layers of DeepLabV3's head.
const ASPP_CHANNELS: i64 = 256;

/// Sides of the maps that PSPNet pools the features to.
const PYRAMID: [i64; 4] = [1, 2, 3, 6];

/// The graph of `algorithm` over `backbone` with `classes` outputs.
pub(super) fn build(algorithm: Algorithm, backbone: Backbone, classes: i64) -> Graph {
    let mut builder = Builder::new();
    let features = resnet::build(&mut builder, backbone);
    let main = match algorithm {
        Algorithm::Fcn => fcn,
        Algorithm::Psp => psp,
        Algorithm::Deeplab => deeplab,
    };
    let out = main(&mut builder, "classifier", features.layer4, classes);
    let out = builder.push(Op::ResizeLike, &[out, 0]);
    let aux = fcn(&mut builder, "aux_classifier", features.layer3, classes);
    let aux = builder.push(Op::ResizeLike, &[aux, 0]);
    builder.finish(out, aux)
}

/// torchvision's `FCNHead`: 3x3 convolution to a quarter of the channels, BatchNorm, ReLU, dropout,
/// 1x1 convolution to classes.
fn fcn(builder: &mut Builder, name: &str, (x, channels): (Value, i64), classes: i64) -> Value {
    let inner = channels / 4;
    let x = conv_bn_relu(builder, (name, 0), (channels, inner), (3, 1), x);
    let x = builder.dropout(0.1, x);
    builder.conv(to_classes(format!("{name}.4"), inner, classes), x)
}

/// torchvision's `DeepLabHead`: atrous spatial pyramid pooling, 3x3 convolution, BatchNorm, ReLU,
/// 1x1 convolution to classes.
fn deeplab(builder: &mut Builder, name: &str, (x, channels): (Value, i64), classes: i64) -> Value {
    let width = (channels, ASPP_CHANNELS);
    let branch = |index: usize| format!("{name}.0.convs.{index}");
    let mut branches = vec![conv_bn_relu(builder, (&branch(0), 0), width, (1, 1), x)];
    for (index, rate) in (1..).zip(ATROUS_RATES) {
        branches.push(conv_bn_relu(builder, (&branch(index), 0), width, (3, rate), x));
    }
    branches.push(pooled(builder, &branch(4), 1, width, x));
    let x = builder.push(Op::Concat, &branches);
    let joined = (branches.len() as i64 * ASPP_CHANNELS, ASPP_CHANNELS);
    let x = conv_bn_relu(builder, (&format!("{name}.0.project"), 0), joined, (1, 1), x);
    let x = builder.dropout(0.5, x);
    let x = conv_bn_relu(builder, (name, 1), (ASPP_CHANNELS, ASPP_CHANNELS), (3, 1), x);
    builder.conv(to_classes(format!("{name}.4"), ASPP_CHANNELS, classes), x)
}

/// PSPNet's head (Zhao et al. 2017): the features beside four pooled views of them, each a quarter
/// of the channels, then an FCN head over both. torchvision has none; names and order follow its
/// `DeepLabHead`: `classifier.0` holds the pooled branches.
fn psp(builder: &mut Builder, name: &str, (x, channels): (Value, i64), classes: i64) -> Value {
    let (width, inner) = (channels / PYRAMID.len() as i64, channels / 4);
    let mut parts = vec![x];
    for (index, side) in PYRAMID.into_iter().enumerate() {
        parts.push(pooled(builder, &format!("{name}.0.convs.{index}"), side, (channels, width), x));
    }
    let x = builder.push(Op::Concat, &parts);
    let x = conv_bn_relu(builder, (name, 1), (2 * channels, inner), (3, 1), x);
    let x = builder.dropout(0.1, x);
    builder.conv(to_classes(format!("{name}.5"), inner, classes), x)
}

/// torchvision's `ASPPPooling`, to any side: the features pooled to a square, a 1x1 convolution,
/// BatchNorm, ReLU, and back to the features' size.
fn pooled(builder: &mut Builder, name: &str, side: i64, width: (i64, i64), x: Value) -> Value {
    let small = builder.push(Op::AdaptiveAvgPool { side }, &[x]);
    let small = conv_bn_relu(builder, (name, 1), width, (1, 1), small);
    builder.push(Op::ResizeLike, &[small, x])
}

/// A convolution without bias, BatchNorm and ReLU, numbered from `first` in the sequence `name`.
fn conv_bn_relu(
    builder: &mut Builder,
    (name, first): (&str, usize),
    (input, output): (i64, i64),
    (kernel, dilation): (i64, i64),
    x: Value,
) -> Value {
    let init = ConvInit::UniformFanIn;
    let name_of = |index: usize| format!("{name}.{index}");
    let name = name_of(first);
    let conv = Conv { name, input, output, kernel, stride: 1, dilation, bias: false, init };
    let x = builder.conv(conv, x);
    let x = builder.batch_norm(&name_of(first + 1), output, x);
    builder.relu(x)
}

/// The 1x1 convolution with bias that ends every head.
fn to_classes(name: String, input: i64, output: i64) -> Conv {
    let init = ConvInit::UniformFanIn;
    Conv { name, input, output, kernel: 1, stride: 1, dilation: 1, bias: true, init }
}
