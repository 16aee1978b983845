//! Soft Dice loss over a batch: `segmentation_models_pytorch.losses.DiceLoss("multiclass",
//! ignore_index=255)`.

use tch::{Kind, Tensor};

use super::Target;
use crate::error::Result;

/// Least divisor, so that a class without pixels does not divide by 0.
const EPSILON: f64 = 1e-7;

/// Computes the mean over all classes of `1 - 2 |p y| / (|p| + |y|)`, with sums over the counted
/// pixels. A class that no counted pixel has adds 0.
pub(super) fn dice_loss(logits: &Tensor, target: &Target<'_>) -> Result<Tensor> {
    let one_hot = target.one_hot(logits)?;
    let probabilities =
        logits.f_softmax(1, None::<Kind>)?.f_mul(&target.valid_mask(logits.kind())?)?;
    let sum_per_class =
        |values: &Tensor| values.f_sum_dim_intlist([0, 2, 3].as_slice(), false, None);
    let intersection = sum_per_class(&probabilities.f_mul(&one_hot)?)?;
    let cardinality =
        sum_per_class(&probabilities)?.f_add(&sum_per_class(&one_hot)?)?.f_clamp_min(EPSILON)?;
    let dice_score = intersection.f_mul_scalar(2.0)?.f_div(&cardinality)?;
    let present = sum_per_class(&one_hot)?.f_gt(0.0)?.f_to_kind(logits.kind())?;
    let loss = dice_score.f_neg()?.f_add_scalar(1.0)?.f_mul(&present)?.f_mean(None::<Kind>)?;
    Ok(loss.f_mul_scalar(target.image_fraction())?)
}
