//! The fully convolutional network: a head on layer 4 and an auxiliary one on layer 3, each resized
//! to the image (torchvision's `fcn_resnet50`).

use super::graph::{Builder, Conv, ConvInit, Graph, Op, Value};
use super::resnet;
use crate::sagemaker::hyperparameters::Backbone;

/// The graph of an FCN with `classes` outputs.
pub(super) fn build(backbone: Backbone, classes: i64) -> Graph {
    let mut builder = Builder::new();
    let features = resnet::build(&mut builder, backbone);
    let out = head(&mut builder, "classifier", features.layer4, classes);
    let aux = head(&mut builder, "aux_classifier", features.layer3, classes);
    builder.finish(out, aux)
}

/// torchvision's `FCNHead`: 3x3 convolution to a quarter of the channels, BatchNorm, ReLU, dropout,
/// 1x1 convolution to classes.
fn head(builder: &mut Builder, name: &str, (x, channels): (Value, i64), classes: i64) -> Value {
    let conv = |index: u8, input, output, kernel, bias| Conv {
        name: format!("{name}.{index}"),
        input,
        output,
        kernel,
        stride: 1,
        dilation: 1,
        bias,
        init: ConvInit::UniformFanIn,
    };
    let inner = channels / 4;
    let x = builder.conv(conv(0, channels, inner, 3, false), x);
    let x = builder.batch_norm(&format!("{name}.1"), inner, x);
    let x = builder.relu(x);
    let x = builder.dropout(0.1, x);
    let x = builder.conv(conv(4, inner, classes, 1, true), x);
    builder.push(Op::ResizeLike, &[x, 0])
}
