//! Focal loss, each class against all others: `segmentation_models_pytorch.losses.FocalLoss(
//! "multiclass", gamma=gamma, ignore_index=255)` (Lin et al. 2017, without alpha).

use tch::{Kind, Reduction, Tensor};

use super::Target;
use crate::error::Result;

/// Computes the mean over classes and the batch's counted pixels of `-(1 - p)^gamma log p`. Here
/// `p` is the probability, by the logistic function, of the truth: that the pixel has the class, or
/// that it has not.
pub(super) fn focal_loss(logits: &Tensor, target: &Target<'_>, gamma: f64) -> Result<Tensor> {
    let one_hot = target.one_hot(logits)?;
    let no_weight = None::<Tensor>;
    let bce = logits.f_binary_cross_entropy_with_logits(
        &one_hot,
        no_weight.as_ref(),
        no_weight.as_ref(),
        Reduction::None,
    )?;
    // 1 - p = -expm1(-bce). The clamp is there because for gamma below 1 PyTorch's power has no
    // derivative at 0.
    let one_minus_p = bce.f_neg()?.f_expm1()?.f_neg()?.f_clamp_min(f64::EPSILON)?;
    let loss = one_minus_p.f_pow_tensor_scalar(gamma)?.f_mul(&bce)?;
    let loss = loss.f_mul(&target.valid_mask(logits.kind())?)?.f_sum(None::<Kind>)?;
    Ok(loss.f_div_scalar(target.batch_counts.counted_pixels() * logits.size()[1] as f64)?)
}
