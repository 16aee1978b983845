//! Loads the weights of convolutions with BatchNorm folded in.

use tch::{Kind, Tensor};

use super::fuse::{FusedNode, FusedOp};
use crate::error::Result;
use crate::model::graph::{Conv, Graph};

/// Epsilon of PyTorch's BatchNorm.
const BATCH_NORM_EPSILON: f64 = 1e-5;

/// Reads tensors by `(module, leaf)` and folds BatchNorm into them.
pub(super) struct WeightFolder<'a, F> {
    /// Names of the convolutions that compute in 32 bits in any number format.
    fp32_layers: Vec<&'a str>,
    /// Number format of all other convolutions.
    kind: Kind,
    load_tensor: F,
}

/// Weight and bias of a convolution, with BatchNorm folded in.
pub(super) struct FoldedConv {
    pub(super) weight: Tensor,
    pub(super) bias: Tensor,
    pub(super) in_fp32: bool,
}

impl<'a, F: Fn(&str, &str) -> Result<Tensor>> WeightFolder<'a, F> {
    pub(super) fn new(graph: &'a Graph, kind: Kind, load_tensor: F) -> Self {
        let mut fp32_layers = Vec::new();
        for conv in graph.classifier_layers() {
            fp32_layers.push(conv.name.as_str());
        }
        Self { fp32_layers, kind, load_tensor }
    }

    /// Returns the folded weight of a pass, or `None` if the pass is no convolution.
    pub(super) fn fold(&self, node: &FusedNode) -> Result<Option<FoldedConv>> {
        let FusedOp::Conv { conv, norm, .. } = &node.op else { return Ok(None) };
        tch::no_grad(|| {
            let in_fp32 = self.fp32_layers.contains(&conv.name.as_str());
            let kind = if in_fp32 { Kind::Float } else { self.kind };
            let (weight, bias) = self.fold_batch_norm(conv, norm.as_deref())?;
            let (weight, bias) = (weight.f_to_kind(kind)?, bias.f_to_kind(kind)?);
            Ok(Some(FoldedConv { weight, bias, in_fp32 }))
        })
    }

    /// Returns weight and bias of a convolution with the BatchNorm `norm` folded in. BatchNorm in
    /// inference is `(x - mean) / sqrt(variance + eps) * weight + bias`: a scale and an offset per
    /// channel. They are computed in 64 bits.
    fn fold_batch_norm(&self, conv: &Conv, norm: Option<&str>) -> Result<(Tensor, Tensor)> {
        let mut weight = (self.load_tensor)(&conv.name, "weight")?;
        let mut bias = if conv.bias {
            self.load_double(&conv.name, "bias")?
        } else {
            Tensor::f_zeros([conv.out_channels], (Kind::Double, weight.device()))?
        };
        if let Some(norm) = norm {
            let variance = self.load_double(norm, "running_var")?;
            let std = variance.f_add_scalar(BATCH_NORM_EPSILON)?.f_sqrt()?;
            let scale = self.load_double(norm, "weight")?.f_div(&std)?;
            let offset = bias.f_sub(&self.load_double(norm, "running_mean")?)?.f_mul(&scale)?;
            bias = offset.f_add(&self.load_double(norm, "bias")?)?;
            let _ = weight.f_mul_(&scale.f_to_kind(Kind::Float)?.f_reshape([-1, 1, 1, 1])?)?;
        }
        Ok((weight, bias.f_to_kind(Kind::Float)?))
    }

    fn load_double(&self, module: &str, leaf: &str) -> Result<Tensor> {
        Ok((self.load_tensor)(module, leaf)?.f_to_kind(Kind::Double)?)
    }
}
